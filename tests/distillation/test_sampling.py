"""Labelled examples come in batches from long to short, in another order each epoch, and in the same one again."""

import random
from itertools import pairwise

from bistill_hub.distillation.sampling import GroupedByLength

BATCH = 4


def batch_lengths(examples, epoch=0):
    """Mean length of each batch of an epoch, in order."""
    chance = random.Random(0)
    lengths = [chance.randint(5, 120) for _ in range(examples)]
    sampler = GroupedByLength(lengths, BATCH, seed=3)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(examples))
    return [sum(lengths[i] for i in order[start : start + BATCH]) / BATCH for start in range(0, examples, BATCH)]


def runs(means):
    """How many batches there are from one rise in length to the next."""
    starts = [0, *(place for place in range(1, len(means)) if means[place] > means[place - 1]), len(means)]
    return [after - before for before, after in pairwise(starts)]


def test_fifty_batches_go_from_long_to_short_and_then_the_next_fifty_as_the_guide_says():
    means = batch_lengths(300 * BATCH)
    assert runs(means[1:]) == [49, 50, 50, 50, 50, 50]  # the first batch holds the longest example of all
    assert means[1] > 100 > 20 > means[49]


def test_an_epoch_of_few_batches_has_four_such_runs():
    assert runs(batch_lengths(80 * BATCH)[1:]) == [19, 20, 20, 20]


def test_an_epoch_s_order_is_its_own_and_comes_again():
    assert batch_lengths(400) == batch_lengths(400)
    assert batch_lengths(400) != batch_lengths(400, epoch=1)
