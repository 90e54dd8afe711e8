"""What was given on a command line, for others to read: no file keeps its folder, which is this machine's business."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..teacher import LEGACY_PREFIX


def without_folders(value: Any) -> Any:
    """Return a value in which whatever lies on this machine is called by its name alone, at any depth.

    A leading `~` and environment variables are read as in the paths of text; a text that is no path stays as it is.

    Args:
        value: Text, a path, or lists and mappings of such.
    """
    if isinstance(value, Mapping):
        return {name: without_folders(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(entry) for entry in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        return value
    prefix = LEGACY_PREFIX if value.startswith(LEGACY_PREFIX) else ""
    place = os.path.expanduser(os.path.expandvars(value.removeprefix(prefix)))
    # Not Path.exists, which raises where a text is too long for a name.
    if "/" not in place or not os.path.exists(place):
        return value
    return f"{prefix}{Path(place).name or Path(place).resolve().name}"
