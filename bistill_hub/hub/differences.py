"""What differs between files here and those of a repository on the Hub, told by hashes: nothing is fetched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

Kind = Literal["add", "change", "delete", "same"]
Paths = Iterable[str | os.PathLike[str]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What publishing does to one file of the repository.

    Attributes:
        path: The file's path in it.
        kind: "same" for a file that stays as it is.
        size: Bytes of the file that is published; None for one that is deleted.
        remote_size: Bytes of the file that is on the Hub; None for one that is not there yet.
    """

    path: str
    kind: Kind
    size: int | None
    remote_size: int | None


def remote_files(api: HfApi, repo_id: str, revision: str) -> dict[str, RepoFile]:
    """The files of a revision by path.

    Raises:
        InputError: one of them makes the Hub leave others out of commits.
    """
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repo_id, revision=revision, recursive=True)
    files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    if ".gitignore" in files:
        raise InputError(
            "the Hub may leave files out of a commit because of it",
            file=f"{repo_id}/.gitignore",
            remedy="delete it on the Hub",
        )
    return files


def local_files(folder: Path, files: Paths) -> dict[str, Path]:
    """The files of a folder by their path in the repository.

    Raises:
        InputError: one of them is not there.
    """
    found = {}
    for file in files:
        found[Path(file).as_posix()] = path = Path(folder) / file
        if not path.is_file():
            raise InputError("there is no such file", file=path, remedy="name files that are in the folder")
    return found


def compare(
    local: Mapping[str, Path], remote: Mapping[str, RepoFile], deletable: Callable[[str], bool]
) -> tuple[Change, ...]:
    """What publishing the local files would do, by path; `deletable` tells which of the others go."""
    changes = []
    for path in sorted({*local, *remote}):
        there = remote.get(path)
        if path in local:
            size = local[path].stat().st_size
            kind: Kind = "add" if there is None else "same" if _is_same(local[path], size, there) else "change"
            changes.append(Change(path=path, kind=kind, size=size, remote_size=there.size if there else None))
        elif there is not None and deletable(path):
            changes.append(Change(path=path, kind="delete", size=None, remote_size=there.size))
    return tuple(changes)


def _is_same(file: Path, size: int, remote: RepoFile) -> bool:
    """Whether a file has the content that the Hub names by hash: large files by SHA-256, others as git does."""
    if size != remote.size:
        return False
    with file.open("rb") as opened:
        if remote.lfs is not None:
            return hashlib.file_digest(opened, "sha256").hexdigest() == remote.lfs.sha256
        blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        return hashlib.file_digest(opened, lambda: blob).hexdigest() == remote.blob_id
