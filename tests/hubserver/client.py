"""Leads the Hugging Face client to a server of these tests: in this process, or in another one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from .accounts import User
    from .server import HubServer


def environment(hub: HubServer, home: Path, user: User | None = None) -> dict[str, str]:
    """Variables for a process whose client is to use the server, with a cache of its own.

    Args:
        hub: The server.
        home: Folder for caches and modules.
        user: Whose token the process has; nobody's if left out.
    """
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": user.token if user else "",
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }


def connect(monkeypatch: pytest.MonkeyPatch, hub: HubServer, home: Path) -> None:
    """Do the same to the client in this process, which has read its variables already, until the test is over.

    `HfApi` still needs `endpoint=`: objects that exist already keep theirs, but for the one behind the functions of
    the `huggingface_hub` package. Nobody's token is found implicitly.
    """
    from huggingface_hub import constants, hf_api
    from huggingface_hub.utils import close_session

    settings = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)
    if "transformers.utils.hub" in sys.modules:  # it keeps a client, with the endpoint of its first use
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    close_session()  # it keeps the proxy that it was made with
