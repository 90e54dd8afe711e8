"""How fast the entries of a ticket are chosen, beside a Python list with numpy's partition, and in how much memory.

    python -m benchmarks.selection

Each measurement is a process of its own, the two ways in turn. What came out is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.report import in_fresh_process, machine, machine_rows, peak_megabytes, print_table, spread, timed
from bistill_hub.distillation.lottery_ticket import Ticket, choose_ticket, ticket_size

WIDTH, LAYERS, VOCABULARY, POSITIONS = 640, 6, 20_540, 512
DENSITY = 0.08


def shapes(width: int, layers: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Name the parameters of a student shaped like BERT, without its LayerNorms, and give their shapes."""
    named: dict[str, tuple[int, ...]] = {"words": (vocabulary, width), "positions": (POSITIONS, width)}
    for layer in range(layers):
        matrices = {name: (width, width) for name in ("query", "key", "value", "output")}
        matrices |= {"up": (4 * width, width), "down": (width, 4 * width)}
        for name, shape in matrices.items():
            named |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    return named


def moved_parameters(small: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Make parameters, before and after training; no more memory is taken than they need."""
    generator = torch.Generator().manual_seed(0)
    start, tuned = {}, {}
    for name, shape in shapes(*(32, 2, 400) if small else (WIDTH, LAYERS, VOCABULARY)).items():
        start[name] = torch.empty(shape).normal_(0, 0.02, generator=generator)
        tuned[name] = torch.empty(shape)
        before, after = start[name].view(-1), tuned[name].view(-1).normal_(0, 1e-3, generator=generator)
        after.add_(before)
    return start, tuned


def by_list(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], entries: int) -> Ticket:
    """Choose as is often done: all distances in a Python list, the threshold by numpy's partition."""
    distances: list[float] = []
    for name in start:
        distances.extend((tuned[name] - start[name]).abs().view(-1).tolist())
    threshold = np.partition(distances, len(distances) - entries)[len(distances) - entries]
    moved = ((name, ((tuned[name] - start[name]).abs() >= threshold).view(-1)) for name in start)
    return {name: chosen.nonzero().flatten() for name, chosen in moved if chosen.any()}


WAYS: dict[str, Callable[..., Ticket]] = {"choose_ticket": choose_ticket, "a Python list": by_list}


def measure(way: str, small: bool) -> dict[str, Any]:
    """Choose once, in this process."""
    start, tuned = moved_parameters(small)
    total = sum(tensor.numel() for tensor in start.values())
    entries = round(DENSITY * total)
    WAYS[way](*({"warm": torch.arange(9.0) * sign} for sign in (0, 1)), 3)
    before = peak_megabytes()
    found: list[Ticket] = []
    seconds, processor_seconds = timed(lambda: found.append(WAYS[way](start, tuned, entries)))
    return {
        "way": way,
        "parameters": total,
        "entries": entries,
        "chosen": ticket_size(found[0]),
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "megabytes_before": before,
        "megabytes_extra": peak_megabytes() - before,
    }


def rows(samples: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put measurements into words: medians over the rounds, with the quartiles in brackets."""
    first = samples[0]
    of = {way: [sample for sample in samples if sample["way"] == way] for way in WAYS}
    pairs = list(zip(*of.values(), strict=True))
    return [
        ("parameters, and entries to choose", f"{first['parameters']:,} and {first['entries']:,}"),
        *((f"entries chosen, {way}", f"{of[way][0]['chosen']:,}") for way in WAYS),
        *((f"time, {way}", f"{spread([s['seconds'] for s in of[way]])} s") for way in WAYS),
        *(
            (name, spread([slow[clock] / fast[clock] for fast, slow in pairs], 1))
            for name, clock in (
                ("time of a Python list / choose_ticket", "seconds"),
                ("the same, processor time", "processor_seconds"),
            )
        ),
        *((f"extra memory, {way}", f"{spread([s['megabytes_extra'] for s in of[way]], 0)} MB") for way in WAYS),
        ("memory before it", f"{spread([s['megabytes_before'] for s in samples], 0)} MB"),
    ]


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each is measured.")
@click.option("--small", is_flag=True, help="A tiny student, to try the command.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
@click.option("--only", type=click.Choice(list(WAYS)), hidden=True)
def main(rounds: int, small: bool, output: Path | None, only: str | None) -> None:
    """Measure the choice among 43 million entries."""
    if only is not None:
        click.echo(json.dumps(measure(only, small)))
        return
    size = ["--small"] if small else []
    samples = [
        in_fresh_process("benchmarks.selection", "--only", way, *size)
        for number in range(rounds)
        for way in (list(WAYS) if number % 2 else reversed(WAYS))
    ]
    print_table([*machine_rows(machine()), ("rounds", str(rounds)), *rows(samples)])
    if output is not None:
        output.write_text(json.dumps({"machine": machine(), "samples": samples}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
