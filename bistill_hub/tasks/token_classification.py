"""What tagging tasks share: reading tokens with tags, aligning tags with sub-words, decoding a tag a word.

A tagging task subclasses `TokenClassification` and adds its tag set, its score and its baseline.
"""

from __future__ import annotations

import unicodedata
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..sources import LabelledSource
from .conll import Sentence, read_conll
from .task import (
    IGNORED,
    INPUT_TYPES,
    Task,
    check_column_names,
    check_tokenizer,
    find_columns,
    refuse_answer_language,
    source_file,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike
    from transformers import PreTrainedTokenizerBase

# A table of lists cannot be CSV; every other ending is taken for CoNLL, which has none of its own (.conll, .tsv, .txt).
_TABLES = (".parquet", ".json", ".jsonl", ".ndjson")
_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class TokenClassification(Task):
    """A task that gives each word of a sentence a tag. Canonical columns: `tokens` and `tags`, lists of strings.

    The first sub-word of a word carries its label; other sub-words and special tokens carry -100. A sentence of more
    than `max_length` sub-words is cut between words into several features, so that every word is seen, once. A word of
    more sub-words than fit keeps the first ones, among them the labelled one. A word without sub-words (a control
    character that the tokenizer removes) is in no feature, and its prediction is `outside`.

    Attributes:
        tag_column: The tags' column in tables, where the source names none.
        tag_form: What a tag looks like, for error messages.
        outside: The prediction for a word that the model cannot see.
    """

    head: str = "token-classification"
    decode_columns: tuple[str, ...] = ("example", "words")
    tag_column: str
    tag_form: str
    outside: str

    @abstractmethod
    def is_tag(self, tag: str) -> bool:
        """Whether a string is a well-formed tag of this task."""

    def rename(self, tag: str, label_map: Mapping[str, str]) -> str:
        """Apply a source's `label_map` to one tag."""
        return label_map.get(tag, tag)

    def is_answer(self, label: str) -> bool:
        """Whether a string is a tag."""
        return self.is_tag(label)

    def canonical(self, tags: Sequence[str], before: Sequence[str]) -> list[str]:
        """Rewrite a sentence's well-formed tags in the one scheme that the task trains on and scores.

        Args:
            tags: The tags, renamed.
            before: What the source has in their places, before it was renamed.
        """
        return list(tags)

    def check_label_map(self, source: LabelledSource, found: set[str]) -> None:
        """Refuse a `label_map` that would damage these data; `found` are the tags before renaming."""

    def map_key(self, label: str) -> str:
        """Return the key under which a `label_map` renames this label best, to suggest it."""
        return label

    def is_word(self, sentence: Sentence, position: int) -> bool:
        """Whether an entry of a sentence is a word, and not one that the source lists beside the words."""
        return True

    def read(self, source: LabelledSource) -> Dataset:
        """Read a CoNLL file, a table (Parquet, JSON) or a Hub data set into `tokens` and `tags`.

        In a CoNLL file the token is in the first column and the tag in the last; `source.columns` takes other columns
        by number, counted from 0, such as {"tokens": "1", "tags": "2"}. In a table the columns are `tokens` and
        `tag_column`; tags are strings, `ClassLabel`s, or integers that `label_map` names ({"0": "O", ...}).

        Args:
            source: Where the data are.

        Returns:
            One row a sentence.

        Raises:
            InputError: a column is missing or of the wrong type, tokens and tags differ in number, a tag is malformed,
                `label_map` maps half of what it should, or there is no sentence. The error names line or row.
        """
        from datasets import Dataset, Features, List, Value

        refuse_answer_language(source)
        tokens, tags = [], []
        found: set[str] = set()
        for sentence in self.sentences(source):
            words = [position for position in range(len(sentence.tokens)) if self.is_word(sentence, position)]
            renamed = {position: self.rename(sentence.tags[position], source.label_map) for position in words}
            self._check_tags(sentence, renamed, source)
            found.update(sentence.tags)
            tokens.append([sentence.tokens[position] for position in words])
            tags.append(self.canonical(list(renamed.values()), [sentence.tags[position] for position in words]))
        if not tokens:
            raise InputError(
                "there is no sentence in it",
                file=source_file(source),
                remedy="name a file or split that holds labelled sentences",
            )
        self.check_label_map(source, found)
        strings = List(Value("string"))
        return Dataset.from_dict({"tokens": tokens, "tags": tags}, features=Features(tokens=strings, tags=strings))

    def check_labels(self, dataset: Dataset, labels: Sequence[str], file: str) -> None:
        """Refuse a development or test set with a tag that training lacks; see `Task.check_labels`."""
        for row, tags in enumerate(dataset["tags"][:]):
            for tag in tags:
                if tag not in labels:
                    raise InputError(
                        f"sentence {row} (counted from 0) has a label that the training data lack; "
                        f"they have {', '.join(labels)}",
                        file=file,
                        field="tags",
                        value=tag,
                        remedy=f"rename it with label_map, such as {self.map_key(tag)}: "
                        f"{self.outside if self.outside in labels else labels[0]}, or train on data that have it",
                    )

    def encode(
        self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
    ) -> Dataset:
        """Turn sentences into features; see `Task.encode`.

        `labels` and `words` are as long as `input_ids`: at the first sub-word of a word its label's id and the word's
        index in the sentence, elsewhere -100.

        Raises:
            InputError: the tokenizer is not a fast one, or `max_length` leaves no room for a word.
            KeyError: a tag is not among `labels`; `check_labels` says so in better words.
        """
        from datasets import Dataset, Features, List, Value

        check_tokenizer(tokenizer, max_length, 1)
        room = max_length - tokenizer.num_special_tokens_to_add()
        ids = {label: place for place, label in enumerate(labels)}
        inputs = [name for name in tokenizer.model_input_names if name in INPUT_TYPES]
        columns: dict[str, list[Any]] = {name: [] for name in [*inputs, "labels", "words", "example"]}
        for start in range(0, len(dataset), _BATCH):
            batch = dataset[start : start + _BATCH]
            # Tokenizers take an empty first list for an empty text; a sentence without words has no feature anyway.
            kept = [row for row, tokens in enumerate(batch["tokens"]) if tokens]
            if not kept:
                continue
            encoded = tokenizer(
                [batch["tokens"][row] for row in kept],
                is_split_into_words=True,
                padding=False,
                truncation=False,
                verbose=False,
            )
            for index, row in enumerate(kept):
                words = encoded.word_ids(index)
                for positions in _split(words, room):
                    firsts = _first_pieces(words, positions)
                    for name in inputs:
                        values = encoded[name][index]
                        columns[name].append([values[position] for position in positions])
                    tags = batch["tags"][row]
                    columns["labels"].append([IGNORED if word < 0 else ids[tags[word]] for word in firsts])
                    columns["words"].append(firsts)
                    columns["example"].append(start + row)
        types = {name: List(Value(INPUT_TYPES[name])) for name in inputs}
        types |= {"labels": List(Value("int64")), "words": List(Value("int32")), "example": Value("int32")}
        return Dataset.from_dict(columns, features=Features(types))

    def encode_unlabelled(
        self, lines: Sequence[str], tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
    ) -> Dataset:
        """Turn lines into features as sentences become some; see `Task.encode_unlabelled`.

        A tagger is asked about every word, so the first sub-word of each counts. What its label is has no meaning: it
        is the first of `labels`.

        Raises:
            InputError: the tokenizer is not a fast one, or `max_length` leaves no room for a word.
        """
        from datasets import Dataset

        tokens = [words_of(line) for line in lines]
        marked = Dataset.from_dict({"tokens": tokens, "tags": [[labels[0]] * len(words) for words in tokens]})
        return self.encode(marked, tokenizer, labels, max_length).remove_columns(list(self.decode_columns))

    def decode(
        self, features: Dataset, logits: Sequence[ArrayLike], dataset: Dataset, labels: Sequence[str]
    ) -> list[list[str]]:
        """Return the highest-scoring tag of each word; see `Task.decode`.

        Args:
            features: What `encode` returned for `dataset`.
            logits: [length, n_labels] a feature; `length` may exceed the feature's by padding on the right.
            dataset: What `read` returned.
            labels: The head's label names.

        Raises:
            ValueError: the logits' number or shape does not fit the features.
        """
        if len(logits) != len(features):
            raise ValueError(f"{len(logits)} arrays of logits for {len(features)} features")
        predictions = [[self.outside] * len(tokens) for tokens in dataset["tokens"][:]]
        for example, firsts, scores in zip(features["example"], features["words"], logits, strict=True):
            scores, firsts = np.asarray(scores), np.asarray(firsts)
            if scores.ndim != 2 or scores.shape[0] < len(firsts) or scores.shape[1] != len(labels):
                raise ValueError(f"logits of shape {scores.shape} for {len(firsts)} sub-words, {len(labels)} labels")
            positions = np.flatnonzero(firsts >= 0)
            best = scores[positions].argmax(axis=-1)
            for word, label in zip(firsts[positions].tolist(), best.tolist(), strict=True):
                predictions[example][word] = labels[label]
        return predictions

    def _check_tags(self, sentence: Sentence, renamed: Mapping[int, str], source: LabelledSource) -> None:
        for position, tag in renamed.items():
            if not self.is_tag(tag):
                shown = sentence.tags[position]
                raise InputError(
                    f"not a tag of the task {self.name}, which is {self.tag_form}"
                    + (f" (label_map renames {shown!r})" if shown != tag else ""),
                    file=source_file(source),
                    field=sentence.place(position),
                    value=tag,
                    remedy=f"correct the tag, or rename it with label_map, such as {shown}: {self.outside}",
                )

    def sentences(self, source: LabelledSource) -> Iterator[Sentence]:
        """Yield the sentences as the source has them; `read` renames and checks their tags."""
        if source.path is not None and source.file.suffix.lower() not in _TABLES:
            return self.conll_sentences(source)
        return _read_table(source, self.tag_column, self.outside)

    def conll_sentences(
        self, source: LabelledSource, token_column: int = 0, tag_column: int = -1
    ) -> Iterator[Sentence]:
        """Read a CoNLL file, from these columns where the source names no others; see `conll.read_conll`."""
        source.refuse_where("select the sentences beforehand, or give a table (Parquet, JSON)")
        check_column_names(source, ("tokens", "tags"))
        return read_conll(
            source.file,
            is_tag=lambda tag: self.is_tag(self.rename(tag, source.label_map)),
            token_column=_column_number(source, "tokens", token_column),
            tag_column=_column_number(source, "tags", tag_column),
            limit=source.limit,
        )


def words_of(line: str) -> list[str]:
    """Split a line as labelled sentences are: at spaces, and punctuation around a word stands by itself.

    Within a word it stays, as in Dar-es-Salaam or ng'ombe. A script without spaces gives long words.
    """
    words: list[str] = []
    for part in line.split():
        letters = [place for place, sign in enumerate(part) if unicodedata.category(sign)[0] not in "PS"]
        start, end = (letters[0], letters[-1] + 1) if letters else (len(part), len(part))
        words += [*part[:start], *([part[start:end]] if letters else []), *part[end:]]
    return words


def check_lengths(dataset: Dataset, predictions: Sequence[Sequence[str]]) -> None:
    """Refuse predictions that differ from the gold tags in number, in all or in a sentence.

    Raises:
        ValueError: they do.
    """
    if len(predictions) != len(dataset):
        raise ValueError(f"predictions for {len(predictions)} sentences, gold tags for {len(dataset)}")
    for row, (gold, predicted) in enumerate(zip(dataset["tags"][:], predictions, strict=True)):
        if len(gold) != len(predicted):
            raise ValueError(f"sentence {row}: {len(predicted)} predictions for {len(gold)} words")


def _split(words: Sequence[int | None], room: int) -> Iterator[list[int]]:
    """Yield the positions of each feature: whole words up to `room` sub-words, between the special tokens.

    Args:
        words: The word that each sub-word of a sentence belongs to, None for special tokens.
        room: The most sub-words of a feature, special tokens not counted.
    """
    sizes: dict[int, int] = {}
    for word in words:
        if word is not None:
            sizes[word] = sizes.get(word, 0) + 1
    chunks: list[set[int]] = []
    used = room
    for word, size in sizes.items():
        if used + size > room:
            chunks.append(set())
            used = 0
        chunks[-1].add(word)
        used += size
    for chunk in chunks:
        left = room
        positions = []
        for position, word in enumerate(words):
            if word is None:
                positions.append(position)
            elif word in chunk and left > 0:  # `left` runs out only inside a word that is too long by itself
                positions.append(position)
                left -= 1
        yield positions


def _first_pieces(words: Sequence[int | None], positions: Sequence[int]) -> list[int]:
    """Return the word at each position that is the first of its word, and -100 at the others."""
    firsts, seen = [], set()
    for position in positions:
        word = words[position]
        firsts.append(IGNORED if word is None or word in seen else word)
        seen.add(word)
    return firsts


def _column_number(source: LabelledSource, canonical: str, default: int) -> int:
    given = source.columns.get(canonical)
    if given is None:
        return default
    try:
        return int(given)
    except ValueError as error:
        raise InputError(
            "the columns of a CoNLL file have no names",
            file=source_file(source),
            field=f"columns.{canonical}",
            value=given,
            remedy="give the column's number, counted from 0, or from -1 for the last",
        ) from error


def _read_table(source: LabelledSource, tag_column: str, outside: str) -> Iterator[Sentence]:
    table = source.table()
    chosen = find_columns(source, table.column_names, {"tokens": "tokens", "tags": tag_column})
    for column in chosen.values():
        if not hasattr(table.features[column], "feature"):
            raise InputError(
                f"each row must hold a list, not {table.features[column]}",
                file=source_file(source),
                field=column,
                remedy="choose a column of lists, a word or tag an entry",
            )
    names = getattr(table.features[chosen["tags"]].feature, "names", None)
    for row, (tokens, tags) in enumerate(zip(table[chosen["tokens"]], table[chosen["tags"]], strict=True)):
        if tokens is None or tags is None or len(tokens) != len(tags):
            raise InputError(
                f"{_count(tokens)} tokens and {_count(tags)} tags",
                file=source_file(source),
                field=f"row {row} (counted from 0)",
                remedy="give every token of the row its tag",
            )
        place = f"row {row} (counted from 0)"
        if not all(isinstance(token, str) for token in tokens):
            raise InputError(
                "the tokens must be strings",
                file=source_file(source),
                field=place,
                value=tokens,
                remedy=f"correct the row's {chosen['tokens']!r}",
            )
        named = tuple(_tag_name(tag, names, source, f"{place}, {chosen['tags']}", outside) for tag in tags)
        yield Sentence(tuple(tokens), named, row)


def _tag_name(tag: Any, names: Sequence[str] | None, source: LabelledSource, place: str, outside: str) -> str:
    if isinstance(tag, str):
        return tag
    if names is not None and isinstance(tag, int) and 0 <= tag < len(names):
        return names[tag]
    if names is None and isinstance(tag, int) and str(tag) in source.label_map:
        return str(tag)
    remedy = f"name the numbers with label_map, such as 0: {outside}"
    if names is not None:
        remedy = "use a split that is labelled"
    raise InputError("a tag without a name", file=source_file(source), field=place, value=tag, remedy=remedy)


def _count(values: Sequence[Any] | None) -> int | str:
    return "no" if values is None else len(values)
