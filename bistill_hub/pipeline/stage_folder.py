"""A stage's folder on the disk: whose it is, how it is emptied, and what a power cut leaves of its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..cards.facts import FACTS_FILE
from ..errors import InputError
from ..power_cuts import bring_to_disk, sync

MANIFEST_FILE = "manifest.json"
STARTED_FILE = "started.json"

DAMAGED = ""
"""What `read_json` makes of a file that is not whole."""

REPOSITORY_FOLDER = "repository"
"""In the package's folder: the pair as it is published."""

_BY_HAND = (f"{REPOSITORY_FOLDER}/README.md", f"{REPOSITORY_FOLDER}/{FACTS_FILE}")
"""The card, in which people write, and what it was rendered from: what they wrote goes into the next one."""

_UNFINISHED = ".unfinished"
_NOBODYS = (".DS_Store", f"started{_UNFINISHED}")
"""What may lie in a folder in which no stage was begun: of a file browser, and of a process that was killed there."""


@contextmanager
def looking_at(folder: Path) -> Iterator[None]:
    """Say of a stage's folder that it cannot be looked at, such as one that is another user's.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"this stage's folder cannot be looked at ({error.strerror or error})",
            field="output",
            value=str(folder),
            remedy="have its owner give you the permission, or choose another output folder",
        ) from error


def read_json(file: Path) -> Any:
    """Read a JSON file of a stage's folder.

    Returns:
        Its content; None where there is no such file, `DAMAGED` where it is not whole, as a power cut leaves it.

    Raises:
        InputError: it cannot be read.
    """
    with looking_at(file.parent):
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            return DAMAGED


def write_json(file: Path, content: Any) -> None:
    """Write JSON so that the file appears whole or not at all, after a power cut too."""
    unfinished = file.with_suffix(_UNFINISHED)
    with unfinished.open("w", encoding="utf-8") as text:
        text.write(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        text.flush()
        sync(text.fileno())
    unfinished.replace(file)
    bring_to_disk(file.parent, ())


def is_half_written(file: Path) -> bool:
    """Whether a file is one that `write_json`, or who else writes like it, was writing when it was killed."""
    return file.suffix == _UNFINISHED


def is_of_a_stage(folder: Path) -> bool:
    """Whether a stage was begun in a folder, finished or not.

    Raises:
        InputError: the folder cannot be looked at.
    """
    record = read_json(folder / MANIFEST_FILE)
    ours = record == DAMAGED or (isinstance(record, Mapping) and "fingerprint" in record)
    return ours or read_json(folder / STARTED_FILE) is not None


def refuse_others_content(*folders: Path) -> None:
    """Refuse to do stages in folders of which one holds something, and no stage's: the stage would remove it.

    Raises:
        InputError: there is such a folder, or it is no folder, or it cannot be looked at.
    """
    for folder in folders:
        if problem := _problem(folder):
            raise InputError(
                problem,
                field="output",
                value=str(folder),
                remedy="choose another output folder, or move this elsewhere",
            )


def _problem(folder: Path) -> str:
    with looking_at(folder):
        if not folder.exists():
            return ""
        if not folder.is_dir():
            return "a stage is to be done in a folder of this name, and this is no folder"
        found = sorted(place.name for place in folder.iterdir() if place.name not in _NOBODYS)
    if not found or is_of_a_stage(folder):
        return ""
    return f"a stage is to be done in this folder, which holds what no run has left: {found[0]}"


def empty(folder: Path) -> None:
    """Remove what a stage has left in its folder, but for a card that people may have written in.

    The folder stays, and so does a link to one that is elsewhere.

    Raises:
        InputError: something cannot be removed; it would be taken for what the next attempt has left.
    """
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        # Nothing counts as finished or goes on in a folder that is half removed, and yet it is known for a stage's.
        (folder / STARTED_FILE).write_bytes(b"")
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        linked = (folder / REPOSITORY_FOLDER).is_symlink()
        kept = {folder / name for name in _BY_HAND if (folder / name).is_file() and not linked}
        for place in list(folder.iterdir()):
            if place.name != STARTED_FILE:
                _remove(place, kept)
        if not kept:
            (folder / STARTED_FILE).unlink()
        ours = {STARTED_FILE, *(file.relative_to(folder).parts[0] for file in kept)}
        left = sorted({place.name for place in folder.iterdir() if not place.name.startswith(".")} - ours)
        reason = ", ".join(left)
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}"
    if reason:
        raise InputError(
            f"the stage is to be done anew, and not all of its folder can be removed ({reason})",
            field="output",
            value=str(folder),
            remedy="remove the folder yourself, or choose another output folder",
        )


def _remove(place: Path, kept: Collection[Path]) -> None:
    """Remove a file, or a folder and all that is in it but for some files; of a link nothing but the link."""
    if place in kept:
        return
    if not place.is_dir() or place.is_symlink():
        place.unlink(missing_ok=True)
    elif any(file.is_relative_to(place) for file in kept):
        for deeper in list(place.iterdir()):
            _remove(deeper, kept)
    else:
        shutil.rmtree(place)
