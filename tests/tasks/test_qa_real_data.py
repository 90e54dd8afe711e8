"""The real question-answering files, where the folder is there."""

import os
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task
from bistill_hub.tasks.qa import QuestionAnswering

VARIABLE = "BISTILL_TEST_DATA"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "data")
FILES = ("en.train", "en.dev", "sw.train", "sw.test")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (FOLDER / "qa").is_dir(), reason=f"{VARIABLE} names no folder with qa/ in it"),
]
QA = get_task("qa")


def read(name, **fields):
    """Read a file, with an error where an answer is not at its offset."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return QA.read(LabelledSource(path=str(FOLDER / "qa" / f"{name}.json"), **fields))


def table_counts():
    """Question counts by file as the folder's README has them."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [
        re.search(rf"\| qa/{language}\..*\| ([\d,]+) / ([\d,]+)(?: questions)? \|", text) for language in ("en", "sw")
    ]
    return dict(zip(FILES, (int(count.replace(",", "")) for row in rows for count in row.groups()), strict=True))


@pytest.fixture(scope="module")
def tokenizer():
    """A WordPiece tokenizer of 4,000 pieces, trained on contexts of both languages."""
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=False)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=4000, special_tokens=special, show_progress=False)
    trained.train_from_iterator([*read("en.dev")["context"], *read("sw.test")["context"]], trainer)
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=trained, **names)


@pytest.mark.parametrize("name", FILES)
def test_every_question_of_the_real_files_is_read_with_each_answer_at_its_offset(name):
    dataset = read(name)
    assert len(dataset) == table_counts()[name]
    for context, answers in zip(dataset["context"], dataset["answers"], strict=True):
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert context[start : start + len(text)] == text
    gold = [answers["text"][-1] for answers in dataset["answers"]]
    scores = QA.score(dataset, gold)
    # One answer of English is "a", of which normalisation leaves nothing.
    assert scores["exact_match"] == 1.0
    assert scores["f1"] == pytest.approx(1.0, abs=1 / len(dataset))
    assert 0 < QA.score(dataset, QA.trivial(dataset, (), dataset))["f1"] < 0.2


def test_questions_of_a_language_are_selected_by_the_beginning_of_their_ids():
    assert len(read("sw.test", where={"id": "swahili-*"})) == table_counts()["sw.test"]
    assert (
        read("sw.test", where={"id": "swahili--*"}, limit=3)["id"][:]
        == [identifier for identifier in read("sw.test")["id"] if identifier.startswith("swahili--")][:3]
    )


@pytest.mark.parametrize("name", ["en.dev", "sw.test"])
def test_logits_at_the_gold_positions_give_the_gold_answers_back(name, tokenizer):
    dataset = read(name)
    # So small a vocabulary cuts some answers into more than the usual 30.
    task = QuestionAnswering(max_answer_length=250)
    features = task.encode(dataset, tokenizer, (), 384)
    logits = []
    for ids, first, last in zip(*(features[key] for key in ("input_ids", *QA.label_columns)), strict=True):
        scores = np.zeros((len(ids), 2))
        scores[first, 0] = scores[last, 1] = 1.0
        logits.append(scores)
    # What is lost are answers that begin or end inside a sub-word.
    assert QA.score(dataset, task.decode(features, logits, dataset, ()))["f1"] > 0.99


def test_thousands_of_questions_take_seconds(tokenizer):
    dataset = read("en.train")
    start = time.perf_counter()
    features = QA.encode(dataset, tokenizer, (), 256)
    encoded = time.perf_counter()
    generator = np.random.default_rng(0)
    logits = [generator.normal(size=(256, 2)) for _ in range(len(features))]
    drawn = time.perf_counter()
    QA.decode(features, logits, dataset, ())
    decoded = time.perf_counter()
    assert (encoded - start, decoded - drawn) < (60.0, 60.0)
