"""Every snippet of the README does what it says."""

import re
import shutil

import pytest
from doc_pages import ROOT, anchors, claimed, given, printed
from hubserver.visitor import own, serving

from bistill_hub import cli
from bistill_hub.hub.repository import files_of

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = claimed(__name__, "README.md")
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python"]
SHELL = [snippet for snippet in SNIPPETS if snippet.language == "bash"]
SETUP = SHELL[:2]
COMMANDS = [command for snippet in SHELL[2:] for command in snippet.commands]

# The paper's block of 256 tokens is longer than the tiny teacher's positions.
QUICK = {"bilingual.steps": 2, "bilingual.block_size": 48, "speed.seconds": 0}
QUICK_NER = {
    **QUICK,
    "tasks.ner.max_length": 64,
    "tasks.ner.teacher.epochs": 1,
    "tasks.ner.distillation.dense_epochs": 1,
    "tasks.ner.distillation.sparse_epochs": 1,
}


def commands(*beginning):
    found = [words for words in COMMANDS if words[: len(beginning)] == list(beginning)]
    assert found, beginning
    return found


@pytest.fixture
def place(five_heads, tiny_teacher_dirs, text_files, ner_files, tmp_path, monkeypatch):
    """A working folder with the files that the README names, and a cache that holds `org/bistill-en-sw`."""
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "teacher")
    for language, file in text_files.items():
        shutil.copyfile(file, tmp_path / f"{language}.txt")
    for split in ("train", "dev", "test"):
        shutil.copyfile(ner_files["en"][split], tmp_path / f"{split}.en.conll")
    shutil.copyfile(ner_files["sw"]["test"], tmp_path / "test.sw.conll")
    published = tmp_path / "home" / "hub" / "models--org--bistill-en-sw"
    shutil.copytree(five_heads, published / "snapshots" / ("a" * 40))
    (published / "refs").mkdir()
    (published / "refs" / "main").write_text("a" * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_snippets_run(place, code):
    steps = '"bilingual.steps": 100'
    quick = {steps: '"bilingual.steps": 2, "bilingual.block_size": 48, "speed.seconds": 0'}
    printed(code, place, instead=quick if steps in code else None)


@pytest.mark.parametrize("words", commands("bistill", "run"), ids=lambda words: words[words.index("--tasks") + 1])
def test_the_run_commands_run(place, words):
    quick = QUICK if "none" in words else QUICK_NER
    changes = [word for key, value in quick.items() for word in ("--set", f"{key}={value}")]
    output = given(words, *changes, "--quiet")
    folder = place / words[words.index("--output") + 1]
    stages = ["student", "phase-1", "package/repository"]
    if "none" not in words:
        assert "Scores" in output
        stages += ["ner-teacher", "ner-phase-2", "ner-evaluation"]
    for stage in stages:
        assert (folder / stage).is_dir(), stage
    assert "package/repository" in output.replace("\n", "")


def test_a_plan_takes_the_words_of_a_run(place):
    words = commands("bistill", "run")[-1]
    changes = [word for key, value in QUICK_NER.items() for word in ("--set", f"{key}={value}")]
    assert "ner-phase-2" in given(["bistill", "plan", *words[2:]], *changes, "--no-trial")


def test_the_inspect_command_runs(place):
    (words,) = commands("bistill", "inspect")
    given(words, "--quiet")
    assert list(place.glob("*.png"))


def test_the_pretrain_command_runs(place):
    shutil.rmtree(place / "teacher")
    (words,) = commands("bistill", "pretrain")
    small = ["--steps", "2", "--vocab-size", "300", "--hidden-size", "16", "--layers", "2", "--intermediate-size", "16"]
    given(words, *small, "--quiet")
    assert (place / "teacher" / "model.safetensors").is_file()


def test_the_commands_that_publish_check_a_pair_and_put_it_on_the_hub(place, runs, monkeypatch):
    (check,), (push,) = commands("bistill", "check"), commands("bistill", "push")
    repository = shutil.copytree(runs["bert"].repository, place / push[2])
    with serving(monkeypatch, place / "home") as hub:
        hub.organization("org", alice="write")
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        for words in (check, push):
            given(words)
        there = own(hub.commits("org/bistill-en-sw")[0].tree)
    assert set(there) == {file.as_posix() for file in files_of(repository)}


def test_every_command_of_the_readme_is_one_of_those_executed_here():
    executed = {("bistill", name) for name in ("run", "inspect", "pretrain", "check", "push")}
    assert {tuple(words[:2]) for words in COMMANDS} == executed


def test_the_table_of_commands_is_that_of_the_command_line():
    assert set(re.findall(r"^\| `bistill ([a-z-]+)", TEXT, re.MULTILINE)) == set(cli.main.commands)


def test_the_first_two_commands_set_up_and_do_what_ci_does():
    environment = "python3 -m venv --upgrade-deps .venv && .venv/bin/pip install -c constraints.txt"
    assert SETUP[0].strip() == f"{environment} . && .venv/bin/bistill demo"
    assert SETUP[1].strip() == f"{environment} -e '.[dev]' && .venv/bin/python -m pytest -n logical"
    assert SETUP[1].strip() in (ROOT / ".ci/run").read_text(), "CI runs the README's own test command"
    assert "demo" in cli.main.commands


def test_pictures_and_pages_that_it_points_to_are_there():
    for place in re.findall(r"\]\(([^)]+)\)", TEXT):
        page, _, title = place.partition("#")
        assert (ROOT / page).exists(), place
        assert not title or title in anchors((ROOT / page).read_text(encoding="utf-8")), place
