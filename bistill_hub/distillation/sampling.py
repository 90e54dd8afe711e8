"""The order in which labelled examples are trained on, by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class GroupedByLength(Sampler[int]):
    """Puts examples of similar length side by side, so that a batch is little padded, in another order each epoch.

    transformers' own `LengthGroupedSampler` draws from the global generator, so that a run that goes on in the middle
    of an epoch would go on in another order. Here the order depends on seed and epoch alone.

    Args:
        lengths: Each example's length.
        group: How many examples are to be of similar length: those of one update.
        seed: Determines the order.
    """

    def __init__(self, lengths: Sequence[int], group: int, *, seed: int) -> None:
        self.lengths = list(lengths)
        self.group = group
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass is."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        # One number out of two: neighbouring seeds and epochs must not share an order.
        mixed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint32)[0])
        generator = torch.Generator().manual_seed(mixed)
        return iter(get_length_grouped_indices(self.lengths, self.group, generator=generator))
