"""What both phases share: a Trainer with a teacher beside the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from ..errors import InputError
from ..student.backbones import backbone_for
from ..student.layers import layer_map_for
from .comparison import ATTENTION, DIVERGENCE, HIDDEN, RELATIONS, LayerwiseComparison
from .exact_averaging import ExactAveragingTrainer
from .language_teacher import LanguageTeacher

_COUNTED_IN = {ATTENTION: 2, HIDDEN: 1, DIVERGENCE: 1, RELATIONS: 1}
"""Each term that compares what happens inside, and to what power of the lengths the elements grow that it averages."""

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What weights can be kept in, as recipes call it."""


class DistillationTrainer(ExactAveragingTrainer):
    """A Trainer with a teacher beside the student: attention and hidden-state terms and others, aligned layer by layer.

    The teacher stands outside the trained module: it is in no optimizer, no checkpoint and no gradient. A term whose
    weight in `term_weights` is 0, or that is not named there, is not formed.

    Args:
        model: The student.
        teacher: The multilingual encoder, with the student's vocabulary, or a `LanguageTeacher`. One that accelerate
            has spread over several devices stays there.
        args: Training arguments.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.
        teacher_precision: What the teacher's weights are converted to, in place: fp32, bf16 or fp16; None leaves them.
        relation_heads: Heads of the relations' term, where it is wanted; None: the attention's.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: teacher and student do not fit together.
    """

    term_weights: Mapping[str, float] = {ATTENTION: 1.0, HIDDEN: 1.0}

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        layer_map: Sequence[int] | None = None,
        teacher_precision: str | None = None,
        relation_heads: int | None = None,
        **kwargs: Any,
    ) -> None:
        voice = teacher if isinstance(teacher, LanguageTeacher) else LanguageTeacher(teacher)
        _check_fit(model, voice.model, layer_map)
        super().__init__(model, args, **kwargs)
        self.layer_map = layer_map
        self.comparison = LayerwiseComparison(
            model,
            voice.model,
            layer_map,
            terms=[term for term in _COUNTED_IN if self.term_weights.get(term, 0.0)],
            relation_heads=relation_heads,
            recomputes=args.gradient_checkpointing,
            compiled=args.torch_compile,
        )
        voice.model.eval().requires_grad_(False)
        if teacher_precision is not None:
            voice.model.to(TYPES[teacher_precision])
        if not hasattr(voice.model, "hf_device_map"):
            self.accelerator.prepare_model(voice.model, evaluation_mode=True)
        self.teacher = voice

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Attention is a mean over pairs of tokens, the other terms over tokens (up to constant factors)."""
        lengths = inputs["attention_mask"].sum(dim=1).double()
        return {name: (lengths**power).sum() for name, power in _COUNTED_IN.items() if name in self.comparison.terms}

    def compare(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any, Any]:
        """Run teacher and student on one batch, the teacher in the batch's language and without gradients.

        Returns:
            The terms of what happens inside the models, the student's outputs and the teacher's.
        """
        return self.comparison(model, self.teacher.for_batch(inputs), inputs)


def _check_fit(student: PreTrainedModel, teacher: PreTrainedModel, layer_map: Sequence[int] | None) -> None:
    ours, theirs = student.config, teacher.config
    for field in ("vocab_size", "hidden_size", "num_attention_heads"):
        if getattr(ours, field) != getattr(theirs, field):
            remedy = (
                "slice the teacher with bistill_hub.student.trim_vocabulary(teacher, token_map)"
                if field == "vocab_size"
                else "cut the student out of this teacher"
            )
            raise InputError(
                f"the student's differs from the teacher's {getattr(theirs, field)}",
                field=field,
                value=getattr(ours, field),
                remedy=remedy,
            )
    if layer_map is None and theirs.num_hidden_layers % ours.num_hidden_layers:
        raise InputError(
            f"the student's layers cannot be spread evenly over the teacher's {theirs.num_hidden_layers}",
            field="num_hidden_layers",
            value=ours.num_hidden_layers,
            remedy="pass the layer_map that the student was cut with",
        )
    layers = layer_map_for(theirs.num_hidden_layers, layer_map=layer_map, kept=ours.num_hidden_layers)
    if len(layers) != ours.num_hidden_layers:
        raise InputError(
            f"the student has {ours.num_hidden_layers} layers, not {len(layers)}",
            field="layer_map",
            value=layers,
            remedy="pass the layer_map that the student was cut with",
        )
    _check_kinds_of_layers(ours, theirs, layers)


def _check_kinds_of_layers(ours: Any, theirs: Any, layer_map: Sequence[int]) -> None:
    """Refuse a student layer of another kind (such as local attention) than the teacher layer that it answers to."""
    for field in backbone_for(theirs).layer_fields:
        expected = [getattr(theirs, field)[layer] for layer in layer_map]
        if list(getattr(ours, field, None) or ()) != expected:
            raise InputError(
                f"the teacher layers that these answer to are {expected}",
                field=field,
                value=getattr(ours, field, None),
                remedy="pass the layer_map that the student was cut with",
            )
