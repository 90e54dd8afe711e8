"""Refuses a run that would remove what no run has made, what it reads itself, or another pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..checkpoint_files import local_name
from ..errors import InputError
from ..recipe import Recipe
from ..sources import LabelledSource, TextSource
from ..teacher import delta_place
from .order import Stage
from .preflight import delta_fields, text_fields
from .stage_folder import DAMAGED, read_json, refuse_others_content


def refuse_another_pair(recipe: Recipe, file: Path) -> None:
    """Refuse to do a pair's stages where another's are.

    Args:
        recipe: The pair's recipe.
        file: What a run notes its recipe in, in its folder; one that is not there, or damaged, says nothing.

    Raises:
        InputError: the recipe there is of another name, or the file is no run's.
    """
    noted = read_json(file)
    if noted is None or noted == DAMAGED:
        return
    try:
        name = noted["recipe"]["name"]
    except (TypeError, KeyError):
        raise InputError(
            "a run is to write its recipe to this file, which no run has left",
            field="output",
            value=str(file),
            remedy="choose another output folder",
        ) from None
    if name != recipe.name:
        raise InputError(
            f"the run in this folder is of another pair, {name}, whose stages {recipe.name} would take the place of",
            field="output",
            value=str(file.parent),
            remedy=f"choose another folder; or begin anew in this one with --fresh (fresh=True); or, if it is the same "
            f"pair by a new name, remove {file.name} there",
        )


def refuse_overwriting(recipe: Recipe, folder: Path, stages: Sequence[Stage]) -> None:
    """Refuse to do stages where something would be lost that no stage has made, or that the run reads.

    Args:
        recipe: The recipe.
        folder: The run's folder.
        stages: The stages that are to be done, or are finished, and those whose folders are emptied beforehand.

    Raises:
        InputError: it would be so.
    """
    refuse_others_content(*(folder / stage.slug for stage in stages))
    places = {stage.slug: (folder / stage.slug).resolve() for stage in stages}
    for field, value, file in _local_inputs(recipe):
        for slug, place in places.items():
            if file.resolve().is_relative_to(place):
                raise InputError(
                    f"the run reads this, and it lies in the folder of the run's own stage {slug}, which is emptied "
                    "before the stage is done",
                    field=field,
                    value=value,
                    remedy="choose another output folder, or copy this elsewhere and name the copy",
                )


def _local_inputs(recipe: Recipe) -> Iterator[tuple[str, str, Path]]:
    """Go through what a recipe names and what is here, not on the Hub: field, value, and where it is."""
    models = {"teacher.model": recipe.teacher.model}
    sources: dict[str, TextSource | LabelledSource] = {**text_fields(recipe)}
    for task in recipe.tasks:
        if task.teacher.model is not None:
            models[f"tasks.{task.name}.teacher.model"] = task.teacher.model
        sources |= {f"tasks.{task.name}.{name}": source for name, source in task.sources.items()}
    named = {field: (name, name) for field, name in models.items()}
    named |= {field: (name, delta_place(name, field).place) for field, name in delta_fields(recipe).items()}
    for field, source in sources.items():
        if source.path is not None:
            named[field] = source.path, str(source.file)
        elif source.dataset is not None:
            named[field] = source.dataset, source.dataset
    for field, (value, place) in named.items():
        file = Path(local_name(place))
        if file.exists():
            yield field, value, file
