"""`bistill recipes` lists what ships with the package, for people and for programs."""

import json
import shutil

import pytest
from click.testing import CliRunner

from bistill_hub import cli, recipe_list
from bistill_hub import recipe as recipe_module
from bistill_hub.recipe import load_recipe
from bistill_hub.resources import resource_dir


@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(cli.main, ["recipes", *words])


def rows(output):
    """The cells of each line of the table, by the first of them."""
    lines = [line.split("│")[1:-1] for line in output.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells] for cells in lines}


def test_the_table_has_a_line_for_each_recipe(recipes):
    printed = recipes()
    assert printed.exit_code == 0
    assert sorted(rows(printed.output)) == sorted(file.stem for file in resource_dir("recipes").glob("*.py"))
    shown = rows(printed.output)["en_luo"]
    assert shown[1:5] == ["en-luo", "Luo", "google-bert/bert-base-multilingual-cased", "ner"]
    assert shown[5:] == [str(len(load_recipe("en_luo").unverified)), "target.text: a text file"]
    assert rows(printed.output)["en_ha"][6] == ""


def test_json_holds_what_the_recipe_says(recipes):
    (record,) = json.loads(recipes("--json", "--language", "hch").stdout)
    recipe = load_recipe("en_hch")
    assert record == {
        "name": "en_hch",
        "source": "en",
        "target": "hch",
        "target_name": "Wixarika",
        "teacher": "FacebookAI/xlm-roberta-base",
        "tasks": ["nli"],
        "tests": ["nala-cub/americas_nli"],
        "license": "mit",
        "needs": ["target.text: a text file"],
        "unverified": list(recipe.unverified),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--language", "sw"), ["en_sw", "en_sw_mmbert", "en_sw_xnli"]),
        (("--language", "swa", "--task", "ner"), ["en_sw", "en_sw_mmbert"]),
        (("--language", "ar", "--teacher", "MDEBERTA"), ["en_ar_xquad"]),
        (("--task", "pos"), ["en_sw"]),
        (("--language", "en", "--teacher", "mmbert", "--task", "ner"),
         ["en_ha_mmbert", "en_ig_mmbert", "en_sw_mmbert", "en_yo_mmbert"]),
    ],
)  # fmt: skip
def test_recipes_are_chosen_by_language_teacher_and_task(recipes, words, expected):
    assert [record["name"] for record in json.loads(recipes(*words, "--json").stdout)] == expected
    assert list(rows(recipes(*words).output)) == expected


def test_a_teacher_whose_weights_are_pickled_has_to_be_converted(recipes):
    told = {record["name"]: record["needs"] for record in json.loads(recipes("--json", "--language", "de").stdout)}
    assert told == {
        "en_de_mmbert": ["teacher.model: converted to safetensors"],
        "en_de_xnli": [],
        "en_de_xquad": ["teacher.model: converted to safetensors"],
    }


def test_nothing_that_fits_is_said_and_leaves_json_whole(recipes):
    assert recipes("--language", "xx").output == "No recipe fits.\n"
    printed = recipes("--language", "xx", "--json")
    assert json.loads(printed.stdout) == []
    assert printed.stderr == "No recipe fits.\n"


def test_a_recipe_that_is_broken_is_named(recipes, monkeypatch, tmp_path):
    shutil.copy(resource_dir("recipes") / "en_ha.py", tmp_path)
    (tmp_path / "en_xx.py").write_text("RECIPE = 1\n")
    for module in (recipe_list, recipe_module):
        monkeypatch.setattr(module, "resource_dir", lambda name: tmp_path)
    printed = recipes()
    assert printed.exit_code == 2
    assert "en_xx.py" in printed.stderr
    assert "defines no Recipe" in printed.stderr
