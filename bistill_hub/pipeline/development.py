"""What a training of a task has reached on development data, and a warning where that is nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..stage_settings import SparseSettings, TaskTeacher
from .preflight import TaskData
from .training import best_of


def on_development_data(
    data: TaskData, curve: Sequence[Mapping[str, float]], settings: SparseSettings | TaskTeacher, *, warn: bool
) -> dict[str, Any]:
    """Compare the best development score of a training with the task's trivial baseline.

    The comparison is of two numbers: a score that lies above the baseline by chance passes. The baseline is the one
    that test scores are compared with, fitted on the training set where it is fitted at all.

    Args:
        data: The task's data.
        curve: The training's log, with a development score for each pass.
        settings: What it was trained by: the task teacher's settings or those of phase 2.
        warn: Say in words that nothing was learnt. A smoke run, and a baseline that is meant to know little, need not.

    Returns:
        `validation`, the best score (a fraction; None if none was logged), `validation_trivial`, the baseline's on the
        same examples, and `warning` where the former is not above the latter.
    """
    task = data.task
    best = best_of(curve, f"eval_{task.main_metric}", max)
    guessed = task.trivial(data.validation, data.labels, data.train)
    trivial = float(task.main_score(task.statistics(data.validation, guessed).sum(axis=0)))
    reached: dict[str, Any] = {"validation": best, "validation_trivial": trivial}
    if warn and best is not None and (best < trivial or math.isclose(best, trivial)):
        reached["warning"] = _warning(data, best, trivial, settings)
    return reached


def _warning(data: TaskData, best: float, trivial: float, settings: SparseSettings | TaskTeacher) -> str:
    task, field = data.task, f"tasks.{data.task.name}"
    if isinstance(settings, TaskTeacher):
        trained, trains, passes = "task teacher", f"{field}.teacher", f"{settings.epochs:g}"
        found = "it has nothing that a student could learn from it"
    else:
        trained, trains, passes = "student", f"{field}.distillation", f"{settings.sparse_epochs:g}"
        found = "it has learnt nothing of the task"
    return (
        f"on development data the {trained}'s best {task.main_metric} is {100 * best:.1f} %, the trivial "
        f"baseline's {100 * trivial:.1f} %: {found}. Try another {trains}.learning_rate "
        f"({settings.learning_rate:g} now), or more epochs ({passes} now)"
    )
