"""Every snippet of the README does what it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bistill_hub import cli

README = Path(__file__).parent.parent / "README.md"
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in SNIPPETS if language == "python"]
COMMANDS = [
    shlex.split(line)
    for language, code in SNIPPETS
    if language == "bash"
    for line in code.replace("\\\n", " ").strip().splitlines()
]


@pytest.fixture
def place(runs, tiny_teacher_dirs, text_files, ner_files, tmp_path, monkeypatch):
    """A working folder with the files that the README names, and a cache that holds `org/bistill-en-sw`."""
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "teacher")
    for language, file in text_files.items():
        shutil.copyfile(file, tmp_path / f"{language}.txt")
    for split in ("train", "dev", "test"):
        shutil.copyfile(ner_files["en"][split], tmp_path / f"{split}.en.conll")
    shutil.copyfile(ner_files["sw"]["test"], tmp_path / "test.sw.conll")
    published = tmp_path / "home" / "hub" / "models--org--bistill-en-sw"
    shutil.copytree(runs["bert"].repository, published / "snapshots" / ("a" * 40))
    (published / "refs").mkdir()
    (published / "refs" / "main").write_text("a" * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_snippets_run(place, code):
    # The paper's block of 256 tokens is longer than the tiny teacher's positions, here and below.
    code = code.replace('"bilingual.steps": 100', '"bilingual.steps": 2, "bilingual.block_size": 48')
    environment = {**os.environ, "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1"}
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(variable, None)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_the_run_command_runs(place):
    command = next(words for words in COMMANDS if words[:2] == ["bistill", "run"])
    quick = {
        "bilingual.steps": 2,
        "bilingual.block_size": 48,
        "tasks.ner.max_length": 64,
        "tasks.ner.teacher.epochs": 1,
        "tasks.ner.distillation.dense_epochs": 1,
        "tasks.ner.distillation.sparse_epochs": 1,
    }
    words = [word for key, value in quick.items() for word in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(cli.main, [*command[1:], *words, "--quiet"])
    assert result.exit_code == 0, result.output
    assert "Scores" in result.output
    for folder in ("student", "phase-1", "ner-teacher", "ner-phase-2", "evaluation", "package/repository"):
        assert (place / "runs/mine" / folder).is_dir(), folder
    assert "package/repository" in result.output.replace("\n", "")


def test_the_pretrain_command_runs(place):
    shutil.rmtree(place / "teacher")
    command = next(words for words in COMMANDS if words[:2] == ["bistill", "pretrain"])
    small = ["--steps", "2", "--vocab-size", "300", "--hidden-size", "16", "--layers", "2", "--intermediate-size", "16"]
    result = CliRunner().invoke(cli.main, [*command[1:], *small, "--quiet"])
    assert result.exit_code == 0, result.output
    assert (place / "teacher" / "model.safetensors").is_file()


def test_the_first_two_commands_are_targets_of_the_makefile_and_commands_of_the_package():
    targets = set(re.findall(r"^([a-z-]+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    first, second = COMMANDS[:2]
    assert first == ["make", "setup", "&&", ".venv/bin/bistill", "run", "en_sw"]
    assert second == ["make", "setup", "&&", "make", "check"]
    assert {"setup", "check"} <= targets
    assert "run" in cli.main.commands
