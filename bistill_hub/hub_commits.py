"""Which commit of a Hub data set was read: what its branch names now, and what the data that were read say themselves.

`datasets` resolves a branch while it reads, and keeps the commit in places that depend on its version and on how it
reads. Offline it takes whatever the cache holds, whichever revision it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .errors import InputError

SECONDS = 10.0
"""How long the Hub's answer is waited for."""

_COMMIT = re.compile("[0-9a-f]{40}")
_PREPARED = re.compile(r"/\d+\.\d+\.\d+/([0-9a-f]{40})/[^/]+\.arrow$")
"""A file of the cache, `ORG___NAME/CONFIG/VERSION/COMMIT/NAME-SPLIT.arrow`; hashes of local data have other lengths."""

_read: ContextVar[list[str | None] | None] = ContextVar("commits of the data sets that were read", default=None)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit hash, and not a branch, a tag or a part of one."""
    return bool(_COMMIT.fullmatch(revision or ""))


@contextmanager
def commits_read() -> Iterator[list[str | None]]:
    """Collect the commit of each Hub data set that is read meanwhile; None for one that could not be told."""
    commits: list[str | None] = []
    token = _read.set(commits)
    try:
        yield commits
    finally:
        _read.reset(token)


def note_commit(commit: str | None) -> None:
    """Tell whoever collects commits of one."""
    commits = _read.get()
    if commits is not None:
        commits.append(commit)


def commit_now(dataset: str, revision: str | None) -> str | None:
    """Ask the Hub which commit a branch or tag of a data set names; None where it does not answer.

    Args:
        dataset: The data set's id.
        revision: Branch, tag or commit; None for the main branch.
    """
    import httpx2
    from huggingface_hub import HfApi

    if is_commit(revision):
        return revision
    try:
        found = HfApi().dataset_info(dataset, revision=revision, timeout=SECONDS, expand=["sha"]).sha
    except (OSError, ValueError, httpx2.HTTPError):  # whatever is wrong, reading says it better
        return None
    return found if is_commit(found) else None


def commit_in(files: Iterable[str], dataset: str) -> str | None:
    """Find the commit in addresses of a data set's files; None where they name none, or several.

    Args:
        files: Addresses such as `hf://datasets/ORG/NAME@COMMIT/FILE`.
        dataset: The data set's id.
    """
    of_dataset = re.compile(rf"hf://datasets/{re.escape(dataset)}@([0-9a-f]{{40}})(/|$)")
    commits = {found[1] for file in files if (found := of_dataset.match(file))}
    return commits.pop() if len(commits) == 1 else None


def commit_of(table: Any, dataset: str) -> str | None:
    """Tell the commit that a loaded data set says it is of; None where it does not, as a stream.

    Args:
        table: What `datasets.load_dataset` returned for one split.
        dataset: The data set's id.
    """
    checksums = getattr(getattr(table, "info", None), "download_checksums", None) or {}
    if of_files := commit_in(checksums, dataset):
        return of_files
    prepared = (file["filename"].replace("\\", "/") for file in getattr(table, "cache_files", ()))
    commits = {found[1] for file in prepared if (found := _PREPARED.search(file))}
    return commits.pop() if len(commits) == 1 else None


def check_commit(asked: str | None, found: str | None, name: str) -> None:
    """Refuse data of another commit than the one that was asked for.

    Raises:
        InputError: the revision is a commit, and the data are of another.
    """
    if is_commit(asked) and found is not None and found != asked:
        raise InputError(
            f"what the cache holds is of the commit {found}",
            file=name,
            field="revision",
            value=asked,
            remedy="read it where the Hub can be reached, or name the commit that the cache holds",
        )
