"""Reproduces a published pair: runs its recipe.json again, and compares what comes out with what is published.

Only the small files are fetched. Data and models that lie on the Hub are taken as the recipe names them; of files that
lay on the publisher's machine it has names and hashes, and the user says where they are.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards.facts import FACTS_FILE
from ..errors import InputError
from ..evaluation.results import RESULTS_FILE
from ..evaluation.speed import SIZE_AND_SPEED_FILE
from ..failed_writes import failed_writes_explained
from ..pair_loading import loading
from ..version import __version__
from .fetched_pair import FetchedPair, fetch_pair
from .pair_folder import CONFIG_FILE, RECIPE_FILE, TOKENIZER_FILES, results_file
from .remote import check_destination
from .without_folders import without_folders

if TYPE_CHECKING:
    from ..pipeline.rebuild import PublishedFields
    from ..pipeline.run import RunResult
    from ..recipe import Recipe
    from .reproduction import Change, Reproduction

_NECESSARY = (CONFIG_FILE, RECIPE_FILE)
_SMALL = (*_NECESSARY, FACTS_FILE, SIZE_AND_SPEED_FILE, *TOKENIZER_FILES)
_TEACHER = "teacher.model"
_NOT_BY = "teacher.tokenizer_not_by"

_UNNAMED = "published:"
"""Begins what stands in for a file or folder of which the recipe has the name alone."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known before anything is computed.

    Attributes:
        pair: The published pair.
        published: What its recipe.json holds.
        recipe: What is run.
        output: The run's folder.
        command: The command, without folders of this machine.
        changes: How the recipe differs from the published one.
        left_out: Tasks of the pair that are not done.
        notes: What the report says beside that.
    """

    pair: FetchedPair
    published: PublishedFields
    recipe: Recipe
    output: Path
    command: str
    changes: tuple[Change, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def reproduce(
    pair: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    tasks: Sequence[str] | None = None,
    revision: str | None = None,
    endpoint: str | None = None,
    weights: bool = False,
    progress: bool = True,
) -> Reproduction:
    """Run a published pair's recipe again, and compare scores, predictions and files with the published ones.

    The stages are those of a run, and so are their folders: the same call goes on where it was interrupted. At the end
    `reproduction.json` and `reproduction.md` in the output say what was found.

    Args:
        pair: Hub id of a published pair, or the folder of a packaged one.
        output_dir: Where everything is written; None for `runs/<the recipe's name>`.
        changes: As for `Recipe.replace`: where the files are that are not on the Hub, such as
            `{"source.text": "en.txt"}`, and whatever else is to be done otherwise than it was. A file keeps how it was
            read: its column, label map and so on.
        tasks: Do these tasks alone; an empty list for the encoder without tasks.
        revision: Branch, tag or commit of the pair on the Hub.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.
        weights: Fetch published weights that differ from the reproduced ones, to tell how far they are apart. Without
            it they are compared by the hashes that the Hub has of them.
        progress: Show progress bars and what is being done.

    Returns:
        The comparison, with its verdict.

    Raises:
        InputError: there is no such pair, it is not said where a file or model is, one of them is another than the
            published one, or a change is not valid; raised before anything expensive starts.
        BistillError: the Hub did not answer as it should, or the disk is full; what is finished is kept.
    """
    from ..pipeline.processes import join
    from ..pipeline.run import run

    together = join()
    with together.one_voice():
        prepared = together.main_first(
            partial(_prepare, pair, output_dir, dict(changes or {}), tasks, revision, endpoint)
        )
        # What the published recipe leaves to a branch stays so: the two are compared field by field.
        finished = run(prepared.recipe, prepared.output, progress=progress, command=prepared.command, pin=False)
        return together.on_main(partial(_compare, prepared, finished, endpoint, weights, progress))


def _prepare(
    pair: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None,
    changes: dict[str, Any],
    tasks: Sequence[str] | None,
    revision: str | None,
    endpoint: str | None,
) -> Prepared:
    """Look at everything that the reproduction needs and that a run would not look at."""
    from ..evaluation.results import read_results
    from ..pipeline.rebuild import read_published
    from ..pipeline.run import default_output
    from .reproduction import write_unfinished

    if not Path(pair).is_dir():
        check_destination(os.fspath(pair), endpoint=endpoint)
    fetched = fetch_pair(pair, revision, endpoint, necessary=_NECESSARY, use="can be reproduced", wanted=_is_small)
    published = read_published(fetched.folder / RECIPE_FILE)
    original = _recipe_of(fetched, published)
    named = [] if _NOT_BY in changes else _classes_of_the_card(fetched, published)
    if named:
        original = original.replace({_NOT_BY: named})
    private = _private_models(fetched, original)
    recipe = _stand_ins(original, private).replace(
        {"unverified": original.unverified, **_keeping_how_it_is_read(changes, original)}
    )
    if tasks is not None:
        recipe = recipe.only(list(tasks))
    command = _command(fetched, changes, tasks)
    _refuse_unnamed(fetched, recipe, private, command)
    for name, source in _sources(recipe):
        source.check(name)
    differing = _changes(original, published, recipe, _TEACHER in private)
    done = {task.name for task in recipe.tasks}
    for task in done & {task.name for task in original.tasks}:
        if results_file(task) in fetched.files:
            read_results(fetched.folder / results_file(task))
    if _TEACHER in private:
        _check_teacher(fetched.folder, recipe)
    output = default_output(recipe) if output_dir is None else Path(output_dir)
    write_unfinished(output, fetched.shown, fetched.commit)
    return Prepared(
        pair=fetched,
        published=published,
        recipe=recipe,
        output=output,
        command=command,
        changes=differing,
        left_out=tuple(task.name for task in original.tasks if task.name not in done),
        notes=(*_notes(fetched, original, recipe, private), *_note_on_classes(named)),
    )


def _recipe_of(pair: FetchedPair, published: PublishedFields) -> Recipe:
    from ..recipe import Recipe

    try:
        return Recipe.make(published.fields, file=f"{pair.shown}/{RECIPE_FILE}")
    except InputError as error:
        wrote = published.versions.get("bistill_hub")
        if wrote in (None, __version__):
            raise
        raise InputError(
            f"bistill-hub {wrote} wrote this recipe, and {__version__} does not read it ({error.problem})",
            file=error.file,
            field=error.field,
            remedy=f"install bistill-hub {wrote}",
        ) from error


def _classes_of_the_card(pair: FetchedPair, published: PublishedFields) -> list[str]:
    """Name the classes that build another tokenizer, where the recipe is of before there was a field for them.

    The cards of that time name them all the same.
    """
    if "tokenizer_not_by" in published.fields.get("teacher", {}) or FACTS_FILE not in pair.files:
        return []
    try:
        named = json.loads((pair.folder / FACTS_FILE).read_text(encoding="utf-8"))["vocabulary"]["not_by"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    return [str(name) for name in named] if isinstance(named, list) else []


def _note_on_classes(named: Sequence[str]) -> list[str]:
    if not named:
        return []
    return [f"{_NOT_BY}: recipe.json is older than this field, so what the card names was taken: {', '.join(named)}."]


def _sources(recipe: Recipe) -> list[tuple[str, Any]]:
    """A recipe's sources, each called as a change of the recipe calls it."""
    texts = [("source.text", recipe.source.text), ("target.text", recipe.target.text)]
    texts += [(f"further_languages.{language.name}.text", language.text) for language in recipe.further_languages]
    labels = [(f"tasks.{task.name}.{name}", found) for task in recipe.tasks for name, found in task.sources.items()]
    return [*texts, *labels]


def _models(recipe: Recipe) -> dict[str, str]:
    """Names of the models and deltas that a recipe begins with, by field."""
    named: dict[str, str | None] = {_TEACHER: recipe.teacher.model}
    named |= {f"teacher.language_deltas.{code}": name for code, name in recipe.teacher.language_deltas.items()}
    for task in recipe.tasks:
        named |= {f"tasks.{task.name}.teacher.{name}": getattr(task.teacher, name) for name in ("model", "delta")}
    return {name: found for name, found in named.items() if found is not None}


def _private_models(pair: FetchedPair, recipe: Recipe) -> dict[str, str]:
    """Those of the models that lay on the publisher's machine: what recipe.json has of them is a name without ORG/."""
    from ..model.configuration_bistill import BistillConfig
    from ..pipeline.portable import public_name

    with loading(pair.shown):
        config = BistillConfig.from_pretrained(pair.folder)
    codes = (config.source_language, config.target_language)
    if codes != (recipe.source.code, recipe.target.code):
        raise InputError(
            f"the languages of {CONFIG_FILE} are {codes[0]} and {codes[1]}",
            file=f"{pair.shown}/{RECIPE_FILE}",
            field="source.code, target.code",
            value=(recipe.source.code, recipe.target.code),
            remedy="restore the recipe that was packaged",
        )
    found = {name: model for name, model in _models(recipe).items() if "/" not in model or public_name(model) is None}
    if config.teacher == recipe.teacher.model and public_name(config.teacher):
        found.pop(_TEACHER, None)
    return found


def _stand_ins(recipe: Recipe, private: Mapping[str, str]) -> Recipe:
    """Put something that is no file's name for each thing that the user has to name."""
    files = {f"{name}.path": source.path for name, source in _sources(recipe) if source.path is not None}
    named = {name: f"{_UNNAMED}{Path(value).name}" for name, value in {**files, **private}.items()}
    return recipe.replace({**named, "unverified": recipe.unverified})


def _keeping_how_it_is_read(changes: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Let a file that is named for a published file take its place alone: column and so on stay."""
    files = {name for name, source in _sources(recipe) if source.path is not None}
    return {
        f"{name}.path" if name in files and isinstance(value, str | os.PathLike) else name: (
            os.fspath(value) if isinstance(value, os.PathLike) else value
        )
        for name, value in changes.items()
    }


def _refuse_unnamed(pair: FetchedPair, recipe: Recipe, private: Mapping[str, str], command: str) -> None:
    """Refuse a recipe of which something is left that only the publisher has.

    Raises:
        InputError: there is such a thing; all of them are listed.
    """
    paths = {name: source.path for name, source in _sources(recipe) if source.path is not None}
    named = {**{name: model for name, model in _models(recipe).items() if name in private}, **paths}
    missing = {name: value.removeprefix(_UNNAMED) for name, value in named.items() if value.startswith(_UNNAMED)}
    if not missing:
        return
    words = [f"--set {shlex.quote(f'{name}={value}')}" for name, value in missing.items()]
    raise InputError(
        f"the pair was made with files or models that are not on the Hub: "
        f"{', '.join(f'{name} ({value})' for name, value in missing.items())}",
        file=f"{pair.shown}/{RECIPE_FILE}",
        remedy=f"say where they are: {command} {' '.join(words)}",
    )


def _changes(original: Recipe, published: PublishedFields, recipe: Recipe, private: bool) -> tuple[Change, ...]:
    """Tell how a recipe differs from the published one.

    Raises:
        InputError: a file is another than the published one.
    """
    from ..pipeline.portable import portable
    from ..pipeline.rebuild import PublishedFields
    from .reproduction import Change

    now = PublishedFields.of(portable(recipe))
    files = {name: source for name, source in _sources(recipe) if source.path is not None}
    for name in published.hashes.keys() & files:
        if now.hashes[name] != published.hashes[name]:
            was = dict(_sources(original))[name].name
            raise InputError(
                f"its SHA-256 is {now.hashes[name]}, and the pair was made with a {was} whose SHA-256 is "
                f"{published.hashes[name]}",
                file=files[name].file,
                field=name,
                remedy=f"name the {was} that the pair was made with",
            )
    same = {f"{name}.path" for name in published.hashes.keys() & files} | ({_TEACHER} if private else set())
    before, after = (_flat(fields) for fields in (original.model_dump(mode="json"), now.fields))
    left_out = {task.name for task in original.tasks} - {task.name for task in recipe.tasks}
    ignored = ("tasks", *same)
    return tuple(
        Change(field=name, published=before.get(name), now=after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
        and name not in ignored
        and not name.startswith(tuple(f"tasks.{task}." for task in left_out))
    )


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Values by dotted path; an entry of a list is called by its name."""
    if isinstance(value, list) and value and all(isinstance(entry, dict) and "name" in entry for entry in value):
        value = {entry["name"]: entry for entry in value}
    if not isinstance(value, dict):
        return {place: value}
    found: dict[str, Any] = {}
    for name, entry in value.items():
        found |= _flat(entry, f"{place}.{name}" if place else name)
    return found


def _check_teacher(folder: Path, recipe: Recipe) -> None:
    from ..cards.facts import read_facts
    from ..pipeline.rebuild import check_teacher

    check_teacher(folder, recipe, read_facts(folder))


def _command(pair: FetchedPair, changes: Mapping[str, Any], tasks: Sequence[str] | None) -> str:
    """The command for others to read: no file keeps its folder, which is nobody's business but this machine's."""
    words = ["bistill", "run", pair.shown]
    if tasks is not None:
        words += ["--tasks", ",".join(tasks) or "none"]
    for name, value in changes.items():
        shown = without_folders(value)
        words += ["--set", f"{name}={shown if isinstance(shown, str) else json.dumps(shown)}"]
    return shlex.join(words)


def _notes(pair: FetchedPair, original: Recipe, recipe: Recipe, private: Mapping[str, str]) -> tuple[str, ...]:
    """What may make a difference without being one of the recipe."""
    places: list[tuple[str, Any, str | None]] = [
        (name, source.dataset, source.revision) for name, source in _sources(recipe)
    ]
    if _TEACHER not in private:
        places.append((_TEACHER, recipe.teacher.model, recipe.teacher.revision))
    notes = [
        f"{name}: the recipe names {place} without a revision, so it was read as it is on the Hub now."
        for name, place, revision in places
        if place is not None and revision is None
    ]
    notes += [
        f"{name}: nothing is published that tells whether {Path(model).name} is what the pair was made with."
        for name, model in _models(recipe).items()
        if name in private and name != _TEACHER
    ]
    notes += [f"Unverified in the recipe: {fact}" for fact in recipe.unverified]
    if _TEACHER in private:
        notes.append(f"{_TEACHER}: architecture and vocabulary are those of the pair's; no hash of it is published.")
    tasks = {path.split("/")[1] for path in pair.files if path.startswith("tasks/")}
    notes += [
        f"The task {task} is not in recipe.json: it was added to the pair later, and is not reproduced."
        for task in sorted(tasks - {task.name for task in original.tasks})
    ]
    return tuple(notes)


def _compare(
    prepared: Prepared, finished: RunResult, endpoint: str | None, weights: bool, progress: bool
) -> Reproduction:
    from .reproduction import compare, write_reproduction

    reproduction = compare(prepared, finished, endpoint=endpoint, weights=weights, progress=progress)
    with failed_writes_explained(prepared.output, "the report"):
        write_reproduction(prepared.output, reproduction)
    return reproduction


def _is_small(path: str) -> bool:
    """Whether a file is fetched: what the pair was made of, and how it scored; no weights."""
    return path in _SMALL or path.endswith(f"/{RESULTS_FILE}")
