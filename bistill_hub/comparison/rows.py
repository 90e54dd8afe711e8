"""Rows of a comparison: a contender, a seed, a task, with its stages and where these are kept.

A stage's folder is named by what goes into it, so that contenders which share a stage share its folder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..pipeline.manifest import StageRecord, finished, started
from ..pipeline.order import PHASE_1, Stage, stages_of
from ..pipeline.preflight import TaskData
from ..pipeline.shared import place_by_content
from ..recipe import Recipe
from .contenders import Contender
from .scoring import SCORES, score_stage
from .sparse_teacher import speaking_stage

STAGES_FOLDER = "stages"


@dataclass(frozen=True)
class Asked:
    """What is to be known: the score of a contender trained with a seed, on a task."""

    contender: str
    seed: int
    task: str

    def __str__(self) -> str:
        return f"{self.contender}, {self.task}, seed {self.seed}"


@dataclass(frozen=True)
class Row:
    """A row of the comparison before it is averaged over seeds.

    Attributes:
        asked: What it is.
        recipe: The contender's recipe with this seed.
        data: The task's data; `data.recipe` is the contender's.
        stages: What has to be done for it, in order; the last one scores.
    """

    asked: Asked
    recipe: Recipe
    data: TaskData
    stages: tuple[Stage, ...]


def rows_of(
    contender: Contender,
    recipe: Recipe,
    seeds: Sequence[int],
    data: Mapping[str, TaskData],
    *,
    progress: bool,
) -> list[Row]:
    """Return a contender's rows, seed after seed, for each task of its recipe.

    Args:
        contender: The contender.
        recipe: Its recipe.
        seeds: The seeds.
        data: The tasks' data by name.
        progress: Show progress bars while the stages work.
    """
    rows = []
    for seed in seeds:
        seeded = recipe.replace({"seed": seed})
        own = [replace(data[task.name], recipe=task) for task in seeded.tasks]
        stages = {stage.name: stage for stage in stages_of(seeded, own, command="", progress=progress)}
        deltas = stages[PHASE_1].settings["deltas"]
        if contender.scored == "sparse_teacher":
            stages[PHASE_1] = speaking_stage(seeded, stages[PHASE_1])
        for task in own:
            scores = score_stage(seeded, task, contender.scored, stages, deltas, progress=progress)
            wanted = _needed(scores, stages)
            rows.append(Row(Asked(contender.name, seed, task.recipe.name), seeded, task, wanted))
    return rows


def _needed(last: Stage, stages: Mapping[str, Stage]) -> tuple[Stage, ...]:
    """A stage and all that it needs, directly or not, in order."""
    names = set(last.needs)
    for stage in reversed(list(stages.values())):
        if stage.name in names:
            names |= set(stage.needs)
    return (*(stage for name, stage in stages.items() if name in names), last)


def place_of(folder: Path, stage: Stage, inputs: Mapping[str, Any]) -> Path:
    """Where a stage with these inputs is kept in a comparison's folder."""
    return place_by_content(folder / STAGES_FOLDER, stage.slug, inputs)


def finished_stages(row: Row, folder: Path) -> dict[str, StageRecord]:
    """Records of those stages of a row that are finished.

    Once a model is scored its files are not needed any more: where predictions and scores are there, the records of the
    stages before them are enough.
    """
    scored = row.stages[-1].name
    records = _records(row, folder, without_files=[stage.name for stage in row.stages if stage.name != scored])
    return records if scored in records else _records(row, folder, without_files=())


def to_train(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Rows that are not scored, without the stage that would score them."""
    left = [row for row in rows if row.stages[-1].name not in finished_stages(row, folder)]
    return [replace(row, stages=row.stages[:-1]) for row in left]


def removed_model(row: Row, folder: Path) -> StageRecord | None:
    """The first stage of a row that is finished and whose files are not all there any more, or not whole."""
    told = _records(row, folder, without_files=[stage.name for stage in row.stages])
    there = _records(row, folder, without_files=())
    return next((record for name, record in told.items() if name not in there), None)


def _records(row: Row, folder: Path, *, without_files: Collection[str]) -> dict[str, StageRecord]:
    """Records of a row's finished stages; of those that are named, files may have been removed."""
    records: dict[str, StageRecord] = {}
    for stage in row.stages:
        if all(name in records for name in stage.needs):
            inputs = stage.inputs(records)
            place = place_of(folder, stage, inputs)
            record = finished(stage.name, place, inputs, files=stage.name not in without_files)
            if record is not None:
                records[stage.name] = record
    return records


def is_started(stage: Stage, records: Mapping[str, StageRecord], folder: Path) -> bool:
    """Whether a stage was begun and goes on where it stopped."""
    if not all(name in records for name in stage.needs):
        return False
    inputs = stage.inputs(records)
    return started(place_of(folder, stage, inputs), inputs)


def score_name(task: str) -> str:
    """Name of the stage that scores a task."""
    return f"{task} {SCORES}"
