"""The states between encoder and head: compared with a teacher's, or given to the head at some positions alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel


@contextmanager
def noting_last_states(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect the last hidden states while a model, with or without a head, runs once.

    Yields:
        A list that holds them, [batch, positions, hidden size], after the model has run.
    """
    found: list[Tensor] = []

    def note(_: nn.Module, inputs: Any, outputs: Any) -> None:
        found.append(outputs[0])

    hook = model.base_model.register_forward_hook(note)
    try:
        yield found
    finally:
        hook.remove()


@contextmanager
def head_at(model: PreTrainedModel, chosen: Tensor) -> Iterator[None]:
    """Have a model's head read the chosen positions [batch, positions] alone: nobody reads the logits of others."""

    def select(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        states = args[0] if args else None
        if isinstance(states, Tensor) and states.dim() == 3 and states.shape[:2] == chosen.shape:
            return (states[chosen.to(states.device)], *args[1:])
        return args

    head = [] if model.base_model is model else list(model.named_children())
    hooks = [child.register_forward_pre_hook(select) for name, child in head if name != model.base_model_prefix]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def logits_at(logits: Tensor, chosen: Tensor) -> Tensor:
    """Return logits [chosen, classes], whether or not `head_at` could have the head leave out the others."""
    return logits if logits.dim() == 2 else logits[chosen]


def cosine_distance(student: Tensor, teacher: Tensor, attention_mask: Tensor) -> Tensor:
    """One minus the cosine of student's and teacher's states, a mean over tokens (Sanh et al. 2019, DistilBERT).

    Args:
        student: [batch, positions, hidden size].
        teacher: The same shape.
        attention_mask: [batch, positions], 1 for a token and 0 for padding, which does not count.

    Returns:
        A scalar in float32 (float64 for float64 inputs), from 0 to 2; 0 if there is no token.
    """
    real = attention_mask.bool()
    ours, theirs = (each[real].to(torch.promote_types(each.dtype, torch.float32)) for each in (student, teacher))
    return (1 - cosine_similarity(ours, theirs, dim=-1)).sum() / real.sum().clamp(min=1)
