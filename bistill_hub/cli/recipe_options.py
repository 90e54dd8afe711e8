"""What the commands that take a recipe share: RECIPE, `--set` and `--set-file`."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..recipe import Recipe

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPEN_MAPS = ("label_map", "columns", "where", "language_deltas")


def recipe_options(command: _Command) -> _Command:
    """Add the argument RECIPE and the options that choose the output and change fields."""
    for decorate in reversed(
        (
            click.argument("recipe"),
            click.option(
                "--output",
                "-o",
                type=click.Path(path_type=Path),
                help="Folder for everything written.  [default: runs/NAME]",
            ),
            click.option(
                "--tasks",
                metavar="NAMES",
                help="Do these tasks of the recipe alone, such as ner,qa; none: the encoder without tasks.",
            ),
            click.option(
                "--set",
                "assignments",
                multiple=True,
                metavar="KEY=VALUE",
                help="Replace a field of the recipe, such as teacher.model=FOLDER or tasks.ner.train=FILE. "
                "May be repeated.",
            ),
            click.option(
                "--set-file",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="A TOML file of fields to replace; environment variables in paths are expanded. "
                "--set goes on top of it.",
            ),
        )
    ):
        command = decorate(command)
    return command


def load(recipe: str, tasks: str | None, assignments: Sequence[str], set_file: Path | None) -> Recipe:
    """Load a recipe, change what the options say, and print the facts that nobody has verified.

    Raises:
        InputError: the recipe or a change is not valid.
    """
    from ..recipe import load_recipe, parse_changes

    loaded = load_recipe(recipe)
    changes = {**(_changes_from(set_file) if set_file else {}), **parse_changes(assignments)}
    if changes:
        loaded = loaded.replace(changes)
    if tasks is not None:  # last: a file of fields may well speak of tasks that are left out this time
        loaded = loaded.only([] if tasks == "none" else tasks.split(","))
    for fact in loaded.unverified:
        click.echo(f"Unverified: {fact}", err=True)
    return loaded


def shown_command(name: str, recipe: str, tasks: str | None, assignments: Sequence[str], set_file: Path | None) -> str:
    """The command for others to read: no file keeps its folder, which is nobody's business but this machine's."""
    import shlex

    words = ["bistill", name, Path(recipe).stem]
    if tasks is not None:
        words += ["--tasks", tasks]
    if set_file:
        words += ["--set-file", set_file.name]
    for word in assignments:
        words += ["--set", _without_folder(word)]
    return shlex.join(words)


def _changes_from(file: Path) -> dict[str, Any]:
    """Read a TOML file of fields as dotted paths."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not TOML ({error})", file=file, remedy="correct the file") from error

    def flatten(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for key, value in table.items():
            path = f"{prefix}{key}"
            if isinstance(value, dict) and key not in _OPEN_MAPS:
                changes |= flatten(value, f"{path}.")
            else:
                changes[path] = _expanded(value, file, path) if isinstance(value, str) else value
        return changes

    return flatten(content, "")


def _expanded(value: str, file: Path, field: str) -> str:
    expanded = os.path.expandvars(value)
    if re.search(r"\$(\w|\{)", expanded):
        raise InputError(
            "an environment variable is not set", file=file, field=field, value=value, remedy="set it, or write it out"
        )
    return expanded


def _without_folder(assignment: str) -> str:
    key, _, value = assignment.partition("=")
    return f"{key}={Path(value).name}" if "/" in value and Path(value).exists() else assignment
