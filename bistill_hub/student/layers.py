"""Which teacher layer each student layer starts as."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..errors import InputError


def layer_map_for(
    num_layers: int, layer_reduction_factor: int = 2, layer_map: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Name the teacher layers that the student keeps.

    Student layer i (0-based) starts as teacher layer `(i + 1) * layer_reduction_factor - 1`, so the last layers of both
    coincide (Ansell et al. 2023, section 3.1).

    Args:
        num_layers: How many layers the teacher has.
        layer_reduction_factor: Teacher layers for each student layer (LRF); it has to divide `num_layers`.
        layer_map: 0-based teacher layers in increasing order, one for each student layer; it replaces the factor's.

    Returns:
        0-based teacher layers in increasing order, one for each student layer.

    Raises:
        InputError: the factor does not divide the layer count, or the map is empty, out of range or not increasing.
    """
    if layer_map is not None:
        return _checked(num_layers, tuple(layer_map))
    if layer_reduction_factor < 1 or num_layers % layer_reduction_factor:
        divisors = [factor for factor in range(1, num_layers + 1) if num_layers % factor == 0]
        raise InputError(
            f"the factor does not divide the teacher's {num_layers} layers",
            field="layer_reduction_factor",
            value=layer_reduction_factor,
            remedy=f"choose one of {divisors}, or name the layers in layer_map",
        )
    return tuple(range(layer_reduction_factor - 1, num_layers, layer_reduction_factor))


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
