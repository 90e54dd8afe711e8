"""Files of a published pair beside the reproduced ones: which are the same, and how far apart weights are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import BistillError, first_line
from ..evaluation.results import RESULTS_FILE
from ..model.modeling_bistill import BASE_FILE
from ..sentence_encoders import MODULE_PATHS
from ..sources import file_sha256
from .pair_folder import CONFIG_FILE, RECIPE_FILE, TOKENIZER_FILES
from .repository import DELTA_FILE, files_of, is_allowed

if TYPE_CHECKING:
    from torch import Tensor

    from .reproduce import Prepared

State = Literal["identical", "same content", "differs", "missing", "new", "left out"]

_MODEL = (CONFIG_FILE, BASE_FILE, *TOKENIZER_FILES)
_OF_VERSIONS = ("versions", "sha256", "transformers_version", "written_by")
"""In JSON files: what is not of the pair, but of the libraries and the machine that made it."""

_OF_TASKS = ("tasks", "default_tasks")


@dataclass(frozen=True, kw_only=True)
class ComparedFile:
    """A file of the published pair and the reproduced one.

    Attributes:
        path: Its path in the repository.
        state: "identical" byte for byte; "same content" for JSON that differs in versions of libraries alone.
        size: Bytes of the published file; None where there is none.
        distance: For weights that differ, norm of the difference over norm of the published ones; None where it was
            not measured.
    """

    path: str
    state: State
    size: int | None
    distance: float | None = None


def compare_files(prepared: Prepared, repository: Path, endpoint: str | None) -> tuple[ComparedFile, ...]:
    """Compare a reproduced pair's files with the published ones by hash, those of the Hub without fetching them.

    Args:
        prepared: What was run.
        repository: The reproduced pair.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.

    Returns:
        Files that models are loaded from, and those that hold recipe and scores, by path.

    Raises:
        InputError, BistillError: the Hub did not answer as it should.
    """
    ours = [file.as_posix() for file in files_of(repository) if _is_compared(file.as_posix())]
    there = prepared.pair.folder
    if prepared.pair.commit is None:
        sizes = {name: (there / name).stat().st_size for name in prepared.pair.files if _is_compared(name)}
        both = sizes.keys() & ours
        same = {name for name in both if file_sha256(there / name) == file_sha256(repository / name)}
    else:
        from .remote import changes_against

        found = changes_against(
            prepared.pair.shown,
            repository,
            ours,
            revision=prepared.pair.commit,
            deletable=lambda path: is_allowed(path) and _is_compared(path),
            endpoint=endpoint,
        )
        sizes = {change.path: change.remote_size for change in found if change.remote_size is not None}
        same = {change.path for change in found if change.kind == "same"}
    made = [task.name for task in prepared.recipe.tasks]
    files = []
    for path in sorted({*sizes, *ours}):
        state: State = "identical" if path in same else "differs"
        if path not in ours:
            task = path.split("/")[1] if path.startswith("tasks/") else None
            state = "missing" if task is None or task in made else "left out"
        elif path not in sizes:
            state = "new"
        elif state == "differs" and path.endswith(".json") and _same_content(path, prepared, repository):
            state = "same content"
        files.append(ComparedFile(path=path, state=state, size=sizes.get(path)))
    return tuple(files)


def _is_compared(path: str) -> bool:
    """Whether a file is one that models are loaded from, or holds recipe or scores; others tell of a machine."""
    return path == RECIPE_FILE or path.endswith(f"/{RESULTS_FILE}") or is_of_model(path)


def is_of_model(path: str) -> bool:
    """Whether a file is one that models or tokenizers are loaded from."""
    modules = any(re.fullmatch(pattern, path) for pattern in MODULE_PATHS)
    return path in _MODEL or path.endswith(f"/{DELTA_FILE}") or modules


def _same_content(path: str, prepared: Prepared, repository: Path) -> bool:
    """Whether two JSON files differ in nothing but versions, and places of this machine."""
    if path == RECIPE_FILE:
        return not prepared.changes and not prepared.left_out
    if not (prepared.pair.folder / path).is_file():
        return False
    contents = []
    for folder in (prepared.pair.folder, repository):
        try:
            content = json.loads((folder / path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return False
        if not isinstance(content, dict):
            return False
        contents.append({name: value for name, value in content.items() if name not in _OF_VERSIONS})
    if path == CONFIG_FILE and prepared.left_out:
        published, ours = contents
        tasks = dict(ours.get("tasks") or {})
        listed = dict(published.get("tasks") or {})
        contents = [{name: value for name, value in one.items() if name not in _OF_TASKS} for one in contents]
        return contents[0] == contents[1] and all(listed.get(name) == task for name, task in tasks.items())
    return bool(contents[0] == contents[1])


def with_distances(
    files: tuple[ComparedFile, ...],
    prepared: Prepared,
    repository: Path,
    endpoint: str | None,
    weights: bool,
    progress: bool,
) -> tuple[ComparedFile, ...]:
    """Measure how far weights that differ are apart, where the published ones are here or are to be fetched.

    Args:
        files: What `compare_files` returned.
        prepared: What was run.
        repository: The reproduced pair.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.
        weights: Fetch published weights that differ.
        progress: Say what is fetched.

    Raises:
        InputError, BistillError: the Hub did not answer as it should.
    """
    differing = [file for file in files if file.state == "differs" and file.path.endswith(".safetensors")]
    folder = prepared.pair.folder
    if prepared.pair.commit is not None:
        if not weights or not differing:
            return files
        folder = _fetch_weights(prepared, differing, endpoint, progress)
    far = {file.path: distance(folder / file.path, repository / file.path) for file in differing}
    return tuple(replace(file, distance=far.get(file.path)) for file in files)


def _fetch_weights(prepared: Prepared, files: Sequence[ComparedFile], endpoint: str | None, progress: bool) -> Path:
    from huggingface_hub import HfApi
    from rich.console import Console

    from .refusals import explained

    for file in files:
        Console(stderr=True, quiet=not progress).print(f"Fetching {file.path} ({(file.size or 0) / 1e6:,.1f} MB)")
    name, paths = prepared.pair.shown, [file.path for file in files]
    api = HfApi(endpoint=endpoint and endpoint.rstrip("/"))
    try:
        with explained(name):
            return Path(str(api.snapshot_download(name, revision=prepared.pair.commit, allow_patterns=paths)))
    except OSError as error:
        raise BistillError(f"{name}: fetching it failed ({first_line(error)}). Give the same command again.") from error


def distance(published: Path, reproduced: Path) -> float | None:
    """Tell how far weights are apart.

    Args:
        published: A safetensors file of weights, or of a delta.
        reproduced: Another one.

    Returns:
        The norm of the difference over the norm of the published weights; None for weights of other names or shapes,
        where all published ones are 0, or where they cannot be read, damaged as they are or of a newer format.
    """
    import torch
    from safetensors import SafetensorError

    try:
        theirs = _tensors(published)
    except (SafetensorError, ValueError):
        return None
    ours = _tensors(reproduced)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in {**theirs, **ours}.items()}
    if published.name != DELTA_FILE and theirs.keys() != ours.keys():
        return None
    difference = norm = 0.0
    for name, zero in zeros.items():
        one, other = theirs.get(name, zero).double(), ours.get(name, zero).double()
        if one.shape != other.shape:
            return None
        difference += float((other - one).square().sum())
        norm += float(one.square().sum())
    return float((difference / norm) ** 0.5) if norm else None


def _tensors(file: Path) -> dict[str, Tensor]:
    """Weights by name; those of a delta as what it adds to each parameter, its zeros included."""
    import torch
    from safetensors.torch import load_file

    from ..model.sparse_delta import SparseDelta

    if file.name != DELTA_FILE:
        return load_file(file)
    delta = SparseDelta.load(file)
    added = dict(delta.dense)
    for name, update in delta.sparse.items():
        flat = torch.zeros(update.shape, dtype=update.values.dtype).flatten()
        flat[update.indices] = update.values
        added[name] = flat.reshape(update.shape)
    return added
