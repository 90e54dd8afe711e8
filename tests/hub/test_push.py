"""A pair on its way to the Hub: checked first, called by its name there, whole in one commit, and loaded by its id."""

import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hubserver.visitor import nothing_changes, own, serving
from transformers import AutoModelForTokenClassification, AutoTokenizer

from bistill_hub import BistillError, InputError
from bistill_hub.cards.sections import read_section, read_sections
from bistill_hub.hub import push as module
from bistill_hub.hub.check import check_pair
from bistill_hub.hub.push import plan_push, push_pair_to_hub
from bistill_hub.hub.repository import files_of

REPO = "alice/bistill-en-sw"
OLD = b'{"model_type": "bistill", "source_language": "en", "target_language": "sw"}'
"""The configuration of the pair as somebody published it before."""


@pytest.fixture(scope="module")
def pair(runs):
    return runs["bert"].repository


@contextmanager
def logged_in(monkeypatch, home):
    """A server, with Alice's token here."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(monkeypatch, home) as server:
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with logged_in(monkeypatch, tmp_path / "home") as server:
        yield server


@pytest.fixture(scope="module")
def first(pair, tmp_path_factory):
    """The first push of the pair, checked and all: what it returned, and the commit that it made."""
    with pytest.MonkeyPatch.context() as patch, logged_in(patch, tmp_path_factory.mktemp("first")) as server:
        before = contents(pair)
        done = push_pair_to_hub(pair, REPO, tag="v1")
        assert contents(pair) == before
        assert server.leaks(server.user("alice").token) == []
        assert server.repositories[REPO].refs["refs/tags/v1"] == done.commit
        assert len(server.commits(REPO)) == 2
        return done, server.commits(REPO)[0]


@pytest.fixture
def published(hub, first, checked):
    """The server, with the pair on it."""
    hub.create(REPO, own({path: file.content for path, file in first[1].tree.items()}))
    return hub


@pytest.fixture
def checked(monkeypatch, first, pair):
    """Spares another check of the folder that was found fit, as long as nothing in it is changed."""
    real, content = module.check_pair, contents(pair)

    def check(folder):
        return SimpleNamespace(findings=()) if contents(folder) == content else real(folder)

    monkeypatch.setattr(module, "check_pair", check)


def contents(folder):
    return {file.as_posix(): (Path(folder) / file).read_bytes() for file in files_of(Path(folder))}


def test_a_pair_arrives_whole_in_one_commit_under_its_name_on_the_hub(first, pair):
    done, commit = first
    before = contents(pair)
    there = own({path: file.content for path, file in commit.tree.items()})
    assert set(there) == set(before)
    assert {path for path in there if there[path] != before[path]} == {"README.md", "card.json"}
    assert b'from_pretrained("alice/bistill-en-sw")' in there["README.md"]
    assert b'from_pretrained("bistill-en-sw' not in there["README.md"]
    assert json.loads(there["card.json"]) == {**json.loads(before["card.json"]), "name": REPO}
    assert (done.commit, done.pull_request, done.tag) == (commit.oid, None, "v1")


def test_the_commit_says_what_it_brings(first, pair):
    commit = first[1]
    assert commit.title == "Add the pair en-sw"
    lines = commit.description.splitlines()
    results = json.loads((pair / "tasks/ner/results.json").read_text())["results"]
    scores = {(one["model"], one["language"]): f"{100 * one['score']:.1f}" for one in results}
    for language, role in (("en", "source"), ("sw", "target")):
        row = (f"{language} ({role})", "f1", scores["teacher", language], scores["student", language])
        assert f"| ner | {' | '.join(row)} |" in lines
    assert f"Files: {len(files_of(pair))} added." in lines
    size = (pair / "model.safetensors").stat().st_size
    assert f"- added `model.safetensors` ({size / 1000:.1f} kB)" in lines
    assert lines[-1].startswith("Made with ")
    assert f"torch {json.loads((pair / 'card.json').read_text())['versions']['torch']}" in lines[-1]


def test_a_pair_that_did_not_change_makes_no_commit_also_from_a_clone_with_what_git_keeps_there(
    published, pair, tmp_path
):
    copy = shutil.copytree(pair, tmp_path / "copy")
    (copy / ".gitattributes").write_text("# mine\n")
    (copy / ".git").mkdir()
    (copy / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    with nothing_changes(published):
        assert push_pair_to_hub(copy, REPO).commit is None


EDITED = "Edited on the Hub: *read by hand*.\n"
MORE = "\n<!-- bistill:keep thanks -->\nThanks to all.\n<!-- bistill:end thanks -->\n"


def edit_there(hub):
    """Somebody writes in the card on the Hub: other limits, and a section of their own."""
    card = own({path: file.content for path, file in hub.commits(REPO)[0].tree.items()})["README.md"].decode()
    limits = read_section(card, "limits")
    hub.commit(REPO, {"README.md": (card.replace(limits, EDITED) + MORE).encode()}, author="bob")
    return limits


def card_there(hub):
    return hub.commits(REPO)[0].tree["README.md"].content.decode()


def test_what_people_wrote_on_the_hub_is_kept(published, pair):
    edit_there(published)
    with nothing_changes(published):
        assert push_pair_to_hub(pair, REPO).commit is None
    assert read_sections(card_there(published)) == {"limits": EDITED, "thanks": "Thanks to all.\n"}


def test_limits_that_were_edited_here_too_are_refused_unless_ours_are_asked_for(published, pair, tmp_path):
    limits = edit_there(published)
    copy = shutil.copytree(pair, tmp_path / "copy")
    card = (copy / "README.md").read_text()
    (copy / "README.md").write_text(card.replace(limits, "Edited here.\n"))
    with (
        nothing_changes(published),
        pytest.raises(InputError, match=r"README\.md: section limits: it was edited"),
    ):
        push_pair_to_hub(copy, REPO)
    push_pair_to_hub(copy, REPO, replace=True)
    assert read_sections(card_there(published)) == {"limits": "Edited here.\n"}


def test_limits_that_were_edited_here_alone_replace_those_on_the_hub(published, pair, tmp_path):
    copy = shutil.copytree(pair, tmp_path / "copy")
    card = (copy / "README.md").read_text()
    (copy / "README.md").write_text(card.replace(read_section(card, "limits"), "Edited here.\n"))
    push_pair_to_hub(copy, REPO)
    assert read_section(card_there(published), "limits") == "Edited here.\n"


def test_after_a_push_the_pair_is_loaded_by_its_id_from_a_cold_cache(published, pair, tmp_path):
    import bistill_hub.model.auto  # noqa: F401

    found = {}
    for place, options in ((REPO, {"cache_dir": tmp_path / "cache"}), (pair, {})):
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        model = AutoModelForTokenClassification.from_pretrained(place, **options)
        with torch.inference_mode():
            found[place] = model(**tokenizer("Juma lives in Nairobi .", return_tensors="pt")).logits
    assert (tmp_path / "cache" / "models--alice--bistill-en-sw").is_dir()
    assert torch.equal(found[REPO], found[pair])


def test_what_arrived_passes_the_check_as_it_stands_on_the_hub(published):
    report = check_pair(REPO)
    assert report.commit == published.commits(REPO)[0].oid
    assert report.findings == ()


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"tasks/ner/results.json": b"{}"}, "ner"),
        ({"model.safetensors": b"old", "tasks/ner/results.json": None}, "model, ner"),
        ({"README.md": b"# Old\n", "assets/losses.png": b"old"}, "card and code"),
    ],
)
def test_an_update_says_what_is_new(published, pair, files, parts):
    published.commit(REPO, files)
    push_pair_to_hub(pair, REPO)
    newest = published.commits(REPO)[0]
    assert newest.title == f"Update the pair en-sw: {parts}"
    for path, content in files.items():
        assert f"- {'added' if content is None else 'changed'} `{path}` (" in newest.description


def test_files_of_a_pair_that_the_folder_lacks_go_and_others_stay(published, pair):
    old = {"assets/old.png": b"png", ".eval_results/x.yaml": b"- x", "tasks/ner/delta.safetensors": b"old"}
    published.commit(REPO, {**old, "LICENSE": b"mine", "notes/todo.md": b"later"})
    before = len(published.commits(REPO))
    push_pair_to_hub(pair, REPO)
    there = own(published.files(REPO))
    assert set(there) - set(contents(pair)) == {"LICENSE", "notes/todo.md"}
    assert len(published.commits(REPO)) == before + 1


def test_tasks_that_others_contributed_are_not_deleted_unless_it_is_asked_for(published, pair):
    theirs = {f"tasks/{task}/{name}": b"x" for task in ("pos", "nli") for name in ("delta.safetensors", "results.json")}
    published.commit(REPO, theirs, author="bob")
    commits = len(published.commits(REPO))
    for act in (push_pair_to_hub, plan_push):
        with nothing_changes(published), pytest.raises(InputError, match="tasks that the folder lacks: nli, pos"):
            act(pair, REPO)
    planned = {change.path for change in plan_push(pair, REPO, replace=True) if change.kind == "delete"}
    assert planned == set(theirs)
    push_pair_to_hub(pair, REPO, replace=True)
    assert set(own(published.files(REPO))) == set(contents(pair))
    assert len(published.commits(REPO)) == commits + 1


def test_what_people_wrote_on_the_card_is_published(hub, pair, tmp_path):
    copy = shutil.copytree(pair, tmp_path / "copy")
    card = (copy / "README.md").read_text(encoding="utf-8")
    (copy / "README.md").write_text(card.replace("Made of a miniature world, for tests.", "Read *this* first."))
    push_pair_to_hub(copy, REPO)
    assert "\nRead *this* first.\n" in hub.read(REPO, "README.md").decode()


def test_a_plan_names_every_file_and_changes_nothing(published, pair):
    published.commit(REPO, {"assets/old.png": b"png", "config.json": OLD, "tokenizer.json": None})
    sent = len(published.journal.exchanges)
    with nothing_changes(published):
        plan = plan_push(pair, REPO)
    kinds = {change.path: change.kind for change in plan}
    expected = dict.fromkeys(contents(pair), "same")
    assert kinds == expected | {"assets/old.png": "delete", "config.json": "change", "tokenizer.json": "add"}
    assert {exchange.method for exchange in published.journal.exchanges[sent:]} == {"GET", "HEAD"}


def test_without_the_right_to_write_the_pair_becomes_a_pull_request(published, pair, monkeypatch):
    published.commit(REPO, {"config.json": OLD})
    monkeypatch.setenv("HF_TOKEN", published.user("bob").token)
    main = published.files(REPO)
    done = push_pair_to_hub(pair, REPO)
    assert published.files(REPO) == main
    assert own(published.files(REPO, "refs/pr/1"))["config.json"] == (pair / "config.json").read_bytes()
    request = published.repositories[REPO].discussions[1]
    assert (request.title, request.author) == ("Update the pair en-sw: model", "bob")
    assert "- changed `config.json` (" in request.events[0]["data"]["latest"]["raw"]
    assert done.pull_request == f"{published.endpoint}/{REPO}/discussions/1"


def test_an_organisation_gets_a_private_pair(hub, pair, checked):
    hub.organization("lab", alice="write")
    push_pair_to_hub(pair, "lab/en-sw", private=True, endpoint=hub.endpoint)
    assert hub.repositories["lab/en-sw"].private
    assert b'from_pretrained("lab/en-sw")' in hub.read("lab/en-sw", "README.md")


@pytest.mark.parametrize("step", ["modes", "put", "commit", "answer"])
def test_an_update_that_fails_leaves_the_pair_as_it_was_and_the_same_call_finishes(published, pair, step):
    published.commit(REPO, {"config.json": OLD, "assets/old.png": b"x", "tasks/ner/delta.safetensors": b"old"})
    before, commits = published.files(REPO), len(published.commits(REPO))
    published.repositories[REPO].large.objects.clear()  # the delta has to be sent again
    if step == "answer":
        published.faults.drop("POST", "/commit/", "before_answer")
    else:
        place = {"modes": "/preupload/", "put": "/storage/", "commit": "/commit/"}[step]
        published.faults.answer("PUT" if step == "put" else "POST", place, 413)
    with pytest.raises(BistillError):
        push_pair_to_hub(pair, REPO, tag="v1")
    assert (published.files(REPO) == before) == (step != "answer")
    done = push_pair_to_hub(pair, REPO, tag="v1")
    assert (done.commit is None) == (step == "answer")
    assert set(own(published.files(REPO))) == set(contents(pair))
    assert len(published.commits(REPO)) == commits + 1
    assert published.repositories[REPO].refs["refs/tags/v1"] == published.commits(REPO)[0].oid


@pytest.mark.parametrize(
    "moment", [("GET", f"/api/models/{REPO}$", 2), ("POST", "/preupload/", 1)], ids=["planned", "uploading"]
)
def test_a_branch_that_moves_after_it_was_looked_at_is_noticed(published, pair, moment):
    published.commit(REPO, {"config.json": OLD})
    method, pattern, nth = moment
    theirs = {"tasks/pos/delta.safetensors": b"theirs"}
    published.faults.before(method, pattern, lambda: published.commit(REPO, theirs), nth=nth)
    with pytest.raises(BistillError, match="the branch moved"):
        push_pair_to_hub(pair, REPO)
    assert published.read(REPO, "tasks/pos/delta.safetensors") == b"theirs"
    assert published.read(REPO, "config.json") == OLD


def test_what_somebody_puts_into_a_repository_that_was_to_be_made_stays(hub, pair, checked):
    theirs = {"tasks/pos/delta.safetensors": b"theirs", "assets/theirs.png": b"png"}
    hub.faults.before("POST", "/api/repos/create", lambda: hub.create(REPO, theirs))
    push_pair_to_hub(pair, REPO)
    assert set(own(hub.files(REPO))) == {*contents(pair), *theirs}


def test_a_pair_with_findings_is_refused_with_all_of_them_before_anything_is_asked(hub, pair, tmp_path):
    copy = shutil.copytree(pair, tmp_path / "copy")
    (copy / "pytorch_model.bin").write_bytes(b"x")
    card = (copy / "README.md").read_text(encoding="utf-8")
    (copy / "README.md").write_text(card.replace("## At a glance", "## The best of all"))
    for act in (push_pair_to_hub, plan_push):
        with pytest.raises(InputError, match="the pair is not fit to be published, 2 findings") as raised:
            act(copy, REPO)
        lines = str(raised.value).splitlines()
        assert [line.strip().partition(": ")[0] for line in lines[1:]] == ["pytorch_model.bin", "README.md"]
    assert hub.journal.exchanges == []


def test_what_cannot_work_is_said_before_the_check(hub, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "check_pair", None)
    with pytest.raises(InputError, match="not the name of a repository"):
        push_pair_to_hub(pair, "bistill-en-sw")
    with pytest.raises(InputError, match="there is no such folder"):
        push_pair_to_hub(tmp_path / "nowhere", REPO)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="offline mode"):
        push_pair_to_hub(pair, REPO)
    assert hub.journal.exchanges == []


def test_a_system_without_links_publishes_the_same(hub, pair, checked, monkeypatch):
    def forbidden(*paths):
        raise OSError("not here")

    monkeypatch.setattr(os, "symlink", forbidden)
    push_pair_to_hub(pair, REPO)
    assert hub.read(REPO, "model.safetensors") == (pair / "model.safetensors").read_bytes()
