"""Faults that a test asks for: what goes wrong at which request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

from .wire import Answer

Moment = Literal["before_body", "after_body", "before_answer"]


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong once, at the `nth` request that fits.

    Attributes:
        method: The request's method.
        pattern: A regular expression that is found in the request's path, as it was sent (still percent-encoded).
        nth: At which of the fitting requests, counted from 1 after the fault was asked for.
        answer: What is answered instead.
        drop: When the connection is closed instead: before the request's body is read, after, or when the request was
            done but nothing of the answer has been sent.
        cut: After how many bytes of the body of the ordinary answer the connection is closed.
        action: Called before the request is dealt with as usual.
        seen: How many requests have fitted so far.
        happened: Whether it has gone wrong.
    """

    method: str
    pattern: str
    nth: int = 1
    answer: Answer | None = None
    drop: Moment | None = None
    cut: int | None = None
    action: Callable[[], object] | None = None
    seen: int = 0
    happened: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.pattern} (number {self.nth}, {self.seen} came)"


@dataclass
class Faults:
    """All faults of a server; tests ask for them by the methods below."""

    _faults: list[Fault] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def _add(self, fault: Fault) -> Fault:
        if fault.nth < 1:
            raise ValueError(f"requests are counted from 1, not {fault.nth}")
        re.compile(fault.pattern)
        with self._lock:
            self._faults.append(fault)
        return fault

    def answer(
        self,
        method: str,
        pattern: str,
        status: int,
        *,
        nth: int = 1,
        message: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Fault:
        """Answer with a status instead of doing what was asked.

        Args:
            method: The request's method.
            pattern: A regular expression to find in its path.
            status: For example 429 (with `headers={"Retry-After": "0"}`), 401, 403, 404, 409, 412, 413, 500, 503.
            nth: At which fitting request.
            message: The header `X-Error-Message`, and `error` in the body if no body is given.
            code: The header `X-Error-Code`.
            headers: More headers.
            body: Bytes as they are, anything else as JSON.
        """
        sent = {"X-Error-Message": message} if message else {}
        if code is not None:
            sent["X-Error-Code"] = code
        sent |= headers or {}
        if not isinstance(body, bytes):
            sent = {"Content-Type": "application/json; charset=utf-8", **sent}
            body = json.dumps({"error": message or f"fault {status}"} if body is None else body).encode()
        return self._add(Fault(method=method, pattern=pattern, nth=nth, answer=Answer(status, body, sent)))

    def drop(self, method: str, pattern: str, when: Moment, *, nth: int = 1) -> Fault:
        """Close the connection; with `before_answer` the request is done, and its answer lost."""
        return self._add(Fault(method=method, pattern=pattern, nth=nth, drop=when))

    def cut(self, method: str, pattern: str, keep: int, *, nth: int = 1) -> Fault:
        """Close the connection after so many bytes of the answer's body, whose length was announced in full."""
        return self._add(Fault(method=method, pattern=pattern, nth=nth, cut=keep))

    def before(self, method: str, pattern: str, action: Callable[[], object], *, nth: int = 1) -> Fault:
        """Let something happen first, for example somebody else's commit, and then do what was asked."""
        return self._add(Fault(method=method, pattern=pattern, nth=nth, action=action))

    def due(self, method: str, path: str) -> list[Fault]:
        """The faults that go wrong at this request, which is counted."""
        with self._lock:
            found = []
            for fault in self._faults:
                if fault.method == method and re.search(fault.pattern, path):
                    fault.seen += 1
                    if fault.seen == fault.nth:
                        fault.happened = True
                        found.append(fault)
            return found

    def waiting(self) -> list[Fault]:
        """Those that have not happened yet: a test that asked for them did not do what it meant to."""
        with self._lock:
            return [fault for fault in self._faults if not fault.happened]
