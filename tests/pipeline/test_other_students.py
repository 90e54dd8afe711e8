"""Students other than a pair's: all the vocabulary, further languages, random weights, other objectives."""

import math
from pathlib import Path

import pytest
import torch
from miniature import sentences, write_conll, write_lines
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from untrained import untrained

from bistill_hub import run
from bistill_hub.errors import InputError
from bistill_hub.pipeline import phase_1
from bistill_hub.pipeline.order import stages_of
from bistill_hub.pipeline.phase_0 import cut_student
from bistill_hub.pipeline.phase_1 import distil_bilingually
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.recipe import Recipe
from bistill_hub.sources import file_sha256
from bistill_hub.student.tokenizer_loading import SAMPLE_TEXTS

NO_LAYERS = {"attention_weight": 0.0, "hidden_weight": 0.0}
MANY = {"student.vocabulary": "whole"}
OBJECTIVES = {
    "DistilBERT": {"cosine_weight": 1.0, "logits_weight": 1.0, "masked_lm_weight": 1.0, "masked_share": 0.15},
    "MiniLMv2": {"relations_weight": 1.0},
    "from scratch": {"masked_lm_weight": 1.0, "masked_share": 0.15},
}
TERMS = {
    "DistilBERT": {"cosine_loss", "logits_loss", "masked_lm_loss"},
    "MiniLMv2": {"relations_loss"},
    "from scratch": {"masked_lm_loss"},
}


@pytest.fixture(scope="module")
def texts(world_lines, tmp_path_factory):
    """A little text of three languages as files; the third is written backwards."""
    folder = tmp_path_factory.mktemp("texts")
    lines = {**world_lines, "xx": [line[::-1] for line in world_lines["sw"]]}
    return {code: str(write_lines(folder / f"{code}.txt", some[:80])) for code, some in lines.items()}


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def each_teacher(request, tmp_path_factory):
    return untrained(request.param, tmp_path_factory.mktemp("teacher") / "teacher")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    # Weights so far from each other that the distributions of its head are not all alike.
    return untrained("bert", tmp_path_factory.mktemp("teacher") / "teacher", initializer_range=0.5)


@pytest.fixture(scope="module")
def headless(teacher, tmp_path_factory):
    """The same teacher without its language-modelling head."""
    folder = tmp_path_factory.mktemp("headless") / "teacher"
    AutoModel.from_pretrained(teacher).save_pretrained(folder)
    AutoTokenizer.from_pretrained(teacher).save_pretrained(folder)
    return folder


def recipe_of(teacher, texts, changes=None, *, further=False):
    languages = {code: {"code": code, "name": name, "text": texts[code]} for code, name in NAMES.items()}
    recipe = Recipe.make(
        {
            "name": "pair",
            "source": languages["en"],
            "target": languages["sw"],
            "further_languages": [languages["xx"]] if further else [],
            "teacher": {"model": str(teacher)},
            "license": "mit",
            "limits": "For tests.",
            "student": {"layer_reduction_factor": 2, "min_token_probability": 2e-3},
            "bilingual": {"steps": 0, "block_size": 32},
            "speed": {"seconds": 0, "length": 16, "batch_size": 2},
        }
    )
    return recipe.replace(changes or {})


NAMES = {"en": "English", "sw": "Swahili", "xx": "Backwards"}


def objective(kind, steps):
    """Changes that make phase 1 one of `OBJECTIVES`."""
    return {f"bilingual.{name}": value for name, value in {"steps": steps, **NO_LAYERS, **OBJECTIVES[kind]}.items()} | (
        {"student.initialisation": "random"} if kind == "from scratch" else {}
    )


def cut(recipe, folder):
    folder.mkdir()
    return cut_student(recipe, folder, progress=False), load_file(folder / "model.safetensors")


def test_a_whole_vocabulary_is_the_teacher_s_with_its_tokenizer(each_teacher, texts, tmp_path):
    facts, state = cut(recipe_of(each_teacher, texts, MANY), tmp_path / "student")
    whole = AutoTokenizer.from_pretrained(each_teacher)
    kept = AutoTokenizer.from_pretrained(tmp_path / "student")
    assert load_file(tmp_path / "student" / "token_map.safetensors")["token_map"].tolist() == list(range(len(whole)))
    assert kept.get_vocab() == whole.get_vocab()
    lines = [line.strip() for code in texts for line in Path(texts[code]).read_text(encoding="utf-8").splitlines()]
    for line in (*lines, *SAMPLE_TEXTS, "".join(whole.all_special_tokens)):
        assert kept(line)["input_ids"] == whole(line)["input_ids"]
    embeddings = AutoModel.from_pretrained(each_teacher).get_input_embeddings().weight
    assert any(tensor.shape == embeddings.shape and torch.equal(tensor, embeddings) for tensor in state.values())
    vocabulary = facts["vocabulary"]
    assert vocabulary["tokens_before"] == vocabulary["tokens_after"] == len(whole)
    assert vocabulary["chosen_by"] == "all of the teacher's"
    for report in vocabulary["languages"].values():
        assert report["corpus_tokens_kept"] == 1
        assert report["fertility_before"] == report["fertility_after"]


def test_the_text_of_further_languages_is_counted_and_its_tokens_are_kept(teacher, texts, tmp_path):
    made = {}
    for further in (False, True):
        recipe = recipe_of(teacher, texts, further=further)
        facts, _ = cut(recipe, tmp_path / str(further))
        tokens = load_file(tmp_path / str(further) / "token_map.safetensors")["token_map"].tolist()
        made[further] = facts, set(tokens)
    assert list(made[False][0]["corpora"]) == ["en", "sw"]
    assert list(made[True][0]["corpora"]) == list(made[True][0]["vocabulary"]["languages"]) == ["en", "sw", "xx"]
    assert made[True][0]["corpora"]["xx"]["lines"] == 80
    assert made[False][1] < made[True][1]
    # The pieces that the third language alone brings are those of its text.
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    with open(texts["xx"], encoding="utf-8") as text:
        seen = {piece for line in text for piece in tokenizer(line, add_special_tokens=False)["input_ids"]}
    assert len(made[True][1] - made[False][1]) > 20
    assert made[True][1] - made[False][1] <= seen


def test_further_text_is_an_input_of_the_stages_that_read_it_and_without_it_inputs_are_the_pairs(teacher, texts):
    inputs = {}
    for further in (False, True):
        made = stages_of(recipe_of(teacher, texts, further=further), [], command="", progress=False)
        inputs[further] = {stage.name: dict(stage.settings) for stage in made}
    for name in ("student", "phase 1"):
        of_pair, of_three = inputs[False][name].pop("text"), inputs[True][name].pop("text")
        assert list(of_pair) == ["en", "sw"]
        assert {code: of_three[code] for code in of_pair} == of_pair
        assert of_three["xx"] == {**of_pair["sw"], "path": file_sha256(Path(texts["xx"]))}
        assert inputs[True][name] == inputs[False][name]
    assert inputs[True]["speed"] == inputs[False]["speed"]


def test_a_student_of_random_weights_has_the_teacher_s_shape_and_nothing_of_it(teacher, texts, tmp_path):
    _, started = cut(recipe_of(teacher, texts), tmp_path / "cut")
    drawn = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        torch.manual_seed(len(drawn))  # what was drawn before does not matter
        recipe = recipe_of(teacher, texts, {"student.initialisation": "random", "seed": seed})
        facts, drawn[name] = cut(recipe, tmp_path / name)
        assert facts["language_modelling_head"] is True
    assert {name: tensor.shape for name, tensor in drawn["one"].items()} == {n: t.shape for n, t in started.items()}
    spread = AutoModel.from_pretrained(tmp_path / "one").config.initializer_range
    for name, tensor in drawn["one"].items():
        assert torch.equal(tensor, drawn["same"][name])
        if tensor.ndim == 2:
            assert not torch.equal(tensor, started[name])
            assert not torch.equal(tensor, drawn["other"][name])
            # Normal, but for the padding's row: the estimate's standard error is std / sqrt(2 n).
            assert tensor.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * tensor.numel()) + 2 / len(tensor))
        else:
            assert torch.equal(tensor, torch.full_like(tensor, float(name.endswith("LayerNorm.weight"))))
    _, found = AutoModelForMaskedLM.from_pretrained(tmp_path / "one", output_loading_info=True)
    assert not found["missing_keys"]


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_other_objectives_train_and_log_their_terms_alone(kind, teacher, texts, tmp_path, monkeypatch):
    many = {} if kind == "from scratch" else MANY
    fast = {"bilingual.learning_rate": 5e-3, "bilingual.evaluation_every": 15}
    recipe = recipe_of(teacher, texts, many | objective(kind, 30) | fast, further=bool(many))
    _, before = cut(recipe, tmp_path / "student")
    if kind == "from scratch":  # which has no use for the teacher

        def load(place, *_):
            raise AssertionError(f"{place} was loaded")

        monkeypatch.setattr(phase_1, "load_encoder", load)
    (tmp_path / "phase-1").mkdir()
    facts = distil_bilingually(recipe, tmp_path / "phase-1", tmp_path / "student", progress=False)
    log = [entry for entry in facts["curve"] if "loss" in entry]
    assert len(log) == 30
    assert {name for entry in log for name in entry if name.endswith("_loss")} == TERMS[kind]
    for name in {"loss", *TERMS[kind]}:
        values = [entry[name] for entry in log]
        assert sum(values[-5:]) < 0.97 * sum(values[:5]), name
    evaluated = [entry["eval_loss"] for entry in facts["curve"] if "eval_loss" in entry]
    assert len(evaluated) == 2
    # What of so little text is hidden from a model is a handful of tokens: that loss tells no more than that it falls.
    assert evaluated[1] < evaluated[0] if kind == "MiniLMv2" else min(evaluated) < log[0]["loss"]
    after = load_file(tmp_path / "phase-1" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("cls.") for name in changed) is (kind != "MiniLMv2")
    assert any(".encoder.layer.0.attention.self.query" in name for name in changed)


def test_every_language_is_packed_and_has_its_share_held_out(teacher, texts, tmp_path, monkeypatch):
    recipe = recipe_of(teacher, texts, {**objective("MiniLMv2", 1), "bilingual.evaluation_share": 0.2}, further=True)
    cut(recipe, tmp_path / "student")
    seen = {}

    class Looked(phase_1.BilingualDistillationTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            seen.update(train=self.train_dataset, held_out=self.eval_dataset, teacher=self.teacher)

    monkeypatch.setattr(phase_1, "BilingualDistillationTrainer", Looked)
    (tmp_path / "phase-1").mkdir()
    distil_bilingually(recipe, tmp_path / "phase-1", tmp_path / "student", progress=False)
    assert seen["teacher"].languages == seen["train"].languages == ("en", "sw", "xx")
    for trained, held_out in zip(seen["train"].sizes, seen["held_out"].sizes, strict=True):
        assert held_out == round(0.2 * (trained + held_out)) > 0


def test_temperature_and_relation_heads_are_those_of_the_recipe(teacher, texts, tmp_path, monkeypatch):
    given = {"bilingual.temperature": 3.0, "bilingual.relation_heads": 8}
    recipe = recipe_of(teacher, texts, objective("MiniLMv2", 1) | given)
    cut(recipe, tmp_path / "student")
    seen = []

    class Looked(phase_1.BilingualDistillationTrainer):
        def __init__(self, model, args, **kwargs):
            super().__init__(model, args, **kwargs)
            seen.append((args.temperature, args.relation_heads))

    monkeypatch.setattr(phase_1, "BilingualDistillationTrainer", Looked)
    (tmp_path / "phase-1").mkdir()
    facts = distil_bilingually(recipe, tmp_path / "phase-1", tmp_path / "student", progress=False)
    assert seen == [(3.0, 8)]
    assert (facts["settings"]["temperature"], facts["settings"]["relation_heads"]) == (3.0, 8)
    with pytest.raises(InputError, match=r"bilingual\.relation_heads = 5: the teacher's hidden size"):
        plan(recipe.replace({"bilingual.relation_heads": 5}), tmp_path / "out", trial=False)
    phase_1_stage = [
        stages_of(each, [], command="", progress=False)[1].settings["settings"]
        for each in (recipe, recipe_of(teacher, texts, objective("MiniLMv2", 1)))
    ]
    assert phase_1_stage[0] == {**phase_1_stage[1], "temperature": 3.0, "relation_heads": 8}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bilingual.logits_weight": 1.0}, "bilingual.logits_weight = 1.0: the teacher has no language-modelling head"),
        (objective("DistilBERT", 4), "bilingual.logits_weight = 1.0: the teacher has no language-modelling head"),
        (
            {"bilingual.masked_lm_weight": 1.0, "bilingual.masked_share": 0.1},
            "bilingual.masked_lm_weight = 1.0: the teacher has no language-modelling head",
        ),
        (objective("MiniLMv2", 4) | {"bilingual.relations_weight": 0.0}, "every term's weight is 0"),
        (
            objective("MiniLMv2", 4) | {"bilingual.relation_heads": 5},
            "bilingual.relation_heads = 5: the teacher's hidden size, 32, is not a multiple of it",
        ),
    ],
    ids=["logits", "all", "masked", "nothing", "heads"],
)
def test_objectives_that_the_teacher_cannot_teach_are_refused_before_a_run(changes, words, headless, texts, tmp_path):
    recipe = recipe_of(headless, texts, {"bilingual.steps": 4, **changes})
    with pytest.raises(InputError) as refused:
        preflight(recipe, tmp_path)
    assert words in str(refused.value)


@pytest.mark.parametrize("kind", ["DistilBERT", "from scratch"])
def test_a_head_that_is_not_kept_is_not_taught(kind, teacher, headless, texts, tmp_path):
    changes = objective(kind, 4) | {"student.keep_language_modelling_head": False}
    for look in (lambda recipe: preflight(recipe, tmp_path), lambda recipe: plan(recipe, tmp_path, trial=False)):
        with pytest.raises(InputError, match="the student's language-modelling head is not kept"):
            look(recipe_of(teacher, texts, changes))
    # Random weights have a head, whether or not the teacher has one.
    assert preflight(recipe_of(headless, texts, objective("from scratch", 4)), tmp_path) == []
    assert preflight(recipe_of(headless, texts, objective("MiniLMv2", 4)), tmp_path) == []


def test_further_text_is_looked_at_before_a_run(teacher, texts, tmp_path):
    blank = write_lines(tmp_path / "blank.txt", ["", " "])
    for file, words in ((tmp_path / "none.txt", "no such file"), (blank, "there is no text")):
        recipe = recipe_of(teacher, texts, {"further_languages.Backwards.text": str(file)}, further=True)
        for look in (preflight, lambda recipe, folder: plan(recipe, folder, trial=False)):
            with pytest.raises(InputError) as refused:
                look(recipe, tmp_path / "out")
            assert "further_languages.Backwards.text" in str(refused.value)
            assert words in str(refused.value)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_plan_counts_further_text_and_tries_the_objective_that_is_asked_for(kind, teacher, texts, tmp_path):
    changes = objective(kind, 40) | {"bilingual.batch_size": 2}
    made = plan(recipe_of(teacher, texts, changes, further=True), tmp_path / "out")
    counts = {source.field: source.count for source in made.sources}
    assert counts == dict.fromkeys(("source.text", "target.text", "further_languages.Backwards.text"), 80)
    student, phase_1 = made.stages[:2]
    assert student.seconds > 0
    assert phase_1.seconds > 0
    assert phase_1.updates == 40
    assert phase_1.note == ""


def test_a_student_that_is_the_teacher_itself_goes_through_all_stages(teacher, texts, tmp_path):
    tagged = {code: sentences(code, 60, seed=1) for code in ("en", "sw")}
    parts = {"train": ("en", 0), "validation": ("en", 20), "test_source": ("en", 40), "test_target": ("sw", 0)}
    files = {
        part: str(write_conll(tmp_path / f"{part}.conll", tagged[code][start : start + 20]))
        for part, (code, start) in parts.items()
    }
    task = {
        "name": "ner",
        **files,
        "max_length": 32,
        "teacher": {"epochs": 1, "batch_size": 20},
        "distillation": {"learns_from": "labels", "dense_epochs": 1, "sparse_epochs": 1, "batch_size": 20},
    }
    changes = {**MANY, "student.layer_reduction_factor": 1, "tasks": [task]}
    done = run(recipe_of(teacher, texts, changes), tmp_path / "run", progress=False)
    assert [stage.name for stage in done.stages][-3:] == ["ner evaluation", "speed", "package"]
    facts = done.stages[0].facts
    assert facts["teacher"] == facts["student"]
    assert {(result.model, result.role) for result in done.results} == {
        (model, role) for model in ("teacher", "student") for role in ("source", "target")
    }
    found = []
    for place in (teacher, done.repository):
        inputs = AutoTokenizer.from_pretrained(place)("Juma Bakari works for Umoja Bank.", return_tensors="pt")
        with torch.no_grad():
            logits = AutoModelForMaskedLM.from_pretrained(place).eval()(**inputs).logits
        found.append((inputs["input_ids"], logits))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
