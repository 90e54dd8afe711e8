"""Scores every model of a run by the same code, and measures size and speed of teacher and student.

The teacher, whole or trimmed, speaks the language of the data: on target data it carries the target's delta in place of
the source's (Ansell et al. 2023, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer
from transformers.models.auto import modeling_auto

from ..evaluation.evaluate import TestSet, compare_with_teacher, evaluate_model, labels_of
from ..evaluation.kept import read_predictions, write_predictions
from ..evaluation.results import RESULTS_FILE, Result, read_results, write_results
from ..evaluation.size import measure_size
from ..evaluation.speed import SIZE_AND_SPEED_FILE, SizeAndSpeed, measure_speed, write_size_and_speed
from ..model.configuration_bistill import HEADS
from ..model.sparse_delta import SparseDelta
from ..power_cuts import bring_to_disk, put_in_place
from ..recipe import Recipe
from ..student.backbones import backbone_for
from ..student.build import trim_vocabulary
from ..teacher import load_delta, load_encoder, load_task_model, load_tokenizer, weights_folder
from .manifest import WORK_FOLDER, versions
from .packaging import lay_out
from .portable import shown_name
from .preflight import TaskData
from .stage_files import TOKEN_MAP_FILE


@dataclass(frozen=True)
class TaskFolders:
    """Where the stages left what a task's evaluation loads; None for what is not there, or not asked for.

    Attributes:
        teacher: The task teacher.
        student: The phase-1 student.
        delta: Phase 2.
        uncut: The student before phase 1.
        no_phase_1: Phase 2 on the student that phase 1 has not taught.
        random_teacher: The teacher's architecture from random weights.
    """

    teacher: Path | None = None
    student: Path | None = None
    delta: Path | None = None
    uncut: Path | None = None
    no_phase_1: Path | None = None
    random_teacher: Path | None = None


def evaluate_task(
    recipe: Recipe, folder: Path, task: TaskData, folders: TaskFolders, *, progress: bool
) -> dict[str, Any]:
    """Score student, teacher and baselines of a task on the source and the target language.

    The student is laid out as it will be packaged and loaded back from there before it is scored. What an interrupted
    run has finished, a score or part of the predictions, is not computed again.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        task: The task's data.
        folders: What to score.
        progress: Show progress bars.

    Returns:
        `teacher_language_deltas`: for each language of the tests the delta that the teacher carried there, None for
        none; empty where the task's teacher carries no language deltas at all.
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
                model, tokenizer = load_scored(recipe, model_name, task, folders, work, language=language.code)
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
                    predictions_file=work / predicted.name,
                )
                write_predictions(predicted, found)
                bring_to_disk(folder, [predicted])
                unfinished = file.with_suffix(".unfinished")
                write_results(unfinished, [replace(result, synthetic=recipe.synthetic, smoke=recipe.smoke)], {})
                put_in_place(unfinished, file)  # whoever goes on takes the score for finished
            scored += read_results(file)
            predictions[model_name] = read_predictions(predicted)
        compared = compare_with_teacher(task.task, test, task.labels, predictions, training=task.train)
        results += [replace(result, against_teacher=compared.get(result.model)) for result in scored]
    write_results(folder / RESULTS_FILE, results, versions())
    deltas = _deltas_on_teacher(recipe, task)
    worn = {language.code: deltas.get(language.code) for language in recipe.languages} if deltas else {}
    return {"teacher_language_deltas": {code: name and shown_name(name) for code, name in worn.items()}}


def load_scored(
    recipe: Recipe, name: str, task: TaskData, folders: TaskFolders, work: Path, *, language: str
) -> tuple[Any, Any]:
    """Load a model that is to be scored on data of a language, and its tokenizer.

    Args:
        recipe: The recipe.
        name: "teacher", "trimmed_teacher", "student", "no_phase_1" or "random_teacher".
        task: The task's data.
        folders: What the model is loaded from.
        work: A folder to lay the student out in, as it will be packaged.
        language: Code of the data's language.
    """
    head = task.task.head
    if name == "random_teacher":
        place = str(_there(folders.random_teacher))
        return load_task_model(head, place), load_tokenizer(place)
    if name in ("teacher", "trimmed_teacher"):
        teacher = load_task_model(head, str(_there(folders.teacher)))
        change = language_change(recipe, language) if _deltas_on_teacher(recipe, task) else None
        if change is not None:
            change.apply(teacher, strict=False)
        if name == "teacher":
            return teacher, load_tokenizer(str(folders.teacher))
        student = _there(folders.student or folders.uncut)
        token_map = load_file(student / TOKEN_MAP_FILE)["token_map"]
        return trim_vocabulary(teacher, token_map), load_tokenizer(str(student))
    encoder, delta = (folders.student, folders.delta) if name == "student" else (folders.uncut, folders.no_phase_1)
    lay_out(recipe, work / name, _there(encoder), {task.task.name: _there(delta)})
    auto = getattr(modeling_auto, HEADS[head])
    return auto.from_pretrained(work / name, task=task.task.name), AutoTokenizer.from_pretrained(work / name)


def _there(folder: Path | None) -> Path:
    if folder is None:
        raise ValueError("the stage that leaves this model was not done")
    return folder


def _deltas_on_teacher(recipe: Recipe, task: TaskData) -> Mapping[str, str]:
    """The language deltas of a teacher that was made here; one tuned elsewhere is scored as it is."""
    return {} if task.recipe.teacher.model is not None else recipe.teacher.language_deltas


def language_change(recipe: Recipe, language: str) -> SparseDelta | None:
    """Return what makes of a task teacher in the source language the same teacher in another one.

    It is the difference of the bare teacher with either language's delta on it, in float32: zero, and left out, where
    neither delta changes anything.

    Args:
        recipe: The recipe.
        language: The other language's code; without a delta of its own the source's is taken off and nothing put on.

    Returns:
        A delta under the names of the headless encoder; None for the source language itself.

    Raises:
        InputError: the teacher or a delta cannot be loaded.
    """
    if language == recipe.source.code:
        return None
    carried: list[dict[str, torch.Tensor]] = []
    for code in (recipe.source.code, language):
        encoder = load_encoder(recipe.teacher.model, recipe.teacher.revision)
        if code in recipe.teacher.language_deltas:
            load_delta(recipe.teacher.language_deltas[code]).apply(encoder, strict=False)
        carried.append({name: parameter.detach() for name, parameter in encoder.named_parameters()})
    return SparseDelta.from_models(*carried)


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
