"""From words to sub-words and back: no word is lost, none is moved."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bistill_hub.errors import InputError
from bistill_hub.tasks import get_task
from bistill_hub.tasks.ner import TASK as NER

TEXT = [
    "Rais Samia Suluhu Hassan alikwenda Dodoma jana asubuhi kukutana na mabalozi",
    "Shirika la UNICEF lilifungua ofisi mpya mjini Mombasa nchini Kenya",
    "Mary Smith works for the United Nations in New York and lives near Central Park",
    "The president of Tanzania met the ambassadors in Dodoma yesterday morning",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORDS = sorted({word for line in TEXT for word in line.split()})
# Words that normalisation removes, that are empty, unknown, longer than any feature, or look like special tokens.
ODD_WORDS = ["\x01", "", "\u200b", "漢字", "#", "[SEP]", "kukutana" * 9, "\u00a0"]


def _wrap(tokenizer, **options):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **options)


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrap(tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return _wrap(tokenizer, model_input_names=["input_ids", "attention_mask"])


TOKENIZERS = {"wordpiece": wordpiece(), "unigram": unigram()}
both = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
SENTENCE = st.lists(
    st.tuples(st.one_of(st.sampled_from(WORDS), st.sampled_from(ODD_WORDS)), st.sampled_from(TAGS)), max_size=20
)


def dataset_of(*sentences):
    tokens = [[token for token, _ in sentence] for sentence in sentences]
    tags = [[tag for _, tag in sentence] for sentence in sentences]
    return Dataset.from_dict({"tokens": tokens, "tags": tags})


def perfect_logits(features, labels, padding=0):
    """Logits that give each labelled position its label, with `padding` rows of noise behind."""
    logits = []
    for row in features["labels"]:
        scores = np.random.default_rng(0).normal(size=(len(row) + padding, len(labels)))
        for position, label in enumerate(row):
            if label >= 0:
                scores[position, label] = 100.0
        logits.append(scores)
    return logits


@both
def test_the_first_sub_word_of_each_word_has_its_label_and_nothing_else_has(tokenizer):
    dataset = dataset_of([("Samia", "B-PER"), ("alikwenda", "O"), ("Dodoma", "B-LOC")])
    features = NER.encode(dataset, tokenizer, TAGS, 64)
    feature = features[0]
    expected = []
    for word, label in (("Samia", 1), ("alikwenda", 0), ("Dodoma", 3)):
        pieces = tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        expected += [label] + [-100] * (len(pieces) - 1)
    assert feature["labels"] == [-100, *expected, -100]
    assert [word for word in feature["words"] if word >= 0] == [0, 1, 2]
    assert feature["input_ids"][0] == tokenizer.cls_token_id
    assert feature["input_ids"][-1] == tokenizer.sep_token_id
    assert set(features.column_names) == {*tokenizer.model_input_names, *NER.label_columns, *NER.decode_columns}


@both
@pytest.mark.parametrize("max_length", [3, 8, 24, 512])
def test_gold_labels_survive_encoding_and_decoding_whatever_the_length(tokenizer, max_length):
    @settings(max_examples=40, deadline=None)
    @given(st.lists(SENTENCE, min_size=1, max_size=4))
    def check(sentences):
        dataset = dataset_of(*sentences)
        features = NER.encode(dataset, tokenizer, TAGS, max_length)
        seen = [
            (example, word)
            for example, words in zip(features["example"], features["words"], strict=True)
            for word in words
            if word >= 0
        ]
        # Each word that has sub-words is in exactly one feature, and in order.
        with_pieces = [
            (row, word)
            for row, sentence in enumerate(sentences)
            for word, (token, _) in enumerate(sentence)
            if tokenizer([token], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        ]
        assert seen == with_pieces
        for row in features:
            assert len(row["input_ids"]) <= max_length
            assert {len(row[name]) for name in features.column_names if name != "example"} == {len(row["input_ids"])}
        predictions = NER.decode(features, perfect_logits(features, TAGS, padding=2), dataset, TAGS)
        expected = [["O"] * len(sentence) for sentence in sentences]
        for row, word in with_pieces:
            expected[row][word] = sentences[row][word][1]
        assert predictions == expected

    check()


@both
def test_a_long_sentence_is_cut_between_words_and_loses_none(tokenizer):
    sentence = [(word, "O") for word in " ".join(TEXT).split()]
    features = NER.encode(dataset_of(sentence), tokenizer, TAGS, 16)
    whole = tokenizer([word for word, _ in sentence], is_split_into_words=True)["input_ids"]
    parts = [piece for row in features["input_ids"] for piece in row[1:-1]]
    assert parts == whole[1:-1]
    assert len(features) > 3


@both
def test_a_word_longer_than_a_feature_keeps_its_label_and_its_neighbours_theirs(tokenizer):
    sentence = [("Samia", "B-PER"), ("kukutana" * 9, "B-LOC"), ("Dodoma", "B-LOC")]
    dataset = dataset_of(sentence)
    features = NER.encode(dataset, tokenizer, TAGS, 12)
    assert max(map(len, features["input_ids"])) <= 12
    assert NER.decode(features, perfect_logits(features, TAGS), dataset, TAGS) == [["B-PER", "B-LOC", "B-LOC"]]


def test_a_word_without_sub_words_is_predicted_outside_and_shifts_nothing():
    dataset = dataset_of([("\x01", "B-PER"), ("Dodoma", "B-LOC"), ("", "B-PER"), ("Kenya", "B-LOC")], [("\x01", "O")])
    features = NER.encode(dataset, TOKENIZERS["wordpiece"], TAGS, 32)
    assert features["example"][:] == [0]
    assert NER.decode(features, perfect_logits(features, TAGS), dataset, TAGS) == [["O", "B-LOC", "O", "B-LOC"], ["O"]]


def test_sentences_without_words_alone_give_no_feature_and_no_prediction():
    dataset = dataset_of([], [])
    features = NER.encode(dataset, TOKENIZERS["wordpiece"], TAGS, 32)
    assert len(features) == 0
    assert NER.decode(features, [], dataset, TAGS) == [[], []]


def test_encoding_leaves_no_truncation_behind_in_the_tokenizer():
    tokenizer = wordpiece()
    NER.encode(dataset_of([(word, "O") for word in WORDS]), tokenizer, TAGS, 8)
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None


def test_more_sentences_than_a_batch_keep_their_rows():
    dataset = dataset_of(*([[("Dodoma", "B-LOC")]] * 1001), [("Samia", "B-PER")])
    features = NER.encode(dataset, TOKENIZERS["wordpiece"], TAGS, 32)
    assert features["example"][:] == list(range(1002))
    assert NER.decode(features, perfect_logits(features, TAGS), dataset, TAGS) == dataset["tags"][:]


def test_logits_that_do_not_fit_are_refused():
    dataset = dataset_of([("Dodoma", "B-LOC")])
    features = NER.encode(dataset, TOKENIZERS["wordpiece"], TAGS, 32)
    length = len(features[0]["input_ids"])
    with pytest.raises(ValueError, match="0 arrays of logits for 1 features"):
        NER.decode(features, [], dataset, TAGS)
    with pytest.raises(ValueError, match="logits of shape"):
        NER.decode(features, [np.zeros((length - 1, len(TAGS)))], dataset, TAGS)
    with pytest.raises(ValueError, match="logits of shape"):
        NER.decode(features, [np.zeros((length, 3))], dataset, TAGS)


def test_a_length_without_room_and_a_slow_tokenizer_are_refused():
    dataset = dataset_of([("Dodoma", "B-LOC")])
    with pytest.raises(InputError, match=r"max_length = 2.*Set it to 3 at least"):
        NER.encode(dataset, TOKENIZERS["wordpiece"], TAGS, 2)

    class Slow:
        is_fast = False
        name_or_path = "slow"

        def num_special_tokens_to_add(self):
            return 2

    with pytest.raises(InputError, match=r"slow: the tokenizer is not a fast one"):
        NER.encode(dataset, Slow(), TAGS, 32)


def test_scores_statistics_and_a_bootstrap_agree():
    gold = dataset_of(
        [("Samia", "B-PER"), ("Suluhu", "I-PER"), ("Dodoma", "B-LOC")], [("Kenya", "B-LOC")], [("jana", "O")]
    )
    predictions = [["B-PER", "I-PER", "O"], ["B-PER"], ["O"]]
    statistics = NER.statistics(gold, predictions)
    assert statistics.tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0]]
    scores = NER.score(gold, predictions)
    assert scores["f1"] == pytest.approx(2 / 5)
    assert NER.main_score(statistics.sum(0)) == pytest.approx(scores[NER.main_metric])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 0, 3]])
    resampled = NER.main_score(weights @ statistics)
    assert resampled == pytest.approx([2 / 5, 2 / 3, 0.0])
    twice_the_first = gold.select([0, 0, 2])
    assert resampled[1] == pytest.approx(NER.score(twice_the_first, [predictions[i] for i in (0, 0, 2)])["f1"])


def test_the_trivial_baseline_finds_no_entity():
    dataset = dataset_of([("Samia", "B-PER"), ("jana", "O")], [])
    trivial = NER.trivial(dataset, TAGS)
    assert trivial == [["O", "O"], []]
    assert NER.score(dataset, trivial)["f1"] == 0.0


@pytest.mark.parametrize("method", ["score", "statistics"])
def test_predictions_of_the_wrong_number_are_refused(method):
    dataset = dataset_of([("Samia", "B-PER")])
    with pytest.raises(ValueError, match="predictions for 2 sentences, gold tags for 1"):
        getattr(NER, method)(dataset, [["O"], ["O"]])
    with pytest.raises(ValueError, match="sentence 0: 2 predictions for 1 words"):
        getattr(NER, method)(dataset, [["O", "O"]])


def test_the_module_holds_the_task_that_get_task_returns():
    assert get_task("ner") is NER
