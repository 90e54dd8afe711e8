"""A Hub on this machine that takes uploads: just enough of its interface for one repository and one commit."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "b" * 40


class StubHub:
    """Collects what is committed; use it as a context manager.

    Attributes:
        files: Content by path, of the one repository.
        endpoint: Its address, for `HF_ENDPOINT`.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StubHub:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: bytes) -> dict[str, object]:
        """Do what a request asks for."""
        if path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if path.endswith("/commit/main"):
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return {"commitUrl": f"{self.endpoint}/org/pair/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
        if path.endswith("/repos/create"):
            return {"url": f"{self.endpoint}/org/pair"}
        if path.endswith("/validate-yaml"):
            return {"errors": [], "warnings": []}
        return {"id": "org/pair", "sha": COMMIT, "siblings": [], "private": False, "xetEnabled": False}


def _handler(hub: StubHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._reply(hub.answer(self.path.partition("?")[0], body))

        def do_GET(self) -> None:
            self._reply(hub.answer(self.path.partition("?")[0], b""))

        def _reply(self, content: dict[str, object]) -> None:
            sent = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
