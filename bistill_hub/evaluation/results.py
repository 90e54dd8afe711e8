"""Records of scores, as they stand in `results.json`: plain values, enough to tell what was measured on what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line
from ..versioned import read_versioned
from .paired import Paired

RESULTS_VERSION = 3
RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Result:
    """One model's score on one test set.

    Attributes:
        task: Name of the task.
        task_version: Version of its scoring.
        model: "student", "teacher", or the name of a baseline.
        weights_sha256: Hash of the weights that were scored, task head and delta included.
        language: Code of the test set's language.
        role: "source" or "target".
        dataset: The test set's name: Hub id or file name.
        dataset_config: Its configuration on the Hub.
        split: Its split on the Hub.
        revision: Its revision on the Hub as it was asked for, or "sha256:" and the file's hash.
        n: Examples scored.
        metric: Name of the main metric.
        score: The main metric, a fraction.
        low: Lower end of its 95 % bootstrap interval over examples.
        high: Upper end.
        trivial: Score of the task's trivial baseline on the same examples.
        scores: All metrics.
        seed: Seed of the training run behind the model; None where it is not known.
        subset: What was taken of the split, where it was not the whole.
        synthetic: Whether text and labels were generated, so that the score says nothing about real language.
        smoke: Whether it is of a smoke run, a sample of the data and few steps, so that it says nothing about the pair.
        against_teacher: How the model compares with the teacher on the same examples; None for the teacher itself, and
            where there was none.
        prediction_digests: Fingerprints of the predictions, one an example (see `bistill_hub.evaluation.digests`).
        commit: The commit of the Hub data set that was read; None for a file, and where it could not be told.
    """

    task: str
    task_version: str
    model: str
    weights_sha256: str
    language: str
    role: str
    dataset: str
    dataset_config: str | None
    split: str | None
    revision: str | None
    n: int
    metric: str
    score: float
    low: float
    high: float
    trivial: float
    scores: dict[str, float]
    seed: int | None
    subset: str | None = None
    synthetic: bool = False
    smoke: bool = False
    against_teacher: Paired | None = None
    prediction_digests: str | None = None
    commit: str | None = None

    @property
    def read_revision(self) -> str | None:
        """The commit that was read where it is known, else what was asked for."""
        return self.commit or self.revision


def retention(student: Result, teacher: Result) -> float | None:
    """Share of what the teacher has above the trivial baseline that the student keeps.

    Returns:
        (student - trivial) / (teacher - trivial), or None where the lower end of the teacher's interval is not above
        the trivial baseline, so that there is nothing to keep.
    """
    if teacher.low <= teacher.trivial:
        return None
    return (student.score - teacher.trivial) / (teacher.score - teacher.trivial)


def write_results(file: Path, results: Iterable[Result], versions: dict[str, str]) -> None:
    """Write `results.json`: equal results give equal bytes.

    Args:
        file: The file to write.
        results: In the order that tables show them.
        versions: Version by library.
    """
    content = {
        "results_version": RESULTS_VERSION,
        "versions": versions,
        "results": [asdict(result) for result in results],
    }
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_results(file: Path) -> list[Result]:
    """Read what `write_results` wrote.

    Raises:
        InputError: the file is not there, is damaged, or has another version.
    """
    content = read_versioned(file, "results_version", RESULTS_VERSION, remedy="evaluate again")
    try:
        return [_result_from(values) for values in content["results"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"a result lacks a field or has one too many ({first_line(error)})",
            file=file,
            field="results",
            remedy="evaluate again",
        ) from error


def _result_from(values: Mapping[str, Any]) -> Result:
    paired = values["against_teacher"]
    return Result(**{**values, "against_teacher": None if paired is None else Paired(**paired)})
