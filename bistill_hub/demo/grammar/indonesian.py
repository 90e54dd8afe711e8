"""How Indonesian says clauses."""

from __future__ import annotations

from ..lexicon import ADJECTIVES, NOUNS, SITES, VERBS, Noun
from ..meaning import Fact, Name, Question, Scene, Slot
from .grammar import Grammar, moved
from .tokens import Token, name, noun, words


class Indonesian(Grammar):
    """Indonesian: no agreement; tense, denial and voice are words and prefixes."""

    language = "id"
    replies = ("ya", "tidak", "mungkin")
    right = ("benar", "salah")
    ask = {"agent": "siapa", "thing": "apa", "place": "di mana", "time": "kapan"}
    company, in_place = "perusahaan/NOUN", "di/ADP"

    def _site(self, place: str, slot: Slot | None) -> list[Token]:
        return [*words("di/ADP"), *noun(SITES[place].id, slot)]

    def _people(self, noun: Noun, plural: bool) -> list[Token]:
        tokens = [Token(part, "NOUN", slot="agent") for part in noun.id.split("_")]
        return [*words("para/DET"), *tokens] if plural else [*tokens, *words("itu/DET")]

    def _things(self, scene: Scene, *, definite: bool) -> list[Token]:
        tokens = noun(NOUNS[scene.thing].id, "thing")
        if scene.quality is not None:
            tokens.append(Token(ADJECTIVES[scene.quality].id, "ADJ", slot="thing"))
        if scene.count > 1:
            tokens.insert(0, Token(self._numeral(scene.count), "NUM", slot="thing"))
        return [*tokens, *words("itu/DET")] if definite else tokens

    def _verb(self, scene: Scene, *, passive: bool = False) -> list[Token]:
        marker = {"past": "telah/AUX", "present": "sedang/AUX", "future": "akan/AUX"}[scene.tense]
        if scene.negative:
            marker = "tidak/PART" if scene.tense == "past" else f"tidak/PART {marker}"
        return words(f"{marker} {VERBS[scene.verb].id[passive]}/VERB")

    def _by(self) -> list[Token]:
        return words("oleh/ADP")

    def _question(self, question: Question) -> list[Token]:
        scene, asked = question.scene, question.asked
        end = [] if asked == "place" else self._place(scene)
        end += [] if asked == "time" else self._time(scene)
        what = words("apa/PRON") if asked == "thing" else self._things(scene, definite=False)
        core = [*self._verb(scene), *what, *end]
        if asked == "agent":
            return [*words("siapa/PRON"), *core]
        start = {"place": "di/ADP mana/ADV", "time": "kapan/ADV", "thing": "", None: "apakah/PART"}[asked]
        return [*words(start), *self._agent(scene), *core]

    def _fact(self, fact: Fact) -> list[Token]:
        subject = name(fact.subject) if isinstance(fact.subject, Name) else self._noun_of(fact)
        if fact.relation == "is":
            return [*subject, *words("adalah/AUX"), *noun(NOUNS[str(fact.other)].id)]
        if fact.relation == "quality":
            if fact.owner:
                subject = [*subject[:-1], *name(fact.owner)]  # the owner stands in the place of "itu"
            return [*subject, *words(f"{ADJECTIVES[str(fact.other)].id}/ADJ")]
        if fact.relation == "at":
            return [*subject, *words("berada/VERB"), *self.somewhere(fact.other)]
        return [*subject, *moved(fact, self, "bekerja/VERB untuk/ADP", "pergi/VERB", "dari/ADP", "ke/ADP")]
