"""What kept predictions come to on a test set: sufficient statistics of each contender with each seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.kept import read_predictions
from ..evaluation.size import Size
from ..pipeline.manifest import StageRecord
from ..pipeline.preflight import TaskData
from ..recipe import Recipe
from .scoring import predictions_file, tests_of

Finished = Mapping[str, Mapping[int, StageRecord]]
"""By contender and seed the record of the stage that scored it, all of one task."""

MainScore = Callable[[Any], NDArray[np.float64]]
Statistics = NDArray[np.int64 | np.float64]


@dataclass(frozen=True, kw_only=True)
class CountedTest:
    """A test set, and what each contender's predictions come to on it.

    Attributes:
        task: Name of the task.
        role: "source" or "target".
        language: Code of the test set's language.
        dataset: The test set's name.
        n: Examples in it.
        metric: Name of the main metric.
        main_score: The metric of summed statistics, [..., k] to [...].
        trivial: [n, k], of the task's trivial baseline.
        by_contender: By name and seed [n, k], in the order of tables; of those with a seed that is finished.
        sizes: By name the size of the encoder.
    """

    task: str
    role: str
    language: str
    dataset: str
    n: int
    metric: str
    main_score: MainScore
    trivial: Statistics
    by_contender: Mapping[str, Mapping[int, Statistics]]
    sizes: Mapping[str, Size]


def counted_tests(recipe: Recipe, task: TaskData, done: Finished) -> list[CountedTest]:
    """Read what is finished of a task, and count it; no model is loaded.

    Args:
        recipe: The pair's recipe.
        task: The task's data.
        done: What is finished, in the order of tables.

    Returns:
        The source test and the target test.

    Raises:
        ValueError: predictions were lost or do not belong to the test set.
    """
    finished = {name: by_seed for name, by_seed in done.items() if by_seed}
    found = []
    for role, language, source in tests_of(recipe, task):
        dataset = task.task.read(source)
        found.append(
            CountedTest(
                task=task.recipe.name,
                role=role,
                language=language.code,
                dataset=source.name,
                n=len(dataset),
                metric=task.task.main_metric,
                main_score=task.task.main_score,
                trivial=task.task.statistics(dataset, task.task.trivial(dataset, task.labels, task.train)),
                by_contender={
                    name: {
                        seed: task.task.statistics(
                            dataset, read_predictions(predictions_file(record.folder, language.code))
                        )
                        for seed, record in by_seed.items()
                    }
                    for name, by_seed in finished.items()
                },
                sizes={name: Size(**next(iter(by_seed.values())).facts["size"]) for name, by_seed in finished.items()},
            )
        )
    return found
