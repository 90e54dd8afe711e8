"""What it gains that freed memory stays with the process while a model is trained.

    python -m benchmarks.freed_memory
    python -m benchmarks.freed_memory --phase 2

Five steps of a training keep it, five give it back, in turn, as `bistill_hub.freed_memory` has glibc do; the first of
five is not counted, since what the steps before it left counts there. Teacher and student are those of
`distillation_step`. What came out is in docs/benchmarks.md.
"""

from __future__ import annotations

import os
import resource
from itertools import pairwise
from typing import Any

import click

from benchmarks.distillation_step import LEFT_TO_GLIBC, LENGTHS, ROWS, WAYS, Clock, by_trainer
from benchmarks.report import machine, machine_rows, print_table, quartiles, spread
from bistill_hub import freed_memory

KEPT, GIVEN_BACK = "kept", "given back"
STRETCH = 5
TURNS = (*[KEPT] * STRETCH, *[GIVEN_BACK] * STRETCH)
_MILLISECONDS = 1000


class Turns(Clock):
    """A clock that has glibc keep memory or give it back, in turn, and counts the pages that Linux hands out."""

    def __init__(self, library: Any) -> None:
        super().__init__()
        self.library = library
        self.usage: list[tuple[int, float]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Choose for this step; of phase 2 only the dense stage is of interest, the sparse one is a step by itself."""
        way = TURNS[state.global_step % len(TURNS)]
        freed_memory.tell(self.library, freed_memory.KEPT if way == KEPT else freed_memory.GIVEN_BACK)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time and the pages."""
        super().on_step_end(args, state, control, **kwargs)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.usage.append((usage.ru_minflt, usage.ru_stime))


def measure(library: Any, phase: int, way: str, steps: int, small: bool) -> dict[str, list[dict[str, float]]]:
    """Train some steps in this process.

    Returns:
        For memory that is kept and that is given back: of each step its seconds, the pages that Linux handed out, and
        the seconds that Linux itself worked; the first of each stretch left out.
    """
    clock = Turns(library)
    by_trainer(phase, steps, small, {**WAYS[way], LEFT_TO_GLIBC: True}, clock)
    found: dict[str, list[dict[str, float]]] = {KEPT: [], GIVEN_BACK: []}
    spent = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(clock.usage[:steps])]
    for number, ((seconds, _), (pages, system)) in enumerate(zip(clock.seconds(0)[1:], spent, strict=True), start=1):
        sample = {"seconds": seconds, "pages": pages, "system": system}
        if number % STRETCH:
            found[TURNS[number % len(TURNS)]].append(sample)
    return found


def rows(found: dict[str, list[dict[str, float]]]) -> list[tuple[str, str]]:
    """Put the samples into words: medians with the quartiles, the least step of each, and ratios of both."""
    seconds = {way: [sample["seconds"] for sample in samples] for way, samples in found.items()}
    table = [(f"a step, {way}", f"{spread(seconds[way])} s") for way in found]
    table += [(f"the least of {len(seconds[way])} steps, {way}", f"{min(seconds[way]):.2f} s") for way in found]
    middle, least = ({way: of(seconds[way]) for way in found} for of in (lambda all_: quartiles(all_)[0], min))
    for what, value in (("", middle), ("the least, ", least)):
        table.append((f"{what}{GIVEN_BACK} / {KEPT}", f"{value[GIVEN_BACK] / value[KEPT]:.2f}"))
    for way, samples in found.items():
        table.append((f"pages handed out in a step, {way}", spread([sample["pages"] for sample in samples], 0)))
    for way, samples in found.items():
        worked = [_MILLISECONDS * sample["system"] for sample in samples]
        table.append((f"Linux worked for a step, {way}", f"{spread(worked, 0)} ms"))
    return table


@click.command()
@click.option("--phase", type=click.IntRange(1, 2), default=1, show_default=True, help="Which phase's step.")
@click.option("--way", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="The precision.")
@click.option("--steps", type=click.IntRange(min=2 * STRETCH), default=40, show_default=True, help="How many steps.")
@click.option("--small", is_flag=True, help="Tiny models, to try the command.")
def main(phase: int, way: str, steps: int, small: bool) -> None:
    """Train for some steps, and let memory stay and go in turn."""
    library = freed_memory.glibc()
    if library is None or any(name in os.environ for name in freed_memory.VARIABLES):
        raise click.ClickException(f"needs glibc, and none of {', '.join(freed_memory.VARIABLES)} set")
    found = measure(library, phase, way, steps, small)
    facts = [("phase", str(phase)), ("precision", way), ("batch", f"{ROWS} x {LENGTHS[phase]}")]
    print_table([*machine_rows(machine()), *facts, *rows(found)])


if __name__ == "__main__":
    main()
