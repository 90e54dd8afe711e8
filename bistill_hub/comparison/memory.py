"""`rows.json`: every row that was ever asked of a comparison's folder, so that several commands end in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..pipeline.manifest import write_json
from ..recipe import Recipe
from ..versioned import read_versioned
from .contenders import CONTENDERS, own_recipe

ROWS_FILE = "rows.json"
_VERSION = 1
_NOT_OF_THE_MODELS = {
    "tasks",
    "seed",
    "checkpoint_every",
    "speed",
    "contributors",
    "license",
    "license_name",
    "license_link",
    "limits",
    "unverified",
}
_NOT_OF_THE_TEACHER: Mapping[str, set[str] | bool] = {"teacher": {"tokenizer_not_by"}}
"""Says how others load a tokenizer, and changes none; rows are kept without it."""


@dataclass(frozen=True)
class Remembered:
    """A contender on a task, as it was asked for.

    Attributes:
        contender: Its name.
        task: The task.
        recipe: The contender's recipe, with this task alone.
        seeds: The seeds that were asked for, in order.
        failed: By seed what went wrong the last time, where it did.
    """

    contender: str
    task: str
    recipe: Recipe
    seeds: tuple[int, ...]
    failed: Mapping[int, str]


def read_rows(folder: Path, pair: Recipe) -> list[Remembered]:
    """Read what was asked of this recipe, in the order of tables; rows of other recipes are passed over.

    Of a task that the recipe does not name now, the settings that were asked for last are taken.

    Args:
        folder: The comparison's folder.
        pair: The pair's recipe.

    Raises:
        InputError: the file is damaged, or from another version.
    """
    now = {task.name: _task_identity(pair, task.name) for task in pair.tasks}
    blocks: dict[str, list[dict[str, Any]]] = {}
    for block in _blocks(folder):  # the latest last
        task = block["task"]
        if block["pair"] == _identity(pair) and block["settings"] == now.get(task, block["settings"]):
            blocks[task] = block["rows"]
    order = {name: place for place, name in enumerate(CONTENDERS)}
    for entry in (entry for rows in blocks.values() for entry in rows):
        if entry["contender"] not in order:
            raise InputError(
                "this version of bistill-hub has no such contender; a later one asked for it",
                file=folder / ROWS_FILE,
                field="contender",
                value=entry["contender"],
                remedy="use the later version, or choose another folder",
            )
    found = [_from_json(entry) for rows in blocks.values() for entry in rows]
    return sorted(found, key=lambda row: (row.task, order[row.contender]))


def remember(
    folder: Path,
    pair: Recipe,
    recipes: Mapping[str, Recipe],
    seeds: Iterable[int],
    failed: Mapping[tuple[str, str], Mapping[int, str]],
) -> list[Remembered]:
    """Add to what was asked of this recipe, and return all of it.

    Args:
        folder: The comparison's folder.
        pair: The pair's recipe.
        recipes: By contender its recipe, with those of the tasks asked for that it is about.
        seeds: The seeds that are asked for.
        failed: By contender and task, by seed what went wrong; a row that is asked for and not here has not failed.

    Raises:
        InputError: the file is damaged, or from another version.
    """
    asked = tuple(seeds)
    known = {(row.contender, row.task): row for row in read_rows(folder, pair)}
    blocks = _blocks(folder)
    for task in pair.tasks:
        rows = {contender: row for (contender, name), row in known.items() if name == task.name}
        for contender, recipe in recipes.items():
            if all(each.name != task.name for each in recipe.tasks):
                continue
            alone = recipe.only([task.name]).replace({"seed": 0, "teacher.tokenizer_not_by": ()})
            old = rows.get(contender)
            if old is None or old.recipe != alone:  # of other further languages, for example
                old = Remembered(contender, task.name, alone, (), {})
            errors = {seed: text for seed, text in old.failed.items() if seed not in asked}
            errors |= failed.get((contender, task.name), {})
            rows[contender] = replace(old, seeds=tuple(sorted({*old.seeds, *asked})), failed=errors)
        place = {"pair": _identity(pair), "task": task.name, "settings": _task_identity(pair, task.name)}
        blocks = [block for block in blocks if any(block[field] != value for field, value in place.items())]
        blocks.append({**place, "rows": [_to_json(row) for row in rows.values()]})
    write_json(folder / ROWS_FILE, {"rows_version": _VERSION, "blocks": blocks})
    return read_rows(folder, pair)


def _identity(pair: Recipe) -> str:
    """Hash of what the pair's own models are made of, whatever tasks, seed and further languages are asked for."""
    left_out = {**dict.fromkeys(_NOT_OF_THE_MODELS, True), **_NOT_OF_THE_TEACHER}
    return _digest(own_recipe(pair).model_dump(mode="json", exclude=left_out))


def _task_identity(pair: Recipe, task: str) -> str:
    """Hash of a task's data and settings."""
    return _digest(pair.only([task]).tasks[0].model_dump(mode="json"))


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _blocks(folder: Path) -> list[dict[str, Any]]:
    """Rows of a recipe and a task each."""
    file = folder / ROWS_FILE
    if not file.is_file():
        return []
    content = read_versioned(file, "rows_version", _VERSION, remedy="choose another folder, or remove the file")
    blocks: list[dict[str, Any]] = content["blocks"]
    return blocks


def _to_json(row: Remembered) -> dict[str, Any]:
    return {
        "contender": row.contender,
        "task": row.task,
        "seeds": list(row.seeds),
        "failed": {str(seed): text for seed, text in row.failed.items()},
        "recipe": row.recipe.model_dump(mode="json", exclude=_NOT_OF_THE_TEACHER),
    }


def _from_json(entry: Mapping[str, Any]) -> Remembered:
    return Remembered(
        contender=entry["contender"],
        task=entry["task"],
        recipe=Recipe.make(entry["recipe"]),
        seeds=tuple(entry["seeds"]),
        failed={int(seed): text for seed, text in entry["failed"].items()},
    )
