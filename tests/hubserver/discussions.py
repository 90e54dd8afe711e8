"""Discussions and pull requests: what is said in them, and the events that the client reads.

The shapes of the events are those that `huggingface_hub.community.deserialize_event` takes apart.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from .objects import Commit, File, Tree

Status = Literal["draft", "open", "closed", "merged"]


def written(date: datetime) -> str:
    """A date as the Hub writes it, which is the form that `huggingface_hub.utils.parse_datetime` reads."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(kw_only=True)
class Discussion:
    """A discussion, or a pull request.

    Attributes:
        num: Its number in the repository, from 1; discussions and pull requests are counted together.
        title: Its title.
        author: Name of the user who opened it.
        created: When.
        target: For a pull request the full name of the branch into which it is to be merged, else None.
        status: A pull request that is opened without a commit is a draft at first.
        merge_commit: Name of the commit that merged it.
        events: What happened in it, in order, as the Hub tells it.
    """

    num: int
    title: str
    author: str
    created: datetime
    target: str | None = None
    status: Status = "open"
    merge_commit: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_pull_request(self) -> bool:
        """Whether it has commits of its own."""
        return self.target is not None

    @property
    def ref(self) -> str:
        """Where a pull request's commits are."""
        return f"refs/pr/{self.num}"

    def _happened(self, kind: str, author: str, date: datetime, data: dict[str, Any]) -> dict[str, Any]:
        event = {
            "id": f"{self.num:012x}{len(self.events):012x}",
            "type": kind,
            "createdAt": written(date),
            "author": {"name": author, "type": "user"},
            "data": data,
        }
        self.events.append(event)
        return event

    def comment(self, text: str, author: str, date: datetime) -> dict[str, Any]:
        """Say something. Returns the event (`DiscussionComment`)."""
        latest = {"raw": text, "html": f"<p>{text}</p>", "updatedAt": written(date), "author": {"name": author}}
        data = {"edited": False, "hidden": False, "latest": latest, "history": []}
        return self._happened("comment", author, date, data)

    def change_status(self, status: Status, author: str, date: datetime) -> dict[str, Any]:
        """Open, close or merge it. Returns the event (`DiscussionStatusChange`)."""
        self.status = status
        return self._happened("status-change", author, date, {"status": status})

    def change_title(self, title: str, author: str, date: datetime) -> dict[str, Any]:
        """Rename it. Returns the event (`DiscussionTitleChange`)."""
        data = {"from": self.title, "to": title}
        self.title = title
        return self._happened("title-change", author, date, data)

    def add_commit(self, commit: Commit) -> dict[str, Any]:
        """A commit was added to the pull request. Returns the event (`DiscussionCommit`)."""
        return self._happened("commit", commit.author, commit.date, {"subject": commit.title, "oid": commit.oid})


def diff(before: Tree, after: Tree) -> str:
    """What changes between two trees, as `git diff` would say it in outline; large files by their pointers."""
    parts = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        old_name, new_name = (f"a/{path}" if old else "/dev/null"), (f"b/{path}" if new else "/dev/null")
        parts.append(f"diff --git a/{path} b/{path}\n")
        old_lines, new_lines = _lines(old), _lines(new)
        if old_lines is None or new_lines is None:
            parts.append(f"Binary files {old_name} and {new_name} differ\n")
        else:
            parts.extend(difflib.unified_diff(old_lines, new_lines, old_name, new_name))
    return "".join(parts)


def _lines(file: File | None) -> list[str] | None:
    if file is None:
        return []
    try:
        text = (file.pointer if file.lfs else file.content).decode()
    except UnicodeDecodeError:
        return None
    return [line + "\n" for line in text.splitlines()]
