"""Part-of-speech tagging: CoNLL-U, CoNLL and tables, the tag set, scores and the baseline."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bistill_hub.errors import InputError
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task
from bistill_hub.tasks.pos import TASK as POS
from bistill_hub.tasks.pos import UPOS

SWAHILI = "Watoto\tNOUN\nwanacheza\tVERB\nnje\tADV\n.\tPUNCT\n"
# A multi-word token (2-3), an empty node (4.1), a token '#', a form with a space, and comments.
CONLLU = """\
# newdoc
# text = Il mange du pain 10 000 #
1\tIl\til\tPRON\t_\t_\t2\tnsubj\t_\t_
2\tmange\tmanger\tVERB\t_\t_\t0\troot\t_\t_
3-4\tdu\t_\t_\t_\t_\t_\t_\t_\t_
3\tde\tde\tADP\t_\t_\t5\tcase\t_\t_
4\tle\tle\tDET\t_\t_\t5\tdet\t_\t_
5\tpain\tpain\tNOUN\t_\t_\t2\tobl\t_\t_
5.1\tmange\tmanger\tVERB\t_\t_\t_\t_\t0:root\t_
6\t10 000\t10000\tNUM\t_\t_\t5\tnummod\t_\t_
7\t#\t#\tSYM\t_\t_\t5\tdep\t_\t_

# sent_id = 2
1\tOui\toui\tINTJ\t_\t_\t0\troot\t_\t_
"""
# The classes of Universal Dependencies on the Hub.
HUB = [
    "NOUN",
    "PUNCT",
    "ADP",
    "NUM",
    "SYM",
    "SCONJ",
    "ADJ",
    "PART",
    "DET",
    "CCONJ",
    "PROPN",
    "PRON",
    "X",
    "_",
    "ADV",
    "INTJ",
    "VERB",
    "AUX",
]


@pytest.fixture
def text_file(tmp_path):
    """Write text to a file of the given name and return a source of it."""

    def write(text, name="data.conll", **fields):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return LabelledSource(path=str(file), **fields)

    return write


@pytest.fixture
def parquet(tmp_path):
    """Write tokens and tags to a Parquet file, as on the Hub, and return a source of it."""

    def write(tokens, tags, names=HUB, **fields):
        features = Features(tokens=List(Value("string")), upos=List(ClassLabel(names=names)))
        file = tmp_path / "data.parquet"
        Dataset.from_dict({"tokens": tokens, "upos": tags}, features=features).to_parquet(str(file))
        return LabelledSource(path=str(file), **fields)

    return write


def rows_of(dataset):
    return [list(zip(*row, strict=True)) for row in zip(dataset["tokens"], dataset["tags"], strict=True)]


def tagged(*sentences):
    return Dataset.from_dict({"tokens": [["neno"] * len(tags) for tags in sentences], "tags": list(sentences)})


def test_the_tag_set_is_that_of_universal_dependencies():
    assert len(UPOS) == len(set(UPOS)) == 17
    assert set(UPOS) == set(HUB) - {"_"}
    assert all(POS.is_tag(tag) for tag in UPOS)


def test_sentences_of_conll_are_read_with_their_tags(text_file):
    expected = [[("Watoto", "NOUN"), ("wanacheza", "VERB"), ("nje", "ADV"), (".", "PUNCT")], [("#", "SYM")]]
    assert rows_of(POS.read(text_file(f"{SWAHILI}\n#\tSYM\n"))) == expected
    assert rows_of(POS.read(text_file(f"{SWAHILI}\n#\tSYM\n".replace("\t", " "), "data.txt"))) == expected


def test_conllu_gives_the_syntactic_words_and_their_tags(text_file):
    words = ["Il", "mange", "de", "le", "pain", "10 000", "#"]
    tags = ["PRON", "VERB", "ADP", "DET", "NOUN", "NUM", "SYM"]
    dataset = POS.read(text_file(CONLLU, "data.conllu"))
    assert rows_of(dataset) == [list(zip(words, tags, strict=True)), [("Oui", "INTJ")]]
    assert len(POS.read(text_file(CONLLU, "data.conllu", limit=1))) == 1
    assert rows_of(POS.read(text_file(CONLLU, "UPPER.CONLLU"))) == rows_of(dataset)


def test_columns_choose_others_in_conllu(text_file):
    dataset = POS.read(text_file(CONLLU, "data.conllu", columns={"tokens": "2"}))
    assert dataset["tokens"][0][:3] == ["il", "manger", "de"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "5\tpain\tpain\tNOUN",
            "5\tpain\tpain\t_",
            r"line 8 = '_': not a tag of the task pos, which is one of ADJ, ADP",
        ),
        ("5\tpain\tpain\tNOUN", "5\tpain\tpain\tN", r"line 8 = 'N': .*label_map, such as N: X"),
        ("5\tpain\tpain\tNOUN\t_", "5\tpain\tpain\tNOUN", r"line 8: 9 column\(s\) where line 3 has 10"),
        ("3-4\tdu", "3:4\tdu", r"line 5 = '3:4': not the ID of a word"),
        ("5.1\tmange", "5.\tmange", r"line 9 = '5\.': not the ID of a word"),
    ],
)
def test_a_broken_conllu_file_is_refused_with_its_line(text_file, old, new, message):
    assert old in CONLLU
    source = text_file(CONLLU.replace(old, new), "data.conllu")
    with pytest.raises(InputError, match=message) as caught:
        POS.read(source)
    assert caught.value.file == str(source.file)


def test_class_labels_of_the_hub_are_read_and_multi_word_tokens_left_out(parquet):
    tags = [[HUB.index(tag) for tag in ["PRON", "_", "ADP", "DET", "NOUN"]], [], [HUB.index("X")]]
    dataset = POS.read(parquet([["il", "du", "de", "le", "pain"], [], ["etc"]], tags))
    assert rows_of(dataset) == [
        [("il", "PRON"), ("de", "ADP"), ("le", "DET"), ("pain", "NOUN")],
        [],
        [("etc", "X")],
    ]


def test_errors_count_the_words_of_the_source(parquet):
    with pytest.raises(InputError, match=r"row 0, token 2 \(counted from 0\) = 'CONJ'"):
        POS.read(parquet([["du", "de", "na"]], [[0, 1, 2]], names=["_", "ADP", "CONJ"]))


def test_a_table_of_strings_and_of_numbers_is_read(tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text('{"tokens": ["Watoto", "wanacheza"], "upos": ["NOUN", "VERB"]}\n')
    assert POS.read(LabelledSource(path=str(file)))["tags"][:] == [["NOUN", "VERB"]]
    file.write_text('{"tokens": ["Watoto", "wanacheza"], "upos": [0, 1]}\n')
    with pytest.raises(InputError, match=r"upos = 0: a tag without a name.*label_map, such as 0: X"):
        POS.read(LabelledSource(path=str(file)))
    source = LabelledSource(path=str(file), label_map={"0": "NOUN", "1": "VERB"})
    assert POS.read(source)["tags"][:] == [["NOUN", "VERB"]]


def test_a_head_trained_on_the_classes_of_the_hub_is_scored():
    assert all(POS.is_answer(label) for label in HUB)
    assert not any(POS.is_answer(label) for label in ("O", "B-PER", "NN", "LABEL_0", ""))
    gold = Dataset.from_dict({"tokens": [["a", "b"]], "tags": [["X", "NOUN"]]})
    assert POS.score(gold, [["_", "NOUN"]])["accuracy"] == 0.5


def test_data_without_any_tag_are_refused(parquet):
    with pytest.raises(InputError, match="no sentence has a tagged word"):
        POS.read(parquet([["moja"], ["mbili", "tatu"]], [[13], [13, 13]]))


def test_a_choice_of_rows_is_refused_where_there_are_none(text_file):
    with pytest.raises(InputError, match=r"where = .*cannot be selected by column"):
        POS.read(text_file(SWAHILI, where={"id": "sw-*"}))


@pytest.mark.parametrize("tag", ["noun", "NN", "CONJ", "O", "B-PER", "", "_"])
def test_another_tag_is_refused_and_label_map_renames_it(text_file, tag):
    text = f"{SWAHILI}\nna\t{tag}\n"
    with pytest.raises(InputError, match=r"line 6 = .*not a tag of the task pos") as caught:
        POS.read(text_file(text))
    assert caught.value.value == tag
    assert POS.read(text_file(text, label_map={tag: "CCONJ"}))["tags"][1] == ["CCONJ"]


def test_a_label_map_to_another_tag_is_refused(text_file):
    with pytest.raises(InputError, match=r"line 1 = 'N': .*label_map renames 'NOUN'"):
        POS.read(text_file(SWAHILI, label_map={"NOUN": "N"}))


def test_labels_are_the_tags_that_occur_in_alphabetical_order():
    assert POS.labels(tagged(["VERB", "NOUN"], [], ["ADJ"])) == POS.labels(tagged(["ADJ", "NOUN", "VERB"]))
    assert POS.labels(tagged(["VERB", "NOUN"], ["ADJ", "VERB"])) == ("ADJ", "NOUN", "VERB")


def test_a_label_that_training_lacks_is_refused_before_training():
    with pytest.raises(InputError, match=r"sw\.conll: tags = 'SYM': sentence 1 .*label_map, such as SYM: X, or"):
        POS.check_labels(tagged(["NOUN"], ["X", "SYM"]), ("NOUN", "X"), "sw.conll")
    # Where X is what training lacks, renaming to it would not help.
    with pytest.raises(InputError, match=r"tags = 'X': .*label_map, such as X: NOUN, or"):
        POS.check_labels(tagged(["X"]), ("NOUN", "VERB"), "sw.conll")
    POS.check_labels(tagged(["NOUN"]), ("NOUN", "VERB"), "sw.conll")


def test_gold_tags_survive_encoding_and_decoding_and_unseen_words_are_other():
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "watoto": 4, "wanacheza": 5}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    tags = [["NOUN", "PUNCT", "VERB"], ["VERB", "VERB", "NOUN", "NOUN"]]
    tokens = [["watoto", "\x01", "wanacheza"], ["wanacheza", "wanacheza", "watoto", "mengine"]]
    dataset = Dataset.from_dict({"tokens": tokens, "tags": tags})
    labels = POS.labels(dataset)
    features = POS.encode(dataset, fast, labels, 4)
    assert features["example"][:] == [0, 1, 1]
    logits = [np.eye(len(labels))[[max(label, 0) for label in row]] for row in features["labels"]]
    # The tokenizer removes the control character: no model sees it, and X is what is said of it.
    predictions = POS.decode(features, logits, dataset, labels)
    assert predictions == [["NOUN", "X", "VERB"], tags[1]]
    assert POS.score(dataset, predictions)["accuracy"] == pytest.approx(6 / 7)


TAGS = st.sampled_from(["NOUN", "VERB", "X"])
SENTENCES = st.lists(st.lists(st.tuples(TAGS, TAGS), max_size=6), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(SENTENCES)
def test_score_statistics_and_main_score_agree_over_words(sentences):
    gold = [[one for one, _ in sentence] for sentence in sentences]
    predicted = [[other for _, other in sentence] for sentence in sentences]
    dataset = tagged(*gold)
    scores, statistics = POS.score(dataset, predicted), POS.statistics(dataset, predicted)
    assert statistics.shape == (len(sentences), 2)
    assert POS.main_score(statistics.sum(axis=0)) == pytest.approx(scores[POS.main_metric])
    flat, guesses = list(chain.from_iterable(gold)), list(chain.from_iterable(predicted))
    assert scores["number"] == len(flat)
    if not flat:
        assert scores["accuracy"] == 0.0
        return
    assert scores["accuracy"] == pytest.approx(accuracy_score(flat, guesses))
    for tag in set(flat):
        expected = f1_score([one == tag for one in flat], [one == tag for one in guesses], zero_division=0)
        assert scores[f"{tag}.f1"] == pytest.approx(expected)
        assert scores[f"{tag}.number"] == Counter(flat)[tag]


def test_a_bootstrap_weighs_sentences_by_their_words():
    statistics = POS.statistics(tagged(["NOUN", "VERB", "X"], ["NOUN"], []), [["NOUN", "VERB", "NOUN"], ["X"], []])
    assert statistics.tolist() == [[2, 3], [0, 1], [0, 0]]
    weights = np.array([[1, 1, 1], [2, 1, 0], [0, 0, 3]])
    assert POS.main_score(weights @ statistics) == pytest.approx([2 / 4, 4 / 7, 0.0])


@pytest.mark.parametrize("method", ["score", "statistics"])
def test_predictions_of_the_wrong_number_are_refused(method):
    with pytest.raises(ValueError, match="predictions for 2 sentences, gold tags for 1"):
        getattr(POS, method)(tagged(["X"]), [["X"], ["X"]])
    with pytest.raises(ValueError, match="sentence 0: 2 predictions for 1 words"):
        getattr(POS, method)(tagged(["X"]), [["X", "X"]])


def test_the_trivial_baseline_is_the_most_frequent_tag_of_training():
    test = tagged(["NOUN", "VERB", "VERB"], [])
    labels = ("ADJ", "NOUN", "VERB")
    assert POS.trivial(test, labels, tagged(["ADJ", "NOUN"], ["NOUN"])) == [["NOUN"] * 3, []]
    assert POS.trivial(test, labels) == [["VERB"] * 3, []]
    assert POS.trivial(test, labels, tagged(["VERB", "ADJ"])) == [["ADJ"] * 3, []]
    assert POS.trivial(test, ("VERB", "ADJ"), tagged(["VERB", "ADJ"])) == [["VERB"] * 3, []]


def test_the_module_holds_the_task_that_get_task_returns():
    assert get_task("pos") is POS
