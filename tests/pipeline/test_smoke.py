"""A smoke run is the same recipe on less: what decides whether it fails stays, what takes long is cut."""

import json
import math

import datasets
import pytest

from bistill_hub.errors import InputError
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.smoke import smoke_recipe
from bistill_hub.recipe import Recipe, load_recipe
from bistill_hub.resources import resource_dir
from bistill_hub.sources import LabelledSource, TextSource

SHIPPED = sorted(resource_dir("recipes").glob("[!_]*.py"))
AMOUNTS = {"epochs", "dense_epochs", "sparse_epochs", "iterations", "limit", "streaming", "seconds", "steps"}
AMOUNTS |= {"evaluation_every"}


def without_amounts(values):
    if isinstance(values, dict):
        return {name: without_amounts(value) for name, value in values.items() if name not in AMOUNTS}
    return [without_amounts(value) for value in values] if isinstance(values, list) else values


@pytest.mark.parametrize("file", SHIPPED[:: len(SHIPPED) // 8], ids=lambda file: file.stem)
def test_only_amounts_differ_and_every_training_is_short(file):
    recipe = load_recipe(file)
    small = smoke_recipe(recipe)
    assert Recipe.make(json.loads(small.model_dump_json())) == small
    expected = {**recipe.model_dump(mode="json"), "name": f"{recipe.name}-smoke", "smoke": True}
    assert without_amounts(small.model_dump(mode="json")) == without_amounts(expected)
    assert small.bilingual.steps <= 10
    for language in small.text_languages:
        assert language.text.limit <= 2000
    for task in small.tasks:
        examples = task.train.limit
        assert all(source.limit <= 100 for name, source in task.sources.items() if name != "train")
        settings = task.distillation
        each = math.ceil(examples / (settings.batch_size * settings.accumulation))
        assert math.ceil(settings.sparse_epochs * each) <= 10
        assert math.ceil(settings.dense_epochs * each) <= 10
        assert math.ceil(task.teacher.epochs * math.ceil(examples / task.teacher.batch_size)) <= 11


def test_what_is_less_already_stays_and_a_smoke_run_has_none_of_its_own(small_recipes):
    own = {"bilingual.steps": 3, "source.text.limit": 7, "tasks.ner.train.limit": 20, "speed.seconds": 0}
    small = smoke_recipe(small_recipes["bert"].replace(own))
    assert (small.bilingual.steps, small.source.text.limit, small.tasks[0].train.limit) == (3, 7, 20)
    assert small.speed.seconds == 0
    assert small.tasks[0].teacher.epochs == 6, "fewer than ten updates an epoch"
    assert smoke_recipe(small) == small


def test_documents_are_taken_in_smaller_number_than_lines(small_recipes):
    changes = {"source.text": "some.txt", "target.text": "some.parquet"}
    small = smoke_recipe(small_recipes["bert"].replace(changes))
    assert small.source.text.limit > small.target.text.limit


def test_slices_and_sums_of_splits_are_not_streamed(small_recipes):
    place = {"dataset": "some/ner", "config": None, "revision": None, "data_dir": None, "path": None}
    task = small_recipes["bert"].tasks[0]
    splits = {"train": "train", "validation": "train[:10%]", "test_source": "validation+test", "test_target": "test"}
    changed = task.model_copy(
        update={name: LabelledSource(**{**place, "split": split}) for name, split in splits.items()}
    )
    small = smoke_recipe(small_recipes["bert"].model_copy(update={"tasks": (changed,)}))
    assert [source.streaming for source in small.tasks[0].sources.values()] == [True, False, False, True]


def test_a_plan_counts_few_updates_and_says_the_name(small_recipes, tmp_path):
    found = plan(smoke_recipe(small_recipes["bert"]), tmp_path / "out", trial=False)
    counted = {stage.name: stage.updates for stage in found.stages if stage.updates}
    assert set(counted) == {
        "phase 1",
        "ner teacher",
        "ner phase 2",
        "ner phase 2 without phase 1",
        "ner random teacher",
    }
    assert all(count <= 2 * 11 for count in counted.values()), "phase 2 trains twice"
    evaluated = {source.field: source.count for source in found.sources}
    assert evaluated["tasks.ner.test_target"] == 50
    assert evaluated["source.text"] == 400


class Counted:
    """A data set of the Hub as a stream of a million rows, which counts those that are taken."""

    def __init__(self, monkeypatch):
        self.taken = 0
        self.asked = []
        labels = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
        self.features = datasets.Features({"id": datasets.Value("string"), "label": labels})
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def rows(self):
        for number in range(1_000_000):
            self.taken += 1
            yield {"id": f"{'sw' if number % 4 == 3 else 'en'}-{number}", "label": number % 3}

    def load(self, *args, **options):
        self.asked.append(options)
        return datasets.IterableDataset.from_generator(self.rows, features=self.features)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


def source(**fields):
    return LabelledSource(dataset="some/nli", split="test", streaming=True, **fields)


def test_of_labels_on_the_hub_only_the_beginning_is_fetched(counted):
    table = source(limit=5).table()
    assert counted.asked[0]["streaming"]
    assert counted.taken < 50
    assert table["id"] == ["en-0", "en-1", "en-2", "sw-3", "en-4"]
    assert table.features["label"].names == ["entailment", "neutral", "contradiction"]


def test_the_beginning_is_of_the_rows_that_are_kept(counted):
    assert source(limit=3, where={"id": "sw-*"}).table()["id"] == ["sw-3", "sw-7", "sw-11"]
    assert counted.taken < 100


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"language": "sw"}, "where = 'language': there is no such column; the columns are id, label"),
        ({"id": "fr-*"}, r"where.id = 'fr-\*': no row fits this pattern. .* has 'en-0'"),
    ],
)
def test_a_wrong_selection_of_a_stream_is_refused(counted, where, said, monkeypatch):
    monkeypatch.setattr(counted, "rows", lambda: iter([{"id": "en-0", "label": 0}, {"id": "sw-1", "label": 1}]))
    with pytest.raises(InputError, match=said):
        source(limit=3, where=where).table()


def test_a_file_is_told_from_a_table_by_its_ending():
    assert [TextSource(path=name).is_table for name in ("a.txt", "a", "a.jsonl", "a.parquet")] == [0, 0, 1, 1]
