"""Two streams of text become blocks of tokens, packed without loss and balanced between the languages.

A block is what the student will see at task time: the tokenizer's special tokens around a stretch of text. Lines
follow one another with the separator between them, tails carry over into the next block, the last block is shorter.
Blocks live in an Arrow file on disk that is mapped, not read, and the order of an epoch is computed as it goes, so
memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from .errors import InputError
from .power_cuts import put_in_place
from .sources import TextSource
from .student.token_counts import encode_in_batches, plain_backend
from .tokenised_text import KnownTokens, LineIds

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

BLOCKS_FILE = "blocks.arrow"
LINES_AT_A_TIME = 1024
BLOCKS_AT_A_TIME = 4096
"""How many blocks are written in one go: each go leaves a few hundred bytes in memory wherever the file is mapped."""

ROWS_AT_A_TIME = 2048
_ROUNDS = 8
_MADE_OF = b"bistill_hub.made_of"


def pack_blocks(
    lines: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    block_size: int = 256,
    *,
    known: KnownTokens | None = None,
) -> Iterator[NDArray[np.int32]]:
    """Cut text into blocks of token ids.

    Args:
        lines: The text, a sentence or paragraph a line.
        tokenizer: A fast tokenizer; its separator (or end) token, where it has one, stands between lines.
        block_size: Tokens per block, special tokens included.
        known: Tokens of the same text that need not be made again; the blocks are the same with it and without.

    Yields:
        Token ids [blocks, `block_size`], as many blocks at a time as a batch of lines fills. The last array may be one
        shorter block, [1, at most `block_size`]. No token is lost or repeated.

    Raises:
        InputError: the block is too small for the special tokens and one token more, or the tokenizer is a slow one.
    """
    room = block_size - tokenizer.num_special_tokens_to_add()
    if room < 1:
        raise InputError(
            "there is no room for text beside the special tokens",
            field="block_size",
            value=block_size,
            remedy=f"take at least {block_size - room + 1}",
        )
    separator = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    prefix, suffix = _special_tokens_around(tokenizer)

    def around(text: NDArray[np.int32]) -> NDArray[np.int32]:
        blocks = np.empty((len(text), len(prefix) + text.shape[1] + len(suffix)), dtype=np.int32)
        blocks[:, : len(prefix)] = prefix
        blocks[:, len(prefix) : len(prefix) + text.shape[1]] = text
        blocks[:, len(prefix) + text.shape[1] :] = suffix
        return blocks

    waiting = np.empty(0, dtype=np.int32)
    between: list[int] = []  # nothing to separate the first line from
    for of_lines in _ids_in_batches(lines, tokenizer, known):
        # Unsigned, because such an array takes in a list three times as fast.
        ids = array("I")
        for of_line in of_lines:
            if len(of_line):
                ids.extend(between)
                if isinstance(of_line, list):
                    ids.fromlist(of_line)
                else:
                    ids.frombytes(of_line.tobytes())
                between = [] if separator is None else [separator]
        waiting = np.concatenate([waiting, np.frombuffer(ids, dtype=np.int32)])
        whole = len(waiting) // room * room
        if whole:
            yield around(waiting[:whole].reshape(-1, room))
            waiting = waiting[whole:]
    if len(waiting):
        yield around(waiting[None])


def _ids_in_batches(
    lines: Iterable[str], tokenizer: PreTrainedTokenizerFast, known: KnownTokens | None
) -> Iterator[Iterable[LineIds]]:
    backend = plain_backend(tokenizer)
    if known is not None:
        yield from known.ids_in_batches(backend, lines, LINES_AT_A_TIME)
        return
    for _, encodings in encode_in_batches(backend, lines, LINES_AT_A_TIME):
        yield (encoding.ids for encoding in encodings)


def _special_tokens_around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a sequence."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = special.index(0) if 0 in special else len(ids)
    last = len(special) - special[::-1].index(0) if 0 in special else len(ids)
    return ids[:first], ids[last:]


def write_blocks(
    lines: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    block_size: int = 256,
    known: Callable[[], KnownTokens | None] | None = None,
) -> datasets.Dataset:
    """Pack a corpus and keep its blocks in an Arrow file; a file that is there of the same corpus is taken as it is.

    The file appears whole or not at all. It says what it was made of: tokenizer, block size, and the `TextSource`, of a
    local file also its size and time of change. Other lines do not tell where they come from and are packed anew.

    Args:
        lines: The text.
        tokenizer: The student's tokenizer.
        folder: Where the Arrow file goes.
        block_size: Tokens per block, special tokens included.
        known: Gives what `pack_blocks` is given; asked where blocks are packed.

    Returns:
        A data set with the column `input_ids`, mapped from disk.

    Raises:
        InputError: there is no text, it cannot be read to its end, or as for `pack_blocks`.
    """
    import datasets

    file = folder / BLOCKS_FILE
    made_of = _made_of(lines, tokenizer, block_size)
    if made_of is None or not _is_made_of(file, made_of):
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own, so that processes which pack the same corpus do not write into each other's file.
        unfinished = folder / f"{BLOCKS_FILE}.{uuid4().hex}.unfinished"
        try:
            blocks = pack_blocks(lines, tokenizer, block_size, known=None if known is None else known())
            with unfinished.open("wb") as stream:
                count = _write_arrow(stream, blocks, made_of)
            if not count:
                raise InputError(
                    "there is no text", field="corpus", remedy="name a source with at least one non-empty line"
                )
            put_in_place(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)
    return datasets.Dataset.from_file(str(file))


def _made_of(lines: Iterable[str], tokenizer: PreTrainedTokenizerFast, block_size: int) -> bytes | None:
    """Describe what blocks are made of, or None where the lines do not say where they come from."""
    if not isinstance(lines, TextSource):
        return None
    state = lines.file.stat() if lines.path is not None else None
    parts = (
        lines.model_dump_json(),
        None if state is None else (state.st_size, state.st_mtime_ns),
        plain_backend(tokenizer).to_str(),
        (tokenizer.sep_token_id, tokenizer.eos_token_id),
        block_size,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest().encode()


def _is_made_of(file: Path, made_of: bytes) -> bool:
    import pyarrow as pa

    if not file.is_file():
        return False
    try:
        with pa.memory_map(str(file)) as source:
            metadata = pa.ipc.open_stream(source).read_all().schema.metadata or {}
    except (pa.ArrowException, OSError):  # cut short or damaged by somebody else; Arrow says either
        return False
    return bool(metadata.get(_MADE_OF) == made_of)


def _write_arrow(file: BinaryIO, blocks: Iterable[NDArray[np.int32]], made_of: bytes | None) -> int:
    """Write blocks in batches of `BLOCKS_AT_A_TIME` or a little more; return how many there were."""
    import datasets
    import pyarrow as pa

    schema = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))}).arrow_schema
    if made_of is not None:
        schema = schema.with_metadata({**(schema.metadata or {}), _MADE_OF: made_of})
    waiting: list[NDArray[np.int32]] = []
    count = 0
    with pa.ipc.new_stream(file, schema) as writer:

        def write() -> None:
            lengths = np.concatenate([np.full(len(some), some.shape[1]) for some in waiting])
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            values = np.concatenate([some.ravel() for some in waiting])
            column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), type=schema.field(0).type)
            writer.write_batch(pa.record_batch([column], schema=schema))
            waiting.clear()

        for some in blocks:
            waiting.append(some)
            count += len(some)
            if sum(map(len, waiting)) >= BLOCKS_AT_A_TIME:
                write()
        if waiting:
            write()
    return count


class BilingualBlocks(Dataset[dict[str, Any]]):
    """Blocks of several languages one after the other; each row says by number which language it is of.

    Args:
        blocks: For each language a sequence of rows with `input_ids`.
        numbers: For each language the number that its rows carry; None counts the languages from 0.
    """

    def __init__(self, blocks: Mapping[str, Any], numbers: Sequence[int] | None = None) -> None:
        self.languages = tuple(blocks)
        self.numbers = tuple(range(len(self.languages)) if numbers is None else numbers)
        self.parts = list(blocks.values())
        self.sizes = tuple(len(part) for part in self.parts)

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one block: `input_ids` and `language`, the number of its language."""
        if index < 0:
            raise IndexError(index)
        for number, part in zip(self.numbers, self.parts, strict=True):
            if index < len(part):
                return {"input_ids": part[int(index)]["input_ids"], "language": number}
            index -= len(part)
        raise IndexError(index)

    def refuse_empty(self) -> None:
        """Refuse blocks of which no balanced batches can be made.

        Raises:
            InputError: there is no language, or one of them has no block.
        """
        if not self.languages:
            raise InputError(
                "there is no language to learn", field="languages", value=[], remedy="give at least one, with its text"
            )
        for language, size in zip(self.languages, self.sizes, strict=True):
            if not size:
                raise InputError(
                    "there is no text to learn from",
                    field=f"corpus of {language!r}",
                    value="0 blocks",
                    remedy="give more text or a smaller block_size, or leave the language out",
                )

    def split(self, share: float) -> tuple[BilingualBlocks, BilingualBlocks]:
        """Set aside the last `share` of each language's blocks for evaluation; at least one each, and never all.

        Args:
            share: Between 0 and 1.

        Returns:
            What is left for training, and what was set aside.

        Raises:
            InputError: a language has fewer than two blocks.
        """
        train, held_out = {}, {}
        for language, part in zip(self.languages, self.parts, strict=True):
            if len(part) < 2:
                raise InputError(
                    "too little text to hold any out for evaluation",
                    field=f"corpus of {language!r}",
                    value=f"{len(part)} block",
                    remedy="give more text or a smaller block_size",
                )
            cut = len(part) - min(max(1, round(len(part) * share)), len(part) - 1)
            train[language] = _Slice(part, 0, cut)
            held_out[language] = _Slice(part, cut, len(part))
        return BilingualBlocks(train, self.numbers), BilingualBlocks(held_out, self.numbers)


class _Slice(Sequence[Any]):
    """Rows `start` to `stop` of a data set, without an index table of them."""

    def __init__(self, rows: Any, start: int, stop: int) -> None:
        self.rows, self.start, self.stop = rows, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.rows[self.start + index]


class OneLanguageBatches(Sampler[list[int]]):
    """Batches of row numbers, each of one language, in an order that depends on seed and epoch alone.

    Args:
        sizes: Rows of each language; the languages' rows stand one after the other.
        batch_size: Rows per batch; a language's last batch may be smaller.
        seed: Determines the order.
        balanced: Equally many batches of each language, shuffled: the smallest language decides how many, of the others
            each epoch draws anew. False: every row once, in order.

    Raises:
        InputError: they are to be balanced, and a language has no rows or there is none.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, *, seed: int = 0, balanced: bool = True) -> None:
        self.sizes = tuple(sizes)
        if balanced and not min(self.sizes, default=0):
            raise InputError(
                "balanced batches need rows of each language",
                field="sizes",
                value=self.sizes,
                remedy="give text of each, or leave out languages without",
            )
        self.batch_size = batch_size
        self.seed = seed
        self.balanced = balanced
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration takes."""
        self.epoch = epoch

    def __len__(self) -> int:
        counts = [-(-size // self.batch_size) for size in self.sizes]
        return min(counts) * len(counts) if self.balanced else sum(counts)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's batches."""
        offsets = [sum(self.sizes[:number]) for number in range(len(self.sizes))]
        if not self.balanced:
            for offset, size in zip(offsets, self.sizes, strict=True):
                for start in range(0, size, self.batch_size):
                    yield list(range(offset + start, offset + min(start + self.batch_size, size)))
            return
        order = random.Random(f"{self.seed} {self.epoch}")
        each = len(self) // len(self.sizes)
        rows = [
            _shuffled(size, min(each * self.batch_size, size), self.batch_size, order.getrandbits(64))
            for size in self.sizes
        ]
        left = [each] * len(self.sizes)
        for remaining in range(sum(left), 0, -1):
            # A language's turn is as likely as its batches are many among those that are left.
            turn, number = order.randrange(remaining), 0
            while turn >= left[number]:
                turn -= left[number]
                number += 1
            left[number] -= 1
            yield [offsets[number] + row for row in next(rows[number])]


def _shuffled(size: int, count: int, batch_size: int, key: int) -> Iterator[list[int]]:
    """Deal out the first `count` of `size` rows in an order that a key determines, without a table of them.

    A Feistel network permutes the numbers of an even number of bits; of those, numbers beyond the last row are sent
    through it again until they are rows.

    Yields:
        `batch_size` rows at a time; the last may be fewer.
    """
    half = max(1, -(-(size - 1).bit_length() // 2))
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    waiting: list[int] = []
    for start in range(0, count, ROWS_AT_A_TIME):
        rows = _permuted(np.arange(start, min(start + ROWS_AT_A_TIME, count), dtype=np.uint64), half, keys)
        while (outside := rows >= size).any():
            rows[outside] = _permuted(rows[outside], half, keys)
        waiting += rows.tolist()
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            waiting = waiting[batch_size:]
    if waiting:
        yield waiting


def _permuted(numbers: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Permute the numbers below 4**half."""
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = numbers >> bits, numbers & mask
    for key in keys:
        # The finalizer of MurmurHash3: every bit of what comes out depends on every bit of what goes in.
        mixed = right ^ key
        mixed = (mixed ^ mixed >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
        mixed = (mixed ^ mixed >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
        left, right = right, left ^ (mixed ^ mixed >> np.uint64(33)) & mask
    return left << bits | right
