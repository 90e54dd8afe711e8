"""The stage that scores one model of a comparison on the source and on the target test, and keeps its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..evaluation.evaluate import TestSet, evaluate_model, labels_of
from ..evaluation.kept import write_predictions
from ..evaluation.results import RESULTS_FILE, write_results
from ..evaluation.size import measure_size
from ..pipeline.manifest import WORK_FOLDER, StageRecord, versions
from ..pipeline.order import PHASE_1, STUDENT, Stage
from ..pipeline.scoring import TaskFolders, load_scored
from ..recipe import Language, Recipe
from ..student.backbones import backbone_for
from .contenders import Scored
from .sparse_teacher import load_sparse_teacher

if TYPE_CHECKING:
    from ..pipeline.preflight import TaskData
    from ..sources import LabelledSource

SCORES = "scores"
"""The stage's name, after that of the task."""

FLOPS_LENGTH = 128
"""Tokens of the input whose operations are counted, or as many as the model reads if that is less."""

_UNUSED = ("baselines",)
"""What goes into the pipeline's evaluation and not into this stage."""


def score_stage(
    recipe: Recipe,
    task: TaskData,
    scored: Scored,
    stages: Mapping[str, Stage],
    deltas: Mapping[str, Any],
    *,
    progress: bool,
) -> Stage:
    """Return the stage that scores one model of a recipe on a task.

    Args:
        recipe: The recipe of the contender.
        task: The task's data.
        scored: Which of its models.
        stages: The recipe's stages by name.
        deltas: By language what the stages depend on of the recipe's language SFTs.
        progress: Show progress bars.
    """
    name = task.task.name
    teacher, phase_2 = f"{name} teacher", f"{name} phase 2"
    needs = {
        "teacher": (teacher,),
        "trimmed_teacher": (STUDENT, teacher),
        "sparse_teacher": (STUDENT, phase_2),
        "student": (PHASE_1, phase_2),
    }[scored]
    tests = stages[f"{name} evaluation"].settings
    settings = {field: value for field, value in tests.items() if field not in _UNUSED}
    if scored == "sparse_teacher" and deltas:  # wherever the task teacher comes from
        settings["deltas"] = deltas
    return Stage(
        f"{name} {SCORES}",
        needs,
        {**settings, "task": [name, task.task.version], "scored": scored, "flops_length": FLOPS_LENGTH},
        lambda place, done: score_model(recipe, place, task, scored, done, progress=progress),
    )


def tests_of(recipe: Recipe, task: TaskData) -> tuple[tuple[str, Language, LabelledSource], ...]:
    """Role, language and source of a task's two test sets."""
    return (
        ("source", recipe.source, task.recipe.test_source),
        ("target", recipe.target, task.recipe.test_target),
    )


def predictions_file(folder: Path, language: str) -> Path:
    """Where the stage leaves a model's predictions for a language's test set."""
    return folder / f"{language}.jsonl"


def score_model(
    recipe: Recipe, folder: Path, task: TaskData, scored: Scored, done: Mapping[str, StageRecord], *, progress: bool
) -> dict[str, Any]:
    """Score a model on source and target test and measure its encoder. Leaves `results.json` and predictions.

    An interrupted one goes on with what it has predicted.

    Args:
        recipe: The recipe of the contender.
        folder: The stage's folder.
        task: The task's data.
        scored: Which of the recipe's models.
        done: Records of the stages that made it.
        progress: Show progress bars.
    """
    work = folder / WORK_FOLDER
    work.mkdir(exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folders = _folders(task.task.name, done)
    results, size = [], None
    for role, language, source in tests_of(recipe, task):
        model, tokenizer = _loaded(recipe, scored, task, folders, work, language.code)
        if size is None:
            longest = backbone_for(model.config).longest_input(model.config)
            size = measure_size(model, length=min(FLOPS_LENGTH, longest))
        file = predictions_file(folder, language.code)
        result, predictions = evaluate_model(
            model.to(device),
            tokenizer,
            task.task,
            TestSet(language.code, role, source),
            task.labels and labels_of(model),
            name=scored,
            training=task.train,
            max_length=task.recipe.max_length,
            seed=recipe.seed,
            progress=progress,
            predictions_file=work / file.name,
        )
        write_predictions(file, predictions)
        results.append(replace(result, synthetic=recipe.synthetic, smoke=recipe.smoke))
    write_results(folder / RESULTS_FILE, results, versions())
    return {"size": None if size is None else asdict(size)}


def _loaded(
    recipe: Recipe, scored: Scored, task: TaskData, folders: TaskFolders, work: Path, language: str
) -> tuple[Any, Any]:
    """Load what is to be scored on data of a language, and its tokenizer."""
    if scored != "sparse_teacher":
        return load_scored(recipe, scored, task, folders, work, language=language)
    if folders.uncut is None or folders.delta is None:
        raise ValueError("the stages that leave the sparsely tuned teacher were not done")
    return load_sparse_teacher(recipe, task, folders.uncut, folders.delta, language=language)


def _folders(task: str, done: Mapping[str, StageRecord]) -> TaskFolders:
    places = {name: record.folder for name, record in done.items()}
    return TaskFolders(
        teacher=places.get(f"{task} teacher"),
        student=places.get(PHASE_1),
        delta=places.get(f"{task} phase 2"),
        uncut=places.get(STUDENT),
    )
