"""Folders that a user names for what is to be written."""

from __future__ import annotations

import tempfile
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


def check_writable(folder: Path) -> None:
    """Make the output folder, and refuse one that nothing can be written to by trying.

    Raises:
        InputError: it is a file, permission is missing, or the disk is full or read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise InputError(
            f"nothing can be written there ({error.strerror or error})",
            field="output",
            value=str(folder),
            remedy="choose a folder of your own on a disk with room",
        ) from error
