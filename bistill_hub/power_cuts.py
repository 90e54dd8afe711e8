"""Has what is written outlast a power cut, which takes what is in memory alone and leaves names with nothing behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


def bring_to_disk(folder: Path, files: Iterable[Path]) -> None:
    """Wait until files of a folder are on the disk, names included: a power cut takes what is in memory alone.

    Args:
        folder: The folder.
        files: The files, in it or below it.
    """
    files = list(files)
    folders = {folder, *(parent for file in files for parent in file.parents if parent.is_relative_to(folder))}
    for place in (*files, *(sorted(folders) if os.name == "posix" else ())):
        handle = os.open(place, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)


def put_in_place(unfinished: Path, file: Path) -> None:
    """Give a file that is written its name, so that it is there whole or not at all, after a power cut too.

    Args:
        unfinished: The file, in the folder where it stays.
        file: The same by its name; one that is there already is replaced.
    """
    bring_to_disk(file.parent, [unfinished])
    unfinished.replace(file)
    bring_to_disk(file.parent, ())


def sync(handle: int) -> None:
    """Wait until an open file or folder is on the disk.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # some disks cannot be asked; one that is full or broken says so here
            raise
