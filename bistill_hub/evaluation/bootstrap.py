"""Intervals by resampling the test set: what the score could have been with other examples of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT_ENTRIES = 10_000_000
"""Up to so many numbers, 80 MB, draws are kept for the next model: a comparison makes the same ones for all of them.
More are never there at once: a larger test set's resamples are drawn a part of them after the other."""


def bootstrap_scores(
    statistics: NDArray[np.int64 | np.float64],
    main_score: Callable[[NDArray[Any]], NDArray[np.float64]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Score resamples of a test set.

    Args:
        statistics: [examples, k], each example's sufficient statistics.
        main_score: The metric of summed statistics, [..., k] to [...].
        resamples: How many times the examples are drawn anew, with replacement.
        seed: Determines the draws; equal seeds and sizes draw the same examples, so that models can be paired.

    Returns:
        [resamples] scores.
    """
    examples = len(statistics)
    kept = examples * resamples <= _KEPT_ENTRIES
    drawn = [_kept_draws(examples, resamples, seed)] if kept else _draws(examples, resamples, seed)
    # Products of floats are the fast ones, and exact for counts, which therefore come back as what they were.
    numbers = np.asarray(statistics, np.float64)
    summed = np.concatenate([part @ numbers for part in drawn])
    return np.asarray(main_score(summed.astype(np.result_type(statistics, np.int64), copy=False)))


def _draws(examples: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each example is drawn in each resample, [some resamples, examples] at a time; not to be written into.

    One generator draws them all, so that they are the same in however many parts.
    """
    shares = np.full(examples, 1 / examples)
    generator = np.random.default_rng(seed)
    parts = -(-resamples // max(1, _KEPT_ENTRIES // examples))
    for part in range(parts):
        # Of about one size: the product of a few rows alone is rounded in another way.
        size = resamples // parts + (part < resamples % parts)
        drawn = generator.multinomial(examples, shares, size=size).astype(np.float64)
        drawn.flags.writeable = False
        yield drawn


@lru_cache(maxsize=2)
def _kept_draws(examples: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """All of them, where they are few enough to be kept."""
    (drawn,) = _draws(examples, resamples, seed)
    return drawn


def interval(scores: NDArray[np.float64], coverage: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled scores.

    Args:
        scores: [resamples].
        coverage: Share of the resamples inside, between 0 and 1.
    """
    tail = (1 - coverage) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)
