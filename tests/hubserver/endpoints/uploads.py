"""Before a commit: how each file is to be uploaded, and the upload of the large ones.

The steps of a push, as `HfApi.create_commit` takes them: card checked (models.validate_yaml), upload modes asked for
(preupload), large files announced (batch), put, and verified, everything committed at once (commits.commit).
"""

from __future__ import annotations

import base64
import binascii
import re
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from ..repositories import check_path
from ..wire import Answer, Refusal, Request, check_fields, endpoint
from .access import open_to

if TYPE_CHECKING:
    from ..server import HubServer

_SAMPLE = 512
"""Bytes of a file's beginning that the client sends (`huggingface_hub.lfs.UploadInfo`)."""
_LFS_TYPE = "application/vnd.git-lfs+json"


@endpoint("POST", path="/api/models/{namespace}/{name}/preupload/{revision}", query=["create_pr"], body=True)
def preupload(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """Tell how each file is to be uploaded. Client: `_commit_api._fetch_upload_modes`.

    `oid` is what the revision has under this path: of a large file the SHA-256, else the blob's name. The client
    leaves out of the commit what has not changed.
    """
    repository = open_to(hub, request, namespace, name, revision, create_pr=request.flag("create_pr"))
    body = request.json({"files": list}, {"gitIgnore": str})
    tree = repository.resolve(revision).tree
    own = tree[".gitignore"].content.decode() if ".gitignore" in tree else ""
    ignored = _ignored_patterns(body.get("gitIgnore", own))
    answers = []
    for number, entry in enumerate(body["files"]):
        check_fields(entry, f"files[{number}]", {"path": str, "size": int, "sample": str})
        path, size = check_path(entry["path"]), entry["size"]
        if size < 0 or len(_decoded(entry["sample"], f"files[{number}].sample")) != min(size, _SAMPLE):
            raise Refusal(400, f"files[{number}].sample is not the first {_SAMPLE} bytes of a file of {size}")
        answer = {
            "path": path,
            "uploadMode": repository.upload_mode(path, size, tree),
            "shouldIgnore": any(fnmatch(part, pattern) for part in path.split("/") for pattern in ignored),
        }
        if path in tree:
            answer["oid"] = tree[path].etag
        answers.append(answer)
    return Answer.json({"files": answers})


def _ignored_patterns(gitignore: str) -> list[str]:
    """Patterns for any part of a path; the rest of git's language is not served (git documentation, gitignore)."""
    lines = [line.strip() for line in gitignore.splitlines() if line.strip() and not line.startswith("#")]
    for line in lines:
        if line.startswith("!") or "/" in line.rstrip("/"):
            raise Refusal(501, f'the line "{line}" of .gitignore is not understood by this server')
    return [line.rstrip("/") for line in lines]


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refusal(400, f"{where} is not base64") from error


def _large(entry: Any, where: str) -> tuple[str, int]:
    """Name and size of a large file, as records give them."""
    check_fields(entry, where, {"oid": str, "size": int})
    if not re.fullmatch("[0-9a-f]{64}", entry["oid"]):
        raise Refusal(400, f'{where} has the field "oid" that is not a SHA-256')
    if entry["size"] <= 0:
        raise Refusal(400, f'{where} has the field "size" that is not a positive number')
    return entry["oid"], entry["size"]


@endpoint("POST", path="/{namespace}/{name}.git/info/lfs/objects/batch", body=True)
def batch(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Announce large files, and say where to put those that are not there yet.

    Client: `lfs.post_lfs_batch_info`; git-lfs, docs/api/batch.md. Without `ref` the files are for a pull request
    that is yet to be opened. Of the ways to transfer only "basic" is served.
    """
    kinds = {"operation": str, "transfers": list, "objects": list, "hash_algo": str}
    body = request.json(kinds, {"ref": dict})
    ref = check_fields(body["ref"], "ref", {"name": str})["name"] if "ref" in body else None
    repository = open_to(hub, request, namespace, name, ref, create_pr=False)
    if ref is not None:
        repository.writable(ref)
    if body["operation"] != "upload":
        raise Refusal(501, f'the operation "{body["operation"]}" is not served')
    if body["hash_algo"] != "sha256":
        raise Refusal(400, f'the hash "{body["hash_algo"]}" is not known')
    if "basic" not in body["transfers"]:
        raise Refusal(501, f'of the ways to transfer, {body["transfers"]}, none is served; "basic" is')
    answers = []
    for number, entry in enumerate(body["objects"]):
        oid, size = _large(entry, f"objects[{number}]")
        answer: dict[str, Any] = {"oid": oid, "size": size}
        key = repository.large.announce(oid, size)
        if key is not None:
            answer["authenticated"] = True
            answer["actions"] = {
                "upload": {"href": f"{hub.endpoint}/storage/{namespace}/{name}/{key}"},
                "verify": {"href": f"{hub.endpoint}/{namespace}/{name}.git/info/lfs/objects/verify"},
            }
        answers.append(answer)
    return Answer.json({"transfer": "basic", "objects": answers}, headers={"Content-Type": _LFS_TYPE})


@endpoint("PUT", path="/storage/{namespace}/{name}/{key}", body=True)
def put(hub: HubServer, request: Request, namespace: str, name: str, key: str) -> Answer:
    """Take in a large file. Client: `lfs._upload_single_part`, which sends no token: the address is the permission."""
    if request.sender is not None:
        raise Refusal(400, "a token was sent to the storage, which on the Hub is another company's server")
    repository = hub.repositories.get(f"{namespace}/{name}")
    if repository is None:
        raise Refusal(403, "no upload was announced under this address")
    repository.large.upload(key, request.body)
    return Answer()


@endpoint("POST", path="/{namespace}/{name}.git/info/lfs/objects/verify", body=True)
def verify(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Confirm that a large file is there. Client: the end of `lfs.lfs_upload`."""
    oid, size = _large(request.json({"oid": str, "size": int}), "the body")
    repository = open_to(hub, request, namespace, name, None, create_pr=False)
    repository.large.verify(oid, size)
    return Answer.json({"success": True})
