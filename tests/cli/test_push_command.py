"""`bistill push` says what it would do, what it did and where that is, and answers bad input with exit code 2."""

import re
import shutil
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hubserver.visitor import nothing_changes, own, serving

from bistill_hub.cli.group import main
from bistill_hub.cli.push import push_command
from bistill_hub.hub import push as module
from bistill_hub.hub.repository import files_of

REPO = "alice/bistill-en-sw"
OLD = b'{"model_type": "bistill", "source_language": "en", "target_language": "sw"}'


@pytest.fixture
def pair(runs):
    return runs["bert"].repository


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(monkeypatch, tmp_path / "home") as server:
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server
        for user in server.accounts.users.values():
            assert server.leaks(user.token) == []


@pytest.fixture
def fit(monkeypatch):
    """Spares the check, which has tests of its own."""
    monkeypatch.setattr(module, "check_pair", lambda folder: SimpleNamespace(findings=()))


@pytest.fixture
def push(hub, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    group = type(main)("bistill", commands=[push_command])

    def invoke(*words):
        result = CliRunner().invoke(group, ["push", *map(str, words)])
        for user in hub.accounts.users.values():
            assert user.token not in result.output
        return result

    return invoke


def said(result):
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout.splitlines()


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    error = result.stderr[result.stderr.index("Error: ") :]
    for part in parts:
        assert str(part) in error, error
    return error.splitlines()


def test_a_push_says_where_the_pair_is_and_the_second_one_that_nothing_differs(push, hub, pair, fit):
    lines = said(push(pair, REPO, "--tag", "v1", "--private", "--endpoint", hub.endpoint))
    commit = hub.commits(REPO)[0].oid
    assert lines == [f"The pair is at {hub.endpoint}/{REPO}", f"Commit: {commit}", "Tag: v1"]
    assert hub.repositories[REPO].private
    with nothing_changes(hub):
        again = said(push(pair, REPO))
    assert again == [f"Nothing differs from {hub.endpoint}/{REPO}: no commit was made."]


def test_a_dry_run_prints_each_file_with_its_sizes_and_changes_nothing(push, hub, pair):
    hub.create(REPO, {"config.json": OLD, "assets/old.png": b"x" * 1234, "model.safetensors": b"old"})
    weights = (pair / "model.safetensors").read_bytes()
    hub.commit(REPO, {"model.safetensors": weights})
    with nothing_changes(hub):
        lines = said(push(pair, REPO, "--dry-run"))
    assert {exchange.method for exchange in hub.journal.exchanges} == {"GET", "HEAD"}
    assert lines[0].startswith(f"{pair} was checked, and is fit to be published: {len(files_of(pair))} files, ")
    rows = {cells[0]: cells[1:] for line in lines if len(cells := re.split(r"\s*│\s*", line.strip("│ "))) > 2}
    assert set(rows) == {file.as_posix() for file in files_of(pair)} | {"assets/old.png"}
    assert rows["config.json"][0] == "change"
    assert rows["config.json"][2] == f"{len(OLD)} bytes"
    size = f"{len(weights) / 1000:.1f} kB"
    assert rows["model.safetensors"] == ["same", size, size]
    assert rows["assets/old.png"] == ["delete", "", "1.2 kB"]
    assert rows["tasks/ner/delta.safetensors"][0] == "add"
    added = len(rows) - 2
    assert re.fullmatch(rf"To be sent: {added} files, .* kB\. To be deleted: 1\. Nothing was done\.", lines[-1])


def test_a_dry_run_refuses_options_that_the_push_would_refuse(push, tmp_path):
    result = push(tmp_path, REPO, "--dry-run", "--create-pr", "--tag", "v1")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: tag = 'v1': a pull request is not tagged.")


def test_a_dry_run_against_what_is_the_same_says_so(push, hub, pair, fit):
    said(push(pair, REPO))
    with nothing_changes(hub):
        assert said(push(pair, REPO, "--dry-run"))[-1] == "Nothing differs: no commit would be made."


@pytest.mark.parametrize("offline", [False, True])
def test_a_dry_run_without_a_network_says_what_was_checked_and_what_could_not_be_asked(
    push, pair, fit, monkeypatch, offline
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    result = push(pair, REPO, "--dry-run", "--endpoint", "http://127.0.0.1:9")
    size = f"{sum((pair / file).stat().st_size for file in files_of(pair)) / 1000:.1f} kB"
    checked = f"{pair} was checked, and is fit to be published: {len(files_of(pair))} files, {size}."
    assert result.stdout.splitlines() == [checked]
    unknown = "it is not known whether there is such a repository, nor what a push would add, change or delete in it"
    (error,) = refused(result, f"{REPO}: the Hub could not be asked (", unknown)
    assert ("offline mode" in error, "Unset HF_HUB_OFFLINE" in error, "See to the network" in error) == (
        offline,
        offline,
        not offline,
    )
    assert "goes on from" not in error, "nothing was begun"


def test_a_dry_run_without_a_network_lists_what_the_check_finds(push, pair, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    copy = shutil.copytree(pair, tmp_path / "copy")
    (copy / "notes.txt").write_text("x")
    result = push(copy, REPO, "--dry-run")
    lines = refused(result, "the pair is not fit to be published, 1 finding")
    assert lines[1].startswith("  notes.txt: a file that no pair has; remove it")
    assert result.stdout == ""


def test_without_the_right_to_write_the_pull_request_is_named(push, hub, pair, fit, monkeypatch):
    said(push(pair, REPO))
    hub.commit(REPO, {"config.json": OLD})
    monkeypatch.setenv("HF_TOKEN", hub.user("bob").token)
    address = f"{hub.endpoint}/{REPO}/discussions/1"
    lines = said(push(pair, REPO, "--tag", "v2"))
    assert lines[0] == f"The pull request {address} holds the pair."
    assert lines[1] == f"Commit: {hub.commits(REPO, 'refs/pr/1')[0].oid}"
    assert lines[2].startswith("The tag v2 was not set")
    with nothing_changes(hub):
        again = said(push(pair, REPO, "--create-pr"))
    assert again == [f"The pull request {address} is open already with the same files."]


def test_a_branch_and_the_deletion_of_tasks_can_be_asked_for(push, hub, pair, fit):
    hub.create(REPO, {"tasks/pos/delta.safetensors": b"theirs"})
    hub.repositories[REPO].refs["refs/heads/next"] = hub.commits(REPO)[0].oid
    refused(push(pair, REPO, "--revision", "next"), "the repository has tasks that the folder lacks: pos", "--replace")
    said(push(pair, REPO, "--revision", "next", "--replace"))
    assert set(own(hub.files(REPO, "next"))) == {file.as_posix() for file in files_of(pair)}
    assert own(hub.files(REPO)) == {"tasks/pos/delta.safetensors": b"theirs"}


def test_findings_are_listed_a_line_each(push, hub, pair, monkeypatch):
    findings = [
        SimpleNamespace(check="files", file="notes.txt", problem="a file that no pair has", remedy="remove it"),
        SimpleNamespace(check="loading", file=None, problem="it does not load", remedy="package the run again"),
    ]
    monkeypatch.setattr(module, "check_pair", lambda folder: SimpleNamespace(findings=tuple(findings)))
    lines = refused(push(pair, REPO), pair, "the pair is not fit to be published, 2 findings")
    assert lines[1:] == [
        "  notes.txt: a file that no pair has; remove it",
        "  it does not load; package the run again.",
    ]
    assert hub.journal.exchanges == []


def test_bad_input_and_the_hubs_errors_are_one_sentence(push, hub, pair, fit, tmp_path, monkeypatch):
    refused(push(tmp_path / "nowhere", REPO), tmp_path / "nowhere", "there is no such folder")
    refused(push(pair, "bistill-en-sw"), "not the name of a repository", "ORG/NAME")
    refused(push(pair, REPO, "--endpoint", "hub"), "endpoint = 'hub'")
    refused(push(pair, REPO, "--create-pr", "--tag", "v1"), "a pull request is not tagged")
    hub.faults.answer("POST", "/api/repos/create", 429, headers={"Retry-After": "12"})
    assert len(refused(push(pair, REPO), "too many requests", "Wait 12 seconds")) == 1
    monkeypatch.delenv("HF_TOKEN")
    assert len(refused(push(pair, REPO), "401", "hf auth login")) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert len(refused(push(pair, REPO), "offline mode", "HF_HUB_OFFLINE")) == 1
    assert hub.repositories == {}


def test_the_help_tells_how_to_log_in_and_where_it_goes():
    text = " ".join(CliRunner().invoke(push_command, ["--help"]).output.split())
    for part in ("hf auth login", "HF_TOKEN", "HF_ENDPOINT", "Xet", "--dry-run", "pull request", "Examples:"):
        assert part in text, part
