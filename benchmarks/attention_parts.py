"""How many rows of a batch are best compared at once, where attention is distilled on a CPU.

    python -m benchmarks.attention_parts

One layer's attention, forward and backward, with the teacher's probabilities at hand: row by row, in as many rows as
`bistill_hub.distillation.reading` takes together, and the batch as a whole, in turn. What came out is in
docs/benchmarks.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import torch
from torch import nn

from benchmarks.report import machine, machine_rows, print_table, spread
from bistill_hub.distillation import reading

SHAPES = ((32, 4, 32, 32), (32, 4, 64, 32), (32, 8, 128, 32), (8, 12, 128, 64), (8, 12, 256, 64))
"""Batch, heads, positions, head size: from short sentences in the demonstration's models to BERT base."""

SMALL = ((4, 2, 8, 4),)
WAYS = {"row by row": 0, "in parts": reading._PART_BYTES, "at once": 2**62}
"""How many bytes of probabilities are compared together."""

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MILLISECONDS = 1000


@contextmanager
def together(part_bytes: int) -> Iterator[None]:
    """Have so many bytes of probabilities compared at once."""
    chosen = reading._PART_BYTES
    reading._PART_BYTES = part_bytes
    try:
        yield
    finally:
        reading._PART_BYTES = chosen


def comparison(shape: tuple[int, int, int, int], dtype: torch.dtype) -> float:
    """Give the seconds that a layer takes to attend, to be compared, and to find its gradients."""
    module = nn.Identity()
    query, key, value, of_output = (torch.randn(shape, dtype=dtype) for _ in range(4))
    for leaf in (query, key, value):
        leaf.requires_grad_()
    target = torch.rand(*shape[:3], shape[2], dtype=torch.float32).softmax(dim=-1).to(dtype)
    errors = reading.AttentionErrors({module: 0}, {0: reading.Attention((target,))}, None)
    started = time.perf_counter()
    output = errors(module, query, key, value, None, 0.1, 0.0)
    assert output is not None
    torch.autograd.backward([output, errors.sums[0]], [of_output, torch.ones_like(errors.sums[0])])
    return time.perf_counter() - started


def measure(shape: tuple[int, int, int, int], dtype: torch.dtype, rounds: int) -> dict[str, list[float]]:
    """Compare in each way in turn; the first round is not counted.

    Returns:
        Seconds by way.
    """
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way, part_bytes in WAYS.items():
            with together(part_bytes):
                seconds = comparison(shape, dtype)
            if number:
                found[way].append(seconds)
    return found


def compared(name: str, found: dict[str, list[float]]) -> list[tuple[str, str]]:
    """Put one shape's samples into words: how long row by row takes, and how many times as fast the others are."""
    slowest, *others = WAYS
    table = [(f"{name}: {slowest}", f"{spread([_MILLISECONDS * each for each in found[slowest]], 1)} ms")]
    for way in others:
        ratios = [one / other for one, other in zip(found[slowest], found[way], strict=True)]
        table.append((f"{name}: time of {slowest} / {way}", spread(ratios)))
    return table


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="How often each is measured.")
@click.option("--small", is_flag=True, help="One tiny shape, to try the command.")
def main(rounds: int, small: bool) -> None:
    """Compare attention row by row, in parts and at once, in turn."""
    table = [*machine_rows(machine())]
    for precision, dtype in TYPES.items():
        for shape in SMALL if small else SHAPES:
            batch, heads, positions, _ = shape
            table += compared(f"{precision}, {batch} x {positions}, {heads} heads", measure(shape, dtype, rounds))
    print_table(table)


if __name__ == "__main__":
    main()
