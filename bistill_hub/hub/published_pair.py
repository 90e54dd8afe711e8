"""The small files of a published pair: enough to know what it was made of, without its weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..cards.facts import FACTS_FILE
from ..errors import BistillError, InputError, first_line
from ..evaluation.results import RESULTS_FILE
from ..evaluation.speed import SIZE_AND_SPEED_FILE
from .pair_folder import CONFIG_FILE, TOKENIZER_FILES
from .repository import files_of, is_allowed

RECIPE_FILE = "recipe.json"
_SMALL = (CONFIG_FILE, RECIPE_FILE, FACTS_FILE, SIZE_AND_SPEED_FILE, *TOKENIZER_FILES)


@dataclass(frozen=True, kw_only=True)
class PublishedPair:
    """A published pair, of which the small files have been fetched.

    Attributes:
        name: Its Hub id; of a folder, the folder's name.
        folder: Where its files are.
        files: Paths of those that a pair is made of; not all of them are in the folder.
        commit: The commit on the Hub; None for a folder.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    commit: str | None


def fetch_small_files(
    pair: str | os.PathLike[str], revision: str | None = None, endpoint: str | None = None
) -> PublishedPair:
    """Fetch one commit's recipe, scores, card facts, configuration and tokenizer; of a folder, list the files.

    Args:
        pair: Hub id of a published pair, or the folder of a packaged one.
        revision: Branch, tag or commit on the Hub.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.

    Raises:
        InputError: there is no such pair.
        BistillError: the Hub did not answer as it should.
    """
    folder, name = Path(pair), os.fspath(pair)
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                "a folder has no revisions", field="revision", value=revision, remedy="leave it out, or name a Hub id"
            )
        paths = (file.as_posix() for file in files_of(folder))
        return _checked(
            PublishedPair(
                name=folder.resolve().name, folder=folder, files=tuple(filter(is_allowed, paths)), commit=None
            )
        )
    from huggingface_hub import HfApi

    from .refusals import explained
    from .remote import check_destination

    check_destination(name, endpoint=endpoint)
    api = HfApi(endpoint=endpoint and endpoint.rstrip("/"))
    try:
        with explained(name):
            info = api.model_info(name, revision=revision)
            files = tuple(sorted(file.rfilename for file in info.siblings or () if is_allowed(file.rfilename)))
            found = _checked(PublishedPair(name=name, folder=folder, files=files, commit=info.sha))
            small = [path for path in files if path in _SMALL or path.endswith(f"/{RESULTS_FILE}")]
            place = Path(str(api.snapshot_download(name, revision=info.sha, allow_patterns=small)))
    except OSError as error:
        raise BistillError(f"{name}: fetching it failed ({first_line(error)}). Give the same command again.") from error
    if missing := [path for path in small if not (place / path).is_file()]:
        raise BistillError(f"{name}: {missing[0]} could not be fetched. Give the same command again.")
    return replace(found, folder=place)


def _checked(pair: PublishedPair) -> PublishedPair:
    for name in (CONFIG_FILE, RECIPE_FILE):
        if name not in pair.files:
            raise InputError(
                f"there is no {name}, so this is no pair that can be reproduced",
                field="pair",
                value=pair.name,
                remedy="name a published pair's Hub id, or a folder that a run packaged",
            )
    return pair
