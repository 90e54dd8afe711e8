"""Intervals by resampling the test set: what the score could have been with other examples of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    draws = np.random.default_rng(seed).multinomial(examples, np.full(examples, 1 / examples), size=resamples)
    return np.asarray(main_score(draws @ statistics))


def interval(scores: NDArray[np.float64], coverage: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled scores.

    Args:
        scores: [resamples].
        coverage: Share of the resamples inside, between 0 and 1.
    """
    tail = (1 - coverage) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)
