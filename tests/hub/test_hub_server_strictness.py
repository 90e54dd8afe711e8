"""The server of these tests refuses the unknown by name, keeps what it was given, and remembers who asked for what."""

import hashlib
import json
from urllib.parse import quote, urlencode

import pytest
from hubserver import HubServer
from hubserver.visitor import (
    additions,
    client,
    nothing_changes,
    own,
    raw,
    regular,
    send_commit,
    send_lines,
    serving,
    write,
)
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given, settings
from hypothesis import strategies as st

WEIGHTS = bytes(range(256)) * 8
FILES = {
    "README.md": b"# A pair\n",
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "tasks/ner/delta.safetensors": b"a delta",
    "tasks/ner/results.json": b"[]",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server


def _one_file(**fields):
    return {"files": [{"sample": "", **fields}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("GET", "/api/models?colour=red", None, "colour"),
        ("GET", "/api/models?expand=colour", None, "colour"),
        ("GET", "/api/models/alice/pair?blobs=maybe", None, "blobs"),
        ("GET", "/api/models/alice/pair/tree/main?limit=-1", None, "limit"),
        ("GET", "/api/whoami-v2?full=1", None, "full"),
        ("GET", "/api/whoami-v2", {}, "takes no body"),
        ("POST", "/api/repos/create", {"name": "new", "organization": None, "colour": "red"}, "colour"),
        ("POST", "/api/repos/create", {"organization": None}, "name"),
        ("POST", "/api/repos/create", {"name": 7, "organization": None}, "name"),
        ("POST", "/api/repos/create", {"name": "a/b", "organization": None}, "a/b"),
        ("POST", "/api/repos/create", {"name": "new", "organization": None, "visibility": "shy"}, "shy"),
        ("POST", "/api/repos/create", b"{", "not JSON"),
        ("POST", "/api/models/alice/pair/tag/main", {"tag": "v1", "colour": "red"}, "colour"),
        ("POST", "/api/models/alice/pair/discussions", {"title": "Title", "description": ""}, "pullRequest"),
        ("PUT", "/api/models/alice/pair/settings", {"gated": "perhaps"}, "perhaps"),
        (
            "POST",
            "/api/models/alice/pair/preupload/main",
            _one_file(path="../a", size=0),
            "../a",
        ),
        (
            "POST",
            "/api/models/alice/pair/preupload/main",
            _one_file(path="a", size=9),
            "sample",
        ),
        ("POST", "/api/models/alice/pair/preupload/main", _one_file(path="a", size=1, colour="red"), "colour"),
        ("POST", "/api/models/alice/pair/paths-info/main", {"paths": ["a"]}, "form"),
    ],
)
def test_what_an_endpoint_does_not_know_is_refused_by_name(hub, method, path, body, named):
    hub.create("alice/pair", FILES)
    sent = json.dumps(body).encode() if isinstance(body, dict) else body
    with nothing_changes(hub):
        status, headers, answer = raw(hub, method, path, sent)
    assert status == 400
    assert named in json.loads(answer)["error"]
    assert headers["X-Error-Message"] == json.loads(answer)["error"]
    assert headers["X-Request-Id"] == "request-1"


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (regular("/etc/passwd"), "/etc/passwd"),
        (regular("a/../../b"), "a/../../b"),
        (regular(".git/config"), ".git/config"),
        (regular("a/.GIT/config"), "a/.GIT/config"),
        (regular("a//b"), "a//b"),
        (regular(""), "not a path"),
        (regular("new.txt", mode="755"), '"mode"'),
        (regular("new.txt", encoding="utf-8"), '"encoding"'),
        (("file", {"path": "new.txt", "content": "not base64!", "encoding": "base64"}), '"content"'),
        (regular("new.safetensors"), "large file"),
        (regular("README.md/new.txt"), "inside what is a file"),
        (regular("tasks"), "inside what is a file"),
        (("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}), "was not uploaded"),
        (("lfsFile", {"path": "a.bin", "algo": "md5", "oid": "0" * 64, "size": 1}), '"algo"'),
        (
            ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": hashlib.sha256(WEIGHTS).hexdigest(), "size": 1}),
            "2048 bytes, not 1",
        ),
        (("copyFile", {"path": "a"}), '"copyFile"'),
        (("deletedFile", {"path": "README.md", "force": True}), '"force"'),
    ],
)
def test_a_commit_with_a_line_that_is_wrong_changes_nothing(hub, entry, named):
    hub.create("alice/pair", FILES)
    with nothing_changes(hub):
        status, _, answer = send_commit(hub, regular("good.txt"), entry)
    assert status == 400
    assert named in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"summary": "Change"}, "description"),
        ({"summary": " ", "description": ""}, "summary"),
        ({"summary": "Change", "description": "", "author": "bob"}, "author"),
        ({"summary": "Change", "description": "", "parentCommit": "main"}, "parentCommit"),
    ],
)
def test_a_commit_with_a_wrong_header_changes_nothing(hub, header, named):
    hub.create("alice/pair", FILES)
    with nothing_changes(hub):
        status, _, answer = send_commit(hub, regular("new.txt"), header=header)
    assert status == 400
    assert f'"{named}"' in json.loads(answer)["error"]


def test_one_path_is_written_once_in_a_commit_and_the_header_comes_first(hub):
    hub.create("alice/pair", FILES)
    with nothing_changes(hub):
        assert send_commit(hub, regular("a"), regular("a", b"y"))[0] == 400
        assert send_lines(hub, regular("a"))[0] == 400
        assert raw(hub, "POST", "/api/models/alice/pair/commit/main", {})[0] == 400
        assert send_commit(hub, regular("a"), query="?hot_reload=1")[0] == 400
        assert send_commit(hub, regular("a"), user=None)[0] == 401
        status, headers, _ = raw(hub, "GET", "/api/models/alice/pair", user=None, Authorization="Bearer hf_wrong")
        assert (status, headers["X-Error-Message"]) == (401, "Invalid credentials in Authorization header")
    assert send_commit(hub, ("deletedFolder", {"path": "tasks/ner"}), regular("tasks/ner/new.txt"))[0] == 200
    assert "tasks/ner/results.json" not in hub.files("alice/pair")


def test_a_large_file_counts_when_it_came_whole_and_was_verified(hub):
    hub.create("alice/pair")
    content = b"large"
    oid = hashlib.sha256(content).hexdigest()
    batch = {"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256"}
    batch |= {"objects": [{"oid": oid, "size": 5}], "ref": {"name": "main"}}
    address = "/alice/pair.git/info/lfs/objects/batch"
    entry = ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": oid, "size": 5})

    (announced,) = json.loads(raw(hub, "POST", address, batch)[2])["objects"]
    upload = announced["actions"]["upload"]["href"].removeprefix(hub.endpoint)
    verify = announced["actions"]["verify"]["href"].removeprefix(hub.endpoint)
    assert raw(hub, "PUT", upload, b"larg", user=None)[0] == 400
    assert raw(hub, "PUT", upload, b"LARGE", user=None)[0] == 400
    assert raw(hub, "PUT", upload, content)[0] == 400, "a token was sent to the storage"
    assert raw(hub, "PUT", upload[:-1], content, user=None)[0] == 403
    assert raw(hub, "POST", verify, {"oid": oid, "size": 5})[0] == 404
    assert raw(hub, "PUT", upload, content, user=None)[0] == 200
    assert send_commit(hub, entry)[0] == 400, "it is not verified"
    assert raw(hub, "POST", verify, {"oid": oid, "size": 6})[0] == 400
    assert raw(hub, "POST", verify, {"oid": oid, "size": 5})[0] == 200
    assert send_commit(hub, entry)[0] == 200
    assert hub.read("alice/pair", "a.bin") == content
    assert json.loads(raw(hub, "POST", address, batch)[2])["objects"] == [{"oid": oid, "size": 5}]

    assert raw(hub, "POST", address, {**batch, "transfers": ["multipart"]})[0] == 501
    assert raw(hub, "POST", address, {**batch, "objects": [{"oid": "0", "size": 5}]})[0] == 400
    assert raw(hub, "POST", address, {**batch, "colour": "red"})[0] == 400
    assert raw(hub, "POST", address, batch, user="bob")[0] == 403


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=0-4", 206, b"01234", "bytes 0-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("lines=1-2", 400, None, None),
    ],
)
def test_parts_of_a_file_are_sent_on_request(hub, asked, status, content, told):
    hub.create("alice/pair", {"digits.bin": b"0123456789"})
    found, headers, body = raw(hub, "GET", "/alice/pair/resolve/main/digits.bin", user=None, Range=asked)
    assert (found, headers["Content-Range"]) == (status, told)
    assert content in (None, body)


def test_an_endpoint_that_is_not_served_is_named_and_remembered(hub):
    for method, path in (("GET", "/api/datasets/alice/words"), ("PATCH", "/api/models/alice/pair")):
        status, _, answer = raw(hub, method, path)
        assert status == 501
        assert f"{method} {path}" in json.loads(answer)["error"]
    assert hub.unknown == ["GET /api/datasets/alice/words", "PATCH /api/models/alice/pair"]
    hub.unknown.clear()


def test_revisions_and_paths_with_special_signs_are_told_apart_from_their_separators(hub, tmp_path):
    hub.create("alice/pair", {"a b/c#d?e%.txt": b"odd"})
    api = client(hub, "alice")
    api.create_branch("alice/pair", branch="with/slash")
    for revision in ("main", "with/slash"):
        place = {"revision": revision, "cache_dir": tmp_path}
        with open(api.hf_hub_download("alice/pair", "a b/c#d?e%.txt", **place), "rb") as file:
            assert file.read() == b"odd"
        (entry,) = api.list_repo_tree("alice/pair", "a b", revision=revision)
        assert entry.path == "a b/c#d?e%.txt"
    path = f"/api/models/alice/pair/paths-info/{quote('with/slash', safe='')}"
    form = urlencode({"paths": "a b/c#d?e%.txt"}).encode()
    answer = raw(hub, "POST", path, form, content_type="application/x-www-form-urlencoded")[2]
    assert [entry["size"] for entry in json.loads(answer)] == [3]


def test_a_repository_is_made_of_a_folder(hub, tmp_path):
    repository = hub.create("lab/pair", write(tmp_path / "pair", FILES), private=True, author="alice")
    assert own(hub.files("lab/pair")) == FILES
    assert [commit.author for commit in hub.commits("lab/pair")] == ["alice", "alice"]
    large = [path for path, file in sorted(repository.resolve("main").tree.items()) if file.lfs]
    assert large == ["model.safetensors", "tasks/ner/delta.safetensors"]
    with pytest.raises(ValueError, match="already"):
        hub.create("lab/pair")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b/c", "b/d/e", "w.bin"]), st.binary(max_size=4), min_size=1)))
def test_every_commit_keeps_the_files_that_it_had(steps):
    with HubServer() as hub:
        hub.create("alice/pair")
        expected, kept = {}, {}
        for step in steps:
            # An empty content stands for removal, of what is there.
            changes = {path: content or None for path, content in step.items() if content or path in expected}
            oid = hub.commit("alice/pair", changes)
            expected = {path: content for path, content in {**expected, **changes}.items() if content is not None}
            kept[oid] = expected
        assert {oid: own(hub.files("alice/pair", oid)) for oid in kept} == kept
        assert [commit.oid for commit in hub.commits("alice/pair")][:-1] == list(reversed(kept))


def test_the_journal_has_every_request_without_its_token(hub):
    hub.create("alice/pair", FILES)
    client(hub, "alice").model_info("alice/pair", files_metadata=True)
    HfApi(endpoint=hub.endpoint, token=hub.user("bob").read_token).list_repo_refs("alice/pair")
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub.endpoint, token="hf_unheardof").model_info("alice/pair")
    send_commit(hub, regular("new.txt"))
    shown = [(entry.method, entry.path, entry.query, entry.status) for entry in hub.journal.exchanges]
    assert shown == [
        ("GET", "/api/models/alice/pair", (("blobs", "true"),), 200),
        ("GET", "/api/models/alice/pair/refs", (), 200),
        ("GET", "/api/models/alice/pair", (), 401),
        ("POST", "/api/models/alice/pair/commit/main", (), 200),
    ]
    users = [entry.headers["authorization"] for entry in hub.journal.exchanges]
    assert users == ["Bearer <alice>", "Bearer <bob>", "Bearer <unknown>", "Bearer <alice>"]
    assert hub.journal.exchanges[-1].body_size == len(hub.journal.exchanges[-1].raw["body"]) > 0
    text = repr(hub.journal.exchanges)
    assert not any(secret in text for secret in (hub.user("alice").token, hub.user("bob").read_token, "hf_unheardof"))


def test_a_token_that_went_where_it_should_not_is_found(hub):
    hub.create("alice/pair", FILES)
    token = hub.user("alice").token
    api = client(hub, "alice")
    api.create_commit("alice/pair", additions({"a.txt": b"nothing"}), commit_message="Clean")
    assert hub.leaks(token) == []
    for offset in range(3):
        send_commit(hub, regular(f"{offset}.txt", b"-" * offset + token.encode() + b"."))
        assert f"alice/pair: file {offset}.txt" in hub.leaks(token)
    assert len([place for place in hub.leaks(token) if place.endswith("commit/main: body")]) == 3
    raw(hub, "GET", "/api/models/alice/pair", **{"X-Note": token})
    assert hub.leaks(token)[3].endswith("GET /api/models/alice/pair: header x-note")
    assert token not in repr(hub.journal.exchanges)
    api.create_discussion("alice/pair", "Title", description=f"my token is {token}")
    assert hub.leaks(token)[-1] == "alice/pair: discussion 1"
    assert hub.leaks(hub.user("bob").token) == []
