"""Sections of a card that people own: what stands between their markers survives a new rendering byte for byte.

    <!-- bistill:keep limits -->
    Only newspapers were read.
    <!-- bistill:end limits -->

A marker is a line of its own that begins at the line's first character. In a fenced code block it is an example and no
marker. Everything outside the markers belongs to the template. A fence that is opened in a section must be closed in
it: an open one would hide the section's end, which is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .front_matter import FRONT_MATTER

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # what Markdown takes for lines; str.splitlines knows more
_MARKER = re.compile(r"<!-- bistill:(keep|end) ([a-z][a-z0-9-]*) -->[ \t]*[\r\n]*")
_LIKE_A_MARKER = re.compile(r"<!--\s*bistill\s*:", re.IGNORECASE)
LIMITS = "limits"
"""The section of a pair's card that nobody but its contributor can write."""

TO_FILL_IN = "TODO:"
"""What a place that its contributor has still to fill in begins with."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Section:
    """Where a section's text is: `card[start:end]`."""

    name: str
    start: int
    end: int


def keep_sections(old_card: str, new_card: str, *, file: str | Path | None = None) -> str:
    """Carry what people wrote in a card's sections into its new rendering.

    Read both cards with `newline=""`: a text whose line ends were translated is another text.

    Args:
        old_card: The card as it is.
        new_card: The card as the template gives it.
        file: The old card's file, for messages.

    Returns:
        The new card with the old text in each section that both have. A section that the old card alone has is
        appended, with its markers, in the old order; one that the new card alone has stays as it is.

    Raises:
        InputError: a card's markers are unbalanced, repeated, nested, misspelt or hidden by a code fence, so that a
            section's text could be lost.
    """
    old, new = _sections(old_card, file), _sections(new_card, None)
    hidden = _hidden_names(old_card) - set(old) - _hidden_names(new_card)
    if hidden:
        raise InputError(
            "its markers stand in a code fence, where they are no markers",
            file=file,
            field=f"section {min(hidden)}",
            remedy="close the fence before it, or give the example the name of a section that the card has",
        )
    parts, place = [], 0
    for section in new.values():
        text = _text(old_card, old[section.name]) if section.name in old else _text(new_card, section)
        parts += [new_card[place : section.start], text]
        place = section.end
    parts.append(new_card[place:])
    for name in [name for name in old if name not in new]:
        parts.append(_appended(name, _text(old_card, old[name]), after="".join(parts)))
    kept = "".join(parts)
    found = _sections(kept, None)
    for name, section in old.items():
        if name not in found or _text(kept, found[name]) != _text(old_card, section):
            raise InputError(
                "the new card has no place for its text as it is",
                file=file,
                field=f"section {name}",
                remedy="close every code fence of the template, and end its lines with a line feed",
            )
    return kept


def merge_sections(
    ours: str,
    theirs: str,
    *,
    written_by_us: Mapping[str, str],
    written_by_them: Mapping[str, str],
    file: str | Path | None = None,
) -> str:
    """Bring what people wrote in another copy of a card into ours, where nobody has written in ours.

    Args:
        ours: Our card.
        theirs: The other copy.
        written_by_us: By section, the text that the template wrote into ours; other texts were edited.
        written_by_them: The same of the other copy.
        file: The other copy's file, for messages.

    Returns:
        Our card. A section that was edited in the other copy alone has its text, and one that we lack is appended.

    Raises:
        InputError: a section was edited in both, or markers are wrong.
    """
    mine, other = read_sections(ours), read_sections(theirs, file=file)
    merged = keep_sections(theirs, ours, file=file)
    for name in [name for name in mine if name in other and mine[name] != other[name]]:
        base = written_by_them.get(name)
        if other[name] != base and not (mine[name] == base == written_by_us.get(name)):
            raise InputError(
                "it was edited there, and is another text here",
                file=file,
                field=f"section {name}",
                remedy="bring the text from there into the README.md here, or ask for ours (--replace, replace=True)",
            )
        if other[name] == base:
            place = _sections(merged, None)[name]
            merged = merged[: place.start] + mine[name] + merged[place.end :]
    return merged


def read_sections(card: str, *, file: str | Path | None = None) -> dict[str, str]:
    """Return the text of each section of a card, in order.

    Raises:
        InputError: the markers are wrong.
    """
    return {name: _text(card, section) for name, section in _sections(card, file).items()}


def read_section(card: str, name: str, *, file: str | Path | None = None) -> str:
    """Return the text of a section, from behind its first marker's line to its last marker's line.

    Raises:
        InputError: the card has no such section, or its markers are wrong.
    """
    sections = _sections(card, file)
    if name not in sections:
        raise InputError(
            f"the card has the sections {', '.join(sections) or 'none'}",
            file=file,
            field="section",
            value=name,
            remedy=f"put its text between `{_marker('keep', name)}` and `{_marker('end', name)}`",
        )
    return card[sections[name].start : sections[name].end]


def _marker(kind: str, name: str) -> str:
    return f"<!-- bistill:{kind} {name} -->"


def _text(card: str, section: _Section) -> str:
    return card[section.start : section.end]


def _appended(name: str, text: str, *, after: str) -> str:
    gap = "\n" if after.endswith(("\n", "\r")) else "\n\n"
    return f"{gap}{_marker('keep', name)}\n{text}{_marker('end', name)}\n"


def _lines(card: str) -> Iterator[tuple[str, int, bool]]:
    """Each line of the body, where it begins, and whether it is in a fenced code block."""
    metadata = FRONT_MATTER.match(card)
    fence = ""
    for line in _LINE.finditer(card, metadata.end() if metadata else 0):
        found = _FENCE.match(line[0])
        opens = found is not None and not fence and not (found[1][0] == "`" and "`" in found[2])
        closes = found is not None and fence and found[1].startswith(fence) and not found[2].strip()
        yield line[0], line.start(), bool(fence)
        if found is not None and (opens or closes):
            fence = found[1] if opens else ""


def _hidden_names(card: str) -> set[str]:
    """Names of markers in code fences, sections' own fences left out."""
    owned = list(_sections(card, None).values())
    return {
        marker[2]
        for line, start, fenced in _lines(card)
        if fenced and (marker := _MARKER.fullmatch(line)) and not any(s.start <= start < s.end for s in owned)
    }


def _sections(card: str, file: str | Path | None) -> dict[str, _Section]:
    """Find the sections, in the card's order.

    Raises:
        InputError: the markers are wrong.
    """

    def refuse(name: str, problem: str, remedy: str) -> InputError:
        return InputError(problem, file=file, field=f"section {name}", remedy=remedy)

    sections: dict[str, _Section] = {}
    open_name, start = "", 0
    for line, place, fenced in _lines(card):
        if fenced or not _LIKE_A_MARKER.search(line):
            continue
        marker = _MARKER.fullmatch(line)
        if marker is None:
            raise InputError(
                "no marker, and like one",
                file=file,
                field=f"section {open_name}" if open_name else "markers",
                value=line.strip(),
                remedy=f"write {_marker('keep', 'name')} or {_marker('end', 'name')} and nothing else on the line, "
                "or show it in a fenced code block",
            )
        kind, name = marker[1], marker[2]
        if kind == "keep":
            if open_name:
                raise refuse(name, f"it begins within {open_name}", f"put {_marker('end', open_name)} before it")
            if name in sections:
                raise refuse(name, "it stands twice in the card", "join both into one, or rename one")
            open_name, start = name, place + len(line)
        elif name != open_name:
            raise refuse(name, "it ends and has not begun", f"put {_marker('keep', name)} where it begins")
        else:
            sections[name] = _Section(name, start, place)
            open_name = ""
    if open_name:
        remedy = f"put {_marker('end', open_name)} where it ends, and close every code fence in it"
        raise refuse(open_name, "it has no end", remedy)
    return sections
