"""What predictions are worth: the score, its interval, and the trivial baseline on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .bootstrap import bootstrap_scores, interval

if TYPE_CHECKING:
    from datasets import Dataset

    from ..tasks.task import Task


@dataclass(frozen=True)
class Score:
    """A score of predictions.

    Attributes:
        n: Examples scored.
        metric: Name of the main metric.
        score: The main metric, a fraction.
        low: Lower end of its 95 % bootstrap interval over examples.
        high: Upper end.
        trivial: Score of the task's trivial baseline on the same examples.
        scores: All metrics.
    """

    n: int
    metric: str
    score: float
    low: float
    high: float
    trivial: float
    scores: dict[str, float]


def score_examples(
    task: Task, dataset: Dataset, predictions: Sequence[Any], labels: Sequence[str], training: Dataset | None = None
) -> Score:
    """Score predictions.

    Args:
        task: The task.
        dataset: What `task.read` returned.
        predictions: One an example.
        labels: The head's label names.
        training: The training set, for trivial baselines that are fitted on it.

    Raises:
        ValueError: there are more or fewer predictions than examples, or they are none of the task's.
    """
    low, high = interval(bootstrap_scores(task.statistics(dataset, predictions), task.main_score))
    trivial = task.statistics(dataset, task.trivial(dataset, labels, training))
    scores = task.score(dataset, predictions)
    return Score(
        n=len(dataset),
        metric=task.main_metric,
        score=scores[task.main_metric],
        low=low,
        high=high,
        trivial=float(task.main_score(trivial.sum(axis=0))),
        scores=scores,
    )
