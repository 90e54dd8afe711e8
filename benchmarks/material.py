"""A large tokenizer and a large text for measurements, made from small texts, without the Hub."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LONGEST_PIECE = 12
FREQUENT_WORDS = 60_000
ALTERED_WORDS = 0.05
"""The share of words whose letters are shuffled, so that new words do not cease to come."""

_SPACE = "▁"
_SPECIAL = {
    "unigram": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "bpe": ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"),
}
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
KINDS = tuple(_SPECIAL)


def make_tokenizer(kind: str, texts: Iterable[Path], size: int) -> Any:
    """Make a fast tokenizer of a given size.

    The first half of its pieces, as far as the texts have so many, are parts of their frequent words, the most frequent
    ones, with scores that follow how often they occur. The rest are two of these pieces joined: the tokenizer looks
    them up as it would a real teacher's pieces of other languages, and seldom finds them.

    Args:
        kind: One of `KINDS`: like XLM-RoBERTa's (with NFKC in place of SentencePiece's tables), like BERT's, or like
            mmBERT's: BPE with a piece for each byte, and a merge for every two pieces that make a third.
        texts: Files of UTF-8 text.
        size: How many tokens.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = (*_SPECIAL[kind], *(_BYTES if kind == "bpe" else ()))
    first, later = ("", "##") if kind == "wordpiece" else (_SPACE, "")
    scores = _pieces(_words(texts), size - len(special), first, later)
    if kind == "unigram":
        vocabulary = [(token, 0.0) for token in special] + list(scores.items())
        tokenizer = Tokenizer(models.Unigram(vocabulary, special.index("<unk>")))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        roles = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True))
    elif kind == "bpe":
        ids = {token: index for index, token in enumerate([*special, *scores])}
        tokenizer = Tokenizer(
            models.BPE(vocab=ids, merges=_merges(scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        )
        tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        roles = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token", "mask_token"), special, strict=False))
    else:
        ids = {token: index for index, token in enumerate([*special, *scores])}
        tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def _merges(pieces: Iterable[str]) -> list[tuple[str, str]]:
    """Give every two pieces that make a third, in the order of these, as tokenizers that were converted have them."""
    known = dict.fromkeys(pieces)
    return [
        (piece[:cut], piece[cut:])
        for piece in known
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


def _words(texts: Iterable[Path]) -> Counter[str]:
    words: Counter[str] = Counter()
    for path in texts:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                words.update(line.split())
    return words


def _pieces(words: Counter[str], size: int, first: str, later: str) -> dict[str, float]:
    """Give pieces and their scores: all single characters, parts of words, and joins of parts.

    Args:
        words: How often each word occurs.
        size: How many pieces.
        first: What a piece has in front at the beginning of a word.
        later: What a piece has in front elsewhere.
    """
    parts: Counter[str] = Counter()
    for word, count in words.most_common(FREQUENT_WORDS):
        for start in range(min(len(word), 2 * LONGEST_PIECE)):
            prefix = later if start else first
            for end in range(start + 1, min(len(word), start + LONGEST_PIECE) + 1):
                parts[prefix + word[start:end]] += count
    characters = sorted(set("".join(words)))
    single = {prefix + character: 1 for prefix in {first, later, ""} for character in characters} | {_SPACE: 1}
    frequent = dict(parts.most_common(max(0, size // 2 - len(single))))
    counts = {piece: parts.get(piece, 1) for piece in single} | frequent
    total = sum(counts.values())
    scores = {piece: math.log(count / total) for piece, count in counts.items()}
    pool, lowest, chance = list(frequent), min(scores.values()), random.Random(0)
    for _ in range(100 * size):
        if len(scores) >= size:
            break
        left, right = chance.choice(pool), chance.choice(pool).removeprefix(first).removeprefix(later)
        if len(left + right) <= 2 * LONGEST_PIECE:
            scores.setdefault(left + right, lowest)
    return dict(list(scores.items())[:size])


def blocks(text: Path, megabytes: float, lines: int, characters: int, seed: int) -> Iterator[list[str]]:
    """Draw lines of a text again and again, in no order, some of their words altered.

    Args:
        text: A file of UTF-8 text; it is held in memory.
        megabytes: How much to draw at least, in millions of bytes.
        lines: How many lines a block has.
        characters: A block ends sooner with the line that reaches this many characters.
        seed: Of the draw.

    Yields:
        A block of lines, the last one as full as the others.
    """
    chance = random.Random(seed)
    source = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    left, block, held = megabytes * 1e6, list[str](), 0
    while left > 0 or block:
        line = _altered(chance.choice(source), chance)
        left -= len(line.encode()) + 1
        held += len(line)
        block.append(line)
        if len(block) == lines or held >= characters:
            yield block
            block, held = [], 0


def _altered(line: str, chance: random.Random) -> str:
    words = line.split(" ")
    for _ in range(round(len(words) * ALTERED_WORDS + chance.random() - 0.5)):
        index = chance.randrange(len(words))
        words[index] = "".join(chance.sample(words[index], len(words[index])))
    return " ".join(words)
