"""Two streams of text become blocks of tokens, packed without loss and balanced between the languages.

A block is what the student will see at task time: the tokenizer's special tokens around a stretch of text. Lines
follow one another with the separator between them, tails carry over into the next block, the last block is shorter.
Blocks live in an Arrow file on disk that is mapped, not read, so memory does not grow with the corpus.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset, Sampler

from .errors import InputError

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerFast

LINES_AT_A_TIME = 1000


def pack_blocks(
    lines: Iterable[str], tokenizer: PreTrainedTokenizerFast, block_size: int = 256
) -> Iterator[dict[str, list[int]]]:
    """Cut text into blocks of token ids.

    Args:
        lines: The text, a sentence or paragraph a line.
        tokenizer: A fast tokenizer with a separator (or end) token.
        block_size: Tokens per block, special tokens included.

    Yields:
        `{"input_ids": [...]}` of `block_size` ids each; the last one may be shorter. No token is lost or repeated.

    Raises:
        InputError: the block is too small for the special tokens and one token more.
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
    between = [] if separator is None else [separator]
    prefix, suffix = _special_tokens_around(tokenizer)
    waiting: list[int] = []
    before_line: list[int] = []  # nothing to separate the first one from
    stream = iter(lines)
    while chunk := list(islice(stream, LINES_AT_A_TIME)):
        for ids in tokenizer(chunk, add_special_tokens=False, return_attention_mask=False)["input_ids"]:
            if ids:
                waiting += before_line
                waiting += ids
                before_line = between
        # From the front in one pass: taking blocks off a long list one by one would copy it every time.
        whole = len(waiting) // room * room
        for start in range(0, whole, room):
            yield {"input_ids": [*prefix, *waiting[start : start + room], *suffix]}
        waiting = waiting[whole:]
    if waiting:
        yield {"input_ids": [*prefix, *waiting, *suffix]}


def _special_tokens_around(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a sequence."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = special.index(0) if 0 in special else len(ids)
    last = len(special) - special[::-1].index(0) if 0 in special else len(ids)
    return ids[:first], ids[last:]


def write_blocks(
    lines: Iterable[str], tokenizer: PreTrainedTokenizerFast, folder: Path, *, block_size: int = 256
) -> datasets.Dataset:
    """Pack a corpus and keep its blocks in an Arrow file.

    Args:
        lines: The text.
        tokenizer: The student's tokenizer.
        folder: Where the Arrow file goes.
        block_size: Tokens per block, special tokens included.

    Returns:
        A data set with the column `input_ids`, mapped from disk.

    Raises:
        InputError: there is no text.
    """
    import datasets

    features = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))})
    folder.mkdir(parents=True, exist_ok=True)
    blocks = pack_blocks(lines, tokenizer, block_size)
    first = next(blocks, None)
    if first is None:
        raise InputError("there is no text", field="corpus", remedy="name a source with at least one non-empty line")

    def rows() -> Iterator[dict[str, Any]]:
        yield first
        yield from blocks

    # A generator is read once and so cannot be hashed by content; the caller names the folder by what goes in.
    return datasets.Dataset.from_generator(
        rows, features=features, cache_dir=str(folder), fingerprint=folder.name.replace("-", "_")
    )


class BilingualBlocks(Dataset[dict[str, Any]]):
    """Blocks of several languages one after the other; each row says by number which language it is of.

    Args:
        blocks: For each language a sequence of rows with `input_ids`.
    """

    def __init__(self, blocks: Mapping[str, Any]) -> None:
        self.languages = tuple(blocks)
        self.parts = list(blocks.values())
        self.sizes = tuple(len(part) for part in self.parts)

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one block: `input_ids` and `language`, the number of its language in `languages`."""
        if index < 0:
            raise IndexError(index)
        for number, part in enumerate(self.parts):
            if index < len(part):
                return {"input_ids": part[int(index)]["input_ids"], "language": number}
            index -= len(part)
        raise IndexError(index)

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
        return BilingualBlocks(train), BilingualBlocks(held_out)


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
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, *, seed: int = 0, balanced: bool = True) -> None:
        self.sizes = tuple(sizes)
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
        rows = [order.sample(range(size), min(each * self.batch_size, size)) for size in self.sizes]
        turns = [number for number in range(len(self.sizes)) for _ in range(each)]
        order.shuffle(turns)
        taken = [0] * len(self.sizes)
        for number in turns:
            start = taken[number]
            yield [offsets[number] + row for row in rows[number][start : start + self.batch_size]]
            taken[number] += self.batch_size
