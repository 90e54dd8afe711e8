"""The accuracy metric against hand-worked cases and scikit-learn."""

import warnings

import evaluate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

import bistill_hub.metrics
from bistill_hub.metrics import Accuracy
from bistill_hub.metrics import accuracy as module

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=30)


def score(gold, predicted):
    return Accuracy(keep_in_memory=True).compute(predictions=predicted, references=gold)


def test_a_worked_case():
    # Gold: 3 x yes, 1 x no. Found: 2 of the yes; "maybe" is in the predictions alone.
    found = score(["yes", "yes", "yes", "no"], ["yes", "yes", "maybe", "yes"])
    assert found == pytest.approx(
        {
            "accuracy": 2 / 4,
            "number": 4.0,
            "maybe.precision": 0.0,
            "maybe.recall": 0.0,
            "maybe.f1": 0.0,
            "maybe.number": 0.0,
            "no.precision": 0.0,
            "no.recall": 0.0,
            "no.f1": 0.0,
            "no.number": 1.0,
            "yes.precision": 2 / 3,
            "yes.recall": 2 / 3,
            "yes.f1": 2 / 3,
            "yes.number": 3.0,
        }
    )


@settings(max_examples=80, deadline=None)
@given(PAIRS)
def test_all_numbers_are_those_of_scikit_learn(pairs):
    gold, predicted = [list(side) for side in zip(*pairs, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(gold, predicted)
    labels = sorted({*gold, *predicted})
    expected = {"accuracy": accuracy_score(gold, predicted), "number": len(gold)}
    by_label = precision_recall_fscore_support(gold, predicted, labels=labels, average=None, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "number"), by_label, strict=True):
        expected |= {f"{label}.{name}": value for label, value in zip(labels, values, strict=True)}
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in found.values())


def test_labels_are_compared_as_they_are():
    assert score(["Yes", "yes "], ["yes", "yes"])["accuracy"] == 0.0


def test_no_example_scores_nought():
    assert score([], []) == {"accuracy": 0.0, "number": 0.0}


def test_more_predictions_than_references_are_refused():
    with pytest.raises(ValueError, match=r"predictions \(2\) and references \(1\)"):
        score(["a"], ["a", "b"])


def test_the_file_alone_loads_through_evaluate_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    metric = evaluate.load(module.__file__, cache_dir=str(tmp_path))
    assert metric.compute(predictions=["a", "b"], references=["a", "a"])["accuracy"] == 0.5
    assert "share of predicted labels" in metric.description


def test_batches_may_be_added_one_by_one():
    metric = Accuracy(keep_in_memory=True)
    metric.add_batch(predictions=["a"], references=["a"])
    metric.add_batch(predictions=["b", "a"], references=["a", "b"])
    assert metric.compute()["accuracy"] == pytest.approx(1 / 3)


def test_the_package_gives_its_metrics_by_name_and_nothing_else():
    assert bistill_hub.metrics.Accuracy is module.Accuracy
    with pytest.raises(AttributeError, match="no_such_metric"):
        bistill_hub.metrics.no_such_metric  # noqa: B018
