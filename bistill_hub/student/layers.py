"""Which teacher layer each student layer starts as."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

from ..errors import InputError

LayerChoice = Literal["spread", "bottom", "top"]
"""How a number of layers is chosen from the teacher's."""


def layer_map_for(
    num_layers: int,
    layer_reduction_factor: int = 2,
    layer_map: Sequence[int] | None = None,
    *,
    choice: LayerChoice | None = None,
    kept: int | None = None,
) -> tuple[int, ...]:
    """Name the teacher layers that the student keeps.

    Of n teacher layers k are kept: `kept`, or n / `layer_reduction_factor`. Layers count from 0, i from 0 to k - 1.

    - "spread": student layer i starts as teacher layer round((i + 1) * n / k) - 1, halves rounded up. The last layers
      of both coincide, and where k divides n this is `(i + 1) * layer_reduction_factor - 1` (Ansell et al. 2023,
      section 3.1).
    - "bottom": it starts as teacher layer i.
    - "top": it starts as teacher layer n - k + i.

    Args:
        num_layers: How many layers the teacher has.
        layer_reduction_factor: Teacher layers for each student layer (LRF); it has to divide `num_layers`.
        layer_map: 0-based teacher layers in increasing order, one for each student layer; it replaces all the others.
        choice: One of the three above; "spread" if None.
        kept: How many layers the student has, from 1 to `num_layers`; it replaces the factor.

    Returns:
        0-based teacher layers in increasing order, one for each student layer.

    Raises:
        InputError: the factor does not divide the layer count, the number of layers is out of range, the choice is
            unknown, or the map is empty, out of range or not increasing.
    """
    if layer_map is not None:
        return _checked(num_layers, tuple(layer_map))
    if choice is not None and choice not in get_args(LayerChoice):
        raise InputError(
            "there is no such choice of layers",
            field="layer_choice",
            value=choice,
            remedy=f"choose one of {', '.join(get_args(LayerChoice))}, or name the layers in layer_map",
        )
    if kept is None:
        kept = _quotient(num_layers, layer_reduction_factor)
    elif not 1 <= kept <= num_layers:
        raise InputError(
            f"the teacher has {num_layers} layers",
            field="layers",
            value=kept,
            remedy=f"choose a number from 1 to {num_layers}",
        )
    if choice == "bottom":
        return tuple(range(kept))
    if choice == "top":
        return tuple(range(num_layers - kept, num_layers))
    return tuple((2 * (layer + 1) * num_layers + kept) // (2 * kept) - 1 for layer in range(kept))


def _quotient(num_layers: int, layer_reduction_factor: int) -> int:
    if layer_reduction_factor < 1 or num_layers % layer_reduction_factor:
        divisors = [factor for factor in range(1, num_layers + 1) if num_layers % factor == 0]
        raise InputError(
            f"the factor does not divide the teacher's {num_layers} layers",
            field="layer_reduction_factor",
            value=layer_reduction_factor,
            remedy=f"choose one of {divisors}, give the number of layers to keep, or name them in layer_map",
        )
    return num_layers // layer_reduction_factor


def _checked(num_layers: int, layer_map: tuple[int, ...]) -> tuple[int, ...]:
    if not layer_map:
        problem = "the map names no layer"
    elif any(later <= earlier for earlier, later in pairwise(layer_map)):
        problem = "the map is not strictly increasing"
    elif layer_map[0] < 0 or layer_map[-1] >= num_layers:
        problem = f"the map names a layer that the teacher, with {num_layers} layers, does not have"
    else:
        return layer_map
    raise InputError(
        problem,
        field="layer_map",
        value=layer_map,
        remedy=f"name teacher layers from 0 to {num_layers - 1}, each once and in increasing order",
    )
