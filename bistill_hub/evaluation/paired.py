"""Intervals for comparisons: both models are scored on the same resamples, so that what is hard for both cancels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bootstrap import bootstrap_scores, interval


@dataclass(frozen=True)
class Paired:
    """A student against its teacher on the same examples.

    Attributes:
        difference: Student minus teacher in the main metric, a fraction.
        difference_low: Lower end of its 95 % paired bootstrap interval over examples.
        difference_high: Upper end.
        retention: (student - trivial) / (teacher - trivial); None where the lower end of the teacher's own interval is
            not above the trivial baseline, as in `results.retention`.
        retention_low: Lower end of its interval; None where there is no retention or the interval has no ends.
        retention_high: Upper end, with None as for the lower one.
    """

    difference: float
    difference_low: float
    difference_high: float
    retention: float | None
    retention_low: float | None
    retention_high: float | None


def paired_intervals(
    student: NDArray[np.int64 | np.float64],
    teacher: NDArray[np.int64 | np.float64],
    trivial: NDArray[np.int64 | np.float64],
    main_score: Callable[[NDArray[Any]], NDArray[np.float64]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Paired:
    """Compare two models by the percentile bootstrap over examples.

    All three are scored on each resample: the trivial baseline's score depends on the examples as the models' do. In a
    resample in which the teacher is not above it, the retention is not defined and could be anything; such a resample
    counts as the smallest one for the lower end and as the greatest for the upper. Where there are so many of them that
    an end would fall among them (more than 2.5 % of the resamples), the interval is without ends.

    Args:
        student: [examples, k], the student's sufficient statistics as the task's `statistics` makes them.
        teacher: [examples, k], the teacher's on the same examples in the same order.
        trivial: [examples, k], those of the task's trivial baseline.
        main_score: The metric of summed statistics, [..., k] to [...].
        resamples: How many times the examples are drawn anew, with replacement.
        seed: Determines the draws; those of `bootstrap_scores` with the same seed.

    Raises:
        ValueError: there is no example, or the three do not have equally many.
    """
    if not len(student) == len(teacher) == len(trivial) > 0:
        raise ValueError(
            f"there are {len(student)}, {len(teacher)} and {len(trivial)} examples of student, teacher and trivial "
            "baseline; pairing needs the same ones, and one at least"
        )
    scores = [float(main_score(statistics.sum(axis=0))) for statistics in (student, teacher, trivial)]
    drawn = [
        bootstrap_scores(statistics, main_score, resamples=resamples, seed=seed)
        for statistics in (student, teacher, trivial)
    ]
    difference_low, difference_high = interval(drawn[0] - drawn[1])
    retention, retention_low, retention_high = None, None, None
    if interval(drawn[1])[0] > scores[2]:
        retention = (scores[0] - scores[2]) / (scores[1] - scores[2])
        retention_low, retention_high = _retention_interval(*drawn)
    return Paired(scores[0] - scores[1], difference_low, difference_high, retention, retention_low, retention_high)


def _retention_interval(
    student: NDArray[np.float64], teacher: NDArray[np.float64], trivial: NDArray[np.float64]
) -> tuple[float, float] | tuple[None, None]:
    """The interval of what resamples retain, [resamples] scores each."""
    defined = teacher > trivial
    retained = np.full(len(teacher), -np.inf)
    np.divide(student - trivial, teacher - trivial, out=retained, where=defined)
    with np.errstate(invalid="ignore"):  # an end between infinity and a number is none
        low, _ = interval(retained)
        _, high = interval(np.where(defined, retained, np.inf))
    return (low, high) if np.isfinite([low, high]).all() else (None, None)
