"""Folders that something is written to as a whole."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError


def check_new_folder(folder: Path) -> None:
    """Refuse a folder for new files that holds some already.

    Args:
        folder: The folder that a user named as `output_dir`; it need not exist.

    Raises:
        InputError: it is a file, or not empty.
    """
    if folder.exists() and not folder.is_dir():
        problem = "this is a file"
    elif folder.is_dir() and any(folder.iterdir()):
        problem = "the folder is not empty"
    else:
        return
    raise InputError(problem, field="output_dir", value=str(folder), remedy="name a new or an empty folder")
