"""What the commands that take a recipe share: RECIPE, `--set` and `--set-file`."""

from __future__ import annotations

import json
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

_MADE_FROM = re.compile(
    r"teacher\.(model|language_deltas)|(source|target)\.text|further_languages|tasks\.\w+\.(train|validation|teacher\.model)"
)
"""Fields of what a pair is made from, and on which its licence and its limits depend."""
_OPEN_MAPS = ("label_map", "columns", "where", "language_deltas")
_PLACES = re.compile(r"(.*\.)?(path|dataset|data_dir|text|train|validation|test_source|test_target|model|delta)")
"""Fields that name a file, folder, data set or model; so does each language's under `language_deltas`."""


def recipe_options(command: _Command) -> _Command:
    """Add the argument RECIPE and the options that choose the output and change fields."""
    return _with_options(command, click.argument("recipe"), "Folder for everything written.  [default: runs/NAME]")


def several_recipes_options(command: _Command) -> _Command:
    """Add the argument RECIPE, which may be repeated, and the same options."""
    argument = click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
    output = "Folder for everything written; for several recipes, a folder for each in it.  [default: runs/NAME]"
    return _with_options(command, argument, output)


def _with_options(command: _Command, argument: Callable[[_Command], _Command], output: str) -> _Command:
    for decorate in reversed(
        (
            argument,
            click.option("--output", "-o", type=click.Path(path_type=Path), help=output),
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
                help="A TOML file of fields to replace; environment variables are expanded where files, folders, data "
                "sets and models are named. --set goes on top of it.",
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
    return load_all([recipe], tasks, assignments, set_file)[0]


def load_compared(
    recipe: str, tasks: str | None, assignments: Sequence[str], set_file: Path | None
) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """Load a recipe as `load` does, and the fields that contenders of a comparison have of their own.

    Returns:
        The recipe, and by contender's name its fields: dotted path to value.

    Raises:
        InputError: the recipe or a change is not valid.
    """
    from ..recipe_changes import of_contender, parse_changes

    of_pair = [word for word in assignments if of_contender(word) is None]
    of_contenders = parse_changes([word for word in assignments if word not in of_pair])
    if set_file:
        of_contenders = {**changes_from(set_file), **of_contenders}
    own: dict[str, dict[str, Any]] = {}
    for path, value in of_contenders.items():
        if place := of_contender(path):
            contender, field = place
            own.setdefault(contender, {})[field] = value
    return load(recipe, tasks, of_pair, set_file), own


def load_all(
    recipes: Sequence[str], tasks: str | None, assignments: Sequence[str], set_file: Path | None
) -> list[Recipe]:
    """Load recipes, change in each what the options say, and print each fact that nobody has verified once.

    Raises:
        InputError: a recipe or a change is not valid.
    """
    from ..recipe import load_recipe

    loaded = [load_recipe(recipe) for recipe in recipes]
    if len(recipes) == 1:
        loaded = [_changed(loaded[0], tasks, assignments, set_file)]
    else:
        from ..pipeline.several import said_of

        for index, recipe in enumerate(loaded):
            with said_of(recipe.name):
                loaded[index] = _changed(recipe, tasks, assignments, set_file)
    for fact in dict.fromkeys(fact for recipe in loaded for fact in recipe.unverified):
        click.echo(f"Unverified: {fact}", err=True)
    return loaded


def _changed(recipe: Recipe, tasks: str | None, assignments: Sequence[str], set_file: Path | None) -> Recipe:
    from ..recipe_changes import of_contender, parse_changes

    of_file = changes_from(set_file) if set_file else {}
    # What a file says of a comparison's contenders is nothing to other commands.
    of_file = {path: value for path, value in of_file.items() if of_contender(path) is None}
    changes = {**of_file, **parse_changes(assignments)}
    if changes:
        _tell_what_stays(recipe, changes)
        recipe = recipe.replace(changes)
    if tasks is not None:  # last: a file of fields may well speak of tasks that are left out this time
        recipe = recipe.only([] if tasks == "none" else tasks.split(","))
    return recipe


def _tell_what_stays(recipe: Recipe, changes: Mapping[str, Any]) -> None:
    """Say on standard error that what the recipe says of its teacher and data is not replaced along with them."""
    replaced = [path for path in changes if _MADE_FROM.match(path)]
    kept = [field for field in ("license", "limits") if field not in changes]
    if replaced and kept:
        options = " ".join(f"--set {field}=..." for field in kept)
        click.echo(
            f"The card will say {' and '.join(f'the {field}' for field in kept)} of {recipe.name}, which has another "
            f"{replaced[0]}: give {options} if they are not true of yours.",
            err=True,
        )


def shown_command(
    name: str,
    recipe: str,
    tasks: str | None,
    assignments: Sequence[str],
    set_file: Path | None,
    *,
    flags: Sequence[str] = (),
) -> str:
    """The command for others to read: no file keeps its folder, which is nobody's business but this machine's.

    A recipe's file keeps its ending, without which it would be the name of a recipe that ships with the package.
    """
    import shlex

    words = ["bistill", name, Path(recipe).name, *flags]
    if tasks is not None:
        words += ["--tasks", tasks]
    if set_file:
        words += ["--set-file", set_file.name]
    for word in assignments:
        words += ["--set", _without_folder(word)]
    return shlex.join(words)


def changes_from(file: Path) -> dict[str, Any]:
    """Read a TOML file of fields as dotted paths.

    Environment variables are expanded where a file, folder, data set or model is named: in sources, `model`, `delta`
    and `language_deltas`. Any other text stays as it is written, dollars included.

    Raises:
        InputError: the file is not TOML, or names a place by a variable that is not set.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not TOML ({error})", file=file, remedy="correct the file") from error

    def flatten(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for key, value in table.items():
            path = f"{prefix}{key}"
            if isinstance(value, dict) and key not in _OPEN_MAPS:
                changes |= flatten(value, f"{path}.")
            else:
                changes[path] = _expanded(value, file, path)
        return changes

    return flatten(content, "")


def _expanded(value: Any, file: Path, field: str) -> Any:
    """Expand environment variables in what names a place, at any depth."""
    if isinstance(value, dict):
        return {name: _expanded(entry, file, f"{field}.{name}") for name, entry in value.items()}
    if isinstance(value, list):
        return [_expanded(entry, file, field) for entry in value]
    names_place = _PLACES.fullmatch(field) or field.rpartition(".")[0].endswith("language_deltas")
    if not isinstance(value, str) or not names_place:
        return value
    expanded = os.path.expandvars(value)
    if re.search(r"\$(\w|\{)", expanded):
        raise InputError(
            "an environment variable is not set", file=file, field=field, value=value, remedy="set it, or write it out"
        )
    return expanded


def _without_folder(assignment: str) -> str:
    from ..hub.without_folders import without_folders
    from ..recipe_changes import parse_changes

    ((key, value),) = parse_changes([assignment]).items()
    shown = without_folders(value)
    if shown == value:
        return assignment
    return f"{key}={shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)}"
