"""Hides some tokens of a batch, for the objective that distils a language-modelling head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

MASKED = "masked"
"""The batch's entry that says which tokens are hidden: bool [batch, positions]."""


class MaskingCollator:
    """Replaces tokens by the mask token, in a batch that another collator makes.

    What is hidden depends on the seed and the batch's own tokens alone, so a run that was interrupted hides the same
    when it goes on. At least one token of a batch is hidden if there is any that may be.

    Args:
        collate: Makes a batch with `input_ids` and `attention_mask`.
        mask_token_id: What a hidden token is replaced by.
        special_ids: Tokens that are never hidden.
        probability: The share of the other tokens that is hidden, between 0 and 1.
        seed: Determines which.
    """

    def __init__(
        self,
        collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]],
        *,
        mask_token_id: int,
        special_ids: Collection[int],
        probability: float,
        seed: int = 0,
    ) -> None:
        self.collate = collate
        self.mask_token_id = mask_token_id
        self.special_ids = torch.tensor(sorted(special_ids), dtype=torch.int64)
        self.probability = probability
        self.seed = seed

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the batch with hidden tokens, and `masked` beside it."""
        batch = self.collate(features)
        ids = batch["input_ids"]
        key = blake2b(f"{self.seed} {tuple(ids.shape)} ".encode() + ids.numpy().tobytes(), digest_size=8)
        generator = torch.Generator().manual_seed(int.from_bytes(key.digest()) >> 1)
        # A token that may not be hidden draws 1, above every other draw.
        drawn = torch.rand(ids.shape, generator=generator)
        drawn = drawn.masked_fill(torch.isin(ids, self.special_ids) | ~batch["attention_mask"].bool(), 1.0)
        hidden = (drawn < self.probability) | ((drawn == drawn.min()) & (drawn < 1))
        return {**batch, "input_ids": ids.masked_fill(hidden, self.mask_token_id), MASKED: hidden}
