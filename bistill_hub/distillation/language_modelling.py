"""A language SFT: sparse fine-tuning of masked language modelling on one language's text (Ansell et al. 2022).

What is learnt is a `SparseDelta` of the encoder, embeddings included. The language-modelling head stays as it is, so
that the delta is of use to an encoder without one; a decoder that is tied to the embeddings follows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ..batches import MODEL_INPUTS, PaddingCollator
from ..corpora import BilingualBlocks, OneLanguageBatches
from ..errors import InputError
from .last_states import head_at, logits_at
from .masking import Collate, EpochOf, TokenChooser
from .sparse_fine_tuning import SparseFineTuningArguments, SparseFineTuningTrainer

_NO_LABEL = -100
_REPLACED, _EXCHANGED = 0.8, 0.1


class MaskedLanguageCollator:
    """Hides some tokens of a batch and asks for them: `labels` holds what they were, and -100 elsewhere.

    Of the chosen tokens 80 % become the mask token, 10 % any token, and 10 % stay (Devlin et al. 2019).

    Args:
        collate: Makes a batch with `input_ids` and `attention_mask`.
        choose: Chooses what is asked for; its special tokens are what none is exchanged for.
        mask_token_id: What a hidden token is replaced by.
        vocabulary: Number of tokens.
    """

    def __init__(self, collate: Collate, choose: TokenChooser, *, mask_token_id: int, vocabulary: int) -> None:
        self.collate = collate
        self.choose = choose
        self.mask_token_id = mask_token_id
        ids = torch.arange(vocabulary)
        self.others = ids[~torch.isin(ids, choose.special_ids)]

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the batch with hidden tokens, and `labels` [batch, positions] beside it."""
        batch = self.collate(features)
        ids = batch["input_ids"]
        chosen, (fate, other) = self.choose(batch, further=2)
        others = self.others[(other * len(self.others)).long().clamp(max=len(self.others) - 1)]
        hidden = torch.where(chosen & (fate < _REPLACED + _EXCHANGED), others, ids)
        hidden = hidden.masked_fill(chosen & (fate < _REPLACED), self.mask_token_id)
        return {**batch, "input_ids": hidden, "labels": ids.masked_fill(~chosen, _NO_LABEL)}


@dataclass
class LanguageFineTuningArguments(SparseFineTuningArguments):
    """Training arguments of a language SFT."""

    masked_share: float = field(default=0.15, metadata={"help": "share of the tokens that are to be guessed"})

    def __post_init__(self) -> None:
        """Check what this class adds.

        Raises:
            InputError: the share is out of range.
        """
        super().__post_init__()
        if not 0 < self.masked_share < 1:
            raise InputError(
                "not a share", field="masked_share", value=self.masked_share, remedy="give a number between 0 and 1"
            )


class LanguageFineTuningTrainer(SparseFineTuningTrainer):
    """Trains the sparse delta of one language: `train()` leaves it in `delta`, and on the model.

    The loss is the cross-entropy of the chosen tokens, at which alone the head is computed. Each epoch chooses others,
    for which the data loader's workers are started anew, whatever `dataloader_persistent_workers` says.

    Args:
        model: A masked language model.
        args: `LanguageFineTuningArguments`.
        train_dataset: Blocks of text, rows with `input_ids`.
        eval_dataset: The same of held-out text, for `held_out_loss`; several by name are evaluated one by one.
        processing_class: The model's tokenizer, with a mask token.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: the tokenizer has no mask token, or there is no block to learn from.
    """

    args: LanguageFineTuningArguments

    def __init__(self, model: PreTrainedModel, args: LanguageFineTuningArguments, **kwargs: Any) -> None:
        tokenizer = kwargs.get("processing_class")
        if getattr(tokenizer, "mask_token_id", None) is None:
            raise InputError(
                "hiding tokens needs a tokenizer with a mask token",
                field="processing_class",
                value=None if tokenizer is None else type(tokenizer).__name__,
                remedy="choose a masked language model with its tokenizer",
            )
        if kwargs.get("train_dataset") is not None and not len(kwargs["train_dataset"]):
            raise InputError(
                "there is no text to learn from",
                field="train_dataset",
                value="0 blocks",
                remedy="give more text or a smaller block_size",
            )
        self._encoder = f"{model.base_model_prefix}."
        super().__init__(model, args, **kwargs)

    def may_change(self, name: str) -> bool:
        """Tell whether entries may be selected: those of the encoder, but for LayerNorms."""
        return name.startswith(self._encoder) and super().may_change(name)

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss is a mean over the chosen tokens."""
        return {"task": (inputs["labels"] != _NO_LABEL).sum().double()}

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the cross-entropy of the chosen tokens, and the outputs, with logits [chosen, vocabulary]."""
        chosen = inputs["labels"] != _NO_LABEL
        with head_at(self.model, chosen):
            outputs = model(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        total = nn.functional.cross_entropy(
            logits_at(outputs.logits, chosen).float(), inputs["labels"][chosen], reduction="sum"
        )
        return {"task": total / chosen.sum().clamp(min=1)}, outputs  # nothing chosen: the mean is 0, not 0/0

    def held_out_loss(self) -> float:
        """Return the mean loss (nats a chosen token) on the held-out text as the model is now; masks are the same."""
        return float(self.evaluate()["eval_loss"])

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a batch alone: nobody wants the logits."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Every block once an epoch, in an order that depends on seed and epoch alone."""
        return self._blocks(self.train_dataset, self._train_batch_size, train=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """All blocks in order, with the same tokens hidden each time."""
        return self._blocks(self._held_out(eval_dataset), self.args.eval_batch_size, train=False)

    def _blocks(self, blocks: Any, batch_size: int, *, train: bool) -> DataLoader[Any]:
        rows = BilingualBlocks({"": blocks})
        batches = OneLanguageBatches(rows.sizes, batch_size, seed=self.args.seed, balanced=train)
        tokenizer: Any = self.processing_class
        self.data_collator = MaskedLanguageCollator(
            PaddingCollator(self.model.config.pad_token_id or 0),
            TokenChooser(
                special_ids=tokenizer.all_special_ids,
                probability=self.args.masked_share,
                seed=self.args.seed,
                epoch=EpochOf(batches) if train else None,
            ),
            mask_token_id=tokenizer.mask_token_id,
            vocabulary=len(tokenizer),
        )
        return self.load_batches(rows, batches, train=train)
