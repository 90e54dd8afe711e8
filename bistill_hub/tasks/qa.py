"""Extractive question answering as in SQuAD 1.1: the answer is a piece of a given text, scored by F1 over its words."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..sources import LabelledSource
from .squad import COLUMNS, read_questions
from .task import INPUT_TYPES, Task, check_tokenizer, source_file

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike, NDArray
    from transformers import PreTrainedTokenizerBase

_OUTSIDE = -1
_BATCH = 1000
_LANGUAGE = "answer_language"


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(Task):
    """Questions that a piece of their context answers. Canonical columns: `id`, `question`, `context`, `answers`.

    `answers` holds the gold answers' `text` and `answer_start`, lists; the latter counts characters from 0. Training
    uses the first gold answer, scoring all. A source with an `answer_language` has it in a fifth column of this name,
    and its answers are compared as MLQA does.

    A feature is the question and a window of the context. Windows overlap by `overlap` sub-words, or by half of the
    room for context where that is less, so that most answers lie whole in one. A question keeps its first
    `max_question_length` sub-words, and half of the room for text at most. `start_positions` and `end_positions` are
    the answer's first and last sub-word; a window without the whole answer is kept, and both are its classification
    token ([CLS], <s>). A context without a sub-word has no feature, and its prediction is "".

    Attributes:
        max_question_length: The most sub-words of a question.
        overlap: The most sub-words that a window has in common with the next.
        max_answer_length: The most sub-words of a prediction.
    """

    name: str = "qa"
    head: str = "question-answering"
    main_metric: str = "f1"
    version: str = "1"
    label_columns: tuple[str, ...] = ("start_positions", "end_positions")
    decode_columns: tuple[str, ...] = ("example", "offset_starts", "offset_ends")
    max_question_length: int = 64
    overlap: int = 128
    max_answer_length: int = 30

    def read(self, source: LabelledSource) -> Dataset:
        """Read a SQuAD 1.1 file, a table (Parquet, JSON) or a Hub data set into the canonical columns.

        A `.json` file with the nested lists of SQuAD ({"data": [{"paragraphs": ...}]}) is read as such, any other as a
        table. In tables `answers` is a record of two lists, as in the Hub's data sets of this kind, or a list of
        records. An `answer_start` at which the context does not read as the answer's text, which happens in converted
        data, is replaced by that of the nearest occurrence; one warning a source says how many there were.

        Args:
            source: Where the data are. `where` looks at the table's columns, in a SQuAD file at `id`, `question` and
                `context`.

        Returns:
            One row a question.

        Raises:
            InputError: the file is malformed, a column is missing, an id comes twice, a question or context is empty, a
                question has no answer, or an answer is empty or not in the context. The error names place and id. Or
                MLQA has no rules for `answer_language`.
        """
        from datasets import Dataset, Features, List, Value

        _check_answer_language(source)
        if source.label_map:
            raise InputError(
                f"the task {self.name} has no labels to rename",
                file=source_file(source),
                field="label_map",
                value=dict(source.label_map),
                remedy="leave it out",
            )
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        moved = 0
        for question, corrected in read_questions(source):
            moved += corrected
            for name, value in question.items():
                columns[name].append(value)
        if not columns["id"]:
            raise InputError(
                "there is no question in it",
                file=source_file(source),
                remedy="name a file or split that holds questions with answers",
            )
        if moved:
            warnings.warn(
                f"{source_file(source)}: {moved} answers are not at their answer_start; the nearest places in the "
                "context that read as they do were taken.",
                stacklevel=2,
            )
        answers = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
        types = dict.fromkeys(COLUMNS[:-1], Value("string")) | {"answers": answers}
        if source.answer_language is not None:
            columns[_LANGUAGE] = [source.answer_language] * len(columns["id"])
            types[_LANGUAGE] = Value("string")
        return Dataset.from_dict(columns, features=Features(types))

    def labels(self, dataset: Dataset) -> tuple[str, ...]:
        """Return nothing: a span has no label."""
        return ()

    def check_labels(self, dataset: Dataset, labels: Sequence[str], file: str) -> None:
        """Accept every data set: there are no labels that training could lack."""

    def encode(
        self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
    ) -> Dataset:
        """Turn questions into features; see the class and `Task.encode`.

        `offset_starts` and `offset_ends` are as long as `input_ids`: the characters of the context that a sub-word
        stands for begin at the one and end before the other. Both are -1 outside the context.

        Raises:
            InputError: the tokenizer is not a fast one, or `max_length` leaves no room for text.
        """
        from datasets import Dataset, Features, List, Value

        check_tokenizer(tokenizer, max_length, 2)
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        inputs = [name for name in tokenizer.model_input_names if name in INPUT_TYPES]
        columns: dict[str, list[Any]] = {name: [] for name in (*inputs, *self.label_columns, *self.decode_columns)}
        for start in range(0, len(dataset), _BATCH):
            batch = dataset[start : start + _BATCH]
            encoded = tokenizer(
                batch["question"],
                batch["context"],
                padding=False,
                truncation=False,
                return_offsets_mapping=True,
                verbose=False,
            )
            for index, answers in enumerate(batch["answers"]):
                pair = _Pair.of(encoded, index, inputs, tokenizer)
                answer = pair.find(answers["text"][0], answers["answer_start"][0])
                for feature in pair.windows(answer, room, min(self.max_question_length, room // 2), self.overlap):
                    for name, values in feature.items():
                        columns[name].append(values)
                    columns["example"].append(start + index)
        types = {name: List(Value(INPUT_TYPES[name])) for name in inputs}
        types |= dict.fromkeys(("offset_starts", "offset_ends"), List(Value("int32")))
        types |= dict.fromkeys((*self.label_columns, "example"), Value("int32"))
        return Dataset.from_dict(columns, features=Features(types))

    def decode(
        self, features: Dataset, logits: Sequence[ArrayLike], dataset: Dataset, labels: Sequence[str]
    ) -> list[str]:
        """Return the piece of each context with the highest sum of start and end logit over all of its windows.

        A piece has at most `max_answer_length` sub-words. Of equal sums the earliest window wins, then the earliest
        start, then the shortest piece. White space around the piece is cut off, and combining marks that follow it
        are added: where a tokenizer composes a letter with its accent, the offsets leave the accent out.

        Args:
            features: What `encode` returned for `dataset`.
            logits: [length, 2] a feature, start and end; `length` may exceed the feature's by padding on the right.
            dataset: What `read` returned.
            labels: Not looked at.

        Raises:
            ValueError: the logits' number or shape does not fit the features.
        """
        if len(logits) != len(features):
            raise ValueError(f"{len(logits)} arrays of logits for {len(features)} features")
        best = np.full(len(dataset), -np.inf)
        spans = np.zeros((len(dataset), 2), dtype=np.int64)
        columns = (features["example"], features["offset_starts"], features["offset_ends"])
        for example, starts, ends, scores in zip(*columns, logits, strict=True):
            scores, starts, ends = np.asarray(scores, dtype=np.float64), np.asarray(starts), np.asarray(ends)
            if scores.ndim != 2 or scores.shape[0] < len(starts) or scores.shape[1] != 2:
                raise ValueError(f"logits of shape {scores.shape} for {len(starts)} sub-words, start and end")
            positions = np.flatnonzero(starts != _OUTSIDE)
            if not len(positions):
                continue
            first, last, score = _best_span(scores[positions], self.max_answer_length)
            if score > best[example]:
                best[example] = score
                spans[example] = starts[positions[first]], ends[positions[last]]
        return [_piece(context, *span) for context, span in zip(dataset["context"][:], spans.tolist(), strict=True)]

    def score(self, dataset: Dataset, predictions: Sequence[str]) -> dict[str, float]:
        """Return what `bistill_hub.metrics.SpanAnswers` does: "f1", "exact_match" and "number".

        Raises:
            ValueError: there are more or fewer predictions than questions.
        """
        from ..metrics.span_answers import SpanAnswers

        _check_number(dataset, predictions)
        # In memory: two evaluations at a time would otherwise wait for each other's cache file.
        metric = SpanAnswers(keep_in_memory=True)
        return metric.compute(
            predictions=list(predictions), references=_gold(dataset), language=_answer_language(dataset)
        )

    def statistics(self, dataset: Dataset, predictions: Sequence[str]) -> NDArray[np.int64 | np.float64]:
        """Return each question's F1 and 1, [n_questions, 2].

        Raises:
            ValueError: there are more or fewer predictions than questions.
        """
        from ..metrics.span_answers import f1

        _check_number(dataset, predictions)
        language = _answer_language(dataset)
        scores = [f1(*pair, language) for pair in zip(predictions, _gold(dataset), strict=True)]
        return np.stack([np.array(scores), np.ones(len(scores))], axis=-1)

    def main_score(self, statistics_sum: ArrayLike) -> NDArray[np.float64]:
        """Return mean F1, [...], of summed statistics, [..., 2], and 0 where there is no question."""
        total, number = np.moveaxis(np.asarray(statistics_sum, dtype=np.float64), -1, 0)
        return np.divide(total, number, out=np.zeros_like(total), where=number > 0)

    def trivial(self, dataset: Dataset, labels: Sequence[str], training: Dataset | None = None) -> list[str]:
        """Predict words of the context at random, as many as the training set's first gold answers have on average.

        Words are what white space separates; the average is rounded, and one word is predicted without a training set.
        The first word is drawn evenly from those after which enough follow, by a hash of the question's id: the same in
        every process.
        """
        length = 1
        if training is not None:
            length = max(1, round(float(np.mean([len(texts[0].split()) for texts in _gold(training)]))))
        predictions = []
        for identifier, context in zip(dataset["id"][:], dataset["context"][:], strict=True):
            words = list(re.finditer(r"\S+", context))
            draw = int.from_bytes(hashlib.sha256(identifier.encode("utf-8")).digest())
            first = draw % max(1, len(words) - length + 1)
            last = min(first + length, len(words)) - 1
            predictions.append(context[words[first].start() : words[last].end()])
        return predictions


@dataclass(frozen=True)
class _Pair:
    """A question and its whole context as sub-words: special tokens, question, special tokens, context, special tokens.

    Attributes:
        columns: The model's inputs, `offset_starts` and `offset_ends`, a value a sub-word.
        question: Positions of the question's sub-words.
        context: Positions of the context's sub-words.
        classification: The position of the classification token.
    """

    columns: Mapping[str, list[int]]
    question: range
    context: range
    classification: int

    @classmethod
    def of(cls, encoded: Any, index: int, inputs: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> _Pair:
        """Take one pair out of what a tokenizer returned for several."""
        sides, ids = encoded.sequence_ids(index), encoded["input_ids"][index]
        special = (position for position, side in enumerate(sides) if side is None)
        classification = next((position for position in special if ids[position] == tokenizer.cls_token_id), None)
        if classification is None:
            raise InputError(
                "the tokenizer puts no classification token ([CLS], <s>) around a question and its context",
                file=tokenizer.name_or_path,
                field="cls_token",
                value=tokenizer.cls_token,
                remedy="give it a cls_token and a post-processor that adds it",
            )
        # A text of which the tokenizer keeps nothing has no positions.
        starts = [sides.index(side) if side in sides else 0 for side in (0, 1)]
        question, context = (range(start, start + sides.count(side)) for side, start in enumerate(starts))
        columns = {name: encoded[name][index] for name in inputs}
        # A sub-word that stands for no character can be no part of an answer.
        offsets = [
            pair if side == 1 and pair[0] < pair[1] else (_OUTSIDE, _OUTSIDE)
            for side, pair in zip(sides, encoded["offset_mapping"][index], strict=True)
        ]
        columns["offset_starts"], columns["offset_ends"] = map(list, zip(*offsets, strict=True))
        return cls(columns, question, context, classification)

    def find(self, text: str, start: int) -> tuple[int, int] | None:
        """Return the positions of an answer's first and last sub-word, None where it has none.

        Args:
            text: The answer.
            start: Its first character in the context.
        """
        begin, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
        starts, ends = self.columns["offset_starts"], self.columns["offset_ends"]
        inside = [position for position in self.context if starts[position] < end and begin < ends[position]]
        return (inside[0], inside[-1]) if inside else None

    def windows(
        self, answer: tuple[int, int] | None, room: int, question_room: int, overlap: int
    ) -> Iterator[dict[str, Any]]:
        """Yield the features, `example` left out.

        Args:
            answer: Positions of the answer's first and last sub-word.
            room: The most sub-words of a feature, special tokens not counted.
            question_room: The most sub-words of the question.
            overlap: The most sub-words that a window has in common with the next.
        """
        question = self.question[:question_room]
        room -= len(question)
        for first in range(self.context.start, self.context.stop, room - min(overlap, room // 2)):
            stop = min(first + room, self.context.stop)
            # What lies between the stretches that are cut out are the special tokens, and these stay.
            cuts = [(question.stop, self.question.stop), (self.context.start, first), (stop, self.context.stop)]
            feature: dict[str, Any] = {name: _without(values, cuts) for name, values in self.columns.items()}
            ends = (self.classification, self.classification)
            if answer is not None and first <= answer[0] and answer[1] < stop:
                ends = answer
            for name, position in zip(("start_positions", "end_positions"), ends, strict=True):
                feature[name] = position - sum(max(0, min(cut, position) - begin) for begin, cut in cuts)
            yield feature
            if stop == self.context.stop:
                return


def _without(values: list[int], cuts: Sequence[tuple[int, int]]) -> list[int]:
    """Return what is left of a list without some stretches of it, which are in order and apart."""
    left, place = [], 0
    for start, stop in cuts:
        left += values[place:start]
        place = stop
    return left + values[place:]


def _best_span(scores: NDArray[np.float64], longest: int) -> tuple[int, int, float]:
    """Return first and last place and sum of the span of at most `longest` places with the highest sum.

    Args:
        scores: [places, 2], start and end logits.
        longest: The most places of a span.
    """
    # Infinite or undefined logits must not make sums that compare with nothing.
    limit = 1e300
    scores = np.nan_to_num(scores, nan=-limit, posinf=limit, neginf=-limit).clip(-limit, limit)
    ends = np.concatenate([scores[:, 1], np.full(longest - 1, -np.inf)])
    # Row: start; column: how many places the end is behind it. The first of several maxima is thus the one that starts
    # first, and of those the shortest.
    sums = scores[:, :1] + np.lib.stride_tricks.sliding_window_view(ends, longest)
    first, further = divmod(int(sums.argmax()), longest)
    return first, first + further, float(sums[first, further])


def _piece(context: str, start: int, end: int) -> str:
    """Cut a piece out of a context, with the accents of its last letter and without white space around it."""
    while start < end < len(context) and unicodedata.combining(context[end]):
        end += 1
    return context[start:end].strip()


def _gold(dataset: Dataset) -> list[list[str]]:
    return [answers["text"] for answers in dataset["answers"][:]]


def _answer_language(dataset: Dataset) -> str | None:
    """The language by whose rules answers are compared, None for SQuAD's; a data set comes from one source."""
    return dataset[0][_LANGUAGE] if _LANGUAGE in dataset.column_names and len(dataset) else None


def _check_answer_language(source: LabelledSource) -> None:
    if source.answer_language is None:
        return
    from ..metrics.span_answers import LANGUAGES

    if source.answer_language not in LANGUAGES:
        raise InputError(
            "MLQA's evaluation has no rules for this language",
            file=source_file(source),
            field=_LANGUAGE,
            value=source.answer_language,
            remedy=f"choose one of {', '.join(LANGUAGES)}, or leave it out to compare answers as SQuAD does",
        )


def _check_number(dataset: Dataset, predictions: Sequence[str]) -> None:
    if len(predictions) != len(dataset):
        raise ValueError(f"predictions for {len(predictions)} questions, gold answers for {len(dataset)}")


TASK = QuestionAnswering()
