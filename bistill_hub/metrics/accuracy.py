"""Accuracy overall, and precision, recall and F1 by label, as a metric module for `evaluate`.

The file imports nothing of the package around it, so that `evaluate.load` on its path works anywhere, offline.
"""

from collections import Counter

import datasets
import evaluate

_DESCRIPTION = """\
The share of predicted labels that equal the gold ones, and precision, recall and F1 of each label against all others.
Labels are strings and are compared as they are. Works for one label an example (sentence classification) as well as for
one a word (part-of-speech tagging, where the sentences are strung together).
"""

_INPUTS = """
Args:
    predictions (`list` of `str`): one label an example.
    references (`list` of `str`): the gold labels, as many.

Returns:
    A flat dictionary of floats. "accuracy", in [0, 1], and "number", the examples; then for each label that occurs in
    references or predictions its "neutral.precision", "neutral.recall", "neutral.f1", in [0, 1], and "neutral.number",
    the examples whose gold label it is. A fraction whose denominator is 0 is 0.

Raises:
    ValueError: references and predictions differ in length.

Example:
    >>> metric = Accuracy()
    >>> scores = metric.compute(predictions=["yes", "yes", "no"], references=["yes", "no", "no"])
    >>> scores["number"], scores["yes.recall"], scores["no.recall"], scores["yes.precision"]
    (3.0, 1.0, 0.5, 0.5)
"""


class Accuracy(evaluate.Metric):
    """Accuracy, and precision, recall and F1 by label; `inputs_description` says what goes in and comes out."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": label, "references": label}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        gold, predicted = Counter(references), Counter(predictions)
        found = Counter(label for label, guess in zip(references, predictions, strict=True) if label == guess)
        scores = {"accuracy": _ratio(found.total(), gold.total()), "number": float(gold.total())}
        for label in sorted(gold.keys() | predicted.keys()):
            scores |= {
                f"{label}.precision": _ratio(found[label], predicted[label]),
                f"{label}.recall": _ratio(found[label], gold[label]),
                f"{label}.f1": _ratio(2 * found[label], gold[label] + predicted[label]),
                f"{label}.number": float(gold[label]),
            }
        return scores


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
