"""What it costs to split an update of phase 1: into smaller batches, or over two processes.

    python -m benchmarks.update_split

Every way makes the same updates of 8 rows of 256 tokens. Teacher and student are those of `distillation_step`. What
came out is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from datasets import Dataset
from transformers import PrinterCallback

from benchmarks.distillation_step import LENGTHS, ROWS, Clock, models, rows_of_text
from benchmarks.report import CHECKOUT, machine, machine_rows, peak_megabytes, print_table, quartiles, spread
from bistill_hub.distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer
from bistill_hub.pipeline.processes import part

WAYS = {
    "8 x 1": (8, 1, 1),
    "4 x 2": (4, 2, 1),
    "2 x 4": (2, 4, 1),
    "1 x 8": (1, 8, 1),
    "two processes, 4 x 2": (4, 1, 2),
}
"""Rows of a batch, batches that a process accumulates, and processes, of which each takes whole batches."""

WHOLE = "8 x 1"
PRECISIONS: dict[str, dict[str, Any]] = {"fp32": {}, "bf16": {"bf16": True, "teacher_precision": "bf16"}}


def measure(way: str, precision: str, steps: int, small: bool) -> dict[str, Any]:
    """Make some updates in this process, or its part of them; the first is not timed.

    Returns:
        The way, losses, seconds of the updates, and the most memory in MB, of all processes together.
    """
    batch, accumulation, processes = WAYS[way]
    teacher, student = models(1, small)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = BilingualDistillationArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            ddp_find_unused_parameters=False,
            **PRECISIONS[precision],
        )
        data = Dataset.from_list(rows_of_text(1, steps, small))
        trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=data)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        trainer.train()
        del trainer
    memory = torch.tensor(peak_megabytes())
    if processes > 1:
        torch.distributed.all_reduce(memory)
        part()
    seconds = [taken for taken, _ in clock.seconds(0)[1:]]
    return {"way": way, "losses": clock.losses[0], "seconds": seconds, "megabytes": float(memory)}


def in_processes(way: str, *arguments: str) -> dict[str, Any]:
    """Measure a way in fresh processes, as many as it asks for, which share this machine's cores."""
    processes = WAYS[way][2]
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [*start, "benchmarks.update_split", "--only", way, "--output", str(found), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, threads // processes))}
        subprocess.run(command, cwd=CHECKOUT, check=True, env=environment, stdout=subprocess.DEVNULL)
        sample: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
        return sample


def table_of(samples: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put measurements into words: medians over all updates with the quartiles, and ratios of the rounds' medians."""
    of = {way: [sample for sample in samples if sample["way"] == way] for way in WAYS}
    table = []
    for way, found in of.items():
        table.append((f"an update, {way}", f"{spread([second for each in found for second in each['seconds']])} s"))
    for what, key, digits in (("time", "seconds", 2), ("memory", "megabytes", 2)):
        whole = [_middle(sample[key]) for sample in of[WHOLE]]
        for way, found in of.items():
            if way != WHOLE:
                ratios = [_middle(sample[key]) / other for sample, other in zip(found, whole, strict=True)]
                table.append((f"{what} of {way} / {WHOLE}", spread(ratios, digits)))
    for way, found in of.items():
        table.append((f"most memory, {way}", f"{spread([sample['megabytes'] for sample in found], 0)} MB"))
    first, last = (max(abs(s["losses"][at] - samples[0]["losses"][at]) for s in samples) for at in (0, -1))
    return [*table, ("losses differ by at most, first and last update", f"{first:.1e} and {last:.1e}")]


def _middle(numbers: Any) -> float:
    return quartiles(numbers)[0] if isinstance(numbers, list) else float(numbers)


@click.command()
@click.option("--precision", type=click.Choice(list(PRECISIONS)), default="fp32", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is measured.")
@click.option("--steps", type=click.IntRange(min=2), default=4, show_default=True, help="Updates, the first not timed.")
@click.option("--small", is_flag=True, help="Tiny models, to try the command.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
@click.option("--only", type=click.Choice(list(WAYS)), hidden=True)
def main(precision: str, rounds: int, steps: int, small: bool, output: Path | None, only: str | None) -> None:
    """Measure an update of phase 1 in several splits, in fresh processes in turn."""
    if only is not None:
        sample = measure(only, precision, steps, small)
        if output is not None and os.environ.get("RANK", "0") == "0":
            output.write_text(json.dumps(sample), encoding="utf-8")
        return
    words = ["--precision", precision, "--steps", str(steps), *(["--small"] if small else [])]
    ways = list(WAYS)
    samples = [
        in_processes(way, *words) for number in range(rounds) for way in (ways if number % 2 == 0 else reversed(ways))
    ]
    facts = [("an update", f"{ROWS} x {LENGTHS[1]} tokens, {precision}"), ("rounds", f"{rounds} of {steps} updates")]
    print_table([*machine_rows(machine()), *facts, *table_of(samples)])
    if output is not None:
        output.write_text(json.dumps({"machine": machine(), "samples": samples}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
