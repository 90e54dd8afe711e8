"""Meanings of the miniature world, in no language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .lexicon import Kind

Slot = Literal["agent", "thing", "place", "time"]


@dataclass(frozen=True)
class Name:
    """A person, place or organisation, called the same in every language."""

    kind: Kind
    text: str

    @property
    def needs_noun(self) -> bool:
        """Whether it is an organisation whose name alone could as well be a person's."""
        return self.kind == "ORG" and " " not in self.text and not self.text.isupper()


@dataclass(frozen=True)
class Role:
    """One or several people, called by what they do."""

    noun: str
    plural: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Who did, does, will do or does not do what; None: it is not said.

    Attributes:
        agent: Who.
        verb: The action.
        thing: What it is done to.
        count: How many of them, 1 to 5.
        tense: "past", "present" or "future".
        quality: An adjective for the thing.
        place: A named place, or the noun of a site.
        time: When.
        negative: Whether it is denied.
    """

    agent: Name | Role
    verb: str
    thing: str
    count: int = 1
    tense: str = "past"
    quality: str | None = None
    place: Name | str | None = None
    time: str | None = None
    negative: bool = False


@dataclass(frozen=True)
class Statement:
    """A scene, told in the active or the passive voice; the time first or last."""

    scene: Scene
    passive: bool = False
    time_first: bool = False


@dataclass(frozen=True)
class Question:
    """A question about a scene: for one of its slots, or (None) whether it is so.

    Attributes:
        scene: What is known.
        asked: The slot.
        plain: Whether it is so, asked by a statement with a question mark.
    """

    scene: Scene
    asked: Slot | None
    plain: bool = False


@dataclass(frozen=True)
class Reply:
    """Yes, no or (None) maybe, and perhaps a statement; `plain` to a plain question, with "right" for yes."""

    yes: bool | None
    statement: Statement | None = None
    plain: bool = False


@dataclass(frozen=True)
class Fragment:
    """One slot of a scene, without the rest of the sentence."""

    scene: Scene
    slot: Slot


@dataclass(frozen=True)
class Fact:
    """Something that is so without anything being done.

    `subject` and `other` by `relation`: "is" (a person, a role), "works" (a person, an organisation; `place` where),
    "travelled" (a person, a place; `place` from where), "quality" (a noun with `count`, an adjective; `owner` whose),
    "at" (a noun with `count`, or a person; a place).
    """

    relation: Literal["is", "works", "travelled", "quality", "at"]
    subject: Name | str
    other: Name | str
    place: Name | None = None
    owner: Name | None = None
    count: int = 1


Clause = Statement | Question | Reply | Fragment | Fact
