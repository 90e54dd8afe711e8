"""Publishing over HTTP: one commit or none, from any failure to the end by the same call, and errors that say why."""

import logging
import os
import time
from contextlib import nullcontext

import pytest
from fresh import run_fresh
from hubserver import environment
from hubserver.visitor import client, nothing_changes, own, serving, write

from bistill_hub import BistillError, InputError
from bistill_hub.hub.remote import Change, changes_against, explained, plan_changes, publish

CARD = b"---\nlicense: mit\nlanguage:\n- en\n- sw\ntags:\n- bistill\n---\n# A pair\n"
WEIGHTS = bytes(range(256)) * 8
FILES = {
    "README.md": CARD,
    "config.json": b'{"model_type": "bistill"}',
    "model.safetensors": WEIGHTS,
    "tasks/ner/delta.safetensors": b"a delta",
}
OLD = {"README.md": CARD, "config.json": b"{}", "model.safetensors": WEIGHTS, "assets/old.png": b"png", "LICENSE": b"x"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(monkeypatch, tmp_path / "home") as server:
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "folder", FILES)


def be(monkeypatch, hub, name, *, read_only=False):
    """Log somebody in."""
    user = hub.user(name)
    monkeypatch.setenv("HF_TOKEN", user.read_token if read_only else user.token)


def push(folder, repo_id="alice/pair", files=tuple(FILES), **options):
    return publish(repo_id, folder, files, **{"message": "Push", "deletable": deletable, **options})


def deletable(path):
    return path.startswith(("assets/", "tasks/"))


def writes(hub):
    """The requests that could change something."""
    asked = ("/paths-info/", "/validate-yaml", "/preupload/")
    return [
        entry
        for entry in hub.journal.exchanges
        if entry.method not in ("GET", "HEAD") and not any(part in entry.path for part in asked)
    ]


# What is published.


def test_a_new_repository_is_made_and_filled_in_one_commit(hub, folder):
    done = push(folder, description="All of it.")
    newest, first = hub.commits("alice/pair")
    assert own(hub.files("alice/pair")) == FILES
    assert (newest.title, newest.description, newest.author) == ("Push", "All of it.", "alice")
    assert newest.parents == (first.oid,)
    assert (done.repo_id, done.url, done.commit) == ("alice/pair", f"{hub.endpoint}/alice/pair", newest.oid)
    assert (done.pull_request, done.tag) == (None, None)
    assert not hub.repositories["alice/pair"].private
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES


def test_only_what_differs_is_sent_and_what_may_go_is_deleted_in_the_same_commit(hub, folder):
    hub.create("alice/pair", OLD)
    before = len(hub.commits("alice/pair"))
    push(folder)
    assert own(hub.files("alice/pair")) == {**FILES, "LICENSE": b"x"}
    assert len(hub.commits("alice/pair")) == before + 1
    assert len(hub.journal.matching("PUT", "/storage/")) == 1  # the delta; the weights are there


def test_changes_are_told_with_sizes_and_nothing_is_sent(hub, folder):
    hub.create("alice/pair", {**OLD, "tasks/ner/delta.safetensors": b"another"})
    with nothing_changes(hub):
        changes = changes_against("alice/pair", folder, FILES, deletable=deletable)
    assert changes == (
        Change(path="README.md", kind="same", size=len(CARD), remote_size=len(CARD)),
        Change(path="assets/old.png", kind="delete", size=None, remote_size=3),
        Change(path="config.json", kind="change", size=25, remote_size=2),
        Change(path="model.safetensors", kind="same", size=2048, remote_size=2048),
        Change(path="tasks/ner/delta.safetensors", kind="change", size=7, remote_size=7),
    )
    assert not writes(hub)
    assert not hub.journal.matching("POST")


def test_against_a_repository_that_is_missing_everything_is_new(hub, folder):
    plan = plan_changes("alice/pair", folder, FILES)
    assert plan.commit is None
    assert [(change.path, change.kind) for change in plan.changes] == [(path, "add") for path in sorted(FILES)]
    assert hub.repositories == {}


def test_a_large_file_is_known_by_its_hash_whatever_the_size_says(hub, folder):
    hub.create("alice/pair", {"model.safetensors": WEIGHTS[::-1], "config.json": FILES["config.json"][::-1]})
    kinds = {change.path: change.kind for change in changes_against("alice/pair", folder, FILES)}
    assert kinds["model.safetensors"] == kinds["config.json"] == "change"


def test_what_is_there_already_makes_no_commit(hub, folder):
    push(folder)
    sent = len(writes(hub))
    with nothing_changes(hub):
        done = push(folder)
    assert (done.commit, done.pull_request) == (None, None)
    assert len(writes(hub)) == sent


def test_a_list_of_several_pages_is_read_to_its_end(monkeypatch, tmp_path, folder):
    with serving(monkeypatch, tmp_path / "other", page_size=2) as hub:
        be(monkeypatch, hub, "alice")
        hub.create("alice/pair", {**FILES, "assets/z.png": b"z"})
        kinds = {change.path: change.kind for change in changes_against("alice/pair", folder, FILES)}
    assert kinds == dict.fromkeys(FILES, "same")


def test_organisations_and_private_repositories(hub, folder):
    hub.organization("lab", alice="write")
    push(folder, "lab/pair", private=True)
    assert own(hub.files("lab/pair")) == FILES
    assert hub.repositories["lab/pair"].private
    push(folder, "lab/pair")
    assert hub.repositories["lab/pair"].private


def test_a_public_repository_is_not_taken_for_a_private_one(hub, folder):
    hub.create("alice/pair")
    with nothing_changes(hub), pytest.raises(InputError, match="it is public"):
        push(folder, private=True)


def test_another_branch_is_left_alone(hub, folder):
    hub.create("alice/pair", OLD)
    client(hub, "alice").create_branch("alice/pair", branch="next")
    main = hub.commits("alice/pair")[0].oid
    push(folder, revision="next")
    assert own(hub.files("alice/pair", "next")) == {**FILES, "LICENSE": b"x"}
    assert hub.commits("alice/pair")[0].oid == main


def test_the_server_that_is_named_is_asked_and_no_other(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    done = push(folder, endpoint=f"{hub.endpoint}/")
    assert own(hub.files("alice/pair")) == FILES
    assert done.url == f"{hub.endpoint}/alice/pair"


def test_a_process_of_its_own_takes_server_and_token_from_its_environment(hub, folder, tmp_path):
    code = (
        "from pathlib import Path\n"
        "from bistill_hub.hub.remote import publish\n"
        f"print(publish('alice/pair', Path({str(folder)!r}), {list(FILES)!r}, message='Push').url)"
    )
    variables = {**os.environ, **environment(hub, tmp_path / "other", hub.user("alice"))}
    done = run_fresh(code, env=variables)
    assert done.stdout.splitlines() == [f"{hub.endpoint}/alice/pair"]
    assert own(hub.files("alice/pair")) == FILES
    assert hub.user("alice").token not in done.stdout + done.stderr


# Tags.


def test_a_tag_is_set_at_the_commit_and_is_no_obstacle_afterwards(hub, folder):
    done = push(folder, tag="v1")
    assert (done.tag, hub.repositories["alice/pair"].refs["refs/tags/v1"]) == ("v1", done.commit)
    with nothing_changes(hub):
        again = push(folder, tag="v1")
    assert (again.tag, again.commit) == ("v1", None)


def test_a_tag_of_another_commit_is_refused_before_anything_is_sent(hub, folder):
    hub.create("alice/pair")
    client(hub, "alice").create_tag("alice/pair", tag="v1")
    with nothing_changes(hub), pytest.raises(InputError, match=r"tag = 'v1': the tag stands at another commit"):
        push(folder, tag="v1")
    assert not hub.journal.matching("POST", "preupload|commit")


def test_a_tag_that_somebody_sets_meanwhile_is_told_with_the_commit_that_was_made(hub, folder):
    hub.create("alice/pair")
    first = hub.commits("alice/pair")[0].oid
    refs = hub.repositories["alice/pair"].refs
    hub.faults.before("POST", "/tag/", lambda: refs.update({"refs/tags/v1": first}))
    with pytest.raises(BistillError, match="stands at another commit") as raised:
        push(folder, tag="v1")
    assert hub.commits("alice/pair")[0].oid in str(raised.value)


def test_a_tag_whose_answer_was_lost_is_found_in_its_place(hub, folder):
    hub.faults.drop("POST", "/tag/", "before_answer")
    with pytest.raises(BistillError, match="the same command again sets the tag 'v1' alone"):
        push(folder, tag="v1")
    with nothing_changes(hub):
        assert push(folder, tag="v1").tag == "v1"


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_tag_that_fails_is_set_by_the_same_call_again(hub, folder, status):
    hub.faults.answer("POST", "/tag/", status)
    with pytest.raises(BistillError, match="the same command again sets the tag 'v1' alone"):
        push(folder, tag="v1")
    commits = hub.commits("alice/pair")
    done = push(folder, tag="v1")
    assert (done.commit, done.tag) == (None, "v1")
    assert hub.commits("alice/pair") == commits
    assert hub.repositories["alice/pair"].refs["refs/tags/v1"] == commits[0].oid


# Pull requests.


def test_without_the_right_to_write_the_commit_becomes_a_pull_request(hub, folder, monkeypatch):
    hub.create("alice/pair", OLD)
    main = hub.files("alice/pair")
    be(monkeypatch, hub, "bob")
    done = push(folder, description="**Why**", tag="v1")
    assert hub.files("alice/pair") == main
    assert own(hub.files("alice/pair", "refs/pr/1")) == {**FILES, "LICENSE": b"x"}
    request = hub.repositories["alice/pair"].discussions[1]
    assert (request.title, request.author, request.status) == ("Push", "bob", "open")
    assert request.events[0]["data"]["latest"]["raw"] == "**Why**"
    assert done.pull_request == f"{hub.endpoint}/alice/pair/discussions/1"
    assert (done.commit, done.tag) == (hub.commits("alice/pair", "refs/pr/1")[0].oid, None)


def test_a_pull_request_can_be_asked_for(hub, folder):
    hub.create("alice/pair", OLD)
    main = hub.files("alice/pair")
    done = push(folder, create_pr=True)
    assert hub.files("alice/pair") == main
    assert done.pull_request.endswith("/discussions/1")


def test_the_same_pull_request_is_not_opened_twice_and_more_can_be_added_to_it(hub, folder, monkeypatch):
    hub.create("alice/pair", OLD)
    be(monkeypatch, hub, "bob")
    hub.faults.drop("POST", "/commit/", "before_answer")
    with pytest.raises(BistillError, match="the connection to the Hub broke"):
        push(folder, create_pr=True)
    with nothing_changes(hub):
        again = push(folder, create_pr=True)
    assert (again.commit, again.pull_request) == (None, f"{hub.endpoint}/alice/pair/discussions/1")
    (folder / "config.json").write_bytes(b'{"more": 1}')
    push(folder, revision="refs/pr/1")
    assert hub.read("alice/pair", "config.json", "refs/pr/1") == b'{"more": 1}'
    assert len(hub.repositories["alice/pair"].discussions) == 1


def test_an_open_pull_request_with_other_files_is_not_taken_for_this_one(hub, folder, monkeypatch):
    hub.create("alice/pair", OLD)
    be(monkeypatch, hub, "bob")
    push(folder)
    (folder / "config.json").write_bytes(b'{"more": 1}')
    assert push(folder).pull_request.endswith("/discussions/2")


def test_a_token_that_only_reads_is_refused_with_the_remedy(hub, folder, monkeypatch):
    hub.create("alice/pair", OLD)
    be(monkeypatch, hub, "alice", read_only=True)
    with nothing_changes(hub), pytest.raises(InputError, match="Use a token that allows writing"):
        push(folder)


def test_a_closed_pull_request_takes_nothing_more(hub, folder, monkeypatch):
    hub.create("alice/pair", OLD)
    be(monkeypatch, hub, "bob")
    push(folder)
    client(hub, "bob").change_discussion_status("alice/pair", 1, "closed")
    (folder / "config.json").write_bytes(b"[]")
    with nothing_changes(hub), pytest.raises(InputError, match=r"\(403: the pull request 1 is closed\)"):
        push(folder, revision="refs/pr/1")


def test_a_pull_request_has_no_tag_and_needs_a_repository(hub, folder):
    with pytest.raises(InputError, match="a pull request is not tagged"):
        push(folder, create_pr=True, tag="v1")
    with pytest.raises(InputError, match="there is no such repository"):
        push(folder, create_pr=True)
    assert hub.repositories == {}


# Failures.

STEPS = {
    "record": ("GET", "/api/models/alice/pair$"),
    "list": ("GET", "/tree/"),
    "card": ("POST", "/validate-yaml"),
    "modes": ("POST", "/preupload/"),
    "batch": ("POST", "/batch$"),
    "put": ("PUT", "/storage/"),
    "verify": ("POST", "/verify$"),
    "commit": ("POST", "/commit/"),
}
TRIED_AGAIN = {"list", "modes", "batch", "put", "verify"}
"""Where the client itself asks up to six times."""

CHANGED = {**OLD, "README.md": b"---\nlicense: mit\n---\n# Old\n"}


@pytest.mark.parametrize("step", STEPS)
def test_a_refusal_at_any_step_leaves_the_remote_as_it_was_and_the_same_call_again_finishes(hub, folder, step):
    hub.create("alice/pair", CHANGED)
    hub.faults.answer(*STEPS[step], 413, message="because of the test")
    with nothing_changes(hub), pytest.raises(InputError, match=r"413: .*because of the test"):
        push(folder)
    push(folder)
    assert own(hub.files("alice/pair")) == {**FILES, "LICENSE": b"x"}


@pytest.mark.parametrize("step", STEPS)
def test_a_hub_that_stays_overloaded_is_left_as_it_was_and_the_same_call_later_finishes(hub, folder, step):
    hub.create("alice/pair", CHANGED)
    commits = len(hub.commits("alice/pair"))
    for nth in range(1, 7 if step in TRIED_AGAIN else 2):
        hub.faults.answer(*STEPS[step], 429, nth=nth, headers={"Retry-After": "7"})
    with nothing_changes(hub), pytest.raises(BistillError, match=r"too many requests.*Wait 7 seconds"):
        push(folder)
    push(folder)
    assert own(hub.files("alice/pair")) == {**FILES, "LICENSE": b"x"}
    assert len(hub.commits("alice/pair")) == commits + 1


@pytest.mark.parametrize("moment", ["after_body", "before_answer"])
@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_breaks_leaves_all_or_nothing_and_the_same_call_finishes(hub, folder, step, moment):
    hub.create("alice/pair", CHANGED)
    before, after = own(hub.files("alice/pair")), {**FILES, "LICENSE": b"x"}
    commits = len(hub.commits("alice/pair"))
    hub.faults.drop(*STEPS[step], moment)
    made = step in TRIED_AGAIN or (step, moment) == ("commit", "before_answer")
    with nullcontext() if step in TRIED_AGAIN else pytest.raises(BistillError, match="the connection to the Hub broke"):
        push(folder)
    assert own(hub.files("alice/pair")) == (after if made else before)
    assert (push(folder).commit is None) == made
    assert own(hub.files("alice/pair")) == after
    assert len(hub.commits("alice/pair")) == commits + 1


@pytest.mark.parametrize("step", ["modes", "put", "commit"])
def test_a_new_repository_stays_empty_when_its_commit_fails_and_is_filled_the_next_time(hub, folder, step):
    hub.faults.answer(*STEPS[step], 413)
    with pytest.raises(InputError, match="more than the Hub takes at once"):
        push(folder)
    assert own(hub.files("alice/pair")) == {}
    push(folder)
    assert own(hub.files("alice/pair")) == FILES


def test_a_repository_whose_making_was_not_answered_is_found_the_next_time(hub, folder):
    hub.faults.drop("POST", "/api/repos/create", "before_answer")
    with pytest.raises(BistillError, match="the connection to the Hub broke"):
        push(folder)
    push(folder)
    assert own(hub.files("alice/pair")) == FILES


def test_a_branch_that_moves_while_uploading_is_noticed(hub, folder):
    hub.create("alice/pair", OLD)
    hub.faults.before("POST", "/commit/", lambda: hub.commit("alice/pair", {"config.json": b"theirs"}))
    with pytest.raises(BistillError, match="the branch moved while uploading; give the command again"):
        push(folder)
    assert own(hub.files("alice/pair")) == {**OLD, "config.json": b"theirs"}
    push(folder)
    assert own(hub.files("alice/pair")) == {**FILES, "LICENSE": b"x"}


def test_a_branch_that_left_the_commit_of_a_plan_is_noticed_before_anything_is_sent(hub, folder):
    hub.create("alice/pair", OLD)
    plan = plan_changes("alice/pair", folder, FILES)
    hub.commit("alice/pair", {"config.json": b"theirs"})
    with nothing_changes(hub), pytest.raises(BistillError, match="the branch moved"):
        push(folder, parent_commit=plan.commit)
    assert not hub.journal.matching("POST")


def test_a_pull_request_begins_at_the_commit_of_its_plan(hub, folder):
    hub.create("alice/pair", OLD)
    plan = plan_changes("alice/pair", folder, FILES)
    hub.commit("alice/pair", {"LICENSE": b"theirs"})
    push(folder, parent_commit=plan.commit, create_pr=True)
    newest, before = hub.commits("alice/pair", "refs/pr/1")[:2]
    assert before.oid == plan.commit
    assert newest.tree["LICENSE"].content == b"x"


# What cannot work is said at once.


@pytest.mark.parametrize(
    "name", ["pair", "a/b/c", "-/x", "alice/pa ir", "", "alice/", "https://huggingface.co/alice/x"]
)
def test_a_name_that_no_repository_can_have_is_refused(hub, folder, name):
    for act in (lambda: push(folder, name), lambda: changes_against(name, folder, FILES)):
        with pytest.raises(InputError, match="not the name of a repository"):
            act()
    assert hub.journal.exchanges == []


def test_an_address_that_is_none_is_refused(hub, folder):
    with pytest.raises(InputError, match=r"endpoint = 'hub\.example': not the address of a server"):
        push(folder, endpoint="hub.example")


def test_a_file_that_is_missing_is_refused(hub, folder):
    with pytest.raises(InputError, match=r"nowhere\.json: there is no such file"):
        push(folder, files=[*FILES, "nowhere.json"])
    assert hub.journal.exchanges == []


def test_offline_nothing_is_tried(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for act in (push, lambda folder: changes_against("alice/pair", folder, FILES)):
        with pytest.raises(InputError, match=r"offline mode\. Unset HF_HUB_OFFLINE"):
            act(folder)
    assert hub.journal.exchanges == []


def test_nobody_and_strangers_are_told_to_log_in(hub, folder, monkeypatch):
    hub.create("carol/secret", OLD, private=True)
    monkeypatch.delenv("HF_TOKEN")
    for name in ("alice/pair", "carol/secret"):
        with nothing_changes(hub), pytest.raises(InputError, match="hf auth login"):
            push(folder, name)
    be(monkeypatch, hub, "bob")
    for name in ("alice/pair", "carol/secret"):
        with nothing_changes(hub), pytest.raises(InputError, match="Use a token that allows writing"):
            push(folder, name)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with nothing_changes(hub), pytest.raises(InputError, match=r"does not accept the token.*hf auth login") as raised:
        push(folder)
    assert "xxx" not in str(raised.value)


def test_an_unknown_revision_is_refused(hub, folder):
    hub.create("alice/pair", OLD)
    with nothing_changes(hub), pytest.raises(InputError, match="the repository has no such revision"):
        push(folder, revision="nowhere")
    with nothing_changes(hub), pytest.raises(InputError, match="revision = 'next': there is no such repository"):
        push(folder, "alice/new", revision="next")


def test_a_gated_or_disabled_repository_is_called_so(hub, folder, monkeypatch):
    hub.create("carol/gated", OLD)
    hub.repositories["carol/gated"].gated = "manual"
    with nothing_changes(hub), pytest.raises(InputError, match="the repository is gated"):
        push(folder, "carol/gated")
    hub.create("alice/pair", OLD)
    hub.faults.answer("POST", "/preupload/", 403, message="Access to this resource is disabled.")
    with nothing_changes(hub), pytest.raises(InputError, match="the repository is disabled"):
        push(folder)


def test_a_card_whose_metadata_the_hub_refuses_is_named(hub, folder):
    (folder / "README.md").write_bytes(b"---\nlicense: none-such\n---\n# A pair\n")
    hub.create("alice/pair")
    with nothing_changes(hub), pytest.raises(InputError, match=r'README.md: .*card\'s metadata \("license" must be'):
        push(folder)


def test_an_answer_that_is_none_is_told(hub, folder):
    hub.create("alice/pair")
    hub.faults.answer("POST", "/validate-yaml", 502, body=b"<html>bad gateway</html>")
    with nothing_changes(hub), pytest.raises(BistillError, match="its answer cannot be read"):
        push(folder)


def test_a_list_of_what_to_ignore_is_refused_as_it_would_leave_files_out(hub, folder):
    hub.create("alice/pair", {".gitignore": b"*.json\n"})
    for act in (push, lambda folder: changes_against("alice/pair", folder, FILES)):
        with nothing_changes(hub), pytest.raises(InputError, match=r"/\.gitignore: the Hub may leave files out"):
            act(folder)


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (400, InputError, r"the Hub does not take it \(400: why\)\. Correct what it names\."),
        (401, InputError, r"does not accept the token, or there is none \(401: why\)\. Log in with `hf auth login`"),
        (402, InputError, r"wants this account to pay for it \(402: why\)\. See the account's plan"),
        (403, InputError, r"may not do this \(403: why\)\. Use a token that allows writing"),
        (404, InputError, r"has nothing of this name \(404: why\)\. Correct the names"),
        (409, BistillError, r"the branch moved while uploading; give the command again \(409: why\)\."),
        (412, BistillError, r"the branch moved while uploading; give the command again \(412: why\)\."),
        (413, InputError, r"more than the Hub takes at once \(413: why\)\. Publish fewer"),
        (418, BistillError, r"a fault of its own \(418: why\)\. Give the same command again later\."),
        (500, BistillError, r"a fault of its own \(500: why\)\. Give the same command again later\."),
    ],
)
def test_every_refusal_is_one_sentence_with_its_remedy(hub, status, kind, sentence):
    hub.faults.answer("POST", "/tag/", status, message="why")
    with pytest.raises(BistillError, match=f"^alice/pair: .*{sentence}") as raised, explained("alice/pair"):
        client(hub, "alice").create_tag("alice/pair", tag="v1")
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "31"}, "Wait 31 seconds"),
        ({"RateLimit": '"api";r=0;t=55'}, "Wait 55 seconds"),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "Wait some minutes"),
        ({}, "Wait some minutes"),
    ],
)
def test_how_long_to_wait_is_said_as_the_hub_says_it(hub, headers, wait):
    hub.create("alice/pair")
    hub.faults.answer("GET", "/api/models/alice/pair", 429, headers=headers)
    with pytest.raises(BistillError, match=wait), explained("alice/pair"):
        client(hub, None).model_info("alice/pair")


def test_errors_of_the_programme_itself_are_not_explained_away():
    for error in (KeyError("x"), ValueError("x"), BistillError("x"), InputError("x", remedy="y"), OSError("x")):
        with pytest.raises(type(error)) as raised, explained("alice/pair"):
            raise error
        assert raised.value is error


# The token.


@pytest.mark.parametrize("step", [*STEPS, "tag"])
def test_the_token_is_nowhere_even_if_the_server_shouts_it(hub, folder, step, capfd):
    token = hub.user("alice").token
    hub.create("alice/pair", CHANGED)
    hub.faults.answer(*STEPS.get(step, ("POST", "/tag/")), 413, message=f"no {token}, Bearer {token}")
    with pytest.raises(BistillError) as raised:
        push(folder, tag="v1")
    assert token not in str(raised.value) + repr(raised.value) + "".join(capfd.readouterr())
    assert "no hf_..." in str(raised.value)
    assert not hub.leaks(token)


def test_a_whole_publication_keeps_the_token_to_itself(hub, folder, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    push(folder, tag="v1", description="All of it.")
    be(monkeypatch, hub, "bob")
    (folder / "config.json").write_bytes(b"[]")
    push(folder, description="All of it.")
    out = "".join(capfd.readouterr()) + caplog.text
    for name in ("alice", "bob"):
        assert hub.leaks(hub.user(name).token) == []
        assert hub.user(name).token not in out
