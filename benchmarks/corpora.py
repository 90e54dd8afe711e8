"""Whether memory grows with the corpus that is packed and read, and how fast packing is beside its tokenizer.

    python -m benchmarks.corpora --tokenizer FOLDER --text en.txt --text sw.txt --output measured.json

It needs no network, and Linux. What it measures, and what came out, is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.report import in_fresh_process, machine, machine_rows, print_table, spread


def slope(packed: Sequence[dict[str, Any]], what: str) -> float:
    """Give the bytes of memory that a byte of text adds, by least squares over the sizes."""
    sizes = [each["bytes"] / 1e6 for each in packed]
    return float(np.polyfit(sizes, [each[what] for each in packed], 1)[0])


def _sized(packed: Sequence[dict[str, Any]], what: str) -> list[tuple[str, str]]:
    name = {"megabytes_packing": "packing", "megabytes_reading": "reading an epoch"}[what]
    rows = [
        (f"most private memory, {name}, {each['bytes'] / 1e6:,.4g} MB of text", f"{each[what]:,.1f} MB")
        for each in packed
    ]
    if len({each["bytes"] for each in packed}) > 1:
        rows.append((f"the same, bytes a byte of text, {name}", f"{slope(packed, what):.5f}"))
    return rows


def rows(packed: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put measurements into words: of each row, what it says and the number."""
    samples = [sample for each in packed for sample in each["samples"]]
    largest = packed[-1]
    alone = sum(size for size, _, _ in samples) / sum(seconds for _, _, seconds in samples)
    packing = sum(each["bytes"] for each in packed) / sum(each["seconds"] for each in packed)
    return [
        ("largest text", f"{largest['bytes'] / 1e6:,.4g} MB in {largest['blocks']:,} blocks"),
        ("Arrow files, bytes a byte of text", f"{largest['arrow_bytes'] / largest['bytes']:.2f}"),
        ("private memory once the tokenizer is loaded", f"{largest['megabytes_loaded']:,.1f} MB"),
        *_sized(packed, "megabytes_packing"),
        *_sized(packed, "megabytes_reading"),
        ("the tokenizer alone", f"{spread([size / 1e6 / seconds for size, _, seconds in samples])} MB/s"),
        ("packing", f"{spread([size / 1e6 / seconds for size, seconds, _ in samples])} MB/s"),
        ("time of packing / tokenizer alone", spread([seconds / by_itself for _, seconds, by_itself in samples])),
        ("the same over all text, writing included", f"{alone / packing:.2f}"),
        ("reading batches, a batch", f"{largest['reading_seconds'] / largest['batches'] * 1e3:.2f} ms"),
        ("reading batches", f"{largest['tokens_read'] / largest['reading_seconds'] / 1e6:.2f} million tokens/s"),
    ]


@click.command()
@click.option(
    "--tokenizer",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="A model's folder, for its tokenizer.",
)
@click.option(
    "--text",
    "texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="A file of UTF-8 text, one for each language; give it once for each.",
)
@click.option(
    "--megabytes",
    "sizes",
    type=click.FloatRange(min=0.01),
    multiple=True,
    default=(100, 300, 1000),
    show_default=True,
    help="Of all languages together, in millions of bytes; give it once for each size.",
)
@click.option("--block-size", type=click.IntRange(min=8), default=256, show_default=True, help="Tokens in a block.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Blocks in a batch.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
def main(
    tokenizer: Path,
    texts: tuple[Path, ...],
    sizes: tuple[float, ...],
    block_size: int,
    batch_size: int,
    output: Path | None,
) -> None:
    """Pack text of several sizes, each in a fresh process, and read an epoch of it."""
    facts = machine("RAYON_NUM_THREADS")
    packed: list[dict[str, Any]] = []
    for seed, size in enumerate(sorted(sizes)):
        found = in_fresh_process(
            "benchmarks.pack",
            tokenizer.resolve(),
            *(path.resolve() for path in texts),
            *("--megabytes", size, "--seed", seed, "--block-size", block_size, "--batch-size", batch_size),
        )
        packed.append({"megabytes": size, **found})
        if output is not None:  # after each size: the largest may take long
            output.write_text(json.dumps({"machine": facts, "packed": packed}, indent=1), encoding="utf-8")
    print_table(
        [
            *machine_rows(facts, "the tokenizer"),
            ("drawn from", ", ".join(path.name for path in texts)),
            ("blocks and batches", f"{block_size} tokens, {batch_size} blocks"),
            *rows(packed),
        ]
    )


if __name__ == "__main__":
    main()
