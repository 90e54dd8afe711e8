"""Keeps some lines of a corpus out of the token counts, so that what trimming costs can be measured on unseen text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from ..errors import InputError

ONE_LINE_IN = 50
"""About one line in so many is held out."""

MOST_LINES = 10_000
"""No more different lines of a language are held out."""


class HeldOut:
    """A text without the lines that it holds out, to be read once.

    A line's own hash decides, so the choice depends on neither order nor machine, and a line that recurs is held out
    everywhere. The first line is always held out, so that even the shortest text has one.

    Args:
        text: The text, line by line.
        language: What errors call it.

    Attributes:
        lines: The lines that are held out, each as often as it occurs, filled while the text is read.

    Raises:
        InputError: the text is one string.
    """

    def __init__(self, text: Iterable[str], language: str) -> None:
        if isinstance(text, str):
            raise InputError(
                "a corpus is a sequence of lines, not one string",
                field=language,
                value=text,
                remedy="pass a list of lines",
            )
        self._text = text
        self._language = language
        self.lines: list[str] = []
        self._chosen: set[str] = set()
        self._counted = False

    @property
    def text(self) -> Iterable[str]:
        """The whole text, with the lines that are held out."""
        return self._text

    def __iter__(self) -> Iterator[str]:
        """Yield the lines that are not held out.

        Raises:
            InputError: there are lines, and all of them are held out.
        """
        for line in self._text:
            if not self.holds_out(line):
                yield line
        self.check()

    def holds_out(self, line: str) -> bool:
        """Whether the next line is held out, for those who read the whole text: to be asked once for each, in order."""
        chosen = self._chosen
        if line in chosen or (len(chosen) < MOST_LINES and line.strip() and (not chosen or _is_drawn(line))):
            chosen.add(line)
            self.lines.append(line)
            return True
        self._counted = True
        return False

    def check(self) -> None:
        """Refuse a text, read to its end, of which nothing is left.

        Raises:
            InputError: there are lines, and all of them are held out.
        """
        different = len(self._chosen)
        if different and not self._counted:
            raise InputError(
                f"too little text to hold any out ({different} different line{'s' if different > 1 else ''})",
                field=self._language,
                remedy="give more text of this language",
            )


def _is_drawn(line: str) -> bool:
    return int.from_bytes(blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest()) % ONE_LINE_IN == 0


def held_out_lines(count: int) -> int:
    """Expect so many lines to be held out of a text of `count` different lines."""
    return min(MOST_LINES, max(1, round(count / ONE_LINE_IN)))
