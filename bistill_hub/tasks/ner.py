"""Named entity recognition: a tag a word in strict IOB2, scored by entity-level F1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..sources import LabelledSource
from .task import source_file
from .token_classification import TokenClassification, check_lengths

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike, NDArray

# IOB1, IOB2, IOE1, IOE2, IOBES, BILOU and BMES between them. A hyphen at either end of the type would be lost in
# scoring, and a type "O" is a slip for the tag "O".
_TAG = re.compile(r"(?P<prefix>[BIEMSLU])-(?P<type>(?!O$)[^\s-](?:.*[^\s-])?)")

Entity = tuple[str, int, int]
"""Type, first word, word after the last."""


@dataclass(frozen=True, kw_only=True)
class Ner(TokenClassification):
    """Named entity recognition.

    Gold tags may come in IOB1, IOB2, IOE1, IOE2, IOBES, BILOU or BMES and are rewritten in strict IOB2 on reading: B-
    on the first word of every entity, I- on its other words. An I- that no entity of its type precedes thus opens one,
    which is what IOB1 means by it and how such slips in IOB2 data are commonly read. *Predictions* are not repaired: an
    I- of the model's that continues nothing belongs to no entity.

    A `label_map` may rename tags ("B-DATE": "O") or, in one entry, types ("DATE": "O", "PERSON": "PER").
    """

    name: str = "ner"
    main_metric: str = "f1"
    version: str = "1"
    tag_column: str = "ner_tags"
    tag_form: str = "O, or B- or I- (or E-, S-, L-, U-, M-) and an entity type"
    outside: str = "O"

    def is_tag(self, tag: str) -> bool:
        """Whether a string is `O` or a prefix, a hyphen and an entity type."""
        return tag == self.outside or _TAG.fullmatch(tag) is not None

    def rename(self, tag: str, label_map: Mapping[str, str]) -> str:
        """Apply a `label_map`: the whole tag's entry, or else its entity type's."""
        if tag in label_map:
            return label_map[tag]
        match = _TAG.fullmatch(tag)
        if match is None or match["type"] not in label_map:
            return tag
        new_type = label_map[match["type"]]
        return self.outside if new_type == self.outside else f"{match['prefix']}-{new_type}"

    def is_answer(self, label: str) -> bool:
        """Whether a string is a tag of IOB2."""
        return label == self.outside or (self.is_tag(label) and label[0] in "BI")

    def canonical(self, tags: Sequence[str], before: Sequence[str]) -> list[str]:
        """Rewrite a sentence's tags in strict IOB2.

        Where two types become one, a change from the one to the other still ends an entity: schemes without B- tell it
        by nothing else.
        """
        rewritten = []
        open_type = open_before = None
        for tag, original in zip(tags, before, strict=True):
            match = _TAG.fullmatch(tag)
            if match is None:
                rewritten.append(self.outside)
                open_type = None
                continue
            was = _TAG.fullmatch(original)
            type_before = was and was["type"]
            same = (match["type"], type_before) == (open_type, open_before)
            continues = match["prefix"] in "IEML" and same
            rewritten.append(f"{'I' if continues else 'B'}-{match['type']}")
            open_type = None if match["prefix"] in "ESLU" else match["type"]
            open_before = type_before
        return rewritten

    def check_label_map(self, source: LabelledSource, found: set[str]) -> None:
        """Refuse a map that gives some tags of an entity type another type and leaves others: entities would split."""
        for old, new in source.label_map.items():
            match = _TAG.fullmatch(old)
            if match is None or old not in found or new.partition("-")[2] == match["type"]:
                continue
            for tag in sorted(found):
                other = _TAG.fullmatch(tag)
                if other and other["type"] == match["type"] and self.rename(tag, source.label_map) == tag:
                    raise InputError(
                        f"{old} is renamed to {new}, but {tag} is not renamed, which would leave halves of entities",
                        file=source_file(source),
                        field="label_map",
                        value=dict(source.label_map),
                        remedy=f"rename the type, {match['type']}: {new.partition('-')[2] or new}",
                    )

    def map_key(self, label: str) -> str:
        """Return the label's entity type: its B- and I- tags are renamed together."""
        return label.partition("-")[2] or label

    def labels(self, dataset: Dataset) -> tuple[str, ...]:
        """Return O, then B- and I- of each entity type in alphabetical order, both even where only one occurs."""
        types = {tag[2:] for tags in dataset["tags"][:] for tag in tags if tag != self.outside}
        return (self.outside, *(f"{prefix}-{kind}" for kind in sorted(types) for prefix in "BI"))

    def score(self, dataset: Dataset, predictions: Sequence[Sequence[str]]) -> dict[str, float]:
        """Return what `bistill_hub.metrics.EntityF1` does: overall and by type, such as "f1" and "PER.f1".

        Raises:
            ValueError: predictions and gold tags differ in number, in all or in a sentence.
        """
        from ..metrics.entity_f1 import EntityF1

        check_lengths(dataset, predictions)
        # In memory: two evaluations at a time would otherwise wait for each other's cache file.
        metric = EntityF1(keep_in_memory=True)
        return metric.compute(predictions=[list(tags) for tags in predictions], references=dataset["tags"][:])

    def statistics(self, dataset: Dataset, predictions: Sequence[Sequence[str]]) -> NDArray[np.int64 | np.float64]:
        """Count true positive, false positive and false negative entities of each sentence, [n_sentences, 3].

        Raises:
            ValueError: predictions and gold tags differ in number, in all or in a sentence.
        """
        check_lengths(dataset, predictions)
        counts = np.zeros((len(dataset), 3), dtype=np.int64)
        for row, (gold_tags, predicted_tags) in enumerate(zip(dataset["tags"][:], predictions, strict=True)):
            gold, predicted = entities(gold_tags), entities(predicted_tags)
            counts[row] = len(gold & predicted), len(predicted - gold), len(gold - predicted)
        return counts

    def main_score(self, statistics_sum: ArrayLike) -> NDArray[np.float64]:
        """Return F1, [...], of summed counts, [..., 3]: 2 tp / (2 tp + fp + fn), and 0 where there is no entity."""
        true_positive, false_positive, false_negative = np.moveaxis(np.asarray(statistics_sum, dtype=np.float64), -1, 0)
        total = 2 * true_positive + false_positive + false_negative
        return np.divide(2 * true_positive, total, out=np.zeros_like(total), where=total > 0)

    def trivial(self, dataset: Dataset, labels: Sequence[str], training: Dataset | None = None) -> list[list[str]]:
        """Predict that no word belongs to an entity, whatever the training set."""
        return [[self.outside] * len(tokens) for tokens in dataset["tokens"][:]]


def entities(tags: Sequence[str]) -> set[Entity]:
    """Return the entities that strict IOB2 tags spell: a B- and the I- tags of its type that follow without a gap."""
    found = set()
    start, open_type = 0, None
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if prefix == "I" and kind == open_type:
            continue
        if open_type is not None:
            found.add((open_type, start, position))
        start, open_type = position, kind if prefix == "B" else None
    return found


TASK = Ner()
