"""A language's text as phase 0 reads it: the counts of the teacher's tokens, and the lines that are held out of them.

Of the source language recipes share it, together with the tokens themselves where several of them need these: see
`tokenised_text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..recipe import Language
from ..student.held_out import HeldOut
from ..student.token_counts import TokenCounts, count_tokens, encode_in_batches
from ..tokenised_text import KeepTokens

COUNTS_FILE = "counts.npy"
TEXT_FILE = "text.json"


@dataclass(frozen=True, eq=False)
class CountedText:
    """A language's text.

    Attributes:
        counts: How often each of the teacher's tokens occurs in the lines that are not held out.
        held_out: The other lines, each as often as it occurs.
    """

    counts: TokenCounts
    held_out: list[str]

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Write the text to a folder; return facts of it."""
        np.save(folder / COUNTS_FILE, self.counts.counts)
        content = {
            "characters": sorted(self.counts.characters),
            "lines": self.counts.lines,
            "held_out": self.held_out,
        }
        # Escaped: a line may hold half of a surrogate pair, which UTF-8 has no bytes for.
        (folder / TEXT_FILE).write_text(json.dumps(content) + "\n", encoding="ascii")
        return {"lines": self.counts.lines, "tokens": self.counts.total, "held_out": len(self.held_out)}

    @classmethod
    def load(cls, folder: Path) -> CountedText:
        """Read what `save` wrote."""
        counts = np.load(folder / COUNTS_FILE)
        counts.setflags(write=False)
        content = json.loads((folder / TEXT_FILE).read_text(encoding="ascii"))
        found = TokenCounts(counts, int(counts.sum()), frozenset(content["characters"]), content["lines"])
        return cls(found, content["held_out"])


class ReadText(Protocol):
    """What reads a language's text as `read_text` does, or takes it from where it was kept."""

    def __call__(self, tokenizer: Any, language: Language, *, progress: bool) -> CountedText:
        """Return a language's text."""


def read_text(tokenizer: Any, language: Language, *, progress: bool, keep: KeepTokens | None = None) -> CountedText:
    """Read a language's text, and count its tokens but for the lines that are held out.

    Args:
        tokenizer: The teacher's tokenizer.
        language: The language.
        progress: Show a progress bar on a terminal.
        keep: Takes the tokens of all lines, those that are held out among them.

    Raises:
        InputError: there is no text, or too little to hold any out.
    """
    text = HeldOut(language.text, language.code)

    def keeping_all(backend: Any, text: HeldOut, batch_size: int) -> Iterator[tuple[list[str], list[Any]]]:
        for lines, encodings in encode_in_batches(backend, text.text, batch_size):
            if keep is not None:
                keep(lines, encodings)
            counted = [number for number, line in enumerate(lines) if not text.holds_out(line)]
            yield [lines[number] for number in counted], [encodings[number] for number in counted]
        text.check()

    encode = encode_in_batches if keep is None else keeping_all
    counts = count_tokens(tokenizer, text, language=language.code, progress=progress, encode=encode)
    return CountedText(counts, text.lines)
