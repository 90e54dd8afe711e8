"""Who may do this? The questions that the endpoints ask first, and the Hub's answers to those who may not.

The answers follow what the client makes of them (`huggingface_hub.utils.hf_raise_for_status`). To somebody without a
token a hidden repository, like a missing one, is 401; with a token it is 404. The Hub leaves the error code out with
401, and the client concludes from the address, which works for https only; so here the code is always given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts import Identity
from ..repositories import Repository
from ..wire import Refusal, Request

if TYPE_CHECKING:
    from ..server import HubServer


def signed_in(request: Request) -> Identity:
    """Whose token came with the request; 401 if none did."""
    if request.sender is None:
        raise Refusal(401, "Invalid username or password.", headers={"WWW-Authenticate": "Bearer"})
    return request.sender


def visible(hub: HubServer, request: Request, namespace: str, name: str) -> Repository:
    """The repository, if the sender may know that it exists."""
    repository = hub.repositories.get(f"{namespace}/{name}")
    if repository is None or (repository.private and not hub.accounts.belongs(request.sender, namespace)):
        if request.sender is None:
            headers = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "Invalid username or password.", code="RepoNotFound", headers=headers)
        raise Refusal(404, "Repository not found", code="RepoNotFound")
    return repository


def readable(hub: HubServer, request: Request, namespace: str, name: str) -> Repository:
    """The repository, if the sender may read its files: those of a gated one need a grant (client: GatedRepoError)."""
    repository = visible(hub, request, namespace, name)
    if repository.gated and not hub.accounts.belongs(request.sender, namespace):
        message = f"Access to model {repository.id} is restricted."
        if request.sender is None:
            raise Refusal(401, f"{message} You must be authenticated to access it.", code="GatedRepo")
        if request.sender.name not in repository.granted:
            raise Refusal(403, f"{message} You are not in the authorized list.", code="GatedRepo")
    return repository


def writable(hub: HubServer, request: Request, namespace: str, name: str) -> Repository:
    """The repository, if the sender may change it."""
    repository = visible(hub, request, namespace, name)
    signed_in(request)
    if not hub.accounts.may_write(request.sender, namespace):
        raise _forbidden(request, repository.id)
    return repository


def open_to(
    hub: HubServer, request: Request, namespace: str, name: str, revision: str | None, *, create_pr: bool
) -> Repository:
    """The repository, if the sender may commit to this revision or, with `create_pr`, propose a commit.

    Everybody who reads a repository may open a pull request with a token that allows writing, and add to their own.

    Args:
        hub: The server.
        request: The request.
        namespace: User or organisation.
        name: The repository's name in it.
        revision: A branch, or `refs/pr/N`; None for large files of a pull request that is yet to be opened.
        create_pr: Whether a pull request is to be opened.
    """
    repository = readable(hub, request, namespace, name)
    sender = signed_in(request)
    proposes = create_pr or revision is None
    for discussion in repository.discussions.values():
        if discussion.is_pull_request and discussion.ref == revision and discussion.author == sender.name:
            proposes = True
    if not hub.accounts.may_write(sender, namespace) and not (proposes and sender.role == "write"):
        raise _forbidden(request, repository.id)
    return repository


def _forbidden(request: Request, what: str) -> Refusal:
    sender = signed_in(request)
    if sender.role == "read":
        return Refusal(403, f"the token of {sender.name} allows reading only")
    return Refusal(403, f"{sender.name} has no right to write to {what}")
