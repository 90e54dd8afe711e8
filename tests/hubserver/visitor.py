"""What tests do to the server: with the client, and past it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from .client import connect
from .server import HubServer

if TYPE_CHECKING:
    import pytest
    from huggingface_hub import CommitOperationAdd, HfApi

Line = tuple[str, dict[str, Any]]
"""A line of a commit: its key and its value."""


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, home: Path, **options: Any) -> Iterator[HubServer]:
    """A server to which this process's client is connected.

    At the end no endpoint must have been missing, and all faults that were asked for must have happened.

    Args:
        monkeypatch: The test's.
        home: Folder for the client's caches.
        **options: For `HubServer`.
    """
    with HubServer(**options) as hub:
        connect(monkeypatch, hub, home)
        yield hub
        assert not hub.unknown, f"endpoints that are not served: {hub.unknown}"
        waiting = [str(fault) for fault in hub.faults.waiting()]
        assert not waiting, f"faults still waiting: {waiting}"


def client(hub: HubServer, name: str | None) -> HfApi:
    """The client with a user's token, or with none."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.endpoint, token=hub.user(name).token if name else False)


def additions(files: Mapping[str, bytes]) -> list[CommitOperationAdd]:
    """Operations that add files; the client changes them, so they serve for one commit."""
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path, content) for path, content in files.items()]


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, and return it."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def own(files: Mapping[str, Any]) -> dict[str, Any]:
    """What a repository holds beside the file that every new one has."""
    return {path: content for path, content in files.items() if path != ".gitattributes"}


@contextmanager
def nothing_changes(hub: HubServer) -> Iterator[None]:
    """Assert that what visitors see is the same afterwards."""
    before = hub.state()
    yield
    after = hub.state()
    assert after == before, f"it was {before}\nit is {after}"


def raw(
    hub: HubServer,
    method: str,
    path: str,
    body: bytes | dict[str, Any] | None = None,
    *,
    user: str | None = "alice",
    content_type: str = "application/json",
    **headers: str,
) -> tuple[int, Message, bytes]:
    """A request without the client: status, headers and body of the answer."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    if user:
        headers["Authorization"] = f"Bearer {hub.user(user).token}"
    request = Request(hub.endpoint + path, body, {"Content-Type": content_type, **headers}, method=method)
    try:
        with urlopen(request) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        return error.code, error.headers, error.read()


def regular(path: str, content: bytes = b"x", **fields: str) -> Line:
    """The line of a commit that adds a regular file."""
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64", **fields}


def send_lines(hub: HubServer, *lines: Line, user: str | None = "alice", query: str = "") -> tuple[int, Message, bytes]:
    """A commit to `alice/pair` without the client, of these lines."""
    body = b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in lines)
    path = f"/api/models/alice/pair/commit/main{query}"
    return raw(hub, "POST", path, body, user=user, content_type="application/x-ndjson")


def send_commit(
    hub: HubServer,
    *lines: Line,
    header: dict[str, str] | None = None,
    user: str | None = "alice",
    query: str = "",
) -> tuple[int, Message, bytes]:
    """A commit to `alice/pair` without the client: a header and these lines."""
    header = header or {"summary": "Change", "description": ""}
    return send_lines(hub, ("header", header), *lines, user=user, query=query)
