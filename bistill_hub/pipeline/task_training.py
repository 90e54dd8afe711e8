"""A task's trainings in a run: its teacher, and phase 2 of the student under that teacher or on labels alone.

All processes of the run train; the main one writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import EvalPrediction

from ..distillation.checkpoints import CheckpointEvery
from ..distillation.fine_tuning import TaskFineTuningTrainer
from ..distillation.recording import LogRecorder, calm, read_log
from ..distillation.sampling import divided
from ..distillation.sparse_fine_tuning import SparseFineTuningArguments
from ..distillation.stage_records import of_iteration
from ..distillation.task import (
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
    SparseTaskFineTuningTrainer,
    SparseTaskTrainer,
)
from ..fp32_products import faster_fp32_products
from ..freed_memory import freed_memory_kept
from ..model.sparse_delta import SparseDelta
from ..recipe import Recipe, TaskTeacher
from ..student.build import trim_vocabulary
from ..teacher import (
    load_delta,
    load_task_model,
    load_tokenizer,
)
from .development import on_development_data
from .given_teacher import apply_task_delta, label_fields, put_in_order, tuned_rows
from .manifest import WORK_FOLDER
from .portable import shown_name
from .preflight import TaskData
from .processes import join

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
from .stage_files import DELTA_FILE, STUDENT_FILE, TOKEN_MAP_FILE
from .target_text import encode_target_text, with_unlabelled
from .training import common_arguments, last_loss, settings_at


def tune_teacher(
    recipe: Recipe, folder: Path, data: TaskData, *, progress: bool, random_weights: bool = False
) -> dict[str, Any]:
    """Make the task teacher: fine-tune the teacher on source-language labels, or take a tuned one.

    Leaves an ordinary checkpoint of the backbone's head class, with its tokenizer. A teacher that is made here carries
    the source language's delta, where the recipe has one, before it is fine-tuned or a task SFT comes on top; one that
    was tuned elsewhere is taken as it is, without.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        data: The task's data.
        progress: Show progress bars.
        random_weights: Start from the teacher's architecture with random weights instead (a baseline).
    """
    settings, task, together = data.recipe.teacher, data.task, join()
    place = settings.model or recipe.teacher.model
    revision = settings.revision if settings.model else recipe.teacher.revision
    tokenizer = load_tokenizer(place, revision)
    set_seed(recipe.seed)
    if settings.model and not random_weights:
        model = load_task_model(task.head, place, revision, tuned_by=f"tasks.{task.name}.teacher.model")
        if data.labels:
            put_in_order(model, tuned_rows(data.recipe, model.config, data.labels), data.labels)
    else:
        model = load_task_model(task.head, place, revision, **label_fields(data.labels))
    language = {}
    if random_weights:
        model = type(model)(model.config)
    elif settings.model is None and (worn := recipe.teacher.language_deltas.get(recipe.source.code)):
        load_delta(worn).apply(model, strict=False)
        language = {"language_delta": shown_name(worn)}
    if not random_weights and (settings.model or settings.delta):
        if settings.delta is not None:
            apply_task_delta(model, load_delta(settings.delta), data.recipe, data.labels)
        if not together.main:
            return {}
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"curve": [], "settings": _told(settings), "loss": None, **language}
    work = folder / WORK_FOLDER
    features = task.encode(data.train, tokenizer, data.labels, data.recipe.max_length)
    steps = max(1, round(len(features) / settings.batch_size * settings.epochs))
    division = divided(settings.batch_size, 1, together.count)
    common: dict[str, Any] = {
        "output_dir": str(work),
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": 4 * settings.batch_size,
        "learning_rate": settings.learning_rate,
        **_of_task(task.main_metric),
        **common_arguments(recipe, settings.precision, steps, progress),
    }
    make: type[TaskFineTuningTrainer] = TaskFineTuningTrainer
    args = TrainingArguments(**common)
    if settings.is_sparse and not random_weights:  # nothing can be learnt by a share of random weights
        make = SparseTaskFineTuningTrainer
        args = SparseFineTuningArguments(**common, density=settings.density, dense_epochs=settings.dense_epochs)
    trainer = make(
        model,
        args,
        train_dataset=features,
        processes_per_batch=division.processes_per_batch,
        **_watched(recipe, data, tokenizer),
    )
    calm(trainer)
    with settings_at(f"tasks.{task.name}.teacher"), freed_memory_kept(), faster_fp32_products():
        trainer.train(resume_from_checkpoint=True)
    if not together.main:
        return {}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sparse = {}
    if isinstance(trainer, SparseTaskFineTuningTrainer):
        delta = _learnt(trainer, data)
        delta.save(folder / DELTA_FILE)
        sparse = {"dense_curve": read_log(work / "dense"), "density": delta.density, "entries": delta.entries}
    curve = read_log(work / "sparse" if sparse else work)
    return {
        "curve": curve,
        **sparse,
        "settings": _told(settings),
        **last_loss(curve),
        **on_development_data(data, curve, settings, warn=not (recipe.smoke or random_weights)),
        **language,
    }


def _learnt(trainer: SparseTaskTrainer, data: TaskData) -> SparseDelta:
    """The delta that a training has left, with what it is of."""
    delta = trainer.delta
    if delta is None:
        raise RuntimeError("sparse fine-tuning ended without a delta")
    delta.metadata |= {"task": data.task.name, "labels": list(data.labels)}
    return delta


def _told(settings: TaskTeacher) -> dict[str, Any]:
    """The settings as records and cards have them: an order of labels only where there is one."""
    return settings.model_dump(mode="json", exclude=None if settings.delta_labels else {"delta_labels"})


def distil_task(
    recipe: Recipe, folder: Path, data: TaskData, student: Path, teacher: Path | None, *, progress: bool
) -> dict[str, Any]:
    """Phase 2, or the same stages on the labels alone. Leaves the task's sparse delta.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        data: The task's data.
        student: Folder of the student to start from.
        teacher: Folder of the task teacher, with its full vocabulary; not looked at where the labels are learnt from.
        progress: Show progress bars.
    """
    settings, task, together = data.recipe.distillation, data.task, join()
    tokenizer = load_tokenizer(str(student))
    taught_by: dict[str, Any] = {}
    if settings.learns_from == "teacher":
        token_map = load_file(student / TOKEN_MAP_FILE)["token_map"]
        taught_by["teacher"] = trim_vocabulary(load_task_model(task.head, str(teacher)), token_map)
    set_seed(recipe.seed)
    model = load_task_model(task.head, str(student), **label_fields(data.labels))
    features = task.encode(data.train, tokenizer, data.labels, data.recipe.max_length)
    target_text = 0
    if settings.target_share:
        unlabelled = encode_target_text(recipe, data, tokenizer, settings.unlabelled(len(features)))
        features, target_text = with_unlabelled(task, features, unlabelled), len(unlabelled)
    work = folder / WORK_FOLDER
    steps = max(1, round(len(features) / settings.batch_size / settings.accumulation * settings.sparse_epochs))
    division = divided(settings.batch_size, settings.accumulation, together.count)
    common: dict[str, Any] = {
        "output_dir": str(work),
        "num_train_epochs": settings.sparse_epochs,
        "dense_epochs": settings.dense_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": 4 * settings.batch_size,
        "gradient_accumulation_steps": division.accumulation,
        "learning_rate": settings.learning_rate,
        "density": settings.density,
        "iterations": settings.iterations,
        "delta_precision": settings.delta_precision,
        "freeze_layer_norms": settings.freeze_layer_norms,
        **_of_task(task.main_metric),
        **common_arguments(recipe, settings.precision, steps, progress),
    }
    make: type[SparseTaskTrainer]
    if taught_by:
        make = SparseTaskDistillationTrainer
        args: SparseFineTuningArguments = SparseTaskDistillationArguments(
            **common,
            attention_weight=settings.attention_weight,
            hidden_weight=settings.hidden_weight,
            logits_weight=settings.logits_weight,
            temperature=settings.temperature,
            teacher_precision=settings.teacher_precision,
            layer_map=json.loads((student / STUDENT_FILE).read_text(encoding="utf-8"))["layer_map"],
        )
    else:
        make, args = SparseTaskFineTuningTrainer, SparseFineTuningArguments(**common)
    trainer = make(
        model,
        args,
        train_dataset=features,
        processes_per_batch=division.processes_per_batch,
        **taught_by,
        **_watched(recipe, data, tokenizer),
    )
    calm(trainer)
    with settings_at(f"tasks.{task.name}.distillation"), freed_memory_kept(), faster_fp32_products():
        trainer.train(resume_from_checkpoint=True)
    if not together.main:
        return {}
    delta = _learnt(trainer, data)
    delta.save(folder / DELTA_FILE)
    curve = read_log(work / of_iteration("sparse", settings.iterations))
    return {
        "curve": curve,
        "dense_curve": read_log(work / of_iteration("dense", settings.iterations)),
        "settings": settings.determining,
        **({"target_text_inputs": target_text} if target_text else {}),
        "learns_from": settings.learns_from,
        "density": delta.density,
        "entries": delta.entries,
        **last_loss(curve),
        **on_development_data(data, curve, settings, warn=not recipe.smoke),
    }


def _of_task(metric: str) -> dict[str, Any]:
    """Training arguments of labelled data: the epoch with the best development score is kept.

    Sentences of similar length share a batch, so that little of it is padding.
    """
    return {
        "train_sampling_strategy": "group_by_length",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": True,
    }


def _watched(recipe: Recipe, data: TaskData, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The Trainer's arguments for scoring the development set, and for checkpoints within an epoch."""
    task, dataset = data.task, data.validation
    features = task.encode(dataset, tokenizer, data.labels, data.recipe.max_length)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        if isinstance(logits, tuple):  # start and end of spans
            logits = np.stack(logits, axis=-1)
        found = task.decode(features, list(logits), dataset, data.labels)
        # From the statistics: the same number as `score`, without the per-type table that takes seconds.
        return {task.main_metric: float(task.main_score(task.statistics(dataset, found).sum(axis=0)))}

    return {
        "eval_dataset": features,
        "compute_metrics": compute_metrics,
        "callbacks": [CheckpointEvery(recipe.checkpoint_every), LogRecorder()],
    }
