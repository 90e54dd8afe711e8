"""Models as records: what one is, which there are, and whether a card is in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import metadata
from ..discussions import written
from ..objects import Commit
from ..repositories import Repository
from ..wire import Answer, Refusal, Request, endpoint
from .access import visible

if TYPE_CHECKING:
    from ..server import HubServer


def _sibling(path: str, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    """A file as `huggingface_hub.hf_api.RepoSibling` has it; unlike in a tree, its `lfs` says `sha256`."""
    entry: dict[str, Any] = {"rfilename": path}
    if blobs:
        file = commit.tree[path]
        entry |= {"size": len(file.content), "blobId": file.oid}
        if file.lfs:
            entry["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return entry


def _used_storage(repository: Repository) -> int:
    files = {file.oid: len(file.content) for commit in repository.commits.values() for file in commit.tree.values()}
    return sum(files.values())


PROPERTIES: dict[str, Callable[[Repository, Commit], Any]] = {
    "author": lambda repository, commit: repository.namespace,
    "cardData": lambda repository, commit: metadata.card_data(commit.tree),
    "config": lambda repository, commit: metadata.config(commit.tree),
    "createdAt": lambda repository, commit: written(repository.created),
    "disabled": lambda repository, commit: False,
    "downloads": lambda repository, commit: 0,
    "gated": lambda repository, commit: repository.gated,
    "lastModified": lambda repository, commit: written(commit.date),
    "library_name": lambda repository, commit: metadata.card_data(commit.tree).get("library_name"),
    "likes": lambda repository, commit: 0,
    "model-index": lambda repository, commit: metadata.card_data(commit.tree).get("model-index"),
    "pipeline_tag": lambda repository, commit: metadata.card_data(commit.tree).get("pipeline_tag"),
    "private": lambda repository, commit: repository.private,
    "safetensors": lambda repository, commit: metadata.safetensors(commit.tree),
    "sha": lambda repository, commit: commit.oid,
    "siblings": lambda repository, commit: [_sibling(path, commit, blobs=False) for path in sorted(commit.tree)],
    "tags": lambda repository, commit: metadata.tags(commit.tree),
    "usedStorage": lambda repository, commit: _used_storage(repository),
}
"""What of `huggingface_hub.hf_api.ExpandModelProperty_T` can be told; nobody downloads or likes anything here."""

_BRIEF = ("createdAt", "downloads", "library_name", "likes", "pipeline_tag", "private", "tags")
_FULL = (*_BRIEF, "author", "gated", "lastModified", "sha", "siblings", "disabled")


def _record(repository: Repository, commit: Commit, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """A model as `huggingface_hub.hf_api.ModelInfo` reads it; what has no value is left out."""
    for name in names:
        if name not in PROPERTIES:
            raise Refusal(400, f'the query parameter "expand" has the value "{name}", which this server cannot tell')
    told = {name: PROPERTIES[name](repository, commit) for name in names}
    kept = {name: value for name, value in told.items() if value is not None}
    return {"_id": f"model-{repository.id}", "id": repository.id, **kept}


@endpoint("GET", path="/api/models/{namespace}/{name}", query=["blobs", "expand", "securityStatus"])
def info(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """A model at its default branch. Client: `HfApi.model_info`, `repo_info`."""
    return info_at(hub, request, namespace, name, "main")


@endpoint("GET", path="/api/models/{namespace}/{name}/revision/{revision}", query=["blobs", "expand", "securityStatus"])
def info_at(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """A model at a revision. Client: `HfApi.model_info(revision=...)`.

    `blobs` adds sizes and names of the files (`files_metadata=True`), `expand` asks for single properties. There is
    no Xet storage (`xetEnabled`), and no scanner to tell a security status.
    """
    repository = visible(hub, request, namespace, name)
    commit = repository.resolve(revision)
    if request.flag("securityStatus"):
        raise Refusal(501, "a security status is not served")
    if expand := request.values("expand"):
        return Answer.json(_record(repository, commit, expand))
    record = _record(repository, commit, list(PROPERTIES))
    record |= {"modelId": repository.id, "spaces": [], "xetEnabled": False}
    blobs = request.flag("blobs")
    record["siblings"] = [_sibling(path, commit, blobs=blobs) for path in sorted(commit.tree)]
    return Answer.json(record)


_LISTING_QUERY = (
    "author", "search", "filter", "pipeline_tag", "gated", "sort", "limit", "full", "cardData", "config", "expand",
    "cursor",
)  # fmt: skip
_SORTS = {"createdAt": lambda found: found["createdAt"], "lastModified": lambda found: found["lastModified"]}


@endpoint(
    "GET",
    path="/api/models",
    query=_LISTING_QUERY,
)
def listing(hub: HubServer, request: Request) -> Answer:
    """The models that the sender may see and that have all of the tags, page by page. Client: `HfApi.list_models`.

    `limit` is the length of a page, and the client stops by itself; of the orders only those by date are served, the
    newest first.
    """
    found = []
    expand = request.values("expand")
    for repository in hub.repositories.values():
        if repository.private and not hub.accounts.belongs(request.sender, repository.namespace):
            continue
        commit = repository.resolve("main")
        if _wanted(request, repository, commit):
            found.append((_record(repository, commit, list(_FULL)), repository, commit))
    sort = request.value("sort")
    if sort is not None:
        if sort not in _SORTS:
            raise Refusal(501, f'the order by "{sort}" is not served')
        found.sort(key=lambda entry: _SORTS[sort](entry[0]), reverse=True)
    names = expand or [*(_FULL if request.flag("full") else _BRIEF)]
    names += [name for name in ("cardData", "config") if request.flag(name)]
    records = [{**_record(repository, commit, names), "modelId": repository.id} for _, repository, commit in found]
    return hub.page(request, records)


def _wanted(request: Request, repository: Repository, commit: Commit) -> bool:
    author, search, task = (request.value(name) for name in ("author", "search", "pipeline_tag"))
    tags = metadata.tags(commit.tree)
    return (
        author in (None, repository.namespace)
        and (search or "").lower() in repository.id.lower()
        and all(tag in tags for tag in request.values("filter"))
        and (task is None or metadata.card_data(commit.tree).get("pipeline_tag") == task)
        and (request.value("gated") is None or request.flag("gated") == bool(repository.gated))
    )


@endpoint("POST", path="/api/validate-yaml", body=True)
def validate_yaml(hub: HubServer, request: Request) -> Answer:
    """Check a card's metadata; nobody needs a token. Client: `HfApi._validate_yaml`, `ModelCard.validate`.

    A card with errors is 400. Warnings come with 200.
    """
    body = request.json({"content": str, "repoType": str})
    if body["repoType"] != "model":
        raise Refusal(501, f'cards of the type "{body["repoType"]}" are not served')
    errors, warnings = metadata.complaints(body["content"])
    told = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    if errors:
        raise Refusal(400, "Invalid metadata", fields=told)
    return Answer.json(told)
