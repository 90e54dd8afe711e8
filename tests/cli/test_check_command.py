"""`bistill check` tells what it found as text or JSON, and its exit code says whether there was something."""

import json
import shutil

import pytest
from click.testing import CliRunner

from bistill_hub.cards.sections import read_section
from bistill_hub.cli.check import check_command
from bistill_hub.cli.group import _Commands
from bistill_hub.cli.push import push_command
from bistill_hub.hub.report import Report
from bistill_hub.pipeline.portable import published_sha256


@pytest.fixture
def check():
    runner, group = CliRunner(), _Commands(commands={"check": check_command})
    return lambda *words: runner.invoke(group, ["check", *map(str, words), "--quiet"], env={"COLUMNS": "200"})


@pytest.fixture
def altered(runs, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    (folder / "setup.py").write_text("")
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0\n", ""))
    return folder


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    (error,) = result.stderr.strip().splitlines()
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


def test_a_good_pair_gives_exit_code_0(check, runs):
    result = check(runs["bert"].repository)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("nothing") == 7
    assert f"{runs['bert'].repository}: no findings." in result.stdout.splitlines()
    assert not result.stderr


def test_what_only_a_person_can_tell_ends_it(check, runs, ner_files, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["unverified"] = ["text: its\x1b[2J licence"]
    former, recipe["sha256"] = recipe["sha256"], published_sha256(recipe)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    for file in (folder / "card.json", card := folder / "README.md"):
        file.write_text(file.read_text().replace(former, recipe["sha256"]))
    limits = read_section(card.read_text(), "limits")
    card.write_text(card.read_text().replace(limits, f"{limits}\n{'and so on ' * 100}\n"))
    result = check(folder)
    assert result.exit_code == 0, result.output
    _, title, listed = result.stdout.partition("To be read by a person, for no program can tell whether it is true:\n")
    assert title
    said = dict(line.strip().partition(": ")[::2] for line in listed.splitlines())
    assert said["license"] == "apache-2.0"
    assert said["unverified"] == "text: its?[2J licence"
    assert said["limits"].startswith(" ".join(limits.split()))
    assert said["limits"].endswith(" characters are in README.md)")
    name = ner_files["en"]["train"].name
    assert said["tasks.ner.train"].startswith(f"{name}, a file on the publisher's machine, SHA-256 ")
    report = json.loads(check(folder, "--json").stdout)
    assert [claim["what"] for claim in report["to_read"]] == [
        line.strip().partition(": ")[0] for line in listed.splitlines()
    ]
    assert report["findings"] == []


def test_findings_are_told_one_a_line_with_exit_code_1(check, altered):
    result = check(altered)
    assert result.exit_code == 1, result.output
    lines = result.stdout.partition("To be read by a person")[0].splitlines()
    assert lines[-4].startswith("files: setup.py: a file that no pair has. Remove it; a pair is")
    assert lines[-3].startswith("card: README.md: license: ")
    assert lines[-2].startswith("card: README.md: line ")
    assert lines[-1] == f"{altered}: 3 findings."


def test_names_of_files_do_not_steer_the_terminal(check, altered):
    (altered / "setup.py").rename(altered / "a\x1b[2J\nb")
    result = check(altered)
    assert "files: a?[2J?b: a file that no pair has." in result.stdout
    assert "\x1b[2J" not in result.stdout


def test_findings_for_which_a_push_is_refused_do_not_either(altered):
    (altered / "setup.py").rename(altered / "a\x1b[2J\x07b")
    group = _Commands(commands={"push": push_command})
    result = CliRunner().invoke(group, ["push", str(altered), "org/pair", "--dry-run"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {altered}: the pair is not fit to be published, ")
    assert "\n  a?[2J?b: a file that no pair has; remove it" in result.stderr
    assert "\x1b" not in result.output


def test_notes_do_not_steer_the_terminal(check, runs, monkeypatch):
    report = Report("a pair", None, (), (), notes=("scored by version \x1b[2J\x9b1A of ner.",))
    monkeypatch.setattr("bistill_hub.hub.check.check_pair", lambda *args, **options: report)
    assert "Note: scored by version ?[2J?1A of ner.\n" in check(runs["bert"].repository).stdout


def test_json_has_all_of_the_report(check, altered):
    result = check(altered, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["pair"], report["commit"], report["notes"]) == (str(altered), None, [])
    assert report["checks"] == ["files", "hashes", "code", "tokenizer", "loading", "results", "card"]
    assert [finding["file"] for finding in report["findings"]] == ["setup.py", "README.md", "README.md"]
    assert set(report["findings"][0]) == {"check", "file", "problem", "remedy"}


def test_evaluated_again_on_the_runs_own_data(check, runs, ner_files):
    folder = runs["bert"].repository
    words = [f"--test={code}={ner_files[code]['test']}" for code in ("en", "sw")]
    result = check(folder, "--rerun", "ner", *words)
    assert result.exit_code == 0, result.output
    for code in ("en", "sw"):
        assert f"Note: student on {code}: 50 of 50 predictions are those recorded." in result.stdout


def test_what_cannot_be_checked_is_refused(check, runs, tmp_path):
    refused(check(tmp_path / "absent"), "absent", "neither a folder nor a Hub id")
    refused(check("alice/pair"), "alice/pair", "offline mode")
    refused(check(runs["bert"].repository, "--rerun", "ner"), "--test en=FILE")
    refused(check(runs["bert"].repository, "--rerun", "ner", "--test", "test.conll"), "--test", "CODE=FILE")
    refused(check(runs["bert"].repository, "--test", "sw=x"), "tests", "--rerun")
