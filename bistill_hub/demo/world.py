"""The miniature world: text, translations and labelled data in four languages, out of seeded random scenes.

Gold labels are computed from the scenes, not from the words. Names in validation and test data occur in no other data.
The unlabelled text holds what real text does, questions with their answers, denials and the same thing said twice: a
language model that never saw a question in a language could not answer one in it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .grammar import gaps, headline, join, say
from .lexicon import ADJECTIVES, NOUNS, ROLES, SITES, THINGS, TIMES, VERBS, Kind, Split, names
from .meaning import Clause, Fact, Fragment, Name, Question, Reply, Role, Scene, Slot, Statement

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
SLOTS: tuple[Slot, ...] = ("agent", "thing", "place", "time")
HEADLINES = 0.3
"""Share of the sentences to be tagged that are said without articles."""
_OPTIONAL = ("quality", "place", "time")
_DETAILS = ("place", "time", "quality")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much `write_world` writes.

    Attributes:
        text: Lines of unlabelled text in each language, of one to four sentences.
        train: Source-language training examples by task.
        validation: Source-language development examples of each task.
        test: Test examples of each task and language.
    """

    text: int = 4000
    train: tuple[tuple[str, int], ...] = (("ner", 1200), ("pos", 800), ("nli", 4000), ("qa", 3000))
    validation: int = 200
    test: int = 300


@dataclass(frozen=True)
class Inference:
    """Whether a statement follows from another that tells of the same event."""

    premise: Statement
    hypothesis: Statement
    label: Label


@dataclass(frozen=True)
class Quiz:
    """A passage and a question that one of its sentences answers.

    Attributes:
        passage: The sentences.
        answering: The number of the sentence with the answer.
        question: The question.
    """

    passage: tuple[Clause, ...]
    answering: int
    question: Question


class World:
    """Draws meanings; the same ones, in the same order, for the same seed.

    Args:
        seed: Any text.
        split: Whose names to use.
    """

    def __init__(self, seed: str, split: Split = "train") -> None:
        self.random = random.Random(seed)
        self.split = split

    def name(self, kind: Kind) -> Name:
        """Draw a name."""
        return Name(kind, self.random.choice(names(kind, self.split)))

    def scene(self, *, complete: bool = False) -> Scene:
        """Draw a scene; a complete one tells where and when."""
        draw = self.random
        kind = draw.choices(("PER", "ORG", "role"), (45, 10, 45))[0]
        agent: Name | Role
        if kind == "role":
            agent = Role(draw.choice([role for role in ROLES if role != "person"]), draw.random() < 0.15)
        else:
            agent = self.name("PER" if kind == "PER" else "ORG")
        tense = draw.choices(("past", "present", "future"), (6, 2, 2))[0]
        return Scene(
            agent=agent,
            verb=draw.choice(list(VERBS)),
            thing=draw.choice(_SPECIFIC),
            count=draw.choice((1, 1, 1, 1, 1, 2, 3)),
            tense=tense,
            quality=self.quality() if draw.random() < 0.3 else None,
            place=self.place() if complete or draw.random() < 0.6 else None,
            time=self.time(tense) if complete or draw.random() < 0.5 else None,
        )

    def quality(self) -> str:
        """Draw an adjective."""
        return self.random.choice(list(ADJECTIVES))

    def place(self) -> Name | str:
        """Draw a named place or a site."""
        return self.name("LOC") if self.random.random() < 0.6 else self.random.choice(list(SITES))

    def time(self, tense: str) -> str:
        """Draw a time that goes with a tense."""
        return self.random.choice([name for name, time in TIMES.items() if time.tense == tense])

    def statement(self, scene: Scene) -> Statement:
        """Draw a way to tell a scene: now and then in the passive, or with the time first."""
        draw = self.random
        return Statement(scene, draw.random() < 0.08, scene.time is not None and draw.random() < 0.25)

    def fact(self) -> Fact:
        """Draw a fact."""
        draw = self.random
        relation = draw.choice(("is", "works", "travelled", "quality", "at", "at"))
        if relation == "is":
            return Fact("is", self.name("PER"), draw.choice(list(ROLES)))
        if relation == "works":
            return Fact("works", self.name("PER"), self.name("ORG"), self.name("LOC") if draw.random() < 0.5 else None)
        if relation == "travelled":
            start = self.name("LOC") if draw.random() < 0.5 else None
            return Fact("travelled", self.name("PER"), self.name("LOC"), start)
        thing, count = draw.choice(_SPECIFIC), draw.choice((1, 1, 2, 3))
        if relation == "quality":
            owner = self.name("PER") if draw.random() < 0.6 else None
            return Fact("quality", thing, self.quality(), owner=owner, count=count)
        if draw.random() < 0.5:
            return Fact("at", self.name("PER"), self.place())
        return Fact("at", thing, self.place(), count=count)

    def clause(self) -> Clause:
        """Draw a sentence of any kind: to be tagged."""
        draw = self.random
        chance = draw.random()
        if chance < 0.3:
            return self.fact()
        scene = self.scene()
        if chance < 0.42:
            return self.question(scene, draw.choice(SLOTS))
        return self.statement(replace(scene, negative=draw.random() < 0.15))

    def question(self, scene: Scene, asked: Slot, *, keep: float = 0.15) -> Question:
        """Ask for a slot, with each further detail of the scene left in with probability `keep`."""
        left_out: dict[str, Any] = {slot: None for slot in _OPTIONAL if slot == asked or self.random.random() > keep}
        if asked == "thing":
            left_out["quality"] = None
        return Question(replace(scene, **left_out, negative=False), asked)

    def quiz(self, sentences: int | None = None) -> Quiz:
        """Draw a passage and a question about one of its events.

        The event asked about is told with who, what, where and when; the other sentences are facts or further events.
        """
        draw = self.random
        sentences = sentences or draw.choice((2, 3))
        scene = self.scene(complete=True)
        others: list[Clause] = []
        while len(others) < sentences - 1:
            if draw.random() < 0.6:
                others.append(self.fact())
                continue
            other = self.scene(complete=True)
            if all(_differ(other, each.scene) for each in (Statement(scene), *others) if isinstance(each, Statement)):
                others.append(self.statement(other))
        answering = draw.randrange(sentences)
        passage = (*others[:answering], self.statement(scene), *others[answering:])
        return Quiz(passage, answering, self.question(scene, draw.choice(SLOTS)))

    def inference(self, label: Label) -> Inference:
        """Draw a pair with this label.

        Whatever the label, the hypothesis tells an event with one detail, denied as often, so that it says nothing
        about the label by itself: only the premise tells whether the detail is there, is another, or is denied.
        """
        while True:
            event = replace(self.scene(complete=True), quality=self.quality() if self.random.random() < 0.5 else None)
            told = [slot for slot in _DETAILS if getattr(event, slot) is not None]
            detail = self.random.choice(told)
            rest = [slot for slot in told if slot != detail]
            untold: dict[str, Any] = dict.fromkeys(rest)
            claim = replace(event, **untold, negative=self.random.random() < 0.2)
            premise = self._premise(event, claim, detail, rest, label)
            if premise is not None and relation(premise, claim) == label:
                return Inference(self.statement(premise), self.statement(claim), label)

    def _premise(self, event: Scene, claim: Scene, detail: str, rest: Sequence[str], label: Label) -> Scene | None:
        """Try to make a premise; it may turn out to have another label."""
        draw = self.random
        dropped: dict[str, Any] = {slot: None for slot in rest if draw.random() < 0.4}
        fuller = replace(event, **dropped)
        if label == "neutral":
            missing: dict[str, Any] = {detail: None}
            premise = replace(fuller, **missing, negative=draw.random() < 0.15)
            return premise if any(getattr(premise, slot) is not None for slot in rest) else None
        if label == "entailment":
            return claim if claim.negative else fuller
        if claim.negative:
            return fuller
        if draw.random() < 0.4:
            return replace(claim, negative=True)
        return replace(fuller, **{detail: self._other(event, detail)})

    def _other(self, scene: Scene, slot: str) -> Any:
        """Draw another value for a detail."""
        while True:
            value = {"place": self.place, "quality": self.quality, "time": lambda: self.time(scene.tense)}[slot]()
            if value != getattr(scene, slot):
                return value

    def passage(self) -> list[Clause]:
        """Draw one to five sentences of running text."""
        draw = self.random
        kind = draw.choices(("story", "answer", "yes or no", "again", "denial"), (10, 28, 46, 8, 8))[0]
        if kind == "story":
            return [self.fact() if draw.random() < 0.3 else self.clause() for _ in range(draw.choice((1, 1, 2)))]
        if kind == "answer":
            return self._answered(self.quiz(draw.choice((1, 2, 2, 3))))
        if kind == "yes or no":
            return self._confirmed(self.inference(draw.choice(LABELS)))
        if kind == "again":
            pair = self.inference("entailment")
            return [pair.premise, pair.hypothesis]
        scene = self.scene(complete=True)
        slot = draw.choice(("place", "time"))
        other = replace(scene, **{slot: self._other(scene, slot)})
        return [self.statement(replace(other, negative=True)), self.statement(scene)]

    def _answered(self, quiz: Quiz) -> list[Clause]:
        """A quiz with its answer, a whole sentence or only what was asked for; the question last or first."""
        known, asked = quiz.question.scene, quiz.question.asked
        told = quiz.passage[quiz.answering]
        if not isinstance(told, Statement) or asked is None:
            raise TypeError(told)
        found: dict[str, Any] = {asked: getattr(told.scene, asked)}
        if asked == "thing":
            found["quality"] = told.scene.quality
        whole = replace(known, **found)
        answer = Statement(whole) if self.random.random() < 0.4 else Fragment(whole, asked)
        if self.random.random() < 0.5:
            return [quiz.question, answer, *quiz.passage]
        return [*quiz.passage, quiz.question, answer]

    def _confirmed(self, pair: Inference) -> list[Clause]:
        """A statement, the question whether another is so, and the reply."""
        verdict = {"entailment": True, "neutral": None, "contradiction": False}[pair.label]
        scene, plain = pair.hypothesis.scene, self.random.random() < 0.6
        if not plain and scene.negative:  # no language agrees with another on "yes" to a question that denies
            scene, verdict = replace(scene, negative=False), None if verdict is None else not verdict
        so = None
        if verdict is not None and self.random.random() < 0.3:
            so = Statement(scene if verdict else replace(scene, negative=not scene.negative))
        return [pair.premise, Question(scene, None, plain), Reply(verdict, so, plain)]


_SPECIFIC = [thing for thing in THINGS if thing != THINGS[thing].general]


def _differ(scene: Scene, other: Scene) -> bool:
    """Whether a question about one cannot be taken for one about the other, and all answers differ."""
    return all(getattr(scene, slot) != getattr(other, slot) for slot in SLOTS)


def relation(premise: Scene, hypothesis: Scene) -> Label:
    """Return how two statements about one event are related, by logic alone."""
    if not premise.negative:
        fit = _fit(premise, hypothesis)
        if fit is None:
            return "neutral"
        return "entailment" if fit != hypothesis.negative else "contradiction"
    # That something did not happen says only that everything more specific did not happen either.
    if _fit(hypothesis, premise) is not True:
        return "neutral"
    return "entailment" if hypothesis.negative else "contradiction"


def _fit(told: Scene, claimed: Scene) -> bool | None:
    """Whether all that is claimed of an event holds where all that is told does; None where that is left open."""
    fits = [
        told.verb == claimed.verb and told.tense == claimed.tense and told.count == claimed.count,
        _agent_fits(told.agent, claimed.agent),
        _noun_fits(told.thing, claimed.thing),
        *(_detail_fits(slot, getattr(told, slot), getattr(claimed, slot)) for slot in _OPTIONAL),
    ]
    if False in fits:
        return False
    return None if None in fits else True


def _agent_fits(told: Name | Role, claimed: Name | Role) -> bool | None:
    if isinstance(told, Role) and isinstance(claimed, Role) and told.plural == claimed.plural:
        return _noun_fits(told.noun, claimed.noun)
    return told == claimed


def _noun_fits(told: str, claimed: str) -> bool | None:
    if told == claimed or NOUNS[told].general == claimed:
        return True
    return None if NOUNS[claimed].general == told else False


def _detail_fits(slot: str, told: Any, claimed: Any) -> bool | None:
    if claimed is None or told == claimed:
        return True
    if told is None:
        return None
    if slot == "quality":
        return None if ADJECTIVES[told].scale != ADJECTIVES[claimed].scale else False
    if slot == "place":  # a market may be in any town
        return None if isinstance(told, Name) != isinstance(claimed, Name) else False
    return False


def text(passage: Sequence[Clause], language: str) -> str:
    """Write sentences one after the other."""
    return " ".join(join(say(clause, language)) for clause in passage)


def tagged(
    clause: Clause, language: str, field: Literal["pos", "entity"], *, as_headline: bool = False
) -> list[tuple[str, str]]:
    """Return a sentence's words with their parts of speech, or their entity tags."""
    tokens = (headline if as_headline else say)(clause, language)
    return [(token.text, getattr(token, field)) for token in tokens]


def find_answer(quiz: Quiz, language: str) -> tuple[str, str, int]:
    """Say a passage.

    Returns:
        The passage's text, the answer, and the character at which the answer starts.
    """
    before = text(quiz.passage[: quiz.answering], language)
    tokens = say(quiz.passage[quiz.answering], language)
    start = len(before) + 1 if before else 0
    first: int | None = None
    end = 0
    for gap, token in zip(gaps(tokens), tokens, strict=True):
        start += len(gap)
        if token.slot == quiz.question.asked:
            first = start if first is None else first
            end = start + len(token.text)
        start += len(token.text)
    if first is None:
        raise ValueError(f"the sentence does not tell the {quiz.question.asked}")
    context = text(quiz.passage, language)
    return context, context[first:end], first


def write_world(
    folder: Path,
    *,
    seed: int = 0,
    source: str = "en",
    target: str = "sw",
    sizes: Sizes = Sizes(),
) -> dict[str, Path]:
    """Write a pair's unlabelled text and its labelled data for NER, POS, NLI and QA.

    Test examples are the same in both languages; the unlabelled text is not.

    Args:
        folder: Where the files go; it is made if need be.
        seed: Everything depends on it alone: the same seed gives the same bytes.
        source: The language with training data.
        target: The other one.
        sizes: How much of everything.

    Returns:
        The files: `text.<language>`, and for each task `<task>.train`, `<task>.validation`, `<task>.test.<language>`.
    """
    files: dict[str, Path] = {}
    for language in (source, target):
        files[f"text.{language}"] = file = folder / f"text.{language}.txt"
        world = World(f"{seed} text {language}")
        _write(file, "".join(f"{text(world.passage(), language)}\n" for _ in range(sizes.text)))
    train = dict(sizes.train)
    for task, (suffix, writer) in _WRITERS.items():
        parts: list[tuple[str, Split, str, int]] = [
            ("train", "train", source, train[task]),
            ("validation", "validation", source, sizes.validation),
            *((f"test.{language}", "test", language, sizes.test) for language in (source, target)),
        ]
        for part, split, language, count in parts:
            files[f"{task}.{part}"] = file = folder / task / f"{part}{suffix}"
            _write(file, writer(World(f"{seed} {task} {split}", split), language, count))
    return files


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode())


def _different(world: World, count: int) -> Iterator[Clause]:
    seen: set[str] = set()
    while len(seen) < count:
        clause = world.clause()
        if (written := text([clause], "en")) not in seen:
            seen.add(written)
            yield clause


def _conll(field: Literal["pos", "entity"]) -> Callable[[World, str, int], str]:
    def written(world: World, language: str, count: int) -> str:
        # Without headlines every English noun would follow an article, and any other word in its place be a name.
        sentences = (
            tagged(clause, language, field, as_headline=world.random.random() < HEADLINES)
            for clause in _different(world, count)
        )
        return "".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) + "\n" for sentence in sentences)

    return written


def _pairs(world: World, language: str, count: int) -> str:
    rows = ["premise\thypothesis\tlabel\n"]
    for number in range(count):
        pair = world.inference(LABELS[number % len(LABELS)])
        rows.append(f"{text([pair.premise], language)}\t{text([pair.hypothesis], language)}\t{pair.label}\n")
    return "".join(rows)


def _questions(world: World, language: str, count: int) -> str:
    paragraphs = []
    for number in range(count):
        quiz = world.quiz()
        context, answer, start = find_answer(quiz, language)
        entry = {
            "id": f"{number:05d}",
            "question": join(say(quiz.question, language)),
            "answers": [{"text": answer, "answer_start": start}],
        }
        paragraphs.append({"context": context, "qas": [entry]})
    data = [{"title": "A miniature world", "paragraphs": paragraphs}]
    return json.dumps({"version": "1.1", "data": data}, ensure_ascii=False, indent=1) + "\n"


_WRITERS: dict[str, tuple[str, Callable[[World, str, int], str]]] = {
    "ner": (".conll", _conll("entity")),
    "pos": (".conll", _conll("pos")),
    "nli": (".tsv", _pairs),
    "qa": (".json", _questions),
}
