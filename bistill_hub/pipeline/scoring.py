"""Scores every model of a run by the same code, and measures size and speed of teacher and student."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer
from transformers.models.auto import modeling_auto

from ..evaluation.evaluate import (
    TestSet,
    compare_with_teacher,
    evaluate_model,
    labels_of,
    read_predictions,
    write_predictions,
)
from ..evaluation.results import RESULTS_FILE, Result, read_results, write_results
from ..evaluation.size import measure_size
from ..evaluation.speed import SIZE_AND_SPEED_FILE, SizeAndSpeed, measure_speed, write_size_and_speed
from ..model.configuration_bistill import HEADS
from ..recipe import Recipe
from ..student.backbones import backbone_for
from ..student.build import trim_vocabulary
from ..teacher import load_encoder, load_task_model, load_tokenizer, weights_folder
from .manifest import WORK_FOLDER, versions
from .packaging import lay_out
from .preflight import TaskData
from .stages import TOKEN_MAP_FILE


@dataclass(frozen=True)
class TaskFolders:
    """Where the stages left what a task's evaluation loads.

    Attributes:
        student: The phase-1 student.
        teacher: The task teacher.
        delta: Phase 2.
        uncut: The student before phase 1.
        no_phase_1: Phase 2 on the student that phase 1 has not taught; None where this baseline is not asked for.
        random_teacher: The teacher's architecture from random weights; None where this baseline is not asked for.
    """

    student: Path
    teacher: Path
    delta: Path
    uncut: Path
    no_phase_1: Path | None = None
    random_teacher: Path | None = None


def evaluate_task(
    recipe: Recipe, folder: Path, task: TaskData, folders: TaskFolders, *, progress: bool
) -> dict[str, Any]:
    """Score student, teacher and baselines of a task on the source and the target language.

    The student is laid out as it will be packaged and loaded back from there before it is scored. A score that an
    interrupted run has finished is not computed again.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        task: The task's data.
        folders: What to score.
        progress: Show progress bars.
    """
    work = folder / WORK_FOLDER
    work.mkdir(exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results: list[Result] = []
    for role, language, source in (
        ("source", recipe.source, task.recipe.test_source),
        ("target", recipe.target, task.recipe.test_target),
    ):
        test = TestSet(language.code, role, source)
        predictions = {}
        scored = []
        for model_name in ("teacher", "student", *recipe.baselines):
            file = work / f"{model_name}.{language.code}.json"
            predicted = folder / f"{model_name}.{language.code}.jsonl"
            if not file.is_file():
                model, tokenizer = _load(recipe, model_name, task, folders, work)
                result, found = evaluate_model(
                    model.to(device),
                    tokenizer,
                    task.task,
                    test,
                    task.labels and labels_of(model),
                    name=model_name,
                    training=task.train,
                    max_length=task.recipe.max_length,
                    seed=recipe.seed,
                    progress=progress,
                )
                write_predictions(predicted, found)
                write_results(file, [replace(result, synthetic=recipe.synthetic)], {})
            scored += read_results(file)
            predictions[model_name] = read_predictions(predicted)
        compared = compare_with_teacher(task.task, test, task.labels, predictions, training=task.train)
        results += [replace(result, against_teacher=compared.get(result.model)) for result in scored]
    write_results(folder / RESULTS_FILE, results, versions())
    return {}


def _load(recipe: Recipe, name: str, task: TaskData, folders: TaskFolders, work: Path) -> tuple[Any, Any]:
    """Load a model that is to be scored, and its tokenizer."""
    head = task.task.head
    if name in ("teacher", "random_teacher"):
        place = folders.teacher if name == "teacher" else folders.random_teacher
        return load_task_model(head, str(place)), load_tokenizer(str(place))
    if name == "trimmed_teacher":
        token_map = load_file(folders.student / TOKEN_MAP_FILE)["token_map"]
        trimmed = trim_vocabulary(load_task_model(head, str(folders.teacher)), token_map)
        return trimmed, load_tokenizer(str(folders.student))
    pair = work / name
    if name == "student":
        lay_out(recipe, pair, folders.student, {task.task.name: folders.delta})
    elif folders.no_phase_1 is not None:
        lay_out(recipe, pair, folders.uncut, {task.task.name: folders.no_phase_1})
    auto = getattr(modeling_auto, HEADS[head])
    return auto.from_pretrained(pair, task=task.task.name), AutoTokenizer.from_pretrained(pair)


def measure_run(recipe: Recipe, folder: Path, student: Path, *, progress: bool) -> dict[str, Any]:
    """Measure size and speed of the teacher and the student side by side. Leaves `size_and_speed.json`.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        student: Folder of the phase-1 student.
        progress: Show a progress bar.
    """
    settings, name = recipe.speed, recipe.teacher.model
    models = load_encoder(name, recipe.teacher.revision), load_encoder(str(student))
    longest = min(backbone_for(model.config).longest_input(model.config) for model in models)
    length = min(settings.length, longest)
    teacher_folder = weights_folder(name, recipe.teacher.revision)
    found = SizeAndSpeed(
        teacher=measure_size(models[0], folder=teacher_folder, length=length),
        student=measure_size(models[1], folder=student, length=length),
        speeds=measure_speed(
            *models, lengths=[length], batch_size=settings.batch_size, seconds=settings.seconds, progress=progress
        ),
    )
    write_size_and_speed(folder / SIZE_AND_SPEED_FILE, found)
    return {"settings": settings.model_dump()}
