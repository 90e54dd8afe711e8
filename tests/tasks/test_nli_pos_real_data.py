"""The real files of natural-language inference and part-of-speech tagging, where the folder is there."""

import os
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task
from bistill_hub.tasks.pos import UPOS

VARIABLE = "BISTILL_TEST_DATA"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "data")
TEACHER = FOLDER.parent / "teacher"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not ((FOLDER / "nli").is_dir() and (FOLDER / "pos").is_dir() and TEACHER.is_dir()),
        reason=f"{VARIABLE} names no folder with nli/ and pos/ in it and teacher/ beside it",
    ),
]


def numbers(row):
    """The numbers of one row of the table in the folder's README."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    cells = next(line for line in text.splitlines() if line.startswith(f"| {row}")).split("|")
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", cells[3])]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(TEACHER))


def accuracy_of_gold(task, dataset, tokenizer, max_length):
    """Encode, decode logits that are 1 at the gold labels, and score."""
    labels = task.labels(dataset)
    features = task.encode(dataset, tokenizer, labels, max_length)
    assert max(map(len, features["input_ids"])) <= max_length
    identity = np.vstack([np.eye(len(labels)), np.zeros(len(labels))])  # the last row is for -100
    logits = [identity[np.maximum(gold, -1)] for gold in features["labels"]]
    predictions = task.decode(features, logits, dataset, labels)
    found = task.score(dataset, predictions)["accuracy"]
    assert task.main_score(task.statistics(dataset, predictions).sum(axis=0)) == found
    return found


@pytest.mark.parametrize(
    ("name", "row", "place"),
    [
        ("en/train", "nli/en/train.tsv", 0),
        ("en/dev", "nli/{en,sw}", 0),
        ("en/test", "nli/{en,sw}", 1),
        ("sw/dev", "nli/{en,sw}", 0),
        ("sw/test", "nli/{en,sw}", 1),
    ],
)
def test_every_pair_is_read_as_it_is(tokenizer, name, row, place):
    nli = get_task("nli")
    file = FOLDER / "nli" / f"{name}.tsv"
    dataset = nli.read(LabelledSource(path=str(file)))
    assert len(dataset) == numbers(row)[place]
    assert nli.labels(dataset) == ("entailment", "neutral", "contradiction")
    columns = (dataset["premise"], dataset["hypothesis"], dataset["label"])
    lines = ["premise\thypothesis\tlabel", *("\t".join(cells) for cells in zip(*columns, strict=True))]
    assert file.read_bytes() == "".join(f"{line}\n" for line in lines).encode("utf-8")
    few = dataset.select(range(1500))
    assert accuracy_of_gold(nli, few, tokenizer, 48) == 1.0


@pytest.mark.parametrize(
    ("name", "row", "place"),
    [
        ("en/train", "pos/en/", 0),
        ("en/dev", "pos/en/", 1),
        ("en/test", "pos/en/", 2),
        ("sw/dev", "pos/sw/", 0),
        ("sw/test", "pos/sw/", 1),
    ],
)
def test_every_sentence_is_read_with_its_tags(tokenizer, name, row, place):
    pos = get_task("pos")
    file = FOLDER / "pos" / f"{name}.conll"
    dataset = pos.read(LabelledSource(path=str(file)))
    assert len(dataset) == numbers(row)[place]
    lines = [line for line in file.read_bytes().decode("utf-8").split("\n") if line.strip("\r\t ")]
    words = zip(chain.from_iterable(dataset["tokens"]), chain.from_iterable(dataset["tags"]), strict=True)
    assert [f"{token}\t{tag}" for token, tag in words] == lines
    assert set(pos.labels(dataset)) <= set(UPOS)
    few = dataset.select(range(min(len(dataset), 500)))
    assert accuracy_of_gold(pos, few, tokenizer, 48) == 1.0


def test_training_has_all_tags_and_labels_of_the_test_sets():
    for name, ending in (("nli", "tsv"), ("pos", "conll")):
        task = get_task(name)
        folder = FOLDER / name
        labels = task.labels(task.read(LabelledSource(path=str(folder / "en" / f"train.{ending}"))))
        for language in ("en", "sw"):
            file = folder / language / f"test.{ending}"
            task.check_labels(task.read(LabelledSource(path=str(file))), labels, str(file))
