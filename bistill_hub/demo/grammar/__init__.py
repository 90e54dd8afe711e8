"""How English, Swahili, Spanish and Indonesian say the miniature world's meanings; one file a language.

A meaning is made once and said in any language, so that parallel text, parts of speech, entities and the place of every
answer come with the words.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..meaning import Clause
from .english import English
from .grammar import Grammar
from .indonesian import Indonesian
from .spanish import Spanish
from .swahili import Swahili
from .tokens import Token, gaps, join

__all__ = ["GRAMMARS", "Grammar", "Token", "gaps", "headline", "join", "say", "say_mixed"]

GRAMMARS: dict[str, Grammar] = {
    grammar.language: grammar for grammar in (English(), Swahili(), Spanish(), Indonesian())
}


def say(clause: Clause, language: str) -> list[Token]:
    """Say a clause as a sentence: a capital letter first, a full stop or question mark last."""
    return _capitalised(GRAMMARS[language].sentence(clause))


def headline(clause: Clause, language: str) -> list[Token]:
    """Say a clause as a newspaper's headline does, without articles."""
    grammar = GRAMMARS[language]
    return _capitalised([token for token in grammar.sentence(clause) if token.text not in grammar.articles])


def say_mixed(clause: Clause, languages: Sequence[str], draw: random.Random) -> list[Token]:
    """Say a clause with each of its constituents in a language drawn anew, as bilingual speakers do."""
    frame = copy.copy(GRAMMARS[draw.choice(languages)])
    for constituent in ("_agent", "_verb", "_things", "_place", "_time", "_by"):
        setattr(frame, constituent, partial(_say_constituent, constituent, languages, draw))
    return _capitalised(frame.sentence(clause))


def _say_constituent(
    constituent: str, languages: Sequence[str], draw: random.Random, *args: Any, **options: Any
) -> list[Token]:
    said: list[Token] = getattr(GRAMMARS[draw.choice(languages)], constituent)(*args, **options)
    return said


def _capitalised(tokens: list[Token]) -> list[Token]:
    start = 1 if tokens[0].text == "¿" else 0
    first = tokens[start].text
    tokens[start] = tokens[start]._replace(text=first[0].upper() + first[1:])
    return tokens
