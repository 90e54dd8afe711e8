"""What a card states, as data: nothing here is prose, and no number comes from anywhere but a run's records.

A published pair carries its facts, so that its card can be rendered anew from the repository alone: scores in
`tasks/<task>/results.json`, size and speed in `size_and_speed.json`, everything else in `card.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line
from ..evaluation.results import RESULTS_FILE, Result, read_results
from ..evaluation.speed import SIZE_AND_SPEED_FILE, SizeAndSpeed, read_size_and_speed
from ..versioned import read_versioned
from .computed_with import with_tasks

FACTS_FILE = "card.json"
FACTS_VERSION = 1


@dataclass(frozen=True)
class ModelFacts:
    """Size of a model.

    Attributes:
        parameters: Trainable numbers of the encoder.
        layers: Transformer layers.
        vocabulary: Tokens.
        megabytes: The encoder's weights in float32, 10^6 bytes.
    """

    parameters: int
    layers: int
    vocabulary: int

    @property
    def megabytes(self) -> float:
        """Size of the weights in float32, in 10^6 bytes."""
        return self.parameters * 4 / 1e6


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """The losses of one training.

    Attributes:
        name: What was trained: `phase 1`, or a task's name.
        stages: In order, each stage's name and its log: entries with `step` and the losses at it, of which `loss` is
            the total, `<term>_loss` one of its terms, and `eval_loss` the loss on held-out data. Steps begin anew in
            each.
    """

    name: str
    stages: tuple[tuple[str, Sequence[Mapping[str, float]]], ...]


@dataclass(frozen=True)
class CardFacts:
    """Everything that a pair's card states.

    Attributes:
        name: The pair's name, or its id on the Hub.
        source: Source language: code and English name.
        target: Target language: code and English name.
        license: Licence identifier of the Hub.
        teacher: The teacher's Hub id; None if it has none.
        teacher_revision: Its revision on the Hub.
        teacher_size: Size of the teacher.
        student_size: Size of the student.
        layer_map: For each student layer the teacher layer it was copied from.
        language_modelling_head: Whether the repository holds one.
        tasks: By task: `head`, `labels`, `density` of the delta; of one that was added later also `added`: its `recipe`
            and the `command`.
        results: Every score.
        vocabulary: The vocabulary report, JSON values.
        training: `stages`: name, settings, seconds and loss of each, and `loss_updates` where the loss is the mean over
            so many last updates, which older pairs lack; `machines`: what they ran on; `language_deltas`: by language,
            the teacher's language fine-tuning; `labelled`, which older pairs lack: by task, `train` and `validation`
            data with what of them was taken; `unverified`, which older pairs lack: the facts of the recipe that nobody
            has checked; JSON values.
        corpora: By language: name, lines and tokens of the text.
        datasets: Hub ids that were used.
        versions: Version by library.
        recipe_sha256: Hash of the recipe as it is published, `portable.published_sha256`.
        seed: Seed of the run.
        command: The command that reproduces the run.
        limits: The contributor's own words on limits and biases.
        taught: Whether phase 1 trained the student.
        drawn: Whether the student began with random weights in place of the teacher's.
        synthetic: Whether the data are made up, which the first line then says.
        smoke: Whether it was a smoke run, on a sample of the data and with few steps, which the first line then says.
        license_name: Name of a licence that the Hub has no identifier for.
        license_link: Its file in the repository, or its address.
        contributors: Who made the pair.
        curves: Losses of each training.
        size_and_speed: What was measured; None if nothing was.
        computed_with: What the scores were computed with beside the weights, by hash (see `cards.computed_with`); None
            for older pairs. `write_facts` fills it in.
    """

    name: str
    source: tuple[str, str]
    target: tuple[str, str]
    license: str
    teacher: str | None
    teacher_revision: str | None
    teacher_size: ModelFacts
    student_size: ModelFacts
    layer_map: tuple[int, ...]
    language_modelling_head: bool
    tasks: Mapping[str, Mapping[str, Any]]
    results: tuple[Result, ...]
    vocabulary: Mapping[str, Any]
    training: Mapping[str, Any]
    corpora: Mapping[str, Mapping[str, Any]]
    datasets: tuple[str, ...]
    versions: Mapping[str, str]
    recipe_sha256: str
    seed: int
    command: str
    limits: str
    taught: bool = True
    drawn: bool = False
    synthetic: bool = False
    smoke: bool = False
    license_name: str | None = None
    license_link: str | None = None
    contributors: tuple[str, ...] = ()
    curves: tuple[LossCurve, ...] = ()
    size_and_speed: SizeAndSpeed | None = None
    computed_with: Mapping[str, Any] | None = None


_ELSEWHERE = ("results", "size_and_speed")
"""Fields that have files of their own."""


def write_facts(repository: Path, facts: CardFacts) -> None:
    """Write `card.json`: equal facts give equal bytes. Scores, size and speed are not in it.

    Of a pair that has no `card.json` yet, and of tasks that the present one does not describe so, it notes what their
    scores were computed with: the configuration and tokenizer that lie there.

    Args:
        repository: The pair's folder.
        facts: What its card states.

    Raises:
        InputError: the present `card.json` is damaged or of another version.
    """
    fields = {name: value for name, value in asdict(facts).items() if name not in _ELSEWHERE}
    there, tasks = _tasks_there(repository), json.loads(json.dumps(fields["tasks"]))
    new = [name for name, task in tasks.items() if there is None or there.get(name) != task]
    if new or there is None:
        fields["computed_with"] = with_tasks(facts.computed_with, repository, tasks, new)
    if fields["computed_with"] is None:  # as older pairs have it
        del fields["computed_with"]
    content = json.dumps({"card_version": FACTS_VERSION, **fields}, indent=1, sort_keys=True, ensure_ascii=False)
    (repository / FACTS_FILE).write_text(content + "\n", encoding="utf-8")


def _tasks_there(repository: Path) -> Mapping[str, Any] | None:
    """The tasks that the present `card.json` describes; None where there is none."""
    file = repository / FACTS_FILE
    if not file.is_file():
        return None
    tasks = read_versioned(file, "card_version", FACTS_VERSION, remedy="package the run again").get("tasks")
    return tasks if isinstance(tasks, dict) else {}


def read_facts(repository: Path) -> CardFacts:
    """Read what a pair's card is rendered from.

    Args:
        repository: The pair's folder.

    Raises:
        InputError: a file of them is missing, damaged or of another version.
    """
    file = repository / FACTS_FILE
    fields = read_versioned(file, "card_version", FACTS_VERSION, remedy="package the run again")
    del fields["card_version"]
    try:
        facts = CardFacts(
            **{
                **fields,
                **{name: tuple(fields[name]) for name in ("source", "target", "layer_map", "datasets", "contributors")},
                **{name: ModelFacts(**fields[name]) for name in ("teacher_size", "student_size")},
                "curves": tuple(
                    LossCurve(name=curve["name"], stages=tuple((name, log) for name, log in curve["stages"]))
                    for curve in fields["curves"]
                ),
                "results": (),
            }
        )
        files = [repository / "tasks" / task / RESULTS_FILE for task in sorted(facts.tasks)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"a field is missing or one too many ({first_line(error)})", file=file, remedy="package the run again"
        ) from error
    speed = repository / SIZE_AND_SPEED_FILE
    return replace(
        facts,
        results=tuple(result for place in files if place.is_file() for result in read_results(place)),
        size_and_speed=read_size_and_speed(speed) if speed.is_file() else None,
    )
