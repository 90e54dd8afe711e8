"""What goes to the terminal: tables of which nothing is left out, and words of others, which do not steer it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 1000
"""Characters that a line of a table has at most where it is written to a file."""


def printable(text: str) -> str:
    """Return a line with `?` for what a terminal would obey: names and values of somebody else's files do not steer it.

    Args:
        text: The line.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table: as wide as it is into a file or pipe, and on a terminal within its width.

    What is too wide for a terminal is folded between words, in the widest columns first. Where that is not enough, the
    space beside the lines goes, and at last words are folded too.

    Args:
        table: The table; its columns' widths are set where it is too wide.
        console: Where to; by default standard output.
    """
    console = console or Console()
    wide = console.options.update(max_width=_WIDEST)
    width = console.measure(table, options=wide).maximum
    if not console.is_terminal:  # nobody sees how wide a file is, and places can be copied from it
        console.width = max(console.width, width)
    elif width > console.width:
        _fold(table, console)
    console.print(table)


def _fold(table: Table, console: Console) -> None:
    """Set the widths of a table's columns so that it is no wider than the console."""
    options = console.options.update(max_width=_WIDEST)
    cells = [[Measurement.get(console, options, cell) for cell in (c.header, *c.cells)] for c in table.columns]
    widths = [max(cell.maximum for cell in column) for column in cells]
    longest_words = [max(cell.minimum for cell in column) for column in cells]
    room = console.width - (console.measure(table, options=options).maximum - sum(widths))
    if sum(longest_words) > room:
        table.padding = 0
        room = console.width - (console.measure(table, options=options).maximum - sum(widths))
    for column, width in zip(table.columns, _narrowed(widths, longest_words, room), strict=True):
        column.width, column.no_wrap, column.overflow = width, False, "fold"


def _narrowed(widths: Sequence[int], longest_words: Sequence[int], room: int) -> list[int]:
    """Take from the widest columns until all have room; below the longest word only where no other has more."""
    found = list(widths)
    while sum(found) > max(room, len(found)):
        between_words = [index for index, width in enumerate(found) if width > longest_words[index]]
        widest = max(between_words or range(len(found)), key=found.__getitem__)
        found[widest] -= 1
    return found
