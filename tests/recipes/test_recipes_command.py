"""`bistill recipes` lists what ships with the package, for people and for programs."""

import json
import re
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
    """The cells of each recipe's first line, by its name; columns begin where those of the header do."""
    lines = output.splitlines()
    header = next((line for line in lines if line.startswith("name ")), "")
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    found = {}
    for line in lines:
        if line.startswith("en_"):
            cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
            found[cells[0]] = cells
    return found


def test_the_table_has_a_line_for_each_recipe(recipes):
    printed = recipes()
    assert printed.exit_code == 0
    assert sorted(rows(printed.output)) == sorted(file.stem for file in resource_dir("recipes").glob("*.py"))
    shown = rows(printed.output)["en_luo"]
    unverified = str(len(load_recipe("en_luo").unverified))
    assert shown == ["en_luo", "Luo", "bert-base-multilingual-cased", "ner", unverified, "text", "never"]
    assert [rows(printed.output)[name][5] for name in ("en_ha", "en_de_xquad")] == ["", "convert"]


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
        "never_run": True,
        "unverified": list(recipe.unverified),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--language", "sw"), ["en_sw", "en_sw_masakhaner", "en_sw_mmbert", "en_sw_xnli"]),
        (("--language", "swa", "--task", "ner"), ["en_sw", "en_sw_masakhaner", "en_sw_mmbert"]),
        (("--language", "ar", "--teacher", "MDEBERTA"), ["en_ar_xquad"]),
        (("--task", "pos"), ["en_sw"]),
        (("--language", "en", "--teacher", "mmbert", "--task", "ner"),
         ["en_ha_mmbert", "en_ig_mmbert", "en_sw_mmbert", "en_yo_mmbert"]),
    ],
)  # fmt: skip
def test_recipes_are_chosen_by_language_teacher_and_task(recipes, words, expected):
    assert [record["name"] for record in json.loads(recipes(*words, "--json").stdout)] == expected
    assert list(rows(recipes(*words).output)) == expected


def test_eighty_columns_hold_each_recipe_in_two_lines_at_most_with_its_names_whole(recipes, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = recipes().output.splitlines()
    assert max(map(len, lines)) <= 80
    of_recipes = [line for line in lines if line.startswith(("en_", "   ")) and "Recipes:" not in line]
    named = [number for number, line in enumerate(of_recipes) if line.startswith("en_")]
    assert len(named) == len(list(resource_dir("recipes").glob("*.py")))
    assert max(after - before for before, after in zip(named, [*named[1:], len(of_recipes)], strict=True)) == 2
    text = " ".join(of_recipes)
    for whole in ("mmBERT-base", "mdeberta-v3-base", "multilingual-cased", "Shipibo-Konibo", "Kinyarwanda", "never"):
        assert f" {whole} " in text


def test_a_recipe_that_somebody_has_run_is_not_said_to_be_new(recipes, monkeypatch, tmp_path):
    unrun = (resource_dir("recipes") / "en_ha.py").read_text(encoding="utf-8")
    run = "RECIPE = RECIPE.replace({'unverified': RECIPE.unverified[1:]})\n"
    (tmp_path / "en_ha.py").write_text(unrun.replace("\nif __name__", f"\n{run}\nif __name__"), encoding="utf-8")
    for module in (recipe_list, recipe_module):
        monkeypatch.setattr(module, "resource_dir", lambda name: tmp_path)
    assert rows(recipes().output)["en_ha"][6] == ""
    assert json.loads(recipes("--json").stdout)[0]["never_run"] is False


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
