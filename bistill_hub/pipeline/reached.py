"""How far an interrupted training has come, told from what it left: its checkpoints, and what it chose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..distillation.checkpoints import COMPLETE_FILE
from ..distillation.stage_records import TICKET_FILE, of_iteration

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_ITERATION = re.compile(r"(?:dense|sparse|ticket)(?:-(\d+))?(?:\.safetensors)?")


@dataclass(frozen=True)
class Reached:
    """Where a training goes on.

    Attributes:
        update: Updates of weights behind the newest whole checkpoint; 0 where there is none.
        part: The training of sparse fine-tuning that these are of; "" where there is one alone.
        iteration: Its round, counted from 1.
    """

    update: int
    part: Literal["", "dense", "sparse"] = ""
    iteration: int = 1

    def __str__(self) -> str:
        if not self.update and self.part != "sparse":
            return "goes on from its beginning"
        which = f" of iteration {self.iteration}" if self.iteration > 1 else ""
        return f"goes on from update {self.update}{' of the sparse stage' if self.part == 'sparse' else ''}{which}"


def training_reached(work: Path) -> Reached:
    """Tell where a training goes on.

    Args:
        work: The stage's work in progress.
    """
    places = work.iterdir() if work.is_dir() else ()
    rounds = [int(found[1] or 1) for place in places if (found := _ITERATION.fullmatch(place.name))]
    for iteration in range(max(rounds, default=0), 0, -1):
        dense, sparse = (work / of_iteration(part, iteration) for part in ("dense", "sparse"))
        if (work / of_iteration(TICKET_FILE, iteration)).is_file():
            # Without a dense stage nothing was selected: the one that is called sparse is all that there is.
            return Reached(_newest_checkpoint(sparse), "sparse" if dense.is_dir() else "", iteration)
        if update := _newest_checkpoint(dense):
            return Reached(update, "dense", iteration)
    return Reached(_newest_checkpoint(work))


def _newest_checkpoint(folder: Path) -> int:
    """Return the update of the newest whole checkpoint; 0 where there is none."""
    whole = [file.parent.name for file in folder.glob(f"checkpoint-*/{COMPLETE_FILE}")]
    return max((int(match[1]) for name in whole if (match := _CHECKPOINT.fullmatch(name))), default=0)
