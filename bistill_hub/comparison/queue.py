"""Works through a comparison's rows: what is finished is skipped, what fails stops nothing but what depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BistillError, InputError
from ..pipeline.executor import do_stages
from ..pipeline.manifest import StageRecord
from ..pipeline.order import Stage
from ..pipeline.shared import FailedBeforeError, failure
from .rows import Asked, Row, finished_stages, place_of, removed_model


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

    console = Console(stderr=True, quiet=not progress)
    places = _Places(folder)
    for number, row in enumerate(rows, 1):
        console.print(f"[bold]Row {number} of {len(rows)}:[/bold] {row.asked}")
        removed = removed_model(row, folder)
        if removed is not None:
            if row.stages[-1].name not in finished_stages(row, folder):
                failed[row.asked] = str(_cannot_go_on(removed))
                console.print(f"[red]failed:[/red] {failed[row.asked]}", markup=True, highlight=False)
            continue
        try:
            do_stages(row.stages, folder, progress=progress, place_of=places)
        except FailedBeforeError as error:
            failed[row.asked] = str(error)
        except BistillError as error:
            if not isinstance(error, InputError):
                raise
            failed[row.asked] = places.fails(error)
        except Exception as error:  # whatever a contender comes to grief about, the others go on
            failed[row.asked] = places.fails(error)
        if row.asked in failed:
            console.print(f"[red]failed:[/red] {failed[row.asked]}", markup=True, highlight=False)


def _cannot_go_on(record: StageRecord) -> InputError:
    """Why a row that needs a model of which only the record is left is not done.

    Trained again it would hardly be the same to the last bit, and the scores of the first one would hang in the air.
    """
    lost = [name for name in record.outputs if not (record.folder / name).is_file()]
    return InputError(
        f"it was finished, and {len(lost)} of its {len(record.outputs)} files are not there any more",
        file=record.folder,
        field="files",
        value=lost[0],
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

    def fails(self, error: Exception) -> str:
        """Remember that the stage that was begun last has failed; return why in a line."""
        text = failure(self._slug, error)
        if self._last is not None:
            self.failed[self._last] = text
        return text
