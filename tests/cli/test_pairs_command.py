"""`bistill pairs` prints what is published as a table, for a spreadsheet or for a program."""

import csv
import io
import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner
from example_card import FACTS, RESULT
from hubserver.visitor import serving

from bistill_hub import cli
from bistill_hub.cards.card import render_card
from bistill_hub.cli.pairs import pairs_command


def files(facts=FACTS):
    deltas = {f"tasks/{task}/delta.safetensors": b"a delta" for task in facts.tasks}
    return {"README.md": render_card(facts).encode(), "config.json": b'{"model_type": "bistill"}', **deltas}


LAST = ["parameters", "times as fast", "updated"]
SYNTHETIC = replace(
    FACTS,
    target=("qu", "Quechua"),
    results=(replace(RESULT, language="qu", synthetic=True), replace(RESULT, language="en", role="source", score=0.5)),
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setitem(cli.main.commands, "pairs", pairs_command)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(cli.main, ["pairs", *words])


def cells(line):
    return [cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")]


def test_the_table_has_a_line_a_task(hub, pairs):
    hub.create("lab/en-sw", files())
    hub.create("lab/en-qu", files(SYNTHETIC))
    result = pairs()
    assert result.exit_code == 0, result.output
    table = [cells(line) for line in result.output.splitlines() if "│" in line or "┃" in line]
    assert table == [
        ["repository", "pair", "task", "metric", "source score", "target score", *LAST],
        ["lab/en-sw", "en-sw", "ner", "f1", "85.5", "62.3", "", "", "2026-01-01"],
        ["lab/en-qu", "en-qu", "ner (synthetic)", "f1", "", "62.3", "", "", "2026-01-01"],
        ["lab/en-qu", "en-qu", "ner", "f1", "50.0", "", "", "", "2026-01-01"],
    ]
    assert "lab/en-sw: it has no size_and_speed.json." in result.output


def test_the_file_for_a_spreadsheet_has_the_numbers_as_they_are(hub, pairs):
    hub.create("lab/en-sw", files())
    hub.create("lab/en-qu", files(SYNTHETIC))
    hub.create("lab/encoder", files(replace(FACTS, tasks={}, results=())))
    result = pairs("--format", "csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    told = [
        (row["repository"], row["task"], row["source_score"], row["target_score"], row["synthetic"]) for row in rows
    ]
    assert told == [
        ("lab/en-sw", "ner", "0.855", "0.623", "False"),
        ("lab/en-qu", "ner", "", "0.623", "True"),
        ("lab/en-qu", "ner", "0.5", "", "False"),
        ("lab/encoder", "", "", "", ""),
    ]
    assert {row["teacher"] for row in rows} == {FACTS.teacher}
    assert {row["notes"] for row in rows} == {"it has no size_and_speed.json"}
    assert rows[0]["updated"].startswith("2026-01-01T00:00:")
    assert rows[0]["commit"] == hub.commits("lab/en-sw")[0].oid


def test_json_has_a_record_a_pair(hub, pairs):
    hub.create("lab/en-qu", files(SYNTHETIC))
    (record,) = json.loads(pairs("--format", "json", "--task", "ner").stdout)
    assert (record["repository"], record["source"], record["target"]) == ("lab/en-qu", "en", "qu")
    assert record["scores"] == [
        {"task": "ner", "metric": "f1", "source_score": None, "target_score": 0.623, "synthetic": True},
        {"task": "ner", "metric": "f1", "source_score": 0.5, "target_score": None, "synthetic": False},
    ]
    assert record["parameters"] is None
    assert record["notes"] == ["it has no size_and_speed.json"]


def test_with_a_task_the_scores_of_others_are_left_out(hub, pairs):
    tasks = {"ner": FACTS.tasks["ner"], "pos": FACTS.tasks["ner"]}
    results = (RESULT, replace(RESULT, task="pos", metric="accuracy"))
    hub.create("lab/en-sw", files(replace(FACTS, tasks=tasks, results=results)))
    (record,) = json.loads(pairs("--format", "json", "--task", "pos", "--target", "sw").stdout)
    assert [score["task"] for score in record["scores"]] == ["pos"]


@pytest.mark.parametrize(("layout", "printed"), [("table", ""), ("csv", "repository,"), ("json", "[]\n")])
def test_that_nothing_fits_is_said(hub, pairs, layout, printed):
    result = pairs("--source", "fi", "--format", layout)
    assert result.exit_code == 0, result.output
    assert "No published pair fits." in (result.stdout if layout == "table" else result.stderr)
    assert result.stdout.startswith(printed)


def test_markup_in_what_others_wrote_is_text(hub, pairs):
    hub.create("lab/en-sw", files(replace(FACTS, results=(replace(RESULT, metric="f1.[red]"),))))
    hub.create("lab/en-qu", {**files(SYNTHETIC), "README.md": b"---\nlanguage: '\x1b[31m\n---\n"})
    output = pairs().output
    assert "\x1b" not in output
    assert "names no task, language, metric or score" in output
    assert "lab/en-qu: its README.md cannot be read (" in output


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    (error,) = result.stderr.strip().splitlines()
    assert error.startswith("Error: ")
    for part in parts:
        assert part in error


def test_a_hub_that_cannot_be_asked_is_one_sentence(hub, pairs, monkeypatch):
    refused(pairs("--endpoint", "http://127.0.0.1:9"), "http://127.0.0.1:9: the connection to the Hub broke")
    refused(pairs("--endpoint", "example"), "endpoint = 'example': not the address of a server")
    refused(pairs("--target", "Swahili"), "target = 'Swahili': not a language code")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(pairs(), "the Hub cannot be asked in offline mode", "Unset HF_HUB_OFFLINE")
