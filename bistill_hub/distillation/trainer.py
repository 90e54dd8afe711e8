"""What both phases share: a Trainer with a teacher beside the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from ..batches import MODEL_INPUTS
from ..errors import InputError
from ..student.backbones import backbone_for
from ..student.layers import layer_map_for
from .exact_averaging import ExactAveragingTrainer
from .language_teacher import LanguageTeacher
from .losses import attention_loss, hidden_state_loss


class DistillationTrainer(ExactAveragingTrainer):
    """A Trainer with a teacher beside the student: attention and hidden-state terms, aligned layer by layer.

    The teacher stands outside the trained module: it is in no optimizer, no checkpoint and no gradient.

    Args:
        model: The student.
        teacher: The multilingual encoder, with the student's vocabulary, or a `LanguageTeacher`.
        args: Training arguments.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: teacher and student do not fit together.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        layer_map: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        voice = teacher if isinstance(teacher, LanguageTeacher) else LanguageTeacher(teacher)
        _check_fit(model, voice.model, layer_map)
        for one in (model, voice.model):
            one.set_attn_implementation(backbone_for(one.config).attentions_under)
        super().__init__(model, args, **kwargs)
        self.layer_map = layer_map
        voice.model.eval().requires_grad_(False)
        self.accelerator.prepare_model(voice.model, evaluation_mode=True)
        self.teacher = voice

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Attention is a mean over pairs of tokens, the hidden states' term over tokens (up to constant factors)."""
        lengths = inputs["attention_mask"].sum(dim=1).double()
        return {"attention": lengths.square().sum(), "hidden": lengths.sum()}

    def distillation_terms(self, ours: Any, theirs: Any, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return the attention and hidden-state terms of two models' outputs on one batch."""
        states = states_to_match(self.teacher.model, theirs.hidden_states, self.layer_map)
        return {
            "attention": attention_loss(ours.attentions, theirs.attentions, attention_mask, layer_map=self.layer_map),
            "hidden": hidden_state_loss(ours.hidden_states, states, attention_mask, layer_map=self.layer_map),
        }

    def both_outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, Any]:
        """Run student and teacher on one batch, the teacher in the batch's language and without gradients."""
        read = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        with torch.no_grad():
            theirs = self.teacher.for_batch(inputs)(**read, output_attentions=True, output_hidden_states=True)
        return model(**read, output_attentions=True, output_hidden_states=True), theirs


def states_to_match(
    teacher: PreTrainedModel, hidden_states: Sequence[Tensor], layer_map: Sequence[int] | None
) -> tuple[Tensor, ...]:
    """Give the teacher's states as a student has them whose last layer answers to another layer than the last.

    Where an architecture has a norm after its last layer, the student's last state is normed, and an inner state of the
    teacher is not. Then the teacher's own final norm goes over the state that the student's last layer answers to.

    Args:
        teacher: The teacher, with or without a head.
        hidden_states: Its embedding output and one state for each layer, [batch, positions, hidden size] each.
        layer_map: For each student layer the 0-based teacher layer; None if the last ones answer to each other.

    Returns:
        The hidden states, one of them normed or all as they were.
    """
    states = list(hidden_states)
    norm = backbone_for(teacher.config).final_norm
    if norm is not None and layer_map is not None and layer_map[-1] + 2 < len(states):
        place = layer_map[-1] + 1  # behind the embedding output
        with torch.no_grad():
            states[place] = teacher.base_model.get_submodule(norm)(states[place])
    return tuple(states)


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
