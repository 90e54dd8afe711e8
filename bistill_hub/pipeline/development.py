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
        same examples, `reached`, the two in words where there is a score, and `warning` where it is not above the
        baseline.
    """
    task = data.task
    best = best_of(curve, f"eval_{task.main_metric}", max)
    guessed = task.trivial(data.validation, data.labels, data.train)
    trivial = float(task.main_score(task.statistics(data.validation, guessed).sum(axis=0)))
    facts: dict[str, Any] = {"validation": best, "validation_trivial": trivial}
    if best is None:
        return facts
    facts["reached"] = (
        f"best {task.main_metric} on development data {100 * best:.1f} %, trivial baseline {100 * trivial:.1f} %"
    )
    if warn and (best < trivial or math.isclose(best, trivial)):
        facts["warning"] = _warning(data, settings)
    return facts


def _warning(data: TaskData, settings: SparseSettings | TaskTeacher) -> str:
    field = f"tasks.{data.task.name}"
    if isinstance(settings, TaskTeacher):
        found, trains, passes = "nothing that a student could learn from it", f"{field}.teacher", settings.epochs
    else:
        found, trains, passes = "nothing of the task", f"{field}.distillation", settings.sparse_epochs
    return (
        f"on development data it is not above the trivial baseline, so it has learnt {found}. Try another "
        f"{trains}.learning_rate ({settings.learning_rate:g} now), or more epochs ({passes:g} now)"
    )
