"""A miniature world for the tests: people, places and organisations, talked about in English and in Swahili.

Sentences come from a handful of patterns filled by a seeded generator, so that hundreds differ from one another and yet
a tiny model learns from them in seconds. The names are the same in both languages, the words around them are not: what
a tagger learns on English must be carried over to Swahili.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

Token = tuple[str, str]
"""A word or punctuation mark and its tag: O, or B- or I- and one of PER, LOC, ORG."""

LANGUAGES = ("en", "sw")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")

NAMES = {
    "PER": (
        "Amina Hassan", "Juma Bakari", "Grace Wanjiku", "John Mwangi", "Fatuma Said", "Peter Otieno", "Neema Joseph",
        "Daudi Mushi", "Rehema", "Baraka", "Mary Njeri", "Salim Omari",
    ),
    "LOC": (
        "Nairobi", "Mombasa", "Dar es Salaam", "Dodoma", "Kisumu", "Zanzibar", "Kampala", "Arusha", "Mwanza", "Kigali",
        "Tanga", "Nakuru",
    ),
    "ORG": (
        "Umoja Bank", "Safari Airways", "Kilimo Trust", "Radio Pwani", "Mlima College", "Simba Motors", "Bahari Press",
        "Afya Foundation",
    ),
}  # fmt: skip

# In a pattern, PER, LOC and ORG stand for a name, <word> for one of the words below.
WORDS = {
    "en": {
        "person": ("teacher", "doctor", "farmer", "driver", "student", "nurse", "writer", "fisherman"),
        "thing": ("book", "car", "house", "boat", "school", "market", "road", "garden", "letter", "phone"),
        "quality": ("big", "new", "good", "old", "small", "beautiful"),
        "time": ("yesterday", "today", "this morning", "last week", "last year", "in the evening"),
        "did": ("bought", "saw", "sold", "built", "described", "found"),
    },
    "sw": {
        "person": ("mwalimu", "daktari", "mkulima", "dereva", "mwanafunzi", "muuguzi", "mwandishi", "mvuvi"),
        "thing": ("kitabu", "gari", "nyumba", "mashua", "shule", "soko", "barabara", "bustani", "barua", "simu"),
        "quality": ("kubwa", "mpya", "nzuri", "ya zamani", "ndogo", "ya kupendeza"),
        "time": ("jana", "leo", "asubuhi hii", "wiki iliyopita", "mwaka jana", "jioni"),
        "did": ("alinunua", "aliona", "aliuza", "alijenga", "alieleza", "alipata"),
    },
}
PATTERNS = {
    "en": (
        "PER travelled to LOC <time> .",
        "The <person> from LOC <did> a <quality> <thing> <time> .",
        "PER works for ORG in LOC .",
        "ORG opened a <quality> <thing> in LOC <time> .",
        "PER , the <person> , met PER in LOC <time> .",
        "The <quality> <thing> of PER is in LOC .",
        "ORG gave the <person> a <quality> <thing> .",
        "Does the <person> know PER of ORG ?",
        "People in LOC like the <quality> <thing> .",
        "<time> PER <did> the <thing> of the <person> .",
    ),
    "sw": (
        "PER alisafiri kwenda LOC <time> .",
        "<person> kutoka LOC <did> <thing> <quality> <time> .",
        "PER anafanya kazi ORG mjini LOC .",
        "ORG ilifungua <thing> <quality> mjini LOC <time> .",
        "PER , <person> , alikutana na PER mjini LOC <time> .",
        "<thing> <quality> ya PER iko LOC .",
        "ORG ilimpa <person> <thing> <quality> .",
        "Je , <person> anamjua PER wa ORG ?",
        "Watu wa LOC wanapenda <thing> <quality> .",
        "<time> PER <did> <thing> ya <person> .",
    ),
}


def sentences(language: str, count: int, *, seed: int = 0) -> list[list[Token]]:
    """Make `count` different sentences of tagged tokens; the same ones for the same arguments."""
    generator = random.Random(f"{language} {seed}")
    made: dict[str, list[Token]] = {}
    while len(made) < count:
        sentence = _fill(generator.choice(PATTERNS[language]), WORDS[language], generator)
        made.setdefault(text(sentence), sentence)
    return list(made.values())


def text(sentence: Sequence[Token]) -> str:
    """Write a sentence as people do: no space before punctuation."""
    written = " ".join(token for token, _ in sentence)
    for mark in ".,?":
        written = written.replace(f" {mark}", mark)
    return written


def write_conll(file: Path, tagged: Sequence[Sequence[Token]]) -> Path:
    """Write `token<TAB>tag` lines with a blank line after each sentence."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = "".join("".join(f"{token}\t{tag}\n" for token, tag in sentence) + "\n" for sentence in tagged)
    file.write_text(written, encoding="utf-8")
    return file


def write_lines(file: Path, lines: Sequence[str]) -> Path:
    """Write a line each."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def _fill(pattern: str, words: dict[str, tuple[str, ...]], generator: random.Random) -> list[Token]:
    sentence: list[Token] = []
    for slot in pattern.split():
        if slot in NAMES:
            parts = generator.choice(NAMES[slot]).split()
            sentence += [(part, f"{'I' if index else 'B'}-{slot}") for index, part in enumerate(parts)]
        else:
            filled = generator.choice(words[slot[1:-1]]) if slot.startswith("<") else slot
            sentence += [(word, "O") for word in filled.split()]
    first, tag = sentence[0]
    sentence[0] = (first[0].upper() + first[1:], tag)
    return sentence
