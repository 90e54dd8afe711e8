"""The commit: everything of a push at once, or nothing."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from ..objects import Commit, File, Tree
from ..repositories import Change, Delete, Put, Repository, check_path
from ..wire import Answer, Refusal, Request, check_fields, endpoint, parse_json
from .access import open_to, signed_in

if TYPE_CHECKING:
    from ..server import HubServer


@endpoint("POST", path="/api/models/{namespace}/{name}/commit/{revision}", query=["create_pr"], body=True)
def commit(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """Commit to a branch or to `refs/pr/N`, or open a pull request with the commit.

    Client: `HfApi.create_commit` and `_commit_api._send_commit`. As its documentation says, `parentCommit` must be what
    the branch stands at (412 otherwise); with `create_pr` it is where the pull request starts, and `revision` must be
    a branch.
    """
    create_pr = request.flag("create_pr")
    repository = open_to(hub, request, namespace, name, revision, create_pr=create_pr)
    sender = signed_in(request)
    header, entries = _lines(request)
    ref = repository.writable(revision)
    head = repository.commits[repository.refs[ref]]
    start = _start(repository, head, header.get("parentCommit"), create_pr=create_pr)
    if create_pr and not ref.startswith("refs/heads/"):
        raise Refusal(404, f"a pull request cannot be opened for {revision}", code="RevisionNotFound")
    pull = next((entry for entry in repository.discussions.values() if entry.ref == ref), None)
    if pull is not None and pull.status not in ("draft", "open"):
        raise Refusal(403, f"the pull request {pull.num} is {pull.status}")
    changes = [_change(repository, start.tree, entry, f"line {number}") for number, entry in enumerate(entries, 2)]
    message = {"title": header["summary"], "description": header["description"], "author": sender.name}
    if not create_pr:
        made = repository.add_commit(ref, changes, **message)
        if pull is not None:
            pull.add_commit(made)
        return Answer.json(_made(hub, repository, made))
    # The commit first, so that a refusal leaves no pull request behind.
    branch = f"refs/pr/{len(repository.discussions) + 1}"
    made = repository.add_commit(branch, changes, start=start, **message)
    opened = repository.open_discussion(made.title, made.description, sender.name, target=ref, start=made)
    opened.status = "open"
    opened.add_commit(made)
    url = f"{hub.endpoint}/{repository.id}/discussions/{opened.num}"
    return Answer.json({**_made(hub, repository, made), "pullRequestUrl": url})


def _made(hub: HubServer, repository: Repository, made: Commit) -> dict[str, Any]:
    url = f"{hub.endpoint}/{repository.id}/commit/{made.oid}"
    return {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}


def _start(repository: Repository, head: Commit, parent: str | None, *, create_pr: bool) -> Commit:
    """The commit to follow: the head, or with `create_pr` the one that was asked for."""
    if parent is None:
        return head
    if not re.fullmatch("[A-Fa-f0-9]{5,40}", parent):
        raise Refusal(400, 'the header has the field "parentCommit" that is not a commit\'s name')
    if create_pr:
        return repository.resolve(parent)
    if not head.oid.startswith(parent.lower()):
        raise Refusal(412, f"A commit has happened since. Please refresh and try again: {head.oid}")
    return head


def _lines(request: Request) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the operations: a JSON object a line (http://ndjson.org)."""
    if request.headers.get("content-type") != "application/x-ndjson":
        raise Refusal(400, "the Content-Type of a commit must be application/x-ndjson")
    entries = []
    for number, line in enumerate(request.body.splitlines(), 1):
        entry = parse_json(line, f"line {number}")
        entries.append(check_fields(entry, f"line {number}", {"key": str, "value": dict}))
    if not entries or entries[0]["key"] != "header":
        raise Refusal(400, "the first line of a commit must be its header")
    header = check_fields(
        entries[0]["value"], "the header", {"summary": str, "description": str}, {"parentCommit": str}
    )
    if not header["summary"].strip():
        raise Refusal(400, 'the header has the field "summary" without text')
    return header, entries[1:]


def _change(repository: Repository, tree: Tree, entry: dict[str, Any], where: str) -> Change:
    """An operation of `_commit_api._prepare_commit_payload`, checked."""
    key, value = entry["key"], entry["value"]
    if key == "file":
        check_fields(value, where, {"path": str, "content": str, "encoding": str})
        return Put(check_path(value["path"]), _regular(repository, tree, value, where))
    if key == "lfsFile":
        # A copy of a large file within the repository comes without its size.
        check_fields(value, where, {"path": str, "algo": str, "oid": str}, {"size": int})
        if value["algo"] != "sha256":
            raise Refusal(400, f'{where} has the field "algo" with the unknown value "{value["algo"]}"')
        return Put(check_path(value["path"]), repository.large.file(value["oid"], value.get("size")))
    if key in ("deletedFile", "deletedFolder"):
        check_fields(value, where, {"path": str})
        folder = key == "deletedFolder"
        return Delete(check_path(value["path"].removesuffix("/") if folder else value["path"]), folder=folder)
    raise Refusal(400, f'{where} has the unknown key "{key}"')


def _regular(repository: Repository, tree: Tree, value: dict[str, str], where: str) -> File:
    if value["encoding"] != "base64":
        raise Refusal(400, f'{where} has the field "encoding" with the unknown value "{value["encoding"]}"')
    try:
        content = base64.b64decode(value["content"], validate=True)
    except binascii.Error as error:
        raise Refusal(400, f'{where} has the field "content" that is not base64') from error
    if repository.upload_mode(value["path"], len(content), tree) == "lfs":
        raise Refusal(400, f'"{value["path"]}" is to be uploaded as a large file')
    return File(content)
