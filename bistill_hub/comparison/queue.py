"""Works through a comparison's rows: what is finished is skipped, what fails stops nothing but what depends on it.

Several processes may work through the same rows at once, on a GPU each. A stage is one process's at a time; the others
turn to rows that do not wait for it, and then to those that did. A process that is killed leaves its stage to them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import BistillError, InputError
from ..pipeline.executor import InOtherHandsError, do_stages
from ..pipeline.manifest import StageRecord
from ..pipeline.order import Stage
from ..pipeline.shared import FailedBeforeError, failure
from ..sources import file_sha256
from .rows import Asked, Row, finished_stages, place_of, removed_model

LOCKS_FOLDER = ".locks"
LOOK_AGAIN_SECONDS = 5.0
"""How long a process sleeps when every row that is left waits for another's stage."""


def work_through(rows: Sequence[Row], folder: Path, failed: dict[Asked, str], *, progress: bool) -> None:
    """Do the stages of rows in order.

    Args:
        rows: The rows; equal stages of theirs are done once.
        folder: The comparison's folder.
        failed: Takes what went wrong, by row. A stage that has failed is not tried again for another row.
        progress: Say what is being done.

    Raises:
        BistillError: the disk is full, or a file vanished on the way, so that no other row would fare better; what is
            finished is kept.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, quiet=not progress)
    places = _Places(folder)
    left = list(enumerate(rows, 1))
    while left:
        waiting, places_of_others = [], set()
        for number, row in left:
            console.print(f"[bold]Row {number} of {len(rows)}:[/bold] {row.asked}")
            try:
                error = _do(row, folder, places, progress=progress)
            except InOtherHandsError as others:
                console.print(f"put off: {others}", markup=False, highlight=False)
                waiting.append((number, row))
                places_of_others.add(others.place)
                continue
            if error is not None:
                failed[row.asked] = error
                console.print(f"[red]failed:[/red] {escape(error)}", highlight=False)
        if len(waiting) == len(left):
            console.print(f"{len(left)} rows wait for what others are doing")
            while all(map(places.in_other_hands, places_of_others)):
                time.sleep(LOOK_AGAIN_SECONDS)
        left = waiting


def _do(row: Row, folder: Path, places: _Places, *, progress: bool) -> str | None:
    """Do a row's stages; return what went wrong, or None."""
    removed = removed_model(row, folder)
    if removed is not None:
        done = row.stages[-1].name in finished_stages(row, folder)
        return None if done else str(_cannot_go_on(removed))
    try:
        do_stages(row.stages, folder, progress=progress, place_of=places, alone_at=places.alone)
    except FailedBeforeError as error:
        return str(error)
    except BistillError as error:
        if not isinstance(error, InputError):
            raise
        return places.fails(error)
    except Exception as error:  # whatever a contender comes to grief about, the others go on
        return places.fails(error)
    return None


def _cannot_go_on(record: StageRecord) -> InputError:
    """Why a row that needs a model of which only the record is left, or a file that is damaged, is not done.

    Trained again it would hardly be the same to the last bit, and the scores of the first one would hang in the air.
    """
    lost, how = [name for name in record.outputs if not (record.folder / name).is_file()], "there any more"
    if not lost:
        changed = (name for name, sha in record.outputs.items() if file_sha256(record.folder / name) != sha)
        lost, how = list(changed), "as they were"
    return InputError(
        f"it was finished, and {len(lost)} of its {len(record.outputs)} files are not {how}",
        file=record.folder,
        field="files",
        value=next(iter(lost), None),
        remedy="bring them back; or remove this folder to do it again, so that rows scored by the former one count as "
        "missing; or choose another folder for this row",
    )


class _Places:
    """Tells where a stage is kept, and refuses one that has failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failed: dict[Path, str] = {}
        self._last: Path | None = None
        self._slug = ""

    def __call__(self, stage: Stage, inputs: Mapping[str, Any]) -> Path:
        self._last, self._slug = place_of(self.folder, stage, inputs), stage.slug
        if self._last in self.failed:
            raise FailedBeforeError(self.failed[self._last])
        return self._last

    @contextmanager
    def alone(self, place: Path) -> Iterator[None]:
        """Keep other processes from a stage.

        Raises:
            InOtherHandsError: another process is doing it.
        """
        try:
            held = self._lock(place).acquire(timeout=0)
        except Timeout:
            raise InOtherHandsError(place) from None
        with held:
            yield

    def in_other_hands(self, place: Path) -> bool:
        """Whether another process is doing a stage."""
        try:
            with self._lock(place).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _lock(self, place: Path) -> FileLock:
        file = self.folder / LOCKS_FOLDER / f"{place.name}.lock"
        file.parent.mkdir(exist_ok=True)
        return FileLock(file)

    def fails(self, error: Exception) -> str:
        """Remember that the stage that was begun last has failed; return why in a line."""
        text = failure(self._slug, error)
        if self._last is not None:
            self.failed[self._last] = text
        return text
