"""A tuned model is the same teacher in whatever order its head has the labels; one of other labels is refused."""

import json

import miniature
import pytest
import tiny_tasks
import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
)
from untrained import untrained

from bistill_hub import InputError, Recipe
from bistill_hub.pipeline.given_teacher import tuned_rows
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.preflight import preflight, read_task
from bistill_hub.pipeline.task_training import tune_teacher
from bistill_hub.tasks import get_task

ORDERS = {
    "ner": ("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O"),
    "nli": ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"),
}
"""Another order than the tasks' own; the second written as in models of MNLI."""

HEADS = {"ner": AutoModelForTokenClassification, "nli": AutoModelForSequenceClassification}
BACKBONES = {"ner": ("bert", "deberta-v2", "modernbert", "distilbert"), "nli": ("xlm-roberta", "modernbert")}
CASES = [(task, backbone) for task, backbones in BACKBONES.items() for backbone in backbones]


def recipe_of(home, task, backbone):
    lines = {code: map(miniature.text, miniature.sentences(code, 60)) for code in miniature.LANGUAGES}
    text = {code: str(miniature.write_lines(home / f"{code}.txt", list(made))) for code, made in lines.items()}
    return Recipe.make(
        {
            "name": "bistill-en-sw-tuned",
            "source": {"code": "en", "name": "English", "text": text["en"]},
            "target": {"code": "sw", "name": "Swahili", "text": text["sw"]},
            "teacher": {"model": str(untrained(backbone, home / "teacher"))},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "bilingual": {"steps": 0, "block_size": 48},
            "tasks": [{"name": task, **tiny_tasks.write_tasks(home / "tasks")[task], "max_length": 64}],
            "synthetic": True,
        }
    )


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def recipe(request, tmp_path_factory):
    return recipe_of(tmp_path_factory.mktemp("-".join(request.param)), *request.param)


@pytest.fixture
def task(recipe):
    return recipe.tasks[0].name


def write_tuned(folder, recipe, task, names):
    """A model with a head of these labels, as somebody else would have saved it."""
    torch.manual_seed(5)
    config = {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}
    model = HEADS[task].from_pretrained(recipe.teacher.model, **config)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(recipe.teacher.model).save_pretrained(folder)
    return recipe.replace({f"tasks.{task}.teacher.model": str(folder)})


def by_label(task, folder):
    model = HEADS[task].from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(["Amina lives in Nairobi.", "Juma works."], padding=True)
    with torch.no_grad():
        logits = model(**{name: torch.tensor(values) for name, values in inputs.items()}).logits
    return {label.casefold(): logits[..., row] for row, label in model.config.id2label.items()}


def test_the_teacher_gives_each_label_the_logits_that_the_tuned_model_gives_it(recipe, task, tmp_path):
    tuned = write_tuned(tmp_path / "tuned", recipe, task, ORDERS[task])
    labels = preflight(tuned, tmp_path / "run")[0].labels
    assert tuple(label.casefold() for label in ORDERS[task]) != tuple(label.casefold() for label in labels)
    (tmp_path / "teacher").mkdir()
    tune_teacher(tuned, tmp_path / "teacher", read_task(tuned.tasks[0], get_task(task)), progress=False)
    expected, found = by_label(task, tmp_path / "tuned"), by_label(task, tmp_path / "teacher")
    assert list(found) == [label.casefold() for label in labels]
    assert HEADS[task].from_pretrained(tmp_path / "teacher").config.label2id == {
        label: row for row, label in enumerate(labels)
    }
    for label, logits in found.items():
        assert torch.allclose(logits, expected[label], rtol=0, atol=1e-6), label
    assert len({logits.flatten()[0].item() for logits in found.values()}) == len(labels), "the rows differ"


@pytest.mark.parametrize("look", [plan, preflight])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda names: names[1:], "lacks "),
        (lambda names: (*names[:-1], "B-DATE"), "has B-DATE, which the training data do not have"),
        (lambda names: tuple(f"LABEL_{row}" for row in range(len(names))), "does not say which labels"),
    ],
)
def test_other_labels_are_refused_by_plan_and_run(tmp_path, look, change, told):
    recipe = recipe_of(tmp_path, "ner", "bert")
    tuned = write_tuned(tmp_path / "tuned", recipe, "ner", change(ORDERS["ner"]))
    with pytest.raises(InputError) as refused:
        look(tuned, tmp_path / "run")
    assert told in str(refused.value)
    assert refused.value.field == "tasks.ner.teacher.model"
    assert refused.value.value == str(tmp_path / "tuned")
    assert "config.json" in str(refused.value)


@pytest.mark.parametrize("look", [plan, preflight])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "its weights are pickled"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
    ],
    ids=["pickled", "without a configuration"],
)
def test_a_model_that_cannot_be_loaded_is_named_by_its_own_field(tmp_path, look, damage, told):
    recipe = recipe_of(tmp_path, "ner", "bert")
    tuned = write_tuned(tmp_path / "tuned", recipe, "ner", ORDERS["ner"])
    damage(tmp_path / "tuned")
    with pytest.raises(InputError, match=told) as refused:
        look(tuned, tmp_path / "run")
    assert (refused.value.field, refused.value.value) == ("tasks.ner.teacher.model", str(tmp_path / "tuned"))
    damage(tmp_path / "teacher")
    with pytest.raises(InputError, match=told) as refused:
        look(recipe, tmp_path / "run")
    assert (refused.value.field, refused.value.value) == ("teacher.model", str(tmp_path / "teacher"))


def test_labels_that_case_alone_tells_apart_are_told_apart(tmp_path):
    recipe = recipe_of(tmp_path, "ner", "bert").replace({"tasks.ner.teacher.model": "org/tuned"})
    labels = ("O", "B-PER", "I-PER", "B-Per", "I-Per")
    config = BertConfig(id2label=dict(enumerate(reversed(labels))))
    assert tuned_rows(recipe.tasks[0], config, labels) == [4, 3, 2, 1, 0]
    with pytest.raises(InputError, match=r"has B-Per, I-Per, which"):
        tuned_rows(recipe.tasks[0], config, labels[:3])


def with_changed_vocabulary(folder):
    """Two words change places in the tokenizer, and so do their rows in the model: the same model by itself."""
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    return one, other


@pytest.mark.parametrize("look", [plan, preflight])
@pytest.mark.parametrize("what", ["vocabulary", "hidden_size", "num_hidden_layers"])
def test_a_model_that_was_not_tuned_from_this_teacher_is_refused_by_plan_and_run(tmp_path, look, what):
    recipe = recipe_of(tmp_path, "ner", "bert")
    if what == "vocabulary":
        tuned = write_tuned(tmp_path / "tuned", recipe, "ner", ORDERS["ner"])
        told = with_changed_vocabulary(tmp_path / "tuned")
    else:
        config = AutoConfig.from_pretrained(recipe.teacher.model)
        value = getattr(config, what) * 2
        told = (str(value), str(value))
        other = untrained("bert", tmp_path / "other", **{what: value})
        tuned = write_tuned(tmp_path / "tuned", recipe.replace({"teacher.model": str(other)}), "ner", ORDERS["ner"])
        tuned = tuned.replace({"teacher.model": recipe.teacher.model})
    with pytest.raises(InputError) as refused:
        look(tuned, tmp_path / "run")
    assert what in str(refused.value)
    assert any(word in refused.value.problem for word in told)
    assert refused.value.field == "tasks.ner.teacher.model"
    learning_from_labels = tuned.replace({"tasks.ner.distillation.learns_from": "labels"})
    assert look(learning_from_labels, tmp_path / "run"), "where it does not teach, it may be any"


def test_a_tuned_model_of_numbers_that_are_none_is_refused_before_anything_is_trained(tmp_path):
    recipe = recipe_of(tmp_path, "ner", "bert")
    tuned = write_tuned(tmp_path / "tuned", recipe, "ner", ORDERS["ner"])
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "tuned")
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    model.save_pretrained(tmp_path / "tuned")
    with pytest.raises(InputError, match=r"classifier\.bias holds values that are not finite"):
        preflight(tuned, tmp_path / "run")


def test_a_reader_of_questions_has_no_labels_to_put_in_order(tmp_path):
    recipe = recipe_of(tmp_path, "qa", "bert")
    torch.manual_seed(5)
    model = AutoModelForQuestionAnswering.from_pretrained(recipe.teacher.model)
    model.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(recipe.teacher.model).save_pretrained(tmp_path / "tuned")
    tuned = recipe.replace({"tasks.qa.teacher.model": str(tmp_path / "tuned")})
    (data,) = preflight(tuned, tmp_path / "run")
    (tmp_path / "stage").mkdir()
    tune_teacher(tuned, tmp_path / "stage", data, progress=False)
    made = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "stage")
    assert torch.equal(made.qa_outputs.weight, model.qa_outputs.weight)
