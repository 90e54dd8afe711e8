"""Pack two languages' text and read an epoch of it, in a process of its own, and tell what it took: for `corpora`.

While the text is packed, its own iterator measures, between two batches of lines, how long the tokenizer alone needs
for the same lines, so that both are measured under the same load of the machine.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from torch.utils.data import DataLoader

from benchmarks.material import blocks
from benchmarks.report import timed
from bistill_hub.batches import PaddingCollator
from bistill_hub.corpora import LINES_AT_A_TIME, BilingualBlocks, OneLanguageBatches, write_blocks
from bistill_hub.student.token_counts import BATCH_CHARACTERS, encode_in_batches, plain_backend
from bistill_hub.teacher import load_tokenizer

ALONE_BATCHES = 64
"""On about how many batches of lines of each text the tokenizer is measured alone."""

BETWEEN_LOOKS = 0.02
"""Seconds between two looks at the memory."""


class PrivateMemory:
    """Watches the process's private memory: the resident pages that belong to no file (`RssAnon` of Linux).

    Pages of mapped files are left out: they are the system's cache, which it takes back when it needs room.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PrivateMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.peak = max(self.peak, private_megabytes())

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, private_megabytes())
            if self._ended.wait(BETWEEN_LOOKS):
                return


def private_megabytes() -> float:
    """Give the private memory of this process at the moment, in millions of bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise click.UsageError("this system does not tell a process's private memory (RssAnon in /proc/self/status)")


class MeasuredText:
    """A text to pack that measures, batch by batch, its reader and on some batches the tokenizer alone.

    Args:
        tokenizer: What reads it.
        text: The file that it is drawn from.
        megabytes: Its size.
        seed: Of the draw.

    Attributes:
        size: Bytes so far.
        seconds: What the reader took so far; drawing lines and the tokenizer alone are left out.
        samples: Of each batch measured: bytes, seconds of the reader, seconds of the tokenizer alone.
    """

    def __init__(self, tokenizer: Any, text: Path, megabytes: float, seed: int) -> None:
        self.backend, self.text, self.megabytes, self.seed = plain_backend(tokenizer), text, megabytes, seed
        self.size, self.seconds = 0, 0.0
        self.samples: list[tuple[int, float, float]] = []
        batches = megabytes * 1e6 / sum(len(line.encode()) + 1 for line in next(self._batches()))
        self.every = max(1, round(batches / ALONE_BATCHES))

    def _batches(self) -> Iterator[list[str]]:
        return blocks(self.text, self.megabytes, LINES_AT_A_TIME, BATCH_CHARACTERS, self.seed)

    def __iter__(self) -> Iterator[str]:
        for number, batch in enumerate(self._batches()):
            size = sum(len(line.encode()) + 1 for line in batch)
            measured = number % self.every == self.every // 2
            alone = self._alone(batch) if measured and len(self.samples) % 2 else None
            start = time.perf_counter()
            yield from batch
            seconds = time.perf_counter() - start
            self.size += size
            self.seconds += seconds
            if measured:
                self.samples.append((size, seconds, alone or self._alone(batch)))

    def _alone(self, batch: list[str]) -> float:
        def work() -> None:
            for _ in encode_in_batches(self.backend, batch, LINES_AT_A_TIME):
                pass

        return timed(work)[0]


@click.command()
@click.argument("tokenizer", type=click.Path(path_type=Path))
@click.argument("texts", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--megabytes", type=float, required=True)
@click.option("--block-size", type=int, default=256)
@click.option("--batch-size", type=int, default=8)
@click.option("--seed", type=int, default=0)
def main(
    tokenizer: Path, texts: tuple[Path, ...], megabytes: float, block_size: int, batch_size: int, seed: int
) -> None:
    """Pack TEXTS with TOKENIZER, a folder, read an epoch, and write what it took."""
    loaded = load_tokenizer(str(tokenizer))
    result: dict[str, Any] = {"bytes": 0, "seconds": 0.0, "samples": [], "megabytes_loaded": private_megabytes()}
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        with PrivateMemory() as memory:
            for number, path in enumerate(texts):
                text = MeasuredText(loaded, path, megabytes / len(texts), seed + number)
                parts[path.name] = write_blocks(text, loaded, Path(folder) / str(number), block_size=block_size)
                result["bytes"] += text.size
                result["seconds"] += text.seconds
                result["samples"] += text.samples
                del text
        result["megabytes_packing"] = memory.peak
        dataset = BilingualBlocks(parts)
        loader = DataLoader(
            dataset,
            batch_sampler=OneLanguageBatches(dataset.sizes, batch_size, seed=seed),
            collate_fn=PaddingCollator(loaded.pad_token_id or 0),
        )
        tokens, start = 0, time.perf_counter()
        with PrivateMemory() as memory:
            for batch in loader:
                tokens += batch["input_ids"].numel()
        result |= {
            "megabytes_reading": memory.peak,
            "reading_seconds": time.perf_counter() - start,
            "batches": len(loader),
            "tokens_read": tokens,
            "blocks": len(dataset),
            "arrow_bytes": sum(file.stat().st_size for file in Path(folder).glob("*/*")),
        }
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
