"""Runs a model over labelled data and scores it; the same code for teacher, student and baselines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..hub_commits import commits_read
from ..model.sparse_delta import state_sha256
from ..pair_loading import load_pair_config, loading
from ..sources import LabelledSource, file_sha256
from ..student.backbones import BACKBONES
from ..tasks import get_task
from ..tasks.task import Task, source_file
from .digests import prediction_digests
from .kept import KeptPredictions, read_predictions, write_predictions
from .paired import Paired, paired_intervals
from .predicting import predict
from .results import Result
from .scores import score_examples

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


__all__ = [
    "TestSet",
    "compare_with_teacher",
    "evaluate_model",
    "evaluate_pair",
    "labels_of",
    "predict",
    "read_predictions",
    "write_predictions",
]


@dataclass(frozen=True)
class TestSet:
    """Labelled data that a model is scored on.

    Attributes:
        language: Code of its language.
        role: "source" or "target".
        source: Where it comes from.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    language: str
    role: str
    source: LabelledSource


def evaluate_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    test: TestSet,
    labels: tuple[str, ...],
    *,
    name: str,
    training: Dataset | None = None,
    max_length: int = 256,
    seed: int | None = None,
    progress: bool = False,
    predictions_file: Path | None = None,
) -> tuple[Result, list[Any]]:
    """Score a model on a test set.

    Predictions are made slice by slice. With a file for them, finished slices are kept there, and what an interrupted
    evaluation of the same model on the same data has left is not predicted again.

    Args:
        model: A model with the task's head.
        tokenizer: Its tokenizer.
        task: The task.
        test: The test set.
        labels: The head's label names.
        name: What the result calls the model.
        training: The training set, for trivial baselines that are fitted on it.
        max_length: Sub-words that a model input may have.
        seed: Seed of the training run behind the model, recorded with the score.
        progress: Show a progress bar.
        predictions_file: Where the predictions are kept, one a line as JSON; its folder is made where there is none.
            Those of another model, or of other data, are replaced.

    Returns:
        The record, and one prediction an example.

    Raises:
        InputError: the test set cannot be read or holds labels that the model does not know.
    """
    with commits_read() as commits:
        dataset = task.read(test.source)
    task.check_labels(dataset, labels, source_file(test.source))
    _check_answers(task, labels, name)
    weights = state_sha256(model.state_dict())
    kept = None
    if predictions_file is not None:
        kept = KeptPredictions.of(
            predictions_file,
            weights_sha256=weights,
            tokenizer=tokenizer,
            task=task,
            dataset=dataset,
            labels=labels,
            max_length=max_length,
        )
    predictions = predict(
        model,
        tokenizer,
        task,
        dataset,
        labels,
        max_length=max_length,
        progress=progress,
        description=f"{name} on {test.language}",
        kept=kept,
    )
    source = test.source
    result = Result(
        task=task.name,
        task_version=task.version,
        model=name,
        weights_sha256=weights,
        language=test.language,
        role=test.role,
        dataset=source.dataset or source.name,
        dataset_config=source.config,
        split=source.split,
        revision=f"sha256:{file_sha256(source.file)}" if source.path is not None else source.revision,
        **asdict(score_examples(task, dataset, predictions, labels, training)),
        seed=seed,
        subset=source.subset,
        prediction_digests=prediction_digests(predictions),
        commit=commits[-1] if commits else None,
    )
    return result, predictions


def compare_with_teacher(
    task: Task,
    test: TestSet,
    labels: tuple[str, ...],
    predictions: Mapping[str, list[Any]],
    *,
    training: Dataset | None = None,
) -> dict[str, Paired]:
    """Compare models with their teacher on the same examples.

    Args:
        task: The task.
        test: The test set.
        labels: The heads' label names.
        predictions: By model, what `evaluate_model` returned or `read_predictions` read; "teacher" is one of them.
        training: The training set, for trivial baselines that are fitted on it.

    Returns:
        By model, the teacher left out.
    """
    dataset = task.read(test.source)
    trivial = task.statistics(dataset, task.trivial(dataset, labels, training))
    statistics = {name: task.statistics(dataset, found) for name, found in predictions.items()}
    teacher = statistics.pop("teacher")
    return {name: paired_intervals(ours, teacher, trivial, task.main_score) for name, ours in statistics.items()}


def evaluate_pair(
    pair: str | os.PathLike[str],
    task: str,
    tests: Mapping[str, LabelledSource],
    *,
    teacher: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    max_length: int = 256,
    progress: bool = True,
    predictions_dir: str | os.PathLike[str] | None = None,
) -> list[Result]:
    """Score a published or packaged pair on a task, zero-shot on the target language, and its teacher beside it.

    Args:
        pair: Hub id or folder of the pair.
        task: Name of one of its tasks.
        tests: Test set by language code, for the pair's source language, its target language or both.
        teacher: Hub id or folder of a model tuned for the task, to be scored by the same code.
        revision: Branch, tag or commit of the pair.
        max_length: Sub-words that a model input may have; less where a model reads less.
        progress: Show progress bars.
        predictions_dir: Folder for the predictions, made where there is none: `student.sw.jsonl` and so on. A call that
            was interrupted goes on with what it has left there.

    Returns:
        Records of the student and then of the teacher, in the order of `tests`.

    Raises:
        InputError: the pair, the task or a test set cannot be had, or a language is not one of the pair's.
    """
    from transformers import AutoTokenizer
    from transformers.models.auto import modeling_auto

    from ..model.configuration_bistill import HEADS
    from ..teacher import load_task_model, load_tokenizer

    kind = get_task(task)
    config = load_pair_config(pair, revision)
    with loading(pair):
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(pair, **options)
        student = getattr(modeling_auto, HEADS[kind.head]).from_pretrained(pair, task=task, **options)
        said = _said_of(pair, revision)
    roles = {config.source_language: "source", config.target_language: "target"}
    sets = []
    for language, source in tests.items():
        if language not in roles:
            raise InputError(
                "not a language of the pair", field="tests", value=language, remedy=f"use one of {sorted(roles)}"
            )
        source.check(f"tests.{language}")
        sets.append(TestSet(language, roles[language], source))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = [("student", student, tokenizer)]
    if teacher is not None:
        tuned = load_task_model(kind.head, os.fspath(teacher), tuned_by="teacher")
        models.append(("teacher", tuned, load_tokenizer(os.fspath(teacher))))
    for name, model, _ in models:
        _check_answers(kind, labels_of(model), name)
    folder = None if predictions_dir is None else Path(predictions_dir)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    predicted: dict[str, dict[str, list[Any]]] = {test.language: {} for test in sets}
    for name, model, reader in models:
        labels, longest = labels_of(model), _longest_input(model)
        for test in sets:
            result, predictions = evaluate_model(
                model.to(device),
                reader,
                kind,
                test,
                labels,
                name=name,
                max_length=max_length if longest is None else min(max_length, longest),
                progress=progress,
                predictions_file=None if folder is None else folder / f"{name}.{test.language}.jsonl",
            )
            predicted[test.language][name] = predictions
            results.append(replace(result, **said))
    if teacher is None:
        return results
    compared = {t.language: compare_with_teacher(kind, t, labels_of(student), predicted[t.language]) for t in sets}
    return [replace(result, against_teacher=compared[result.language].get(result.model)) for result in results]


def _check_answers(task: Task, labels: Sequence[str], name: str) -> None:
    """Refuse a model that could answer what the task's metric does not know, before it answers anything."""
    unknown = [label for label in labels if not task.is_answer(label)]
    if unknown:
        raise InputError(
            f"the model's head has the label {unknown[0]}, with which {task.name} is not scored",
            field=name,
            value=list(labels),
            remedy="name a model whose `id2label` has the task's own labels (entities: O, B-TYPE and I-TYPE)",
        )


def _longest_input(model: PreTrainedModel) -> int | None:
    """How many tokens a model reads at most; None for a teacher of an architecture that no student is cut from."""
    backbone = BACKBONES.get(model.config.model_type)
    return None if backbone is None else backbone.longest_input(model.config)


def _said_of(pair: str | os.PathLike[str], revision: str | None) -> dict[str, Any]:
    """What a pair's recipe says of all scores: that text and labels were generated, that it was a smoke run."""
    from transformers.utils import cached_file

    file = cached_file(pair, "recipe.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    recipe = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    return {name: bool(recipe.get(name)) for name in ("synthetic", "smoke")}


def labels_of(model: PreTrainedModel) -> tuple[str, ...]:
    """Label names of a model's head, in order."""
    return tuple(model.config.id2label[index] for index in range(len(model.config.id2label)))
