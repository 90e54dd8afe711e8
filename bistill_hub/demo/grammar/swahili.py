"""How Swahili says clauses."""

from __future__ import annotations

from ..lexicon import ADJECTIVES, NOUNS, SITES, VERBS, Noun
from ..meaning import Fact, Name, Question, Scene, Slot
from .grammar import Grammar, is_plural, moved
from .tokens import Token, name, noun, words


class Swahili(Grammar):
    """Swahili: verbs agree with the subject's noun class, adjectives, numerals and "of" with the noun's."""

    language = "sw"
    replies = ("ndiyo", "hapana", "labda")
    right = ("ndivyo", "sivyo")
    ask = {"agent": "nani", "thing": "nini", "place": "wapi", "time": "lini"}
    company, in_place = "kampuni/NOUN ya/ADP", "katika/ADP"

    # By concord, singular and plural: the subject's prefix; of consonantal and vocalic adjectives; the word for "of".
    _SUBJECT = {"wa": ("a", "wa"), "ki": ("ki", "vi"), "n": ("i", "zi"), "ji": ("li", "ya"), "mi": ("u", "i")}
    _BEFORE_CONSONANT = {"wa": ("m", "wa"), "ki": ("ki", "vi"), "ji": ("", "ma"), "mi": ("m", "mi")}
    _BEFORE_VOWEL = {"wa": ("mw", "w"), "ki": ("ch", "vy"), "ji": ("j", "m"), "mi": ("mw", "my")}
    _OF = {"wa": ("wa", "wa"), "ki": ("cha", "vya"), "n": ("ya", "za"), "ji": ("la", "ya"), "mi": ("wa", "ya")}

    def _site(self, place: str, slot: Slot | None) -> list[Token]:
        return noun(SITES[place].sw, slot)

    def _people(self, noun: Noun, plural: bool) -> list[Token]:
        return [Token(noun.sw[plural], "NOUN", slot="agent")]

    def _things(self, scene: Scene, *, definite: bool) -> list[Token]:
        thing, plural = NOUNS[scene.thing], scene.count > 1
        tokens = [Token(thing.sw[plural], "NOUN", slot="thing")]
        if scene.quality is not None:
            tokens.append(Token(self.adjective(scene.quality, thing.concord, plural), "ADJ", slot="thing"))
        if plural:
            tokens.append(Token(self._counted(scene.count, thing.concord), "NUM", slot="thing"))
        return tokens

    def adjective(self, quality: str, concord: str, plural: bool) -> str:
        """Return an adjective in agreement with a noun."""
        stem, with_n, with_ji = ADJECTIVES[quality].sw
        if concord == "n":
            return with_n
        if concord == "ji" and not plural:
            return with_ji
        if stem[0] != "e":
            return self._BEFORE_CONSONANT[concord][plural] + stem
        prefix = self._BEFORE_VOWEL[concord][plural]
        return prefix + stem

    def _counted(self, count: int, concord: str) -> str:
        stem = self._numeral(count)
        if concord == "n":
            return "mbili" if stem == "wili" else stem
        return self._BEFORE_CONSONANT[concord][True] + stem

    def _verb(self, scene: Scene, *, passive: bool = False) -> list[Token]:
        if passive:
            concord, plural = NOUNS[scene.thing].concord, scene.count > 1
        else:
            company = isinstance(scene.agent, Name) and scene.agent.kind == "ORG"
            concord, plural = "n" if company else "wa", is_plural(scene.agent)
        return words(f"{self.inflect(VERBS[scene.verb].sw[passive], scene, concord, plural)}/VERB")

    def inflect(self, stem: str, scene: Scene, concord: str, plural: bool) -> str:
        """Return a verb form with prefix of subject and tense."""
        subject = self._SUBJECT[concord][plural]
        if not scene.negative:
            return subject + {"past": "li", "present": "na", "future": "ta"}[scene.tense] + stem
        denied = "ha" if subject == "a" else f"ha{subject}"
        if scene.tense == "present":
            return f"{denied}{stem[:-1]}i"
        return denied + {"past": "ku", "future": "ta"}[scene.tense] + stem

    def _by(self) -> list[Token]:
        return words("na/ADP")

    def _question(self, question: Question) -> list[Token]:
        scene, asked = question.scene, question.asked
        where = words("wapi/ADV") if asked == "place" else self._place(scene)
        when = words("lini/ADV") if asked == "time" else self._time(scene)
        what = words("nini/PRON") if asked == "thing" else self._things(scene, definite=False)
        if asked == "agent":
            verb = words(f"{self.inflect(VERBS[scene.verb].sw[0], scene, 'wa', False)}/VERB")
            return [*words("nani/PRON"), *verb, *what, *where, *when]
        start = words("je/PART ,/PUNCT") if asked is None else []
        return [*start, *self._agent(scene), *self._verb(scene), *what, *where, *when]

    def _fact(self, fact: Fact) -> list[Token]:
        if isinstance(fact.subject, Name):
            subject, concord, plural = name(fact.subject), "wa", False
        else:
            subject, concord, plural = self._noun_of(fact), NOUNS[fact.subject].concord, fact.count > 1
        if fact.relation == "is":
            return [*subject, *words(f"ni/AUX {NOUNS[str(fact.other)].sw[0]}/NOUN")]
        if fact.relation == "quality":
            owner = [*words(f"{self._OF[concord][plural]}/ADP"), *name(fact.owner)] if fact.owner else []
            return [*subject, *owner, *words(f"ni/AUX {self.adjective(str(fact.other), concord, plural)}/ADJ")]
        if fact.relation == "at":
            prefix = self._SUBJECT[concord][plural]
            return [*subject, *words(f"{'yu' if prefix == 'a' else prefix}ko/AUX"), *self.somewhere(fact.other)]
        works = "anafanya/VERB kazi/NOUN"
        return [*subject, *moved(fact, self, works, "alisafiri/VERB", "kutoka/ADP", "kwenda/ADP")]
