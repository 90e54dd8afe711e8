"""Scores in the Hub's own format: `.eval_results/*.yaml`, for test sets that the Hub has registered as benchmarks.

The Hub shows such a score on the model's page and on the benchmark's leaderboard, for registered data sets alone, under
task ids from the `eval.yaml` of the data set's repository (https://huggingface.co/docs/hub/eval-results). Every other
score stays in the card's `model-index`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..evaluation.results import Result
from ..hub_commits import is_commit
from .front_matter import parse_yaml, write_yaml
from .metadata import is_hub_id

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

FOLDER = ".eval_results"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A test set that the Hub keeps a leaderboard for.

    Attributes:
        dataset: The data set's id.
        task_id: The task's id in the data set's `eval.yaml`.
        config: The configuration that the task is scored on; None for a data set that has one alone.
        split: The split that it is scored on.
        metric: The metric of the leaderboard, by its name in `Result.scores`.
        scale: What a fraction of 1 is on the leaderboard: 1, or 100 for percentages.
    """

    dataset: str
    task_id: str
    config: str | None
    split: str
    metric: str
    scale: int = 1


BENCHMARKS: tuple[Benchmark, ...] = ()
"""Registered benchmarks among the test sets of this package's tasks.

None is known: the benchmarks that the Hub's documentation names (November 2026) are questions for generative models.
Before one is added, its data set page carries the tag "Benchmark" and its repository an `eval.yaml` with the task.
"""

_FIELDS = frozenset({"dataset", "value", "verifyToken", "date", "source", "notes", "evaluation_framework"})
_DATASET_FIELDS = frozenset({"id", "task_id", "revision"})
_SOURCE_FIELDS = frozenset({"url", "name", "user", "org"})


def eval_results_files(results: Iterable[Result], *, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> dict[str, str]:
    """Write the student's scores on registered benchmarks as the Hub wants them.

    Scores of a part of a test set, and of made-up data, are none of the benchmark's.

    Args:
        results: Every score of a pair.
        benchmarks: The registered ones.

    Returns:
        By name of the file in the repository, sorted, its text; a file for each data set. Equal results give equal
        texts, without the time.

    Raises:
        InputError: two results are of one benchmark.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, dict[str, EvalResultEntry]] = {}
    for result in results:
        benchmark = _benchmark(result, benchmarks)
        if benchmark is None:
            continue
        by_task = entries.setdefault(benchmark.dataset, {})
        if benchmark.task_id in by_task:
            raise InputError(
                f"{benchmark.dataset} has a score for {benchmark.task_id} already",
                field=f"results of {result.task}",
                value=result.scores[benchmark.metric],
                remedy="evaluate one task of the pair on it",
            )
        by_task[benchmark.task_id] = EvalResultEntry(
            dataset_id=benchmark.dataset,
            task_id=benchmark.task_id,
            value=round(result.scores[benchmark.metric] * benchmark.scale, 6),
            dataset_revision=result.read_revision if is_commit(result.read_revision) else None,
            notes=f"{benchmark.metric} on {result.n} examples",
        )
    return {
        eval_results_file(dataset): write_yaml(
            eval_result_entries_to_yaml([by_task[task_id] for task_id in sorted(by_task)])
        )
        + "\n"
        for dataset, by_task in sorted(entries.items())
    }


def eval_results_file(dataset: str) -> str:
    """Name a data set's file in the repository; no two data sets share one, since no Hub id holds `--`."""
    return f"{FOLDER}/{dataset.replace('/', '--')}.yaml"


def read_eval_results(text: str, *, file: str | Path | None = None) -> list[EvalResultEntry]:
    """Read and check a file of `.eval_results/`.

    huggingface_hub's own reader skips what it does not know and takes any value; this one refuses both.

    Args:
        text: The file's text.
        file: Its name, for messages.

    Raises:
        InputError: it is not what the Hub's specification asks for.
    """
    from huggingface_hub import parse_eval_result_entries

    listed = parse_yaml(text, file=file)
    if not isinstance(listed, list) or not listed:
        raise InputError("no list of scores", file=file, remedy="begin each score with `- dataset:`")
    reader = _Reader(file)
    for place, entry in enumerate(listed):
        reader.check_entry(entry, f"[{place}]")
    found: list[EvalResultEntry] = parse_eval_result_entries(listed)
    return found


def _benchmark(result: Result, benchmarks: Sequence[Benchmark]) -> Benchmark | None:
    if result.model != "student" or result.subset is not None or result.synthetic:
        return None
    for benchmark in benchmarks:
        same = (benchmark.dataset, benchmark.config, benchmark.split)
        if same == (result.dataset, result.dataset_config, result.split) and benchmark.metric in result.scores:
            return benchmark
    return None


@dataclass(frozen=True)
class _Reader:
    file: str | Path | None

    def check_entry(self, entry: Any, field: str) -> None:
        """Check one score."""
        self._mapping(entry, field, _FIELDS, ("dataset", "value"))
        self._mapping(entry["dataset"], f"{field}.dataset", _DATASET_FIELDS, ("id", "task_id"))
        for name, value in entry["dataset"].items():
            self._text(value, f"{field}.dataset.{name}")
        if not is_hub_id(entry["dataset"]["id"]):
            raise self._refuse(f"{field}.dataset.id", entry["dataset"]["id"], "no id on the Hub", "give `owner/name`")
        value = entry["value"]
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._refuse(f"{field}.value", value, "not a finite number", "give the score as a number")
        for name in _FIELDS.difference(("dataset", "value", "source")).intersection(entry):
            self._text(entry[name], f"{field}.{name}")
        if "date" in entry:
            self._date(entry["date"], f"{field}.date")
        if "source" in entry:
            self._mapping(entry["source"], f"{field}.source", _SOURCE_FIELDS, ("url",))
            for name, value in entry["source"].items():
                self._text(value, f"{field}.source.{name}")
            if not entry["source"]["url"].startswith("https://"):
                raise self._refuse(
                    f"{field}.source.url", entry["source"]["url"], "not an address", "begin it with https://"
                )

    def _mapping(self, value: Any, field: str, known: frozenset[str], required: Sequence[str]) -> None:
        if not isinstance(value, dict):
            raise self._refuse(field, value, "not a mapping", f"give {' and '.join(f'`{name}`' for name in required)}")
        for name in required:
            if name not in value:
                raise InputError("missing", file=self.file, field=f"{field}.{name}", remedy="give it a value")
        if unknown := sorted(map(str, value.keys() - known)):
            raise self._refuse(
                f"{field}.{unknown[0]}",
                value.get(unknown[0]),
                "a field that the Hub does not know",
                f"choose among {', '.join(sorted(known))}",
            )

    def _text(self, value: Any, field: str) -> None:
        if not isinstance(value, str) or not value.strip():
            raise self._refuse(field, value, "not a text", "write a text, in quotes where YAML takes it for a date")

    def _date(self, value: str, field: str) -> None:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise self._refuse(field, value, "not a date", "write it as 2026-01-31, in quotes") from None

    def _refuse(self, field: str, value: Any, problem: str, remedy: str) -> InputError:
        return InputError(problem, file=self.file, field=field, value=value, remedy=remedy)
