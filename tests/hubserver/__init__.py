"""A Hub on this machine, for tests: real commits, pull requests, large files and access rights, all in memory.

The unmodified `huggingface_hub` client talks to it over HTTP, so what a test sees is what the client does. It can be
read as a description of the protocol: each endpoint names the function of the client that it answers. Begin with
`hubserver.wire` (requests and refusals), then `hubserver.endpoints`, subject by subject; what git does is in
`hubserver.objects` and `hubserver.repositories`, what may go wrong on demand in `hubserver.faults`.

    with HubServer() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.user("alice").token)
        api.create_repo("alice/pair")
        api.upload_folder(repo_id="alice/pair", folder_path=folder)
        assert hub.read("alice/pair", "README.md") == (folder / "README.md").read_bytes()

The server knows models whose ids have a namespace, no data sets or Spaces; no Xet storage; and no transfer of large
files in several parts. `hubserver.visitor` has what tests need at hand: `serving` for a fixture, `client`, `raw`.
"""

from .client import connect, environment
from .server import HubServer

__all__ = ["HubServer", "connect", "environment"]
