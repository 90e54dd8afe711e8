"""What goes wrong for a user, said so that they can mend it: file, field, value, remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

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
        self._has_value = value is not _NOT_GIVEN
        where = [part for part in (self.file, field) if part]
        shown = "" if value is _NOT_GIVEN else f" = {_shorten(repr(value))}"
        place = ": ".join(where) + shown
        super().__init__(f"{place + ': ' if place else ''}{problem}. {remedy[:1].upper()}{remedy[1:]}.")

    def said_of(self, name: str) -> InputError:
        """Say the same of one of several things, whose name comes first."""
        value = {"value": self.value} if self._has_value else {}
        file = f"{name}: {self.file}" if self.file else name
        return InputError(self.problem, remedy=self.remedy, file=file, field=self.field, **value)

    def at(self, field: str) -> InputError:
        """Say the same of another field, which names what cannot be used."""
        value = {"value": self.value} if self._has_value else {}
        return InputError(self.problem, remedy=self.remedy, file=self.file, field=field, **value)

    @classmethod
    def from_validation(
        cls,
        error: ValidationError,
        *,
        file: str | Path | None = None,
        within: str | None = None,
        fields: Any = None,
    ) -> InputError:
        """Say the first of pydantic's complaints as file, field, value and remedy.

        A validator that raises an `InputError` of its own is quoted: its problem, value and remedy, at its place.

        Args:
            error: What pydantic raised.
            file: The file that holds the value, if there is one.
            within: What the place of the field begins with.
            fields: What was validated; entries of its lists are called by their `name`, where they have one.
        """
        first = error.errors(include_url=False)[0]
        place = [within] if within else []
        place += _names(first["loc"], fields)
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            place += [cause.field] if cause.field else []
            problem, remedy = cause.problem, cause.remedy
            value = {"value": cause.value} if cause._has_value else {}
        else:
            message = str(first["msg"]).removeprefix("Value error, ")
            problem, remedy = message[:1].lower() + message[1:], _REMEDIES.get(str(first["type"]), "correct the value")
            given = first.get("input")
            # What lacks a field, or is wrong as a whole, is too much to show.
            value = {} if first["type"] == "missing" or _is_record(given) else {"value": given}
        return cls(problem, file=file, field=".".join(place) or None, remedy=remedy, **value)


_REMEDIES = {"missing": "give it a value", "extra_forbidden": "remove it, or correct its name"}


def _names(location: Sequence[int | str], fields: Any) -> list[str]:
    names = []
    for part in location:
        try:
            fields = fields[part]
        except (LookupError, TypeError):
            fields = None
        named = isinstance(part, int) and isinstance(fields, Mapping) and isinstance(fields.get("name"), str)
        names.append(fields["name"] if named else str(part))
    return names


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "model_fields_set")


def first_line(error: Exception) -> str:
    """Return the first line of another library's message, or the error's type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
