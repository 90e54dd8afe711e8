"""How tasks are found."""

import subprocess
import sys

import pytest

from bistill_hub import tasks
from bistill_hub.errors import BistillError, InputError
from bistill_hub.sources import LabelledSource

NEW_TASK = """
from dataclasses import dataclass
import numpy as np
from bistill_hub.tasks.token_classification import TokenClassification

@dataclass(frozen=True, kw_only=True)
class Shouting(TokenClassification):
    name: str = "shouting"
    main_metric: str = "accuracy"
    version: str = "1"
    tag_column: str = "volume"
    tag_form: str = "loud or quiet"
    outside: str = "quiet"

    def is_tag(self, tag):
        return tag in ("loud", "quiet")

    def labels(self, dataset):
        return ("quiet", "loud")

    def score(self, dataset, predictions):
        return {"accuracy": float(self.main_score(self.statistics(dataset, predictions).sum(0)))}

    def statistics(self, dataset, predictions):
        pairs = zip(dataset["tags"], predictions)
        return np.array([[sum(g == p for g, p in zip(*pair)), len(pair[0])] for pair in pairs])

    def main_score(self, statistics_sum):
        return np.asarray(statistics_sum)[..., 0] / np.asarray(statistics_sum)[..., 1]

    def trivial(self, dataset, labels, training=None):
        return [["quiet"] * len(tokens) for tokens in dataset["tokens"]]

TASK = Shouting()
"""


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
    plugin("shouting", NEW_TASK)
    assert tasks.available_tasks() == ("ner", "shouting")
    task = tasks.get_task("shouting")
    data = tmp_path / "data.conll"
    data.write_text("HABARI\tloud\nyako\tquiet\n", encoding="utf-8")
    dataset = task.read(LabelledSource(path=str(data)))
    assert dataset["tags"][:] == [["loud", "quiet"]]
    assert task.score(dataset, task.trivial(dataset, task.labels(dataset))) == {"accuracy": 0.5}


def test_the_new_task_is_gone_with_its_file():
    assert "shouting" not in tasks.available_tasks()


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
