"""What options of several commands share: words such as `sw=FILE`, and files to write."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError


def by_language(option: str, words: Iterable[str], *, example: str) -> dict[str, str]:
    """Split `CODE=VALUE` words.

    Args:
        option: The option that the words were given to, named in errors.
        words: The words.
        example: What a right word looks like, for the remedy.

    Raises:
        InputError: a word has no code or no value, or a language is given twice.
    """
    values: dict[str, str] = {}
    for word in words:
        code, equals, value = word.partition("=")
        if not equals or not code or not value:
            raise InputError("not of the form CODE=FILE", field=option, value=word, remedy=f"write it as {example}")
        if code in values:
            raise InputError("given twice", field=option, value=code, remedy="name each language once")
        values[code] = value
    return values


def check_output_file(option: str, file: Path) -> None:
    """Refuse a file that nothing can be written to, without making it.

    Args:
        option: The option that names it, for the error.
        file: The file.

    Raises:
        InputError: it is a folder, its folder is not there, or permission is missing.
    """
    if file.is_dir():
        raise InputError("this is a folder", field=option, value=str(file), remedy="name a file")
    if not file.parent.is_dir():
        raise InputError(
            "there is no such folder", field=option, value=str(file), remedy="make the folder, or name another"
        )
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise not_writable(option, file, "permission denied")


def not_writable(option: str, file: Path, reason: object) -> InputError:
    """Say that a file cannot be written.

    Args:
        option: The option that names it.
        file: The file.
        reason: Why; of an `OSError` what it says without the file's name.
    """
    shown = getattr(reason, "strerror", None) or reason
    return InputError(
        f"nothing can be written there ({shown})",
        field=option,
        value=str(file),
        remedy="name a file in a folder of your own on a disk with room",
    )
