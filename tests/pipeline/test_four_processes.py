"""The commands of docs/ for four GPUs, given word by word on a CPU: the four processes make one pair together."""

import json
import shutil

import pytest
from doc_pages import assigned, changed, launched

pytestmark = pytest.mark.whole

COMMANDS = [command for snippet in assigned(__name__) for command in snippet.commands]


@pytest.fixture
def place(tiny_teacher_dirs, text_files, tmp_path, monkeypatch):
    """A working folder with a teacher and text."""
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "teacher")
    for code, file in text_files.items():
        shutil.copyfile(file, tmp_path / f"{code}.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: f"{words.snippet.page} {words[0]}")
def test_the_command_goes_from_four_processes_to_a_package(command, place):
    files = changed(teacher__model="teacher", source__text="en.txt", target__text="sw.txt")
    small = changed(bilingual__steps=2, bilingual__block_size=48, speed__seconds=0)
    printed = launched(command, *files, *small, "--tasks=none", OMP_NUM_THREADS="1")
    assert printed.count("The pair is in") == 1, "the main process alone speaks"
    folder = place / (command[command.index("--output") + 1] if "--output" in command else "runs/bistill-en-sw")
    recipe = json.loads((folder / "package" / "repository" / "recipe.json").read_text())["bilingual"]
    assert recipe["batch_size"] * recipe["accumulation"] == 8, "an update of all four is the recipe's"
    manifest = json.loads((folder / "phase-1" / "manifest.json").read_text())
    assert manifest["facts"]["curve"][-1]["step"] == 2
