"""A folder that holds no part of a model before all of it is written, and what an interrupted training left there.

Until then checkpoints, and what the training was begun with, lie in a folder of their own in it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .distillation.finite import NotFiniteError
from .errors import InputError
from .folders import check_writable
from .power_cuts import bring_to_disk, put_in_place

WORK_FOLDER = "training.unfinished"
"""In the output folder until the model is there."""

_INPUTS_FILE = "inputs.json"


def prepare_folder(folder: Path) -> None:
    """Make the output folder, and write to it once: full disks and read-only mounts show only when one tries.

    Raises:
        InputError: it holds a model that no interrupted training has begun to move there, or it cannot be written.
    """
    for name in ("config.json", "model.safetensors"):
        if (folder / name).exists() and not (folder / WORK_FOLDER / _INPUTS_FILE).is_file():
            raise InputError(
                f"the folder already holds a model ({name})", file=folder, remedy="choose another folder, or empty it"
            )
    check_writable(folder)


@contextmanager
def work_in(folder: Path, inputs: Mapping[str, Any]) -> Iterator[Path]:
    """Make the folder for what is unfinished, keep others out of it, and remove it when the training is done.

    Args:
        folder: The output folder.
        inputs: JSON values that determine the model; a training goes on where it was begun with the same.

    Yields:
        The folder, with what an interrupted training left in it.

    Raises:
        InputError: another process is at it, or the interrupted training was begun with something else.
    """
    work = folder / WORK_FOLDER
    work.mkdir(exist_ok=True)
    try:
        held = FileLock(work / ".running").acquire(timeout=0)
    except Timeout:
        raise InputError(
            "another process is training there", file=folder, remedy="wait for it, or choose another folder"
        ) from None
    with held:
        _begin(work, inputs)
        try:
            yield work
        except NotFiniteError as error:  # a checkpoint would lead to the same values again
            shutil.rmtree(work, ignore_errors=True)
            field, value, remedy = error.field, error.value, error.remedy
            raise InputError(error.problem, file=folder, field=field, value=value, remedy=remedy) from error
        shutil.rmtree(work, ignore_errors=True)


def _begin(work: Path, inputs: Mapping[str, Any]) -> None:
    """Write down what the training is begun with, or see that the one to go on with was begun with the same."""
    file = work / _INPUTS_FILE
    if not file.is_file():
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(inputs), encoding="utf-8")
        put_in_place(unfinished, file)
    elif json.loads(file.read_text(encoding="utf-8")) != inputs:
        raise InputError(
            "a training was interrupted there that was begun with other settings, text or versions",
            file=work.parent,
            remedy=f"give it what it was begun with, remove {work}, or choose another folder",
        )


def hand_over(written: Path, folder: Path) -> None:
    """Move a model that is whole to where it belongs, and have all of it on the disk.

    Its configuration comes last, without which nothing takes the rest for a model.

    Args:
        written: Where it was written to, on the same disk.
        folder: The output folder; files of the same names are replaced.
    """
    files = sorted(written.iterdir(), key=lambda file: (file.name == "config.json", file.name))
    bring_to_disk(written, files)
    for file in files:
        file.replace(folder / file.name)
    bring_to_disk(folder, ())
