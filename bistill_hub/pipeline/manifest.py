"""One stage's folder: what went in, what came out, and whether it is finished.

A stage is done when its folder holds `manifest.json`. It is done again when what goes into it has changed, and goes on
where it stopped when it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..sources import file_sha256
from ..version import __version__

MANIFEST_FILE = "manifest.json"
STARTED_FILE = "started.json"
WORK_FOLDER = "training"
"""Checkpoints of a stage; removed when it is finished."""

_LIBRARIES = ("transformers", "torch", "tokenizers", "datasets", "safetensors", "accelerate", "huggingface_hub")


@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        name: The stage's name.
        folder: Where its output is.
        fingerprint: Hash of everything that went in.
        outputs: SHA-256 by file name.
        facts: What the stage says of itself: losses, sizes, settings.
        seconds: Wall time of the run that finished it.
        skipped: Whether it was finished before.
    """

    name: str
    folder: Path
    fingerprint: str
    outputs: Mapping[str, str]
    facts: Mapping[str, Any]
    seconds: float
    skipped: bool


def versions() -> dict[str, str]:
    """Version by library, of those that decide what a stage computes."""
    found = {name: metadata.version(name) for name in _LIBRARIES}
    return {**found, "bistill_hub": __version__, "python": platform.python_version()}


def complete(
    name: str, folder: Path, inputs: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]]
) -> StageRecord:
    """Finish a stage, unless it is finished.

    Args:
        name: The stage's name.
        folder: Its folder. What is in it from other inputs is removed.
        inputs: JSON values that determine the output: settings, hashes of data and of earlier stages' outputs.
        work: Does the stage in the folder and returns its facts (JSON values). After an interruption it finds its own
            checkpoints in `folder / WORK_FOLDER`.

    Returns:
        The stage's record.
    """
    description = json.loads(json.dumps({**inputs, "versions": versions()}))
    fingerprint = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    manifest, started = folder / MANIFEST_FILE, folder / STARTED_FILE
    if manifest.exists():
        record = json.loads(manifest.read_text(encoding="utf-8"))
        if record["fingerprint"] == fingerprint and all((folder / file).is_file() for file in record["outputs"]):
            return StageRecord(
                name, folder, fingerprint, record["outputs"], record["facts"], record["seconds"], skipped=True
            )
    if not (
        started.exists() and json.loads(started.read_text(encoding="utf-8")) == fingerprint and not manifest.exists()
    ):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _write(started, fingerprint)
    begin = time.monotonic()
    facts = json.loads(json.dumps(work(folder)))
    seconds = round(time.monotonic() - begin, 1)
    shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    started.unlink()
    outputs = {
        file.relative_to(folder).as_posix(): file_sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }
    _write(
        manifest,
        {
            "stage": name,
            "fingerprint": fingerprint,
            "inputs": description,
            "outputs": outputs,
            "facts": facts,
            "seconds": seconds,
        },
    )
    return StageRecord(name, folder, fingerprint, outputs, facts, seconds, skipped=False)


def _write(file: Path, content: Any) -> None:
    """Write JSON so that the file appears whole or not at all."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(file)
