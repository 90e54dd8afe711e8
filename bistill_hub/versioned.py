"""Reads JSON files of this package's own that carry the version of their layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import InputError, first_line


def read_versioned(file: Path, field: str, version: int, *, remedy: str) -> dict[str, Any]:
    """Read a JSON object, if it is of the version that this code reads.

    Args:
        file: The file.
        field: The key that the version stands under.
        version: The version to accept.
        remedy: What to do about another version.

    Raises:
        InputError: the file is not there, holds no JSON object, or has another version.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("there is no such file", file=file, remedy=remedy) from None
    except (OSError, ValueError, RecursionError) as error:  # the last where it is nested without end
        raise InputError(f"it cannot be read ({first_line(error)})", file=file, remedy=remedy) from error
    if not isinstance(content, dict) or content.get(field) != version:
        found = content.get(field) if isinstance(content, dict) else None
        raise InputError(
            f"this code reads version {version}",
            file=file,
            field=field,
            value=found,
            remedy=f"install the version of bistill-hub that wrote it, or {remedy}",
        )
    return content
