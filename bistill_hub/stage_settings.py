"""The settings of a recipe's stages: how the student is cut, both phases, a task's teacher, how speed is measured."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, SerializerFunctionWrapHandler, model_validator
from pydantic.functional_serializers import model_serializer

from .errors import InputError
from .student.layers import LayerChoice, layer_map_for

Precision = Literal["fp32", "bf16", "fp16"]

_PRECISION = "what the mathematics is done in; weights and optimizer stay in float32"
_ADDED = ("temperature", "relation_heads")
"""Settings of phase 1 that came after the others: at their defaults they change nothing, so that a phase 1 that was
finished without them is not done again."""

_OF_A_SPARSE_TEACHER = ("density", "dense_epochs")
"""Settings of a task's teacher that came after the others: at their defaults they are not told, so that a teacher that
was tuned without them is not tuned again."""

EVERY_FIELD = {"every_field": True}
"""The context of a `model_dump` that has all fields, also those that came later and change nothing."""

_TEACHER_PRECISION = "what the teacher's weights are kept in while it teaches; bf16 halves its memory"


class Settings(BaseModel):
    """Fields that are checked when they are given, and cannot be changed; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class StudentSettings(Settings):
    """Phase 0: how the student is cut."""

    layer_reduction_factor: int = Field(2, ge=1, description="teacher layers for each student layer (LRF)")
    layers: int | None = Field(None, ge=1, description="layers of the student, instead of the factor")
    layer_choice: LayerChoice = Field("spread", description="which of the teacher's layers: spread, bottom or top")
    layer_map: tuple[int, ...] | None = Field(None, description="teacher layers to keep, from 0, instead of a choice")
    min_token_probability: float = Field(1e-6, ge=0, le=1, description="relative frequency from which a token stays")
    vocabulary_size: int | None = Field(None, ge=1, description="tokens to keep, instead of the threshold")
    vocabulary_multiple_of: int = Field(1, ge=1, description="round the vocabulary up to a multiple; 64 suits GPUs")
    must_keep: tuple[str, ...] = Field((), description="pieces or words that stay however rare they are")
    vocabulary: Literal["pair", "whole"] = Field(
        "pair", description="the pieces of the languages, or the teacher's whole vocabulary (a multilingual student)"
    )
    initialisation: Literal["teacher", "random"] = Field(
        "teacher", description="the teacher's layers, or random weights (a student from scratch)"
    )
    keep_language_modelling_head: bool = Field(True, description="trim and ship the teacher's head, where it has one")

    @property
    def vocabulary_rule(self) -> str:
        """How the tokens are chosen, in words."""
        if self.vocabulary == "whole":
            return "all of the teacher's"
        if self.vocabulary_size is None:
            rule = f"those with a relative frequency of at least {self.min_token_probability:g} in either corpus"
        else:
            rule = f"the {self.vocabulary_size:,} most frequent of either corpus"
        if self.vocabulary_multiple_of > 1:
            rule += f", rounded up to a multiple of {self.vocabulary_multiple_of}"
        return f"{rule}, and {len(self.must_keep):,} that were named" if self.must_keep else rule

    @property
    def threshold(self) -> float | None:
        """The relative frequency that decided which tokens are kept; None where something else did."""
        return None if self.vocabulary == "whole" or self.vocabulary_size else self.min_token_probability

    def layer_map_for(self, num_layers: int) -> tuple[int, ...]:
        """Name the layers that the student keeps of a teacher of so many layers, see `student.layers.layer_map_for`.

        Raises:
            InputError: there are no such layers.
        """
        return layer_map_for(
            num_layers, self.layer_reduction_factor, self.layer_map, choice=self.layer_choice, kept=self.layers
        )


class BilingualSettings(Settings):
    """Phase 1: general distillation on text."""

    steps: int = Field(200_000, ge=0, description="updates; 0 leaves phase 1 out")
    batch_size: int = Field(8, gt=0, description="blocks per batch, all of one language")
    accumulation: int = Field(1, gt=0, description="batches per update")
    block_size: int = Field(256, gt=2, description="tokens per block")
    learning_rate: float = Field(1e-4, gt=0, description="peak rate, decaying linearly to 0")
    evaluation_every: int = Field(5_000, gt=0, description="updates between evaluations and checkpoints")
    evaluation_share: float = Field(0.01, gt=0, lt=1, description="share of each corpus held out for evaluation")
    attention_weight: float = Field(1.0, ge=0, description="weight of the attention probabilities' loss")
    hidden_weight: float = Field(1.0, ge=0, description="weight of the hidden states' loss")
    logits_weight: float = Field(
        0.0, ge=0, description="weight of the language-modelling logits' loss; 0: without heads"
    )
    temperature: float = Field(2.0, gt=0, description="divides the language-modelling logits before the softmax")
    masked_share: float = Field(0.0, ge=0, lt=1, description="share of the tokens hidden from teacher and student")
    divergence_weight: float = Field(0.0, ge=0, description="weight of the attentions' Kullback-Leibler divergence")
    relations_weight: float = Field(0.0, ge=0, description="weight of MiniLMv2's relations of the last layers")
    relation_heads: int | None = Field(
        None, gt=0, description="heads of the relations, a divisor of the hidden size; none: the attention's"
    )
    masked_lm_weight: float = Field(
        0.0, ge=0, description="weight of the cross-entropy with the hidden tokens themselves; needs masked_share"
    )
    cosine_weight: float = Field(0.0, ge=0, description="weight of the cosine distance of the last hidden states")
    precision: Precision = Field("fp32", description=_PRECISION)
    teacher_precision: Precision = Field("fp32", description=_TEACHER_PRECISION)

    @model_validator(mode="after")
    def _hidden_tokens_are_there(self) -> BilingualSettings:
        if self.masked_lm_weight and not self.masked_share:
            raise InputError(
                "the cross-entropy with hidden tokens needs some that are hidden",
                field="masked_share",
                value=self.masked_share,
                remedy="hide some, 0.15 for example, or leave masked_lm_weight at 0",
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What the stage depends on: the settings, without those of `_ADDED` that are at their defaults."""
        fields = type(self).model_fields
        settings = self.model_dump()
        return {name: value for name, value in settings.items() if name not in _ADDED or value != fields[name].default}


class TaskTeacher(Settings):
    """The teacher tuned for a task: fine-tuned here on the source language, or already tuned."""

    model: str | None = Field(None, description="Hub id or folder of a tuned model; None fine-tunes the teacher")
    revision: str | None = Field(None, description="branch, tag or commit of the tuned model")
    delta: str | None = Field(None, description="a task SFT to apply to the teacher instead of fine-tuning it")
    delta_labels: tuple[str, ...] = Field(
        (), description="the labels in the order of the task SFT's head; none: it is the task's own order"
    )
    epochs: float = Field(3.0, gt=0, description="passes over the training data, where the teacher is fine-tuned")
    density: float = Field(
        1.0, gt=0, le=1, description="share of the encoder's entries that fine-tuning may change, by LT-SFT; 1: all"
    )
    dense_epochs: float = Field(
        3.0, gt=0, description="passes with every entry free, to find those that move most, at a density below 1"
    )
    batch_size: int = Field(16, gt=0, description="examples per update")
    learning_rate: float = Field(3e-5, gt=0, description="peak rate, decaying linearly to 0")
    precision: Precision = Field("fp32", description=_PRECISION)

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Leave out what nobody has set, so that hashes of recipes and stages are those of before it was there."""
        fields: dict[str, Any] = handler(self)
        if not self.is_sparse and info.context != EVERY_FIELD:
            for name in _OF_A_SPARSE_TEACHER:
                if fields.get(name) == type(self).model_fields[name].default:
                    del fields[name]
        return fields

    @property
    def is_sparse(self) -> bool:
        """Whether fine-tuning may change a share of the entries alone."""
        return self.density < 1

    @model_validator(mode="after")
    def _one_way(self) -> TaskTeacher:
        if self.model is not None and self.delta is not None:
            raise InputError(
                "name a tuned `model` or a `delta` for the teacher, not both",
                value={"model": self.model, "delta": self.delta},
                remedy="leave one of them out",
            )
        return self

    @model_validator(mode="after")
    def _labels_of_a_delta(self) -> TaskTeacher:
        if self.delta_labels and self.delta is None:
            raise InputError(
                "there is no task SFT whose labels these could be",
                field="delta_labels",
                value=list(self.delta_labels),
                remedy="name the task SFT by `delta`, or leave its labels out",
            )
        return self


class SparseSettings(Settings):
    """Phase 2: task distillation under Lottery-Ticket Sparse Fine-Tuning."""

    density: float = Field(
        0.08, gt=0, le=1, description="share of the encoder's entries that may change; 1: all, without a dense stage"
    )
    dense_epochs: float = Field(3.0, gt=0, description="passes with every entry free, to find those that move most")
    sparse_epochs: float = Field(10.0, gt=0, description="passes from the start again, with the chosen entries free")
    batch_size: int = Field(8, gt=0, description="examples per batch")
    accumulation: int = Field(1, gt=0, description="batches per update")
    learning_rate: float = Field(5e-5, gt=0, description="peak rate of each stage, decaying linearly to 0")
    temperature: float = Field(2.0, gt=0, description="divides the logits of student and teacher before the softmax")
    learns_from: Literal["teacher", "labels"] = Field(
        "teacher", description="the task teacher's states and logits, or the labels alone (fine-tuning)"
    )
    attention_weight: float = Field(1.0, ge=0, description="weight of the attention probabilities' loss")
    hidden_weight: float = Field(1.0, ge=0, description="weight of the hidden states' loss")
    logits_weight: float = Field(1.0, ge=0, description="weight of the logits' soft cross-entropy")
    target_share: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="share of an epoch's inputs that are unlabelled text of the target language, read by the task "
        "teacher too; they come on top of the labelled ones",
    )
    iterations: int = Field(1, ge=1, description="rounds of dense training, selection and sparse training")
    freeze_layer_norms: bool = Field(True, description="keep LayerNorms out of what may change")
    precision: Precision = Field("fp32", description=_PRECISION)
    teacher_precision: Precision = Field("fp32", description=_TEACHER_PRECISION)
    delta_precision: Literal["fp32", "fp16"] = Field("fp32", description="what the delta's values are kept in")

    @model_validator(mode="after")
    def _target_text_needs_a_teacher(self) -> SparseSettings:
        if self.target_share and self.learns_from == "labels":
            raise InputError(
                "text without labels teaches nothing where the labels alone are learnt from",
                field="target_share",
                value=self.target_share,
                remedy="set it to 0, or learn from the teacher",
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What the stage depends on: the settings, without a `target_share` of 0, which is as if there was none."""
        return self.model_dump(exclude=None if self.target_share else {"target_share"})

    def unlabelled(self, labelled: int) -> int:
        """How many inputs of target text an epoch has beside so many labelled ones."""
        return round(labelled * self.target_share / (1 - self.target_share))


class SpeedSettings(Settings):
    """How the speed of teacher and student is measured; nothing that is trained depends on it."""

    seconds: float = Field(30, ge=0, description="time for all measurements together, at least two rounds of each")
    batch_size: int = Field(32, gt=0, description="texts in a batch for throughput; latency is that of one")
    length: int = Field(128, gt=0, description="tokens of a text, or as many as the model reads if that is less")
