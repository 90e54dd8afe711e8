"""`bistill export` writes a plain checkpoint, and answers bad input with one sentence and exit code 2."""

import pytest
from click.testing import CliRunner
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
    assert "Missing option '--to'" in result.stderr
