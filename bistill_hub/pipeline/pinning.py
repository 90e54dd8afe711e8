"""Which commits a run reads of the Hub: each branch is looked up once, and its commit is read until the run is done.

A branch may move while a run lasts, or between two attempts: the student would be cut by one text and distilled on
another. And what is published could not be made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hub_commits import HubUnreachableError, Kind, ask_for_commit, commit_in_cache, is_commit
from ..model.legacy import LEGACY_FILE
from ..recipe import Recipe
from ..teacher import LEGACY_PREFIX, delta_place
from ..versioned import read_versioned
from .manifest import write_json
from .portable import public_name

COMMITS_FILE = "commits.json"
"""In a run's folder: the commit that is read, by kind of repository and `ORG/NAME@REVISION`; null where unknown."""

_Commits = dict[str, dict[str, str | None]]

_VERSION_FIELD, _VERSION = "commits_version", 1


@dataclass(frozen=True)
class _Reference:
    """Something of the Hub that a recipe names.

    Attributes:
        kind: What the repository holds.
        name: Its id.
        revision: Branch, tag or commit; None for the main branch.
        file: Of a model or SFT, a file that is read.
        fields: The part of the recipe's fields that names it.
        field: The field of them that takes the commit.
        written: How a commit stands there.
    """

    kind: Kind
    name: str
    revision: str | None
    file: str | None
    fields: MutableMapping[str, Any]
    field: str
    written: str = "{commit}"

    @property
    def shown(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


def pinned(recipe: Recipe, folder: Path, *, begun: bool) -> Recipe:
    """Name the commits that a run reads, in the place of branches, tags and main branches.

    They are written down in the run's folder, and read there by every later call. What the Hub does not tell, as
    without a network, is taken from its cache, or stays as it is, and then until the run is done: what is finished was
    made of it.

    Args:
        recipe: The recipe.
        folder: The run's folder, which exists.
        begun: Whether there is a run in that folder already. One that was begun without commits goes on without.

    Raises:
        InputError: an SFT's name announces a revision and has none, or the file with the commits is damaged.
    """
    file = folder / COMMITS_FILE
    if begun and not file.is_file():
        return recipe
    fields = recipe.model_dump()
    references, known = list(_references(recipe, fields)), _read(folder)
    if _look_up(references, known, begun):
        write_json(file, {_VERSION_FIELD: _VERSION, "commits": known})
    return _with_commits(fields, references, known)


def pinned_before(recipe: Recipe, folder: Path) -> Recipe:
    """Name the commits that are written down in a run's folder, and ask for no others."""
    fields = recipe.model_dump()
    return _with_commits(fields, _references(recipe, fields), _read(folder))


def _read(folder: Path) -> _Commits:
    file = folder / COMMITS_FILE
    if not file.is_file():
        return {}
    remedy = "restore the file, or remove the folder and begin anew"
    commits: _Commits = read_versioned(file, _VERSION_FIELD, _VERSION, remedy=remedy)["commits"]
    return commits


def _with_commits(fields: dict[str, Any], references: Iterable[_Reference], known: _Commits) -> Recipe:
    for reference in references:
        if commit := known.get(reference.kind, {}).get(reference.shown):
            reference.fields[reference.field] = reference.written.format(commit=commit)
    return Recipe.make(fields)


def _look_up(references: Iterable[_Reference], known: _Commits, begun: bool) -> bool:
    """Add what was not looked up yet, and before a run has begun what was not told; whether there was anything."""
    reachable, looked = True, False
    for reference in references:
        of_kind = known.setdefault(reference.kind, {})
        if is_commit(reference.revision) or of_kind.get(reference.shown) or (begun and reference.shown in of_kind):
            continue
        commit = None
        if reachable:
            try:
                commit = ask_for_commit(reference.name, reference.revision, reference.kind)
            except HubUnreachableError:
                reachable = False
        if commit is None and reference.file is not None:
            commit = commit_in_cache(reference.name, reference.file, reference.revision)
        of_kind[reference.shown] = commit
        looked = True
    return looked


def _references(recipe: Recipe, fields: Mapping[str, Any]) -> Iterator[_Reference]:
    """All that a recipe names of the Hub, with the places in its fields."""
    yield from _model(fields["teacher"])
    deltas = fields["teacher"]["language_deltas"]
    for code in recipe.teacher.language_deltas:
        yield from _delta(deltas, code, "teacher.language_deltas")
    for name in ("source", "target"):
        yield from _data(fields[name]["text"])
    for language in fields["further_languages"]:
        yield from _data(language["text"])
    for task, of_task in zip(recipe.tasks, fields["tasks"], strict=True):
        yield from _model(of_task["teacher"])
        yield from _delta(of_task["teacher"], "delta", f"tasks.{task.name}.teacher")
        for name in task.sources:
            yield from _data(of_task[name])


def _model(fields: MutableMapping[str, Any]) -> Iterator[_Reference]:
    if fields["model"] is not None and public_name(fields["model"]):
        yield _Reference("model", fields["model"], fields["revision"], "config.json", fields, "revision")


def _delta(fields: MutableMapping[str, Any], field: str, place_in_recipe: str) -> Iterator[_Reference]:
    if fields[field] is None or not public_name(fields[field]):
        return
    place = delta_place(fields[field], f"{place_in_recipe}.{field}")
    file = LEGACY_FILE if place.legacy else "delta.safetensors"
    written = f"{LEGACY_PREFIX if place.legacy else ''}{place.place}@{{commit}}"
    yield _Reference("model", place.place, place.revision, file, fields, field, written)


def _data(fields: MutableMapping[str, Any]) -> Iterator[_Reference]:
    # A relative folder of the Hub id's name is what `datasets` takes before it asks the Hub.
    if fields["dataset"] is not None and not Path(fields["dataset"]).exists():
        yield _Reference("dataset", fields["dataset"], fields["revision"], None, fields, "revision")
