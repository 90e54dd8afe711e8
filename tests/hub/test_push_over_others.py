"""A push takes nothing from others unasked: another model, a pair of other languages, tasks that they contributed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hubserver.client import environment
from hubserver.visitor import nothing_changes, own, serving

from bistill_hub import BistillError, InputError
from bistill_hub.cards.card import rename_pair, write_card
from bistill_hub.cards.facts import read_facts, write_facts
from bistill_hub.hub import push as module
from bistill_hub.hub.check import check_pair
from bistill_hub.hub.push import plan_push, push_pair_to_hub
from bistill_hub.hub.repository import files_of

REPO = "alice/bistill-en-sw"
DELTA, RESULTS = "tasks/ner/delta.safetensors", "tasks/ner/results.json"
ADDED = {"recipe": {"train": {"path": "train.conll"}, "max_length": 64}, "command": "bistill add-task org/pair"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(monkeypatch, tmp_path / "home") as server:
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """The pair as it is published, to which somebody has added its one task later."""
    folder = shutil.copytree(runs["bert"].repository, tmp_path_factory.mktemp("whole") / "pair")
    edit(folder / "config.json", tasks={}, default_tasks={})
    facts = read_facts(folder)
    write_facts(folder, replace(facts, tasks={"ner": {**facts.tasks["ner"], "added": ADDED}}))
    rename_pair(folder, REPO)
    return folder


@pytest.fixture(scope="module")
def before(whole, tmp_path_factory):
    """The pair as it was before that, with something new on its card."""
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("before") / "pair")
    shutil.rmtree(folder / "tasks")
    facts = read_facts(folder)
    (phase_1,) = (curve for curve in facts.curves if curve.name == "phase 1")
    stages = [row for row in facts.training["stages"] if not row["name"].startswith("ner ")]
    without = replace(facts, tasks={}, results=(), curves=(phase_1,), command="bistill run mine.toml")
    write_card(folder, replace(without, training={**facts.training, "stages": stages, "labelled": {}}))
    return folder


@pytest.fixture
def fit(monkeypatch):
    """Spares the check, which has tests of its own."""
    monkeypatch.setattr(module, "check_pair", lambda folder: SimpleNamespace(findings=()))


def edit(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def contents(folder):
    return {file.as_posix(): (folder / file).read_bytes() for file in files_of(folder)}


def refusals(hub, folder, **options):
    """What a push, a pull request and a plan are refused with; the same for all, and nothing changes."""
    said = set()
    for act in (push_pair_to_hub, lambda *a, **k: push_pair_to_hub(*a, create_pr=True, **k), plan_push):
        with nothing_changes(hub), pytest.raises(InputError) as raised:
            act(folder, REPO, **options)
        said.add(str(raised.value))
    (one,) = said
    return one


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b'{"model_type": "bert"}', "vocab.txt": b"x"}, "a model of the type 'bert' is there"),
        ({"config.json": b"null"}, "a model that is no pair is there"),
        ({"config.json": b"\xff"}, "a model that is no pair is there"),
        ({"model.safetensors": b"theirs", "README.md": b"# Theirs\n"}, "a model that is no pair is there"),
    ],
    ids=["bert", "null", "no text", "no configuration"],
)
def test_another_model_is_not_overwritten_unless_it_is_asked_for(hub, whole, fit, files, said):
    hub.create(REPO, files)
    message = refusals(hub, whole)
    assert f"repo_id = '{REPO}': {said}, which the pair would overwrite. Name another repository" in message
    assert message.endswith("ask for what is there to be replaced (--replace, replace=True).")
    push_pair_to_hub(whole, REPO, replace=True)
    assert hub.read(REPO, "config.json") == (whole / "config.json").read_bytes()
    assert set(own(hub.files(REPO))) == {*contents(whole), *({"vocab.txt"} & set(files))}


def test_a_repository_with_nothing_but_a_card_of_the_hubs_is_filled(hub, whole, fit):
    hub.create(REPO, {"README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"mine"})
    push_pair_to_hub(whole, REPO)
    assert own(hub.files(REPO)) == {**contents(whole), "LICENSE": b"mine"}


@pytest.mark.parametrize(
    ("fields", "theirs"),
    [
        ({"target_language": "yo"}, "en-yo"),
        ({"source_language": "fr"}, "fr-sw"),
        ({"source_language": "sw", "target_language": "en"}, "sw-en"),
    ],
)
def test_a_pair_of_other_languages_is_not_overwritten_unless_it_is_asked_for(hub, whole, fit, fields, theirs):
    config = json.dumps({**json.loads((whole / "config.json").read_text()), **fields}).encode()
    hub.create(REPO, {**contents(whole), "config.json": config})
    assert f"the pair {theirs} is there, which the pair en-sw would overwrite" in refusals(hub, whole)
    push_pair_to_hub(whole, REPO, replace=True)
    assert own(hub.files(REPO)) == contents(whole)


def test_a_task_that_was_added_there_is_not_replaced_by_ours_unless_it_is_asked_for(hub, whole, fit, tmp_path):
    ours = shutil.copytree(whole, tmp_path / "ours")
    (ours / DELTA).write_bytes(b"ours")
    hub.create(REPO, whole)
    message = refusals(hub, ours)
    assert "tasks that were added to the pair, and the folder has other deltas of them: ner. Push a folder" in message
    assert "ask for yours to replace them (--replace, replace=True)" in message
    push_pair_to_hub(ours, REPO, replace=True)
    assert hub.read(REPO, DELTA) == b"ours"


def test_a_task_that_the_card_there_does_not_call_added_is_the_pairs_own(hub, runs, whole, fit):
    hub.create(REPO, {**contents(runs["bert"].repository), DELTA: b"old"})
    push_pair_to_hub(whole, REPO)
    assert hub.read(REPO, DELTA) == (whole / DELTA).read_bytes()


def test_a_task_that_is_brought_from_there_as_the_refusal_says_keeps_its_scores_and_its_recipe(
    hub, whole, before, tmp_path
):
    folder = shutil.copytree(before, tmp_path / "mine")
    hub.create(REPO, whole)
    with nothing_changes(hub), pytest.raises(InputError, match="tasks that the folder lacks: ner") as raised:
        push_pair_to_hub(folder, REPO)
    program, *words = shlex.split(re.search("`(hf .*)`", str(raised.value))[1])
    command = [Path(sys.executable).with_name(program), *words]
    subprocess.run(command, env=environment(hub, tmp_path / "fetching", hub.user("bob")), check=True)
    assert set(contents(folder)) >= {DELTA, RESULTS}
    kept = contents(folder)
    done = push_pair_to_hub(folder, REPO)
    assert contents(folder) == kept
    assert done.commit == hub.commits(REPO)[0].oid
    told, expected = json.loads(hub.read(REPO, "card.json")), json.loads((whole / "card.json").read_text())
    for each in (told, expected):
        each["training"]["stages"].sort(key=lambda row: row["name"])
    assert told == {**expected, "command": "bistill run mine.toml"}
    there = own(hub.files(REPO))
    differing = {path for path, content in contents(whole).items() if there.get(path) != content}
    assert differing == {"README.md", "card.json"}
    assert set(there) == set(contents(whole))
    assert check_pair(REPO).findings == ()


def test_a_task_of_the_recipe_there_is_brought_into_a_pair_that_was_packaged_without_it(hub, runs, before, tmp_path):
    published = shutil.copytree(runs["bert"].repository, tmp_path / "published")
    rename_pair(published, REPO)
    hub.create(REPO, published)
    folder = shutil.copytree(before, tmp_path / "mine")
    shutil.copytree(published / "tasks", folder / "tasks")
    push_pair_to_hub(folder, REPO)
    told, expected = json.loads(hub.read(REPO, "card.json")), json.loads((published / "card.json").read_text())
    (recipe,) = json.loads((published / "recipe.json").read_text())["tasks"]
    added = {"recipe": recipe, "command": expected["command"]}
    assert told["tasks"] == {"ner": {**expected["tasks"]["ner"], "added": added}}
    assert told["training"]["labelled"] == expected["training"]["labelled"]
    assert (check_pair(REPO).findings, check_pair(REPO).notes) == ((), ())
    assert push_pair_to_hub(folder, REPO).commit is None


@pytest.mark.parametrize(
    "described",
    [5, {"labels": 5}, {"added": 5}, {"added": {"recipe": {}}}, {"added": {}, "density": "x"}],
    ids=["none", "labels", "added", "no command", "density"],
)
def test_a_task_that_the_card_there_describes_by_nonsense_is_refused_in_one_sentence(
    hub, whole, before, fit, tmp_path, described
):
    folder = shutil.copytree(before, tmp_path / "mine")
    shutil.copytree(whole / "tasks", folder / "tasks")
    theirs = json.loads((whole / "card.json").read_text())
    tasks = {"ner": {**theirs["tasks"]["ner"], **described} if isinstance(described, dict) else described}
    hub.create(REPO, {**contents(whole), "card.json": json.dumps({**theirs, "tasks": tasks}).encode()})
    message = refusals(hub, folder)
    assert message.startswith(f"{REPO}/card.json: what it states of")
    assert message.endswith("added to the pair again (`bistill add-task --replace`).")


def test_scores_of_a_task_that_was_brought_that_cannot_be_read_are_named_where_they_lie(
    hub, whole, before, fit, tmp_path
):
    folder = shutil.copytree(before, tmp_path / "mine")
    shutil.copytree(whole / "tasks", folder / "tasks")
    (folder / RESULTS).write_bytes(b"{}")
    hub.create(REPO, {**contents(whole), RESULTS: b"{}"})
    assert refusals(hub, folder).startswith(f"{folder / RESULTS}: results_version")


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("config.json", {"hidden_act": "relu"}, "config.json: its backbone has the hash"),
        ("tokenizer_config.json", {"split_special_tokens": True}, "tokenizer_config.json: its settings have the hash"),
        ("card.json", {"training": 5}, "README.md: it cannot be rendered"),
        ("card.json", {"card_version": 5}, "card.json: card_version"),
    ],
    ids=["configuration", "tokenizer", "facts", "version"],
)
def test_what_is_wrong_beside_a_task_that_was_brought_is_found_as_in_any_pair(
    hub, whole, before, tmp_path, file, fields, said
):
    folder = shutil.copytree(before, tmp_path / "mine")
    shutil.copytree(whole / "tasks", folder / "tasks")
    hub.create(REPO, whole)
    edit(folder / file, **fields)
    message = refusals(hub, folder)
    assert message.startswith(f"{folder}: the pair is not fit to be published, 1 finding. Mend them:")
    assert said in message


@pytest.mark.parametrize("replaced", [False, True], ids=["", "--replace"])
def test_a_task_of_which_the_card_says_nothing_is_refused_with_what_to_do(hub, whole, before, fit, tmp_path, replaced):
    folder = shutil.copytree(before, tmp_path / "mine")
    shutil.copytree(whole / "tasks", folder / "tasks")
    with nothing_changes(hub), pytest.raises(InputError) as raised:
        push_pair_to_hub(folder, REPO, replace=replaced)
    said = f"{folder}: tasks = 'ner': card.json says nothing of this task, so the card would not name it. "
    assert str(raised.value).startswith(f"{said}Move tasks/ner away; a task comes into a pair")
    hub.create(REPO, whole)
    hub.commit(REPO, {RESULTS: b"{}"})
    message = refusals(hub, folder, replace=replaced)
    command = f"hf download {REPO} --include 'tasks/ner/*' --local-dir {folder}"
    assert message == f"{said}Fetch it as it is in the repository with `{command}`, or move tasks/ner away."


def test_what_somebody_adds_after_the_repository_was_looked_at_is_not_lost_to_text_that_is_kept(hub, whole, fit):
    hub.create(REPO, whole)
    edited = (
        hub.read(REPO, "README.md").decode() + "\n<!-- bistill:keep thanks -->\nThanks.\n<!-- bistill:end thanks -->\n"
    )
    hub.commit(REPO, {"README.md": edited.encode(), "recipe.json": b"{}"})
    theirs = {"tasks/pos/delta.safetensors": b"theirs"}
    hub.faults.before("GET", "/resolve/.*/README.md", lambda: hub.commit(REPO, theirs))
    with pytest.raises(BistillError, match="the branch moved"):
        push_pair_to_hub(whole, REPO)
    assert hub.read(REPO, "tasks/pos/delta.safetensors") == b"theirs"


def test_no_file_is_fetched_twice(hub, whole, fit):
    hub.create(REPO, whole)
    changed = {"config.json": b'{"model_type": "bistill", "source_language": "en", "target_language": "sw"}'}
    for name in ("README.md", "card.json"):
        changed[name] = (whole / name).read_bytes().replace(b"Made of a miniature world", b"Made of an old world")
    hub.commit(REPO, changed)
    commit = hub.commits(REPO)[0].oid
    begun = len(hub.journal.exchanges)
    push_pair_to_hub(whole, REPO)
    got = [each.path for each in hub.journal.exchanges[begun:] if each.method == "GET" and "/resolve/" in each.path]
    assert sorted(got) == sorted(f"/{REPO}/resolve/{commit}/{name}" for name in changed)
