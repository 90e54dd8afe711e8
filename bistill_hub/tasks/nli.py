"""Natural-language inference: whether a hypothesis follows from a premise, scored by accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..sources import LabelledSource
from .task import INPUT_TYPES, Task, check_tokenizer, find_columns, refuse_answer_language, source_file

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike, NDArray
    from transformers import BatchEncoding, PreTrainedTokenizerBase

LABELS = ("entailment", "neutral", "contradiction")
"""The labels, in the order of XNLI, MultiNLI and AmericasNLI."""

_TEXTS = ("premise", "hypothesis")
_STRINGS = ("string", "large_string", "string_view")
# How SNLI and MultiNLI mark examples on whose label the annotators did not agree, and how tables mark a missing one.
_UNLABELLED = ("-1", "-", "")
_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Nli(Task):
    """Natural-language inference. Canonical columns: `premise`, `hypothesis`, `label`, all strings.

    An example without a gold label is refused; `where` leaves such examples out, by `label: '[!-]*'` in data sets that
    mark them with -1 or "-".
    """

    name: str = "nli"
    head: str = "sequence-classification"
    main_metric: str = "accuracy"
    version: str = "1"

    def read(self, source: LabelledSource) -> Dataset:
        """Read a table (TSV, CSV, JSON, Parquet) or a Hub data set.

        Labels are strings, `ClassLabel`s, or numbers that `label_map` names ({"0": "entailment", ...}). Text is taken
        as it is.

        Args:
            source: Where the data are.

        Returns:
            One row an example.

        Raises:
            InputError: a column is missing or does not hold text, a label is missing or none of the task's, or there is
                no example. The error names line or row.
        """
        from datasets import Dataset, Features, Value

        refuse_answer_language(source)
        table = source.table()
        chosen = find_columns(source, table.column_names, {name: name for name in (*_TEXTS, "label")})
        for column in (chosen[name] for name in _TEXTS):
            _check_text_column(table.features[column], column, source)
        names = getattr(table.features[chosen["label"]], "names", None)
        columns: dict[str, list[Any]] = {name: list(table[chosen[name]]) for name in _TEXTS}
        for name, texts in columns.items():
            if None in texts:
                raise InputError(
                    f"there is no {name}",
                    file=source_file(source),
                    field=f"{_row(texts.index(None))}, {chosen[name]}",
                    remedy="give each example both texts, or leave it out",
                )
        columns["label"] = [
            _label_name(label, names, source, f"{_row(row)}, {chosen['label']}")
            for row, label in enumerate(table[chosen["label"]])
        ]
        if not columns["label"]:
            raise InputError(
                "there is no example in it",
                file=source_file(source),
                remedy="name a file or split that holds labelled examples",
            )
        return Dataset.from_dict(columns, features=Features(dict.fromkeys(columns, Value("string"))))

    def labels(self, dataset: Dataset) -> tuple[str, ...]:
        """Return those of `LABELS` that occur, in that order."""
        found = set(dataset["label"][:])
        return tuple(label for label in LABELS if label in found)

    def is_answer(self, label: str) -> bool:
        """Whether a string is one of `LABELS`."""
        return label in LABELS

    def check_labels(self, dataset: Dataset, labels: Sequence[str], file: str) -> None:
        """Refuse a development or test set with a label that training lacks; see `Task.check_labels`."""
        for row, label in enumerate(dataset["label"][:]):
            if label not in labels:
                raise InputError(
                    f"example {row} (counted from 0) has a label that the training data lack; "
                    f"they have {', '.join(labels)}",
                    file=file,
                    field="label",
                    value=label,
                    remedy=f"rename it with label_map, such as {label}: {labels[-1]}, or train on data that have it",
                )

    def encode(
        self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
    ) -> Dataset:
        """Turn each example into one feature, premise and hypothesis as a pair; see `Task.encode`.

        Where the pair is longer than `max_length`, the longer of the two texts loses sub-words at its end, and both do
        once they are equally long. `labels` is the id of the gold label.

        Raises:
            InputError: the tokenizer is not a fast one, or `max_length` leaves no room for a sub-word of each text.
            KeyError: a label is not among `labels`; `check_labels` says so in better words.
        """
        from datasets import Dataset, Features, List, Value

        check_tokenizer(tokenizer, max_length, len(_TEXTS))
        ids = {label: place for place, label in enumerate(labels)}
        inputs = [name for name in tokenizer.model_input_names if name in INPUT_TYPES]
        columns: dict[str, list[Any]] = {name: [] for name in inputs}
        for start in range(0, len(dataset), _BATCH):
            batch = dataset[start : start + _BATCH]
            encoded = _encode_pairs(tokenizer, batch["premise"], batch["hypothesis"], max_length)
            for name in inputs:
                columns[name] += encoded[name]
        columns["labels"] = [ids[label] for label in dataset["label"][:]]
        columns["example"] = list(range(len(dataset)))
        types = {name: List(Value(INPUT_TYPES[name])) for name in inputs}
        types |= {"labels": Value("int64"), "example": Value("int32")}
        return Dataset.from_dict(columns, features=Features(types))

    def decode(
        self, features: Dataset, logits: Sequence[ArrayLike], dataset: Dataset, labels: Sequence[str]
    ) -> list[str]:
        """Return the highest-scoring label of each example; see `Task.decode`.

        Args:
            features: What `encode` returned for `dataset`.
            logits: [n_labels] a feature.
            dataset: What `read` returned.
            labels: The head's label names.

        Raises:
            ValueError: the logits' number or shape does not fit the features.
        """
        if not len(logits) == len(features) == len(dataset):
            raise ValueError(f"{len(logits)} arrays of logits, {len(features)} features, {len(dataset)} examples")
        predictions = [""] * len(dataset)
        for example, scores in zip(features["example"], logits, strict=True):
            if np.shape(scores) != (len(labels),):
                raise ValueError(f"logits of shape {np.shape(scores)} for {len(labels)} labels")
            predictions[example] = labels[int(np.argmax(scores))]
        return predictions

    def score(self, dataset: Dataset, predictions: Sequence[str]) -> dict[str, float]:
        """Return what `bistill_hub.metrics.Accuracy` does: overall and by label, such as "neutral.recall".

        Raises:
            ValueError: there are more or fewer predictions than gold labels.
        """
        from ..metrics.accuracy import Accuracy

        _check_number(dataset, predictions)
        # In memory: two evaluations at a time would otherwise wait for each other's cache file.
        return Accuracy(keep_in_memory=True).compute(predictions=list(predictions), references=dataset["label"][:])

    def statistics(self, dataset: Dataset, predictions: Sequence[str]) -> NDArray[np.int64 | np.float64]:
        """Return whether each example is correct, and 1, [n_examples, 2].

        Raises:
            ValueError: there are more or fewer predictions than gold labels.
        """
        _check_number(dataset, predictions)
        correct = [gold == predicted for gold, predicted in zip(dataset["label"][:], predictions, strict=True)]
        return np.stack([np.array(correct, dtype=np.int64), np.ones(len(correct), dtype=np.int64)], axis=1)

    def main_score(self, statistics_sum: ArrayLike) -> NDArray[np.float64]:
        """Return accuracy, [...], of summed statistics, [..., 2]: correct / examples, and 0 where there is none."""
        correct, total = np.moveaxis(np.asarray(statistics_sum, dtype=np.float64), -1, 0)
        return np.divide(correct, total, out=np.zeros_like(total), where=total > 0)

    def trivial(self, dataset: Dataset, labels: Sequence[str], training: Dataset | None = None) -> list[str]:
        """Predict the most frequent label of the training set for every example.

        Without a training set the counts are those of `dataset` itself, which makes the baseline as strong as a
        constant can be. Of equally frequent labels the first in `labels` is taken.
        """
        counts = Counter((dataset if training is None else training)["label"][:])
        return [max(labels, key=lambda label: counts[label])] * len(dataset)


def _row(row: int) -> str:
    return f"row {row} (counted from 0)"


def _check_text_column(feature: Any, column: str, source: LabelledSource) -> None:
    kind = getattr(feature, "dtype", type(feature).__name__)
    if kind not in _STRINGS:
        raise InputError(
            f"this column holds values of type {kind}, not text",
            file=source_file(source),
            field=column,
            remedy="name a column of text, or the configuration of a single language, such as config: sw",
        )


def _label_name(label: Any, names: Sequence[str] | None, source: LabelledSource, place: str) -> str:
    """Return the label's name after `label_map`, whose keys are names, or numbers where they have none."""
    found = "" if label is None else str(label)
    if names is not None and isinstance(label, int) and 0 <= label < len(names):
        found = names[label]
    renamed = source.label_map.get(found, found)
    if renamed in LABELS:
        return renamed
    problem = f"not a label of the task nli, which are {', '.join(LABELS)}"
    remedy = f"correct the label, or rename it with label_map, such as {found!r}: {LABELS[1]}"
    if renamed != found:
        problem += f" (label_map renames {found!r})"
        remedy = "correct label_map"
    elif found in _UNLABELLED:
        problem = "the example has no label"
        column = source.columns.get("label", "label")
        remedy = f"use a split that is labelled, or leave such rows out with where, such as {column}: '[!-]*'"
    elif found.isdecimal():
        problem = "a label without a name"
        remedy = f"name the numbers with label_map, such as '0': {LABELS[0]}"
    value = label if renamed == found else renamed
    raise InputError(problem, file=source_file(source), field=place, value=value, remedy=remedy)


def _encode_pairs(
    tokenizer: PreTrainedTokenizerBase, premises: list[str], hypotheses: list[str], max_length: int
) -> BatchEncoding:
    """Encode pairs, and leave the tokenizer's truncation as it was: it would be saved with the tokenizer."""
    backend = tokenizer.backend_tokenizer
    before = backend.truncation
    try:
        return tokenizer(
            premises, hypotheses, truncation="longest_first", max_length=max_length, padding=False, verbose=False
        )
    finally:
        if before is None:
            backend.no_truncation()
        else:
            backend.enable_truncation(**before)


def _check_number(dataset: Dataset, predictions: Sequence[str]) -> None:
    if len(predictions) != len(dataset):
        raise ValueError(f"predictions for {len(predictions)} examples, gold labels for {len(dataset)}")


TASK = Nli()
