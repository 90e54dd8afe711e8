"""What a comparison would cost, told before it begins: stages that are missing, rough time, disk.

Nothing is downloaded, trained or written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..pipeline.manifest import StageRecord
from ..pipeline.order import STUDENT, Stage
from ..pipeline.pinning import pinned_before
from ..pipeline.plan import free_megabytes, reached, stage_megabytes, updates_of_stage
from ..pipeline.shared import keys_of
from ..pipeline.survey import Facts, Features, look
from ..pipeline.trial import Trial
from ..recipe import Recipe
from ..student.inspection import encoder_size
from .changes import Changes
from .compare import check_tasks, checked_seeds, in_order
from .contenders import CONTENDERS, OF_TASK_TEACHER, chosen, own_recipe
from .derived import derived_recipes, refuse_fixed
from .rows import Row, finished_stages, is_started, place_of, score_name, to_train

_NOT_TIMED = {"steps", "evaluation_every", "evaluation_share", "learning_rate", "density", "iterations"} | {
    "dense_epochs",
    "sparse_epochs",
    "epochs",
    "freeze_layer_norms",
    "delta_precision",
    "temperature",
    "target_share",
}
"""Settings of a training that the time of one update does not depend on."""


@dataclass(frozen=True, kw_only=True)
class ContenderCost:
    """What a contender still costs.

    Attributes:
        contender: Its name.
        rows: Seeds times tasks that are asked for.
        finished: Its distinct stages that are finished.
        shared: Those of the others that a contender before it needs too, and that are counted there.
        to_do: Those that remain.
        seconds: Rough time of those that remain, as far as it is known.
        unknown: Stages among them whose time is not known, and why.
    """

    contender: str
    rows: int
    finished: int
    shared: int
    to_do: int
    seconds: float
    unknown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a comparison still costs.

    Attributes:
        contenders: One after another.
        seconds: Rough time of all stages that remain, as far as it is known.
        disk_megabytes: Disk that is still needed at its fullest, in 10^6 bytes; None where it is not known.
        free_megabytes: Disk that is free there.
        device: What the trial was made on; None where nothing had to be tried.
    """

    contenders: tuple[ContenderCost, ...]
    seconds: float
    disk_megabytes: float | None
    free_megabytes: float
    device: str | None

    @property
    def to_do(self) -> int:
        """Stages that remain."""
        return sum(each.to_do for each in self.contenders)


def cost_of(
    recipe: Recipe,
    against: Sequence[str],
    output_dir: str | Path,
    *,
    seeds: Sequence[int],
    own: Mapping[str, Changes] | None = None,
    alone: bool = False,
    train_only: bool = False,
    progress: bool,
) -> Cost:
    """Tell what `compare` with the same arguments would do.

    Args:
        recipe: The pair's recipe.
        against: Names of contenders and groups.
        output_dir: The comparison's folder; it need not exist, and is not made.
        seeds: The seeds.
        own: By contender's name, fields of its recipe that are its own.
        alone: Leave out teacher and student where they are not named.
        train_only: Tell what `train_contenders` would do instead.
        progress: Say what is being tried.

    Raises:
        InputError: there is no such contender, or something that the recipes need is missing or wrong.
    """
    folder = Path(output_dir)
    check_tasks(recipe)
    seeds = checked_seeds(seeds)
    refuse_fixed(own or {})
    chosen(recipe, against, None, alone=alone)  # refuses a wrong word before any data are read
    recipe = pinned_before(recipe, folder)
    facts, teacher, _ = look(own_recipe(recipe))
    contenders = chosen(recipe, against, teacher.layers, alone=alone)
    recipes = derived_recipes(contenders, recipe, own)
    rows = in_order(contenders, recipes, seeds, facts.tasks, progress=False)
    clerk = _Clerk(facts, folder, progress)
    for row in to_train(rows, folder) if train_only else rows:
        clerk.enter(row)
    return Cost(
        contenders=tuple(clerk.total(contender.name) for contender in contenders),
        seconds=sum(each for each in clerk.seconds.values() if each is not None),
        disk_megabytes=clerk.disk_megabytes(),
        free_megabytes=free_megabytes(folder),
        device=clerk.device,
    )


class _Clerk:
    """Enters rows into the account.

    Args:
        facts: What is known of the pair's recipe.
        folder: The comparison's folder.
        progress: Say what is being tried.
    """

    def __init__(self, facts: Facts, folder: Path, progress: bool) -> None:
        self.facts, self.folder, self.progress = facts, folder, progress
        self.device: str | None = None
        self.seconds: dict[str, float | None] = {}
        self._notes: dict[str, str] = {}
        self._megabytes: list[tuple[float, float] | None] = []
        self._looked: dict[str, Facts] = {}
        self._vocabularies: dict[str, int] = {}
        self._tried: dict[tuple[str, str, str], Any] = {}
        self._rows: dict[str, int] = {}
        self._stages: dict[str, dict[str, str]] = {}

    def enter(self, row: Row) -> None:
        """Add a row."""
        name = row.asked.contender
        self._rows[name] = self._rows.get(name, 0) + 1
        records, keys = finished_stages(row, self.folder), keys_of(row.stages)
        facts = self._facts_of(row, records)
        own = self._stages.setdefault(name, {})
        others = {key for each, stages in self._stages.items() if each != name for key in stages}
        for stage in row.stages:
            key = keys[stage.name]
            if key in own:
                continue
            own[key] = "shared" if key in others else "finished" if stage.name in records else "to do"
            if own[key] == "to do":
                self.seconds[key], self._notes[key] = self._estimate(row, stage, facts, records)
                self._megabytes.append(_megabytes(row, stage, facts))

    def total(self, contender: str) -> ContenderCost:
        """Sum up a contender."""
        states = self._stages.get(contender, {})
        to_do = [key for key, state in states.items() if state == "to do"]
        count = list(states.values()).count
        return ContenderCost(
            contender=contender,
            rows=self._rows.get(contender, 0),
            finished=count("finished"),
            shared=count("shared"),
            to_do=len(to_do),
            seconds=sum(self.seconds[key] or 0.0 for key in to_do),
            unknown=tuple(dict.fromkeys(self._notes[key] for key in to_do if self._notes[key])),
        )

    def disk_megabytes(self) -> float | None:
        """What the stages that remain leave, and what the one that needs most takes while it works."""
        sizes = [size for size in self._megabytes if size is not None]
        if len(sizes) < len(self._megabytes):
            return None
        return sum(left for left, _ in sizes) + max((work for _, work in sizes), default=0.0)

    def _facts_of(self, row: Row, records: Mapping[str, StageRecord]) -> Facts:
        """What is known of a contender's recipe; its text and teacher are looked at where they are not the pair's."""
        recipe = row.recipe
        start = self.facts
        if recipe.further_languages or recipe.teacher != start.recipe.teacher:
            if row.asked.contender not in self._looked:
                self._looked[row.asked.contender], _, _ = look(recipe.only([]))
            start = self._looked[row.asked.contender]
        kind = json.dumps([recipe.student.model_dump(mode="json"), list(start.lines), recipe.teacher.model])
        if STUDENT in records:
            self._vocabularies[kind] = records[STUDENT].facts["student"]["vocabulary"]
        vocabulary = self._vocabularies.get(kind, start.vocabulary)
        tasks = {row.asked.task: row.data}
        return replace(start, recipe=recipe, tasks=tasks, features=self.facts.features, vocabulary=vocabulary)

    def _estimate(
        self, row: Row, stage: Stage, facts: Facts, records: Mapping[str, StageRecord]
    ) -> tuple[float | None, str]:
        """Return the rough seconds of a stage, and what they leave out."""
        scores = stage.name == score_name(row.asked.task)
        updates = () if scores else updates_of_stage(stage, facts)
        done = 0
        if not scores and is_started(stage, records, self.folder):
            done, _ = reached(stage, place_of(self.folder, stage, stage.inputs(records)), updates, facts)
        trial = Trial(facts, self.progress)
        known = facts.config is not None  # nothing is tried otherwise
        for (what, of, signature), found in self._tried.items():
            if known and signature == _signature(what, of, facts):
                trial.tried[what, of] = found
        if scores:
            seconds, note = _scoring(trial, row, facts)
        else:
            seconds, note = trial.estimate(stage, updates, done)
        for (what, of), found in trial.tried.items():
            self._tried[what, of, _signature(what, of, facts)] = found
        if trial.tried:
            self.device = str(trial.device)
        return seconds, f"{stage.slug}: {note}" if note and seconds is None else ""


def _scoring(trial: Trial, row: Row, facts: Facts) -> tuple[float | None, str]:
    """Return the rough seconds of scoring one model on both tests."""
    name = row.asked.task
    # The pipeline's evaluation is tried for its speeds; it scores more models than this stage does.
    seconds, note = trial.estimate(replace(row.stages[-1], name=f"{name} evaluation"), (), 0)
    if seconds is None:
        return None, note
    teacher, student = trial.tried["scoring", name]
    speed = teacher if CONTENDERS[row.asked.contender].scored in OF_TASK_TEACHER else student
    tokens = sum(_tokens(facts.features[name, test]) for test in ("test_source", "test_target"))
    return tokens * speed.scoring / speed.tokens, ""


def _tokens(features: Features) -> float:
    return features.count * (features.length or 0.0)


def _signature(what: str, of: str, facts: Facts) -> str:
    """Tell what a trial depends on: equal ones are made once for all contenders."""
    recipe = facts.recipe
    if what == "tokens":
        return json.dumps([recipe.teacher.model, of])
    shapes = [recipe.teacher.model, facts.layer_map, facts.vocabulary]
    if what == "bilingual":
        return json.dumps([*shapes, _timed(recipe.bilingual.model_dump())])
    task = facts.tasks[of].recipe if of in facts.tasks else None
    if task is None:
        return ""
    if what == "teacher":
        return json.dumps([recipe.teacher.model, _timed(task.teacher.model_dump())])
    return json.dumps([*shapes, _timed(task.distillation.model_dump()) if what == "phase 2" else ""])


def _timed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an update's time depends on; of a weight, whether there is one."""
    return {
        name: bool(value) if name.endswith("_weight") else value
        for name, value in settings.items()
        if name not in _NOT_TIMED
    }


def _megabytes(row: Row, stage: Stage, facts: Facts) -> tuple[float, float] | None:
    """What a stage leaves and what it takes beside that while it works; None where the teacher is not here."""
    if facts.config is None:
        return None
    if stage.name != score_name(row.asked.task):
        return stage_megabytes(stage, facts)
    student = CONTENDERS[row.asked.contender].scored == "student"
    return 0.0, encoder_size(facts.student_config).megabytes if student else 0.0
