"""Tells a file of JSON objects, one a line, whatever it is called."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

_LOOKED_AT = 65_536
"""Bytes at the beginning of a file that tell it."""


def mostly_json(file: Path) -> bool:
    """Whether most of the non-empty lines at the beginning of a file are JSON objects.

    Args:
        file: The file; what is not UTF-8 in it is no JSON.
    """
    with file.open("rb") as content:
        beginning = content.read(_LOOKED_AT)
    lines = [line for line in beginning.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]
    whole = lines[:-1] if len(beginning) == _LOOKED_AT else lines
    return sum(map(_is_object, whole)) * 2 > len(whole)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):  # not JSON, or not UTF-8
        return False
