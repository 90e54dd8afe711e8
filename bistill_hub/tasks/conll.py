"""Read sentences of tagged tokens from CoNLL files: a token and its tags a line, a blank line between sentences.

The reader keeps line numbers, which the builder of `datasets` does not, and refuses a line with a column too few or too
many, which that builder pads or cuts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

_FORMAT = "give each line a token and its tag, separated by a TAB, with a blank line between sentences"


@dataclass(frozen=True)
class Sentence:
    """A sentence as its source has it.

    Attributes:
        tokens: The words.
        tags: One tag a word.
        row: The row of the table that it was read from, counted from 0.
        lines: The line of each word in a CoNLL file, counted from 1; empty for a table.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    row: int
    lines: tuple[int, ...] = ()

    def place(self, position: int) -> str:
        """Say where the word at `position` stands, for an error message."""
        return f"line {self.lines[position]}" if self.lines else f"row {self.row}, token {position} (counted from 0)"


@dataclass(frozen=True)
class _Layout:
    """How the lines of one file are cut: what the first line of data shows holds for all."""

    tabs: bool
    width: int
    line: int

    def cells(self, line: str) -> list[str]:
        # Not str.split(): a no-break space or another Unicode space can be part of a token, or be one.
        return line.split("\t") if self.tabs else re.split("[ \t]+", line.strip(" \t"))


def read_conll(
    file: Path,
    *,
    is_tag: Callable[[str], bool],
    token_column: int = 0,
    tag_column: int = -1,
    limit: int | None = None,
) -> Iterator[Sentence]:
    """Yield the sentences of a CoNLL file in order.

    Columns are separated by TABs or, in a file whose first line of data has none, by spaces. A line that begins with
    `#` is a comment unless it has as many columns as the lines of data and a tag in its place, so that a token `#` is
    read as one. `-DOCSTART-` lines end a sentence and are not part of any. In files with TABs a token may be empty.

    Args:
        file: The file, UTF-8 with or without a byte order mark.
        is_tag: Whether a string looks like a tag; consulted for lines that begin with `#` alone.
        token_column: The tokens' column, counted from 0, or from -1 for the last.
        tag_column: The tags' column, counted in the same way.
        limit: Stop after so many sentences.

    Raises:
        InputError: a line is not UTF-8, has another number of columns than the first line of data, or there are no
            such columns. The error names the line.
    """
    lines = list(_lines(file))
    layout = _find_layout(lines)
    for column in (token_column, tag_column):
        if not -layout.width <= column < layout.width or layout.width < 2:
            raise InputError(
                "one column, so that there is a token and no tag"
                if layout.width < 2
                else f"{layout.width} columns, of which column {column} is to be read",
                file=file,
                field=f"line {layout.line}",
                remedy=_FORMAT,
            )
    rows: list[tuple[str, str, int]] = []
    count = 0
    for number, line in enumerate([*lines, ""], start=1):
        if _has_word(line):
            cells = layout.cells(line)
            if line.startswith("#") and not _is_data(cells, tag_column, layout, is_tag):
                continue
            _check_width(cells, layout, file, number)
            rows.append((cells[token_column], cells[tag_column].strip(" "), number))
        elif rows:
            tokens, tags, numbers = zip(*rows, strict=True)
            yield Sentence(tokens, tags, count, numbers)
            rows = []
            count += 1
            if count == limit:
                return


def _lines(file: Path) -> Iterator[str]:
    # Bytes, cut at line feeds alone: the line of a decoding error is known, and the line separators of Unicode, which
    # occur inside tokens of scraped text, do not end a line.
    with file.open("rb") as raw_lines:
        for number, raw in enumerate(raw_lines, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"not UTF-8 text ({error.reason})",
                    file=file,
                    field=f"line {number}",
                    remedy="convert the file to UTF-8",
                ) from error
            yield line.rstrip("\r\n")


def _has_word(line: str) -> bool:
    """Whether a line is a token's or a comment, and not one that ends a sentence."""
    return bool(line.strip(" \t")) and re.split("[ \t]", line, maxsplit=1)[0] != "-DOCSTART-"


def _find_layout(lines: Sequence[str]) -> _Layout:
    for number, line in enumerate(lines, start=1):
        if _has_word(line) and not line.startswith("#"):
            tabs = "\t" in line
            return _Layout(tabs, len(_Layout(tabs, 0, number).cells(line)), number)
    return _Layout(tabs=True, width=2, line=1)


def _is_data(cells: Sequence[str], tag_column: int, layout: _Layout, is_tag: Callable[[str], bool]) -> bool:
    """Whether a line that begins with `#` is a token's."""
    if len(cells) != layout.width:
        return False
    # A lone `#` before a TAB can only be a token, so that a malformed tag behind it is an error and not a comment.
    return is_tag(cells[tag_column].strip(" ")) or (layout.tabs and " " not in cells[0])


def _check_width(cells: Sequence[str], layout: _Layout, file: Path, number: int) -> None:
    if len(cells) != layout.width:
        raise InputError(
            f"{len(cells)} column(s) where line {layout.line} has {layout.width}",
            file=file,
            field=f"line {number}",
            remedy=_FORMAT,
        )
