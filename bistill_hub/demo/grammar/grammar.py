"""What the four languages have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..lexicon import NOUNS, NUMERALS, TIMES, Noun
from ..meaning import Clause, Fact, Fragment, Name, Question, Role, Scene, Slot, Statement
from .tokens import Token, name, words


class Grammar(ABC):
    """How a language says clauses. All four put the verb after its subject, then the object, the place and the time.

    Attributes:
        language: Its code.
        replies: Yes, no and maybe.
        right: Yes and no to a plain question.
        ask: The words for who, what, where and when.
        articles: The articles, which headlines do without.
    """

    language: str
    replies: tuple[str, str, str]
    right: tuple[str, str]
    ask: dict[Slot, str]
    articles: frozenset[str] = frozenset()

    def sentence(self, clause: Clause) -> list[Token]:
        """Say a clause, with the mark at its end."""
        if isinstance(clause, Question):
            asking = self._plain_question(clause.scene) if clause.plain else self._question(clause)
            return [*asking, Token("?", "PUNCT")]
        if isinstance(clause, Fragment):
            return [*self._fragment(clause), Token(".", "PUNCT")]
        if isinstance(clause, Fact):
            return [*self._fact(clause), Token(".", "PUNCT")]
        if isinstance(clause, Statement):
            return [*self._statement(clause), Token(".", "PUNCT")]
        if clause.yes is None:
            answer = Token(self.replies[2], "ADV")
        else:
            answer = Token((self.right if clause.plain else self.replies)[0 if clause.yes else 1], "INTJ")
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

    def _plain_question(self, scene: Scene) -> list[Token]:
        """Ask whether a scene is so, in the words of a statement."""
        return self._statement(Statement(scene))

    def _fragment(self, said: Fragment) -> list[Token]:
        """Say one slot of a scene."""
        scene = said.scene
        if said.slot == "thing":
            return self._things(scene, definite=False)
        return {"agent": self._agent, "place": self._place, "time": self._time}[said.slot](scene)

    def _time(self, scene: Scene) -> list[Token]:
        """Say when; nothing where it is not said."""
        if scene.time is None:
            return []
        return [Token(word, tag, slot="time") for word, tag in TIMES[scene.time].words[self.language]]

    def _agent(self, scene: Scene) -> list[Token]:
        """Say who."""
        who = scene.agent
        if isinstance(who, Role):
            return self._people(NOUNS[who.noun], who.plural)
        return [*(words(self.company) if who.needs_noun else []), *name(who, "agent")]

    def _place(self, scene: Scene) -> list[Token]:
        """Say where; nothing where it is not said."""
        return [] if scene.place is None else self.somewhere(scene.place, "place")

    company: str
    in_place: str

    def somewhere(self, place: Name | str, slot: Slot | None = None) -> list[Token]:
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
        return self._things(
            Scene(agent=Role("person"), verb="buy", thing=str(fact.subject), count=fact.count), definite=True
        )


def is_plural(agent: Name | Role) -> bool:
    """Whether an agent is several people."""
    return isinstance(agent, Role) and agent.plural


def moved(fact: Fact, grammar: Grammar, works: str, travelled: str, source: str, goal: str) -> list[Token]:
    """The rest of "works for" and "travelled" after the subject."""
    other = name(fact.other) if isinstance(fact.other, Name) else []
    if fact.relation == "works":
        return [*words(works), *other, *(grammar.somewhere(fact.place) if fact.place else [])]
    start = [*words(source), *name(fact.place)] if fact.place else []
    return [*words(travelled), *start, *words(goal), *other]
