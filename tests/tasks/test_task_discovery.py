"""How tasks are found."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

from bistill_hub import tasks
from bistill_hub.errors import BistillError, InputError
from bistill_hub.evaluation.evaluate import predict
from bistill_hub.sources import LabelledSource

NEW_TASK = """
from dataclasses import dataclass
import numpy as np
from datasets import Dataset
from bistill_hub.errors import InputError
from bistill_hub.metrics import Accuracy
from bistill_hub.tasks.task import Task, find_columns, source_file

@dataclass(frozen=True, kw_only=True)
class Sentiment(Task):
    name: str = "sentiment"
    head: str = "sequence-classification"
    main_metric: str = "accuracy"
    version: str = "1"

    def read(self, source):
        table = source.table()
        chosen = find_columns(source, table.column_names, {"text": "text", "label": "label"})
        return Dataset.from_dict({name: list(table[column]) for name, column in chosen.items()})

    def labels(self, dataset):
        return tuple(sorted(set(dataset["label"])))

    def check_labels(self, dataset, labels, file):
        for label in dataset["label"]:
            if label not in labels:
                raise InputError("training lacks it", file=file, field="label", value=label, remedy="rename it")

    def encode(self, dataset, tokenizer, labels, max_length):
        features = tokenizer(dataset["text"][:], truncation=True, max_length=max_length)
        labels = [labels.index(label) for label in dataset["label"]]
        return Dataset.from_dict({**features, "labels": labels, "example": list(range(len(labels)))})

    def decode(self, features, logits, dataset, labels):
        return [labels[int(np.argmax(scores))] for scores in logits]

    def score(self, dataset, predictions):
        return Accuracy(keep_in_memory=True).compute(predictions=predictions, references=dataset["label"][:])

    def statistics(self, dataset, predictions):
        return np.array([[gold == found, 1] for gold, found in zip(dataset["label"], predictions)], dtype=np.int64)

    def main_score(self, statistics_sum):
        return np.asarray(statistics_sum)[..., 0] / np.asarray(statistics_sum)[..., 1]

    def trivial(self, dataset, labels, training=None):
        return [labels[0]] * len(dataset)

TASK = Sentiment()
"""
REVIEWS = [("filamu nzuri sana", "good"), ("mbaya kabisa", "bad"), ("nzuri", "good"), ("si nzuri", "bad")]


def whitespace_tokenizer():
    """A fast tokenizer of whole words, with a special token at either end."""
    words = sorted({word for text, _ in REVIEWS for word in text.split()})
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


class KeywordModel(torch.nn.Module):
    """A classifier by one word: label 1 where `word` is in the text and `negation` is not, label 0 elsewhere."""

    def __init__(self, word, negation):
        super().__init__()
        self.config = SimpleNamespace(pad_token_id=0)
        self.device = torch.device("cpu")
        self.word, self.negation = word, negation

    def forward(self, input_ids, attention_mask, **others):
        holds = (input_ids == self.word).any(1) & ~(input_ids == self.negation).any(1)
        return SequenceClassifierOutput(logits=torch.nn.functional.one_hot(holds.long(), 2).float())


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write modules into a folder that the package searches too; forget them afterwards."""
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(f"bistill_hub.tasks.{name}", None)
        vars(tasks).pop(name, None)


def test_a_new_task_needs_one_file_and_no_edit_elsewhere(plugin, tmp_path):
    others = tasks.available_tasks()
    plugin("sentiment", NEW_TASK)
    assert tasks.available_tasks() == tuple(sorted((*others, "sentiment")))
    task = tasks.get_task("sentiment")
    data = tmp_path / "reviews.tsv"
    data.write_text("review\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in REVIEWS), encoding="utf-8")
    dataset = task.read(LabelledSource(path=str(data), columns={"text": "review"}))
    labels = task.labels(dataset)
    assert labels == ("bad", "good")
    task.check_labels(dataset, labels, data.name)

    tokenizer = whitespace_tokenizer()
    word, negation, unused = tokenizer.convert_tokens_to_ids(["nzuri", "si", "[PAD]"])
    found = predict(KeywordModel(word, negation), tokenizer, task, dataset, labels, max_length=8)
    assert found == ["good", "bad", "good", "bad"]
    scores = task.score(dataset, found)
    assert scores["accuracy"] == task.main_score(task.statistics(dataset, found).sum(axis=0)) == 1.0
    found = predict(KeywordModel(word, unused), tokenizer, task, dataset, labels, max_length=3)
    # One word of each text is left: "filamu" is neither, and of "si nzuri" the "si" alone is seen.
    assert found == ["bad", "bad", "good", "bad"]
    assert task.score(dataset, found)["good.recall"] == 0.5
    assert task.score(dataset, task.trivial(dataset, labels))["accuracy"] == 0.5


def test_the_new_task_is_gone_with_its_file():
    assert "sentiment" not in tasks.available_tasks()


def test_the_tasks_of_the_package_are_found():
    assert {"ner", "nli", "pos", "qa"} <= set(tasks.available_tasks())


def test_an_unknown_task_is_refused_with_the_list_of_those_there_are():
    with pytest.raises(InputError, match=r"'parsing'.*Choose one of ner"):
        tasks.get_task("parsing")


def test_two_modules_with_one_task_name_are_refused(plugin):
    plugin("other_ner", "from bistill_hub.tasks.ner import Ner\nTASK = Ner()\n")
    with pytest.raises(BistillError, match=r"ner.*other_ner.*both define the task 'ner'"):
        tasks.available_tasks()


def test_a_task_of_another_type_is_refused(plugin):
    plugin("wrong", "TASK = 'wrong'\n")
    with pytest.raises(BistillError, match=r"bistill_hub\.tasks\.wrong\.TASK"):
        tasks.available_tasks()


def test_a_task_cannot_be_changed():
    with pytest.raises(AttributeError):
        tasks.get_task("ner").version = "2"


def test_listing_the_tasks_loads_neither_datasets_nor_evaluate():
    code = (
        "import sys, bistill_hub.tasks as t; t.get_task('ner'); "
        "print([m for m in ('datasets', 'evaluate', 'seqeval') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
