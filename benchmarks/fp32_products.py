"""How long a linear layer takes in fp32 by torch's own product and by oneDNN's, forwards and backwards.

    python -m benchmarks.fp32_products

Both are measured whatever `bistill_hub.fp32_products` would choose on this machine, in turn. What came out is in
docs/benchmarks.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import torch
from torch import nn

from benchmarks.report import machine, machine_rows, print_table, spread
from bistill_hub.fp32_products import LEFT_TO_TORCH, ONEDNN, VARIABLE, faster_fp32_products, is_chosen
from bistill_hub.freed_memory import freed_memory_kept

SHAPES = ((512, 64, 256), (2048, 256, 256), (2048, 256, 1024), (1024, 768, 3072), (2048, 768, 768), (2048, 3072, 768))
"""Tokens of a batch, and how wide a layer's inputs and outputs are: from a small model to BERT base."""

SMALL = ((512, 64, 256),)
_MILLISECONDS = 1000


@contextmanager
def multiplied_by(library: str) -> Iterator[None]:
    """Have linear layers multiply by one library, whatever a user says."""
    said = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = library
    try:
        with faster_fp32_products():
            yield
    finally:
        del os.environ[VARIABLE]
        if said is not None:
            os.environ[VARIABLE] = said


def seconds_of(layer: nn.Linear, input: torch.Tensor, gradient: torch.Tensor) -> float:
    """Give the seconds of a layer's output and all its gradients."""
    started = time.perf_counter()
    layer(input).backward(gradient)
    return time.perf_counter() - started


def measure(shape: tuple[int, int, int], rounds: int) -> dict[str, list[float]]:
    """Measure both libraries in turn; the first round is not counted.

    Returns:
        Seconds by library.
    """
    tokens, narrow, wide = shape
    layer, input = nn.Linear(narrow, wide), torch.randn(tokens, narrow, requires_grad=True)
    gradient = torch.randn(tokens, wide)
    found: dict[str, list[float]] = {LEFT_TO_TORCH: [], ONEDNN: []}
    for number in range(rounds + 1):
        for library, seconds in found.items():
            with multiplied_by(library):
                took = seconds_of(layer, input, gradient)
            if number:
                seconds.append(took)
    return found


def compared(shape: tuple[int, int, int], found: dict[str, list[float]]) -> list[tuple[str, str]]:
    """Put a shape's samples into words: what torch takes, and how many times as fast oneDNN is."""
    tokens, narrow, wide = shape
    name = f"{tokens:,} tokens, {narrow:,} to {wide:,}"
    ratios = [one / other for one, other in zip(found[LEFT_TO_TORCH], found[ONEDNN], strict=True)]
    return [
        (f"{name}: torch", f"{spread([_MILLISECONDS * each for each in found[LEFT_TO_TORCH]], 1)} ms"),
        (f"{name}: time of torch / oneDNN", spread(ratios)),
    ]


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=25, show_default=True, help="How often each is measured.")
@click.option("--small", is_flag=True, help="One small shape, to try the command.")
def main(rounds: int, small: bool) -> None:
    """Measure linear layers in fp32 by both libraries, in turn."""
    table = [*machine_rows(machine()), ("vectors, as torch says", torch.backends.cpu.get_cpu_capability())]
    table.append(("chosen here", "oneDNN" if is_chosen() else "torch"))
    with freed_memory_kept():
        for shape in SMALL if small else SHAPES:
            table += compared(shape, measure(shape, rounds))
    print_table(table)


if __name__ == "__main__":
    main()
