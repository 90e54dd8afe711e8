"""Every contender beside every other: differences of means over seeds, on the same resamples of the examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..evaluation.bootstrap import bootstrap_scores, interval
from .counted import CountedTest
from .table import COVERAGE, RESAMPLES


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Two contenders on one test set, with the seeds that both have. Scores are fractions of the main metric.

    Attributes:
        task: Name of the task.
        role: "source" or "target".
        language: Code of the test set's language.
        contender: Name of the one.
        beside: Name of the other.
        seeds: The seeds that both have.
        seeds_ahead: With how many of them alone the one has the higher score.
        difference: The one's mean over these seeds minus the other's.
        low: Lower end of its 95 % paired bootstrap interval over examples.
        high: Upper end.
    """

    task: str
    role: str
    language: str
    contender: str
    beside: str
    seeds: tuple[int, ...]
    seeds_ahead: int
    difference: float
    low: float
    high: float


def each_beside_each(tests: Sequence[CountedTest]) -> Iterator[Beside]:
    """Compare each contender with each that comes before it in tables; two that share no seed are left out.

    The draws are those of the tables, so that the teacher's and the student's columns say the same.

    Args:
        tests: Tests of one task or several.
    """
    for test in tests:
        scores = {
            name: {seed: float(test.main_score(each.sum(axis=0))) for seed, each in by_seed.items()}
            for name, by_seed in test.by_contender.items()
        }
        drawn = {
            name: {seed: bootstrap_scores(each, test.main_score, resamples=RESAMPLES) for seed, each in by_seed.items()}
            for name, by_seed in test.by_contender.items()
        }
        for theirs, ours in combinations(test.by_contender, 2):
            seeds = tuple(seed for seed in scores[ours] if seed in scores[theirs])
            if not seeds:
                continue
            by_seed = [scores[ours][seed] - scores[theirs][seed] for seed in seeds]
            resampled = np.mean([drawn[ours][seed] - drawn[theirs][seed] for seed in seeds], axis=0)
            low, high = interval(resampled, COVERAGE)
            yield Beside(
                task=test.task,
                role=test.role,
                language=test.language,
                contender=ours,
                beside=theirs,
                seeds=seeds,
                seeds_ahead=sum(each > 0 for each in by_seed),
                difference=float(np.mean(by_seed)),
                low=low,
                high=high,
            )
