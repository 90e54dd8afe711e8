"""Runs teacher and student on one batch and compares what they do inside, layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..batches import MODEL_INPUTS
from ..student.backbones import backbone_for
from ..student.layers import layer_map_for
from .losses import attention_divergence, attention_loss, hidden_state_loss, relation_divergence
from .reading import (
    IMPLEMENTATION,
    AttentionErrors,
    KeptAttentions,
    layers_by_module,
    reading,
    sum_of_squared_errors,
)
from .recomputing import cheap_modules, forming_again
from .relations import projecting, projections_of

ATTENTION, HIDDEN, DIVERGENCE, RELATIONS = "attention", "hidden", "divergence", "relations"
TERMS = (ATTENTION, HIDDEN)
"""The method's terms that compare what happens inside the models; `DIVERGENCE` and `RELATIONS` can be added."""


class LayerwiseComparison:
    """Compares a student's attentions and hidden states with those of the teacher layers that they answer to.

    The terms are `losses.attention_loss`, `hidden_state_loss`, `attention_divergence` and, of the last student layer
    and the one it answers to, `relation_divergence`. Where the architecture lets its attention be replaced, the first
    two are formed while the student runs (see `reading`). The models hand over all their attentions where it does not,
    and where their divergence is asked for.

    Args:
        student: The student, with or without a head. Its attention implementation is set.
        teacher: The teacher, likewise.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.
        terms: Which of the terms are wanted; the others are not formed.
        relation_heads: Heads of the relations; None: the attention's.
        recomputes: Whether layers are computed again in the backward pass (gradient checkpointing), where their
            attention cannot be looked at while they run.
        compiled: Whether the student is compiled, which decides by itself what is kept for the backward pass.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        layer_map: Sequence[int] | None = None,
        *,
        terms: Collection[str] = TERMS,
        relation_heads: int | None = None,
        recomputes: bool = False,
        compiled: bool = False,
    ) -> None:
        self.layer_map = layer_map
        self.terms = frozenset(terms)
        self.answers_to = layer_map_for(
            teacher.config.num_hidden_layers, layer_map=layer_map, kept=student.config.num_hidden_layers
        )
        backbone = backbone_for(teacher.config)
        computed_again = recomputes and ATTENTION in self.terms
        self.reads = backbone.has_attention_interface and DIVERGENCE not in self.terms and not computed_again
        for model in (student, teacher):
            model.set_attn_implementation(IMPLEMENTATION if self.reads else backbone.attentions_under)
        read = set(self.answers_to)
        self._student_layers = layers_by_module(student)
        self._teacher_layers = {module: layer for module, layer in layers_by_module(teacher).items() if layer in read}
        self.formed_again = [] if compiled or recomputes else cheap_modules(student)
        self._relation_heads = relation_heads or student.config.num_attention_heads
        self._projections = (
            (projections_of(student, len(self.answers_to) - 1), projections_of(teacher, self.answers_to[-1]))
            if RELATIONS in self.terms
            else ((), ())
        )

    def __call__(
        self, student: nn.Module, teacher: PreTrainedModel, inputs: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Any, Any]:
        """Run both on one batch, the teacher without gradients.

        Args:
            student: The student, perhaps wrapped for training on several devices.
            teacher: The teacher.
            inputs: The batch, with `attention_mask` [batch, positions]; what models do not read is left out.

        Returns:
            The terms by name, as means over the batch; the student's outputs and the teacher's, perhaps without states.
        """
        read = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        compare = self._while_running if self.reads else self._of_outputs
        if RELATIONS not in self.terms:
            with forming_again(self.formed_again):
                return compare(student, teacher, read)
        with ExitStack() as stack:
            stack.enter_context(forming_again(self.formed_again))
            projected = [stack.enter_context(projecting(modules)) for modules in self._projections]
            terms, ours, theirs = compare(student, teacher, read)
        mask = inputs["attention_mask"]
        there = [each.to(mask.device) for each in projected[1]]
        terms[RELATIONS] = relation_divergence(projected[0], there, mask, heads=self._relation_heads)
        return terms, ours, theirs

    def _while_running(
        self, student: nn.Module, teacher: PreTrainedModel, inputs: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Any, Any]:
        real = inputs["attention_mask"].bool()
        padded = not bool(real.all())
        shown = {"output_hidden_states": HIDDEN in self.terms}
        kept = KeptAttentions(self._teacher_layers if ATTENTION in self.terms else {})
        with torch.no_grad(), reading(kept):
            theirs = teacher(**inputs, **shown)
        states = self._states(teacher, theirs) if HIDDEN in self.terms else []
        theirs = _without_states(theirs)
        terms = {}
        if ATTENTION in self.terms:
            _check_all_were_read(kept.found, self.answers_to, "teacher")
            targets = {place: kept.found[layer] for place, layer in enumerate(self.answers_to)}
            kept.found.clear()
            errors = AttentionErrors(self._student_layers, targets, _pairs(real) if padded else None)
            heads = targets[0].heads
            del targets
            with reading(errors):
                ours = student(**inputs, **shown)
            _check_all_were_read(errors.sums, range(len(self.answers_to)), "student")
            count = heads * real.sum(dim=1).square().sum().clamp(min=1)
            terms[ATTENTION] = _mean([total.to(real.device) / count for total in errors.sums.values()])
        else:
            ours = student(**inputs, **shown)
        if HIDDEN in self.terms:
            mine, ours = list(ours.hidden_states), _without_states(ours)
            weights = real[:, :, None] if padded else None
            count = states[0].shape[-1] * real.sum().clamp(min=1)
            terms[HIDDEN] = _mean(
                [
                    sum_of_squared_errors(one, other.to(one.device), weights).to(real.device) / count
                    for one, other in zip(_taken(mine), _taken(states), strict=True)
                ]
            )
        return terms, ours, theirs

    def _of_outputs(
        self, student: nn.Module, teacher: PreTrainedModel, inputs: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Any, Any]:
        attentions = not self.terms.isdisjoint((ATTENTION, DIVERGENCE))
        shown = {"output_attentions": attentions, "output_hidden_states": HIDDEN in self.terms}
        with torch.no_grad():
            theirs = teacher(**inputs, **shown)
        ours, mask, terms = student(**inputs, **shown), inputs["attention_mask"], {}
        if ATTENTION in self.terms:
            terms[ATTENTION] = attention_loss(ours.attentions, theirs.attentions, mask, layer_map=self.layer_map)
        if DIVERGENCE in self.terms:
            terms[DIVERGENCE] = attention_divergence(ours.attentions, theirs.attentions, mask, layer_map=self.layer_map)
        if HIDDEN in self.terms:
            states = states_to_match(teacher, theirs.hidden_states, self.layer_map)
            terms[HIDDEN] = hidden_state_loss(ours.hidden_states, states, mask, layer_map=self.layer_map)
        return terms, ours, theirs

    def _states(self, teacher: PreTrainedModel, theirs: Any) -> list[Tensor]:
        """Choose the teacher's states that the student's answer to, the embedding output first."""
        states = states_to_match(teacher, theirs.hidden_states, self.layer_map)
        return [states[0], *(states[layer + 1] for layer in self.answers_to)]


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


def _without_states(outputs: Any) -> Any:
    """Copy a model's outputs but for the hidden states, so that those which are not compared can be let go of."""
    return type(outputs)(**{name: value for name, value in outputs.items() if name != "hidden_states"})


def _taken(tensors: list[Tensor]) -> Iterator[Tensor]:
    """Take tensors out of a list, the last first, so that each is let go of once it is done with."""
    while tensors:
        yield tensors.pop()


def _check_all_were_read(found: Mapping[int, Any], layers: Iterable[int], side: str) -> None:
    if missing := sorted(set(layers) - set(found)):
        raise RuntimeError(
            f"the {side}'s layers {missing} did not show their attention, so there is nothing to compare; its "
            f"attention implementation must be {IMPLEMENTATION!r} while it is trained or teaches"
        )


def _pairs(real: Tensor) -> Tensor:
    """[batch, positions] true for tokens to [batch, 1, queries, keys] true where both are tokens."""
    return real[:, None, :, None] & real[:, None, None, :]


def _mean(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()
