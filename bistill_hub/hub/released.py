"""The files for remote code that each released version wrote into its pairs, by hash.

Give `python -m bistill_hub.hub.released` after each change to one of these files: it writes the present version's
hashes into `released_code.json`, and leaves those of the other versions as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..model.auto import TRAVELLING_FILES
from ..sources import file_sha256
from ..version import __version__

HASHES_FILE = Path(__file__).with_name("released_code.json")

Hashes = Mapping[str, str]
"""SHA-256 by file name."""


def present_hashes() -> dict[str, str]:
    """Hash the files of the package at hand."""
    home = Path(__file__).parent.parent / "model"
    return {name: file_sha256(home / name) for name in TRAVELLING_FILES}


def written_hashes(file: Path = HASHES_FILE) -> dict[str, Hashes]:
    """Read the hashes that ship with the package, by version."""
    versions: dict[str, Hashes] = json.loads(file.read_text(encoding="utf-8"))
    return versions


def released_code() -> dict[str, Hashes]:
    """Return the hashes by version; those of the version at hand are those of its own files."""
    return {**written_hashes(), __version__: present_hashes()}


def write_hashes(file: Path = HASHES_FILE) -> bool:
    """Write the present version's hashes.

    Args:
        file: Where all versions' hashes are.

    Returns:
        Whether the file changed.
    """
    old = written_hashes(file)
    new = {**old, __version__: present_hashes()}
    file.write_text(json.dumps(new, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return new != old


if __name__ == "__main__":
    print(f"{HASHES_FILE.name}: {'written' if write_hashes() else 'is as it should be'} for {__version__}")  # noqa: T201
