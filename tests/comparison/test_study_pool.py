"""The study's tables are what its kept predictions give on the real labels."""

import csv
import os
import shutil
from pathlib import Path

import pytest
from studies import load_pool_script

from bistill_hub.cli.recipe_options import load_compared
from bistill_hub.comparison.report import NAME

VARIABLE = "BISTILL_TEST_DATA"
ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "docs" / "studies" / "en-sw"
FOLDER = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "data")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (FOLDER / "ner").is_dir(), reason=f"{VARIABLE} names no folder with ner/ in it"),
]


@pytest.fixture
def settings(monkeypatch):
    """The study's recipe, and its contenders' own fields."""
    monkeypatch.setenv("BISTILL_DATA", str(FOLDER))
    monkeypatch.setenv("BISTILL_TEACHER", "teacher")
    return load_compared("en_sw", "ner", (), STUDY.with_suffix(".toml"))


def rows_of(file):
    """A table's rows; what is a number there is one here."""
    rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
    return [{name: as_number(value) for name, value in row.items()} for row in rows]


def as_number(text):
    try:
        return float(text)
    except ValueError:
        return text


def test_tables_and_page_are_those_of_the_kept_predictions(settings, tmp_path):
    script = load_pool_script()
    recipe, own = settings
    (tmp_path / "en-sw").mkdir()
    page = tmp_path / "en-sw.md"
    shutil.copyfile(STUDY.with_suffix(".md"), page)
    script.table(STUDY / "pool", tmp_path / "en-sw", recipe, own)
    script.onto_page(page, tmp_path / "en-sw", STUDY / "pool")
    ours, theirs = (rows_of(folder / f"{NAME}.csv") for folder in (tmp_path / "en-sw", STUDY))
    assert len(ours) == len(theirs) > 2
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other)
    assert page.read_text() == STUDY.with_suffix(".md").read_text()
