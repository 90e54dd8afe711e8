"""How English says clauses."""

from __future__ import annotations

from ..lexicon import NOUNS, SITES, VERBS, Noun
from ..meaning import Fact, Name, Question, Scene, Slot
from .grammar import Grammar, is_plural, moved
from .tokens import Token, name, noun, words


class English(Grammar):
    """English."""

    language = "en"
    replies = ("yes", "no", "maybe")
    right = ("right", "wrong")
    ask = {"agent": "who", "thing": "what", "place": "where", "time": "when"}
    articles = frozenset({"the", "a", "an"})
    company, in_place = "the/DET company/NOUN", "in/ADP"

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
            return [*subject, *be, *self.somewhere(fact.other)]
        return [*subject, *moved(fact, self, "works/VERB for/ADP", "travelled/VERB", "from/ADP", "to/ADP")]
