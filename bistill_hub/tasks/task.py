"""What a task is: how labelled data are read, encoded for a model, decoded from its logits and scored.

A task is one module of this package that ends in a module-level `TASK`, an instance of a concrete subclass of `Task`.
Nothing else has to be edited: `bistill_hub.tasks.get_task` finds it by looking through the package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..sources import LabelledSource

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import ArrayLike, NDArray
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One kind of labelled data, with everything about it that depends on the kind.

    "Dataset" below is what `read` returns: one row an example, canonical columns, labels as strings. "Features" is what
    `encode` returns: one row a model input, of which an example has one or several, or none where it is empty.

    Attributes:
        name: The task's name in recipes, results and on the command line.
        head: The kind of head: "token-classification", "sequence-classification" or "question-answering".
        main_metric: The key of `score` that selects checkpoints and that retention is computed from.
        version: Raised whenever the same data and model would be scored differently, so that numbers stay comparable.
        label_columns: The features that are gold labels, by the names under which the model's loss takes them.
        decode_columns: The features that only `decode` reads; take them out before a batch reaches the model.
    """

    name: str
    head: str
    main_metric: str
    version: str
    label_columns: tuple[str, ...] = ("labels",)
    decode_columns: tuple[str, ...] = ("example",)

    @abstractmethod
    def read(self, source: LabelledSource) -> Dataset:
        """Read labelled examples into the task's canonical columns; all validation of data happens here.

        `source.columns`, `source.label_map` and `source.limit` are applied.

        Raises:
            InputError: a column is missing, a label is malformed or absent, or there is no example at all. The error
                names the file or Hub id and the line or row.
        """

    @abstractmethod
    def labels(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the label names that training on this data set gives the head, in a fixed order.

        The order depends on the set of labels alone, not on the order of the examples. Empty for tasks without labels.
        """

    @abstractmethod
    def check_labels(self, dataset: Dataset, labels: Sequence[str], file: str) -> None:
        """Refuse a development or test set that holds a label which training lacks.

        Args:
            dataset: What `read` returned for that set.
            labels: What `labels` returned for the training set.
            file: The set's file or Hub id, named in the error.

        Raises:
            InputError: there is such a label.
        """

    def is_answer(self, label: str) -> bool:
        """Whether a string can be a prediction of this task, or one of its words: `score` knows what to make of it."""
        return True

    @abstractmethod
    def encode(
        self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
    ) -> Dataset:
        """Turn examples into model inputs, unpadded.

        Args:
            dataset: What `read` returned.
            tokenizer: The model's tokenizer, a fast one.
            labels: The head's label names; a label's id is its place here.
            max_length: The most sub-words that a feature may have, special tokens included.

        Returns:
            Features: `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them, `label_columns` and
            `decode_columns`, of which `example` is the row of `dataset` that a feature comes from.

        Raises:
            InputError: the tokenizer is not a fast one, or `max_length` leaves no room for text.
        """

    def encode_unlabelled(
        self, lines: Sequence[str], tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
    ) -> Dataset:
        """Turn lines of text into model inputs on which a student can be compared with a teacher, unpadded.

        Here each line is an input by itself, cut at `max_length`, with -100 for a label: a line asks a classifier of
        pairs, or a model that answers questions, nothing, so that their answer is not to be learnt. What goes on inside
        the teacher while it reads is.

        Args:
            lines: Text without labels, none of it empty.
            tokenizer: The model's tokenizer, a fast one.
            labels: The head's label names.
            max_length: The most sub-words that an input may have, special tokens included.

        Returns:
            What `encode` does, but for `decode_columns`. A line becomes one input or several, or none.

        Raises:
            InputError: the tokenizer is not a fast one, or `max_length` leaves no room for text.
        """
        from datasets import Dataset

        check_tokenizer(tokenizer, max_length, 1)
        encoded = tokenizer(list(lines), padding=False, truncation=True, max_length=max_length, verbose=False)
        inputs = {name: encoded[name] for name in tokenizer.model_input_names if name in INPUT_TYPES}
        return Dataset.from_dict({**inputs, **{name: [IGNORED] * len(lines) for name in self.label_columns}})

    @abstractmethod
    def decode(
        self, features: Dataset, logits: Sequence[ArrayLike], dataset: Dataset, labels: Sequence[str]
    ) -> list[Any]:
        """Turn a model's logits into one prediction an example, in the order of `dataset`.

        Args:
            features: What `encode` returned for `dataset`.
            logits: One array a feature, in the order of `features`. Token classification: [length, n_labels]; sequence
                classification: [n_labels]; question answering: [length, 2], start and end. `length` may exceed the
                feature's own by padding on the right.
            dataset: What `read` returned.
            labels: The head's label names.

        Raises:
            ValueError: the logits' number or shape does not fit the features.
        """

    @abstractmethod
    def score(self, dataset: Dataset, predictions: Sequence[Any]) -> dict[str, float]:
        """Score predictions (one an example) against the gold labels; fractions in [0, 1], counts as floats.

        Raises:
            ValueError: there are more or fewer predictions than gold labels.
        """

    @abstractmethod
    def statistics(self, dataset: Dataset, predictions: Sequence[Any]) -> NDArray[np.int64 | np.float64]:
        """Return each example's sufficient statistics of the main metric, [n_examples, k].

        Sums of rows are the statistics of the examples together, so that a bootstrap over examples is one product of a
        matrix of weights [n_resamples, n_examples] with this one.

        Raises:
            ValueError: there are more or fewer predictions than gold labels.
        """

    @abstractmethod
    def main_score(self, statistics_sum: ArrayLike) -> NDArray[np.float64]:
        """Return the main metric, [...], of summed statistics, [..., k]; equal to `score`'s on the same examples."""

    @abstractmethod
    def trivial(self, dataset: Dataset, labels: Sequence[str], training: Dataset | None = None) -> list[Any]:
        """Return the predictions of the task's trivial baseline, one an example.

        Args:
            dataset: The examples to predict for.
            labels: The head's label names.
            training: The training set, for baselines that are fitted on it (the majority class).
        """


def source_file(source: LabelledSource) -> str:
    """Return what errors call the source: the local file with its folder, or the Hub id and what else names it."""
    return str(source.file) if source.path is not None else source.name


def refuse_answer_language(source: LabelledSource) -> None:
    """Refuse an `answer_language` for a task that compares no answers.

    Args:
        source: The source that is looked at.

    Raises:
        InputError: there is one.
    """
    if source.answer_language is not None:
        raise InputError(
            "only answers of the task qa are compared by a language's rules",
            file=source_file(source),
            field="answer_language",
            value=source.answer_language,
            remedy="leave it out",
        )


def check_column_names(source: LabelledSource, canonical: Sequence[str]) -> None:
    """Refuse a `source.columns` that renames a column which the task does not read.

    Args:
        source: The source whose `columns` is looked at.
        canonical: The columns that the task reads.

    Raises:
        InputError: there is such a column.
    """
    for name in source.columns:
        if name not in canonical:
            raise InputError(
                "the task reads no such column",
                file=source_file(source),
                field="columns",
                value=name,
                remedy=f"name the source's columns for {', '.join(canonical)}",
            )


def find_columns(source: LabelledSource, present: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the table's column for each canonical column.

    Args:
        source: The source whose `columns` overrides the defaults.
        present: The table's columns.
        defaults: The column that is looked for where the source names none, by canonical column.

    Raises:
        InputError: a column is missing, or `source.columns` names one that the task does not read.
    """
    check_column_names(source, tuple(defaults))
    chosen = {canonical: source.columns.get(canonical, default) for canonical, default in defaults.items()}
    for canonical, column in chosen.items():
        if column not in present:
            raise InputError(
                f"there is no such column; the columns are {', '.join(sorted(present))}",
                file=source_file(source),
                field=f"columns.{canonical}",
                value=column,
                remedy=f"set columns.{canonical} to the one that holds the {canonical}",
            )
    return chosen


IGNORED = -100
"""The label of what counts neither in a loss nor in a score."""

INPUT_TYPES = {"input_ids": "int32", "token_type_ids": "int8", "attention_mask": "int8"}
"""The model inputs that tokenizers make, and the types in which features hold them."""


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, max_length: int, texts: int) -> None:
    """Refuse a tokenizer that features cannot be made with, and a length without room for text.

    Args:
        tokenizer: The tokenizer.
        max_length: The most sub-words that a feature may have.
        texts: How many texts a feature holds, 1 or 2.

    Raises:
        InputError: the tokenizer is not a fast one, or `max_length` does not hold the special tokens and a sub-word of
            each text.
    """
    if not tokenizer.is_fast:
        raise InputError(
            "the tokenizer is not a fast one, so that sub-words cannot be traced back to the text",
            file=tokenizer.name_or_path,
            remedy="save the tokenizer with a tokenizer.json",
        )
    shortest = tokenizer.num_special_tokens_to_add(pair=texts == 2) + texts
    if max_length < shortest:
        raise InputError(
            "the special tokens leave no room for text",
            field="max_length",
            value=max_length,
            remedy=f"set it to {shortest} at least, better to 128 or more",
        )
