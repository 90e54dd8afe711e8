"""A published pair's files at one commit, all of them or those that are wanted; or the folder of a packaged pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BistillError, InputError, first_line
from .repository import files_of, is_allowed


@dataclass(frozen=True, kw_only=True)
class FetchedPair:
    """A pair whose files, or those that are wanted, are here.

    Attributes:
        name: Its Hub id or folder, as it was given.
        folder: Where its files are.
        files: Paths of those that a pair is made of, also of those that were not fetched.
        commit: The commit on the Hub; None for a folder.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    commit: str | None

    @property
    def shown(self) -> str:
        """Its Hub id, or its folder's name: what others may read."""
        return self.name if self.commit else self.folder.resolve().name


def fetch_pair(
    pair: str | os.PathLike[str],
    revision: str | None = None,
    endpoint: str | None = None,
    *,
    necessary: Iterable[str],
    use: str,
    wanted: Callable[[str], bool] = lambda path: True,
    target: Path | None = None,
) -> FetchedPair:
    """Fetch the files of one commit that a pair is made of; of a folder, list them.

    Args:
        pair: Hub id of a published pair, or the folder of a packaged one.
        revision: Branch, tag or commit on the Hub.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.
        necessary: Files without which there is no such pair.
        use: What the pair is for, as it ends "no pair that ...".
        wanted: Tells which of its files are fetched.
        target: Where to; what a former commit left there is removed. None for the Hub's cache.

    Raises:
        InputError: there is no such pair, or it lacks a necessary file.
        BistillError: the Hub did not answer as it should.
    """
    folder, name = Path(pair), os.fspath(pair)
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                "a folder has no revisions", field="revision", value=revision, remedy="leave it out, or name a Hub id"
            )
        files = tuple(file.as_posix() for file in files_of(folder) if is_allowed(file.as_posix()))
        return _checked(FetchedPair(name=name, folder=folder, files=files, commit=None), necessary, use)
    from huggingface_hub import HfApi

    from .refusals import explained

    api = HfApi(endpoint=endpoint and endpoint.rstrip("/"))
    try:
        with explained(name):
            info = api.model_info(name, revision=revision)
            files = tuple(sorted(file.rfilename for file in info.siblings or () if is_allowed(file.rfilename)))
            found = FetchedPair(name=name, folder=target or folder, files=files, commit=info.sha)
            _checked(found, necessary, use)
            paths = [path for path in files if wanted(path)]
            place = api.snapshot_download(name, revision=info.sha, local_dir=target, allow_patterns=paths)
    except OSError as error:
        raise BistillError(f"{name}: fetching it failed ({first_line(error)}). Give the same command again.") from error
    found = replace(found, folder=Path(str(place)))
    if target is not None:
        for file in files_of(target):  # what another commit had
            if is_allowed(file.as_posix()) and file.as_posix() not in files:
                (target / file).unlink()
    if missing := [path for path in paths if not (found.folder / path).is_file()]:
        raise BistillError(f"{name}: {missing[0]} could not be fetched. Give the same command again.")
    return found


def _checked(pair: FetchedPair, necessary: Iterable[str], use: str) -> FetchedPair:
    for name in necessary:
        if name not in pair.files:
            raise InputError(
                f"there is no {name}, so this is no pair that {use}",
                field="pair",
                value=pair.name,
                remedy="name a published pair's Hub id, or a folder that a run packaged",
            )
    return pair
