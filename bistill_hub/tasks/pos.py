"""Part-of-speech tagging: one of the universal part-of-speech tags a word, scored by accuracy over words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..sources import LabelledSource
from .conll import Sentence
from .task import source_file
from .token_classification import TokenClassification, check_lengths

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike, NDArray

UPOS = (
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
)
"""The tags of Universal Dependencies, version 2."""

# 7, or the multi-word token 7-8, or the empty node 7.1.
_ID = re.compile(r"[0-9]+(?P<other>[-.][0-9]+)?")
# What Universal Dependencies write where a column has no value.
_NO_VALUE = "_"
_ID_COLUMN, _FORM_COLUMN, _UPOS_COLUMN = 0, 1, 3


@dataclass(frozen=True, kw_only=True)
class Pos(TokenClassification):
    """Part-of-speech tagging with the 17 tags of Universal Dependencies.

    The words are the syntactic words of Universal Dependencies. A multi-word token ("du" before "de" and "le") and an
    empty node have no part of speech of their own and are left out: in CoNLL-U files they are told by their ID, in
    tables by the tag `_`, which is how Universal Dependencies on the Hub mark them.

    Other tag sets can be read with a `label_map` onto the 17 tags ("CONJ": "CCONJ").
    """

    name: str = "pos"
    main_metric: str = "accuracy"
    version: str = "1"
    tag_column: str = "upos"
    tag_form: str = f"one of {', '.join(UPOS)}"
    outside: str = "X"

    def is_tag(self, tag: str) -> bool:
        """Whether a string is one of the 17 tags."""
        return tag in UPOS

    def is_answer(self, label: str) -> bool:
        """Whether a string is one of the 17 tags, or the `_` of heads trained on all entries, right for no word."""
        return self.is_tag(label) or label == _NO_VALUE

    def is_word(self, sentence: Sentence, position: int) -> bool:
        """Whether an entry is a word; in a table, an entry with the tag `_` is none."""
        return bool(sentence.lines) or sentence.tags[position] != _NO_VALUE

    def sentences(self, source: LabelledSource) -> Iterator[Sentence]:
        """Yield the sentences as the source has them.

        Files that end in .conllu are CoNLL-U: words in column 1 and tags in column 3, unless `source.columns` says
        otherwise, and IDs in column 0.
        """
        if source.path is None or source.file.suffix.lower() != ".conllu":
            return super().sentences(source)
        return self._conllu_sentences(source)

    def read(self, source: LabelledSource) -> Dataset:
        """Read tagged sentences from CoNLL-U, CoNLL, a table or the Hub; see `TokenClassification.read`.

        Raises:
            InputError: as there, or no sentence has a tagged word.
        """
        dataset = super().read(source)
        if not any(dataset["tags"][:]):
            raise InputError(
                "no sentence has a tagged word",
                file=source_file(source),
                remedy="name a file or split that is tagged",
            )
        return dataset

    def labels(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the tags that occur, in alphabetical order."""
        return tuple(sorted(set(chain.from_iterable(dataset["tags"][:]))))

    def score(self, dataset: Dataset, predictions: Sequence[Sequence[str]]) -> dict[str, float]:
        """Return what `bistill_hub.metrics.Accuracy` does over words: overall and by tag, such as "NOUN.f1".

        Raises:
            ValueError: predictions and gold tags differ in number, in all or in a sentence.
        """
        from ..metrics.accuracy import Accuracy

        check_lengths(dataset, predictions)
        # In memory: two evaluations at a time would otherwise wait for each other's cache file.
        metric = Accuracy(keep_in_memory=True)
        return metric.compute(
            predictions=list(chain.from_iterable(predictions)), references=list(chain.from_iterable(dataset["tags"][:]))
        )

    def statistics(self, dataset: Dataset, predictions: Sequence[Sequence[str]]) -> NDArray[np.int64 | np.float64]:
        """Count the correctly tagged words and the words of each sentence, [n_sentences, 2].

        Raises:
            ValueError: predictions and gold tags differ in number, in all or in a sentence.
        """
        check_lengths(dataset, predictions)
        counts = np.zeros((len(dataset), 2), dtype=np.int64)
        for row, (gold, predicted) in enumerate(zip(dataset["tags"][:], predictions, strict=True)):
            counts[row] = sum(one == other for one, other in zip(gold, predicted, strict=True)), len(gold)
        return counts

    def main_score(self, statistics_sum: ArrayLike) -> NDArray[np.float64]:
        """Return accuracy, [...], of summed counts, [..., 2]: correct words / words, and 0 where there is no word."""
        correct, total = np.moveaxis(np.asarray(statistics_sum, dtype=np.float64), -1, 0)
        return np.divide(correct, total, out=np.zeros_like(total), where=total > 0)

    def trivial(self, dataset: Dataset, labels: Sequence[str], training: Dataset | None = None) -> list[list[str]]:
        """Predict the most frequent tag of the training set for every word.

        Without a training set the counts are those of `dataset` itself, which makes the baseline as strong as a
        constant can be. Of equally frequent tags the first in `labels` is taken.
        """
        counts = Counter(chain.from_iterable((dataset if training is None else training)["tags"][:]))
        majority = max(labels, key=lambda label: counts[label])
        return [[majority] * len(tokens) for tokens in dataset["tokens"][:]]

    def _conllu_sentences(self, source: LabelledSource) -> Iterator[Sentence]:
        id_source = source.model_copy(update={"columns": {**source.columns, "tokens": str(_ID_COLUMN)}})
        # The same lines twice, once with IDs for tokens: the reader of CoNLL yields two columns.
        for sentence, numbered in zip(
            self.conll_sentences(source, _FORM_COLUMN, _UPOS_COLUMN),
            self.conll_sentences(id_source, _ID_COLUMN, _UPOS_COLUMN),
            strict=True,
        ):
            words = [
                position
                for position, number in enumerate(numbered.tokens)
                if _is_word_id(number, sentence.place(position), source)
            ]
            yield replace(
                sentence,
                tokens=tuple(sentence.tokens[position] for position in words),
                tags=tuple(sentence.tags[position] for position in words),
                lines=tuple(sentence.lines[position] for position in words),
            )


def _is_word_id(number: str, place: str, source: LabelledSource) -> bool:
    match = _ID.fullmatch(number)
    if match is None:
        raise InputError(
            "not the ID of a word, a multi-word token or an empty node",
            file=source_file(source),
            field=place,
            value=number,
            remedy="correct the first column, or name the file .conll if it is not CoNLL-U",
        )
    return match["other"] is None


TASK = Pos()
