"""Meanings of the miniature world, and how English, Swahili, Spanish and Indonesian say them.

A meaning is made once and said in any language, so that parallel text, parts of speech, entities and the place of every
answer come with the words.
"""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from .lexicon import ADJECTIVES, NOUNS, NUMERALS, SITES, TIMES, VERBS, Kind, Noun

Slot = Literal["agent", "thing", "place", "time"]


class Token(NamedTuple):
    """A word or punctuation mark.

    Attributes:
        text: As written.
        pos: Universal part of speech.
        entity: `O`, or `B-` or `I-` and one of PER, LOC, ORG.
        slot: What of its scene the word tells: the answer to who, what, where or when; None if none of these.
    """

    text: str
    pos: str
    entity: str = "O"
    slot: Slot | None = None


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
        employer: The organisation that a named agent belongs to.
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
    employer: Name | None = None
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
    """A question about a scene: for one of its slots, or (None) whether it is so."""

    scene: Scene
    asked: Slot | None


@dataclass(frozen=True)
class Reply:
    """Yes or no, and perhaps a statement."""

    yes: bool
    statement: Statement | None = None


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


Clause = Statement | Question | Reply | Fact


def say(clause: Clause, language: str) -> list[Token]:
    """Say a clause as a sentence: a capital letter first, a full stop or question mark last."""
    return _capitalised(GRAMMARS[language].sentence(clause))


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


def join(tokens: Sequence[Token]) -> str:
    """Write tokens as text: no space before `. , ?` and after `¿`."""
    return "".join(gap + token.text for gap, token in zip(gaps(tokens), tokens, strict=True))


def gaps(tokens: Sequence[Token]) -> list[str]:
    """Return what stands before each token: a space or nothing."""
    before = ["", *(token.text for token in tokens[:-1])]
    return [
        "" if not index or token.text in ".,?" or last == "¿" else " "
        for index, (last, token) in enumerate(zip(before, tokens, strict=True))
    ]


def words(tagged: str, slot: Slot | None = None) -> list[Token]:
    """Make tokens of `word/TAG` pairs with spaces between them."""
    return [Token(word, tag, slot=slot) for word, _, tag in (pair.rpartition("/") for pair in tagged.split())]


def name(of: Name, slot: Slot | None = None) -> list[Token]:
    """A name's words, each a proper noun."""
    return [
        Token(part, "PROPN", f"{'I' if index else 'B'}-{of.kind}", slot) for index, part in enumerate(of.text.split())
    ]


def noun(written: str, slot: Slot | None = None) -> list[Token]:
    """A common noun, of one or several words."""
    return [Token(part, "NOUN", slot=slot) for part in written.split("_")]


class Grammar(ABC):
    """How a language says clauses. All four put the verb after its subject, then the object, the place and the time.

    Attributes:
        language: Its code.
        yes_no: The answers to a question.
        ask: The words for who, what, where and when.
    """

    language: str
    yes_no: tuple[str, str]
    ask: dict[Slot, str]

    def sentence(self, clause: Clause) -> list[Token]:
        """Say a clause, with the mark at its end."""
        if isinstance(clause, Question):
            return [*self._question(clause), Token("?", "PUNCT")]
        if isinstance(clause, Fact):
            return [*self._fact(clause), Token(".", "PUNCT")]
        if isinstance(clause, Statement):
            return [*self._statement(clause), Token(".", "PUNCT")]
        answer = Token(self.yes_no[0 if clause.yes else 1], "INTJ")
        if clause.statement is None:
            return [answer, Token(".", "PUNCT")]
        return [answer, Token(",", "PUNCT"), *self._statement(clause.statement), Token(".", "PUNCT")]

    def _statement(self, said: Statement) -> list[Token]:
        """Say a statement, without its full stop."""
        scene = said.scene
        time = self._time(scene)
        if said.passive:
            subject = self._things(scene, definite=True)
            core = [*subject, *self._verb(scene, passive=True), *self._by(), *self._agent(scene)]
        else:
            core = [*self._agent(scene), *self._verb(scene), *self._things(scene, definite=False)]
        core += self._place(scene)
        return [*time, *core] if said.time_first else [*core, *time]

    def _time(self, scene: Scene) -> list[Token]:
        """Say when; nothing where it is not said."""
        if scene.time is None:
            return []
        return [Token(word, tag, slot="time") for word, tag in TIMES[scene.time].words[self.language]]

    def _agent(self, scene: Scene) -> list[Token]:
        """Say who, with the organisation that they belong to."""
        who = scene.agent
        if isinstance(who, Role):
            tokens = self._people(NOUNS[who.noun], who.plural)
        else:
            tokens = [*(words(self.company) if who.needs_noun else []), *name(who, "agent")]
        return tokens if scene.employer is None else [*tokens, *words(self.of), *name(scene.employer)]

    def _place(self, scene: Scene) -> list[Token]:
        """Say where; nothing where it is not said."""
        return [] if scene.place is None else self._somewhere(scene.place, "place")

    company: str
    of: str
    in_place: str

    def _somewhere(self, place: Name | str, slot: Slot | None = None) -> list[Token]:
        """Say in which named place or at which site."""
        if isinstance(place, Name):
            return [*words(self.in_place), *name(place, slot)]
        return self._site(place, slot)

    def _numeral(self, count: int) -> str:
        """Return the word for two to five."""
        return NUMERALS[self.language][count - 2]

    @abstractmethod
    def _site(self, place: str, slot: Slot | None) -> list[Token]:
        """Say at which site."""

    @abstractmethod
    def _people(self, noun: Noun, plural: bool) -> list[Token]:
        """Say a role, definite."""

    @abstractmethod
    def _things(self, scene: Scene, *, definite: bool) -> list[Token]:
        """Say what, with its number and quality."""

    @abstractmethod
    def _verb(self, scene: Scene, *, passive: bool = False) -> list[Token]:
        """Say the action, in its tense, denied or not."""

    @abstractmethod
    def _by(self) -> list[Token]:
        """The word before a passive's agent."""

    @abstractmethod
    def _question(self, question: Question) -> list[Token]:
        """Say a question, without its question mark at the end."""

    @abstractmethod
    def _fact(self, fact: Fact) -> list[Token]:
        """Say a fact, without its full stop."""

    def _noun_of(self, fact: Fact) -> list[Token]:
        """The things that a fact is about, definite, without anything else."""
        return self._things(_bare(fact), definite=True)


def _bare(fact: Fact) -> Scene:
    return Scene(agent=Role("person"), verb="buy", thing=str(fact.subject), count=fact.count)


def is_plural(agent: Name | Role) -> bool:
    """Whether an agent is several people."""
    return isinstance(agent, Role) and agent.plural


class English(Grammar):
    """English."""

    language = "en"
    yes_no = ("yes", "no")
    ask = {"agent": "who", "thing": "what", "place": "where", "time": "when"}
    company, of, in_place = "the/DET company/NOUN", "of/ADP", "in/ADP"

    def _site(self, place: str, slot: Slot | None) -> list[Token]:
        return [*words(f"{SITES[place].preposition}/ADP the/DET"), *noun(SITES[place].en, slot)]

    def _people(self, noun: Noun, plural: bool) -> list[Token]:
        return [Token("the", "DET"), Token(noun.en[plural], "NOUN", slot="agent")]

    def _things(self, scene: Scene, *, definite: bool) -> list[Token]:
        head = [] if scene.quality is None else [Token(scene.quality, "ADJ", slot="thing")]
        head.append(Token(NOUNS[scene.thing].en[scene.count > 1], "NOUN", slot="thing"))
        if scene.count > 1:
            head.insert(0, Token(self._numeral(scene.count), "NUM", slot="thing"))
        if definite:
            return [Token("the", "DET"), *head]
        article = "an" if head[0].text[0] in "aeiou" else "a"
        return head if scene.count > 1 else [Token(article, "DET"), *head]

    def _verb(self, scene: Scene, *, passive: bool = False) -> list[Token]:
        plural = scene.count > 1 if passive else is_plural(scene.agent)
        auxiliary, rest = self._split_verb(scene, passive, plural)
        if auxiliary is None:
            return rest
        return [auxiliary, *(words("not/PART") if scene.negative else []), *rest]

    def _split_verb(
        self, scene: Scene, passive: bool, plural: bool, ask: bool = False
    ) -> tuple[Token | None, list[Token]]:
        """Return the auxiliary that "not" or a question's subject follows, and what stands after those."""
        base, past, participle, ing = VERBS[scene.verb].en
        be = "are" if plural else "is"
        if scene.tense == "future":
            rest = words(f"be/AUX {participle}/VERB" if passive else f"{base}/VERB")
            return Token("will", "AUX"), rest
        if scene.tense == "present":
            return Token(be, "AUX"), words(f"being/AUX {participle}/VERB" if passive else f"{ing}/VERB")
        if passive:
            return Token("were" if plural else "was", "AUX"), words(f"{participle}/VERB")
        if scene.negative or ask:
            return Token("did", "AUX"), words(f"{base}/VERB")
        return None, words(f"{past}/VERB")

    def _by(self) -> list[Token]:
        return words("by/ADP")

    def _question(self, question: Question) -> list[Token]:
        scene, asked = question.scene, question.asked
        end = [] if asked == "place" else self._place(scene)
        end += [] if asked == "time" else self._time(scene)
        if asked == "agent":
            auxiliary, rest = self._split_verb(scene, passive=False, plural=False)
            verb = rest if auxiliary is None else [auxiliary, *rest]
            return [*words("who/PRON"), *verb, *self._things(scene, definite=False), *end]
        auxiliary, rest = self._split_verb(scene, passive=False, plural=is_plural(scene.agent), ask=True)
        start = [] if asked is None else words(f"{self.ask[asked]}/{'PRON' if asked == 'thing' else 'ADV'}")
        what = [] if asked == "thing" else self._things(scene, definite=False)
        return [*start, *([auxiliary] if auxiliary else []), *self._agent(scene), *rest, *what, *end]

    def _fact(self, fact: Fact) -> list[Token]:
        subject = name(fact.subject) if isinstance(fact.subject, Name) else self._noun_of(fact)
        be = words("are/AUX" if fact.count > 1 else "is/AUX")
        if fact.relation == "is":
            role = NOUNS[str(fact.other)].en[0]
            return [*subject, *be, *words(f"{'an' if role[0] in 'aeiou' else 'a'}/DET {role}/NOUN")]
        if fact.relation == "quality":
            owner = [*words("of/ADP"), *name(fact.owner)] if fact.owner else []
            return [*subject, *owner, *be, *words(f"{fact.other}/ADJ")]
        if fact.relation == "at":
            return [*subject, *be, *self._somewhere(fact.other)]
        return [*subject, *_moved(fact, self, "works/VERB for/ADP", "travelled/VERB", "from/ADP", "to/ADP")]


def _moved(fact: Fact, grammar: Grammar, works: str, travelled: str, source: str, goal: str) -> list[Token]:
    """The rest of "works for" and "travelled" after the subject."""
    other = name(fact.other) if isinstance(fact.other, Name) else []
    if fact.relation == "works":
        return [*words(works), *other, *(grammar._somewhere(fact.place) if fact.place else [])]
    start = [*words(source), *name(fact.place)] if fact.place else []
    return [*words(travelled), *start, *words(goal), *other]


class Swahili(Grammar):
    """Swahili: verbs agree with the subject's noun class, adjectives, numerals and "of" with the noun's."""

    language = "sw"
    yes_no = ("ndiyo", "hapana")
    ask = {"agent": "nani", "thing": "nini", "place": "wapi", "time": "lini"}
    company, of, in_place = "kampuni/NOUN ya/ADP", "wa/ADP", "katika/ADP"

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
            return [*subject, *words(f"{'yu' if prefix == 'a' else prefix}ko/AUX"), *self._somewhere(fact.other)]
        works = "anafanya/VERB kazi/NOUN"
        return [*subject, *_moved(fact, self, works, "alisafiri/VERB", "kutoka/ADP", "kwenda/ADP")]


class Spanish(Grammar):
    """Spanish: articles, adjectives and participles agree with the noun's gender and number."""

    language = "es"
    yes_no = ("sí", "no")
    ask = {"agent": "quién", "thing": "qué", "place": "dónde", "time": "cuándo"}
    company, of, in_place = "la/DET empresa/NOUN", "de/ADP", "en/ADP"

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
            return [*subject, *words("están/AUX" if plural else "está/AUX"), *self._somewhere(fact.other)]
        return [*subject, *_moved(fact, self, "trabaja/VERB para/ADP", "viajó/VERB", "de/ADP", "a/ADP")]


def agree(masculine: str, feminine: bool, plural: bool) -> str:
    """Return a Spanish adjective or participle in -o or -e in its gender and number."""
    form = f"{masculine[:-1]}a" if feminine and masculine.endswith("o") else masculine
    return f"{form}s" if plural else form


class Indonesian(Grammar):
    """Indonesian: no agreement; tense, denial and voice are words and prefixes."""

    language = "id"
    yes_no = ("ya", "tidak")
    ask = {"agent": "siapa", "thing": "apa", "place": "di mana", "time": "kapan"}
    company, of, in_place = "perusahaan/NOUN", "dari/ADP", "di/ADP"

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
            return [*subject, *words("berada/VERB"), *self._somewhere(fact.other)]
        return [*subject, *_moved(fact, self, "bekerja/VERB untuk/ADP", "pergi/VERB", "dari/ADP", "ke/ADP")]


GRAMMARS: dict[str, Grammar] = {
    grammar.language: grammar for grammar in (English(), Swahili(), Spanish(), Indonesian())
}
