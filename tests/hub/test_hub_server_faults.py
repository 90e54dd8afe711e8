"""What goes wrong on demand in the server of these tests, and what the client and the remote make of it."""

import time

import httpx2
import pytest
from hubserver.visitor import (
    additions,
    client,
    nothing_changes,
    own,
    serving,
)
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

CARD = b"---\nlicense: mit\nlanguage:\n- en\n- sw\ntags:\n- bistill\n---\n# A pair\n"
WEIGHTS = bytes(range(256)) * 8
FILES = {
    "README.md": CARD,
    "model.safetensors": WEIGHTS,
    "tasks/ner/delta.safetensors": b"a delta",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server


@pytest.fixture
def naps(monkeypatch):
    """How long the client would have waited before it tried again."""
    found = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


STEPS = {
    "card": ("POST", "/validate-yaml"),
    "modes": ("POST", "/preupload/"),
    "batch": ("POST", "/batch$"),
    "put": ("PUT", "/storage/"),
    "verify": ("POST", "/verify$"),
    "commit": ("POST", "/commit/"),
}


@pytest.mark.parametrize("status", [401, 403, 404, 409, 413])
@pytest.mark.parametrize("step", STEPS)
def test_a_push_that_is_refused_at_any_step_leaves_the_remote_as_it_was(hub, step, status):
    hub.create("alice/pair", {"README.md": CARD})
    hub.faults.answer(*STEPS[step], status, message="because of the test")
    with nothing_changes(hub), pytest.raises((HfHubHTTPError, RuntimeError)) as raised:
        client(hub, "alice").create_commit("alice/pair", additions(FILES), commit_message="Push")
    assert "because of the test" in str(raised.value) + str(raised.value.__cause__)


@pytest.mark.parametrize("moment", ["before_body", "after_body"])
@pytest.mark.parametrize("step", ["card", "commit"])
def test_a_connection_that_breaks_where_the_client_does_not_try_again_leaves_the_remote_as_it_was(hub, step, moment):
    hub.create("alice/pair", {"README.md": CARD})
    hub.faults.drop(*STEPS[step], moment)
    with nothing_changes(hub), pytest.raises(httpx2.TransportError):
        client(hub, "alice").create_commit("alice/pair", additions(FILES), commit_message="Push")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("step", ["modes", "batch", "put", "verify"])
def test_the_client_tries_again_where_it_is_told_to(hub, naps, step, status):
    hub.create("alice/pair")
    hub.faults.answer(*STEPS[step], status, headers={"Retry-After": "7"})
    client(hub, "alice").create_commit("alice/pair", additions(FILES), commit_message="Push", num_threads=1)
    assert own(hub.files("alice/pair")) == FILES
    assert len(hub.commits("alice/pair")) == 2
    assert naps == [8.0]


@pytest.mark.parametrize("step", ["modes", "batch", "verify"])
def test_a_request_that_breaks_off_is_sent_again(hub, naps, step):
    hub.create("alice/pair")
    hub.faults.drop(*STEPS[step], "after_body")
    client(hub, "alice").create_commit("alice/pair", additions(FILES), commit_message="Push", num_threads=1)
    assert own(hub.files("alice/pair")) == FILES
    assert naps == [1]


def test_a_commit_whose_answer_is_lost_is_made_all_the_same(hub):
    hub.create("alice/pair")
    hub.faults.drop(*STEPS["commit"], "before_answer")
    with pytest.raises(httpx2.TransportError):
        client(hub, "alice").create_commit("alice/pair", additions(FILES), commit_message="Push")
    assert own(hub.files("alice/pair")) == FILES
    assert len(hub.commits("alice/pair")) == 2


def test_a_download_that_is_cut_is_resumed_where_it_stopped(hub, naps, monkeypatch, tmp_path):
    hub.create("alice/pair", FILES)
    hub.faults.cut("GET", "/resolve/.*/model.safetensors", 1000)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # less than this is not kept
    file = hf_hub_download("alice/pair", "model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path)
    with open(file, "rb") as opened:
        assert opened.read() == WEIGHTS
    ranges = [entry.headers.get("range") for entry in hub.journal.matching("GET", "model.safetensors")]
    assert ranges == [None, "bytes=1000-"]


def test_the_nth_request_fails_and_no_other(hub):
    hub.create("alice/pair", FILES)
    api = client(hub, None)
    hub.faults.answer("GET", "/api/models/alice/pair$", 503, nth=2, body={"error": "later"})
    assert api.model_info("alice/pair").id == "alice/pair"
    with pytest.raises(HfHubHTTPError, match="later"):
        api.model_info("alice/pair")
    assert api.model_info("alice/pair").id == "alice/pair"
    waiting = hub.faults.answer("GET", "/never", 500)
    assert hub.faults.waiting() == [waiting]
    waiting.happened = True


def test_a_fault_that_did_not_happen_is_told(monkeypatch, tmp_path):
    with pytest.raises(AssertionError, match="waiting"), serving(monkeypatch, tmp_path) as server:
        server.faults.drop("GET", "/never", "after_body")


def test_faults_are_checked_when_they_are_asked_for(hub):
    with pytest.raises(ValueError, match="counted from 1"):
        hub.faults.answer("GET", "/", 500, nth=0)
    assert hub.faults.waiting() == []


def _ask_a_broken_server(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path) as hub:
        hub.create("alice/pair")
        monkeypatch.setattr(hub.repositories["alice/pair"], "resolve", None)
        with pytest.raises(HfHubHTTPError, match="500"):
            client(hub, None).model_info("alice/pair")


def test_a_failure_of_the_server_itself_does_not_pass_unnoticed(monkeypatch, tmp_path):
    with pytest.raises(AssertionError, match="the server itself failed"):
        _ask_a_broken_server(monkeypatch, tmp_path)


def test_a_server_that_stopped_keeps_no_connection_open(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path) as hub:
        hub.create("alice/pair")
        api = client(hub, None)
        assert api.model_info("alice/pair").id == "alice/pair"
    with pytest.raises(httpx2.TransportError):
        api.model_info("alice/pair")
