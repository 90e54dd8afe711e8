"""What a contender had of language SFTs, and whence its task teacher, is told from its recipe alone."""

import pytest

from bistill_hub import Recipe
from bistill_hub.comparison.contenders import CONTENDERS
from bistill_hub.comparison.origins import in_one, phase_1_teacher, task_teacher, worn_at_test, worn_in_words
from bistill_hub.recipe import TaskTeacher

SOURCES = {name: f"{name}.conll" for name in ("train", "validation", "test_source", "test_target")}
PAIR = Recipe.make(
    {
        "name": "pair",
        "source": {"code": "en", "name": "English", "text": "en.txt"},
        "target": {"code": "sw", "name": "Swahili", "text": "sw.txt"},
        "teacher": {"model": "some/teacher", "language_deltas": {"en": "legacy:some/en-sft", "sw": "some/sw-sft"}},
        "license": "mit",
        "limits": "none",
        "further_languages": [{"code": "fr", "name": "French", "text": "fr.txt"}],
        "tasks": [{"name": "ner", **SOURCES}],
    }
)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "tuned in full here"),
        ({"delta": "legacy:some/task-sft"}, "a published task SFT, some/task-sft"),
        ({"delta": "/somewhere/of/mine/delta.safetensors"}, "a given task SFT, delta.safetensors"),
        ({"model": "some/tuned"}, "a given tuned model, some/tuned"),
    ],
)
def test_a_task_teacher_is_called_what_it_is(settings, said):
    assert task_teacher(TaskTeacher(**settings)) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("teacher", "no phase 1"),
        ("trimmed_teacher", "no phase 1"),
        ("teacher_sft", "no phase 1"),
        ("no_phase_1", "no phase 1"),
        ("student", "SFTs of en, sw"),
        ("student_fine_tuned", "SFTs of en, sw"),
        ("distilbert_style", "SFTs of en, sw; none for fr"),
        ("minilmv2_style_fine_tuned", "SFTs of en, sw; none for fr"),
        ("from_scratch", "no teacher"),
    ],
)
def test_what_teaches_in_phase_1_is_said_with_its_language_sfts(name, said):
    contender = CONTENDERS[name]
    assert phase_1_teacher(contender.recipe(PAIR), contender.scored) == said


NONE_OF_THIS_PAIR = ("lrf_2", *(name for name, each in CONTENDERS.items() if each.group == "extension"))
"""What would be the student itself, and what is refused where there are language SFTs."""


@pytest.mark.parametrize("name", [name for name, each in CONTENDERS.items() if name not in NONE_OF_THIS_PAIR])
def test_students_carry_no_language_sft_at_the_test_and_whole_teachers_that_of_the_data(name):
    given = PAIR.replace({"tasks.ner.teacher.delta": "some/task-sft"})
    contender = CONTENDERS[name]
    recipe = contender.recipe(given)
    both = contender.scored != "student" and contender.group != "published"
    worn = {"en": "some/en-sft", "sw": "some/sw-sft"} if both else {"en": None, "sw": None}
    assert worn_at_test(recipe, recipe.tasks[0], contender.scored) == worn


def test_a_given_tuned_model_carries_none_and_those_that_are_tuned_here_do():
    given = PAIR.replace({"tasks.ner.teacher.model": "some/tuned"})
    for name, code in (("teacher", None), ("trimmed_teacher", None), ("teacher_full", "some/sw-sft")):
        recipe = CONTENDERS[name].recipe(given)
        assert worn_at_test(recipe, recipe.tasks[0], CONTENDERS[name].scored)["sw"] == code


def test_a_language_without_an_sft_is_named():
    assert worn_in_words({"en": "some/en-sft", "sw": None}) == "SFTs of en; none for sw"
    assert worn_in_words({"en": None, "sw": None}) == "none"


def test_what_is_true_of_all_tasks_is_said_once():
    assert in_one({"ner": "here", "nli": "here"}) == "here"
    assert in_one({"ner": "here", "nli": "there"}) == "ner: here; nli: there"
