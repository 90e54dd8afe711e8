"""Says in the user's words that something could not be written: each library reports it in a class of its own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BistillError, first_line

KEPT = "What is finished is kept: the same command goes on from there."
"""What is true of every command that keeps what it has done."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_TO_TORCH = ("file write failed", "PytorchStreamWriter failed", "inline_container")
"""What is in the text of the RuntimeError by which torch reports a failed write, with or without the system's words."""


class NoRoomError(BistillError):
    """The disk, a quota or the largest size of a file is reached."""


def explained(error: Exception, folder: Path, work: str) -> BistillError | None:
    """Say in one sentence that something could not be written.

    Args:
        error: What a library raised: an OSError, or an error of its own class with the system's words in the text.
        folder: Where was written.
        work: What was done, such as "the pre-training"; the same command has to be able to go on with it.

    Returns:
        The error to raise instead; None for any other error than of a file.
    """
    if _no_room_left(error):
        free = shutil.disk_usage(folder).free / 1e6
        return NoRoomError(f"{folder}: {work} could not be written: no room is left ({free:,.0f} MB are free). {KEPT}")
    if isinstance(error, FileNotFoundError) and error.filename:
        return BistillError(f"{error.filename}: the file has vanished during {work}. Put it back. {KEPT}")
    return BistillError(f"{folder}: {work} failed: {first_line(error)}. {KEPT}") if isinstance(error, OSError) else None


@contextmanager
def failed_writes_explained(folder: Path, work: str) -> Iterator[None]:
    """Turn what a failed write raises into one sentence; other errors are left as they are.

    Arguments are those of `explained`.

    Raises:
        BistillError: no room is left, a file vanished, or the system refused something else.
    """
    try:
        yield
    except BistillError:
        raise
    except Exception as error:  # tokenizers raises no narrower class
        if (said := explained(error, folder, work)) is None:
            raise
        raise said from error


def _no_room_left(error: Exception) -> bool:
    text = str(error)
    said = [os.strerror(code) for code in _NO_ROOM] + list(_NO_ROOM_TO_TORCH)
    return getattr(error, "errno", None) in _NO_ROOM or any(words in text for words in said)
