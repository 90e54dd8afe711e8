"""How much faster students are than their teacher: encoders of BERT's shape, random weights, side by side.

    python -m benchmarks.encoders --output measured.json

It needs no network and no data. What it measures, and what came out, is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.report import machine, machine_rows, print_table
from bistill_hub.evaluation.speed import Quartiles, Speed, measure_speed
from bistill_hub.student.build import cut_model
from bistill_hub.student.layers import layer_map_for


def make_teacher(vocabulary: int, layers: int, width: int) -> Any:
    """Make an encoder of BERT's shape with random weights."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=max(1, width // 64),
    )
    return AutoModel.from_config(config).eval()


def make_student(teacher: Any, kept: int, layer_reduction_factor: int) -> Any:
    """Cut a student out of a teacher as phase 0 does: the first `kept` tokens, every n-th layer."""
    layers = layer_map_for(teacher.config.num_hidden_layers, layer_reduction_factor)
    return cut_model(teacher, torch.arange(kept), layers).eval()


def _quartiles(values: Quartiles, digits: int = 2) -> str:
    return f"{values.median:,.{digits}f} ({values.low:,.{digits}f} to {values.high:,.{digits}f})"


def rows_of(factor: int, speed: Speed) -> list[tuple[str, str]]:
    """Put a measurement into words: of each row, what it says and the number."""
    where = f"LRF {factor}, {speed.threads} thread{'' if speed.threads == 1 else 's'}"
    if speed.device != "cpu":
        where = f"LRF {factor}, {speed.hardware.gpu}"
    return [
        (f"{where}: teacher", f"{_quartiles(speed.teacher.milliseconds, 1)} ms"),
        (f"{where}: student", f"{_quartiles(speed.student.milliseconds, 1)} ms"),
        (f"{where}: teacher / student", _quartiles(speed.ratio)),
    ]


@click.command()
@click.option("--vocabulary", type=click.IntRange(min=10), default=119_547, show_default=True, help="The teacher's.")
@click.option("--kept", type=click.IntRange(min=10), default=40_000, show_default=True, help="The students'.")
@click.option("--layers", type=click.IntRange(min=2), default=12, show_default=True)
@click.option("--width", type=click.IntRange(min=8), default=768, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--length", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--factor", "factors", type=click.IntRange(min=1), multiple=True, default=(2, 3), show_default=True)
@click.option("--threads", type=click.IntRange(min=1), multiple=True, default=(1, 2), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
def main(
    vocabulary: int,
    kept: int,
    layers: int,
    width: int,
    batch_size: int,
    length: int,
    factors: tuple[int, ...],
    threads: tuple[int, ...],
    rounds: int,
    output: Path | None,
) -> None:
    """Time students beside their teacher, in turns, for each layer reduction factor (LRF)."""
    facts = machine()
    teacher = make_teacher(vocabulary, layers, width)
    found = {
        factor: [
            speed
            for speed in measure_speed(
                teacher,
                make_student(teacher, kept, factor),
                lengths=(length,),
                batch_size=batch_size,
                threads=threads,
                rounds=rounds,
            )
            if speed.batch == batch_size
        ]
        for factor in factors
    }
    print_table(
        [
            *machine_rows(facts),
            ("teacher", f"BERT, {layers} layers, width {width}, {vocabulary:,} tokens; of the students {kept:,}"),
            ("batch", f"{batch_size} x {length} tokens, float32"),
            ("rounds", str(rounds)),
            *(row for factor, speeds in found.items() for speed in speeds for row in rows_of(factor, speed)),
        ]
    )
    if output is not None:
        content = {"machine": facts, "speeds": {factor: [asdict(speed) for speed in found[factor]] for factor in found}}
        output.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
