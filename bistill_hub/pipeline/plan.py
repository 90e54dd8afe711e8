"""What a run would do and need, told beforehand: the stages' states, the sources, rough time, memory and disk.

Nothing is downloaded and nothing is written.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..distillation.stage_records import selects
from ..errors import InputError
from ..recipe import Recipe
from ..student.inspection import encoder_size
from .manifest import WORK_FOLDER, StageRecord, finished, started, why_again
from .order import PACKAGE, PHASE_1, RANDOM_TEACHER, SPEED, STUDENT, Stage, stages_of
from .overwriting import refuse_overwriting
from .pinning import pinned_before
from .preflight import TaskData
from .reached import training_reached
from .stage_folder import is_of_a_stage
from .survey import SAMPLED_EXAMPLES, Facts, SourcePlan, TeacherPlan, look, scores_of
from .trial import Trial, on_the_hub

State = Literal["finished", "started", "to do", "to do again"]

_MOMENTS = 2
_CHECKPOINTS = 3
"""Checkpoints that lie side by side at most: two are kept, and a third is written before the older of them goes."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What is to be done for a stage.

    Attributes:
        name: Its name.
        slug: Its name on the command line.
        state: How far it is.
        reason: Why it is to be done again, or where it goes on; empty otherwise.
        updates: Updates of weights that it makes in all, 0 where it trains nothing; None where that cannot be known.
        done: Those that are behind the checkpoint from which it goes on.
        seconds: Rough time that it still takes; None where it is finished or not estimated.
        note: What the time leaves out, or why it or the updates cannot be known.
    """

    name: str
    slug: str
    state: State
    reason: str
    updates: int | None
    done: int
    seconds: float | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do and need.

    Attributes:
        output: Where it would write.
        stages: Its stages in order.
        teacher: The teacher.
        sources: Text, labels and further weights.
        device: What the trial was made on, such as "cpu"; None without one.
        seconds: The sum of the stages' times that are known; None where none is.
        memory_megabytes: Peak memory of the trial in 10^6 bytes: of this process, or on a GPU of its tensors.
        disk_megabytes: Disk that the run still needs at its fullest, in 10^6 bytes: what its stages leave, and the
            checkpoints of the one that has the largest; None where the teacher's size is not known.
        free_megabytes: Disk that is free there.
        notes: How the estimates were come by.
    """

    output: Path
    stages: tuple[StagePlan, ...]
    teacher: TeacherPlan
    sources: tuple[SourcePlan, ...]
    device: str | None
    seconds: float | None
    memory_megabytes: float | None
    disk_megabytes: float | None
    free_megabytes: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the plan as plain dicts and numbers, ready for JSON."""
        return {**asdict(self), "output": str(self.output)}


def plan(
    recipe: Recipe,
    output_dir: str | Path,
    *,
    trial: bool = True,
    progress: bool = False,
    command: str | None = None,
) -> Plan:
    """Tell what a run of this recipe into this folder would do and need.

    What is here is checked as a run checks it, labelled data included. What is on the Hub is not looked up.

    Args:
        recipe: The recipe.
        output_dir: Folder of the run; it need not exist, and is not made.
        trial: Measure how long updates take on this machine; without it time and memory are left out.
        progress: Say what is being tried.
        command: The command that the run would be given, which goes into its package; as for `run`.

    Raises:
        InputError: something that the run needs is missing or wrong, or a stage's folder holds what no run has left.
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError("this is not a folder", field="output", value=str(folder), remedy="choose a folder")
    recipe = pinned_before(recipe, folder)
    facts, teacher, sources = look(recipe)
    stages = stages_of(
        recipe, list(facts.tasks.values()), command=command or f"bistill run {recipe.name}", progress=False
    )
    refuse_overwriting(recipe, folder, stages)
    states, records = _states(stages, folder)
    if STUDENT in records:
        facts = replace(facts, vocabulary=records[STUDENT].facts["student"]["vocabulary"])
    plans = []
    measure = Trial(facts, progress) if trial else None
    for stage in stages:
        state, reason = states[stage.name]
        updates = updates_of_stage(stage, facts)
        done = 0
        if state == "started":
            done, reason = reached(stage, folder / stage.slug, updates, facts)
        seconds, note = None, ""
        if measure is not None and state != "finished":
            seconds, note = measure.estimate(stage, updates, done)
        task, _ = facts.part_of(stage.name)
        if updates is None and task is not None and not note:
            note = on_the_hub([f"tasks.{task.recipe.name}.train"])
        plans.append(
            StagePlan(
                name=stage.name,
                slug=stage.slug,
                state=state,
                reason=reason,
                updates=None if updates is None else sum(updates),
                done=done,
                seconds=seconds,
                note=note,
            )
        )
    known = [stage.seconds for stage in plans if stage.seconds is not None]
    tried = measure if measure is not None and measure.tried else None
    return Plan(
        output=folder,
        stages=tuple(plans),
        teacher=teacher,
        sources=tuple(sources),
        device=str(tried.device) if tried else None,
        seconds=sum(known) if known else None,
        memory_megabytes=tried.peak_megabytes() if tried else None,
        disk_megabytes=_disk_megabytes([stage for stage in stages if states[stage.name][0] != "finished"], facts),
        free_megabytes=free_megabytes(folder),
        notes=_notes(facts, tried=tried is not None, cut=STUDENT in records),
    )


def updates_of(features: int, *, batch_size: int, epochs: float, accumulation: int = 1) -> int:
    """Count the updates of a training as transformers' Trainer makes them: an epoch's last one may be a small one."""
    each = max(1, math.ceil(math.ceil(features / batch_size) / accumulation))
    return math.ceil(epochs * each)


def _states(stages: Sequence[Stage], folder: Path) -> tuple[dict[str, tuple[State, str]], Mapping[str, StageRecord]]:
    """Tell each stage's state and the reason for it, as a run would find them, and the records of the finished ones."""
    states: dict[str, tuple[State, str]] = {}
    records: dict[str, StageRecord] = {}
    for stage in stages:
        place = folder / stage.slug
        waits_for = [name for name in stage.needs if name not in records]
        begun = is_of_a_stage(place)
        if waits_for:
            # Its inputs are not known yet. If they turn out to be what they were, a run will find it finished.
            comes_first = f"{waits_for[0]} comes first"
            states[stage.name] = ("to do again", comes_first) if begun else ("to do", "")
            continue
        inputs = stage.inputs(records)
        record = finished(stage.name, place, inputs)
        if record is not None:
            records[stage.name] = record
            states[stage.name] = ("finished", "")
        elif started(place, inputs):
            states[stage.name] = ("started", "")
        elif begun:
            states[stage.name] = ("to do again", why_again(place, inputs) or "begun with other inputs")
        else:
            states[stage.name] = ("to do", "")
    return states, records


def reached(stage: Stage, place: Path, updates: Sequence[int] | None, facts: Facts) -> tuple[int, str]:
    """Tell how many updates an interrupted stage has behind it, and where it goes on."""
    task, part = facts.part_of(stage.name)
    work = place / WORK_FOLDER
    if task is not None and part == "evaluation":
        return 0, f"{len(_scored(facts, work))} of {len(scores_of(facts))} scores are there"
    found = training_reached(work)
    behind = {"": 0, "dense": 2 * found.iteration - 2, "sparse": 2 * found.iteration - 1}[found.part]
    return found.update + sum(updates[:behind] if updates else ()), str(found)


def _scored(facts: Facts, work: Path) -> list[tuple[str, str]]:
    codes = {"test_source": facts.recipe.source.code, "test_target": facts.recipe.target.code}
    return [(model, test) for model, test in scores_of(facts) if (work / f"{model}.{codes[test]}.json").is_file()]


def updates_of_stage(stage: Stage, facts: Facts) -> tuple[int, ...] | None:
    """Count the updates of each training of a stage; none where it trains nothing, None where it cannot be known."""
    if stage.name == PHASE_1:
        steps = facts.recipe.bilingual.steps
        return (steps,) if steps else ()
    task, part = facts.part_of(stage.name)
    if task is None or part == "evaluation" or (part.endswith("teacher") and not _is_tuned(task, part)):
        return ()
    features = facts.features.get((task.recipe.name, "train"))
    if features is None:
        return None
    if part.endswith("teacher"):
        tuning = task.recipe.teacher
        passes = (tuning.dense_epochs, tuning.epochs) if _is_sparse(task, part) else (tuning.epochs,)
        return tuple(updates_of(features.count, batch_size=tuning.batch_size, epochs=epochs) for epochs in passes)
    settings = task.recipe.distillation
    trainings: tuple[float, ...] = (settings.sparse_epochs,)
    if selects(settings.density, settings.iterations):
        trainings = (settings.dense_epochs, settings.sparse_epochs) * settings.iterations
    inputs = features.count + settings.unlabelled(features.count)
    return tuple(
        updates_of(inputs, batch_size=settings.batch_size, accumulation=settings.accumulation, epochs=epochs)
        for epochs in trainings
    )


def _is_tuned(task: TaskData, part: str) -> bool:
    """Whether a teacher of the task is fine-tuned in the run, not taken; one of random weights always is."""
    given = task.recipe.teacher
    return part == RANDOM_TEACHER or (given.model is None and given.delta is None)


def _is_sparse(task: TaskData, part: str) -> bool:
    """Whether a share of its entries alone may change; of random weights all are trained."""
    return part != RANDOM_TEACHER and task.recipe.teacher.is_sparse


def _disk_megabytes(stages: Sequence[Stage], facts: Facts) -> float | None:
    """What stages leave, and on top of it the checkpoints and copies of the one that needs most while it works."""
    if facts.config is None:
        return None
    sizes = [stage_megabytes(stage, facts) for stage in stages]
    return sum(left for left, _ in sizes) + max((work for _, work in sizes), default=0.0)


def stage_megabytes(stage: Stage, facts: Facts) -> tuple[float, float]:
    """What a stage leaves, and what it needs beside that while it works; weights and moments in float32."""
    teacher = encoder_size(facts.config).megabytes
    student = encoder_size(facts.student_config).megabytes
    if stage.name == STUDENT:
        return student, 0.0
    if stage.name == PACKAGE:
        return student, student
    if stage.name == SPEED:
        return 0.0, 0.0
    if stage.name == PHASE_1:
        checkpoints = _CHECKPOINTS * (1 + _MOMENTS) * student
        return student, checkpoints if facts.recipe.bilingual.steps else 0.0
    task, part = facts.part_of(stage.name)
    if task is None:
        raise ValueError(f"no stage of a run: {stage.name}")
    if part == "evaluation":
        return 0.0, student * (2 if "no_phase_1" in facts.recipe.baselines else 1)
    if part.endswith("teacher"):
        density, sparse = task.recipe.teacher.density, _is_sparse(task, part)
        delta = 2 * density * teacher if sparse else 0.0
        needed = _checkpoints_megabytes(teacher, density, iterations=1 if sparse else 0)
        return (teacher + delta, needed) if _is_tuned(task, part) else (teacher, 0.0)
    settings = task.recipe.distillation
    selecting = selects(settings.density, settings.iterations)
    needed = _checkpoints_megabytes(student, settings.density, iterations=settings.iterations if selecting else 0)
    return (2 * settings.density if selecting else 2) * student, needed


def _checkpoints_megabytes(model: float, density: float, *, iterations: int) -> float:
    """What the checkpoints of a training take: of iterations of a dense and a sparse stage, or of one stage (0)."""
    dense, sparse = (1 + _MOMENTS) * model, (1 + _MOMENTS * density) * model
    if not iterations:
        return _CHECKPOINTS * dense
    # A stage's last checkpoints stay while those after it write their own; the sparse ones hold fewer moments.
    kept = _CHECKPOINTS - 1
    before = (iterations - 1) * kept * (dense + sparse)
    return before + max(_CHECKPOINTS * dense, kept * dense + _CHECKPOINTS * sparse)


def free_megabytes(folder: Path) -> float:
    """Tell what is free where a folder is, or will be made; in 10^6 bytes."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free / 1e6


def _notes(facts: Facts, *, tried: bool, cut: bool) -> tuple[str, ...]:
    notes = []
    if facts.features and facts.tokenizer is None:
        notes.append(
            "The number of a task's updates is an estimate: each training example is taken for one model input. A long "
            "text becomes several, which the teacher's tokenizer would tell; it is not here."
        )
    elif facts.features:
        notes.append(
            f"The number of a task's updates is estimated from its first {SAMPLED_EXAMPLES} training examples: from "
            "how many model inputs they become, for a long text becomes several. Where there are no more examples, it "
            "is exact."
        )
    if tried:
        notes.append(
            "Times and memory are estimates, from a few updates of models of these shapes with random weights; loading "
            "models, writing checkpoints and confidence intervals are not in them."
        )
        if not cut:
            notes.append("The student's vocabulary is taken to be the teacher's, an upper bound until it is cut.")
    return tuple(notes)
