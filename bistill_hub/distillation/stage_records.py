"""What sparse fine-tuning writes down between its stages, so that an interrupted run goes on where it was."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import InputError
from ..power_cuts import put_in_place
from .checkpoints import whole_checkpoint
from .lottery_ticket import ticket_size

TICKET_FILE = "ticket.safetensors"
"""All that is chosen up to an iteration's sparse stage: positions by parameter; none where that is every entry."""

REACHED_FILE = "reached.safetensors"
"""What a sparse stage that is not the last has reached: values at the chosen positions, and whole parameters."""

_STAGE_FOLDER = re.compile(r"(dense|sparse)(-\d+)?")


def selects(density: float, iterations: int) -> bool:
    """Tell whether entries are selected after a dense stage; not where every entry may change from the start."""
    return density < 1 or iterations > 1


def of_iteration(name: str, iteration: int) -> str:
    """Name a stage's folder or a file of an iteration, counted from 1: the first has the plain name."""
    stem, ending = os.path.splitext(name)
    return name if iteration == 1 else f"{stem}-{iteration}{ending}"


class StageRecords:
    """What a run writes down between its stages, so that an interrupted one goes on.

    Args:
        folder: The run's output folder.
        start_sha256: Hash of the weights that it started from.
    """

    def __init__(self, folder: Path, start_sha256: str) -> None:
        self.folder = folder
        self.start_sha256 = start_sha256

    def checkpoint(self) -> Path | None:
        """A whole checkpoint of a stage that an earlier run has left; None if there is none."""
        stages = sorted(self.folder.iterdir()) if self.folder.is_dir() else ()
        found = [whole_checkpoint(stage) for stage in stages if _STAGE_FOLDER.fullmatch(stage.name)]
        return next((place for place in found if place is not None), None)

    def clear(self) -> None:
        """Remove the files that an earlier run left."""
        for name in (TICKET_FILE, REACHED_FILE):
            for file in self.folder.glob(name.replace(".", "*.")):
                file.unlink()

    def write(self, name: str, iteration: int, tensors: Mapping[str, Tensor], *, entries: int | None = None) -> None:
        """Write one file, whole or not at all.

        Args:
            name: TICKET_FILE or REACHED_FILE.
            iteration: Of which iteration.
            tensors: Its content.
            entries: How many entries are chosen, where their positions are left out; None: as many as there are.
        """
        file = self.folder / of_iteration(name, iteration)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        metadata = {"start_sha256": self.start_sha256}
        if entries is not None:
            metadata["entries"] = str(entries)
        save_file(dict(tensors), unfinished, metadata=metadata)
        put_in_place(unfinished, file)

    def read(self, name: str, iteration: int, entries: int | None = None) -> dict[str, Tensor]:
        """Read one file, if it is there.

        Args:
            name: TICKET_FILE or REACHED_FILE.
            iteration: Of which iteration.
            entries: How many entries there must be.

        Raises:
            InputError: the run that wrote it started from other weights, or chose another number of entries.
        """
        file = self.folder / of_iteration(name, iteration)
        if not file.is_file():
            return {}
        with safe_open(file, "pt") as tensors:
            recorded = tensors.metadata()
        if recorded["start_sha256"] != self.start_sha256:
            raise InputError(
                "the interrupted run started from other weights",
                file=file,
                remedy="give the trainer the same student and seed, or start afresh in an empty folder",
            )
        content = load_file(file)
        chosen = int(recorded.get("entries", ticket_size(content)))
        if entries is not None and chosen != entries:
            raise InputError(
                f"the interrupted run chose {chosen} entries, not {entries}",
                file=file,
                remedy="give it the same density and iterations, or start afresh in an empty folder",
            )
        return content
