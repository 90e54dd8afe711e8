"""The demo: its scores are worth showing, its pair loads in every way, and everything says that it is synthetic."""

import json
import shutil

import pytest
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from bistill_hub import InputError, run
from bistill_hub.demo.demo import demo_recipe, run_demo
from bistill_hub.evaluation.results import retention

TASKS = ("ner", "pos", "nli", "qa")
WITHOUT_PHASE_1 = ("ner", "qa")  # one task of names and one of whole passages
SYNTHETIC = "text and labels were generated"


@pytest.fixture(scope="module")
def scores(demo):
    return {(r.model, r.task, r.role): r for r in demo.run.results}


@pytest.mark.parametrize("task", TASKS)
def test_the_teacher_has_learnt_the_task_in_english_and_carries_some_of_it_over(scores, task):
    for role in ("source", "target"):
        teacher = scores["teacher", task, role]
        assert teacher.low > teacher.trivial


@pytest.mark.parametrize(("task", "wanted"), [("ner", 0.85), ("nli", 0.7), ("qa", 0.6)])
def test_the_teacher_is_good_enough_zero_shot_to_be_worth_distilling(scores, task, wanted):
    assert scores["teacher", task, "target"].score >= wanted


@pytest.mark.parametrize("role", ["source", "target"])
@pytest.mark.parametrize("task", TASKS)
def test_the_student_keeps_most_of_what_its_teacher_has_above_the_trivial_baseline(scores, task, role):
    student = scores["student", task, role]
    assert retention(student, scores["teacher", task, role]) >= 0.7
    assert student.against_teacher.retention_high >= 0.8  # what 300 examples can tell: 95 % paired bootstrap interval


@pytest.fixture(scope="module")
def without_phase_1(demo):
    """Scores of students that were cut alike and learnt the tasks, but not from text."""
    folder = shutil.copytree(demo.run.repository.parent.parent, demo.run.repository.parents[2] / "with-baseline")
    recipe = demo_recipe(folder / "world").only(WITHOUT_PHASE_1).replace({"baselines": ["no_phase_1"]})
    results = run(recipe, folder, until="qa-evaluation", progress=False).results
    return {(r.task, r.role): r.score for r in results if r.model == "no_phase_1"}


@pytest.mark.whole
@pytest.mark.parametrize("task", WITHOUT_PHASE_1)
def test_phase_1_is_worth_something_in_the_target_language_and_costs_nothing_in_the_source(
    scores, without_phase_1, task
):
    assert scores["student", task, "target"].score > without_phase_1[task, "target"]
    assert scores["student", task, "source"].high > without_phase_1[task, "source"]


def test_every_auto_class_loads_the_pair(demo):
    assert {(one.auto, one.task) for one in demo.loaded} == {
        ("AutoModel", None),
        ("AutoModelForMaskedLM", None),
        ("AutoModelForTokenClassification", "ner"),
        ("AutoModelForTokenClassification", "pos"),
        ("AutoModelForSequenceClassification", "nli"),
        ("AutoModelForQuestionAnswering", "qa"),
    }
    assert not any("Bistill" in one.native for one in demo.loaded)


def test_of_two_tasks_with_one_head_the_first_is_loaded_when_none_is_named(demo):
    config = json.loads((demo.run.repository / "config.json").read_text())
    assert config["default_tasks"] == {"token-classification": "ner"}
    unnamed = AutoModelForTokenClassification.from_pretrained(demo.run.repository)
    assert "B-PER" in unnamed.config.label2id
    assert "VERB" in AutoModelForTokenClassification.from_pretrained(demo.run.repository, task="pos").config.label2id
    tokenizer = AutoTokenizer.from_pretrained(demo.run.repository)
    tag, sentence = pipeline("ner", model=unnamed, tokenizer=tokenizer, aggregation_strategy="first"), "Juma Bakari ."
    assert [each["word"] for each in tag(f"{sentence} Nairobi .")], "it finds names"
    for each in tag(sentence):
        assert each["word"] in ("Juma Bakari", "Juma", "Bakari", "."), "of whole words"


def test_there_are_answers_in_both_languages_for_each_task(demo):
    assert [(one.task, one.language) for one in demo.answers] == [(t, c) for t in TASKS for c in ("en", "sw")]
    assert all(one.text and one.gold for one in demo.answers)


def test_everything_that_shows_a_score_says_that_it_is_synthetic(demo):
    printed = " ".join(demo.printed.split())
    assert printed.count(SYNTHETIC) >= 2
    assert "Scores of a synthetic demonstration" in printed
    assert SYNTHETIC in (demo.run.repository / "README.md").read_text()
    assert json.loads((demo.run.repository / "recipe.json").read_text())["synthetic"] is True
    for task in TASKS:
        content = json.loads((demo.run.repository / "tasks" / task / "results.json").read_text())
        assert all(result["synthetic"] for result in content["results"])


def test_the_command_ends_with_the_card(demo):
    assert str(demo.run.repository / "README.md") in demo.printed.replace("\n", "")


def test_a_second_demo_finds_everything_finished(demo):
    from bistill_hub.demo.demo import run_demo

    again = run_demo(demo.run.repository.parent.parent, progress=False)
    assert all(stage.skipped for stage in again.run.stages)


def test_several_processes_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WORLD_SIZE = 2: the demo is one process's work"):
        run_demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
