"""Trains contenders without scoring them on a test set, and tells what each training has reached.

So that a contender's own settings, its learning rate above all, can be chosen on held-out text and development data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..pipeline.manifest import StageRecord
from ..recipe import Recipe
from .changes import Changes
from .compare import begin, in_order
from .queue import work_through
from .rows import Asked, Row, finished_stages, to_train


@dataclass(frozen=True, kw_only=True)
class Training:
    """A finished training of a contender.

    Attributes:
        contender: Its name.
        seed: The seed.
        stage: The stage, such as "phase 1" or "ner phase 2".
        held_out_losses: Losses on held-out text, one for each evaluation; empty where none was looked at.
        development_score: The best score on source-language development data, a fraction; None where there is none.
        trivial: The trivial baseline's score on the same examples; None where there is none.
        warning: Why it is no training to go on with; None where nothing is known against it.
        seconds: How long it took.
        folder: Where it is kept.
    """

    contender: str
    seed: int
    stage: str
    held_out_losses: tuple[float, ...]
    development_score: float | None
    trivial: float | None
    warning: str | None
    seconds: float
    folder: Path


@dataclass(frozen=True)
class Trainings:
    """What training contenders has come to.

    Attributes:
        finished: Their trainings, each once for a contender and seed.
        failed: What went wrong, by row.
    """

    finished: tuple[Training, ...]
    failed: Mapping[Asked, str]


def train_contenders(
    recipe: Recipe,
    against: Sequence[str],
    output_dir: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    own: Mapping[str, Changes] | None = None,
    alone: bool = False,
    progress: bool = True,
) -> Trainings:
    """Do the stages of `compare` with the same arguments, but for those that score a test set.

    No table is made, and the comparison's table takes no notice: a contender that is trained with several values of a
    setting leaves the stages of each, and `compare` with the one that was chosen finds them done.

    Args:
        recipe: The pair's recipe.
        against: Names of contenders and groups.
        output_dir: The comparison's folder.
        seeds: Each contender is trained once with each.
        own: By contender's name, fields of its recipe that are its own: dotted path to value.
        alone: Do those that are named and nobody else.
        progress: Show progress bars and what is being done.

    Raises:
        InputError: as `compare`.
        BistillError: the disk is full, or a file vanished on the way; what is finished is kept.
    """
    folder = Path(output_dir)
    begun = begin(recipe, against, folder, seeds=seeds, own=own, alone=alone)
    rows = in_order(begun.contenders, begun.recipes, begun.seeds, begun.data, progress=progress)
    failed: dict[Asked, str] = {}
    work_through(to_train(rows, folder), folder, failed, progress=progress)
    return Trainings(_trainings(rows, folder), failed)


def _trainings(rows: Sequence[Row], folder: Path) -> tuple[Training, ...]:
    found: dict[tuple[str, int, str], Training] = {}
    for row in rows:
        for record in finished_stages(row, folder).values():
            training = _training(row.asked, record)
            if training is not None:
                found.setdefault((training.contender, training.seed, training.stage), training)
    return tuple(found.values())


def _training(asked: Asked, record: StageRecord) -> Training | None:
    """What the record of a stage tells of a training; None where nothing was looked at."""
    facts = record.facts
    losses = tuple(entry["eval_loss"] for entry in facts.get("curve") or () if "eval_loss" in entry)
    score = facts.get("validation")
    if not losses and score is None:
        return None
    return Training(
        contender=asked.contender,
        seed=asked.seed,
        stage=record.name,
        held_out_losses=() if score is not None else losses,
        development_score=score,
        trivial=facts.get("validation_trivial"),
        warning=facts.get("warning"),
        seconds=record.seconds,
        folder=record.folder,
    )
