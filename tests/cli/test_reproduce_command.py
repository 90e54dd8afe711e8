"""`bistill run ORG/NAME` reproduces a published pair: what it passes on, what it prints, and its exit code."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bistill_hub.cli.group import _Commands
from bistill_hub.cli.run import run_command
from bistill_hub.hub import reproduce as module
from bistill_hub.hub.reproduced_files import ComparedFile
from bistill_hub.hub.reproduction import Change, ComparedScore, Reproduction, write_reproduction

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def score(model, published, reproduced, **more):
    fields = {"low": 0.5, "high": 0.75, "n": 200, "equal": 198, "same_weights": False, "synthetic": False}
    return ComparedScore(
        task="ner",
        language="sw",
        role="target",
        model=model,
        metric="entity_f1",
        published=published,
        reproduced=reproduced,
        **{**fields, "holds": True, **more},
    )


def reproduction(**fields):
    found = {
        "pair": "org/bistill-en-sw",
        "commit": COMMIT,
        "verdict": "reproduced",
        "differences": (),
        "scores": (score("student", 0.625, 0.6262), score("random_teacher", 0.25, 0.25, equal=None)),
        "files": (
            ComparedFile(path="config.json", state="identical", size=2_000),
            ComparedFile(path="model.safetensors", state="differs", size=12_340_000),
            ComparedFile(path="tasks/ner/delta.safetensors", state="differs", size=1_000_000, distance=0.0125),
        ),
        "changes": (Change(field="speed.seconds", published=30.0, now=0),),
        "versions": {"torch": ("2.12.0", "2.13.0"), "triton": (None, "3.0")},
        "left_out": ("qa",),
        "notes": ("A note with [brackets] and a \x1b[31mcolour.",),
        "command": "bistill run org/bistill-en-sw",
        "repository": Path("runs/x/package/repository"),
        "report": Path("runs/x/reproduction.md"),
    }
    return Reproduction(**{**found, **fields})


@pytest.fixture
def command(monkeypatch):
    """The command, on a reproduction that is made up; with the arguments that it is called with."""
    called = []

    def go(found, *words):
        def reproduce(*args, **kwargs):
            called.append((args, kwargs))
            return found

        monkeypatch.setattr(module, "reproduce", reproduce)
        group = _Commands(commands={"run": run_command})
        result = CliRunner().invoke(group, ["run", "org/bistill-en-sw", *words], env={"COLUMNS": "200"})
        return result, called

    return go


def test_the_arguments_of_the_command_line_reach_the_reproduction(command, tmp_path):
    fields = tmp_path / "mine.toml"
    fields.write_text('[source]\ntext = "en.txt"\n[target]\ntext = "old.txt"\n', encoding="utf-8")
    words = ["-o", str(tmp_path / "out"), "--tasks", "ner,qa", "--set", "target.text=sw.txt", "--set", "seed=3"]
    result, called = command(reproduction(), *words, "--set-file", str(fields), "--revision", "v1", "--quiet")
    assert result.exit_code == 0, (result.output, result.exception)
    options = {"tasks": ["ner", "qa"], "revision": "v1", "progress": False}
    changes = {"source.text": "en.txt", "target.text": "sw.txt", "seed": 3}
    assert called == [(("org/bistill-en-sw", tmp_path / "out"), {"changes": changes, **options})]


def test_what_a_file_says_of_a_comparison_s_contenders_is_nothing_to_the_reproduction(command, tmp_path):
    fields = tmp_path / "mine.toml"
    fields.write_text('source.text = "en.txt"\n[contenders.from_scratch]\nseed = 4\n', encoding="utf-8")
    result, called = command(reproduction(), "--set-file", str(fields))
    assert result.exit_code == 0, (result.output, result.exception)
    assert called[0][1]["changes"] == {"source.text": "en.txt"}


def test_no_tasks_are_none_and_all_are_not_named(command):
    assert command(reproduction(), "--tasks", "none")[1][0][1]["tasks"] == []
    assert command(reproduction())[1][-1][1]["tasks"] is None


def test_scores_files_changes_and_versions_are_printed_with_the_verdict_last(command):
    result, _ = command(reproduction())
    assert result.exit_code == 0, (result.output, result.exception)
    shown = " ".join(result.output.split())
    for part in (
        "│ ner │ sw (target) │ student │ entity_f1 │ 62.50 │ 62.62 │ +0.12 │ 99.0 % (< 99.5 %) │ holds │",
        "│ ner │ sw (target) │ random teacher │ entity_f1 │ 25.00 │ 25.00 │ +0.00 │ │ holds │",
        "│ model.safetensors │ differs │ 12.34 │ │",
        "│ tasks/ner/delta.safetensors │ differs │ 1.00 │ 0.013 │",
        "│ speed.seconds │ 30.0 │ 0 │",
        "torch was 2.12.0, and is 2.13.0 now.",
        "triton was not recorded, and is 3.0 now.",
        "Not done: qa.",
        "How far weights are apart was not measured of 1 file (12.3 MB).",
        "A note with [brackets] and a ?[31mcolour.",
    ):
        assert part in shown, shown
    assert result.output.splitlines()[-1] == f"org/bistill-en-sw at {COMMIT}: reproduced, with 1 change."


def test_a_pair_that_is_not_reproduced_gives_exit_code_1_and_the_reasons(command):
    why = "ner, student on sw: entity_f1 = 62.50: reproduced it is 40.00, which differs"
    result, _ = command(reproduction(verdict="not reproduced", differences=(why,), changes=()))
    assert result.exit_code == 1, (result.output, result.exception)
    assert why in result.output
    assert result.output.splitlines()[-1].endswith(": not reproduced.")


def test_the_report_is_markdown_whose_cells_cannot_break_the_table(tmp_path):
    bad = Change(field="limits", published="a | b\nc", now="d")
    write_reproduction(tmp_path, reproduction(changes=(bad,), scores=(score("student", 0.5, 0.5, synthetic=True),)))
    report = (tmp_path / "reproduction.md").read_text(encoding="utf-8")
    assert '| limits | "a \\| b\\nc" | "d" |' in report.splitlines()
    assert "## Scores of a synthetic demonstration (%), which may differ by 0.2 points" in report.splitlines()
    assert "| ner | sw (target) | student | entity_f1 | 50.00 | 50.00 | +0.00 | 99.0 % (< 99.5 %) | holds |" in report
