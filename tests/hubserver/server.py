"""The server: HTTP on 127.0.0.1 in front of the store, and what tests ask of both."""

from __future__ import annotations

import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import RLock, Thread
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode

from . import endpoints  # noqa: F401 - enters the endpoints into the table
from .accounts import Accounts, Identity, Role, User
from .faults import Faults
from .journal import Exchange, Journal, spellings
from .objects import Commit, File
from .repositories import LFS_PATTERNS, LFS_THRESHOLD, MAIN, Clock, Put, Repository, as_changes, gitattributes
from .wire import Answer, Refusal, Request, dispatch


class HubServer:
    """A Hub; use it as a context manager.

    Args:
        lfs_patterns: What a new repository's `.gitattributes` declares to be large files.
        lfs_threshold: Bytes above which a file is large whatever it is called.
        page_size: Entries on a page of a list.

    Attributes:
        endpoint: Its address.
        accounts: Users and organisations.
        repositories: By id.
        faults: What is to go wrong.
        journal: What was asked.
        unknown: Requests for endpoints that are not served.
        defects: Errors of the server itself, as text; there must be none, and leaving the context says so.
        lock: Held while a request is dealt with.
    """

    def __init__(
        self,
        *,
        lfs_patterns: Sequence[str] = LFS_PATTERNS,
        lfs_threshold: int = LFS_THRESHOLD,
        page_size: int = 1000,
    ) -> None:
        self.accounts = Accounts()
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.journal = Journal()
        self.unknown: list[str] = []
        self.defects: list[str] = []
        self.lock = RLock()
        self.page_size = page_size
        self._clock = Clock()
        self._lfs_patterns = tuple(lfs_patterns)
        self._lfs_threshold = lfs_threshold
        self._http = _HttpServer(self)
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> HubServer:
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        if error is None and self.defects:
            raise AssertionError("the server itself failed:\n" + "\n".join(self.defects))

    # What tests prepare.

    def user(self, name: str) -> User:
        """The user of this name, who is entered at the first call."""
        return self.accounts.user(name)

    def organization(self, name: str, **members: Role) -> None:
        """Enter an organisation with its members: `hub.organization("lab", alice="write", bob="read")`."""
        for member in members:
            self.user(member)
        self.accounts.organizations[name] = dict(members)

    def create(
        self,
        id: str,
        files: Mapping[str, bytes] | Path | None = None,
        *,
        private: bool = False,
        author: str | None = None,
    ) -> Repository:
        """Make a repository, with the Hub's first commit, and a second one for the files.

        Args:
            id: `namespace/name`.
            files: Contents by path, or a folder to take them from.
            private: Whether only its namespace's people see it.
            author: Who makes the commits; its namespace if left out.
        """
        with self.lock:
            if id in self.repositories:
                raise ValueError(f"there is a repository {id} already")
            created = self._clock()
            repository = Repository(
                id=id, clock=self._clock, created=created, private=private, lfs_threshold=self._lfs_threshold
            )
            author = author or repository.namespace
            first = Put(".gitattributes", File(gitattributes(self._lfs_patterns)))
            repository.add_commit(MAIN, [first], title="initial commit", author=author)
            self.repositories[id] = repository
            if isinstance(files, Path):
                folder = files
                found = sorted(path for path in folder.rglob("*") if path.is_file())
                files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
            if files is not None:
                self.commit(id, files, author=author)
            return repository

    def commit(
        self,
        id: str,
        files: Mapping[str, bytes | None],
        *,
        revision: str = "main",
        title: str = "Change files",
        author: str | None = None,
    ) -> str:
        """Make a commit past the client, as somebody else would; None removes a file. Returns its name."""
        with self.lock:
            repository = self.repositories[id]
            ref = repository.writable(revision)
            changes = as_changes(repository, files, repository.commits[repository.refs[ref]].tree)
            return repository.add_commit(ref, changes, title=title, author=author or repository.namespace).oid

    # What tests look at.

    def files(self, id: str, revision: str = "main") -> dict[str, bytes]:
        """All contents of a revision by path."""
        with self.lock:
            tree = self.repositories[id].resolve(revision).tree
            return {path: file.content for path, file in sorted(tree.items())}

    def read(self, id: str, path: str, revision: str = "main") -> bytes:
        """The content of a file."""
        return self.files(id, revision)[path]

    def commits(self, id: str, revision: str = "main") -> list[Commit]:
        """The commits up to a revision, the newest first."""
        with self.lock:
            repository = self.repositories[id]
            return list(repository.history(repository.resolve(revision)))

    def state(self) -> dict[str, Any]:
        """All that visitors could see, to be compared with what it was before."""
        with self.lock:
            return {id: repository.state() for id, repository in self.repositories.items()}

    def leaks(self, secret: str) -> list[str]:
        """Where a token occurs other than as `Authorization: Bearer ...`: in requests, and in what is stored.

        It is looked for in base64 too, as files are committed in it.
        """
        wanted = spellings(secret)
        found = []
        with self.lock:
            for exchange in self.journal.exchanges:
                for place, content in exchange.raw.items():
                    meant = place == "header authorization" and content == f"Bearer {secret}".encode()
                    if not meant and any(spelling in content for spelling in wanted):
                        found.append(f"request {exchange.number}, {exchange.method} {exchange.path}: {place}")
            for repository in self.repositories.values():
                found += [f"{repository.id}: {place}" for place, text in _stored(repository) if wanted[0] in text]
        return found

    # What the endpoints and the connections need.

    def page(self, request: Request, entries: Sequence[Any]) -> Answer:
        """A part of a list, and in the header `Link` the address of the next part.

        Client: `huggingface_hub.utils.paginate`, which takes the address as it is given.
        """
        start = request.number("cursor", 0)
        end = start + (request.number("limit", self.page_size) or self.page_size)
        headers = {}
        if end < len(entries):
            query = [(name, value) for name, value in request.query if name != "cursor"]
            address = f"{self.endpoint}{request.path}?{urlencode([*query, ('cursor', end)])}"
            headers["Link"] = f'<{address}>; rel="next"'
        return Answer.json(entries[start:end], headers=headers)

    def handle(self, request: Request, authorization: str | None) -> Answer:
        """Answer a request."""
        with self.lock:
            try:
                sender = self._sender(authorization)
                answer = dispatch(self, replace(request, sender=sender))
            except Refusal as refusal:
                return refusal.answer()
            except Exception:
                self.defects.append(traceback.format_exc())
                return Refusal(500, "the server itself failed").answer()
            if answer is None:
                self.unknown.append(f"{request.method} {request.path}")
                return Refusal(501, f"there is no endpoint {request.method} {request.path}").answer()
            return answer

    def _sender(self, authorization: str | None) -> Identity | None:
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        sender = self.accounts.identify(token) if scheme == "Bearer" else None
        if sender is None:
            # The client tells this text from the 401 of a hidden repository (hf_raise_for_status).
            message = "Invalid credentials in Authorization header"
            raise Refusal(401, message, headers={"WWW-Authenticate": "Bearer"})
        return sender

    def redacted(self, name: str, value: str) -> str:
        """A header's value with the name of the user in place of a token."""
        if name == "authorization":
            scheme, _, token = value.partition(" ")
            sender = self.accounts.identify(token)
            return f"{scheme} <{sender.name if sender else 'unknown'}>"
        for user in self.accounts.users.values():
            value = value.replace(user.token, f"<{user.name}>").replace(user.read_token, f"<{user.name}>")
        return value


def _stored(repository: Repository) -> list[tuple[str, bytes]]:
    """Everything that a repository holds, with where it is."""
    found = [(f"reference {ref}", ref.encode()) for ref in repository.refs]
    files: dict[str, tuple[str, bytes]] = {}
    for commit in repository.commits.values():
        found.append((f"message of {commit.oid}", commit.text))
        files |= {file.oid: (path, file.content) for path, file in commit.tree.items()}
        found += [(f"path {path}", path.encode()) for path in commit.tree]
    found += [(f"file {path}", content) for path, content in files.values()]
    for num, discussion in repository.discussions.items():
        found.append((f"discussion {num}", f"{discussion.title} {discussion.events}".encode()))
    return found


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: HubServer) -> None:
        self.hub = hub
        self._open: set[socket.socket] = set()
        self._open_lock = RLock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Close what clients keep open for their next request."""
        with self._open_lock:
            for connection in self._open:
                _hang_up(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nobody's fault; anything else is the server's."""
        text = traceback.format_exc()
        if not isinstance(sys.exception(), ConnectionError):
            self.hub.defects.append(text)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was first


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, lets the faults happen, writes answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece
    server: _HttpServer

    def _serve(self) -> None:
        hub = self.server.hub
        path, _, query = self.path.partition("?")
        exchange = self._begin(path, tuple(parse_qsl(query, keep_blank_values=True)))
        faults = hub.faults.due(self.command, path)
        if any(fault.drop == "before_body" for fault in faults):
            return self._drop()
        body = self._body()
        exchange.body_size = len(body)
        exchange.raw = {**exchange.raw, "body": body}
        if any(fault.drop == "after_body" for fault in faults):
            return self._drop()
        for fault in faults:
            if fault.action is not None:
                fault.action()
        answer = next((fault.answer for fault in faults if fault.answer is not None), None)
        if answer is None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(method=self.command, path=path, query=exchange.query, headers=headers, body=body)
            answer = hub.handle(request, self.headers.get("Authorization"))
        if any(fault.drop == "before_answer" for fault in faults):
            return self._drop()
        exchange.status = answer.status
        keep = min((fault.cut for fault in faults if fault.cut is not None), default=None)
        return self._send(answer, exchange.number, keep)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _serve

    def _begin(self, path: str, query: tuple[tuple[str, str], ...]) -> Exchange:
        hub = self.server.hub
        raw = {"address": self.path.encode()}
        raw |= {f"header {name.lower()}": value.encode() for name, value in self.headers.items()}
        shown = {name.lower(): hub.redacted(name.lower(), value) for name, value in self.headers.items()}
        return hub.journal.begin(self.command, path, query, shown, raw)

    def _body(self) -> bytes:
        """The request's body, whichever way its length is told (RFC 9112, section 6)."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _drop(self) -> None:
        self.close_connection = True
        _hang_up(self.connection)

    def _send(self, answer: Answer, number: int, keep: int | None) -> None:
        self.send_response(answer.status)
        headers = {"X-Request-Id": f"request-{number}", "Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if keep is None else answer.body[:keep])
        self.wfile.flush()
        if keep is not None:
            self._drop()

    def log_message(self, *_: object) -> None:
        """Say nothing: the journal has it."""
