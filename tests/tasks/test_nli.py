"""Natural-language inference: what is read and refused, pairs as model inputs, predictions and scores."""

import json
from collections import Counter

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Translation, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bistill_hub.errors import InputError
from bistill_hub.evaluation.bootstrap import bootstrap_scores
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task
from bistill_hub.tasks.nli import TASK as NLI

LABELS = ("entailment", "neutral", "contradiction")
EXAMPLES = [
    ("Mvua inanyesha Mombasa", "Kuna mvua", "entailment"),
    ('Alisema, "nitarudi kesho', "Hatarudi", "contradiction"),
    ("Watoto wanacheza nje", "Watoto watano wanacheza", "neutral"),
]
CLASSES = ClassLabel(names=list(LABELS))
TEXT = {"premise": Value("string"), "hypothesis": Value("string")}


@pytest.fixture
def tsv(tmp_path):
    """Write examples to a TSV file and return a source of it."""

    def write(*examples, header=("premise", "hypothesis", "label"), **fields):
        file = tmp_path / "data.tsv"
        file.write_text("".join("\t".join(row) + "\n" for row in (header, *examples)), encoding="utf-8")
        return LabelledSource(path=str(file), **fields)

    return write


@pytest.fixture
def parquet(tmp_path):
    """Write labels (with two words of text each) to a Parquet file and return a source of it."""

    def write(labels, kind, **fields):
        columns = {"premise": ["moja"] * len(labels), "hypothesis": ["mbili"] * len(labels), "label": labels}
        file = tmp_path / "data.parquet"
        Dataset.from_dict(columns, features=Features({**TEXT, "label": kind})).to_parquet(str(file))
        return LabelledSource(path=str(file), **fields)

    return write


def rows_of(dataset):
    return list(zip(dataset["premise"], dataset["hypothesis"], dataset["label"], strict=True))


def dataset_of(*examples):
    columns = [list(column) for column in zip(*examples, strict=True)]
    return Dataset.from_dict(dict(zip(("premise", "hypothesis", "label"), columns, strict=True)))


def labelled(*labels):
    return dataset_of(*(("moja", "mbili", label) for label in labels))


def make_tokenizer(kind):
    """One id a character, in the two forms that pairs take: with token types, and with a double separator."""
    characters = {chr(code): code for code in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **characters}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    bert = kind == "bert"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1" if bert else "[CLS] $A [SEP] [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"] if bert else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_input_names=names
    )


def codes(text):
    return [ord(character) for character in text]


def test_a_tsv_file_is_read_word_for_word(tsv):
    texts = ['"So', 'a "b" c"', "n/a", "None", "  two  spaces ", "\u2028", "# 1", "'", ""]
    examples = [(text, other, "neutral") for text in texts for other in texts]
    assert rows_of(NLI.read(tsv(*examples))) == examples
    assert rows_of(NLI.read(tsv(*EXAMPLES))) == EXAMPLES


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "parquet"])
def test_other_tables_give_the_same_examples(tmp_path, ending):
    file = tmp_path / f"data.{ending}"
    dataset = dataset_of(*EXAMPLES).add_column("genre", ["fiction"] * 3)
    if ending == "json":
        file.write_text(json.dumps(list(dataset)), encoding="utf-8")
    else:
        getattr(dataset, "to_json" if ending == "jsonl" else f"to_{ending}")(str(file))
    assert rows_of(NLI.read(LabelledSource(path=str(file)))) == EXAMPLES


def test_the_original_columns_of_xnli_are_named_by_the_source(tsv):
    header = ("language", "gold_label", "sentence1", "sentence2")
    rows = [("sw", label, one, other) for one, other, label in EXAMPLES] + [("en", "neutral", "a", "b")]
    columns = {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}
    dataset = NLI.read(tsv(*rows, header=header, columns=columns, where={"language": "sw"}))
    assert rows_of(dataset) == EXAMPLES


def test_class_labels_become_strings_whatever_their_order(parquet):
    assert NLI.read(parquet([0, 2, 1], CLASSES))["label"][:] == ["entailment", "contradiction", "neutral"]
    other = ClassLabel(names=["contradiction", "entailment", "neutral"])
    assert NLI.read(parquet([0, 2, 1], other))["label"][:] == ["contradiction", "neutral", "entailment"]


def test_numbers_are_labels_only_where_label_map_names_them(parquet, tsv):
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\), label = 2: a label without a name.*'0': ent"):
        NLI.read(parquet([2, 0], Value("int64")))
    label_map = {"0": "entailment", "1": "neutral", "2": "contradiction"}
    assert NLI.read(parquet([2, 0], Value("int64"), label_map=label_map))["label"][:] == ["contradiction", "entailment"]
    assert NLI.read(tsv(("a", "b", "1"), label_map=label_map))["label"][:] == ["neutral"]


def test_label_map_renames_labels_and_names_of_classes(tsv, parquet):
    label_map = {"e": "entailment", "not": "neutral"}
    assert NLI.read(tsv(("a", "b", "e"), ("a", "b", "not"), label_map=label_map))["label"][:] == list(LABELS[:2])
    assert NLI.read(parquet([1], ClassLabel(names=["e", "not"]), label_map=label_map))["label"][:] == ["neutral"]


@pytest.mark.parametrize("kind", ["class", "number", "dash", "missing"])
def test_an_example_without_a_label_is_refused_and_where_leaves_it_out(parquet, kind):
    labels, feature = {
        "class": ([0, -1, 1], CLASSES),
        "number": ([0, -1, 1], Value("int64")),
        "dash": (["entailment", "-", "neutral"], Value("string")),
        "missing": (["entailment", None, "neutral"], Value("string")),
    }[kind]
    fields = {"label_map": {"0": "entailment", "1": "neutral"}}
    with pytest.raises(InputError, match=r"row 1 .*the example has no label.*with where, such as label: '\[!-\]\*'"):
        NLI.read(parquet(labels, feature, **fields))
    kept = NLI.read(parquet(labels, feature, where={"label": "[!-]*"}, **fields))
    assert kept["label"][:] == ["entailment", "neutral"]


@pytest.mark.parametrize("label", ["Entailment", "neutral ", "hidden", "0.0"])
def test_another_label_is_refused_with_its_row_and_a_remedy(tsv, label):
    with pytest.raises(
        InputError, match=r"data.tsv: row 3 \(counted from 0\), label = .*entailment, neutral, contra"
    ) as e:
        NLI.read(tsv(*EXAMPLES, ("a", "b", label)))
    assert e.value.value == label
    assert f"label_map, such as {label!r}: neutral" in e.value.remedy


def test_a_label_map_to_another_label_is_refused(tsv):
    with pytest.raises(InputError, match=r"label = 'maybe': .*label_map renames 'neutral'.*Correct label_map"):
        NLI.read(tsv(*EXAMPLES, label_map={"neutral": "maybe"}))


def test_a_table_of_the_wrong_shape_is_refused(tsv, tmp_path):
    with pytest.raises(InputError, match=r"line 3: 2 column\(s\) where the header has 3"):
        NLI.read(tsv(EXAMPLES[0], ("a", "b")))
    with pytest.raises(InputError, match=r"columns.premise = 'premise': .*the columns are label, sentence1, sentence2"):
        NLI.read(tsv(*EXAMPLES, header=("sentence1", "sentence2", "label")))
    with pytest.raises(InputError, match=r"columns = 'text': the task reads no such column"):
        NLI.read(tsv(*EXAMPLES, columns={"text": "premise"}))
    with pytest.raises(InputError, match="there is no example in it"):
        NLI.read(tsv())
    file = tmp_path / "data.jsonl"
    file.write_text('{"premise": "a", "hypothesis": "b", "label": "neutral"}\n{"premise": "a", "label": "neutral"}\n')
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\), hypothesis: there is no hypothesis"):
        NLI.read(LabelledSource(path=str(file)))


def test_all_languages_in_one_column_are_refused_and_not_a_crash(tmp_path):
    file = tmp_path / "all_languages.parquet"
    premise = {"en": "a", "sw": "b"}
    features = Features({"premise": Translation(["en", "sw"]), "hypothesis": Value("string"), "label": CLASSES})
    table = Dataset.from_dict({"premise": [premise], "hypothesis": ["c"], "label": [0]}, features=features)
    table.to_parquet(str(file))
    with pytest.raises(InputError, match=r"premise: this column holds values of type dict, not text.*config: sw"):
        NLI.read(LabelledSource(path=str(file)))
    Dataset.from_dict({**table[:], "premise": [7]}).to_parquet(str(file))
    with pytest.raises(InputError, match="this column holds values of type int64, not text"):
        NLI.read(LabelledSource(path=str(file)))


def test_labels_have_an_order_that_the_examples_do_not_change():
    assert NLI.labels(labelled(*LABELS)) == NLI.labels(labelled(*reversed(LABELS))) == LABELS
    assert NLI.labels(labelled("contradiction", "entailment")) == ("entailment", "contradiction")


def test_a_label_that_training_lacks_is_refused_before_training():
    with pytest.raises(InputError, match=r"sw\.tsv: label = 'neutral': example 1 .*such as neutral: contradiction"):
        NLI.check_labels(labelled("entailment", "neutral"), ("entailment", "contradiction"), "sw.tsv")
    NLI.check_labels(labelled("entailment"), ("entailment", "contradiction"), "sw.tsv")


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_premise_and_hypothesis_are_encoded_as_a_pair(kind):
    features = NLI.encode(dataset_of(("abc", "de", "contradiction")), make_tokenizer(kind), LABELS, 64)
    middle = [3] if kind == "bert" else [3, 3]
    expected = {
        "input_ids": [2, *codes("abc"), *middle, *codes("de"), 3],
        "attention_mask": [1] * (7 + len(middle)),
        "labels": 2,
        "example": 0,
    }
    if kind == "bert":
        expected["token_type_ids"] = [0, 0, 0, 0, 0, 1, 1, 1]
    assert features[0] == expected


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("abc"), min_size=1, max_size=30),
    st.text(st.sampled_from("xyz"), min_size=1, max_size=30),
    st.integers(6, 40),
)
def test_the_longer_text_is_cut_until_the_pair_fits(kind, premise, hypothesis, max_length):
    tokenizer = make_tokenizer(kind)
    special = 3 if kind == "bert" else 4
    features = NLI.encode(dataset_of((premise, hypothesis, "neutral")), tokenizer, LABELS, max_length)
    ids = features[0]["input_ids"]
    kept = [sum(chr(one) in letters for one in ids) for letters in ("abc", "xyz")]
    lengths, room = [len(premise), len(hypothesis)], max_length - special
    assert sum(kept) == min(sum(lengths), room)
    assert [one for one in ids if one > 3] == codes(premise)[: kept[0]] + codes(hypothesis)[: kept[1]]
    for here, there in ((0, 1), (1, 0)):
        # Nothing is cut of a text that is the shorter one by more than the one sub-word of an odd number.
        if kept[here] < lengths[here]:
            assert kept[here] >= kept[there] - 1
            assert kept[here] >= room // 2
    assert min(kept) >= 1


def test_encoding_leaves_the_truncation_of_the_tokenizer_as_it_was():
    tokenizer = make_tokenizer("bert")
    NLI.encode(dataset_of(*EXAMPLES), tokenizer, LABELS, 8)
    assert tokenizer.backend_tokenizer.truncation is None
    tokenizer.backend_tokenizer.enable_truncation(max_length=11, stride=2)
    before = tokenizer.backend_tokenizer.truncation
    NLI.encode(dataset_of(*EXAMPLES), tokenizer, LABELS, 8)
    assert tokenizer.backend_tokenizer.truncation == before


@pytest.mark.parametrize(("kind", "least"), [("bert", 5), ("xlm-roberta", 6)])
def test_a_length_without_room_and_a_slow_tokenizer_are_refused(kind, least):
    dataset = dataset_of(*EXAMPLES)
    with pytest.raises(InputError, match=rf"max_length = {least - 1}: .*Set it to {least} at least"):
        NLI.encode(dataset, make_tokenizer(kind), LABELS, least - 1)
    assert {len(ids) for ids in NLI.encode(dataset, make_tokenizer(kind), LABELS, least)["input_ids"]} == {least}

    class Slow:
        is_fast = False
        name_or_path = "slow"

    with pytest.raises(InputError, match=r"slow: the tokenizer is not a fast one"):
        NLI.encode(dataset, Slow(), LABELS, 32)


@pytest.mark.parametrize("labels", [LABELS, ("contradiction", "neutral", "entailment")])
def test_gold_labels_survive_encoding_and_decoding_in_any_order_of_labels(labels):
    dataset = dataset_of(*EXAMPLES * 400)
    features = NLI.encode(dataset, make_tokenizer("bert"), labels, 32)
    assert features["example"][:] == list(range(1200))
    assert [labels[place] for place in features["labels"]] == dataset["label"][:]
    logits = np.random.default_rng(0).normal(size=(1200, 3))
    logits[np.arange(1200), features["labels"][:]] = 9.0
    assert NLI.decode(features, list(logits), dataset, labels) == dataset["label"][:]
    order = np.random.default_rng(1).permutation(1200)
    assert NLI.decode(features.select(order), list(logits[order]), dataset, labels) == dataset["label"][:]


def test_logits_that_do_not_fit_are_refused():
    dataset = dataset_of(EXAMPLES[0])
    features = NLI.encode(dataset, make_tokenizer("bert"), LABELS, 32)
    with pytest.raises(ValueError, match="0 arrays of logits, 1 features, 1 examples"):
        NLI.decode(features, [], dataset, LABELS)
    for wrong in (np.zeros(2), np.zeros((4, 3)), 0.0):
        with pytest.raises(ValueError, match="logits of shape"):
            NLI.decode(features, [wrong], dataset, LABELS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=20))
def test_score_statistics_and_main_score_agree(pairs):
    gold, predicted = [list(side) for side in zip(*pairs, strict=True)]
    dataset = labelled(*gold)
    scores, statistics = NLI.score(dataset, predicted), NLI.statistics(dataset, predicted)
    assert statistics.shape == (len(pairs), 2)
    assert scores[NLI.main_metric] == pytest.approx(accuracy_score(gold, predicted))
    assert NLI.main_score(statistics.sum(axis=0)) == pytest.approx(scores[NLI.main_metric])
    assert {label: scores[f"{label}.number"] for label in set(gold)} == Counter(gold)


def test_a_bootstrap_scores_resampled_examples():
    dataset = labelled("entailment", "neutral", "neutral", "contradiction")
    predicted = ["entailment", "entailment", "neutral", "neutral"]
    statistics = NLI.statistics(dataset, predicted)
    assert statistics.tolist() == [[1, 1], [0, 1], [1, 1], [0, 1]]
    weights = np.array([[1, 1, 1, 1], [2, 0, 2, 0], [0, 3, 1, 0]])
    assert NLI.main_score(weights @ statistics).tolist() == [0.5, 1.0, 0.25]
    assert bootstrap_scores(statistics, NLI.main_score).mean() == pytest.approx(0.5, abs=0.05)
    assert NLI.main_score(np.zeros(2)) == 0.0


@pytest.mark.parametrize("method", ["score", "statistics"])
def test_predictions_of_the_wrong_number_are_refused(method):
    with pytest.raises(ValueError, match="predictions for 2 examples, gold labels for 1"):
        getattr(NLI, method)(labelled("neutral"), ["neutral", "neutral"])


def test_the_trivial_baseline_is_the_majority_of_training():
    test = labelled("entailment", "neutral", "neutral")
    training = labelled("entailment", "contradiction", "contradiction")
    assert NLI.trivial(test, LABELS, training) == ["contradiction"] * 3
    assert NLI.trivial(test, LABELS) == ["neutral"] * 3
    tied = labelled("contradiction", "neutral", "neutral", "contradiction")
    assert NLI.trivial(test, LABELS, tied) == ["neutral"] * 3
    assert NLI.trivial(test, tuple(reversed(LABELS)), tied) == ["contradiction"] * 3


def test_the_module_holds_the_task_that_get_task_returns():
    assert get_task("nli") is NLI
