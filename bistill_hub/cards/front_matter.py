"""YAML as a card carries it: written so that every reader gets the same values back, and read without surprises."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ..errors import InputError, first_line

FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
"""Where the Hub cuts a card into metadata (group 2) and body."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 _./@:+-]*", re.ASCII)
"""Text that YAML 1.1 and 1.2 both read as text where it stands unquoted, unless it is a word such as `no`."""


def write_yaml(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Write a mapping or list so that YAML 1.1 and 1.2 read back equal values, on lines without an end.

    No text can end a card's block or begin another document: whatever is not plain stands in double quotes on one line.
    """
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=False
    )
    return text.strip()


def parse_yaml(text: str, *, file: str | Path | None = None, field: str | None = None) -> Any:
    """Read one YAML document of plain values: no tags of a language, no repeated keys, no anchors.

    Args:
        text: The document.
        file: Where it is from, for messages.
        field: What it is there, for messages.

    Raises:
        InputError: it cannot be read, or is not that plain.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise InputError(
                "an alias repeats another value", file=file, field=field, remedy="write the value out at both places"
            )
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        place = getattr(error, "problem_mark", None)
        line = "" if place is None else f" (line {place.line + 1})"
        problem = getattr(error, "problem", None) or first_line(error)
        raise InputError(f"no YAML: {problem}{line}", file=file, field=field, remedy="correct the line") from error


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        """Write equal objects out each time."""
        return True


def _write_text(dumper: Any, text: str) -> Any:
    style = None if _PLAIN.fullmatch(text) and not text.endswith(" ") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that stands twice, of which other loaders keep the last value."""


def _read_mapping(loader: Any, node: Any) -> Any:
    keys: list[Any] = []
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        keys.append(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _read_mapping)
