"""The snippets of README, CONTRIBUTING and docs/: how tests execute them, and a record of which were executed.

A test module claims the pages that it executes, and executes them by the functions here, each of which writes down what
it did. When all tests of the module have passed, every snippet of its pages has to be among them, unless it is
`ASSIGNED` to another module or `EXCUSED`; a fixture of conftest.py sees to that. `tests/test_every_snippet.py` sees to
it that every page with snippets is claimed.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from excused_snippets import ASSIGNED, EXCUSED, Assigned, Excuse
from fresh import run_fresh

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"[A-Z][A-Z_]*=")
_PATIENCE = 60
"""Seconds that a program may take until it says something at its terminal."""

_claims: dict[str, list[Snippet]] = {}
_executed: set[tuple[str, int, int]] = set()
"""Page, line and number of the command of what was executed; a snippet that is no list of commands is its own first."""


def anchors(text: str) -> list[str]:
    """The anchors of a page's headings, in order."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


class Snippet(str):
    """A snippet's code, and where it stands."""

    page: str
    language: str
    line: int
    section: str
    """The anchor of the heading that it stands below."""

    @classmethod
    def found(cls, match: re.Match[str], page: str) -> Snippet:
        before = match.string[: match.start()]
        sections = anchors(before)
        snippet = cls(match[2])
        snippet.page, snippet.language, snippet.line = page, match[1], before.count("\n") + 1
        snippet.section = sections[-1] if sections else ""
        return snippet

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line} ({self.language}): {self.partition(chr(10))[0][:60]}"

    @property
    def commands(self) -> list[Command]:
        """The commands of a shell snippet, in order."""
        lines = self.replace("\\\n", " ").strip().splitlines()
        return [Command(line, self, number) for number, line in enumerate(lines)]

    @property
    def missing(self) -> bool:
        """Whether it, or one of its commands, was not executed."""
        parts = len(self.commands) if self.language == "bash" else 1
        return not {(self.page, self.line, number) for number in range(parts)} <= _executed


class Command(list[str]):
    """A command of a shell snippet as words, without the variables that are set before it."""

    def __init__(self, line: str, snippet: Snippet, number: int) -> None:
        words = shlex.split(line)
        variables = 0
        while variables < len(words) and _VARIABLE.match(words[variables]):
            variables += 1
        super().__init__(words[variables:])
        self.variables = dict(word.split("=", 1) for word in words[:variables])
        self.snippet, self.number = snippet, number


def snippets_of(page: str) -> list[Snippet]:
    """The snippets of a page, such as docs/faq.md, or of one section, such as docs/faq.md#data, in order."""
    page, _, section = page.partition("#")
    found = [Snippet.found(match, page) for match in FENCE.finditer((ROOT / page).read_text(encoding="utf-8"))]
    return [snippet for snippet in found if section in ("", snippet.section)]


def claimed(module: str, *pages: str) -> list[Snippet]:
    """The snippets of pages that a test module executes all of, but for the excused ones.

    Args:
        module: Its `__name__`.
        pages: Pages or sections, written out where this is called: test_every_snippet.py reads them there.
    """
    found = [snippet for page in pages for snippet in snippets_of(page)]
    _claims.setdefault(module, []).extend(found)
    return found


def assigned(module: str) -> list[Snippet]:
    """Claim the snippets that `ASSIGNED` leaves to a test module, whose `__name__` it is; in the list's order."""
    mine = [each for each in ASSIGNED if each.module == module]
    found = [snippet for each in mine for snippet in snippets_of(each.page) if each.fits(snippet)]
    _claims.setdefault(module, []).extend(found)
    return found


def left_out(module: str, excused: Iterable[Excuse] = EXCUSED, elsewhere: Iterable[Assigned] = ASSIGNED) -> list[str]:
    """What a module has claimed, and neither executed nor excused; and what is excused and was executed."""
    wrong = []
    for snippet in _claims.get(module, ()):
        excuse = next((each for each in excused if each.fits(snippet)), None)
        left_to = next((each.module for each in elsewhere if each.fits(snippet)), module)
        if left_to != module:
            continue
        if snippet.missing and excuse is None:
            wrong.append(f"{snippet.where}: not executed by {module}, and not in tests/excused_snippets.py")
        elif not snippet.missing and excuse is not None:
            wrong.append(f"{snippet.where}: executed by {module}, so it needs no place in tests/excused_snippets.py")
    return wrong


def given(words: list[str], *more: str, exit_code: int = 0, instead: Mapping[str, str] | None = None) -> str:
    """Give a command of `bistill`.

    Args:
        words: The command; one of a snippet is then executed.
        more: Further words.
        exit_code: How it has to end.
        instead: Words that are replaced, and by what.

    Returns:
        What it printed.
    """
    from bistill_hub import cli

    result = CliRunner().invoke(cli.main, [*_replaced(words, instead)[1:], *more])
    assert result.exit_code == exit_code, f"{words}\n{result.output}{result.exception!r}"
    _record(words)
    return result.output


def launched(command: Command, *more: str, instead: Mapping[str, str] | None = None, **variables: str) -> str:
    """Give a command that torchrun or accelerate begins, in processes of its own, which meet at a port that is free.

    Args:
        command: The command.
        more: Further words.
        instead: Words that are replaced, and by what.
        variables: Of the environment, beside or instead of those of the command.

    Returns:
        What it printed.
    """
    launcher, *rest = _replaced(command, instead)
    if launcher == "accelerate":
        words = ["accelerate.commands.accelerate_cli", rest.pop(0), "--main_process_port", "0"]
    else:
        assert launcher == "torchrun"
        words = ["torch.distributed.run", "--standalone"]
    started = subprocess.run(
        [sys.executable, "-m", *words, *rest, *more],
        env={**os.environ, **command.variables, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr[-3000:]
    _record(command)
    return started.stdout


def in_bash(*snippets: Snippet, place: Path, **variables: str) -> str:
    """Have one bash give all commands of snippets, in a folder; what they printed.

    Args:
        snippets: The snippets, in order.
        place: The folder.
        variables: Of the environment, beside or instead of those that there are; an empty one is taken away.
    """
    done = subprocess.run(
        ["bash", "-euc", "\n".join(snippets)],
        cwd=place,
        env=_environment(variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for snippet in snippets:
        for command in snippet.commands:
            _record(command)
    return done.stdout


def as_module(command: Command, *more: str, place: Path) -> str:
    """Give a command `python -m MODULE` of this checkout, in a folder; what it printed.

    Args:
        command: The command.
        more: Further words.
        place: The folder.
    """
    python, *words = command
    assert (python, words[0]) == ("python", "-m")
    done = subprocess.run(
        [sys.executable, *words, *more],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _record(command)
    return done.stdout


def as_script(command: Command, *more: str, place: Path, instead: Mapping[str, str] | None = None) -> str:
    """Give a command `python FILE` of this checkout, in a folder; what it printed.

    Args:
        command: The command; its file's place is that in the checkout.
        more: Further words.
        place: The folder.
        instead: Words that are replaced, and by what.
    """
    python, file, *words = _replaced(command, instead)
    assert python == "python"
    done = subprocess.run(
        [sys.executable, str(ROOT / file), *words, *more], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _record(command)
    return done.stdout


def exported(command: Command) -> dict[str, str]:
    """Take the variables that `export` sets, for the commands after it."""
    assert command[0] == "export"
    _record(command)
    return dict(word.split("=", 1) for word in command[1:])


def at_a_terminal(command: Command, answers: Mapping[str, str], **variables: str) -> str:
    """Give a command at a terminal, and answer what it asks; what it printed.

    Args:
        command: The command, of a program beside this Python.
        answers: By what is asked, in order, the keys that are pressed.
        variables: Of the environment, beside or instead of those that there are; an empty one is taken away.
    """
    shown, terminal = pty.openpty()
    program, *rest = command
    words = [str(Path(sys.executable).with_name(program)), *rest]
    ends = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    # A session of its own: the terminal of whoever gives the tests is none of the program's business.
    with subprocess.Popen(words, **ends, env=_environment(variables), start_new_session=True) as started:
        os.close(terminal)
        said = ""
        try:
            for asked, keys in answers.items():
                said += _heard(shown, asked)
                _until_it_listens(shown)
                os.write(shown, keys.encode())
            said += _heard(shown)
        finally:
            os.close(shown)  # which ends a program that still waits for an answer
    assert started.returncode == 0, said
    _record(command)
    return said


def in_python(command: Command) -> str:
    """Do here what `python -c CODE` does; what it prints."""
    python, option, code = command
    assert (python, option) == ("python", "-c")
    with redirect_stdout(StringIO()) as output:
        exec(compile(code, command.snippet.page, "exec"), {})
    _record(command)
    return output.getvalue()


def understood(words: list[str]) -> dict[str, Any]:
    """Have the command line read a command without doing it; its parameters. This executes no snippet."""
    from bistill_hub import cli

    name, *rest = words[words.index("bistill_hub") + 1 :] if "bistill_hub" in words else words[1:]
    command = cli.main.commands[name]
    assert isinstance(command, click.Command)
    return command.make_context(name, rest).params


def executed(snippet: Snippet, names: dict[str, Any] | None = None, *, instead: Mapping[str, str] | None = None) -> Any:
    """Execute a Python snippet here; the names that it defines.

    Args:
        snippet: The snippet.
        names: Names that it finds.
        instead: Parts of the code that are replaced, and by what.
    """
    found = {} if names is None else names
    exec(compile(_altered(snippet, instead), snippet.page, "exec"), found)
    _record(snippet)
    return found


def printed(snippet: Snippet, place: Path, *, instead: Mapping[str, str] | None = None) -> str:
    """Execute a Python snippet in a fresh process, offline, with the Hub's cache in `home`; what it prints."""
    environment = {**os.environ, "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1"}
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE"):
        environment.pop(variable, None)
    done = run_fresh(_altered(snippet, instead), env=environment, cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    _record(snippet)
    return done.stdout


def written(snippet: Snippet, file: Path) -> Path:
    """Write a snippet that is a file's content, for commands that read it; the file."""
    file.write_text(snippet, encoding="utf-8")
    _record(snippet)
    return file


def patched(snippet: Snippet, file: Path) -> None:
    """Change a file as a snippet's lines with - and + before them say; the former have to be there once."""
    there, instead = ("".join(f"{line[1:]}\n" for line in snippet.splitlines() if line[0] == sign) for sign in "-+")
    text = file.read_text(encoding="utf-8")
    assert text.count(f"\n{there}") == 1, there
    file.write_text(text.replace(f"\n{there}", f"\n{instead}"), encoding="utf-8")
    _record(snippet)


def changed(**fields: Any) -> list[str]:
    """Words that replace fields of a recipe; dots are written as two underscores."""
    return [word for name, value in fields.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]


def _replaced(words: list[str], instead: Mapping[str, str] | None) -> list[str]:
    assert set(instead or ()) <= set(words), f"{words} has not all of {instead}"
    return [(instead or {}).get(word, word) for word in words]


def _altered(code: str, instead: Mapping[str, str] | None) -> str:
    for old, new in (instead or {}).items():
        assert old in code, f"no longer in the snippet: {old}"
        code = code.replace(old, new)
    return str(code)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment with further variables; an empty one is taken away."""
    return {name: value for name, value in {**os.environ, **variables}.items() if value or name not in variables}


def _until_it_listens(terminal: int) -> None:
    """Wait until a program reads keys without showing them: what is pressed before is shown, and may be lost."""
    until = time.monotonic() + _PATIENCE
    while termios.tcgetattr(terminal)[3] & termios.ECHO:
        assert time.monotonic() < until, "it does not wait for keys"
        time.sleep(0.05)


def _heard(terminal: int, until: str | None = None) -> str:
    """What a program says at a terminal, until it says something or ends."""
    said = ""
    while until is None or until not in said:
        assert select.select([terminal], [], [], _PATIENCE)[0], f"it says no more, and has not said {until!r}: {said!r}"
        try:
            said += os.read(terminal, 1000).decode(errors="replace")
        except OSError:  # the program has ended
            assert until is None, f"it ended without {until!r}: {said}"
            break
    return said


def _record(what: object) -> None:
    if isinstance(what, Command):
        _executed.add((what.snippet.page, what.snippet.line, what.number))
    elif isinstance(what, Snippet):
        _executed.add((what.page, what.line, 0))
