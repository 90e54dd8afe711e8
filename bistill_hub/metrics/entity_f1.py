"""Entity-level precision, recall and F1 in strict IOB2, as a metric module for `evaluate`.

The file imports nothing of the package around it, so that `evaluate.load` on its path works anywhere, offline.
"""

from typing import Any

import datasets
import evaluate
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities

_DESCRIPTION = """\
Entity-level precision, recall and F1 of tagged sentences, overall (micro-averaged over entities) and by entity type.
An entity counts as found when its type, first and last word all agree. Tags are read in strict IOB2: an entity is a B-
tag and the I- tags of the same type that follow it without a gap; an I- tag that continues nothing belongs to no
entity. Computed by seqeval in its strict mode.
"""

_INPUTS = """
Args:
    predictions (`list` of `list` of `str`): one IOB2 tag a word, one list a sentence.
    references (`list` of `list` of `str`): the gold tags, of the same lengths.

Returns:
    A flat dictionary of floats. "precision", "recall" and "f1", in [0, 1], and "number", the gold entities; then the
    same for each entity type that occurs in references or predictions, as "PER.precision", "PER.recall", "PER.f1" and
    "PER.number". A fraction whose denominator is 0 is 0.

Raises:
    ValueError: a tag is not O, B-<type> or I-<type>, or references and predictions differ in length.

Example:
    >>> metric = EntityF1()
    >>> gold = [["B-PER", "I-PER", "O", "B-LOC"]]
    >>> predicted = [["B-PER", "I-PER", "O", "O"]]
    >>> scores = metric.compute(predictions=predicted, references=gold)
    >>> scores["precision"], scores["recall"], scores["LOC.number"]
    (1.0, 0.5, 1.0)
"""

_CITATION = """\
@misc{seqeval,
  title = {{seqeval}: A Python framework for sequence labeling evaluation},
  author = {Hiroki Nakayama},
  year = {2018},
  url = {https://github.com/chakki-works/seqeval},
}
@inproceedings{ramshaw-marcus-1995-text,
  title = {Text Chunking using Transformation-Based Learning},
  author = {Ramshaw, Lance and Marcus, Mitch},
  booktitle = {Third Workshop on Very Large Corpora},
  year = {1995},
  url = {https://aclanthology.org/W95-0107},
}
"""


class EntityF1(evaluate.Metric):
    """Entity-level precision, recall and F1 in strict IOB2; `inputs_description` says what goes in and comes out."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": tags, "references": tags}),
            codebase_urls=["https://github.com/chakki-works/seqeval"],
            reference_urls=["https://aclanthology.org/W95-0107"],
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
        _check(predictions, references)
        # seqeval looks at every word in turn, which is most of the time: words behind the last entity need no look.
        gold, predicted = (Entities([_without_end(tags) for tags in each], IOB2) for each in (references, predictions))
        # What seqeval's own report runs in strict mode, less its macro averages, which warn where there is no entity.
        options: dict[str, Any] = {
            "scheme": IOB2,
            "zero_division": 0,
            "entities_true": gold,
            "entities_pred": predicted,
        }
        overall = precision_recall_fscore_support(references, predictions, average="micro", **options)
        by_type = precision_recall_fscore_support(references, predictions, average=None, **options)
        names = ("precision", "recall", "f1", "number")
        scores = {name: float(value) for name, value in zip(names, overall, strict=True)}
        # seqeval orders the types as it sorts them.
        for place, kind in enumerate(sorted(gold.unique_tags | predicted.unique_tags)):
            scores |= {f"{kind}.{name}": float(values[place]) for name, values in zip(names, by_type, strict=True)}
        return scores


def _without_end(tags: list[str]) -> list[str]:
    """Leave out the words outside any entity that a sentence ends in; entities keep their places."""
    end = len(tags)
    while end and tags[end - 1] == "O":
        end -= 1
    return tags[:end]


def _check(predictions: list[list[str]], references: list[list[str]]) -> None:
    for row, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(gold):
            raise ValueError(f"sentence {row}: {len(predicted)} predictions for {len(gold)} references")
        for tag in (*predicted, *gold):
            if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
                raise ValueError(f"sentence {row}: {tag!r} is not a tag of IOB2, which are O, B-<type> and I-<type>")
