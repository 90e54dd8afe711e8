"""The studies' tables are what their kept predictions give on the real labels."""

import csv
import shutil

import pytest
from studies import FOLDER, load_script, name_data, on_real_data

from bistill_hub.cli.recipe_options import load_compared
from bistill_hub.comparison.report import NAME

IN_FP32 = (
    "bilingual.precision=fp32",
    "bilingual.teacher_precision=fp32",
    "tasks.ner.distillation.precision=fp32",
    "tasks.ner.distillation.teacher_precision=fp32",
)


def rows_of(file):
    """A table's rows; what is a number there is one here."""
    rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
    return [{name: as_number(value) for name, value in row.items()} for row in rows]


def as_number(text):
    try:
        return float(text)
    except ValueError:
        return text


@on_real_data
@pytest.mark.parametrize(
    ("study", "recipe", "settings", "tasks", "assignments"),
    [
        ("en-sw", "en_sw", "en-sw", "ner,pos,nli,qa", ()),
        ("en-sw-ablations", "en_sw", "en-sw", "ner", IN_FP32),
        ("en-yo", "en_yo_mmbert", "en-yo", "ner", ()),
    ],
)
def test_tables_and_page_are_those_of_the_kept_predictions(
    study, recipe, settings, tasks, assignments, tmp_path, monkeypatch
):
    name_data(monkeypatch)
    pair, own = load_compared(recipe, tasks, assignments, FOLDER / f"{settings}.toml")
    script, folder, output = load_script("pool"), FOLDER / study, tmp_path / study
    output.mkdir()
    page = output.with_suffix(".md")
    shutil.copyfile(folder.with_suffix(".md"), page)
    script.table(folder / "pool", output, pair, own)
    script.onto_page(page, output, folder / "pool")
    ours, theirs = (rows_of(place / f"{NAME}.csv") for place in (output, folder))
    assert len(ours) == len(theirs) > 2
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other)
    assert page.read_text() == folder.with_suffix(".md").read_text()
