"""Evaluates a pair's task again, on the data that its results name, and compares scores and predictions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cards.facts import FACTS_FILE
from ..errors import InputError
from ..evaluation.digests import count_equal
from ..evaluation.evaluate import TestSet, evaluate_model, labels_of
from ..evaluation.results import Result, read_results
from ..sources import LabelledSource, file_sha256
from ..student.backbones import backbone_for
from ..tasks import get_task
from .pair_folder import RECIPE_FILE, PairFolder, delta_file, results_file
from .report import Findings

POINTS = 0.2
"""By as much, in points of the main metric, may a score differ."""

EQUAL = 0.995
"""The share of examples whose predictions have to be equal."""

_ROUNDING = 1e-9
_USUAL_LENGTH = 256
_FILE_HASH = "sha256:"
_STUDENT = "student"
_TEXTS = ("dataset", "language", "metric", "role", "task_version")
_OPTIONAL_TEXTS = ("commit", "dataset_config", "prediction_digests", "revision", "split", "subset")


@dataclass(eq=False)
class Again:
    """A task to evaluate again.

    Attributes:
        task: Its name.
        tests: Test file by language code, for results that name a file.
        progress: Show progress bars.
        sets: What to evaluate on, filled by `prepare`: a recorded result and its test set.
        max_length: Sub-words that a model input may have, as the recipe says.
    """

    task: str
    tests: Mapping[str, str | os.PathLike[str]]
    progress: bool = False
    sets: list[tuple[Result, LabelledSource]] = field(default_factory=list)
    max_length: int = _USUAL_LENGTH

    def check_files(self) -> None:
        """Refuse a task that there is not, and files that are not there.

        Raises:
            InputError: there is such a one.
        """
        get_task(self.task)
        for code, file in self.tests.items():
            LabelledSource(path=os.fspath(file)).check(f"--test {code}")

    def prepare(self, pair: PairFolder) -> None:
        """Find the data of each score before anything is computed.

        Raises:
            InputError: there is no score of the task, or its data cannot be had as they were.
        """
        name = results_file(self.task)
        if not {name, delta_file(self.task)} <= set(pair.files):
            tasks = sorted(task for task in pair.delta_files if results_file(task) in pair.files)
            raise InputError(
                "the pair has no such task, or no scores of it",
                field="--rerun",
                value=self.task,
                remedy=f"choose one of {', '.join(tasks)}" if tasks else "evaluate the pair with `bistill eval`",
            )
        recorded = [result for result in read_results(pair.folder / name) if result.model == _STUDENT]
        for result in recorded:
            _check_fields(result, name)
        codes = {result.language for result in recorded}
        if unknown := sorted(set(self.tests) - codes):
            raise InputError(
                "there is no score in this language",
                file=name,
                field="--test",
                value=unknown[0],
                remedy=f"use one of {', '.join(sorted(codes))}" if codes else "evaluate the pair with `bistill eval`",
            )
        file, recipe = self._recipe(pair)
        self.max_length = _length(recipe, file, f"tasks.{self.task}.max_length")
        for result in recorded:
            source = self._source(result, recipe, file, name)
            get_task(self.task).read(source)
            self.sets.append((result, source))
        if not self.sets:
            raise InputError(
                "there is no score of the student", file=name, remedy="evaluate the pair with `bistill eval`"
            )

    def _recipe(self, pair: PairFolder) -> tuple[str, dict[str, Any]]:
        """What the recipe says of the task, or the card's facts where it was added to the pair later, and its file."""
        of_card = pair.read_json(FACTS_FILE).get("tasks")
        described = of_card.get(self.task) if isinstance(of_card, dict) else None
        added = described.get("added") if isinstance(described, dict) else None
        if isinstance(added, dict) and isinstance(added.get("recipe"), dict):
            return FACTS_FILE, added["recipe"]
        tasks = pair.read_json(RECIPE_FILE).get("tasks")
        listed = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
        return RECIPE_FILE, next((task for task in listed if task.get("name") == self.task), {})

    def _source(self, result: Result, of_task: dict[str, Any], file: str, name: str) -> LabelledSource:
        """The test set of a result: the place is the result's or the user's, how it is read is the recipe's.

        Raises:
            InputError: the data cannot be had, or are others.
        """
        from pydantic import ValidationError

        field = f"test_{result.role}"
        recipe = of_task.get(field)
        recipe = recipe if isinstance(recipe, dict) else {}
        reading = {
            key: recipe[key]
            for key in ("columns", "label_map", "where", "limit", "data_dir", "answer_language")
            if recipe.get(key)
        }
        given = self.tests.get(result.language)
        is_file = (result.revision or "").startswith(_FILE_HASH)
        if is_file and given is None:
            raise InputError(
                f"the score in this language was measured on the file {result.dataset}, which is not on the Hub",
                file=name,
                field="language",
                value=result.language,
                remedy=f"give the file with --test {result.language}=FILE",
            )
        if given is not None and not is_file:
            raise InputError(
                f"the score in this language was measured on the Hub's {result.dataset}",
                file=name,
                field="--test",
                value=result.language,
                remedy="leave the file out",
            )
        if given is not None:
            place: dict[str, Any] = {"path": os.fspath(given)}
            found = _FILE_HASH + file_sha256(Path(given))
            if found != result.revision:
                raise InputError(
                    f"the file's hash is {found}, and the score was measured on one with {result.revision}",
                    field=f"--test {result.language}",
                    value=os.fspath(given),
                    remedy=f"give the {result.dataset} that was scored",
                )
        else:
            place = {"dataset": result.dataset, "config": result.dataset_config, "split": result.split}
            place["revision"] = result.read_revision
        try:
            source = LabelledSource(**place, **reading)
        except ValidationError as error:
            raise InputError.from_validation(error, file=file, within=f"tasks.{self.task}.{field}") from error
        if source.subset != result.subset:
            raise InputError(
                f"the score was measured on a part of the data, which recipe.json does not describe ({source.subset})",
                file=name,
                field="subset",
                value=result.subset,
                remedy="score the part with `bistill eval`, and compare by hand",
            )
        return source


def _check_fields(result: Result, name: str) -> None:
    """Refuse a result of which a field that is needed here is of another kind: nobody vouches for a pair's files.

    Raises:
        InputError: there is such a field.
    """
    numbers = {"n": int, "score": int | float}
    kinds = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_OPTIONAL_TEXTS, str | None), **numbers}
    for field_name, kind in kinds.items():
        value = getattr(result, field_name)
        if not isinstance(value, kind):  # type: ignore[arg-type]
            raise InputError(
                "not a value that can stand there",
                file=name,
                field=f"results of {_STUDENT}: {field_name}",
                value=value,
                remedy="restore the scores that were packaged",
            )


def _length(recipe: dict[str, Any], file: str, field: str) -> int:
    """Sub-words that a model input may have.

    Raises:
        InputError: what the pair says is no number of them.
    """
    value = recipe.get("max_length", _USUAL_LENGTH)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(
            "not a number of sub-words",
            file=file,
            field=field,
            value=value,
            remedy="restore the recipe that was packaged",
        )
    return value


def check_again(pair: PairFolder, again: Again, findings: Findings) -> None:
    """Evaluate the student on each test set; score and predictions have to be those that were recorded.

    Args:
        pair: The pair.
        again: What to evaluate, prepared.
        findings: Where to note what differs.

    Raises:
        InputError: the data cannot be read.
    """
    from transformers import AutoTokenizer

    assert pair.config is not None
    task, name = get_task(again.task), results_file(again.task)
    native = pair.config.backbone_config()
    room = backbone_for(native).longest_input(native)
    model = tokenizer = None
    with findings.within(delta_file(again.task), "the task does not load", "mend what the other checks found"):
        model = pair.load_task(again.task)
        tokenizer = AutoTokenizer.from_pretrained(pair.models, trust_remote_code=False, local_files_only=True)
    if model is None or tokenizer is None:
        return
    for recorded, source in again.sets:
        if recorded.task_version != task.version:
            pair.notes.append(
                f"{recorded.language}: scored by version {recorded.task_version} of the task {task.name}, and now by "
                f"{task.version}."
            )
        result, _ = evaluate_model(
            _on_best_device(model),
            tokenizer,
            task,
            TestSet(recorded.language, recorded.role, source),
            labels_of(model) if task.head != "question-answering" else (),
            name=_STUDENT,
            max_length=min(again.max_length, room),
            progress=again.progress,
        )
        _compare_scores(recorded, result, name, findings)
        _compare_predictions(recorded, result, name, pair, findings)


def _on_best_device(model: Any) -> Any:
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def differs(recorded: float, found: float) -> bool:
    """Whether a score, a fraction, is further from the recorded one than it may be."""
    return not 100 * abs(found - recorded) <= POINTS + _ROUNDING


def _compare_scores(recorded: Result, found: Result, name: str, findings: Findings) -> None:
    where = f"student on {recorded.language}"
    if found.n != recorded.n:
        findings.add(name, f"{where}: n = {recorded.n}: the data have {found.n} examples", "evaluate again")
    if differs(recorded.score, found.score):
        findings.add(
            name,
            f"{where}: {recorded.metric} = {100 * recorded.score:.2f}: evaluated again it is {100 * found.score:.2f}, "
            f"which differs by more than {POINTS} points",
            "evaluate the packaged model again, and render the card from that",
        )


def _compare_predictions(recorded: Result, found: Result, name: str, pair: PairFolder, findings: Findings) -> None:
    where = f"student on {recorded.language}"
    remedy = "evaluate the packaged model again"
    if recorded.prediction_digests is None:
        findings.add(name, f"{where}: prediction_digests: nothing is recorded of the predictions", remedy)
        return
    try:
        equal = count_equal(recorded.prediction_digests, found.prediction_digests or "")
    except ValueError as error:
        findings.add(name, f"{where}: prediction_digests: {error}", remedy)
        return
    said = f"{where}: {equal} of {recorded.n} predictions are those recorded"
    if equal < EQUAL * recorded.n:
        findings.add(name, f"{said}, less than {100 * EQUAL:g} %", remedy)
    else:
        pair.notes.append(f"{said}.")
