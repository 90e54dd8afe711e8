"""A recipe that is written says what it was given, whatever the names are."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.errors import InputError
from bistill_hub.new_pair.script import NewPair, Place, recipe_text, write_pair
from bistill_hub.recipe import load_recipe
from bistill_hub.resources import resource_dir

PAIR = NewPair(
    name="pair",
    source=("en", "English"),
    target=("sr-Latn", "Serbian"),
    texts=(Place(wikipedia="en"), Place(path="texts/sr.txt")),
    teacher="some/teacher",
    license="other",
    license_name="Own",
    license_link="https://example.org/own",
    tasks={"nli": {name: Place(path=f"{name}.tsv") for name in ("train", "validation", "test_source", "test_target")}},
    unverified=("license: none",),
)


def strings(text):
    return [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back_as_it_was(name, fact, link):
    pair = replace(PAIR, source=("en", name), unverified=(fact,), license_link=link)
    assert {name, fact, link} <= set(strings(recipe_text(pair, Path("recipes"))))


def test_the_written_recipe_is_what_was_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script, card, recipe = write_pair(PAIR, Path("a/b"))
    assert (script, card) == (Path("a/b/en_sr_latn.py"), Path("a/b/en_sr_latn.card.md"))
    assert recipe == load_recipe(tmp_path / script)
    text = script.read_text()
    assert "`bistill run en_sr_latn.py`.\n\n`uv run en_sr_latn.py` does the same wherever uv can fetch" in text
    assert recipe.source.text.dataset == "wikimedia/wikipedia"
    assert Path(recipe.target.text.path).resolve() == tmp_path / "texts" / "sr.txt"
    assert recipe.tasks[0].max_length == 128
    assert (recipe.license, recipe.license_name, recipe.license_link) == ("other", "Own", "https://example.org/own")
    assert recipe.limits == card.read_text()
    titles = re.findall(r"^\*\*(.+?)\.\*\*", recipe.limits, re.MULTILINE)
    assert len(titles) == 4
    sections = re.findall(r"^## (.+)$", (resource_dir("model_cards") / "pair.md.j2").read_text(), re.MULTILINE)
    assert "Intended use" in sections
    assert not set(titles) & set(sections), "what a card has a section for is not asked for once more"


def test_a_folder_that_is_reached_by_a_link_gets_a_recipe_that_finds_its_files(tmp_path, monkeypatch):
    (tmp_path / "elsewhere" / "deep" / "recipes").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to(tmp_path / "elsewhere" / "deep" / "recipes")
    (tmp_path / "work" / "texts").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "sr.txt").write_text("Dobar dan")
    monkeypatch.chdir(tmp_path / "work")
    texts = (Place(wikipedia="en"), Place(path="texts/../sr.txt"))
    script, _, recipe = write_pair(replace(PAIR, texts=texts), Path("link"))
    assert Path(recipe.target.text.path).resolve() == tmp_path / "sr.txt"
    assert Path(recipe.tasks[0].train.path).resolve() == tmp_path / "work" / "train.tsv"
    assert load_recipe(script.resolve()) == recipe


def test_a_short_teacher_gets_short_inputs(tmp_path):
    _, _, recipe = write_pair(replace(PAIR, longest=100), tmp_path)
    assert (recipe.bilingual.block_size, recipe.tasks[0].max_length) == (100, 100)
    assert recipe.bilingual.steps == 200_000


def test_a_class_that_builds_another_tokenizer_is_named_with_the_reason(tmp_path):
    pair = replace(PAIR, not_by=("XLMRobertaTokenizer",), deltas={"en": "some/en-sft"})
    script, _, recipe = write_pair(pair, tmp_path)
    assert recipe.teacher.tokenizer_not_by == ("XLMRobertaTokenizer",)
    assert recipe.teacher.language_deltas == {"en": "some/en-sft"}
    (reason,) = (line.strip() for line in script.read_text().splitlines() if line.strip().startswith("# Classes"))
    assert reason.endswith("load it with AutoTokenizer.")
    _, _, without_deltas = write_pair(replace(pair, deltas={}), tmp_path, overwrite=True)
    assert without_deltas.teacher.tokenizer_not_by == ("XLMRobertaTokenizer",)
    assert "tokenizer_not_by" not in recipe_text(PAIR, tmp_path)


def test_what_is_no_recipe_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"name = '\.\./x'"):
        write_pair(replace(PAIR, name="../x"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
