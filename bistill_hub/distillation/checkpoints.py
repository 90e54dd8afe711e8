"""Checkpoints that a killed run can trust: whole or not there, and with what transformers leaves out.

transformers writes a checkpoint file by file, so that a run that is killed meanwhile leaves one that looks newest and
cannot be resumed. Here a file that is written last, in one piece, says that the others are there, on the disk and not
in memory alone. It holds the sums that the next log line needs, and what an update was made of, by which the place in
the data is counted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import InputError
from ..power_cuts import bring_to_disk, put_in_place

COMPLETE_FILE = "complete.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path, progress: Mapping[str, Any]) -> None:
    """Declare a checkpoint whole.

    Args:
        checkpoint: Its folder.
        progress: What the trainer needs to go on (JSON values).
    """
    bring_to_disk(checkpoint.parent, [file for file in checkpoint.rglob("*") if file.is_file()])
    unfinished = checkpoint / f"{COMPLETE_FILE}.unfinished"
    unfinished.write_text(json.dumps(progress), encoding="utf-8")
    put_in_place(unfinished, checkpoint / COMPLETE_FILE)


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Return what `mark_complete` was given; nothing for a checkpoint that transformers alone has written."""
    file = checkpoint / COMPLETE_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def check_update(checkpoint: str, progress: Mapping[str, Any], update: Mapping[str, int]) -> None:
    """Refuse to go on with updates that are made of other batches: the place in the data would be another.

    Args:
        checkpoint: The checkpoint's folder.
        progress: What `read_progress` returned.
        update: `per_device_train_batch_size`, and `batches_per_update` over all processes, as they are now.

    Raises:
        InputError: they were others when the checkpoint was written.
    """
    before = progress.get("update", update)
    for field, value in update.items():
        if before[field] != value:
            raise InputError(
                f"the checkpoint's updates have {before[field]}",
                file=checkpoint,
                field=field,
                value=value,
                remedy="resume with the same batch size and as many batches per update (processes times accumulation), "
                "or start afresh in an empty folder",
            )


def last_complete(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest whole checkpoint, and remove newer ones that are not.

    Args:
        folder: The trainer's output folder; it need not exist.
    """
    steps = _by_step(folder)
    for step in sorted(steps, reverse=True):
        if _is_whole(steps[step]):
            return str(steps[step])
        shutil.rmtree(steps[step])
    return None


def whole_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the newest whole checkpoint; nothing is removed.

    Args:
        folder: The trainer's output folder; it need not exist.
    """
    whole = {step: place for step, place in _by_step(folder).items() if _is_whole(place)}
    return whole[max(whole)] if whole else None


def refuse_earlier(found: Path | None, folder: str) -> None:
    """Refuse to begin anew where an earlier training could be gone on with: a resume would mix them up.

    Args:
        found: What the earlier training has left; None if nothing.
        folder: The trainer's output folder.

    Raises:
        InputError: something is there.
    """
    if found is not None:
        raise InputError(
            f"an earlier training has left {os.path.relpath(found, folder)} there",
            field="output_dir",
            value=folder,
            remedy="pass resume_from_checkpoint=True to go on with it, or name another folder, or remove what is there "
            "to begin anew",
        )


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was declared whole. A file without content, as a power cut leaves it, declares nothing."""
    file = checkpoint / COMPLETE_FILE
    return file.is_file() and file.stat().st_size > 0


def _by_step(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """Return the folders that are named as checkpoints, by the number of updates before them."""
    places = Path(folder).iterdir() if os.path.isdir(folder) else ()
    return {int(match[1]): place for place in places if (match := _FOLDER.fullmatch(place.name)) and place.is_dir()}


class CheckpointEvery(TrainerCallback):
    """Asks for checkpoints between those that the training arguments ask for.

    None is written at an epoch's or the training's last update, where the evaluation that chooses the best one is yet
    to come: a run that went on from there would miss it.

    Args:
        updates: Updates from one to the next.
    """

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask for a checkpoint after so many updates."""
        ends = state.global_step >= state.max_steps or float(state.epoch or 0).is_integer()
        if state.global_step % self.updates == 0 and not ends:
            control.should_save = True
        return control
