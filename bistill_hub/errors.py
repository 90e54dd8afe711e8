"""What goes wrong for a user, said so that they can mend it: file, field, value, remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_NOT_GIVEN: Any = object()


class BistillError(Exception):
    """Base of every error that this package raises on purpose; the command line prints it without a traceback."""


class InputError(BistillError, ValueError):
    """Something that the user gave cannot be used.

    Args:
        problem: What is wrong, as one clause without a full stop.
        file: The file (or Hub id) that holds the value, if there is one.
        field: The field, column or option, if there is one.
        value: The value that was found there. Leave it out where there is none to show.
        remedy: What to do about it, as one sentence without a full stop.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: str | Path | None = None,
        field: str | None = None,
        value: Any = _NOT_GIVEN,
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = str(file) if file is not None else None
        self.field = field
        self.value = None if value is _NOT_GIVEN else value
        where = [part for part in (self.file, field) if part]
        shown = "" if value is _NOT_GIVEN else f" = {_shorten(repr(value))}"
        place = ": ".join(where) + shown
        super().__init__(f"{place + ': ' if place else ''}{problem}. {remedy[:1].upper()}{remedy[1:]}.")


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
