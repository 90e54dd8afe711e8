"""The real NER files, where the folder is there."""

import os
import re
from pathlib import Path

import pytest

from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task

VARIABLE = "BISTILL_TEST_DATA"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "data")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (FOLDER / "ner").is_dir(), reason=f"{VARIABLE} names no folder with ner/ in it"),
]


def table_counts():
    """Sentence counts by (language, split) as the folder's README has them."""
    number = r"([\d,]+)"
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    english = re.search(rf"\| ner/en/.*\| {number} / {number} / {number} sentences \|", text)
    others = re.search(rf"\| ner/sw/.*\| sw {number} / {number} / {number}; yo {number} / {number} / {number} \|", text)
    values = [int(value.replace(",", "")) for match in (english, others) for value in match.groups()]
    return dict(zip(((la, sp) for la in ("en", "sw", "yo") for sp in ("train", "dev", "test")), values, strict=True))


@pytest.mark.parametrize("language", ["en", "sw", "yo"])
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_every_sentence_of_the_real_files_is_read(language, split):
    task = get_task("ner")
    file = FOLDER / "ner" / language / f"{split}.conll"
    dataset = task.read(LabelledSource(path=str(file)))
    assert len(dataset) == table_counts()[language, split]
    assert task.labels(dataset) == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    # Each line that is not blank is a token: these files have no comments, and tokens that begin with '#'.
    lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
    assert sum(map(len, dataset["tokens"])) == len(lines)
    if split != "train":  # reading is what is checked of those, and seqeval takes its time
        assert task.score(dataset, dataset["tags"][:])["f1"] == 1.0
