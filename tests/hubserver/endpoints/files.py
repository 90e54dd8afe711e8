"""The files of a revision: listings, and contents."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING, Any

from ..discussions import written
from ..objects import Commit, File
from ..repositories import Repository
from ..wire import Answer, Refusal, Request, endpoint
from .access import readable, visible

if TYPE_CHECKING:
    from ..server import HubServer

MOST_PATHS = 1000
"""Paths that one request may ask for (`_commit_api.FETCH_LFS_BATCH_SIZE` tells of the limit)."""


def _file_entry(path: str, file: File) -> dict[str, Any]:
    """A file as `huggingface_hub.hf_api.RepoFile` reads it."""
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": len(file.content), "path": path}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return entry


def _entry(repository: Repository, commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    if path in commit.tree:
        entry = _file_entry(path, commit.tree[path])
    else:
        entry = {"type": "directory", "oid": commit.tree_oids[path], "size": 0, "path": path}
    if expand:
        last = repository.last_change(path, commit)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": written(last.date)}
    return entry


@endpoint(
    "GET", path="/api/models/{namespace}/{name}/tree/{revision}", query=["recursive", "expand", "cursor", "limit"]
)
def tree(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """Files and folders from the top, page by page. Client: `HfApi.list_repo_tree`."""
    return folder(hub, request, namespace, name, revision, "")


@endpoint(
    "GET",
    path="/api/models/{namespace}/{name}/tree/{revision}/{path}",
    query=["recursive", "expand", "cursor", "limit"],
)
def folder(hub: HubServer, request: Request, namespace: str, name: str, revision: str, path: str) -> Answer:
    """Files and folders in a folder. Client: `HfApi.list_repo_tree(path_in_repo=...)`, which quotes it as one part."""
    repository = visible(hub, request, namespace, name)
    commit = repository.resolve(revision)
    if path not in commit.tree_oids:
        raise Refusal(404, f'{path} does not exist on "{revision}"', code="EntryNotFound")
    prefix = f"{path}/" if path else ""
    found = [entry for entry in {*commit.tree, *commit.tree_oids} if entry and entry.startswith(prefix)]
    if not request.flag("recursive"):
        found = [entry for entry in found if "/" not in entry.removeprefix(prefix)]
    expand = request.flag("expand")
    return hub.page(request, [_entry(repository, commit, entry, expand=expand) for entry in sorted(found)])


@endpoint("POST", path="/api/models/{namespace}/{name}/paths-info/{revision}", body=True)
def paths_info(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """The named files and folders that are there. Client: `HfApi.get_paths_info`, which sends a form."""
    repository = visible(hub, request, namespace, name)
    commit = repository.resolve(revision)
    form = request.form(["paths"], ["expand"])
    if len(form["paths"]) > MOST_PATHS:
        raise Refusal(413, "too many parameters")
    expand = request.form_flag(form, "expand")
    paths = [path for path in form["paths"] if path in commit.tree or (path and path in commit.tree_oids)]
    return Answer.json([_entry(repository, commit, path, expand=expand) for path in paths])


@endpoint("GET", "HEAD", path="/{namespace}/{name}/resolve/{revision}/{path}", query=["download"])
def resolve(hub: HubServer, request: Request, namespace: str, name: str, revision: str, path: str) -> Answer:
    """The content of a file. Client: `file_download.get_hf_file_metadata` (HEAD) and `http_get` (GET, with `Range`).

    `X-Repo-Commit` names the commit, with a missing file too: the client then remembers that it is missing. For large
    files `X-Linked-ETag` and `X-Linked-Size` are sent, which on the Hub come with a redirect to the storage.
    """
    repository = readable(hub, request, namespace, name)
    commit = repository.resolve(revision)
    headers = {"X-Repo-Commit": commit.oid}
    if path not in commit.tree:
        raise Refusal(404, "Entry not found", code="EntryNotFound", headers=headers)
    file = commit.tree[path]
    headers |= {
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": mimetypes.guess_type(path)[0] or "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{path.rpartition('/')[2]}",
    }
    if file.lfs:
        headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
    return _part(request, file.content, headers)


def _part(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    """The bytes that `Range` asks for (RFC 9110, section 14), or all of them."""
    wanted = request.headers.get("range")
    if wanted is None:
        return Answer(200, content, headers)
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if match is None or not (match[1] or match[2]):
        raise Refusal(400, f'the header "Range" has the value "{wanted}", which this server does not understand')
    size = len(content)
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
    else:
        start, end = max(size - int(match[2]), 0), size - 1
    if start > end:
        raise Refusal(416, "Range Not Satisfiable", headers={**headers, "Content-Range": f"bytes */{size}"})
    return Answer(206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"})
