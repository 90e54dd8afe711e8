"""The site's pages as text, their snippets, and how these are given."""

import re
import shlex
from pathlib import Path

import click
from click.testing import CliRunner

from bistill_hub import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def snippets(name):
    """Language and code of each snippet of a page, in order."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(code):
    """The commands of a shell snippet, each as words."""
    return [shlex.split(line) for line in code.replace("\\\n", " ").strip().splitlines()]


def given(words, *more, exit_code=0):
    """Give a command of `bistill`; the output of a finished one."""
    result = CliRunner().invoke(cli.main, [*words[1:], *more])
    assert result.exit_code == exit_code, f"{words}\n{result.output}{result.exception!r}"
    return result.output


def understood(words):
    """Have the command line read a command without doing it; its parameters."""
    name, *rest = words[words.index("bistill_hub") + 1 :] if "bistill_hub" in words else words[1:]
    command = cli.main.commands[name]
    assert isinstance(command, click.Command)
    return command.make_context(name, rest).params


def changed(**fields):
    """Words that replace fields of a recipe; dots are written as two underscores."""
    return [word for name, value in fields.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
