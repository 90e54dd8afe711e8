"""A run reads of the Hub what it found at its beginning: commits instead of branches, written down in its folder."""

import json

import pytest
from hubserver.visitor import client, serving
from untrained import untrained

from bistill_hub import InputError, run
from bistill_hub.comparison.compare import compare
from bistill_hub.comparison.memory import read_rows
from bistill_hub.hub_commits import HubUnreachableError
from bistill_hub.pipeline import pinning
from bistill_hub.pipeline.pinning import COMMITS_FILE, pinned, pinned_before
from bistill_hub.pipeline.plan import plan
from bistill_hub.recipe import Recipe

FIXED = "f" * 40
DATA = {"dataset": "org/data", "split": "train"}


class Hub:
    """Branches by kind, name and revision; each commit is 40 times one digit."""

    def __init__(self):
        self.asked, self.reachable, self.digits, self.unknown = [], True, iter("0123456789abcde"), set()

    def __call__(self, name, revision, kind):
        self.asked.append((kind, name, revision))
        if not self.reachable:
            raise HubUnreachableError
        return None if name in self.unknown else 40 * next(self.digits)


@pytest.fixture
def hub(monkeypatch):
    answers = Hub()
    monkeypatch.setattr(pinning, "ask_for_commit", answers)
    monkeypatch.setattr(pinning, "commit_in_cache", lambda *_: None)
    return answers


@pytest.fixture
def recipe(tmp_path):
    """Names everything that can lie on the Hub, there and here, by branch and by commit."""
    (tmp_path / "sw.txt").write_text("Juma\n")
    return Recipe.make(
        {
            "name": "bistill-en-sw",
            "source": {"code": "en", "name": "English", "text": {**DATA, "config": "en"}},
            "target": {"code": "sw", "name": "Swahili", "text": str(tmp_path / "sw.txt")},
            "further_languages": [{"code": "fr", "name": "French", "text": {**DATA, "revision": "v1"}}],
            "teacher": {
                "model": "org/teacher",
                "language_deltas": {"en": "legacy:org/en", "sw": str(tmp_path / "delta.safetensors")},
            },
            "license": "apache-2.0",
            "limits": "For tests.",
            "unverified": ["source.text: whether it is English"],
            "tasks": [
                {
                    "name": "ner",
                    "train": {**DATA, "revision": FIXED},
                    "validation": DATA,
                    "test_source": {**DATA, "revision": "refs/convert/parquet"},
                    "test_target": str(tmp_path / "sw.txt"),
                    "teacher": {"delta": "org/ner@small"},
                },
                {
                    "name": "pos",
                    "train": DATA,
                    "validation": DATA,
                    "test_source": DATA,
                    "test_target": DATA,
                    "teacher": {"model": "org/tuned", "revision": "main"},
                },
            ],
        }
    )


def test_each_branch_is_asked_for_once_and_stands_as_a_commit_wherever_it_is_named(recipe, hub, tmp_path):
    found = pinned(recipe, tmp_path, begun=False)
    assert hub.asked == [
        ("model", "org/teacher", None),
        ("model", "org/en", None),
        ("dataset", "org/data", None),
        ("dataset", "org/data", "v1"),
        ("model", "org/ner", "small"),
        ("dataset", "org/data", "refs/convert/parquet"),
        ("model", "org/tuned", "main"),
    ]
    teacher, sft, data, first, task_sft, converted, tuned = (40 * digit for digit in "0123456")
    assert found.teacher.revision == teacher
    assert found.teacher.language_deltas == {**recipe.teacher.language_deltas, "en": f"legacy:org/en@{sft}"}
    assert found.source.text.revision == data
    assert found.further_languages[0].text.revision == first
    ner, pos = found.tasks
    assert [source.revision for source in ner.sources.values()] == [FIXED, data, converted, None]
    assert ner.teacher.delta == f"org/ner@{task_sft}"
    assert {source.revision for source in pos.sources.values()} == {data}
    assert pos.teacher.revision == tuned
    # And nothing else is changed.
    assert found.target == recipe.target
    assert found.unverified == recipe.unverified
    assert found.source.text.config == "en"


def test_what_is_written_down_is_read_by_every_later_call_and_only_what_is_new_is_asked_for(recipe, hub, tmp_path):
    first = pinned(recipe, tmp_path, begun=False)
    hub.asked.clear()
    assert pinned(recipe, tmp_path, begun=True) == pinned_before(recipe, tmp_path) == first
    assert pinned(first, tmp_path, begun=True) == first
    assert not hub.asked
    changed = recipe.replace({"source.text.revision": "v2"})
    assert pinned_before(changed, tmp_path).source.text.revision == "v2"
    assert pinned(changed, tmp_path, begun=True).source.text.revision == 40 * "7"
    assert hub.asked == [("dataset", "org/data", "v2")]


def test_a_run_that_was_begun_without_commits_goes_on_without(recipe, hub, tmp_path):
    assert pinned(recipe, tmp_path, begun=True) == pinned_before(recipe, tmp_path) == recipe
    assert not hub.asked
    assert not (tmp_path / COMMITS_FILE).exists()


def test_without_a_network_one_question_is_put_and_the_cache_tells_what_it_holds(recipe, hub, tmp_path, monkeypatch):
    hub.reachable, looked = False, []
    monkeypatch.setattr(pinning, "commit_in_cache", lambda *words: looked.append(words) or None)
    assert pinned(recipe, tmp_path, begun=False) == recipe
    assert hub.asked == [("model", "org/teacher", None)]
    assert looked == [
        ("org/teacher", "config.json", None),
        ("org/en", "pytorch_diff.bin", None),
        ("org/ner", "delta.safetensors", "small"),
        ("org/tuned", "config.json", "main"),
    ]
    assert pinned(recipe, tmp_path, begun=True) == recipe
    assert len(hub.asked) == 1
    monkeypatch.setattr(pinning, "commit_in_cache", lambda name, *_: FIXED if name == "org/teacher" else None)
    assert pinned(recipe, tmp_path, begun=False) == recipe.replace(
        {"teacher.revision": FIXED, "unverified": recipe.unverified}
    )


def test_what_the_hub_does_not_tell_stays_as_it_is(recipe, hub, tmp_path):
    hub.unknown = {"org/data", "org/ner"}
    found = pinned(recipe, tmp_path, begun=False)
    assert found.source == recipe.source
    assert found.tasks[0] == recipe.tasks[0]
    assert found.teacher.revision == 40 * "0"
    # And that until the run is done, or what is finished would be made again.
    hub.unknown, hub.asked = set(), []
    assert pinned(recipe, tmp_path, begun=True) == found
    assert not hub.asked
    assert pinned(recipe, tmp_path, begun=False).source.text.revision


@pytest.mark.parametrize("content", ["{", "[]", '{"commits_version": 2, "commits": {}}'])
def test_a_damaged_file_is_refused(recipe, hub, tmp_path, content):
    (tmp_path / COMMITS_FILE).write_text(content)
    with pytest.raises(InputError, match=f"{COMMITS_FILE}.* begin anew"):
        pinned(recipe, tmp_path, begun=True)
    assert not hub.asked


def test_a_folder_of_a_data_sets_name_is_no_data_set_of_the_hub(recipe, hub, tmp_path, monkeypatch):
    (tmp_path / "org" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = pinned(recipe, tmp_path, begun=False)
    assert {kind for kind, *_ in hub.asked} == {"model"}
    assert found.source == recipe.source


@pytest.fixture
def of_the_hub(small_recipes, tmp_path, monkeypatch):
    """A recipe whose teacher lies on a Hub, and a function that puts other weights on its main branch."""
    with serving(monkeypatch, tmp_path / "home") as server:
        api = client(server, "alice")
        api.create_repo("alice/teacher")

        def move(seed):
            folder = untrained("bert", tmp_path / f"teacher-{seed}", seed=seed)
            return api.upload_folder(repo_id="alice/teacher", folder_path=folder).oid

        recipe = small_recipes["bert"].replace({"teacher.model": "alice/teacher", "bilingual.steps": 2})
        yield recipe, move


def test_a_run_goes_on_with_the_commit_that_it_began_with_until_it_is_to_be_made_afresh(of_the_hub, tmp_path):
    recipe, move = of_the_hub
    folder = tmp_path / "run"
    first = move(1)
    run(recipe, folder, until="student", progress=False)
    assert json.loads((folder / "recipe.json").read_text())["recipe"]["teacher"]["revision"] == first
    student = (folder / "student" / "model.safetensors").read_bytes()
    second = move(2)
    assert next(stage.state for stage in plan(recipe, folder, trial=False).stages) == "finished"
    run(recipe, folder, until="phase-1", progress=False)
    assert (folder / "student" / "model.safetensors").read_bytes() == student
    run(recipe, folder, until="student", progress=False, fresh=True)
    assert json.loads((folder / COMMITS_FILE).read_text())["commits"] == {"model": {"alice/teacher": second}}
    assert (folder / "student" / "model.safetensors").read_bytes() != student


def test_a_run_that_is_not_to_pin_reads_what_a_branch_names_then(of_the_hub, tmp_path):
    recipe, move = of_the_hub
    move(1)
    run(recipe, tmp_path / "run", until="student", progress=False, pin=False)
    assert not (tmp_path / "run" / COMMITS_FILE).exists()
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["teacher"]["revision"] is None


def test_the_contenders_of_a_comparison_read_one_commit(of_the_hub, tmp_path, monkeypatch):
    recipe, move = of_the_hub
    first, folder = move(1), tmp_path / "compared"
    monkeypatch.setattr("bistill_hub.comparison.compare.work_through", lambda *words, **named: None)
    compare(recipe, ["no_hidden_loss"], folder, progress=False)
    move(2)
    compare(recipe, ["no_phase_1"], folder, progress=False)
    read = {row.contender: row.recipe.teacher.revision for row in read_rows(folder, pinned_before(recipe, folder))}
    assert read == dict.fromkeys(("teacher", "student", "no_hidden_loss", "no_phase_1"), first)
