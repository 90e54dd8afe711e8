"""The studies' tables are what their kept predictions give on the real labels."""

import csv
import shutil

import pytest
from studies import FOLDER, load_script, name_data, on_real_data

from bistill_hub.cli.recipe_options import load_compared
from bistill_hub.comparison.report import BESIDE_FILE, NAME

IN_FP32 = (
    "bilingual.precision=fp32",
    "bilingual.teacher_precision=fp32",
    "tasks.ner.distillation.precision=fp32",
    "tasks.ner.distillation.teacher_precision=fp32",
)
SPARSE_TEACHER = tuple(
    f"tasks.{task}.teacher.{setting}"
    for task, rate in {"ner": "1e-3", "pos": "1e-3", "qa": "5e-4"}.items()
    for setting in ("density=0.08", "dense_epochs=1", f"learning_rate={rate}", "precision=bf16")
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
        ("en-sw-sparse-teacher", "en_sw", "en-sw", "ner,pos,qa", SPARSE_TEACHER),
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
    for name in (f"{NAME}.csv", BESIDE_FILE):
        ours, theirs = (rows_of(place / name) for place in (output, folder))
        assert len(ours) == len(theirs) > 2
        for one, other in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other)
    assert page.read_text() == folder.with_suffix(".md").read_text()


def test_a_label_that_a_row_never_gave_and_that_is_none_has_no_metric(tmp_path):
    file = tmp_path / "metrics.csv"
    rows = [("student", "f1", 0.5), ("student", "SYM.f1", 0.25), ("from_scratch", "f1", 0.125)]
    lines = [f"pos,sw,{contender},0,{metric},{value}" for contender, metric, value in rows]
    file.write_text("\n".join(["task,language,contender,seed,metric,value", *lines]) + "\n", encoding="utf-8")
    table = load_script("pool")._metrics_table(file)
    assert table[2] == "| pos, in % | seed | language | f1 | SYM.f1 |"
    assert table[4] == "| bilingual student | 0 | sw | 50.0 | 25.0 |"
    assert table[5] == "| bilingual from scratch + phase 2 | 0 | sw | 12.5 |  |"
