"""Does stages one after another in a folder: skips what is finished, and says in the user's words what goes wrong.

Several processes do the stages that train together; all else is the main one's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from ..errors import BistillError, InputError
from ..failed_writes import explained
from ..gpus import ONE_PROCESS_EACH, refuse_several_gpus
from .manifest import WORK_FOLDER, StageRecord, complete, finished, started, why_again
from .order import Stage, by_name
from .processes import ALONE, Processes, started_processes
from .reached import training_reached
from .stage_folder import refuse_others_content

LOCK_FILE = ".running"


class InOtherHandsError(BistillError):
    """Another process is doing a stage.

    Args:
        place: The stage's folder.
    """

    def __init__(self, place: Path) -> None:
        super().__init__(f"another process is doing {place.name}")
        self.place = place


@contextmanager
def locked(folder: Path, *, patience: float = 0) -> Iterator[None]:
    """Keep others from writing to a run's folder meanwhile.

    Args:
        folder: The run's folder.
        patience: How many seconds to wait for one that is writing there.

    Raises:
        InputError: another run is writing there, or the file that tells of it is another user's.
    """
    try:
        held = acquired(folder / LOCK_FILE, patience)
    except Timeout:
        raise InputError(
            "another run is writing there",
            field="output",
            value=str(folder),
            remedy="wait for it, or choose another folder",
        ) from None
    with held:
        yield


def acquired(file: Path, patience: float = -1) -> AbstractContextManager[Any]:
    """Lock a file, which is made if it is not there.

    Args:
        file: The file.
        patience: How many seconds to wait for one that holds it; less than 0 for as long as it takes.

    Returns:
        What lets go of it at its end.

    Raises:
        Timeout: somebody holds it.
        InputError: it cannot be written, such as one that another user has left.
    """
    try:
        return FileLock(file).acquire(timeout=patience)
    except Timeout:
        raise
    except OSError as error:
        raise InputError(
            f"this file, by which runs keep out of each other's way, cannot be written ({error.strerror or error})",
            field="output",
            value=str(file),
            remedy="have its owner remove it while nothing runs there, or choose another output folder",
        ) from error


def do_stages(
    stages: Sequence[Stage],
    folder: Path,
    *,
    progress: bool,
    before: Sequence[StageRecord] = (),
    together: Processes = ALONE,
    place_of: Callable[[Stage, Mapping[str, Any]], Path] | None = None,
    keep: Callable[[StageRecord], None] | None = None,
    alone_at: Callable[[Path], AbstractContextManager[None]] | None = None,
) -> list[StageRecord]:
    """Do stages in order, each in a folder of its own in a run's folder; those that are finished are skipped.

    Args:
        stages: The stages.
        folder: The run's folder.
        progress: Say which stage is done, and what it has reached (`reached` among its facts). What it warns of
            (`warning`) is said in any case.
        before: Records of stages that these need and that are none of them.
        together: The processes that do them.
        place_of: Tells a stage's folder from the stage and what goes into it; by default it is called by the stage's
            slug, in the run's folder.
        keep: Called with the record of each stage as soon as it is finished.
        alone_at: Keeps other processes from a stage's folder while a stage that is not finished is done there, or
            raises `InOtherHandsError`; None where nobody else can be at it.

    Returns:
        Records of the earlier stages and of these.

    Raises:
        InOtherHandsError: as `alone_at` does.
        InputError: several processes were started for what one does, one process sees several GPUs to train on, or a
            stage's folder holds what no stage has left, or cannot be looked at or emptied.
        BistillError: the disk is full, or a file vanished on the way; what is finished is kept.
    """
    from rich.console import Console

    if together.count != started_processes():
        raise InputError(
            "this is done by one process",
            field="WORLD_SIZE",
            value=started_processes(),
            remedy="start it without torchrun or accelerate launch",
        )
    if place_of is None:
        together.on_main(lambda: refuse_others_content(*(folder / stage.slug for stage in stages)))
    # `accelerate launch` hands down a precision of its own: the recipe says what is computed in what.
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    console = Console(stderr=True, quiet=not progress)
    records = list(before)
    for number, stage in enumerate(stages, 1):
        done = by_name(records)
        try:
            work = partial(stage.work, done=done)
            inputs = stage.inputs(done)
            place = folder / stage.slug if place_of is None else place_of(stage, inputs)
            if progress:
                told = ", ".join(filter(None, (stage.name, _state(stage, place, inputs))))
                console.print(f"[bold]Stage {number} of {len(stages)}:[/bold] {told}")
                if reason := why_again(place, inputs):
                    console.print(f"{stage.name}: {reason}, will be made again")
            to_do = finished(stage.name, place, inputs) is None
            if to_do and started_processes() == 1 and any(each.trains for each in stages[number - 1 :]):
                refuse_several_gpus("one process cannot train on several GPUs exactly", ONE_PROCESS_EACH)
            with alone_at(place) if alone_at is not None and to_do else nullcontext():
                records.append(complete(stage.name, place, inputs, work, together=together, on_all=stage.trains))
            if keep is not None:
                keep(records[-1])
            if together.main:
                _tell(stage, records[-1].facts, progress)
        except (OSError, SafetensorError, RuntimeError) as error:
            if (said := explained(error, folder, f"stage {stage.slug}")) is None:
                raise
            raise said from error
    return records


def _tell(stage: Stage, facts: Mapping[str, Any], progress: bool) -> None:
    """Say what a stage has reached, if progress is wanted, and what it warns of."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for fact, wanted, style in (("reached", progress, None), ("warning", True, "yellow")):
        if wanted and fact in facts:
            console.print(f"{stage.name}: {facts[fact]}", style=style, markup=False)


def _state(stage: Stage, place: Path, inputs: Mapping[str, Any]) -> str:
    """What is there of a stage before it is done; empty where nothing is."""
    if finished(stage.name, place, inputs) is not None:
        return "finished before"
    if not started(place, inputs):
        return ""
    return str(training_reached(place / WORK_FOLDER)) if stage.trains else "begun before"
