"""One stage's folder: what went in, what came out, and whether it is finished.

A stage is finished when its folder holds `manifest.json`. It is done again when what goes into it has changed, and goes
on where it stopped when it was interrupted, at whatever moment. Its seconds are those of all processes that worked on
it: `started.json` keeps what earlier ones took, see `_Started`. A file that a power cut has left empty or in part
counts as one that is not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..cards.facts import FACTS_FILE
from ..evaluation.speed import hardware
from ..power_cuts import bring_to_disk
from ..sources import file_sha256
from ..version import __version__
from .processes import ALONE, Processes
from .stage_folder import MANIFEST_FILE as MANIFEST_FILE
from .stage_folder import STARTED_FILE as STARTED_FILE
from .stage_folder import empty, is_half_written, looking_at, read_json, refuse_others_content
from .stage_folder import write_json as write_json

WORK_FOLDER = "training"
"""Checkpoints and other work in progress of a stage; removed when it is finished."""

_LIBRARIES = ("transformers", "torch", "tokenizers", "datasets", "safetensors", "accelerate", "huggingface_hub")
_PARTS: Mapping[str, Any] = {
    "fingerprint": str,
    "inputs": dict,
    "outputs": dict,
    "facts": dict,
    "seconds": float | int,
    "machine": str,
}
"""What a manifest holds, and of which type."""

_NEVER_EMPTY = (".json", ".safetensors")
_OF_A_CARD = (".md", ".png", ".yaml")
"""Endings of what a pair's card is made of: people edit it in the package, and it can be rendered anew there."""


@dataclass(frozen=True)
class _Started:
    """What `started.json` says of a stage that is not finished.

    Attributes:
        fingerprint: Hash of everything that goes in.
        seconds: Wall time of the processes that worked on it, but for one that had no time to write it down.
    """

    fingerprint: str
    seconds: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> _Started:
        """Read a stage's file; an older one holds the fingerprint alone. One that is not whole fits no inputs."""
        content = read_json(folder / STARTED_FILE)
        if isinstance(content, str):
            return cls(content)
        try:
            return cls(str(content["fingerprint"]), float(content["seconds"]))
        except (TypeError, KeyError, ValueError):
            return cls("")

    def write(self, folder: Path) -> None:
        """Write it as a process begins or ends: from its time on, `unrecorded` counts."""
        write_json(folder / STARTED_FILE, {"fingerprint": self.fingerprint, "seconds": round(self.seconds, 1)})

    @staticmethod
    def unrecorded(folder: Path) -> float:
        """Seconds of a process that was killed: from when it wrote `started.json` to its last work in progress."""
        times = [file.stat().st_mtime for file in (folder / WORK_FOLDER).rglob("*") if not file.name.startswith(".")]
        return max(0.0, max(times, default=0.0) - (folder / STARTED_FILE).stat().st_mtime)


@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        name: The stage's name.
        folder: Where its output is.
        fingerprint: Hash of everything that went in.
        after: What went in of earlier stages: by stage, the SHA-256 of its files.
        outputs: SHA-256 by file name.
        facts: What the stage says of itself: losses, sizes, settings.
        seconds: Wall time of all processes that worked on it, one after another. Of one that was killed outright, what
            came after its last checkpoint or other file of work in progress is not counted.
        machine: What the last of them ran on.
        skipped: Whether it was finished before.
    """

    name: str
    folder: Path
    fingerprint: str
    after: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, str]
    facts: Mapping[str, Any]
    seconds: float
    machine: str
    skipped: bool


def versions() -> dict[str, str]:
    """Version by library, of those that decide what a stage computes."""
    return {**_installed(), "bistill_hub": __version__, "python": platform.python_version()}


@cache
def _installed() -> Mapping[str, str]:
    """Version by library, looked up once: each look reads the metadata of a distribution."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def finished(
    name: str, folder: Path, inputs: Mapping[str, Any] | None = None, *, files: bool = True
) -> StageRecord | None:
    """Return the record of a stage that is finished, or None.

    Args:
        name: The stage's name.
        folder: Its folder.
        inputs: What goes in now; a stage that was finished with other inputs counts as not finished. None asks for no
            more than that its files are there.
        files: Whether its files have to be there too.

    Raises:
        InputError: the folder cannot be looked at.
    """
    record = read_json(folder / MANIFEST_FILE)
    if record is None or _fault(record, folder, inputs, files):
        return None
    return StageRecord(
        name=name,
        folder=folder,
        fingerprint=record["fingerprint"],
        after=record["inputs"].get("after", {}),
        outputs=record["outputs"],
        facts=record["facts"],
        seconds=record["seconds"],
        machine=record["machine"],
        skipped=True,
    )


def why_again(folder: Path, inputs: Mapping[str, Any]) -> str:
    """Say why a stage that was finished once is done again; empty where it was not, or is not done again."""
    record = read_json(folder / MANIFEST_FILE)
    return "" if record is None else _fault(record, folder, inputs, files=True)


def _fault(record: Any, folder: Path, inputs: Mapping[str, Any] | None, files: bool) -> str:
    """Say why a manifest is not that of a finished stage; empty where it is."""
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in _PARTS.items()):
        return "its manifest is damaged"
    if inputs is not None and record["fingerprint"] != _fingerprint(_description(inputs)):
        return "made of other inputs"
    if not _is_finite(record["facts"]):
        return "its loss is not finite"
    return "" if not files or _is_whole(record, folder) else "files of it are missing or damaged"


def _is_finite(facts: Mapping[str, Any]) -> bool:
    """Whether a training came to a finite loss: the recorded one, and that of the evaluation whose model was kept.

    Later versions end a training before; earlier ones finished the stage, of which nothing can be learnt.
    """
    best, losses = facts.get("validation"), [facts.get("loss")]
    for entry in facts.get("curve") or () if best is not None else ():
        if any(value == best for name, value in entry.items() if name.startswith("eval_") and name != "eval_loss"):
            losses.append(entry.get("eval_loss"))
            break
    return all(math.isfinite(loss) for loss in losses if isinstance(loss, float | int))


def _is_whole(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether a finished stage's files are there, with as many bytes as they had where that is recorded."""
    sizes = record.get("sizes") or {}
    for name in lasting(record["outputs"]):
        file = folder / name
        with looking_at(folder):
            try:
                found = file.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
        if not stat.S_ISREG(found.st_mode) or found.st_size != sizes.get(name, found.st_size):
            return False
        if found.st_size == 0 and file.suffix in _NEVER_EMPTY:
            return False
    return True


def lasting(outputs: Mapping[str, str]) -> dict[str, str]:
    """A stage's outputs less dot-files, which earlier versions took for outputs, and file browsers for theirs."""
    return {name: sha for name, sha in outputs.items() if not name.rpartition("/")[-1].startswith(".")}


def started(folder: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a stage was begun with these inputs and can go on where it stopped."""
    with looking_at(folder):
        if (folder / MANIFEST_FILE).exists():
            return False
    return _Started.read(folder).fingerprint == _fingerprint(_description(inputs))


def complete(
    name: str,
    folder: Path,
    inputs: Mapping[str, Any],
    work: Callable[[Path], Mapping[str, Any]],
    *,
    together: Processes = ALONE,
    on_all: bool = False,
) -> StageRecord:
    """Finish a stage, unless it is finished.

    Args:
        name: The stage's name.
        folder: Its folder. What is in it from other inputs is removed.
        inputs: JSON values that determine the output: settings, hashes of data and of earlier stages' outputs.
        work: Does the stage in the folder and returns its facts (JSON values). After an interruption it finds what it
            has left in the folder and in `folder / WORK_FOLDER`.
        together: The processes of the run. The main one alone writes, and the others learn what it has written.
        on_all: The work is done by all of them, and is to leave files and facts on the main one alone.

    Returns:
        The stage's record.

    Raises:
        InputError: the folder cannot be looked at, cannot be emptied, or holds what no stage has left.
    """
    if record := together.on_main(lambda: _begun(name, folder, inputs)):
        return record
    begin = time.monotonic()
    with _counted(folder, begin, together.main):
        if not on_all:
            return together.on_main(lambda: _ended(name, folder, inputs, work(folder), begin))
        facts = work(folder)
        return together.on_main(lambda: _ended(name, folder, inputs, facts, begin))


@contextmanager
def _counted(folder: Path, begin: float, main: bool) -> Iterator[None]:
    """Write down the seconds of work that does not come to its end, for the process that goes on with it."""
    try:
        yield
    except BaseException:
        with suppress(OSError, ValueError):  # a full disk, or the file gone: the reason for the end matters more
            if main:
                before = _Started.read(folder)
                if before.fingerprint:
                    replace(before, seconds=before.seconds + time.monotonic() - begin).write(folder)
        raise


def _begun(name: str, folder: Path, inputs: Mapping[str, Any]) -> StageRecord | None:
    """Return the record of a stage that is finished; prepare the folder of one that is not."""
    if record := finished(name, folder, inputs):
        _tidy(folder)
        return record
    before = _Started(_fingerprint(_description(inputs)))
    if started(folder, inputs):
        before = _Started.read(folder)
        before = replace(before, seconds=before.seconds + _Started.unrecorded(folder))
    else:
        refuse_others_content(folder)
        empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before.write(folder)
    return None


def _ended(name: str, folder: Path, inputs: Mapping[str, Any], found: Mapping[str, Any], begin: float) -> StageRecord:
    """Write the manifest of a stage whose work is done."""
    description = _description(inputs)
    fingerprint = _fingerprint(description)
    # Sorted as in the manifest, from which a later run reads them: what is made of them must not tell the two apart.
    facts = json.loads(json.dumps(found, sort_keys=True))
    seconds = round(_Started.read(folder).seconds + time.monotonic() - begin, 1)
    machine = _machine()
    files = {file.relative_to(folder).as_posix(): file for file in sorted(_outputs(folder))}
    outputs = {file: file_sha256(place) for file, place in files.items()}
    sizes = {file: place.stat().st_size for file, place in files.items() if not _is_of_a_card(place)}
    bring_to_disk(folder, files.values())
    write_json(
        folder / MANIFEST_FILE,
        {
            "stage": name,
            "fingerprint": fingerprint,
            "inputs": description,
            "outputs": outputs,
            "sizes": sizes,
            "facts": facts,
            "seconds": seconds,
            "machine": machine,
        },
    )
    _tidy(folder)
    return StageRecord(
        name=name,
        folder=folder,
        fingerprint=fingerprint,
        after=description.get("after", {}),
        outputs=outputs,
        facts=facts,
        seconds=seconds,
        machine=machine,
        skipped=False,
    )


def _outputs(folder: Path) -> list[Path]:
    ours = {folder / STARTED_FILE, folder / MANIFEST_FILE}
    return [
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file not in ours
        and not file.name.startswith(".")
        and not is_half_written(file)
        and file.relative_to(folder).parts[0] != WORK_FOLDER
    ]


def _is_of_a_card(file: Path) -> bool:
    return file.suffix in _OF_A_CARD or file.name == FACTS_FILE


def _machine() -> str:
    found = hardware("cuda" if torch.cuda.is_available() else "cpu")
    return f"{found.cpu}, {found.logical_cores} logical cores" + (f", {found.gpu}" if found.gpu else "")


def _tidy(folder: Path) -> None:
    """Remove what a finished stage needs no more; after the manifest, so that no interruption loses the work."""
    shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    (folder / STARTED_FILE).unlink(missing_ok=True)


def _description(inputs: Mapping[str, Any]) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(json.dumps({**inputs, "versions": versions()}))
    return description


def _fingerprint(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
