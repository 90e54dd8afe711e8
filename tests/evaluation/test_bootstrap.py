"""Resampled scores have the bootstrap's distribution, are the same for the same seed, and can be paired."""

import math
import tracemalloc
from collections import Counter
from itertools import product

import numpy as np
import pytest

from bistill_hub.evaluation import bootstrap
from bistill_hub.evaluation.bootstrap import bootstrap_scores, interval
from bistill_hub.tasks import get_task

F1 = get_task("ner").main_score


def accuracy(sums):
    """Of summed [right, all]."""
    return sums[..., 0] / sums[..., 1]


def every_resample(statistics, score):
    """Share of each score among all n^n ways of drawing n examples, by plain enumeration."""
    count = len(statistics)
    scores = Counter()
    for rows in product(statistics, repeat=count):
        sums = [sum(column) for column in zip(*rows, strict=True)]
        scores[round(score(sums), 12)] += 1
    return {value: times / count**count for value, times in scores.items()}


def quantile(values, share):
    """The quantile by linear interpolation between order statistics, in plain Python."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@pytest.mark.parametrize(
    ("statistics", "score", "plain"),
    [
        ([[1, 1], [0, 1], [0, 1]], accuracy, lambda s: s[0] / s[1]),
        ([[2, 3], [0, 1], [4, 5]], accuracy, lambda s: s[0] / s[1]),
        ([[2, 1, 0], [0, 0, 1], [0, 0, 0]], F1, lambda s: 2 * s[0] / (2 * s[0] + s[1] + s[2]) if sum(s) else 0.0),
    ],
    ids=["equal weights", "unequal weights", "F1"],
)
def test_three_examples_give_the_distribution_of_all_27_resamples(statistics, score, plain):
    expected = every_resample(statistics, plain)
    draws = 20_000
    found = Counter(np.round(bootstrap_scores(np.array(statistics), score, resamples=draws, seed=1), 12).tolist())
    assert set(found) == set(expected)
    for value, probability in expected.items():
        deviation = math.sqrt(probability * (1 - probability) / draws)
        assert abs(found[value] / draws - probability) < 4 * deviation, value


def test_the_spread_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).random(200)
    statistics = np.stack([values, np.ones(200)], axis=1)
    scores = bootstrap_scores(statistics, accuracy, resamples=4000)
    assert scores.mean() == pytest.approx(values.mean(), abs=3 * values.std() / math.sqrt(200 * 4000))
    assert scores.std() == pytest.approx(values.std() / math.sqrt(200), rel=0.05)


def test_every_resample_has_as_many_examples_as_the_test_set():
    scores = bootstrap_scores(np.ones((7, 1)), lambda sums: sums[..., 0], resamples=50)
    assert scores.tolist() == [7.0] * 50


def test_one_example_can_only_give_its_own_score():
    assert set(bootstrap_scores(np.array([[3, 4]]), accuracy).tolist()) == {0.75}


def test_equal_seeds_give_equal_scores_and_others_do_not():
    statistics = np.random.default_rng(0).integers(0, 5, (30, 3))
    first, again, other = (bootstrap_scores(statistics, F1, resamples=100, seed=seed) for seed in (4, 4, 5))
    assert first.shape == (100,)
    assert first.tolist() == again.tolist() != other.tolist()


def test_two_models_are_scored_on_the_same_resamples():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, (2, 40, 1))

    def total(sums):
        return sums[..., 0]

    differences = bootstrap_scores(one, total) - bootstrap_scores(other, total)
    assert differences.tolist() == bootstrap_scores(one - other, total).tolist()
    # A model that is better on every example is better in every resample, which unpaired draws would not show.
    assert (bootstrap_scores(one + 1, total) > bootstrap_scores(one, total)).all()


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("count", [1, 2, 41, 1000])
def test_the_interval_leaves_out_equal_shares_at_both_ends(count, coverage):
    scores = np.random.default_rng(3).random(count)
    low, high = interval(scores, coverage)
    assert low == pytest.approx(quantile(scores, (1 - coverage) / 2), abs=1e-12)
    assert high == pytest.approx(quantile(scores, 1 - (1 - coverage) / 2), abs=1e-12)
    assert type(low) is type(high) is float, "plain numbers, which JSON can hold"


def test_the_interval_covers_95_percent_unless_told_otherwise():
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float64])
def test_kept_draws_are_those_that_would_be_drawn_and_counts_stay_counts(kind, monkeypatch):
    statistics = np.random.default_rng(3).integers(0, 9, (40, 3)).astype(kind)
    draws = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=50)
    expected = draws @ statistics
    for most in (0, 7 * 40, 10**6, 10**6):
        monkeypatch.setattr(bootstrap, "_KEPT_ENTRIES", most)
        found = bootstrap_scores(statistics, lambda sums: sums, resamples=50, seed=7)
        assert found.dtype == expected.dtype
        assert (found == expected).all()


def test_what_is_drawn_takes_no_more_memory_for_a_larger_test_set(monkeypatch):
    def most_of(examples):
        tracemalloc.start()
        bootstrap_scores(np.ones((examples, 2), dtype=np.int64), accuracy, resamples=500)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    monkeypatch.setattr(bootstrap, "_KEPT_ENTRIES", 50_000)
    assert most_of(2000) < 1.5 * most_of(200)
