"""Statistics over seeds: every score with its interval, and what lies between it, the teacher and the student.

All of it is computed from kept predictions and labelled data; no model is loaded.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.bootstrap import bootstrap_scores, interval
from ..evaluation.paired import Paired, paired_intervals
from ..evaluation.size import Size
from .contenders import STUDENT_NAME, TEACHER
from .counted import CountedTest, MainScore, Statistics

RESAMPLES = 1000
COVERAGE = 0.95


@dataclass(frozen=True, kw_only=True)
class Score:
    """A contender on one test set, averaged over its seeds.

    Attributes:
        contender: Its name.
        task: Name of the task.
        role: "source" or "target".
        language: Code of the test set's language.
        dataset: The test set's name.
        metric: Name of the main metric.
        n: Examples scored.
        seeds: The seeds that are finished.
        by_seed: The main metric with each, fractions.
        score: Their mean.
        low: Lower end of the mean's 95 % bootstrap interval over examples.
        high: Upper end.
        deviation: Standard deviation over seeds; None for one seed.
        trivial: Score of the task's trivial baseline on the same examples.
        to_teacher: Against the teacher with the same seeds, retention included; None for the teacher itself, and where
            it lacks one of the seeds.
        to_student: Against the pair's student with the same seeds; None likewise.
        size: The encoder's size.
    """

    contender: str
    task: str
    role: str
    language: str
    dataset: str
    metric: str
    n: int
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    score: float
    low: float
    high: float
    deviation: float | None
    trivial: float
    to_teacher: Paired | None
    to_student: Paired | None
    size: Size


def scores_of(tests: Sequence[CountedTest]) -> list[Score]:
    """Average and compare what is finished of a task.

    Args:
        tests: The task's tests, as `counted_tests` gives them.

    Returns:
        Contender after contender, the source test and then the target test of each.
    """
    names = list(dict.fromkeys(name for test in tests for name in test.by_contender))
    return [_score(test, name) for name in names for test in tests if name in test.by_contender]


def _score(test: CountedTest, name: str) -> Score:
    by_seed = test.by_contender[name]
    by_score = tuple(float(test.main_score(each.sum(axis=0))) for each in by_seed.values())
    low, high = mean_interval(list(by_seed.values()), test.main_score)
    return Score(
        contender=name,
        task=test.task,
        role=test.role,
        language=test.language,
        dataset=test.dataset,
        metric=test.metric,
        n=test.n,
        seeds=tuple(by_seed),
        by_seed=by_score,
        score=statistics.fmean(by_score),
        low=low,
        high=high,
        deviation=statistics.stdev(by_score) if len(by_score) > 1 else None,
        trivial=float(test.main_score(test.trivial.sum(axis=0))),
        to_teacher=_against(TEACHER, name, test),
        to_student=_against(STUDENT_NAME, name, test),
        size=test.sizes[name],
    )


def mean_interval(by_seed: Sequence[Statistics], main_score: MainScore) -> tuple[float, float]:
    """The percentile interval of a score's mean over seeds; each resample draws the same examples for all of them.

    Args:
        by_seed: For each seed [examples, k], the sufficient statistics of the same examples.
        main_score: The metric of summed statistics, [..., k] to [...].
    """
    drawn = bootstrap_scores(_side_by_side(by_seed), averaged(main_score, len(by_seed)), resamples=RESAMPLES)
    return interval(drawn, COVERAGE)


def compare_means(
    ours: Sequence[Statistics],
    theirs: Sequence[Statistics],
    trivial: Statistics,
    main_score: MainScore,
) -> Paired:
    """Compare the means over seeds of two models on the same resamples of the examples.

    Args:
        ours: For each seed [examples, k].
        theirs: The other model's, with the same seeds.
        trivial: [examples, k], of the task's trivial baseline.
        main_score: The metric of summed statistics, [..., k] to [...].
    """
    seeds = len(ours)
    return paired_intervals(
        _side_by_side(ours),
        _side_by_side(theirs),
        _side_by_side([trivial] * seeds),
        averaged(main_score, seeds),
        resamples=RESAMPLES,
    )


def averaged(main_score: MainScore, seeds: int) -> MainScore:
    """The mean of a metric over seeds whose statistics stand side by side: [..., seeds * k] to [...]."""

    def mean(summed: Any) -> NDArray[np.float64]:
        values = np.asarray(summed)
        each = np.asarray(main_score(values.reshape(*values.shape[:-1], seeds, -1)))
        return np.asarray(each.mean(axis=-1))

    return mean


def _side_by_side(by_seed: Sequence[Statistics]) -> Statistics:
    return np.concatenate([np.asarray(each) for each in by_seed], axis=1)


def _against(other: str, name: str, test: CountedTest) -> Paired | None:
    """Compare with another contender; None with itself, and where that lacks one of the seeds."""
    ours, theirs = test.by_contender[name], test.by_contender.get(other, {})
    if other == name or not set(ours) <= set(theirs):
        return None
    return compare_means(list(ours.values()), [theirs[seed] for seed in ours], test.trivial, test.main_score)
