"""What a card's tables hold, computed from its facts: one row a task and language, one a speed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ..evaluation.results import Result, retention
from ..evaluation.speed import SizeAndSpeed, Speed
from .facts import CardFacts
from .metadata import is_hub_id
from .pictures import KeptQuality
from .rendering import number, percent

NOTHING_TO_KEEP = "teacher not above the trivial baseline"
_FURTHER = ("precision", "recall", "exact_match")
_PHASE_1 = "phase 1"
"""The stage that is evaluated on text that was held out."""


@dataclass(frozen=True)
class Row:
    """A line of the table of scores, as text.

    Attributes:
        task: The task.
        language: Code and role of the language.
        dataset: The test set with its revision.
        n: Examples.
        metric: The main metric.
        teacher: Its score with the interval; empty where it was not scored.
        student: The student's.
        difference: Student minus teacher with the paired interval, in points.
        retention: What the student keeps, with the interval, or why there is nothing to keep.
        trivial: Score of the trivial baseline.
        baselines: Scores of further models, in the order of `Evaluation.baselines`; empty where one was not scored.
        seed: Of the training.
    """

    task: str
    language: str
    dataset: str
    n: str
    metric: str
    teacher: str
    student: str
    difference: str
    retention: str
    trivial: str
    baselines: tuple[str, ...]
    seed: str


@dataclass(frozen=True)
class Breakdown:
    """What else was measured of one task.

    Attributes:
        task: The task.
        names: Columns: further metrics, then the F1 of each label.
        rows: Language, model, and a value a column.
    """

    task: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Evaluation:
    """Everything that the section on scores shows.

    Attributes:
        rows: One for each task and language.
        baselines: Names of the further models.
        breakdowns: One for each task that has more than its main metric.
        missing: Tasks that were not evaluated.
    """

    rows: tuple[Row, ...]
    baselines: tuple[str, ...]
    breakdowns: tuple[Breakdown, ...]
    missing: tuple[str, ...]


def evaluation(facts: CardFacts) -> Evaluation:
    """Lay out a card's scores."""
    results = facts.results
    baselines = tuple(dict.fromkeys(r.model for r in results if r.model not in ("teacher", "student")))
    sets = list(dict.fromkeys((r.task, r.language) for r in results))
    rows = [_row({r.model: r for r in results if (r.task, r.language) == each}, baselines) for each in sets]
    tasks = dict.fromkeys(r.task for r in results)
    breakdowns = [_breakdown(task, [r for r in results if r.task == task]) for task in tasks]
    return Evaluation(
        tuple(rows),
        tuple(name.replace("_", " ") for name in baselines),
        tuple(each for each in breakdowns if each.names),
        tuple(task for task in sorted(facts.tasks) if task not in tasks),
    )


def kept_quality(facts: CardFacts) -> tuple[KeptQuality, ...]:
    """Return what the student keeps of each task and language that both were scored on."""
    teachers = {(r.task, r.language): r for r in facts.results if r.model == "teacher"}
    return tuple(
        _kept(r, teachers[r.task, r.language])
        for r in facts.results
        if r.model == "student" and (r.task, r.language) in teachers
    )


def _kept(student: Result, teacher: Result) -> KeptQuality:
    paired = student.against_teacher
    low, high = (None, None) if paired is None else (paired.retention_low, paired.retention_high)
    return KeptQuality(
        task=student.task, language=student.language, retention=retention(student, teacher), low=low, high=high
    )


def main_speed(found: SizeAndSpeed | None) -> Speed | None:
    """Return the speed that stands for all in a summary: throughput on the CPU with all cores."""
    if found is None:
        return None
    on_cpu = [speed for speed in found.speeds if speed.device == "cpu"] or list(found.speeds)
    return max(on_cpu, key=lambda speed: (speed.batch, speed.threads or 0, speed.length), default=None)


def speed_rows(found: SizeAndSpeed | None) -> tuple[tuple[str, ...], ...]:
    """Lay out speeds: what was measured, the teacher, the student, how many times as fast."""
    if found is None:
        return ()
    rows = []
    for speed in found.speeds:
        place = speed.hardware.gpu if speed.device == "cuda" else _threads(speed.threads)
        latency = speed.batch == 1
        kind = "latency, ms a text" if latency else f"throughput, tokens a second, batch {speed.batch}"
        teacher, student = (
            f"{m.milliseconds.median:,.1f}" if latency else number(m.tokens_per_second.median)
            for m in (speed.teacher, speed.student)
        )
        ratio = f"{speed.ratio.median:.2f} x as fast ({speed.ratio.low:.2f} to {speed.ratio.high:.2f})"
        rows.append((f"{kind}, {speed.length} tokens, {place}", teacher, student, ratio))
    return tuple(rows)


def was_crowded(found: SizeAndSpeed | None) -> bool:
    """Tell whether a batch took more than twice as long with more threads, which waited for processors in use."""
    on_cpu = [] if found is None else [speed for speed in found.speeds if speed.threads is not None]
    return any(
        slow.teacher.milliseconds.median > 2 * fast.teacher.milliseconds.median
        for fast in on_cpu
        for slow in on_cpu
        if (slow.batch, slow.length, slow.dtype) == (fast.batch, fast.length, fast.dtype)
        and (slow.threads or 0) > (fast.threads or 0)
    )


def stage_loss(stage: Mapping[str, Any]) -> str:
    """Write a stage's loss with what it is; older pairs, which have no `loss_updates`, keep the last one logged.

    Args:
        stage: One of a card's `training["stages"]`.
    """
    if not stage["loss"]:
        return ""
    if stage["name"] == _PHASE_1:
        kind = "lowest on held-out text"
    elif updates := stage.get("loss_updates"):
        kind = "last update" if updates == 1 else f"mean of the last {number(updates)} updates"
    else:
        kind = "last one logged"
    return f"{stage['loss']} ({kind})"


def dataset_name(result: Result) -> str:
    """Name a test set with its configuration, split and revision; a local file without its folder."""
    name = result.dataset if is_hub_id(result.dataset) else PurePath(result.dataset).name
    parts = [name, result.dataset_config, result.split]
    revision = result.read_revision or "main"
    if re.fullmatch("(sha256:)?[0-9a-f]{40,64}", revision):
        revision = revision.removeprefix("sha256:")[:12]
    subset = f" ({result.subset})" if result.subset else ""
    return "/".join(part for part in parts if part) + f"@{revision}{subset}"


def _threads(threads: int | None) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _row(models: dict[str, Result], baselines: Sequence[str]) -> Row:
    any_result = next(iter(models.values()))
    student, teacher = models.get("student"), models.get("teacher")
    difference, kept = "", ""
    if student is not None and teacher is not None:
        paired, share = student.against_teacher, retention(student, teacher)
        difference = _signed(student.score - teacher.score)
        kept = NOTHING_TO_KEEP if share is None else percent(share)
        if paired is not None:
            difference += f" ({_signed(paired.difference_low)} to {_signed(paired.difference_high)})"
            if paired.retention_low is not None and paired.retention_high is not None:
                kept += f" ({percent(paired.retention_low)} to {percent(paired.retention_high)})"
    return Row(
        task=any_result.task,
        language=f"{any_result.language} ({any_result.role})",
        dataset=dataset_name(any_result),
        n=number(any_result.n),
        metric=any_result.metric,
        teacher=_score(teacher),
        student=_score(student),
        difference=difference,
        retention=kept,
        trivial=percent(any_result.trivial),
        baselines=tuple(_score(models.get(name)) for name in baselines),
        seed="" if any_result.seed is None else str(any_result.seed),
    )


def _score(result: Result | None) -> str:
    return "" if result is None else f"{percent(result.score)} ({percent(result.low)} to {percent(result.high)})"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _breakdown(task: str, results: Sequence[Result]) -> Breakdown:
    """The further metrics of teacher and student, and the F1 of each label with how often it occurs."""
    shown = [r for r in results if r.model in ("teacher", "student")]
    further = [name for name in _FURTHER if any(name in r.scores for r in shown)]
    labels = sorted({name.removesuffix(".f1") for r in shown for name in r.scores if name.endswith(".f1")})
    rows = []
    for result in shown:
        values = [percent(result.scores[name]) if name in result.scores else "" for name in further]
        for label in labels:
            f1, count = result.scores.get(f"{label}.f1"), result.scores.get(f"{label}.number")
            occurs = "" if count is None else f" ({number(count)})"
            values.append("" if f1 is None else percent(f1) + occurs)
        rows.append((result.language, result.model, *values))
    names = [name.replace("_", " ") for name in further] + [f"F1 {label}" for label in labels]
    return Breakdown(task, tuple(names), tuple(rows))
