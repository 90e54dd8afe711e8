"""A command without a network says so at once; a connection that breaks later is tried again as ever."""

import os
import socket
import time
from types import SimpleNamespace

import httpx2
import pytest
from fresh import run_fresh
from hubserver.client import environment
from hubserver.server import HubServer
from huggingface_hub.errors import OfflineModeIsEnabled

from bistill_hub import first_contact
from bistill_hub.first_contact import FirstContact, NoConnectionError
from bistill_hub.hub.refusals import NoAnswerError, explained

COMMAND = "from bistill_hub.cli import main\nmain(WORDS, prog_name='bistill')"


@pytest.fixture
def nowhere():
    """Address of a port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def online(monkeypatch):
    """The client in this process may ask whoever answers on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when it is told to."""
    now = [100.0]
    monkeypatch.setattr(first_contact, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_server_that_was_never_reached_is_given_up_and_soon_not_tried_again(nowhere, online, clock, monkeypatch):
    contact, tried = FirstContact(), []
    real = httpx2.Client.send
    monkeypatch.setattr(httpx2.Client, "send", lambda *args, **kwargs: tried.append(1) or real(*args, **kwargs))
    with contact.client() as client:
        for _ in range(2):
            with pytest.raises(NoConnectionError, match=f"no connection to {nowhere.removeprefix('http://')}: "):
                client.get(nowhere)
        assert len(tried) == 1
        clock[0] += 31
        with pytest.raises(NoConnectionError), client.stream("GET", nowhere):
            pass
        assert len(tried) == 2


def test_a_server_that_was_reached_is_not_given_up(online):
    contact = FirstContact()
    with HubServer() as hub, contact.client() as client:
        assert client.get(f"{hub.endpoint}/api/models").status_code == 200
    with contact.client() as client, pytest.raises(httpx2.ConnectError):
        client.get(f"{hub.endpoint}/api/models")


def test_a_server_that_does_not_accept_is_waited_for_some_seconds(online, monkeypatch):
    limits = {}

    def send(client, request, **options):
        limits[request.url.path] = request.extensions["timeout"]["connect"]
        return httpx2.Response(200, request=request)

    monkeypatch.setattr(httpx2.Client, "send", send)
    for name, seconds in (("/unlimited", None), ("/less", 3.0), ("/more", 60.0)):
        FirstContact().client().get(f"http://hub.test{name}", timeout=seconds)
    assert limits == {"/unlimited": 10.0, "/less": 3.0, "/more": 10.0}


def test_offline_mode_is_no_missing_network(nowhere, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with FirstContact().client() as client, pytest.raises(OfflineModeIsEnabled) as refused:
        client.get(nowhere)
    assert not isinstance(refused.value, NoConnectionError)


def test_a_version_that_makes_its_client_otherwise_keeps_it(monkeypatch):
    monkeypatch.setattr(first_contact, "set_client_factory", lambda factory: pytest.fail("it has been replaced"))
    monkeypatch.delattr("huggingface_hub.utils._http.default_client_factory")
    first_contact.give_up_early()


def test_it_is_explained_as_a_missing_network_and_not_as_offline_mode():
    said = r"no connection to hub\.test: no route.*See to the network"
    with pytest.raises(NoAnswerError, match=said), explained("org/pair"):
        raise NoConnectionError("no connection to hub.test: no route")


@pytest.mark.parametrize(
    "words",
    [
        ["pairs"],
        ["check", "org/pair"],
        ["inspect", "org/teacher", "--source=en", "--target=sw", "--corpus=en=en.txt", "--corpus=sw=en.txt"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_says_so_without_trying_for_long(nowhere, tmp_path, words):
    (tmp_path / "en.txt").write_text("Juma lives in Nairobi .\n")
    settings = environment(SimpleNamespace(endpoint=nowhere), tmp_path / "home")
    done = run_fresh(f"WORDS = {words!r}\n{COMMAND}", env={**os.environ, **settings}, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (said,) = done.stderr.strip().splitlines()
    assert "network" in said
    assert "Retrying" not in done.stderr


def test_what_is_in_the_cache_serves_without_a_network(nowhere, tiny_teacher_dirs, text_files, tmp_path):
    folder = tmp_path / "home" / "hub" / "models--org--teacher"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / ("a" * 40)).symlink_to(tiny_teacher_dirs["bert"], target_is_directory=True)
    words = ["inspect", "org/teacher", "--source=en", "--target=sw", "--no-picture", "--quiet"]
    words += [f"--corpus={code}={file}" for code, file in text_files.items()]
    settings = environment(SimpleNamespace(endpoint=nowhere), tmp_path / "home")
    begin = time.monotonic()
    done = run_fresh(f"WORDS = {words!r}\n{COMMAND}", env={**os.environ, **settings}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "student, LRF 2" in done.stdout
    assert time.monotonic() - begin < 60
