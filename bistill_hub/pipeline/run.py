"""Runs a recipe from its teacher to its package: the stages in order, skipping what is done, ending with a table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import InputError
from ..evaluation.results import Result, read_results
from ..recipe import Recipe
from ..sources import file_sha256
from .manifest import StageRecord, complete
from .preflight import TaskData, check_writable, preflight
from .scoring import TaskFolders, evaluate_run, package_run
from .stages import cut_student, distil_bilingually, distil_task, tune_teacher

LOCK_FILE = ".running"


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        repository: The packaged pair, ready to be loaded.
        results: Every score.
        stages: A record of each stage.
        seconds: Wall time of this run.
    """

    repository: Path
    results: tuple[Result, ...]
    stages: tuple[StageRecord, ...]
    seconds: float


def run(recipe: Recipe, output_dir: str | Path, *, progress: bool = True, command: str | None = None) -> RunResult:
    """Run a recipe: student, phase 1, for each task its teacher and phase 2, evaluation, package.

    Every stage leaves a folder with a manifest in `output_dir`. A run into the same folder skips stages whose inputs
    have not changed, and goes on where an interrupted one stopped.

    Args:
        recipe: What to do.
        output_dir: Where everything is written.
        progress: Show progress bars and what is being done.
        command: The command that reproduces the run, for the card; by default the Python call.

    Returns:
        The package, the scores and the stages' records.

    Raises:
        InputError: something that the run needs is missing or wrong; raised before anything expensive starts.
    """
    begin = time.monotonic()
    folder = Path(output_dir)
    check_writable(folder)
    lock = FileLock(folder / LOCK_FILE)
    try:
        with lock.acquire(timeout=0):
            data = preflight(recipe, folder)
            stages = _Stages(recipe, folder, data, progress)
            repository = stages.run(command or f"bistill run {recipe.name}")
    except Timeout:
        raise InputError(
            "another run is writing there",
            field="output",
            value=str(folder),
            remedy="wait for it, or choose another folder",
        ) from None
    results = tuple(
        result for task in recipe.tasks for result in read_results(repository / "tasks" / task.name / "results.json")
    )
    return RunResult(repository, results, tuple(stages.records), round(time.monotonic() - begin, 1))


class _Stages:
    """The order of the stages, and what each one's output depends on."""

    def __init__(self, recipe: Recipe, folder: Path, data: list[TaskData], progress: bool) -> None:
        self.recipe = recipe
        self.folder = folder
        self.data = data
        self.progress = progress
        self.records: list[StageRecord] = []

    def run(self, command: str) -> Path:
        recipe, show = self.recipe, {"progress": self.progress}
        base: dict[str, Any] = {"seed": recipe.seed, "teacher": _model_inputs(recipe.teacher.model)}
        base["revision"] = recipe.teacher.revision
        text = {language.code: _source_inputs(language.text) for language in recipe.languages}
        student = self._do(
            "student",
            {**base, "text": text, "settings": recipe.student.model_dump(mode="json")},
            lambda place: cut_student(recipe, place, **show),
        )
        deltas = {code: _model_inputs(name) for code, name in recipe.teacher.language_deltas.items()}
        taught = self._do(
            "phase 1",
            {**base, "text": text, "deltas": deltas, "settings": recipe.bilingual.model_dump(), **_after(student)},
            lambda place: distil_bilingually(recipe, place, student.folder, **show),
        )
        folders = {task.task.name: self._task(task, base, student, taught) for task in self.data}
        evaluation = self._do(
            "evaluation",
            {
                **base,
                "tests": {
                    task.name: [_source_inputs(task.test_source), _source_inputs(task.test_target), task.max_length]
                    for task in recipe.tasks
                },
                "baselines": recipe.baselines,
                "languages": [language.code for language in recipe.languages],
                **_after(*self.records),
            },
            lambda place: evaluate_run(
                recipe, place, self.data, taught.folder, student.folder, folders, progress=self.progress
            ),
        )
        before = list(self.records)
        package = self._do(
            "package",
            {"recipe": recipe.sha256, "command": command, **_after(*before)},
            lambda place: package_run(recipe, place, evaluation.folder, student, before, command),
        )
        return package.folder / "repository"

    def _task(self, task: TaskData, base: Mapping[str, Any], student: StageRecord, taught: StageRecord) -> TaskFolders:
        recipe, name, show = self.recipe, task.task.name, {"progress": self.progress}
        settings = task.recipe
        labelled = {
            **base,
            "task": [name, task.task.version],
            "train": _source_inputs(settings.train),
            "validation": _source_inputs(settings.validation),
            "max_length": settings.max_length,
        }
        tuning = {
            **labelled,
            "settings": settings.teacher.model_dump(),
            "tuned": [_model_inputs(place) for place in (settings.teacher.model, settings.teacher.delta) if place],
        }
        distilling = {**labelled, "settings": settings.distillation.model_dump()}
        teacher = self._do(f"{name} teacher", tuning, lambda place: tune_teacher(recipe, place, task, **show))
        delta = self._do(
            f"{name} phase 2",
            {**distilling, **_after(taught, teacher)},
            lambda place: distil_task(recipe, place, task, taught.folder, teacher.folder, **show),
        )
        baselines: dict[str, Path] = {}
        if "no_phase_1" in recipe.baselines:
            baselines["no_phase_1"] = self._do(
                f"{name} phase 2 without phase 1",
                {**distilling, **_after(student, teacher)},
                lambda place: distil_task(recipe, place, task, student.folder, teacher.folder, **show),
            ).folder
        if "random_teacher" in recipe.baselines:
            baselines["random_teacher"] = self._do(
                f"{name} random teacher",
                {**tuning, "random_weights": True},
                lambda place: tune_teacher(recipe, place, task, random_weights=True, **show),
            ).folder
        return TaskFolders(teacher.folder, delta.folder, **baselines)

    def _do(self, name: str, inputs: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]]) -> StageRecord:
        place = self.folder / name.replace(" ", "-")
        if self.progress:
            self._say(name)
        record = complete(name, place, {"stage": name, **inputs}, work)
        self.records.append(record)
        return record

    def _say(self, name: str) -> None:
        from rich.console import Console

        total = 4 + len(self.data) * (2 + len({"no_phase_1", "random_teacher"} & set(self.recipe.baselines)))
        Console(stderr=True).print(f"[bold]Stage {len(self.records) + 1} of {total}:[/bold] {name}")


def _after(*stages: StageRecord) -> dict[str, Any]:
    """What a stage depends on of earlier ones: the files that they left."""
    return {"after": {stage.name: dict(stage.outputs) for stage in stages}}


def _source_inputs(source: Any) -> dict[str, Any]:
    """What a stage depends on of a source: a local file's content, a Hub data set's place and revision."""
    fields = source.model_dump(mode="json")
    if source.path is not None:
        fields["path"] = file_sha256(source.file)
    return fields


def _model_inputs(place: str) -> Any:
    """What a stage depends on of a model: a local folder's or file's content, or a Hub id."""
    local = Path(place.removeprefix("legacy:")).expanduser()
    if local.is_file():
        return file_sha256(local)
    if local.is_dir():
        return {file.name: file_sha256(file) for file in sorted(local.iterdir()) if file.is_file() and _matters(file)}
    return place


def _matters(file: Path) -> bool:
    return file.suffix in (".json", ".safetensors", ".bin", ".txt", ".model") and not file.name.startswith(".")


def default_output(recipe: Recipe) -> Path:
    """Where a run writes when nothing else is said: `runs/<name>` in the working folder."""
    return Path(os.curdir) / "runs" / recipe.name
