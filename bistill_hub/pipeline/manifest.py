"""One stage's folder: what went in, what came out, and whether it is finished.

A stage is finished when its folder holds `manifest.json`. It is done again when what goes into it has changed, and goes
on where it stopped when it was interrupted, at whatever moment. Its seconds are those of all processes that worked on
it: `started.json` keeps what earlier ones took, see `_Started`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..evaluation.speed import hardware
from ..sources import file_sha256
from ..version import __version__
from .processes import ALONE, Processes

MANIFEST_FILE = "manifest.json"
STARTED_FILE = "started.json"
WORK_FOLDER = "training"
"""Checkpoints and other work in progress of a stage; removed when it is finished."""

_LIBRARIES = ("transformers", "torch", "tokenizers", "datasets", "safetensors", "accelerate", "huggingface_hub")


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
        """Read a stage's file; an older one holds the fingerprint alone."""
        content = json.loads((folder / STARTED_FILE).read_text(encoding="utf-8"))
        return cls(content) if isinstance(content, str) else cls(content["fingerprint"], content["seconds"])

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
    """
    manifest = folder / MANIFEST_FILE
    if not manifest.is_file():
        return None
    record = json.loads(manifest.read_text(encoding="utf-8"))
    if inputs is not None and record["fingerprint"] != _fingerprint(_description(inputs)):
        return None
    if files and not all((folder / file).is_file() for file in record["outputs"]):
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


def made_of_others(name: str, folder: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a stage was finished with other inputs than now go in, so that it is done again."""
    return (folder / MANIFEST_FILE).is_file() and finished(name, folder, inputs, files=False) is None


def started(folder: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a stage was begun with these inputs and can go on where it stopped."""
    file = folder / STARTED_FILE
    if not file.is_file() or (folder / MANIFEST_FILE).exists():
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
        # The manifest goes first: a folder that is half removed must not look finished.
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
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
    outputs = {file.relative_to(folder).as_posix(): file_sha256(file) for file in sorted(_outputs(folder))}
    write_json(
        folder / MANIFEST_FILE,
        {
            "stage": name,
            "fingerprint": fingerprint,
            "inputs": description,
            "outputs": outputs,
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


def write_json(file: Path, content: Any) -> None:
    """Write JSON so that the file appears whole or not at all."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(file)


def _outputs(folder: Path) -> list[Path]:
    ours = {folder / STARTED_FILE, folder / MANIFEST_FILE}
    return [
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file not in ours
        and file.suffix != ".unfinished"
        and file.relative_to(folder).parts[0] != WORK_FOLDER
    ]


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
