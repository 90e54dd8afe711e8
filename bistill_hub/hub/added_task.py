"""A task that was trained for a published pair, and what the card and the pull request say of it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, first_line
from .without_folders import without_folders

if TYPE_CHECKING:
    from ..cards.facts import CardFacts, LossCurve
    from ..evaluation.results import Result
    from ..pipeline.manifest import StageRecord
    from ..pipeline.preflight import TaskData
    from ..recipe import Recipe

_COLUMNS = ("language", "data set", "n", "metric", "teacher", "student", "difference", "retention %", "trivial")


@dataclass(frozen=True, kw_only=True)
class TrainedTask:
    """A task, trained and scored.

    Attributes:
        recipe: The pair's recipe with this task alone.
        data: The task's data.
        records: Records of its stages, by name.
    """

    recipe: Recipe
    data: TaskData
    records: Mapping[str, StageRecord]

    @property
    def task(self) -> str:
        """The task's name."""
        return self.data.task.name


def facts_with_task(facts: CardFacts, trained: TrainedTask, command: str) -> CardFacts:
    """What the card states of the pair with the task."""
    from ..cards.facts import LossCurve
    from ..pipeline.packaging import labelled_row, training_row
    from ..pipeline.portable import portable_task

    name, records = trained.task, trained.records
    learnt = records[f"{name} phase 2"].facts
    stages = (("dense", learnt["dense_curve"]), ("sparse", learnt["curve"]))
    described = {
        "head": trained.data.task.head,
        "labels": list(trained.data.labels),
        "density": learnt["density"],
        "added": {"recipe": portable_task(trained.data.recipe), "command": command},
    }
    return _joined(
        facts,
        name,
        described=described,
        stages=map(training_row, records.values()),
        machines=(record.machine for record in records.values()),
        labelled=labelled_row(trained.data.recipe, trained.recipe.target, learnt),
        datasets={source.dataset for source in trained.data.recipe.sources.values() if source.dataset},
        curve=LossCurve(name=name, stages=tuple((stage, log) for stage, log in stages if log)),
    )


def facts_with_published(facts: CardFacts, theirs: CardFacts, task: str, results: Iterable[Result]) -> CardFacts:
    """What the card states of the pair with a task that another card of the pair describes.

    Args:
        facts: What the card states without it.
        theirs: What the other card states.
        task: The task, one of theirs.
        results: Its scores.

    Raises:
        InputError: what the other card states cannot be read.
    """
    from ..cards.facts import FACTS_FILE

    try:
        described, training = theirs.tasks[task], theirs.training
        labelled = training.get("labelled", {}).get(task)
        recipe = described.get("added", {}).get("recipe", {})
        named: set[Any] = {result.dataset for result in results}
        named |= {source.get("dataset") for source in recipe.values() if isinstance(source, dict)}
        named |= {shown.partition(" (")[0] for shown in (labelled or {}).values()}
        return _joined(
            facts,
            task,
            described=described,
            stages=[row for row in training["stages"] if row["name"].startswith(f"{task} ")],
            machines=training["machines"],
            labelled=labelled,
            datasets=named & set(theirs.datasets),
            curve=next((curve for curve in theirs.curves if curve.name == task), None),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"what it states of the task {task} cannot be read ({first_line(error)})",
            file=f"{theirs.name}/{FACTS_FILE}",
            remedy="have the task added to the pair again (`bistill add-task --replace`)",
        ) from error


def _joined(
    facts: CardFacts,
    name: str,
    *,
    described: Mapping[str, Any],
    stages: Iterable[Mapping[str, Any]],
    machines: Iterable[str],
    labelled: Mapping[str, str] | None,
    datasets: set[str],
    curve: LossCurve | None,
) -> CardFacts:
    """Put what is stated of one task in its places, instead of what was stated of it before."""
    curves = [other for other in facts.curves if other.name != name]
    of_tasks = [other for other in curves if other.name in facts.tasks] + ([] if curve is None else [curve])
    rows = [row for row in facts.training["stages"] if not row["name"].startswith(f"{name} ")]
    rows_of_labels = {**facts.training.get("labelled", {}), **({} if labelled is None else {name: labelled})}
    return dataclasses.replace(
        facts,
        tasks={**facts.tasks, name: described},
        training={
            **facts.training,
            "stages": [*rows, *stages],
            "machines": list(dict.fromkeys([*facts.training["machines"], *machines])),
            **({"labelled": rows_of_labels} if rows_of_labels else {}),
        },
        datasets=tuple(sorted({*facts.datasets, *datasets})),
        curves=(
            *(other for other in curves if other.name not in facts.tasks),
            *sorted(of_tasks, key=lambda one: one.name),
        ),
    )


def command_of(
    name: str,
    task: str,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    teacher: str | None,
    target_text: str | None,
) -> str:
    """The command for others to read: no file keeps its folder, which is nobody's business but this machine's."""
    words = ["bistill", "add-task", name, "--task", task]
    for field, source in data.items():
        if isinstance(source, Mapping):
            words += [word for key, value in source.items() for word in ("--set", f"{field}.{key}={_shown(value)}")]
        else:
            words += ["--data", f"{field}={Path(source).name}"]
    if teacher is not None:
        words += ["--teacher", _shown(teacher)]
    if target_text is not None:
        words += ["--target-text", Path(target_text).name]
    for field, value in settings.items():
        words += ["--set", f"{field}={_shown(value)}"]
    return shlex.join(words)


def _shown(value: Any) -> str:
    shown = without_folders(value)
    return shown if isinstance(shown, str) else json.dumps(shown)


def description_of(facts: CardFacts, trained: TrainedTask) -> str:
    """What the pull request says: scores, data, settings, versions; `facts` have the task's results alone."""
    from ..cards.tables import evaluation, stage_loss
    from ..pipeline.manifest import versions

    of = "Scores of a synthetic demonstration" if facts.synthetic else "Scores"
    of = "Scores of a smoke run, which say nothing about the pair," if facts.smoke else of
    rows = [
        (row.language, row.dataset, row.n, row.metric, row.teacher, row.student, row.difference, row.retention,
         row.trivial)
        for row in evaluation(facts).rows
    ]  # fmt: skip
    scores = [f"{of} in %, with 95 % bootstrap intervals:", "", *_table(_COLUMNS, rows)]
    sources = [
        f"- {name}: {source.name}{f', {source.subset}' if source.subset else ''}"
        for name, source in trained.data.recipe.sources.items()
    ]
    stages = [
        (row["name"], row["settings"], stage_loss(row), f"{row['seconds'] / 60:.1f}")
        for row in facts.training["stages"]
        if row["name"] in trained.records
    ]
    base = "The base, config.json and the other tasks are as they were."
    load = f"It is loaded by its name: `from_pretrained({facts.name!r}, task={trained.task!r})`."
    made = ", ".join(f"{library} {version}" for library, version in sorted(versions().items()))
    parts = [
        "\n".join(scores),
        f"{base} {load}",
        "\n".join(["Data:", "", *sources]),
        "\n".join(_table(("stage", "settings", "loss", "minutes"), stages)),
        f"Seed {trained.recipe.seed}, at most {trained.data.recipe.max_length} sub-words an input. Made with {made}.",
    ]
    return "\n\n".join(parts)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(columns)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]
