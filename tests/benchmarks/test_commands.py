"""The commands of docs/benchmarks.md are such that the benchmarks take them."""

import importlib

import pytest
from doc_pages import ROOT, claimed

SNIPPETS = claimed(__name__, "docs/benchmarks.md")
COMMANDS = [command for snippet in SNIPPETS for command in snippet.commands]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[2:]))
def test_a_benchmark_takes_the_options_of_its_command(command, tmp_path, monkeypatch):
    for name in ("en.txt", "sw.txt"):
        (tmp_path / name).write_text("Text.\n", encoding="utf-8")
    (tmp_path / "TEACHER").mkdir()
    monkeypatch.chdir(tmp_path)
    python, option, module, *words = command
    assert (python, option) == ("python", "-m")
    asked = {word for word in words if word.startswith("--")}
    with importlib.import_module(module).main.make_context(module, words) as context:
        given = {name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"}
    assert len(given) == len(asked)


def test_every_benchmark_that_the_page_names_is_measured_small_elsewhere():
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "benchmarks").glob("test_*.py"))
    for command in COMMANDS:
        name = command[2].removeprefix("benchmarks.")
        assert f"benchmarks.{name} import" in tests or f"benchmarks import {name}" in tests, name
