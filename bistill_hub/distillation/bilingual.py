"""Phase 1: the student learns both languages from its teacher, on unlabelled text (Ansell et al. 2023, section 3.1)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainingArguments

from ..batches import MODEL_INPUTS, PaddingCollator
from ..corpora import BilingualBlocks, OneLanguageBatches
from ..errors import InputError
from .comparison import ATTENTION, DIVERGENCE, HIDDEN, RELATIONS
from .exact_averaging import ExactAveragingTrainer
from .language_teacher import LanguageTeacher
from .last_states import cosine_distance, head_at, logits_at, noting_last_states
from .losses import soft_cross_entropy
from .masking import MASKED, ORIGINAL, EpochOf, MaskingCollator, TokenChooser
from .sharding import refuse_sharding
from .trainer import DistillationTrainer

TEMPERATURE = 2.0
"""What logits are divided by before they are compared, unless another one is given."""

LOGITS, COSINE, MASKED_LM = "logits", "cosine", "masked_lm"
OBJECTIVE = (ATTENTION, HIDDEN, DIVERGENCE, RELATIONS, LOGITS, COSINE, MASKED_LM)
"""The terms that phase 1 can have; the weight of each is a setting, `attention_weight` for example."""


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
    temperature: float = field(
        default=TEMPERATURE, metadata={"help": "what logits are divided by before they are compared"}
    )
    masked_lm_weight: float = field(
        default=0.0, metadata={"help": "weight of the cross-entropy with the hidden tokens themselves; 0 leaves it out"}
    )
    cosine_weight: float = field(
        default=0.0, metadata={"help": "weight of the last hidden states' cosine distance; 0 leaves it out"}
    )
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
            InputError: training would be sharded, the temperature or the share is out of range, or no term is asked for
                that can be formed.
        """
        refuse_sharding(self)
        super().__post_init__()
        check_objective(self)
        if not 0 <= self.masked_share < 1:
            raise InputError(
                "not a share", field="masked_share", value=self.masked_share, remedy="give a number from 0 to below 1"
            )
        if self.temperature <= 0:
            raise InputError(
                "not a temperature", field="temperature", value=self.temperature, remedy="give a number above 0"
            )


def weights_of(settings: Any) -> dict[str, float]:
    """Return the weights of the terms that are wanted, by name; those of weight 0 are left out.

    Args:
        settings: `BilingualDistillationArguments`, or a recipe's `bilingual`.
    """
    weights = {term: float(getattr(settings, f"{term}_weight")) for term in OBJECTIVE}
    return {term: weight for term, weight in weights.items() if weight}


def needs_teacher(terms: Collection[str]) -> bool:
    """Tell whether any of the terms asks the teacher: all do but the masked tokens' cross-entropy."""
    return bool(set(terms) - {MASKED_LM})


def check_objective(settings: Any) -> None:
    """Refuse an objective that is none.

    Args:
        settings: As for `weights_of`.

    Raises:
        InputError: every weight is 0, or hidden tokens are asked for where none is hidden.
    """
    wanted = weights_of(settings)
    if not wanted:
        raise InputError(
            "every term's weight is 0, so there is nothing to learn",
            field="attention_weight",
            value=settings.attention_weight,
            remedy=f"give one of {', '.join(f'{term}_weight' for term in OBJECTIVE)}",
        )
    if MASKED_LM in wanted and not settings.masked_share:
        raise InputError(
            "the cross-entropy with hidden tokens needs some that are hidden",
            field="masked_share",
            value=settings.masked_share,
            remedy="hide some, 0.15 for example, or leave masked_lm_weight at 0",
        )


def form_terms(
    run: Callable[[], tuple[dict[str, Tensor], Any, Any]],
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    inputs: Mapping[str, Tensor],
    wanted: Collection[str],
    temperature: float,
) -> tuple[dict[str, Tensor], Any]:
    """Run student and teacher, and add to the terms of their layers those of heads and last states.

    Heads are computed at the hidden tokens alone, where tokens are hidden.

    Args:
        run: Runs both on the batch and returns the layers' terms, the student's outputs and the teacher's.
        student: The student itself, not wrapped.
        teacher: The teacher; None where no term asks it.
        inputs: The batch, with `attention_mask` and, where tokens are hidden, what `MaskingCollator` adds.
        wanted: The names of the terms.
        temperature: What logits are divided by before they are compared.

    Returns:
        The terms by name, as means over the batch, and the student's outputs.
    """
    hidden, states = inputs.get(MASKED), []
    with ExitStack() as stack:
        for model in (student, teacher):
            if model is None:
                continue
            if hidden is not None:
                stack.enter_context(head_at(model, hidden))
            if COSINE in wanted:
                states.append(stack.enter_context(noting_last_states(model)))
        terms, ours, theirs = run()
    mask = inputs["attention_mask"]
    if COSINE in wanted:
        terms[COSINE] = cosine_distance(states[0][0], states[1][0].to(mask.device), mask)
    if LOGITS in wanted:
        terms[LOGITS] = _logits_term(ours.logits, theirs.logits.to(mask.device), inputs, temperature)
    if MASKED_LM in wanted:
        terms[MASKED_LM] = _masked_lm_term(ours.logits, inputs)
    return terms, ours


def _logits_term(student: Tensor, teacher: Tensor, inputs: Mapping[str, Tensor], temperature: float) -> Tensor:
    hidden = inputs.get(MASKED)
    if hidden is None:
        return soft_cross_entropy(student, teacher, temperature, inputs["attention_mask"])
    ours, theirs = logits_at(student, hidden), logits_at(teacher, hidden)
    return soft_cross_entropy(ours, theirs, temperature, hidden[hidden])


def _masked_lm_term(logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    hidden = inputs[MASKED]
    total = nn.functional.cross_entropy(
        logits_at(logits, hidden).float(), inputs[ORIGINAL][hidden].to(logits.device), reduction="sum"
    )
    return total / hidden.sum().clamp(min=1)  # a micro-batch that hides nothing has the mean 0, not 0/0


class BilingualDistillationTrainer(DistillationTrainer):
    """Teaches a headless student to reproduce the teacher's attentions and hidden states.

    Further terms, which the paper does not have, come in with a weight of their own:

    - `logits_weight`: student and teacher are masked language models, and the student's head is taught the teacher's
      distribution at every token, or at those alone that a `masked_share` hides from both models, for every term (Sanh
      et al. 2019, DistilBERT);
    - `masked_lm_weight`: the student's head is asked for the hidden tokens themselves;
    - `cosine_weight`: the cosine distance of the last hidden states (Sanh et al. 2019 again);
    - `divergence_weight`: the Kullback-Leibler divergence of the attentions (Sun et al. 2020, MobileBERT);
    - `relations_weight`: that of the relations among queries, keys and values (Wang et al. 2021, MiniLMv2).

    A term of weight 0 is not formed, and a teacher that no term asks is neither run nor moved to the device.

    With a `masked_share` each epoch hides other tokens, for which the data loader's workers are started anew, whatever
    `dataloader_persistent_workers` says.

    A `LanguageTeacher` with deltas speaks the language of each batch. It knows the languages of all `BilingualBlocks`,
    held-out ones included, by their codes: they may stand in another order, or be fewer.

    Args:
        model: The student: a headless encoder, or a masked language model.
        teacher: The same of the teacher, with the student's vocabulary, or a `LanguageTeacher`. None where no term asks
            it: with `masked_lm_weight` alone.
        args: `BilingualDistillationArguments`.
        train_dataset: `BilingualBlocks`, for balanced batches of one language each, or any data set of `input_ids`
            (and `attention_mask`), batched as transformers does.
        kwargs: As for transformers' Trainer; with a `masked_share`, `processing_class` is the tokenizer.

    Raises:
        InputError: training would be sharded; teacher and student do not fit together, or lack a head whose logits, or
            the tokenizer whose mask token, is asked for; there is no teacher and a term asks it; a language has no
            block to learn from; or a `LanguageTeacher` does not name a language of the data.
    """

    args: BilingualDistillationArguments
    data_collator: Any

    def __init__(
        self,
        model: PreTrainedModel,
        args: BilingualDistillationArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_sharding(args)
        if isinstance(kwargs.get("train_dataset"), BilingualBlocks):
            kwargs["train_dataset"].refuse_empty()
        self.term_weights = weights_of(args)
        _check_heads(model, teacher.model if isinstance(teacher, LanguageTeacher) else teacher, self.term_weights)
        if args.masked_share:
            kwargs.setdefault("data_collator", _masking_collator(model, args, kwargs.get("processing_class")))
        self.asks_teacher = needs_teacher(self.term_weights)
        if not self.asks_teacher:
            ExactAveragingTrainer.__init__(self, model, args, **kwargs)
            return
        if teacher is None:
            raise InputError(
                "there is no teacher, and these terms ask it",
                field="teacher",
                value=[term for term in self.term_weights if needs_teacher([term])],
                remedy="pass the teacher, or leave all weights but masked_lm_weight at 0",
            )
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
        held_out = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"": self.eval_dataset}
        for dataset in (self.train_dataset, *held_out.values()):
            if isinstance(dataset, BilingualBlocks):
                self._as_teacher_numbers(dataset)

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in both phases; last states count at every token, heads at those that are hidden where some are."""
        counts = super().term_counts(inputs) if self.asks_teacher else {}
        tokens = inputs["attention_mask"].sum().double()
        hidden = inputs[MASKED].sum().double() if MASKED in inputs else tokens
        further = {COSINE: tokens, LOGITS: hidden, MASKED_LM: hidden}
        return counts | {term: count for term, count in further.items() if term in self.term_weights}

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the terms of a batch, and the student's outputs."""
        student: PreTrainedModel = self.model
        wanted, temperature = self.term_weights, self.args.temperature
        if self.asks_teacher:
            both = (student, self.teacher.model)
            return form_terms(lambda: self.compare(model, inputs), *both, inputs, wanted, temperature)
        read = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        return form_terms(lambda: ({}, model(**read), None), student, None, inputs, wanted, temperature)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one language each where the data set knows its languages, else the Trainer's own."""
        if not isinstance(self.train_dataset, BilingualBlocks):
            return super().get_train_dataloader()
        self.train_dataset.refuse_empty()
        blocks = self._as_teacher_numbers(self.train_dataset)
        batches = OneLanguageBatches(blocks.sizes, self._train_batch_size, seed=self.args.seed)
        self._hide_anew(EpochOf(batches))
        return self.load_batches(blocks, batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """All blocks in order, in batches of one language each where the data set knows its languages."""
        dataset = self._held_out(eval_dataset)
        if not isinstance(dataset, BilingualBlocks):
            return super().get_eval_dataloader(eval_dataset)
        blocks = self._as_teacher_numbers(dataset)
        batches = OneLanguageBatches(blocks.sizes, self.args.eval_batch_size, balanced=False)
        self._hide_anew(None)
        return self.load_batches(blocks, batches, train=False)

    def _as_teacher_numbers(self, blocks: BilingualBlocks) -> BilingualBlocks:
        """Number languages as the teacher does, whatever their order in a data set; without deltas nobody asks.

        Raises:
            InputError: the teacher does not name one of them.
        """
        if not self.asks_teacher or not self.teacher.deltas:
            return blocks
        named = self.teacher.languages
        for language in blocks.languages:
            if language not in named:
                raise InputError(
                    f"there are data in {language!r}, which it does not name",
                    field="languages of the teacher",
                    value=list(named),
                    remedy="pass languages= to LanguageTeacher with all languages of the data, also those without a "
                    "delta",
                )
        parts = dict(zip(blocks.languages, blocks.parts, strict=True))
        return BilingualBlocks(parts, [named.index(language) for language in blocks.languages])

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


def _check_heads(student: PreTrainedModel, teacher: PreTrainedModel | None, wanted: Collection[str]) -> None:
    for name, model, terms in (("student", student, (LOGITS, MASKED_LM)), ("teacher", teacher, (LOGITS,))):
        asking = [f"{term}_weight" for term in terms if term in wanted]
        if asking and model is not None and not type(model).__name__.endswith("ForMaskedLM"):
            raise InputError(
                f"{asking[0]} asks for the logits of a language-modelling head, which this has not",
                field=name,
                value=type(model).__name__,
                remedy=f"load it through AutoModelForMaskedLM, or leave {asking[0]} at 0",
            )


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
