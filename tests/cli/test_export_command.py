"""`bistill export` writes a plain checkpoint, and answers bad input with one sentence and exit code 2."""

import pytest
from click.testing import CliRunner
from hubserver.visitor import serving
from transformers import AutoConfig, XLMRobertaForTokenClassification

from bistill_hub import cli


@pytest.fixture
def export():
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.main, ["export", *map(str, words)])


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


def test_a_task_is_exported_and_its_place_is_said(export, runs, tmp_path):
    result = export(runs["xlm-roberta"].repository, "--task", "ner", "--to", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"The checkpoint is in {tmp_path / 'out'}"
    model, loading = XLMRobertaForTokenClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"]
    assert "B-PER" in model.config.label2id


def test_without_a_task_the_encoder_is_exported(export, runs, tmp_path):
    assert export(runs["bert"].repository, "--to", tmp_path / "out").exit_code == 0
    assert AutoConfig.from_pretrained(tmp_path / "out").architectures == ["BertForMaskedLM"]


def test_an_unknown_task_is_refused_with_the_list(export, runs, tmp_path):
    result = export(runs["bert"].repository, "--task", "haiku", "--to", tmp_path / "out")
    refused(result, "task = 'haiku': the pair has no such task", "Choose one of ner")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_refused(export, runs, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    refused(export(runs["bert"].repository, "--to", tmp_path), tmp_path, "the folder is not empty", "empty folder.")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_pair_is_refused(export, tiny_teacher_dirs, tmp_path):
    result = export(tiny_teacher_dirs["bert"], "--to", tmp_path / "out")
    refused(result, tiny_teacher_dirs["bert"], "not a pair", "Name a folder that a run packaged")
    refused(export(tmp_path / "absent", "--to", tmp_path / "out"), "absent", "the pair cannot be loaded")


def test_the_target_must_be_given(export, runs):
    result = export(runs["bert"].repository)
    assert result.exit_code == 2
    assert "Missing option '--to', or '--push'" in result.stderr


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home") as server:
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server


def test_a_checkpoint_is_pushed_and_its_place_and_commit_are_said(export, runs, hub, tmp_path):
    words = (runs["bert"].repository, "--task", "ner", "--push", "alice/plain", "--endpoint", hub.endpoint)
    result = export(*words, "--private")
    assert result.exit_code == 0, result.output
    newest = hub.commits("alice/plain")[0]
    assert result.stdout == f"The checkpoint is at {hub.endpoint}/alice/plain, commit {newest.oid}\n"
    assert hub.repositories["alice/plain"].private
    assert 'model="alice/plain"' in hub.read("alice/plain", "README.md").decode()
    again = export(*words, "--to", tmp_path / "out")
    assert again.stdout.splitlines() == [
        f"The checkpoint is in {tmp_path / 'out'}",
        f"The checkpoint is at {hub.endpoint}/alice/plain already: nothing changed",
    ]
    assert hub.commits("alice/plain")[0].oid == newest.oid
    assert hub.files("alice/plain")["model.safetensors"] == (tmp_path / "out/model.safetensors").read_bytes()


def test_who_may_not_write_there_proposes_the_checkpoint(export, runs, hub):
    hub.create("lab/plain", {"README.md": b"Soon."})
    result = export(runs["bert"].repository, "--task", "ner", "--push", "lab/plain")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"The checkpoint is proposed in {hub.endpoint}/lab/plain/discussions/1\n"
    assert hub.read("lab/plain", "README.md") == b"Soon."


def test_words_for_a_push_alone_are_refused_without_one(export, runs, tmp_path):
    for words in (["--private"], ["--create-pr"], ["--endpoint", "https://example.org"]):
        result = export(runs["bert"].repository, "--to", tmp_path / "out", *words)
        refused(result, f"{words[0]} = ", "nothing is pushed. Give --push ORG/NAME too, or leave this out.")
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_none_is_refused_before_anything_is_written(export, runs, hub, tmp_path):
    pair = runs["bert"].repository
    refused(
        export(pair, "--to", tmp_path / "out", "--push", "plain"), "repo_id = 'plain': not the name of a repository"
    )
    refused(export(pair, "--push", "a/b", "--endpoint", "example"), "endpoint = 'example': not the address of a server")
    assert not (tmp_path / "out").exists()
    assert not hub.journal.exchanges
