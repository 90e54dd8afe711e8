"""How often each of the teacher's tokens occurs in a language's text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from huggingface_hub.utils.tqdm import tqdm

from ..errors import InputError
from .normalized_characters import NormalizedCharacters

BATCH_CHARACTERS = 2**18
"""A batch ends with the line that reaches this many characters, so that long lines do not fill the memory."""

IDS_AT_A_TIME = 2**19
"""How many token ids wait to be counted together, in 2 MB."""


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """What a language's text is made of, in the teacher's tokens.

    Attributes:
        counts: int64 [V], occurrences of each token id; read-only. V is the highest token id of the tokenizer plus 1.
        total: The sum of `counts`: how many tokens the text has.
        characters: The characters of the text after the tokenizer's normalisation.
        lines: How many lines were read.
    """

    counts: np.ndarray[Any, np.dtype[np.int64]]
    total: int
    characters: frozenset[str]
    lines: int


def backend_of(tokenizer: Any) -> Any:
    """Give the `tokenizers.Tokenizer` inside a fast transformers tokenizer.

    Raises:
        InputError: the tokenizer is a slow one, written in Python alone.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            "this tokenizer is written in Python alone and has no table of pieces that could be trimmed",
            field="tokenizer",
            value=type(tokenizer).__name__,
            remedy="load the teacher's fast tokenizer (one with a tokenizer.json), or convert it to one",
        )
    return tokenizer.backend_tokenizer


def plain_backend(tokenizer: Any) -> Any:
    """Copy a fast tokenizer's backend, without the truncation and padding that an earlier call may have left in it.

    Raises:
        InputError: the tokenizer is a slow one.
    """
    from tokenizers import Tokenizer

    backend = backend_of(tokenizer)
    copied = Tokenizer.from_str(backend.to_str())
    copied.encode_special_tokens = backend.encode_special_tokens  # not part of the JSON
    copied.no_truncation()
    copied.no_padding()
    return copied


def vocabulary_rows(tokenizer: Any) -> int:
    """Tell how many embedding rows a tokenizer's ids need: the highest id plus 1 (ids may have holes)."""
    return max(backend_of(tokenizer).get_vocab(with_added_tokens=True).values()) + 1


def encode_in_batches(backend: Any, lines: Iterable[str], batch_size: int) -> Iterator[tuple[list[str], list[Any]]]:
    """Tokenise lines without special tokens.

    Args:
        backend: A `tokenizers.Tokenizer`.
        lines: The text.
        batch_size: Lines at a time at most; fewer where they are long (`BATCH_CHARACTERS`).

    Yields:
        The lines of a batch, and their `tokenizers.Encoding`s (without offsets where the backend can leave them out).
    """
    encode = getattr(backend, "encode_batch_fast", backend.encode_batch)
    for batch in _batches(lines, batch_size):
        yield batch, encode(batch, add_special_tokens=False)


def _batches(lines: Iterable[str], batch_size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for line in lines:
        batch.append(line)
        characters += len(line)
        if len(batch) >= batch_size or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


EncodeInBatches = Callable[[Any, Any, int], Iterator[tuple[list[str], list[Any]]]]
"""What tokenises lines as `encode_in_batches` does."""


class TokenCounter:
    """Counts token ids as they come, `IDS_AT_A_TIME` at a time.

    Ids leave the tokenizer as lists alone. An array of unsigned numbers is made of a list several times as fast as one
    of numpy's, and numpy reads it as it lies. They are gathered in an array that is never made longer: growing one was
    measured to cost more than all the rest (docs/benchmarks.md). A large vocabulary's counts raised after each batch
    would have to be fetched for each into the processor's cache, from which tokenising has pushed them.

    Args:
        rows: V; ids are from 0 to V - 1.
    """

    def __init__(self, rows: int) -> None:
        self._counts = np.full(rows, 0, dtype=np.int64)  # zeros would leave it to the first count to touch the memory
        self._waiting = _numbers([0]) * IDS_AT_A_TIME
        self._end = 0

    def add(self, token_ids: Iterable[list[int]]) -> None:
        """Count ids.

        Args:
            token_ids: Lists of ids from 0 to V - 1.
        """
        waiting, end = self._waiting, self._end
        for each in token_ids:
            start, end = end, end + len(each)
            if end > len(waiting):
                self._count(waiting, start)
                start, end = 0, len(each)
                if end > len(waiting):
                    self._count(_numbers(each), end)
                    end = 0
                    continue
            waiting[start:end] = _numbers(each)
        self._end = end

    def _count(self, ids: array[int], end: int) -> None:
        if end:
            np.add.at(self._counts, np.frombuffer(ids, dtype=f"u{ids.itemsize}", count=end), 1)

    def counts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Give how often each id was added so far, int64 [V], read-only."""
        self._count(self._waiting, self._end)
        self._end = 0
        view = self._counts.view()
        view.setflags(write=False)
        return view


_numbers = partial(array, "I")


def count_tokens(
    tokenizer: Any,
    lines: Iterable[str],
    batch_size: int = 1024,
    *,
    language: str = "text",
    progress: bool = False,
    encode: EncodeInBatches = encode_in_batches,
) -> TokenCounts:
    """Count the tokens of a text, streaming, without special tokens (Ansell et al. 2023, section 3.1).

    Args:
        tokenizer: The teacher's tokenizer (fast).
        lines: The text, read once.
        batch_size: Lines tokenised at a time at most; fewer where they are long (`BATCH_CHARACTERS`).
        language: What errors and the progress bar call the text.
        progress: Show a progress bar on a terminal.
        encode: Tokenises the lines; what it gives is counted.

    Raises:
        InputError: there is no text, or the tokenizer is a slow one.
    """
    if isinstance(lines, str):
        raise InputError(
            "a corpus is a sequence of lines, not one string",
            field=language,
            value=lines,
            remedy="pass a list of lines",
        )
    backend = plain_backend(tokenizer)
    counter = TokenCounter(vocabulary_rows(tokenizer))
    normalized = NormalizedCharacters(backend.normalizer)
    line_count = 0
    with tqdm(desc=f"counting {language}", unit=" lines", disable=None if progress else True) as bar:
        for batch, encodings in encode(backend, lines, batch_size):
            counter.add(encoding.ids for encoding in encodings)
            normalized.add(batch)
            line_count += len(batch)
            bar.update(len(batch))
    counts = counter.counts()
    total = int(counts.sum())
    if not total:
        raise InputError(
            f"the corpus of {language} holds no token ({line_count} lines)",
            field=language,
            remedy="name a source that holds text of this language",
        )
    return TokenCounts(counts, total, frozenset(normalized.characters), line_count)
