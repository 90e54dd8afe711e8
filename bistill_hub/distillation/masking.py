"""Hides some tokens of a batch, for objectives that ask for a language-modelling head's guesses.

What is hidden in a row depends on the seed, the epoch and the row's own tokens alone: a run that was interrupted hides
the same when it goes on, and so do several processes that share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import torch
from torch import Tensor

MASKED = "masked"
"""The batch's entry that says which tokens are hidden: bool [batch, positions]."""

ORIGINAL = "original_ids"
"""The batch's entry that holds the ids as they were before some were hidden: int64 [batch, positions]."""


class HasEpoch(Protocol):
    """A sampler that is told the epoch."""

    epoch: int


Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]
"""Makes a batch of features."""


class TokenChooser:
    """Chooses tokens of a batch at random. At least one of a row is chosen if there is any that may be.

    Args:
        special_ids: Tokens that are never chosen.
        probability: The share of the other tokens that is chosen, between 0 and 1.
        seed: Determines which.
        epoch: Tells the present epoch; None chooses the same in each.
    """

    def __init__(
        self,
        *,
        special_ids: Collection[int],
        probability: float,
        seed: int = 0,
        epoch: Callable[[], int] | None = None,
    ) -> None:
        self.special_ids = torch.tensor(sorted(special_ids), dtype=torch.int64)
        self.probability = probability
        self.seed = seed
        self.epoch = epoch

    def __call__(self, batch: Mapping[str, Tensor], further: int = 0) -> tuple[Tensor, Tensor]:
        """Choose.

        Args:
            batch: `input_ids` and `attention_mask` [batch, positions], padded on the right.
            further: How many further numbers are drawn for each token.

        Returns:
            What is chosen, bool [batch, positions], and further random numbers from 0 to 1 [further, batch, positions].
        """
        ids, lengths = batch["input_ids"], batch["attention_mask"].sum(dim=1).tolist()
        prefix = f"{self.seed} {'' if self.epoch is None else self.epoch()} ".encode()
        chosen, drawn = torch.zeros_like(ids, dtype=torch.bool), torch.zeros(further, *ids.shape)
        for row, length in enumerate(lengths):
            tokens = ids[row, :length]
            key = blake2b(prefix + tokens.numpy().tobytes(), digest_size=8)
            generator = torch.Generator().manual_seed(int.from_bytes(key.digest()) >> 1)
            numbers = torch.rand(1 + further, length, generator=generator)
            # A token that may not be chosen draws 1, above every other draw.
            draws = numbers[0].masked_fill(torch.isin(tokens, self.special_ids), 1.0)
            chosen[row, :length] = (draws < self.probability) | ((draws == draws.amin()) & (draws < 1))
            drawn[:, row, :length] = numbers[1:]
        return chosen, drawn


class EpochOf:
    """Tells a sampler's epoch; unlike a lambda it can be sent to a data loader's workers.

    A worker's copy keeps to the epoch in which it was sent, so workers must be started anew for each.
    """

    def __init__(self, batches: HasEpoch) -> None:
        self.batches = batches

    def __call__(self) -> int:
        """Return the epoch's number."""
        return self.batches.epoch


def asks_epoch(collate: object) -> bool:
    """Tell whether a collator chooses other tokens in each epoch, by a `TokenChooser` that asks which it is."""
    return getattr(getattr(collate, "choose", None), "epoch", None) is not None


class MaskingCollator:
    """Replaces tokens by the mask token, in a batch that another collator makes.

    Args:
        collate: Makes a batch with `input_ids` and `attention_mask`.
        choose: Chooses what is hidden.
        mask_token_id: What a hidden token is replaced by.
    """

    def __init__(self, collate: Collate, choose: TokenChooser, *, mask_token_id: int) -> None:
        self.collate = collate
        self.choose = choose
        self.mask_token_id = mask_token_id

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the batch with hidden tokens, and beside it `MASKED` and `ORIGINAL`."""
        batch = self.collate(features)
        hidden, _ = self.choose(batch)
        ids = batch["input_ids"]
        return {**batch, "input_ids": ids.masked_fill(hidden, self.mask_token_id), MASKED: hidden, ORIGINAL: ids}
