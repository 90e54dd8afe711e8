"""Changes of a recipe: `key=value` words as dotted paths and values, and where they go."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import Any

from .errors import InputError
from .sources import LabelledSource, TextSource

_PLACES = ("path", "dataset", "config", "split", "revision", "data_dir")
LABELLED_SOURCES = ("train", "validation", "test_source", "test_target")
"""A task's sources, by field."""

OF_CONTENDERS = "contenders"
"""Where settings of a contender's own stand beside those of the recipe: `contenders.NAME.FIELD`; see `of_contender`."""


def parse_changes(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` words into changes for `Recipe.replace`.

    Args:
        assignments: Each `dotted.path=value`; a value that is JSON is read as such, anything else is text.

    Raises:
        InputError: a word has no `=`.
    """
    changes: dict[str, Any] = {}
    for word in assignments:
        path, equals, text = word.partition("=")
        if not equals or not path:
            raise InputError("not an assignment", field="--set", value=word, remedy="write it as key=value")
        try:
            changes[path] = json.loads(text)
        except json.JSONDecodeError:
            changes[path] = text
    return changes


def of_contender(path: str) -> tuple[str, str] | None:
    """Tell which contender of a comparison a change is of, and which field; None for one of the recipe itself.

    Args:
        path: A dotted path, such as `contenders.from_scratch.bilingual.learning_rate`.
    """
    first, _, rest = path.partition(".")
    if first != OF_CONTENDERS:
        return None
    name, _, field = rest.partition(".")
    return name, field


def set_field(fields: dict[str, Any], path: str, value: Any) -> None:
    """Replace a field of a recipe that is given as plain values; they are changed.

    Args:
        fields: The recipe. Entries of lists are addressed by their names, as in `tasks.ner.train.path`.
        path: Dotted path.
        value: The new value. A text for a whole source is the file's name.

    Raises:
        InputError: the recipe has no such field.
    """
    *parents, last = path.split(".")
    try:
        place = reduce(_step, parents, fields)
    except KeyError as error:
        raise _no_such_field(path, error.args[0], error.args[1]) from None
    if isinstance(place, (tuple, list)) and last in _entry_names(place):
        raise InputError(
            "an entry is changed field by field, not as a whole",
            field="--set",
            value=path,
            remedy=f"write {path}.FIELD, or give the whole list as {'.'.join(parents)}",
        )
    if not isinstance(place, dict) or (last not in place and not _is_open_map(parents)):
        raise _no_such_field(path, last, place)
    if last in ("path", "dataset") and "dataset" in place:
        place.update(dict.fromkeys(_PLACES))
    current = place.get(last)
    if isinstance(value, str) and isinstance(current, Mapping) and "dataset" in current:
        # A file name for a whole source: nothing of the source that it replaces may stay.
        value = (LabelledSource if "label_map" in current else TextSource)(path=value).model_dump()
    place[last] = value


def revisions_left_behind(
    before: Mapping[str, Any], after: Mapping[str, Any], changed: Collection[str]
) -> tuple[str, ...]:
    """Name the revisions that are of a model which a recipe no longer has.

    Args:
        before: The recipe as it was, as plain values.
        after: The same with its changes.
        changed: Dotted paths of what was changed.

    Returns:
        Dotted paths.
    """
    models = [path for path in changed if path.rpartition(".")[2] == "model"]
    others = [path for path in models if field_at(before, path) != field_at(after, path)]
    revisions = [f"{path.rpartition('.')[0]}.revision" for path in others]
    return tuple(path for path in revisions if path not in changed)


def field_at(fields: Mapping[str, Any], path: str) -> Any:
    """Return a field of a recipe that is given as plain values; None where there is none."""
    place: Any = fields
    for name in path.split("."):
        if isinstance(place, Mapping):
            place = place.get(name)
        else:
            entries = place if isinstance(place, (tuple, list)) else ()
            place = next((entry for entry in entries if isinstance(entry, dict) and entry.get("name") == name), None)
    return place


def still_unverified(facts: Sequence[str], changed: Collection[str]) -> tuple[str, ...]:
    """Leave out the facts that speak of nothing but what a recipe no longer has.

    Args:
        facts: A recipe's unverified facts: the fields that each is about, with commas between them, a colon, and what
            nobody has checked.
        changed: Dotted paths of the fields that were given another value.
    """
    replaced = {path.removesuffix(".path").removesuffix(".dataset") for path in changed}
    tasks = {path.rpartition(".")[0] for path in replaced if path.startswith("tasks.")}
    replaced |= {task for task in tasks if all(f"{task}.{name}" in replaced for name in LABELLED_SOURCES)}
    return tuple(fact for fact in facts if not all(field in replaced for field in fields_of_fact(fact)))


def facts_of_tasks(facts: Sequence[str], tasks: Collection[str]) -> tuple[str, ...]:
    """Leave out the facts that speak of nothing but other tasks than these."""

    def concerned(field: str) -> bool:
        name = field.split(".")[1] if field.startswith("tasks.") else None
        return name is None or name in tasks or (name == "*" and bool(tasks))

    return tuple(fact for fact in facts if any(map(concerned, fields_of_fact(fact))))


def fields_of_fact(fact: str) -> list[str]:
    """Name the fields that an unverified fact is about; of one that names none, its words."""
    return fact.partition(": ")[0].split(", ")


def _step(place: Any, name: str) -> Any:
    if isinstance(place, dict) and name in place:
        place[name] = dict(place[name]) if isinstance(place[name], Mapping) else place[name]
        return place[name]
    if isinstance(place, (tuple, list)):
        for entry in place:
            if isinstance(entry, dict) and entry.get("name") == name:
                return entry
    raise KeyError(name, place)


def _is_open_map(parents: Sequence[str]) -> bool:
    """Whether the field that holds the last name is a mapping with names of the user's own."""
    return bool(parents) and parents[-1] in ("label_map", "columns", "where", "language_deltas")


def _no_such_field(path: str, name: str, place: Any) -> InputError:
    there = sorted(place) if isinstance(place, dict) else _entry_names(place)
    return InputError(
        f"the recipe has no field {name!r} there",
        field="--set",
        value=path,
        remedy=f"choose one of {', '.join(there)}" if there else "shorten the path: this value has no fields",
    )


def _entry_names(place: Any) -> list[str]:
    """Names by which a list's entries are addressed; none where it is not a list, or one of plain values."""
    entries = place if isinstance(place, (tuple, list)) else ()
    return [entry["name"] for entry in entries if isinstance(entry, dict) and "name" in entry]
