"""A task SFT with another order of labels gives the same teacher; one with other labels is refused at once."""

import miniature
import numpy as np
import pytest
import tiny_tasks
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
from untrained import untrained

from bistill_hub import InputError, Recipe
from bistill_hub.model.legacy import LEGACY_FILE
from bistill_hub.pipeline.order import stages_of
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.preflight import preflight, read_task
from bistill_hub.pipeline.task_training import tune_teacher
from bistill_hub.tasks import get_task
from bistill_hub.teacher import load_delta

OTHERWISE = {
    "ner": ("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O"),
    "nli": ("contradiction", "entailment", "neutral"),
}
HEADS = {"ner": AutoModelForTokenClassification, "nli": AutoModelForSequenceClassification}
BACKBONES = {"ner": "bert", "nli": "xlm-roberta"}
"""The second has a head of two layers, of which the last alone has a row for each label."""


@pytest.fixture(scope="module", params=OTHERWISE)
def recipe(request, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param)
    lines = {code: map(miniature.text, miniature.sentences(code, 60)) for code in miniature.LANGUAGES}
    text = {code: str(miniature.write_lines(home / f"{code}.txt", list(made))) for code, made in lines.items()}
    return Recipe.make(
        {
            "name": "bistill-en-sw-task-sft",
            "source": {"code": "en", "name": "English", "text": text["en"]},
            "target": {"code": "sw", "name": "Swahili", "text": text["sw"]},
            "teacher": {"model": str(untrained(BACKBONES[request.param], home / "teacher"))},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "bilingual": {"steps": 0, "block_size": 48},
            "tasks": [
                {"name": request.param, **tiny_tasks.write_tasks(home / "tasks")[request.param], "max_length": 64}
            ],
            "synthetic": True,
        }
    )


@pytest.fixture(scope="module")
def task(recipe):
    return recipe.tasks[0].name


@pytest.fixture(scope="module")
def labels(recipe, task):
    return read_task(recipe.tasks[0], get_task(task)).labels


def write_sft(folder, recipe, task, order, *, head=True):
    """A task SFT as the authors write it: four entries of a matrix, and a head, whose row for a label is always one."""
    torch.manual_seed(3)
    model = HEADS[task].from_pretrained(recipe.teacher.model, num_labels=len(order))
    query = next(name for name, _ in model.named_parameters() if name.endswith("layer.0.attention.self.query.weight"))
    rows = {label: torch.randn(model.config.hidden_size + 1) for label in sorted(order)}
    stacked = torch.stack([rows[label] for label in order])
    last = {"ner": "classifier", "nli": "classifier.out_proj"}[task]
    whole = {f"{last}.weight": stacked[:, :-1].clone(), f"{last}.bias": stacked[:, -1].clone()}
    if task == "nli":
        below = model.classifier.dense
        for name, tensor in (("weight", below.weight), ("bias", below.bias)):
            whole[f"classifier.dense.{name}"] = torch.full_like(tensor, 0.01).detach()
    size = model.get_parameter(query).shape
    entry = {"size": size, "index_steps": [np.int64(0), size[0], 1, 2], "values": torch.full((4,), 0.5)}
    folder.mkdir()
    torch.save({"diffs": {query: entry}, "abs": whole if head else {}}, folder / LEGACY_FILE)
    return f"legacy:{folder}"


def with_sft(recipe, task, delta, order=()):
    return recipe.replace({f"tasks.{task}.teacher.delta": delta, f"tasks.{task}.teacher.delta_labels": list(order)})


def predicted(recipe, task, folder):
    """Logits of each label, by the names in the checkpoint's configuration."""
    folder.mkdir()
    facts = tune_teacher(recipe, folder, read_task(recipe.tasks[0], get_task(task)), progress=False)
    assert facts["curve"] == []
    order = list(recipe.tasks[0].teacher.delta_labels)
    assert facts["settings"].get("delta_labels") == (order or None), "an order that there is not is no row of a card"
    model = HEADS[task].from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(["Amina lives in Nairobi.", "Juma works."], padding=True)
    with torch.no_grad():
        logits = model(**{name: torch.tensor(values) for name, values in inputs.items()}).logits
    return {label: logits[..., index] for index, label in model.config.id2label.items()}


def test_a_head_in_another_order_of_labels_predicts_as_one_in_the_tasks_own(recipe, task, labels, tmp_path):
    assert sorted(labels) == sorted(OTHERWISE[task])
    assert labels != OTHERWISE[task]
    own = with_sft(recipe, task, write_sft(tmp_path / "own", recipe, task, labels))
    other = with_sft(recipe, task, write_sft(tmp_path / "other", recipe, task, OTHERWISE[task]), OTHERWISE[task])
    expected = predicted(own, task, tmp_path / "of own")
    found = predicted(other, task, tmp_path / "of other")
    assert list(found) == list(expected) == list(labels)
    for label, logits in expected.items():
        assert torch.equal(found[label], logits), label
    assert len({logits.flatten()[0].item() for logits in expected.values()}) == len(labels), "the rows differ"
    unsorted = predicted(with_sft(other, task, other.tasks[0].teacher.delta), task, tmp_path / "as it lies there")
    assert not torch.equal(unsorted[labels[0]], expected[labels[0]])


def test_the_order_is_an_input_of_the_teachers_stage(recipe, task, tmp_path):
    delta = write_sft(tmp_path / "sft", recipe, task, OTHERWISE[task])
    hashes = set()
    for order in ((), OTHERWISE[task]):
        changed = with_sft(recipe, task, delta, order)
        made = stages_of(changed, preflight(changed, tmp_path / "run"), command="", progress=False)
        (inputs,) = (stage.inputs for stage in made if stage.name == f"{task} teacher")
        hashes.add(str(inputs))
    assert len(hashes) == 2


@pytest.mark.parametrize("look", [plan, preflight])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda order: order[1:], "lacks {0}"),
        (lambda order: (*order, "B-DATE"), "has B-DATE, which the training data do not have"),
        (lambda order: ("B-DATE", *order[1:]), "lacks {0} and has B-DATE"),
        (lambda order: (*order, order[0]), "has a label twice"),
    ],
)
def test_other_labels_than_the_training_datas_are_refused_by_plan_and_run(recipe, task, tmp_path, look, change, told):
    order = change(OTHERWISE[task])
    changed = with_sft(recipe, task, write_sft(tmp_path / "sft", recipe, task, OTHERWISE[task]), order)
    with pytest.raises(InputError) as refused:
        look(changed, tmp_path / "run")
    assert told.format(OTHERWISE[task][0]) in str(refused.value)
    assert refused.value.field == f"tasks.{task}.teacher.delta_labels"
    assert refused.value.value == list(order)


@pytest.mark.parametrize("look", [plan, preflight])
def test_a_head_with_another_number_of_rows_is_refused_before_anything_is_trained(recipe, task, look, tmp_path):
    wider = (*OTHERWISE[task], "further")
    changed = with_sft(recipe, task, write_sft(tmp_path / "sft", recipe, task, wider))
    with pytest.raises(InputError, match="does not fit the teacher") as refused:
        look(changed, tmp_path / "run")
    assert refused.value.field == f"tasks.{task}.teacher.delta"


@pytest.mark.parametrize("look", [plan, preflight])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_task_sft_without_a_head_is_refused_before_anything_is_trained(recipe, task, look, ordered, tmp_path):
    delta = write_sft(tmp_path / "sft", recipe, task, OTHERWISE[task], head=False)
    assert load_delta(delta).dense == {}
    with pytest.raises(InputError, match="has no head: it lacks"):
        look(with_sft(recipe, task, delta, OTHERWISE[task] if ordered else ()), tmp_path / "run")


def of_this_package(folder, legacy, order):
    """The same SFT in the package's own format, which says what its labels are."""
    delta = load_delta(legacy)
    delta.metadata["labels"] = list(order)
    folder.mkdir()
    delta.save(folder / "delta.safetensors")
    return str(folder)


def test_a_delta_that_says_its_labels_is_put_in_order_by_itself(recipe, task, labels, tmp_path):
    own = with_sft(recipe, task, write_sft(tmp_path / "own", recipe, task, labels))
    legacy = write_sft(tmp_path / "legacy", recipe, task, OTHERWISE[task])
    other = with_sft(recipe, task, of_this_package(tmp_path / "other", legacy, OTHERWISE[task]))
    expected = predicted(own, task, tmp_path / "of own")
    found = predicted(other, task, tmp_path / "of other")
    for label, logits in expected.items():
        assert torch.equal(found[label], logits), label


@pytest.mark.parametrize("look", [plan, preflight])
def test_a_delta_that_says_other_labels_than_the_training_datas_is_refused(recipe, task, look, tmp_path):
    legacy = write_sft(tmp_path / "legacy", recipe, task, OTHERWISE[task])
    delta = of_this_package(tmp_path / "other", legacy, ("B-MISC", *OTHERWISE[task][1:]))
    with pytest.raises(InputError, match=f"lacks {OTHERWISE[task][0]} and has B-MISC") as refused:
        look(with_sft(recipe, task, delta), tmp_path / "run")
    assert refused.value.field == f"tasks.{task}.teacher.delta"
    assert refused.value.value == delta


def test_an_order_without_a_task_sft_is_refused(recipe, task):
    with pytest.raises(InputError, match="no task SFT whose labels these could be"):
        recipe.replace({f"tasks.{task}.teacher.delta_labels": list(OTHERWISE[task])})
