"""The entity metric against hand-worked cases and an implementation that shares nothing with it."""

import warnings

import evaluate
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import bistill_hub.metrics
from bistill_hub.metrics import EntityF1
from bistill_hub.metrics import entity_f1 as module
from bistill_hub.tasks import get_task

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
# Sentences of (gold tag, predicted tag) pairs, empty ones among them.
SENTENCES = st.lists(
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=8), min_size=1, max_size=5
)


def score(gold, predicted):
    return EntityF1(keep_in_memory=True).compute(predictions=predicted, references=gold)


def spans(sentences):
    """Every (sentence, type, start, end) such that the slice reads B-X I-X ... I-X and cannot be made longer."""
    found = set()
    for number, tags in enumerate(sentences):
        for start in range(len(tags)):
            for end in range(start + 1, len(tags) + 1):
                kind = tags[start][2:]
                whole = list(tags[start:end]) == ["B-" + kind] + ["I-" + kind] * (end - start - 1)
                if whole and (end == len(tags) or tags[end] != "I-" + kind):
                    found.add((number, kind, start, end))
    return found


def expected_scores(gold, predicted):
    def ratio(part, whole):
        return part / whole if whole else 0.0

    def scores(truth, guess):
        precision, recall = ratio(len(truth & guess), len(guess)), ratio(len(truth & guess), len(truth))
        f1 = ratio(2 * precision * recall, precision + recall)
        return {"precision": precision, "recall": recall, "f1": f1, "number": float(len(truth))}

    truth, guess = spans(gold), spans(predicted)
    result = scores(truth, guess)
    for kind in {span[1] for span in truth | guess}:
        of_kind = scores({s for s in truth if s[1] == kind}, {s for s in guess if s[1] == kind})
        result |= {f"{kind}.{name}": value for name, value in of_kind.items()}
    return result


@settings(max_examples=150, deadline=None)
@given(SENTENCES)
def test_metric_and_statistics_agree_with_span_sets_on_any_tags(sentences):
    gold = [[gold_tag for gold_tag, _ in sentence] for sentence in sentences]
    predicted = [[predicted_tag for _, predicted_tag in sentence] for sentence in sentences]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(gold, predicted)
    assert found == pytest.approx(expected_scores(gold, predicted), abs=1e-12)
    assert all(type(value) is float for value in found.values())

    ner = get_task("ner")
    dataset = Dataset.from_dict({"tokens": gold, "tags": gold})
    statistics = ner.statistics(dataset, predicted)
    assert statistics.shape == (len(gold), 3)
    assert ner.main_score(statistics.sum(axis=0)) == pytest.approx(found["f1"], abs=1e-12)


def test_half_an_entity_is_no_entity():
    # Two gold entities, one found in full; of the other only the first word: tp 1, fp 1, fn 1.
    found = score([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]])
    assert (found["precision"], found["recall"], found["f1"]) == (0.5, 0.5, 0.5)
    assert (found["PER.f1"], found["LOC.f1"], found["number"]) == (0.0, 1.0, 2.0)


def test_a_wrong_type_is_both_a_false_positive_and_a_miss():
    found = score([["B-PER", "O"]], [["B-ORG", "O"]])
    assert found["f1"] == 0.0
    assert found["PER.number"] == 1.0
    assert found["ORG.number"] == 0.0


def test_an_inside_tag_that_continues_nothing_is_no_entity():
    found = score([["O", "B-LOC", "I-LOC"]], [["I-PER", "B-LOC", "I-LOC"]])
    assert found["precision"] == 1.0
    assert "PER.f1" not in found


def test_two_adjacent_entities_are_two():
    assert score([["B-PER", "B-PER"]], [["B-PER", "I-PER"]])["f1"] == 0.0


def test_types_with_hyphens_keep_their_names():
    assert score([["B-ORG-GPE", "I-ORG-GPE"]], [["B-ORG-GPE", "I-ORG-GPE"]])["ORG-GPE.f1"] == 1.0


def test_no_entity_anywhere_scores_nought_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score([["O", "O"], []], [["O", "O"], []]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 0.0}


@pytest.mark.parametrize("tag", ["S-PER", "B-", "PER", "B", ""])
def test_a_tag_outside_iob2_is_refused_by_name(tag):
    with pytest.raises(ValueError, match="not a tag of IOB2") as caught:
        score([["O"]], [[tag]])
    assert repr(tag) in str(caught.value)


def test_sentences_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="2 predictions for 1 references"):
        score([["O"]], [["O", "O"]])


def test_the_file_alone_loads_through_evaluate_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    metric = evaluate.load(module.__file__, cache_dir=str(tmp_path))
    found = metric.compute(predictions=[["B-PER", "O"]], references=[["B-PER", "O"]])
    assert found["f1"] == 1.0
    assert "seqeval" in metric.citation
    assert "strict IOB2" in metric.description


def test_batches_may_be_added_one_by_one():
    metric = EntityF1(keep_in_memory=True)
    metric.add_batch(predictions=[["B-PER"]], references=[["B-PER"]])
    metric.add_batch(predictions=[["O"]], references=[["B-LOC"]])
    assert metric.compute()["recall"] == 0.5


def test_an_unknown_name_in_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_metric"):
        bistill_hub.metrics.no_such_metric  # noqa: B018
