"""Phase 1: the student learns both languages from its teacher, on unlabelled text (Ansell et al. 2023, section 3.1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainingArguments

from ..batches import PaddingCollator
from ..corpora import BilingualBlocks, OneLanguageBatches
from ..errors import InputError
from .language_teacher import LanguageTeacher
from .losses import soft_cross_entropy
from .masking import MASKED, EpochOf, MaskingCollator, TokenChooser
from .trainer import DistillationTrainer


@dataclass
class BilingualDistillationArguments(TrainingArguments):
    """Training arguments of phase 1; the defaults are those of the paper's scripts."""

    learning_rate: float = field(default=1e-4, metadata={"help": "peak rate; decays linearly to 0 without warm-up"})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "blocks per batch, all of one language"})
    max_steps: int = field(default=200_000, metadata={"help": "updates"})
    attention_weight: float = field(default=1.0, metadata={"help": "weight of the attention term"})
    hidden_weight: float = field(default=1.0, metadata={"help": "weight of the hidden-state term"})
    logits_weight: float = field(
        default=0.0, metadata={"help": "weight of the language-modelling heads' soft cross-entropy; 0 leaves them out"}
    )
    divergence_weight: float = field(
        default=0.0, metadata={"help": "weight of the attentions' Kullback-Leibler divergence; 0 leaves it out"}
    )
    relations_weight: float = field(
        default=0.0, metadata={"help": "weight of the divergence of MiniLMv2's relations; 0 leaves it out"}
    )
    relation_heads: int | None = field(
        default=None, metadata={"help": "heads of the relations; None takes the attention's"}
    )
    temperature: float = field(default=2.0, metadata={"help": "what logits are divided by before they are compared"})
    masked_share: float = field(
        default=0.0, metadata={"help": "share of the tokens hidden from both models; 0 gives them the text as it is"}
    )
    layer_map: list[int] | None = field(
        default=None, metadata={"help": "teacher layer (from 0) for each student layer; None spreads them evenly"}
    )
    teacher_precision: str | None = field(
        default=None, metadata={"help": "what the teacher's weights are converted to: fp32, bf16, fp16; None: as is"}
    )

    def __post_init__(self) -> None:
        """Check what this class adds.

        Raises:
            InputError: the temperature or the share is out of range.
        """
        super().__post_init__()
        if not 0 <= self.masked_share < 1:
            raise InputError(
                "not a share", field="masked_share", value=self.masked_share, remedy="give a number from 0 to below 1"
            )
        if self.temperature <= 0:
            raise InputError(
                "not a temperature", field="temperature", value=self.temperature, remedy="give a number above 0"
            )


class BilingualDistillationTrainer(DistillationTrainer):
    """Teaches a headless student to reproduce the teacher's attentions and hidden states.

    With a `logits_weight`, which the paper does not have, student and teacher are masked language models, and the
    student's head is taught the teacher's distribution at every token too. With a `masked_share`, some tokens are
    hidden from both models, for every term, and the head is taught at these alone (Sanh et al. 2019, DistilBERT). A
    `divergence_weight` adds the Kullback-Leibler divergence of the attentions (Sun et al. 2020, MobileBERT), a
    `relations_weight` that of the relations among queries, keys and values (Wang et al. 2021, MiniLMv2).

    Args:
        model: The student: a headless encoder, or a masked language model.
        teacher: The same of the teacher, with the student's vocabulary, or a `LanguageTeacher`.
        args: `BilingualDistillationArguments`.
        train_dataset: `BilingualBlocks`, for balanced batches of one language each, or any data set of `input_ids`
            (and `attention_mask`), batched as transformers does.
        kwargs: As for transformers' Trainer; with a `masked_share`, `processing_class` is the tokenizer.

    Raises:
        InputError: teacher and student do not fit together, or lack a head whose logits, or the tokenizer whose mask
            token, is asked for.
    """

    args: BilingualDistillationArguments
    data_collator: Any

    def __init__(
        self,
        model: PreTrainedModel,
        args: BilingualDistillationArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        **kwargs: Any,
    ) -> None:
        self.term_weights = {
            "attention": args.attention_weight,
            "hidden": args.hidden_weight,
            "divergence": args.divergence_weight,
            "relations": args.relations_weight,
        }
        if args.logits_weight:
            self.term_weights["logits"] = args.logits_weight
            _check_heads(model, teacher.model if isinstance(teacher, LanguageTeacher) else teacher)
        if args.masked_share:
            kwargs.setdefault("data_collator", _masking_collator(model, args, kwargs.get("processing_class")))
        super().__init__(
            model,
            args,
            teacher=teacher,
            layer_map=args.layer_map,
            teacher_precision=args.teacher_precision,
            relation_heads=args.relation_heads,
            **kwargs,
        )
        if isinstance(self.train_dataset, BilingualBlocks):
            self.teacher.languages = self.teacher.languages or self.train_dataset.languages

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in both phases, and the logits' term is a mean over tokens, or over those that are hidden."""
        counts = super().term_counts(inputs)
        if "logits" in self.term_weights:
            counts["logits"] = _where_logits_count(inputs).sum().double()
        return counts

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the terms of a batch, and the student's outputs."""
        terms, ours, theirs = self.compare(model, inputs)
        if "logits" in self.term_weights:
            terms["logits"] = soft_cross_entropy(
                ours.logits, theirs.logits, self.args.temperature, _where_logits_count(inputs)
            )
        return terms, ours

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one language each where the data set knows its languages, else the Trainer's own."""
        if not isinstance(self.train_dataset, BilingualBlocks):
            return super().get_train_dataloader()
        blocks = self.train_dataset
        batches = OneLanguageBatches(blocks.sizes, self._train_batch_size, seed=self.args.seed)
        self._hide_anew(EpochOf(batches))
        return self.load_batches(blocks, batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """All blocks in order, in batches of one language each where the data set knows its languages."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(dataset, BilingualBlocks):
            return super().get_eval_dataloader(eval_dataset)
        batches = OneLanguageBatches(dataset.sizes, self.args.eval_batch_size, balanced=False)
        self._hide_anew(None)
        return self.load_batches(dataset, batches, processes_per_batch=1)

    def _hide_anew(self, epoch: EpochOf | None) -> None:
        """Have the next data loader hide other tokens in each epoch, or the same in every pass."""
        if self.args.masked_share:
            self.data_collator = copy.deepcopy(self.data_collator)
            self.data_collator.choose.epoch = epoch

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a batch; there are no labels to predict."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None


def _check_heads(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    for field_, model in (("student", student), ("teacher", teacher)):
        if not type(model).__name__.endswith("ForMaskedLM"):
            raise InputError(
                "logits_weight asks for the logits of a language-modelling head, which this has not",
                field=field_,
                value=type(model).__name__,
                remedy="load it through AutoModelForMaskedLM, or leave logits_weight at 0",
            )


def _where_logits_count(inputs: Mapping[str, Tensor]) -> Tensor:
    return inputs.get(MASKED, inputs["attention_mask"])


def _masking_collator(model: PreTrainedModel, args: BilingualDistillationArguments, tokenizer: Any) -> MaskingCollator:
    if getattr(tokenizer, "mask_token_id", None) is None:
        raise InputError(
            "hiding tokens needs a tokenizer with a mask token",
            field="processing_class",
            value=None if tokenizer is None else type(tokenizer).__name__,
            remedy="pass the student's tokenizer, or leave masked_share at 0",
        )
    choose = TokenChooser(special_ids=tokenizer.all_special_ids, probability=args.masked_share, seed=args.seed)
    return MaskingCollator(
        PaddingCollator(model.config.pad_token_id or 0), choose, mask_token_id=tokenizer.mask_token_id
    )
