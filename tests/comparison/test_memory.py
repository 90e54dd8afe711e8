"""What was asked of a recipe is remembered by what its models are made of, not by the words of one command."""

import json

import pytest

from bistill_hub import InputError, Recipe
from bistill_hub.comparison.memory import ROWS_FILE, read_rows, remember

SOURCES = {name: f"{name}.conll" for name in ("train", "validation", "test_source", "test_target")}
PAIR = Recipe.make(
    {
        "name": "pair",
        "source": {"code": "en", "name": "English", "text": "en.txt"},
        "target": {"code": "sw", "name": "Swahili", "text": "sw.txt"},
        "teacher": {"model": "some/teacher"},
        "license": "mit",
        "limits": "none",
        "tasks": [{"name": "ner", **SOURCES}, {"name": "pos", **SOURCES}],
    }
)
FRENCH = [{"code": "fr", "name": "French", "text": "fr.txt"}]


def asked(folder, pair):
    return {(row.contender, row.task): row.seeds for row in read_rows(folder, pair)}


def test_several_commands_add_up_in_the_order_of_tables(tmp_path):
    assert read_rows(tmp_path, PAIR) == []
    remember(tmp_path, PAIR, {"student": PAIR, "teacher": PAIR}, [0, 1], {})
    ner = PAIR.only(["ner"])
    found = remember(tmp_path, ner, {"teacher": ner, "lrf_3": ner}, [2, 0], {})
    assert [(row.contender, row.task, row.seeds) for row in found] == [
        ("teacher", "ner", (0, 1, 2)),
        ("student", "ner", (0, 1)),
        ("lrf_3", "ner", (0, 2)),
        ("teacher", "pos", (0, 1)),
        ("student", "pos", (0, 1)),
    ]
    assert [task.name for row in found for task in row.recipe.tasks] == [row.task for row in found]


def test_a_contender_of_some_of_the_tasks_has_rows_for_these_alone(tmp_path):
    remember(tmp_path, PAIR, {"student": PAIR, "teacher_full": PAIR.only(["pos"])}, [0], {})
    assert set(asked(tmp_path, PAIR)) == {("student", "ner"), ("student", "pos"), ("teacher_full", "pos")}


@pytest.mark.parametrize(
    "changes",
    [
        {"further_languages": FRENCH},
        {"seed": 5},
        {"checkpoint_every": 3},
        {"baselines": ["random_teacher"]},
        {"teacher.tokenizer_not_by": ["XLMRobertaTokenizer"]},
    ],
)
def test_what_changes_no_model_of_the_pair_is_the_same_comparison(tmp_path, changes):
    remember(tmp_path, PAIR, {"student": PAIR}, [0], {})
    assert asked(tmp_path, PAIR.replace(changes)) == {("student", "ner"): (0,), ("student", "pos"): (0,)}


def test_a_tokenizer_class_that_is_named_later_leaves_the_rows_as_they_were(tmp_path):
    remember(tmp_path, PAIR, {"student": PAIR}, [0], {})
    before = json.loads((tmp_path / ROWS_FILE).read_text())
    assert "tokenizer_not_by" not in (tmp_path / ROWS_FILE).read_text(), "as rows were before there was the field"
    named = PAIR.replace({"teacher.tokenizer_not_by": ["XLMRobertaTokenizer"]})
    remember(tmp_path, named, {"student": named}, [0], {})
    assert json.loads((tmp_path / ROWS_FILE).read_text()) == before
    remember(tmp_path, named, {"student": named}, [1], {})
    assert asked(tmp_path, PAIR) == {("student", "ner"): (0, 1), ("student", "pos"): (0, 1)}


def test_other_settings_are_another_comparison_and_forget_nothing(tmp_path):
    remember(tmp_path, PAIR, {"student": PAIR}, [0], {})
    assert asked(tmp_path, PAIR.replace({"bilingual.steps": 7})) == {}
    other = PAIR.replace({"tasks.ner.max_length": 99})
    assert asked(tmp_path, other) == {("student", "pos"): (0,)}, "the other task's settings are the same"
    remember(tmp_path, other, {"student": other}, [1], {})
    assert asked(tmp_path, other) == {("student", "ner"): (1,), ("student", "pos"): (0, 1)}
    assert asked(tmp_path, PAIR) == {("student", "ner"): (0,), ("student", "pos"): (0, 1)}
    assert asked(tmp_path, PAIR.only(["pos"]))["student", "ner"] == (1,), "of what is not named, the latest"


def test_another_recipe_under_a_contenders_name_takes_the_place_of_the_old_one(tmp_path):
    for languages, seed in ((FRENCH, 0), ([{**FRENCH[0], "text": "other.txt"}], 1)):
        derived = PAIR.replace({"further_languages": languages})
        found = remember(tmp_path, PAIR, {"student": PAIR, "minilmv2_style": derived}, [seed], {})
    rows = {row.contender: row for row in found if row.task == "ner"}
    assert rows["student"].seeds == (0, 1)
    assert rows["minilmv2_style"].seeds == (1,)
    assert rows["minilmv2_style"].recipe.further_languages[0].text.path == "other.txt"


def test_what_failed_is_known_until_it_is_asked_for_again(tmp_path):
    ner = PAIR.only(["ner"])
    remember(tmp_path, ner, {"student": ner}, [0, 1], {("student", "ner"): {0: "no room", 1: "no luck"}})
    assert read_rows(tmp_path, ner)[0].failed == {0: "no room", 1: "no luck"}
    assert remember(tmp_path, ner, {"student": ner}, [1], {})[0].failed == {0: "no room"}


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / ROWS_FILE).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path, PAIR)
    (tmp_path / ROWS_FILE).write_text(json.dumps({"rows_version": 99}))
    with pytest.raises(InputError, match="version 1"):
        read_rows(tmp_path, PAIR)


def test_a_contender_of_a_later_version_is_named(tmp_path):
    remember(tmp_path, PAIR, {"student": PAIR}, [0], {})
    file = tmp_path / ROWS_FILE
    file.write_text(file.read_text().replace('"contender": "student"', '"contender": "tortoise"', 1))
    with pytest.raises(InputError, match=r"rows\.json: contender = 'tortoise'.*later version"):
        read_rows(tmp_path, PAIR)
