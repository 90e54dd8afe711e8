"""Words with what is known of them, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..meaning import Name, Slot


class Token(NamedTuple):
    """A word or punctuation mark.

    Attributes:
        text: As written.
        pos: Universal part of speech.
        entity: `O`, or `B-` or `I-` and one of PER, LOC, ORG.
        slot: What of its scene the word tells: the answer to who, what, where or when; None if none of these.
    """

    text: str
    pos: str
    entity: str = "O"
    slot: Slot | None = None


def join(tokens: Sequence[Token]) -> str:
    """Write tokens as text: no space before `. , ?` and after `¿`."""
    return "".join(gap + token.text for gap, token in zip(gaps(tokens), tokens, strict=True))


def gaps(tokens: Sequence[Token]) -> list[str]:
    """Return what stands before each token: a space or nothing."""
    before = ["", *(token.text for token in tokens[:-1])]
    return [
        "" if not index or token.text in ".,?" or last == "¿" else " "
        for index, (last, token) in enumerate(zip(before, tokens, strict=True))
    ]


def words(tagged: str, slot: Slot | None = None) -> list[Token]:
    """Make tokens of `word/TAG` pairs with spaces between them."""
    return [Token(word, tag, slot=slot) for word, _, tag in (pair.rpartition("/") for pair in tagged.split())]


def name(of: Name, slot: Slot | None = None) -> list[Token]:
    """A name's words, each a proper noun."""
    return [
        Token(part, "PROPN", f"{'I' if index else 'B'}-{of.kind}", slot) for index, part in enumerate(of.text.split())
    ]


def noun(written: str, slot: Slot | None = None) -> list[Token]:
    """A common noun, of one or several words."""
    return [Token(part, "NOUN", slot=slot) for part in written.split("_")]
