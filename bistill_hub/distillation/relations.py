"""Reads a layer's queries, keys and values while a model runs, for the relations of MiniLMv2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..student.backbones import backbone_for


def projections_of(model: PreTrainedModel, layer: int) -> tuple[nn.Module, ...]:
    """Return the linear modules that make a layer's queries, keys and values: one for each, or one for all three.

    Args:
        model: A model with or without a head.
        layer: 0-based.
    """
    backbone = backbone_for(model.config)
    return tuple(
        model.base_model.get_submodule(f"{backbone.layer_prefix}{layer}.{name}") for name in backbone.projections
    )


@contextmanager
def projecting(modules: tuple[nn.Module, ...]) -> Iterator[list[Tensor]]:
    """Collect what the modules return while a model runs.

    Yields:
        A list that holds queries, keys and values [batch, positions, hidden size] after the model has run. Where a
        module is run several times, as for the relative positions of DeBERTa, the first time counts.
    """
    first: dict[int, Tensor] = {}
    found: list[Tensor] = []

    def hook(place: int) -> Any:
        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            first.setdefault(place, output)

        return note

    hooks = [module.register_forward_hook(hook(place)) for place, module in enumerate(modules)]
    try:
        yield found
    finally:
        for each in hooks:
            each.remove()
        outputs = [first[place] for place in sorted(first)]
        found.extend(outputs if len(outputs) != 1 else torch.chunk(outputs[0], 3, dim=-1))
