"""Codes and English names of languages, as langcodes knows them from ISO 639 and Unicode's CLDR."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache


def other_code(code: str) -> str | None:
    """Return the three-letter code of a two-letter one and the other way round, None where there is none.

    Data sets use the one (ISO 639-1) or the other (ISO 639-3).
    """
    return _other_codes().get(code)


@cache
def _other_codes() -> Mapping[str, str]:
    from langcodes import standardize_tag
    from langcodes.data_dicts import LANGUAGE_ALPHA3

    found = {}
    for two, three in LANGUAGE_ALPHA3.items():
        if len(two) == 2:
            found[two] = three
            if three not in found or standardize_tag(two) == two:  # not "iw", which Hebrew had before
                found[three] = two
    return found


def language_name(code: str) -> str | None:
    """Return a language's English name, None where it is not known.

    Args:
        code: A code of two letters or three; one with subtags names a variety, which has no name here.
    """
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(code)
    except LanguageTagError:
        return None
    known = language.language is not None and language.is_valid() and language.to_tag() == language.language
    name = language.language_name()
    return name if known and not name.startswith("Unknown language") else None  # codes for private use are valid
