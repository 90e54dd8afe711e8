"""How fast a large vocabulary is cut, beside the tokenizer's own speed and Python loops, and in how much memory.

    python -m benchmarks.vocabulary --text en.txt --text sw.txt

It needs no network. What it measures, and what came out, is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.material import KINDS, make_tokenizer
from benchmarks.report import in_fresh_process, machine, machine_rows, print_table, spread

CLOCK, PROCESSORS = 0, 1


def cut(tokenizer: Path, texts: Sequence[Path], megabytes: float, seed: int) -> dict[str, Any]:
    """Measure one cut in a fresh process."""
    measured = in_fresh_process("benchmarks.cut", tokenizer, *texts, "--megabytes", megabytes, "--seed", seed)
    return {"megabytes": megabytes, **measured}


def _ratios(samples: Sequence[dict[str, Any]], above: str, below: str, clock: int) -> list[float]:
    return [sample[above][clock] / sample[below][clock] for sample in samples if above in sample]


def _ratio_beyond_the_tokenizer(samples: Sequence[dict[str, Any]]) -> float:
    """Compare the processor time of a loop and of `count_tokens`, each less the tokenizer's own for the same lines."""
    looped = [sample for sample in samples if "line_by_line" in sample]
    loop, counting, alone = (
        float(np.sum([sample[what][PROCESSORS] for sample in looped]))
        for what in ("line_by_line", "count_tokens", "alone")
    )
    return (loop - alone) / (counting - alone)


def _counting(cuts: Sequence[dict[str, Any]], what: str, clock: int) -> float:
    """Give the seconds that counting took on the blocks where loops were measured, and for what waited at the end."""
    seconds = sum(sample[what][clock] for each in cuts for sample in each["samples"] if what in sample)
    if what == "counting":
        seconds += sum(rest[clock] for each in cuts for rest in each["counting_the_rest"])
    return float(seconds)


def _speeds(samples: Sequence[dict[str, Any]], what: str) -> list[float]:
    return [sample["bytes"] / 1e6 / sample[what][CLOCK] for sample in samples if what in sample]


def rows(cuts: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put measurements into words: of each row, what it says and the number.

    Speeds and ratios to the tokenizer are medians over blocks of lines, of all cuts, with the quartiles in brackets.
    What counting takes is the sum over blocks, of all cuts: ids wait until there are many of them.
    """
    samples = list(chain.from_iterable(each["samples"] for each in cuts))
    if not samples:
        raise click.UsageError("the text is too small to be measured: ask for more --megabytes")
    small, large = cuts[0], cuts[-1]
    counted = sum(sample.get("tokens", 0) for sample in samples)
    each_token = {
        what: f"{_counting(cuts, what, CLOCK) / counted * 1e9:,.0f} ns a token"
        for what in ("reading", "into_counter", "into_list", "counting")
    }
    loops = {
        (what, clock): f"{_counting(cuts, what, clock) / _counting(cuts, 'counting', clock):.1f}"
        for what in ("into_counter", "into_list")
        for clock in (CLOCK, PROCESSORS)
    }
    table = [
        ("vocabulary, before and after", f"{large['vocabulary']:,} and {large['vocabulary_kept']:,} tokens"),
        ("text", f"{large['bytes'] / 1e6:,.0f} MB, {large['lines']:,} lines, {large['total']:,} tokens"),
        ("bytes a token", f"{large['bytes'] / large['total']:.2f}"),
        ("the tokenizer alone", f"{spread(_speeds(samples, 'alone'))} MB/s"),
        ("count_tokens", f"{spread(_speeds(samples, 'count_tokens'))} MB/s"),
        ("a loop, line by line", f"{spread(_speeds(samples, 'line_by_line'))} MB/s"),
        ("time of count_tokens / tokenizer alone", spread(_ratios(samples, "count_tokens", "alone", CLOCK))),
        ("the same, processor time", spread(_ratios(samples, "count_tokens", "alone", PROCESSORS))),
        (
            "time of a loop, line by line / count_tokens",
            spread(_ratios(samples, "line_by_line", "count_tokens", CLOCK)),
        ),
        ("the same beyond the tokenizer alone, processor time", f"{_ratio_beyond_the_tokenizer(samples):.1f}"),
        ("reading ids out of the tokenizer's encodings", each_token["reading"]),
        ("counting ids, a loop with a Counter", each_token["into_counter"]),
        ("counting ids, a loop with a list", each_token["into_list"]),
        ("counting ids, count_tokens", each_token["counting"]),
        ("time of counting, Counter / count_tokens", loops["into_counter", CLOCK]),
        ("the same, processor time", loops["into_counter", PROCESSORS]),
        ("time of counting, list / count_tokens", loops["into_list", CLOCK]),
        ("the same, processor time", loops["into_list", PROCESSORS]),
        ("select_tokens", f"{spread([each['select_tokens'][CLOCK] for each in cuts])} s"),
        ("trim_tokenizer", f"{spread([each['trim_tokenizer'][CLOCK] for each in cuts])} s"),
        ("memory once the tokenizer is loaded", f"{large['megabytes_loaded']:,.0f} MB"),
        ("most memory until all is counted", f"{large['megabytes_counted']:,.0f} MB"),
    ]
    for each in (small, large):
        table.append((f"most memory, {each['bytes'] / 1e6:,.4g} MB of text", f"{each['megabytes_peak']:,.0f} MB"))
    return table


def _settings(kind: str, texts: Sequence[Path], rounds: int) -> list[tuple[str, str]]:
    return [
        *machine_rows(machine("RAYON_NUM_THREADS"), "the tokenizer"),
        ("tokenizer", f"{kind}, its cache of words left as it is"),
        ("drawn from", ", ".join(path.name for path in texts)),
        ("rounds", str(rounds)),
    ]


@click.command()
@click.option(
    "--text",
    "texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="A file of UTF-8 text, one for each corpus; give it once for each.",
)
@click.option(
    "--megabytes",
    type=click.FloatRange(min=0.1),
    default=1000,
    show_default=True,
    help="Of all corpora together, in millions of bytes.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=500),
    default=250_000,
    show_default=True,
    help="Size of the vocabulary that is cut.",
)
@click.option("--kind", type=click.Choice(KINDS), default="unigram", show_default=True, help="The tokenizer's model.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="How often each size is measured."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
def main(texts: tuple[Path, ...], megabytes: float, tokens: int, kind: str, rounds: int, output: Path | None) -> None:
    """Measure how a vocabulary is cut, with a tenth of the text first and with all of it then."""
    texts = tuple(path.resolve() for path in texts)
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer(kind, texts, tokens).save_pretrained(folder)
        sizes = [megabytes / 10] * rounds + [megabytes] * rounds
        cuts = [cut(Path(folder), texts, size, seed) for seed, size in enumerate(sizes)]
    table = _settings(kind, texts, rounds) + rows(cuts)
    print_table(table)
    if output is not None:
        output.write_text(
            json.dumps({"machine": machine("RAYON_NUM_THREADS"), "kind": kind, "cuts": cuts}, indent=1),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
