"""Which characters a text has after the tokenizer's normalisation, found without normalising all of it a second time.

Characters that do not act on their neighbours, here called plain, are normalised alike in every line that has only such
characters. Once lines like that have shown what becomes of each of a line's characters, normalising it shows nothing
new. The other lines, those with combining marks for example, are normalised one by one.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from .piece_models import simple_parts

_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Nd", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sm"})
_NORMALIZERS = frozenset(
    {
        "BertNormalizer",
        "ByteLevel",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Nmt",
        "Precompiled",
        "Prepend",
        "Strip",
        "StripAccents",
    }
)
"""Those that treat plain characters one by one; Strip does so where a line has no space at its ends."""


class NormalizedCharacters:
    """Collects the characters of normalised lines.

    Args:
        normalizer: A `tokenizers.normalizers.Normalizer`; None changes nothing.

    Attributes:
        characters: Exactly the characters of all lines so far, normalised.
    """

    def __init__(self, normalizer: Any) -> None:
        self.characters: set[str] = set()
        self._normalize = normalizer.normalize_str if normalizer is not None else str
        parts = list(simple_parts(json.loads(normalizer.__getstate__()) if normalizer is not None else None))
        self._spaces_matter = any(part["type"] == "Strip" or _is_run_of_spaces(part) for part in parts)
        example = self._normalize("a a")
        self._by_character = all(map(_is_by_character, parts)) and all(map(_is_harmless, example))
        self._by_character &= example == "a a" or not self._spaces_matter
        self._plain: dict[str, bool] = {" ": True}
        self._shown: set[str] = set()  # characters of plain lines that were normalised
        self._shown_ascii = b""

    def add(self, lines: Iterable[str]) -> None:
        """Add the characters of lines."""
        for line in lines:
            if self._shows_nothing_new(line):
                continue
            self.characters.update(self._normalize(line))
            if self._by_character and not self._has_outer_or_double_space(line) and all(map(self._is_plain, line)):
                self._shown.update(line)
                self._shown_ascii = bytes({*self._shown_ascii, *line.encode("ascii", "ignore")})

    def _shows_nothing_new(self, line: str) -> bool:
        rest = line.encode("utf-8", "surrogatepass").translate(None, self._shown_ascii)
        if rest and not self._shown.issuperset(rest.decode("utf-8", "surrogatepass")):
            return False
        return self._by_character and not self._has_outer_or_double_space(line)

    def _has_outer_or_double_space(self, line: str) -> bool:
        """Tell whether a line has spaces that act on one another, which is never where the normaliser lets them be."""
        return self._spaces_matter and ("  " in line or line[:1] == " " or line[-1:] == " ")

    def _is_plain(self, character: str) -> bool:
        if character not in self._plain:
            self._plain[character] = _starts_apart(character) and self._is_plain_image(self._normalize(character))
        return self._plain[character]

    def _is_plain_image(self, image: str) -> bool:
        """Tell whether what a character became can stand beside others: no space that could join a run, no mark."""
        if self._spaces_matter and (not image or any(map(str.isspace, image))):
            return False
        return image.strip()[:1] in ("", "▁") or _starts_apart(image.strip()[0])


def _starts_apart(character: str) -> bool:
    """Tell whether a character, decomposed or not, never joins the one before it.

    True of letters, digits and punctuation; not of marks, jamo, joiners, modifiers, controls or pictures. Letters
    without case count in the scripts before Devanagari and in those of China, Japan and Korea.
    """
    return all(map(_is_apart, {character, unicodedata.normalize("NFKD", character)[0]}))


def _is_apart(character: str) -> bool:
    if character.isascii():
        return character.isprintable()
    category, code = unicodedata.category(character), ord(character)
    return category in _CATEGORIES or (category == "Lo" and (code < 0x900 or 0x3041 <= code <= 0xD7A3))


def _is_run_of_spaces(part: dict[str, Any]) -> bool:
    return part["type"] == "Replace" and part["pattern"] == {"Regex": " {2,}"}


def _is_by_character(part: dict[str, Any]) -> bool:
    if part["type"] == "Prepend":
        return _is_harmless(part["prepend"])
    if part["type"] == "Replace":
        one_character = len(part["pattern"].get("String", "")) == 1
        return (one_character or _is_run_of_spaces(part)) and _is_harmless(part["content"])
    return part["type"] in _NORMALIZERS


def _is_harmless(inserted: str) -> bool:
    return inserted in ("", " ", "▁") or all(map(_starts_apart, inserted))
