"""Discussions and pull requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..discussions import Discussion, diff, written
from ..repositories import MAIN, Repository
from ..wire import Answer, Refusal, Request, endpoint
from .access import readable, signed_in, visible, writable

if TYPE_CHECKING:
    from ..server import HubServer

PAGE = 10
"""Discussions on a page of the list."""


def _record(repository: Repository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author, "type": "user"},
        "createdAt": written(discussion.created),
        "status": discussion.status,
        "isPullRequest": discussion.is_pull_request,
        "repo": {"name": repository.id, "type": "model"},
    }


def _find(repository: Repository, num: str) -> Discussion:
    if not num.isdecimal() or int(num) not in repository.discussions:
        raise Refusal(404, f"there is no discussion {num}")
    return repository.discussions[int(num)]


@endpoint("GET", path="/api/models/{namespace}/{name}/discussions", query=["type", "status", "author", "p"])
def listing(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """A page of the list, the newest first. Client: `HfApi.get_repo_discussions`, which counts pages from 0."""
    repository = visible(hub, request, namespace, name)
    kind, status, author = request.value("type") or "all", request.value("status") or "all", request.value("author")
    if kind not in ("all", "discussion", "pull_request"):
        raise Refusal(400, f'the query parameter "type" has the unknown value "{kind}"')
    if status not in ("all", "open", "closed"):
        raise Refusal(400, f'the query parameter "status" has the unknown value "{status}"')
    found = [
        entry
        for entry in reversed(repository.discussions.values())
        if (kind == "all" or entry.is_pull_request == (kind == "pull_request"))
        # Whoever asks for what is open gets drafts too, and merged ones with the closed.
        and (status == "all" or (entry.status in ("open", "draft")) == (status == "open"))
        and author in (None, entry.author)
    ]
    start = request.number("p", 0) * PAGE
    records = [_record(repository, entry) for entry in found[start : start + PAGE]]
    return Answer.json({"count": len(found), "start": start, "discussions": records})


@endpoint("POST", path="/api/models/{namespace}/{name}/discussions", body=True)
def create(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Open a discussion, or a pull request, which is a draft without commits.

    Client: `HfApi.create_discussion`, `create_pull_request`.
    """
    repository = readable(hub, request, namespace, name)
    sender = _writer(request)
    body = request.json({"title": str, "description": str, "pullRequest": bool})
    if len(body["title"]) < 3:
        raise Refusal(400, 'the body has the field "title" with fewer than 3 characters')
    target = MAIN if body["pullRequest"] else None
    discussion = repository.open_discussion(body["title"], body["description"], sender, target=target)
    url = f"{hub.endpoint}/{repository.id}/discussions/{discussion.num}"
    return Answer.json({"num": discussion.num, "url": url, "pullRequest": discussion.is_pull_request})


@endpoint("GET", path="/api/models/{namespace}/{name}/discussions/{num}", query=["diff"])
def details(hub: HubServer, request: Request, namespace: str, name: str, num: str) -> Answer:
    """Everything of one. Client: `HfApi.get_discussion_details`."""
    repository = visible(hub, request, namespace, name)
    discussion = _find(repository, num)
    record = {**_record(repository, discussion), "events": discussion.events}
    if discussion.target is not None:
        record["changes"] = {"base": discussion.target}
        if discussion.merge_commit is not None:
            record["changes"]["mergeCommitId"] = discussion.merge_commit
        merged = discussion.status == "merged"
        record["filesWithConflicts"] = [] if merged else repository.conflicts(discussion)
        if request.flag("diff"):
            before, after = repository.merge_base(discussion), repository.resolve(discussion.ref)
            record["diff"] = diff(before.tree, after.tree)
    return Answer.json(record)


def _writer(request: Request) -> str:
    """Name of the sender, whose token must allow writing."""
    sender = signed_in(request)
    if sender.role != "write":
        raise Refusal(403, f"the token of {sender.name} allows reading only")
    return sender.name


def _may_manage(hub: HubServer, request: Request, repository: Repository, discussion: Discussion) -> str:
    """Name of the sender, who must be its author or somebody with the right to write."""
    sender = _writer(request)
    if sender != discussion.author and not hub.accounts.may_write(request.sender, repository.namespace):
        raise Refusal(403, f"{sender} has no right to change the discussion {discussion.num}")
    return sender


@endpoint("POST", path="/api/models/{namespace}/{name}/discussions/{num}/comment", body=True)
def comment(hub: HubServer, request: Request, namespace: str, name: str, num: str) -> Answer:
    """Say something. Client: `HfApi.comment_discussion`."""
    repository = readable(hub, request, namespace, name)
    discussion, sender = _find(repository, num), _writer(request)
    text = request.json({"comment": str})["comment"]
    return Answer.json({"newMessage": discussion.comment(text, sender, repository.clock())})


@endpoint("POST", path="/api/models/{namespace}/{name}/discussions/{num}/title", body=True)
def rename(hub: HubServer, request: Request, namespace: str, name: str, num: str) -> Answer:
    """Give it another title. Client: `HfApi.rename_discussion`."""
    repository = readable(hub, request, namespace, name)
    discussion = _find(repository, num)
    sender = _may_manage(hub, request, repository, discussion)
    title = request.json({"title": str})["title"]
    return Answer.json({"newTitle": discussion.change_title(title, sender, repository.clock())})


@endpoint("POST", path="/api/models/{namespace}/{name}/discussions/{num}/status", body=True)
def change_status(hub: HubServer, request: Request, namespace: str, name: str, num: str) -> Answer:
    """Open or close it; a draft becomes open so. Client: `HfApi.change_discussion_status`."""
    repository = readable(hub, request, namespace, name)
    discussion = _find(repository, num)
    sender = _may_manage(hub, request, repository, discussion)
    body = request.json({"status": str}, {"comment": str})
    if body["status"] not in ("open", "closed"):
        raise Refusal(400, f'the body has the field "status" with the unknown value "{body["status"]}"')
    if discussion.status == "merged":
        raise Refusal(400, f"the pull request {num} is merged")
    if "comment" in body:
        discussion.comment(body["comment"], sender, repository.clock())
    return Answer.json({"newStatus": discussion.change_status(body["status"], sender, repository.clock())})


@endpoint("POST", path="/api/models/{namespace}/{name}/discussions/{num}/merge", body=True)
def merge(hub: HubServer, request: Request, namespace: str, name: str, num: str) -> Answer:
    """Merge an open pull request, as one commit on its branch. Client: `HfApi.merge_pull_request`.

    Without a comment the client sends no body at all.
    """
    repository = writable(hub, request, namespace, name)
    discussion, sender = _find(repository, num), signed_in(request)
    text = request.json({}, {"comment": str}).get("comment") if request.body else None
    if not discussion.is_pull_request or discussion.status != "open":
        what = f"is {discussion.status}" if discussion.is_pull_request else "is no pull request"
        raise Refusal(400, f"{num} cannot be merged: it {what}")
    made = repository.merge(discussion, sender.name)
    if text:
        discussion.comment(text, sender.name, repository.clock())
    return Answer.json({"mergeCommitId": made.oid})
