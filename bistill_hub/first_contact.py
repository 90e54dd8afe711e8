"""A client for the Hub that gives up at once where there is no network, in the place of one that tries for long.

huggingface_hub tries each request six times, for half a minute, and several requests one after the other. That is right
for a connection that breaks, and not for one that there never was. It is the commands that use this client: a program
that imports the package keeps the client that it has.
"""

from __future__ import annotations

import time
from typing import Any

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled

CONNECT_SECONDS = 10.0
"""How long a server may take to accept the first connection."""

_REMEMBERED_SECONDS = 30.0
"""How long a server that could not be reached is not tried again."""


class NoConnectionError(OfflineModeIsEnabled):
    """There is no way to a server, and there was none before.

    A kind of the error for offline mode: whoever asks for a file then takes the one in the cache.
    """


class FirstContact:
    """Makes clients that share what they know of each server: whether it was reached, and when it could not be."""

    def __init__(self) -> None:
        self._reached: set[bytes] = set()
        self._failed: dict[bytes, tuple[float, str]] = {}

    def client(self) -> httpx2.Client:
        """Make a client with the settings of huggingface_hub's own."""
        from huggingface_hub.utils._http import default_client_factory  # no part of its interface: see `give_up_early`

        with default_client_factory() as usual:
            return _Client(
                self, event_hooks=usual.event_hooks, follow_redirects=usual.follow_redirects, timeout=usual.timeout
            )

    def known(self, server: bytes) -> bool:
        """Whether a server was reached before.

        Raises:
            NoConnectionError: it could not be, a moment ago.
        """
        if server in self._reached:
            return True
        when, reason = self._failed.get(server, (0.0, ""))
        if reason and time.monotonic() - when < _REMEMBERED_SECONDS:
            raise NoConnectionError(reason)
        return False

    def succeeds(self, server: bytes) -> None:
        """Note that a server was reached: from now on, requests to it are tried again as ever."""
        self._reached.add(server)

    def fails(self, server: bytes, error: Exception) -> NoConnectionError:
        """Note that a server could not be reached, and return what to raise."""
        reason = f"no connection to {server.decode()}: {error or type(error).__name__}"
        self._failed[server] = (time.monotonic(), reason)
        return NoConnectionError(reason)


class _Client(httpx2.Client):
    """A client that tells apart a first connection that fails from a later one."""

    def __init__(self, contact: FirstContact, **settings: Any) -> None:
        super().__init__(**settings)
        self._contact = contact

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request; of the first one to a server a failure to connect is final."""
        server = request.url.netloc
        if self._contact.known(server):
            return super().send(request, **options)
        limits = request.extensions.get("timeout") or {}
        connect = min(limits.get("connect") or CONNECT_SECONDS, CONNECT_SECONDS)
        request.extensions = {**request.extensions, "timeout": {**limits, "connect": connect}}
        try:
            response = super().send(request, **options)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise self._contact.fails(server, error) from error
        self._contact.succeeds(server)
        return response


_contact = FirstContact()


def give_up_early() -> None:
    """Have huggingface_hub, and what is built on it, use such a client from now on.

    The settings of its own client are had from what makes it, which another version may call otherwise. Without it, a
    missing network is told later. (Its interface hands out a client alone, which takes a tenth of a second to make.)
    """
    from huggingface_hub.utils import _http

    if not hasattr(_http, "default_client_factory"):
        return
    set_client_factory(_contact.client)
