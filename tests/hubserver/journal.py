"""The record of all requests, and the search for secrets in it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock


@dataclass(kw_only=True)
class Exchange:
    """A request and what became of it.

    Attributes:
        number: Its place in the order of arrival, from 1.
        method: GET, POST, ...
        path: As it was sent, still percent-encoded, without the query.
        query: Name and value of each query parameter, in order.
        headers: By lower-case name; a known token is replaced by its user's name: `Bearer <alice>`.
        body_size: Bytes of its body.
        status: Of the answer; None if the connection was closed instead.
        raw: All that came, for the search; not shown, as it holds the token.
    """

    number: int
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body_size: int = 0
    status: int | None = None
    raw: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status}"


@dataclass
class Journal:
    """All exchanges of a server, in order of arrival."""

    exchanges: list[Exchange] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def begin(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...],
        headers: Mapping[str, str],
        raw: Mapping[str, bytes],
    ) -> Exchange:
        """Enter a request whose body has not been read yet."""
        with self._lock:
            number = len(self.exchanges) + 1
            exchange = Exchange(number=number, method=method, path=path, query=query, headers=headers, raw=raw)
            self.exchanges.append(exchange)
            return exchange

    def matching(self, method: str, pattern: str = "") -> list[Exchange]:
        """The exchanges with this method in whose path the regular expression is found."""
        with self._lock:
            return [entry for entry in self.exchanges if entry.method == method and re.search(pattern, entry.path)]


def spellings(secret: str) -> list[bytes]:
    """A secret as it is and in base64, in which it looks different at each of three offsets.

    At the edges of the encoded form a character is made of the secret and of what stands beside it; it is left out.
    """
    found = [secret.encode()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode())
        start, end = -(-offset * 8 // 6), (offset + len(secret.encode())) * 8 // 6
        found.append(encoded[start:end])
    return found
