"""Cut a vocabulary once, in a process of its own, and tell what it took, as JSON: what `vocabulary` starts.

While `count_tokens` reads the text, the text's own iterator measures, between two blocks of lines, how long others need
for the same block, so that all are measured under the same load of the machine.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from transformers import PreTrainedTokenizerFast

from benchmarks.material import blocks
from benchmarks.report import peak_megabytes, timed
from bistill_hub.student.token_counts import (
    BATCH_CHARACTERS,
    TokenCounter,
    count_tokens,
    encode_in_batches,
    vocabulary_rows,
)
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

BATCH_LINES = 1024
"""A block is what `count_tokens` reads at a time, so that nothing of it is left over to the next."""

ALONE_BLOCKS = 128
"""On about how many blocks of each text the tokenizer is measured alone."""

LOOP_BLOCKS = 64
"""On about how many blocks of each text Python loops are measured."""

LINES_IN_TURN = 128
"""How many lines' ids each way of counting gets before the next has them: as fresh from the tokenizer as in use."""


def drawn_blocks(text: Path, megabytes: float, seed: int) -> Iterator[list[str]]:
    """Draw a text in blocks of the batches that `count_tokens` makes of it."""
    return blocks(text, megabytes, BATCH_LINES, BATCH_CHARACTERS, seed)


def size_of(lines: list[str]) -> int:
    """Tell how many bytes lines have, their ends included."""
    return sum(len(line.encode()) + 1 for line in lines)


class MeasuredText:
    """A text to count that measures, block by block, its reader and others.

    Reading it raises RuntimeError where the loops and `TokenCounter` found different counts.

    Args:
        tokenizer: What reads it.
        text: The file that it is drawn from.
        megabytes: Its size.
        seed: Of the draw.

    Attributes:
        samples: For each block that was measured: its bytes, and [clock, processors] seconds of `count_tokens` and of
            the tokenizer alone; of some also of loops, of reading ids out of encodings, and of counting ids.
        counting_the_rest: [clock, processors] seconds of counting what the last measured blocks left waiting.
        size: Bytes so far.
    """

    def __init__(self, tokenizer: Any, text: Path, megabytes: float, seed: int) -> None:
        self.tokenizer, self.text, self.megabytes, self.seed = tokenizer, text, megabytes, seed
        self.samples: list[dict[str, Any]] = []
        self.size = 0
        self.counter: Counter[int] = Counter()
        self.listed = [0] * vocabulary_rows(tokenizer)
        self.counted = TokenCounter(len(self.listed))
        self.counting_the_rest = 0.0, 0.0
        expected = megabytes * 1e6 / size_of(next(drawn_blocks(text, float("inf"), seed)))
        self.alone_every, self.loop_every = (max(1, round(expected / n)) for n in (ALONE_BLOCKS, LOOP_BLOCKS))

    def lines(self) -> Iterator[str]:
        """Give the lines to `count_tokens`."""
        for number, block in enumerate(drawn_blocks(self.text, self.megabytes, self.seed)):
            size = size_of(block)
            self.size += size
            sample: dict[str, Any] = {"bytes": size}
            loops = number % self.loop_every == self.loop_every // 2
            measured = loops or number % self.alone_every == self.alone_every // 2
            if measured and len(self.samples) % 2:
                sample["alone"] = timed(partial(self._encode, block))
            clock, processors = time.perf_counter(), time.process_time()
            yield from block
            sample["count_tokens"] = time.perf_counter() - clock, time.process_time() - processors
            if not measured:
                continue
            if "alone" not in sample:
                sample["alone"] = timed(partial(self._encode, block))
            self.samples.append(sample | (self._loops(block) if loops else {}))
        self.counting_the_rest = self._count_the_rest()

    def _encode(self, block: list[str]) -> None:
        for _ in encode_in_batches(self.tokenizer.backend_tokenizer, block, BATCH_LINES):
            pass

    def _loops(self, block: list[str]) -> dict[str, Any]:
        def line_by_line() -> None:
            counter: Counter[int] = Counter()
            for line in block:
                for token in self.tokenizer(line, add_special_tokens=False)["input_ids"]:
                    counter[token] += 1

        counter, listed = self.counter, self.listed

        def into_counter(token_ids: list[list[int]]) -> None:
            for line in token_ids:
                for token in line:
                    counter[token] += 1

        def into_list(token_ids: list[list[int]]) -> None:
            for line in token_ids:
                for token in line:
                    listed[token] += 1

        _, encodings = next(iter(encode_in_batches(self.tokenizer.backend_tokenizer, block, BATCH_LINES)))
        ways = {"into_counter": into_counter, "into_list": into_list, "counting": self.counted.add}
        names = list(ways)
        taken = {name: np.zeros(2) for name in ("reading", *names)}
        tokens = 0
        for turn, start in enumerate(range(0, len(encodings), LINES_IN_TURN)):
            token_ids: list[list[int]] = []
            few = encodings[start : start + LINES_IN_TURN]
            taken["reading"] += timed(partial(token_ids.extend, (encoding.ids for encoding in few)))
            for name in names[turn % 3 :] + names[: turn % 3]:
                taken[name] += timed(partial(ways[name], token_ids))
            tokens += sum(map(len, token_ids))
        result = {"line_by_line": timed(line_by_line), **{name: tuple(each.tolist()) for name, each in taken.items()}}
        return {**result, "tokens": tokens}

    def _count_the_rest(self) -> tuple[float, float]:
        # While count_tokens still has its tokenizer: memory is slow for milliseconds where that has just been freed.
        took = timed(self.counted.counts)
        counts = self.counted.counts().tolist()
        if self.listed != counts or self.listed != [self.counter[token] for token in range(len(counts))]:
            raise RuntimeError("the loops and TokenCounter disagree")
        return took


@click.command()
@click.argument("tokenizer", type=click.Path(path_type=Path))
@click.argument("texts", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--megabytes", type=float, required=True)
@click.option("--seed", type=int, default=0)
def main(tokenizer: Path, texts: tuple[Path, ...], megabytes: float, seed: int) -> None:
    """Cut the vocabulary of TOKENIZER, a folder, by TEXTS, and write what it took."""
    result: dict[str, Any] = {"bytes": 0, "samples": [], "counting_the_rest": []}
    counts = {}
    for number, path in enumerate(texts):
        # Loaded anew for each text, so that its cache of words is as empty as that of the copy that count_tokens makes.
        loaded = PreTrainedTokenizerFast.from_pretrained(tokenizer)
        result.setdefault("megabytes_loaded", peak_megabytes())
        text = MeasuredText(loaded, path, megabytes / len(texts), seed + number)
        counts[path.name] = count_tokens(loaded, text.lines(), BATCH_LINES, language=path.name)
        result["bytes"] += text.size
        result["samples"] += text.samples
        result["counting_the_rest"].append(text.counting_the_rest)
        del loaded, text
    result["megabytes_counted"] = peak_megabytes()
    loaded = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    chosen: list[Any] = []
    result["select_tokens"] = timed(lambda: chosen.append(select_tokens(loaded, counts)))
    result["trim_tokenizer"] = timed(lambda: chosen.append(trim_tokenizer(loaded, chosen[0])))
    result["megabytes_peak"] = peak_megabytes()
    for what in ("lines", "total"):
        result[what] = sum(getattr(counted, what) for counted in counts.values())
    result |= {"vocabulary": len(loaded), "vocabulary_kept": len(chosen[1])}
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
