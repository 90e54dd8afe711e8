"""Scores predictions that were kept, without the model that made them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, first_line
from ..sources import LabelledSource
from ..tasks import get_task
from ..tasks.task import source_file
from .kept import read_predictions
from .paired import Paired, paired_intervals
from .scores import Score, score_examples

if TYPE_CHECKING:
    from datasets import Dataset

    from ..tasks.task import Task

KEPT_SCORES_VERSION = 1


@dataclass(frozen=True)
class KeptScore:
    """The score of a file of predictions.

    Attributes:
        predictions: The file's name.
        score: What the predictions are worth.
        against_teacher: How they compare with the teacher's on the same examples; None for the teacher's own, and where
            there are none.
    """

    predictions: str
    score: Score
    against_teacher: Paired | None = None


def score_predictions(
    task: str,
    test: LabelledSource,
    predictions: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    training: LabelledSource | None = None,
) -> list[KeptScore]:
    """Score a file of predictions, and compare it with the teacher's.

    Equal predictions get the score that `evaluate_pair` or a run gave them, down to the ends of the interval.

    Args:
        task: Name of the task.
        test: The test set that was predicted.
        predictions: One a line as JSON, in the order of the test set.
        against: The teacher's predictions of the same test set.
        training: The training set, for trivial baselines that are fitted on it; without it they are fitted on the test
            set, or guess.

    Returns:
        The score of the predictions, and that of the teacher's behind it where there are any.

    Raises:
        InputError: a file is not there or is malformed, there are more or fewer predictions than examples, or one of
            them is none of the task's.
    """
    kind = get_task(task)
    dataset = kind.read(test)
    train = None if training is None else kind.read(training)
    labels = kind.labels(dataset if train is None else train)
    if train is not None:
        kind.check_labels(dataset, labels, source_file(test))
    trivial = kind.trivial(dataset, labels, train)
    files = [Path(file) for file in (predictions, against) if file is not None]
    read = [_read(file, kind, trivial) for file in files]
    scored = []
    for file, found in zip(files, read, strict=True):
        try:
            scored.append(KeptScore(file.name, score_examples(kind, dataset, found, labels, train)))
        except ValueError as error:
            raise InputError(
                f"these are no predictions of the task {task} ({first_line(error)})",
                file=file,
                remedy="name the file that was written for this task and this test set",
            ) from error
    if against is None:
        return scored
    return [KeptScore(scored[0].predictions, scored[0].score, _compare(kind, dataset, read, trivial)), scored[1]]


def write_kept_scores(file: Path, task: str, test: LabelledSource, scored: Sequence[KeptScore]) -> None:
    """Write scores as JSON: equal scores give equal bytes.

    Args:
        file: The file to write.
        task: Name of the task.
        test: The test set.
        scored: What `score_predictions` returned.
    """
    content = {
        "kept_scores_version": KEPT_SCORES_VERSION,
        "task": task,
        "task_version": get_task(task).version,
        "test": test.name,
        "subset": test.subset,
        "scores": [asdict(one) for one in scored],
    }
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _compare(task: Task, dataset: Dataset, read: Sequence[list[Any]], trivial: list[Any]) -> Paired:
    student, teacher, baseline = (task.statistics(dataset, found) for found in (*read, trivial))
    return paired_intervals(student, teacher, baseline, task.main_score)


def _read(file: Path, task: Task, trivial: Sequence[Any]) -> list[Any]:
    """Read predictions, which have to be of the same form as the trivial baseline's."""
    found = read_predictions(file)
    if len(found) != len(trivial):
        raise InputError(
            f"{len(found)} predictions for {len(trivial)} examples",
            file=file,
            remedy="name the predictions of this very test set, or evaluate again, which goes on where it stopped",
        )
    for number, (prediction, expected) in enumerate(zip(found, trivial, strict=True), start=1):
        if type(prediction) is not type(expected):
            raise InputError(
                f"a prediction of this task is {'a list of tags' if isinstance(expected, list) else 'text'}",
                file=file,
                field=f"line {number}",
                value=prediction,
                remedy="name the predictions of this task",
            )
        if isinstance(expected, list) and not (
            len(prediction) == len(expected) and all(isinstance(tag, str) for tag in prediction)
        ):
            raise InputError(
                f"{len(prediction)} tags for {len(expected)} words, or one that is not text",
                file=file,
                field=f"line {number}",
                remedy="name the predictions of this very test set",
            )
        answers = prediction if isinstance(expected, list) else [prediction]
        if unknown := [answer for answer in answers if not task.is_answer(answer)]:
            raise InputError(
                f"there is no such label among those of the task {task.name}",
                file=file,
                field=f"line {number}",
                value=unknown[0],
                remedy="name the predictions of this task, by a model whose head has its labels",
            )
    return found
