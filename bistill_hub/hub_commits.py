"""Which commit of a repository on the Hub is read: what its branch names now, and what data say that were read.

`datasets` resolves a branch while it reads, and keeps the commit in places that depend on its version and on how it
reads. Offline it takes whatever the cache holds, whichever revision it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from .errors import InputError

Kind = Literal["dataset", "model"]
"""What a repository holds, as the Hub calls it."""

SECONDS = 10.0
"""How long the Hub's answer is waited for."""

_COMMIT = re.compile("[0-9a-f]{40}")
_PREPARED = re.compile(r"/\d+\.\d+\.\d+/([0-9a-f]{40})/[^/]+\.arrow$")
"""A file of the cache, `ORG___NAME/CONFIG/VERSION/COMMIT/NAME-SPLIT.arrow`; hashes of local data have other lengths."""

_read: ContextVar[list[str | None] | None] = ContextVar("commits of the data sets that were read", default=None)


class HubUnreachableError(Exception):
    """No question that is put to the Hub is answered: there is no network, or none is wanted."""


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


def commit_now(name: str, revision: str | None, kind: Kind = "dataset") -> str | None:
    """Ask the Hub which commit a branch or tag names; None where it does not answer.

    Args:
        name: The repository's id.
        revision: Branch, tag or commit; None for the main branch.
        kind: What the repository holds.
    """
    try:
        return ask_for_commit(name, revision, kind)
    except HubUnreachableError:
        return None


def ask_for_commit(name: str, revision: str | None, kind: Kind) -> str | None:
    """Ask the Hub which commit a branch or tag names; None where it does not tell.

    Args:
        name: The repository's id.
        revision: Branch, tag or commit; None for the main branch.
        kind: What the repository holds.

    Raises:
        HubUnreachableError: there is no way to the Hub, so that another question would not be answered either.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    if is_commit(revision):
        return revision
    info = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
    try:
        found = info(name, revision=revision, timeout=SECONDS, expand=["sha"]).sha
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        raise HubUnreachableError from error
    except (OSError, ValueError, httpx2.HTTPError):  # whatever is wrong, reading says it better
        return None
    return found if is_commit(found) else None


def commit_in_cache(name: str, file: str, revision: str | None) -> str | None:
    """Tell which commit of a model's repository the Hub's cache holds; None where it does not have the file.

    Args:
        name: The repository's id.
        file: A file of it that is read.
        revision: Branch, tag or commit; None for the main branch.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:
        return None
    if not isinstance(found, str):
        return None
    commit = Path(found).parents[len(Path(file).parts) - 1].name  # .../snapshots/COMMIT/FILE
    return commit if is_commit(commit) else None


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
