"""Phase 1: the student learns both languages from its teacher, on unlabelled text (Ansell et al. 2023, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainingArguments

from ..corpora import BilingualBlocks, OneLanguageBatches
from .language_teacher import LanguageTeacher
from .trainer import DistillationTrainer


@dataclass
class BilingualDistillationArguments(TrainingArguments):
    """Training arguments of phase 1; the defaults are those of the paper's scripts."""

    learning_rate: float = field(default=1e-4, metadata={"help": "peak rate; decays linearly to 0 without warm-up"})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "blocks per batch, all of one language"})
    max_steps: int = field(default=200_000, metadata={"help": "updates"})
    attention_weight: float = field(default=1.0, metadata={"help": "weight of the attention term"})
    hidden_weight: float = field(default=1.0, metadata={"help": "weight of the hidden-state term"})
    layer_map: list[int] | None = field(
        default=None, metadata={"help": "teacher layer (from 0) for each student layer; None spreads them evenly"}
    )


class BilingualDistillationTrainer(DistillationTrainer):
    """Teaches a headless student to reproduce the teacher's attentions and hidden states.

    Args:
        model: The student: a headless encoder.
        teacher: The headless teacher with the student's vocabulary, or a `LanguageTeacher`.
        args: `BilingualDistillationArguments`.
        train_dataset: `BilingualBlocks`, for balanced batches of one language each, or any data set of `input_ids`
            (and `attention_mask`), batched as transformers does.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: teacher and student do not fit together.
    """

    args: BilingualDistillationArguments

    def __init__(
        self,
        model: PreTrainedModel,
        args: BilingualDistillationArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        **kwargs: Any,
    ) -> None:
        self.term_weights = {"attention": args.attention_weight, "hidden": args.hidden_weight}
        super().__init__(model, args, teacher=teacher, layer_map=args.layer_map, **kwargs)
        if isinstance(self.train_dataset, BilingualBlocks):
            self.teacher.languages = self.teacher.languages or self.train_dataset.languages

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the attention and hidden-state terms of a batch, and the student's outputs."""
        ours, theirs = self.both_outputs(model, inputs)
        return self.distillation_terms(ours, theirs, inputs["attention_mask"]), ours

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one language each where the data set knows its languages, else the Trainer's own."""
        if not isinstance(self.train_dataset, BilingualBlocks):
            return super().get_train_dataloader()
        return self._language_batches(self.train_dataset, self._train_batch_size, balanced=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """All blocks in order, in batches of one language each where the data set knows its languages."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(dataset, BilingualBlocks):
            return super().get_eval_dataloader(eval_dataset)
        return self._language_batches(dataset, self.args.eval_batch_size, balanced=False)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a batch; there are no labels to predict."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def _language_batches(self, blocks: BilingualBlocks, batch_size: int, *, balanced: bool) -> DataLoader[Any]:
        batches = OneLanguageBatches(blocks.sizes, batch_size, seed=self.args.seed, balanced=balanced)
        loader = DataLoader(
            blocks,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)
