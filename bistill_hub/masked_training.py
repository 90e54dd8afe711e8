"""Trains a masked language model from nothing so that an interrupted training goes on to the same weights.

transformers' own collator draws its masks from one generator for the whole training. Its state is kept in each
checkpoint; a batch is fetched ahead of the update, so that it is the state after as many batches as updates were made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from .distillation.checkpoints import last_complete
from .distillation.exact_averaging import ExactAveragingTrainer

_MASKS_FILE = "masks.safetensors"
_NO_LABEL = -100
_REMEMBERED = 4
"""Batches of which the state is kept: one is fetched ahead."""


class Masks:
    """Hides tokens of batch after batch, and tells how to go on after any of the latest.

    Args:
        tokenizer: The model's tokenizer.
        probability: Share of the tokens that are to be guessed.
        seed: Of what is hidden.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, probability: float, seed: int) -> None:
        self._hide = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=probability, seed=seed)
        self._hide.create_rng("pt")
        self._batches = 0
        self._after: deque[tuple[int, Tensor]] = deque(maxlen=_REMEMBERED)

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the next batch, with `labels` [batch, positions] beside it."""
        batch: dict[str, Any] = self._hide(examples)
        self._batches += 1
        self._after.append((self._batches, self._hide.generator.get_state()))
        return batch

    def state_after(self, batches: int) -> Tensor:
        """Return the generator's state after so many batches, one of the latest."""
        return dict(self._after)[batches]

    def go_on_after(self, batches: int, state: Tensor) -> None:
        """Hide tokens of the batches that follow so many as if those had been seen."""
        self._hide.generator.set_state(state)
        self._batches = batches


class MaskedTrainer(ExactAveragingTrainer):
    """Trains every parameter of a masked language model on blocks of text, an update a batch, in the blocks' order."""

    data_collator: Masks

    def train(self, resume_from_checkpoint: bool | str | None = None, **kwargs: Any) -> Any:
        """Train; True goes on from the last whole checkpoint, with the masks that would have followed."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete(str(self.args.output_dir))
        if resume_from_checkpoint:
            masks = load_file(Path(str(resume_from_checkpoint), _MASKS_FILE))
            self.data_collator.go_on_after(int(masks["batches"]), masks["state"])
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss is a mean over the hidden tokens."""
        return {"masked": (inputs["labels"] != _NO_LABEL).sum().double()}

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the cross-entropy of the hidden tokens, and the outputs."""
        outputs = model(**inputs)
        hides = (inputs["labels"] != _NO_LABEL).any()
        return {"masked": torch.where(hides, outputs.loss, 0.0)}, outputs  # nothing hidden: the mean is 0, not 0/0

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        batches = self.state.global_step
        masks = {"batches": torch.tensor(batches), "state": self.data_collator.state_after(batches)}
        save_file(masks, Path(output_dir, _MASKS_FILE))
