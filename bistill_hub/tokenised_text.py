"""A text tokenised once for the students of several pairs: each line's ids of the teacher's tokens, in an Arrow file.

Where a student has all of a line's pieces it splits the line as its teacher does (`student.same_splits`), and its ids
are the teacher's renumbered. The other lines it tokenises itself. The file has a hash of each batch of lines: those of
a data set that has changed since are tokenised as well. So what comes out is always what the student's tokenizer gives.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .student.same_splits import new_ids_where_kept
from .student.token_counts import encode_in_batches, plain_backend, vocabulary_rows

TOKENS_FILE = "tokens.arrow"

KeepTokens = Callable[[Sequence[str], Sequence[Any]], None]
"""Writes the next lines and their `tokenizers.Encoding`s."""

LineIds = list[int] | NDArray[np.uint32]
"""Token ids of a line, as the tokenizer gave them or out of an array."""

_MADE_OF, _TOKENIZER, _LINES = b"bistill_hub.made_of", b"bistill_hub.tokenizer", b"bistill_hub.lines"


@contextmanager
def writing_tokens(file: Path, tokenizer: Any, made_of: Mapping[str, Any]) -> Iterator[KeepTokens]:
    """Write the token ids of a text to an Arrow file, batch by batch; it appears whole or not at all.

    Args:
        file: Where they go. Nobody else may write there meanwhile.
        tokenizer: The teacher's tokenizer, which tokenises the lines.
        made_of: What the text is, as JSON values; kept in the file.

    Yields:
        What takes the batches, at most a few thousand lines each.
    """
    import pyarrow as pa

    letter, width = ("H", pa.uint16()) if vocabulary_rows(tokenizer) <= 2**16 else ("I", pa.uint32())
    metadata = {_MADE_OF: json.dumps(dict(made_of), sort_keys=True).encode(), _TOKENIZER: _hash_of(tokenizer)}
    schema = pa.schema([("ids", pa.list_(width))], metadata=metadata)
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        with unfinished.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:

            def keep(lines: Sequence[str], encodings: Sequence[Any]) -> None:
                ids, ends = array(letter), [0]
                for encoding in encodings:
                    ids.fromlist(encoding.ids)
                    ends.append(len(ids))
                values = pa.array(np.frombuffer(ids, dtype=ids.typecode), type=width)
                column = pa.ListArray.from_arrays(pa.array(ends, type=pa.int32()), values, type=schema.field(0).type)
                batch = pa.record_batch([column], schema=schema)
                writer.write_batch(batch, custom_metadata={_LINES: _hash_of_lines(lines)})

            yield keep
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


class KnownTokens:
    """What is known of a student's tokens in a text from its teacher's.

    Args:
        file: What `writing_tokens` has written.
        new_ids: What `new_ids_where_kept` gave.
    """

    def __init__(self, file: Path, new_ids: NDArray[np.int64]) -> None:
        self._file = file
        self._new_ids = new_ids

    @classmethod
    def of(cls, file: Path, teacher: Any, student: Any, token_map: torch.Tensor) -> KnownTokens | None:
        """Look at a file with a teacher's tokens for a student.

        Args:
            file: What `writing_tokens` has written.
            teacher: The teacher's tokenizer.
            student: The student's.
            token_map: int64 [V_student], the teacher's id of each student id.

        Returns:
            None where the file is of another tokenizer, or the student's is not the teacher's trimmed one.
        """
        import pyarrow as pa

        with pa.memory_map(str(file)) as source:
            metadata = pa.ipc.open_stream(source).schema.metadata or {}
        if metadata.get(_TOKENIZER) != _hash_of(teacher):
            return None
        new_ids = new_ids_where_kept(teacher, student, token_map)
        return None if new_ids is None else cls(file, new_ids)

    def ids_in_batches(self, backend: Any, lines: Iterable[str], batch_size: int) -> Iterator[list[LineIds]]:
        """Give the student's token ids of lines; those that are not known are tokenised.

        Args:
            backend: The student's `tokenizers.Tokenizer`.
            lines: The text.
            batch_size: Lines tokenised at a time at most.

        Yields:
            The ids of each of the next lines, without special tokens.
        """
        rest = iter(lines)
        for found, ids, ends in self._batches():
            batch = list(islice(rest, len(ends) - 1))
            if found == _hash_of_lines(batch):
                yield self._renumbered(backend, batch, ids, ends, batch_size)
            else:
                yield [*_tokenised(backend, batch, batch_size)]
        for _, encodings in encode_in_batches(backend, rest, batch_size):
            yield [encoding.ids for encoding in encodings]

    def _batches(self) -> Iterator[tuple[bytes, NDArray[Any], NDArray[np.int32]]]:
        """Give of each batch of the file the hash of its lines, all its ids and where each line's ids end."""
        import pyarrow as pa

        with pa.memory_map(str(self._file)) as source:
            reader = pa.ipc.open_stream(source)
            while True:
                try:
                    batch, metadata = reader.read_next_batch_with_custom_metadata()
                except StopIteration:
                    return
                column = batch.column(0)
                yield metadata[_LINES], column.values.to_numpy(), column.offsets.to_numpy()

    def _renumbered(
        self, backend: Any, lines: list[str], ids: NDArray[Any], ends: NDArray[np.int32], batch_size: int
    ) -> list[LineIds]:
        new = self._new_ids[ids]
        missing = np.concatenate([[0], np.cumsum(new < 0)])[ends]
        alike = (missing[1:] == missing[:-1]).tolist()
        own = _tokenised(backend, [line for line, known in zip(lines, alike, strict=True) if not known], batch_size)
        numbers, bounds = new.astype(np.uint32), ends.tolist()
        return [
            numbers[start:end] if known else next(own)
            for known, start, end in zip(alike, bounds[:-1], bounds[1:], strict=True)
        ]


def _tokenised(backend: Any, lines: list[str], batch_size: int) -> Iterator[list[int]]:
    batches = encode_in_batches(backend, lines, batch_size)
    return (encoding.ids for encoding in chain.from_iterable(encodings for _, encodings in batches))


def _hash_of_lines(lines: Sequence[str]) -> bytes:
    # JSON tells where a line ends whatever it holds, and has a way to write half of a surrogate pair.
    return hashlib.blake2b(json.dumps(list(lines)).encode("ascii"), digest_size=16).hexdigest().encode()


def _hash_of(tokenizer: Any) -> bytes:
    backend = plain_backend(tokenizer)
    return hashlib.sha256(repr((backend.to_str(), backend.encode_special_tokens)).encode()).hexdigest().encode()
