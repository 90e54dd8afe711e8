"""The order in which examples are trained on, by epoch, and how several processes share out what one would take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from math import gcd
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..errors import InputError

COUNTED = "counted"
"""A batch's entry that says whether it counts: 1, or 0 where a process had nothing to do and others had."""


class Batches(Sized, Iterable[list[int]], Protocol):
    """An epoch's batches: lists of row numbers, equally many on every pass."""


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


@dataclass(frozen=True)
class Division:
    """How several processes work on the update of one.

    Attributes:
        processes_per_batch: How many processes share the rows of a batch.
        accumulation: Batches that each process takes part in per update.
    """

    processes_per_batch: int
    accumulation: int


def divided(batch_size: int, accumulation: int, processes: int, *, field: str = "batch_size") -> Division:
    """Divide an update among processes so that it stays what it is for one: the same batches of the same rows.

    As many processes as the accumulation allows take whole batches, which computes best; the others share their rows.

    Args:
        batch_size: Rows of a batch.
        accumulation: Batches of an update.
        processes: How many processes there are.
        field: What the batch size is called, for the message.

    Raises:
        InputError: a batch has too few rows for the processes that would share it.
    """
    at_once = gcd(accumulation, processes)
    sharing = processes // at_once
    if sharing > batch_size:
        raise InputError(
            f"{processes} processes cannot share an update of {accumulation} x {batch_size} rows",
            field=field,
            value=batch_size,
            remedy=f"start fewer processes, or make the accumulation a multiple of {processes}",
        )
    return Division(sharing, accumulation // at_once)


class SharedBatches(Sampler[list[int]]):
    """One process's part of an epoch's batches. Every process gets equally many, and no row is in two parts.

    A part is empty where there are fewer batches left than processes, or fewer rows in a batch than processes share it.

    Args:
        batches: The epoch's batches, the same for all processes; `set_epoch` is passed on to them or their sampler.
        processes: How many processes there are.
        process: Which one this is, from 0.
        processes_per_batch: How many of them share a batch; a divisor of their number.
    """

    def __init__(self, batches: Batches, processes: int, process: int, processes_per_batch: int = 1) -> None:
        self.batches = batches
        self.at_once = processes // processes_per_batch
        self.turn, self.part = divmod(process, processes_per_batch)
        self.processes_per_batch = processes_per_batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass is."""
        ordered: Any
        for ordered in (self.batches, getattr(self.batches, "sampler", None)):
            if hasattr(ordered, "set_epoch"):
                ordered.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.batches) // self.at_once)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's parts."""
        number = -1
        for number, batch in enumerate(self.batches):
            if number % self.at_once == self.turn:
                yield batch[self.part :: self.processes_per_batch]
        if self.turn > number % self.at_once:
            yield []


class RowsOrNone(Dataset[Any]):
    """A data set whose batches may be empty: its first row stands in for one, and is marked as not counted.

    Args:
        rows: The data set.
        collate: Makes a batch of rows.
    """

    def __init__(self, rows: Any, collate: Callable[[list[Any]], Mapping[str, Tensor]]) -> None:
        self.rows = rows
        self.make_batch = collate

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, numbers: list[int]) -> tuple[list[Any], bool]:
        """Return a batch's rows, and whether they count."""
        wanted = numbers or [0]
        if hasattr(self.rows, "__getitems__"):
            return self.rows.__getitems__(wanted), bool(numbers)
        return [self.rows[number] for number in wanted], bool(numbers)

    def collate(self, fetched: Any) -> dict[str, Any]:
        """Make a batch of what `__getitems__` returned."""
        rows, counted = fetched
        return {**self.make_batch(rows), COUNTED: torch.tensor(float(counted))}
