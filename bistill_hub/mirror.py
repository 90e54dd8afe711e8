"""Keeps a copy of a run's folder in a place that outlasts the machine, such as a mounted bucket, and brings it back.

Nothing is asked of that place but that whole files can be written, renamed and removed there: the run itself works on
a disk of its own.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_PARTIAL = ".partial"
_LEFT_OUT = (".running", _PARTIAL, ".unfinished")
"""Endings of files that mean nothing to another machine: the run's lock, and what is half written."""

_log = logging.getLogger(__name__)

_Stamp = tuple[int, int]


class Mirror:
    """A folder and the copy of it.

    Args:
        folder: The folder that a run works in.
        place: Where the copy is.
    """

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder = folder
        self.place = place
        # What is there already is not known to be this folder's: no size fits.
        self._copied = {path: (written, -1) for path, (written, _) in _files(place).items()}

    def restore(self) -> int:
        """Bring back what the place holds, for a folder that is new; return how many files that were."""
        for path in self._copied:
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.place / path, target)
            self._copied[path] = _stamp(target)
        return len(self._copied)

    def update(self) -> int:
        """Make the copy what the folder is now, and return how many files were written.

        Wherever this is broken off, a run that begins with the copy goes on rightly: what is outdated goes first, the
        newest of it before the rest, and then files come in the order in which they were written. The file that says
        that others are whole is written last by the run, and so it is here.
        """
        now = _files(self.folder)
        outdated = [path for path, stamp in self._copied.items() if now.get(path) != stamp]
        for path in sorted(outdated, key=lambda path: self._copied[path], reverse=True):
            (self.place / path).unlink(missing_ok=True)
            del self._copied[path]
        written = 0
        for path in sorted(now.keys() - self._copied.keys(), key=lambda path: now[path]):
            target = self.place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + _PARTIAL)
            try:
                shutil.copyfile(self.folder / path, partial)
            except FileNotFoundError:  # the run has removed it meanwhile
                partial.unlink(missing_ok=True)
                continue
            partial.replace(target)
            self._copied[path] = now[path]
            written += 1
        return written


@contextmanager
def mirrored(folder: Path, place: Path | None, *, seconds: float = 600) -> Iterator[Path]:
    """Work in a folder of which a copy is kept: brought back at the beginning, updated now and then and at the end.

    Where the copy cannot be written, that is logged, and the work goes on.

    Args:
        folder: The folder, made if it is missing. Where it holds something already, nothing is brought back.
        place: Where the copy is, made if it is missing; None keeps none.
        seconds: From one update to the next.

    Yields:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if place is None:
        yield folder
        return
    mirror = Mirror(folder, place)
    if place.is_dir() and not any(folder.iterdir()):
        _log.info("%d files came back from %s", mirror.restore(), place)
    ended = Event()
    keeping = Thread(target=_keep, args=(mirror, ended, seconds), daemon=True)
    keeping.start()
    try:
        yield folder
    finally:
        ended.set()
        keeping.join()
        _try_update(mirror)


def _keep(mirror: Mirror, ended: Event, seconds: float) -> None:
    while not ended.wait(seconds):
        _try_update(mirror)


def _try_update(mirror: Mirror) -> None:
    try:
        mirror.update()
    except OSError as error:
        _log.warning("the copy in %s could not be updated: %s", mirror.place, error)


def _files(folder: Path) -> dict[str, _Stamp]:
    """Each file with the time at which it was written (nanoseconds) and its size in bytes."""
    found = {}
    for file in folder.rglob("*"):
        if file.name.endswith(_LEFT_OUT) or not file.is_file():
            continue
        try:
            found[file.relative_to(folder).as_posix()] = _stamp(file)
        except FileNotFoundError:  # removed meanwhile
            continue
    return found


def _stamp(file: Path) -> _Stamp:
    state = file.stat()
    return state.st_mtime_ns, state.st_size
