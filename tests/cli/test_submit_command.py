"""`bistill submit` says what it would submit, asks, submits, and answers bad input with exit code 2."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from huggingface_hub import constants

from bistill_hub import jobs
from bistill_hub.cli.group import main
from bistill_hub.cli.submit import submit_command
from bistill_hub.jobs import Price
from bistill_hub.recipe import load_recipe

PACKAGE = ("--package", "bistill-hub==0.1.0")
TOKEN = "hf_" + "secret" * 6


@pytest.fixture
def submitted(monkeypatch):
    """What was submitted; the Hub itself is asked in tests of `bistill_hub.jobs`."""
    made = []

    def submit(job):
        made.append(job)
        return SimpleNamespace(id="0123", url="https://hub/jobs/org/0123", owner=SimpleNamespace(name="org"))

    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.setattr(jobs, "_hardware", lambda api, flavor: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return made


@pytest.fixture
def invoke():
    group = type(main)("bistill", commands=[submit_command])

    def given(*words, **options):
        result = CliRunner().invoke(group, ["submit", *map(str, words)], **options)
        assert TOKEN not in result.output
        return result

    return given


def said(result):
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(line.split(": ", 1) for line in result.stdout.splitlines() if ": " in line)


def test_a_dry_run_prints_the_specification_and_submits_nothing(invoke, submitted, tmp_path):
    file = tmp_path / "job.py"
    words = ["en_sw", "--tasks", "ner", "--flavor", "a10g-largex4", "--timeout", "2d", "--namespace", "org", *PACKAGE]
    words += ["--push-to", "org/pair", "--create-pr", "--set", "bilingual.steps=1234", "--write-script", file]
    result = invoke(*words, "--dry-run")
    lines = said(result)
    assert result.stdout.splitlines()[-1] == "Nothing was submitted."
    assert submitted == []
    assert lines["Owner"] == "org"
    assert lines["Hardware"] == "a10g-largex4, 4 processes"
    assert lines["Time-out"] == "2d"
    assert lines["Command"] == "uv run /data/bistill-en-sw.py"
    assert lines["Dependencies"] == "bistill-hub==0.1.0"
    assert "transformers==5." in lines["Constraints"]
    assert lines["Secrets"] == "HF_TOKEN"
    assert lines["Kept in"] == "org/bistill-runs, in the folder bistill-en-sw"
    assert lines["Published as"] == "org/pair (as a pull request)"
    assert "phase-1 1,234" in lines["Updates"]
    assert "ner-teacher unknown" in lines["Updates"]
    expected = load_recipe("en_sw").replace({"bilingual.steps": 1234}).only(["ner"])
    assert load_recipe(file) == expected
    assert 'PUSH = ["org/pair", "--create-pr"]' in file.read_text(encoding="utf-8")


def test_the_price_and_the_most_that_a_job_costs_are_printed(invoke, submitted, monkeypatch):
    price = SimpleNamespace(unit_cost_usd=0.025, unit_label="minute", accelerator=None)
    monkeypatch.setattr(jobs, "_hardware", lambda api, flavor: price)
    words = ["en_sw", "--flavor", "a10g-large", "--namespace", "org", *PACKAGE, "--dry-run"]
    assert said(invoke(*words))["Cost"] == "0.025 US dollars per minute, at most 18.00 until the time-out"
    assert Price(dollars=1, unit="fortnight").at_most(60) is None


def test_offline_a_dry_run_says_what_is_not_known(invoke, submitted, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lines = said(invoke("en_sw", "--flavor", "a10g-large", *PACKAGE, "--dry-run"))
    assert lines["Owner"] == "your account"
    assert "offline" in lines["Cost"]


def test_nothing_is_submitted_without_a_yes(invoke, submitted):
    words = ["en_sw", "--flavor", "a10g-large", "--namespace", "org", *PACKAGE]
    assert invoke(*words, input="n\n").exit_code == 1
    assert submitted == []
    assert invoke(*words, input="y\n").exit_code == 0
    assert len(submitted) == 1


def test_a_submission_says_where_the_job_its_log_and_its_pair_are(invoke, submitted):
    lines = said(invoke("en_sw", "--flavor", "a10g-large", "--namespace", "org", *PACKAGE, "--yes"))
    assert lines["Its log"] == "hf jobs logs org/0123"
    assert lines["The pair"].endswith("hf://buckets/org/bistill-runs/bistill-en-sw/package/repository FOLDER")
    (job,) = submitted
    assert job.file_name == "en_sw.py"
    assert job.script.recipe == load_recipe("en_sw")
    assert job.script.push is None


def test_a_job_is_followed_line_by_line(invoke, submitted, monkeypatch):
    monkeypatch.setattr(jobs, "follow", lambda started: iter(["Stage 1 of 7: student"]))
    result = invoke("en_sw", "--flavor", "a10g-large", "--namespace", "org", *PACKAGE, "--yes", "--follow")
    assert "Stage 1 of 7: student" in result.stdout.splitlines()


def test_the_script_has_the_name_that_it_has_in_the_job(invoke, submitted, tmp_path):
    file = tmp_path / "my own.py"
    file.write_text("from bistill_hub.recipe import load_recipe\n\nRECIPE = load_recipe('en_sw')\n", encoding="utf-8")
    lines = said(invoke(file, "--flavor", "a10g-large", "--namespace", "org", *PACKAGE, "--dry-run"))
    assert lines["Command"] == "uv run /data/my_own.py"


def test_who_stops_following_learns_that_the_job_goes_on(invoke, submitted, monkeypatch):
    def interrupted(started):
        yield "Stage 1 of 7: student"
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "follow", interrupted)
    result = invoke("en_sw", "--flavor", "a10g-large", "--namespace", "org", *PACKAGE, "--yes", "--follow")
    assert result.exit_code == 130
    assert "The job goes on: `hf jobs logs org/0123` shows its log, `hf jobs cancel org/0123` ends it." in result.stderr
    assert "same command" not in result.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--set", "source.text=en.txt"], ["source.text.path (en.txt)", "Hub"]),
        (["--create-pr"], ["create-pr", "--push-to"]),
        (["--private"], ["private", "--push-to"]),
        (["--push-to", "pair"], ["repo_id = 'pair'"]),
        (["--timeout", "soon"], ["timeout = 'soon'"]),
        (["--package", "torch==2.13.0"], ["package = 'torch==2.13.0'"]),
        (["--write-script", "nowhere/job.py"], ["--write-script", "nowhere/job.py"]),
        (["--tasks", "ner,xx"], ["tasks = 'xx'"]),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_submitted(invoke, submitted, words, parts):
    result = invoke("en_sw", "--flavor", "a10g-large", "--namespace", "org", "--yes", *PACKAGE, *words)
    assert result.exit_code == 2, result.output
    error = result.stderr[result.stderr.index("Error: ") :]
    assert len(error.splitlines()) == 1
    for part in parts:
        assert part in error
    assert submitted == []
