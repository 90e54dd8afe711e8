"""How Spanish says clauses."""

from __future__ import annotations

from ..lexicon import ADJECTIVES, NOUNS, SITES, VERBS, Noun
from ..meaning import Fact, Name, Question, Scene, Slot
from .grammar import Grammar, is_plural, moved
from .tokens import Token, name, noun, words


class Spanish(Grammar):
    """Spanish: articles, adjectives and participles agree with the noun's gender and number."""

    language = "es"
    replies = ("sí", "no", "quizás")
    right = ("cierto", "falso")
    ask = {"agent": "quién", "thing": "qué", "place": "dónde", "time": "cuándo"}
    articles = frozenset({"el", "la", "los", "las", "un", "una"})
    company, in_place = "la/DET empresa/NOUN", "en/ADP"

    _THE = {(False, False): "el", (False, True): "los", (True, False): "la", (True, True): "las"}
    _BE = {"past": ("fue", "fueron"), "present": ("es", "son"), "future": ("será", "serán")}

    def _site(self, place: str, slot: Slot | None) -> list[Token]:
        there = SITES[place]
        return [*words(f"en/ADP {'la' if there.feminine else 'el'}/DET"), *noun(there.es, slot)]

    def _people(self, noun: Noun, plural: bool) -> list[Token]:
        return [Token(self._THE[noun.feminine, plural], "DET"), Token(noun.es[plural], "NOUN", slot="agent")]

    def _things(self, scene: Scene, *, definite: bool) -> list[Token]:
        thing, plural = NOUNS[scene.thing], scene.count > 1
        tokens = [Token(thing.es[plural], "NOUN", slot="thing")]
        if scene.quality is not None:
            tokens.append(Token(agree(ADJECTIVES[scene.quality].es, thing.feminine, plural), "ADJ", slot="thing"))
        if plural:
            tokens.insert(0, Token(self._numeral(scene.count), "NUM", slot="thing"))
        if definite:
            return [Token(self._THE[thing.feminine, plural], "DET"), *tokens]
        return tokens if plural else [Token("una" if thing.feminine else "un", "DET"), *tokens]

    def _verb(self, scene: Scene, *, passive: bool = False) -> list[Token]:
        forms = VERBS[scene.verb].es
        denied = words("no/ADV") if scene.negative else []
        if passive:
            thing, plural = NOUNS[scene.thing], scene.count > 1
            participle = agree(forms[6], thing.feminine, plural)
            return [*denied, *words(f"{self._BE[scene.tense][plural]}/AUX {participle}/VERB")]
        return [*denied, *words(f"{self._active(scene, is_plural(scene.agent))}/VERB")]

    def _active(self, scene: Scene, plural: bool) -> str:
        return VERBS[scene.verb].es[2 * ("past", "present", "future").index(scene.tense) + plural]

    def _by(self) -> list[Token]:
        return words("por/ADP")

    def _plain_question(self, scene: Scene) -> list[Token]:
        return [*words("¿/PUNCT"), *super()._plain_question(scene)]

    def _question(self, question: Question) -> list[Token]:
        scene, asked = question.scene, question.asked
        end = [] if asked == "place" else self._place(scene)
        end += [] if asked == "time" else self._time(scene)
        what = [] if asked == "thing" else self._things(scene, definite=False)
        start = words("¿/PUNCT")
        if asked is not None:
            start += words(f"{self.ask[asked]}/{'PRON' if asked in ('agent', 'thing') else 'ADV'}")
        if asked == "agent":
            return [*start, *words(f"{self._active(scene, False)}/VERB"), *what, *end]
        return [*start, *self._verb(scene), *self._agent(scene), *what, *end]

    def _fact(self, fact: Fact) -> list[Token]:
        subject = name(fact.subject) if isinstance(fact.subject, Name) else self._noun_of(fact)
        plural = fact.count > 1
        if fact.relation == "is":
            return [*subject, *words(f"es/AUX {NOUNS[str(fact.other)].es[0]}/NOUN")]
        if fact.relation == "quality":
            owner = [*words("de/ADP"), *name(fact.owner)] if fact.owner else []
            quality = agree(ADJECTIVES[str(fact.other)].es, NOUNS[str(fact.subject)].feminine, plural)
            return [*subject, *owner, *words(f"{'son' if plural else 'es'}/AUX {quality}/ADJ")]
        if fact.relation == "at":
            return [*subject, *words("están/AUX" if plural else "está/AUX"), *self.somewhere(fact.other)]
        return [*subject, *moved(fact, self, "trabaja/VERB para/ADP", "viajó/VERB", "de/ADP", "a/ADP")]


def agree(masculine: str, feminine: bool, plural: bool) -> str:
    """Return a Spanish adjective or participle in -o or -e in its gender and number."""
    form = f"{masculine[:-1]}a" if feminine and masculine.endswith("o") else masculine
    return f"{form}s" if plural else form
