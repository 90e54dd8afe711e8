"""Looks a published or packaged pair over: is it whole, unaltered, loadable, and is what its card says true?

Nothing of the repository's code is run, and from the Hub only files are fetched that a pair is made of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards.card import CARD_FILE
from ..cards.facts import FACTS_FILE
from ..cards.metadata import is_hub_id
from ..errors import BistillError, InputError, first_line
from ..model.auto import AUTO_MAP, TRAVELLING_FILES
from ..model.configuration_bistill import HEADS, BistillConfig
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta, state_sha256
from ..pipeline.portable import published_sha256
from ..sentence_encoders import MODULES_FILE, check_modules
from ..sources import file_sha256
from .check_card import check_card, check_results
from .check_model import check_loading, check_tokenizer
from .claims import Claim, claims_of
from .pair_folder import CONFIG_FILE, LEADS_ELSEWHERE, TOKENIZER_FILES, PairFolder, delta_file, opened
from .released import released_code
from .report import Finding, Findings, Report
from .repository import files_of, is_allowed
from .rerun import Again, check_again

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["CHECKS", "Claim", "Finding", "Report", "check_pair"]

RECIPE_FILE = "recipe.json"
_NECESSARY = (CONFIG_FILE, BASE_FILE, *TOKENIZER_FILES, CARD_FILE, RECIPE_FILE, FACTS_FILE, *TRAVELLING_FILES)
_KEPT_BESIDE = (".git/", ".cache/huggingface/", ".gitattributes")
"""What git, the Hub and its client keep beside a pair's files."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PACKAGE_AGAIN = "package the run again"


def check_pair(
    pair: str | os.PathLike[str],
    *,
    revision: str | None = None,
    rerun: str | None = None,
    tests: Mapping[str, str | os.PathLike[str]] | None = None,
    progress: bool = False,
) -> Report:
    """Check a pair: files, hashes, code, tokenizer, loading, results and card; on request, evaluate it again.

    Args:
        pair: Folder of a packaged pair, or Hub id of a published one.
        revision: Branch, tag or commit on the Hub; one commit is checked, even if the branch moves meanwhile.
        rerun: A task to evaluate again on the test sets that its results name.
        tests: Test file by language code, for results that name a file instead of a data set of the Hub.
        progress: Show progress bars.

    Returns:
        All findings, of which a good pair has none, and what a person has to read.

    Raises:
        InputError: there is no such pair, it cannot be fetched, or the test data cannot be had.
        BistillError: the Hub did not answer as it should.
    """
    from tqdm.auto import tqdm

    again = None
    if rerun is not None:
        again = Again(task=rerun, tests=dict(tests or {}), progress=progress)
        again.check_files()
    elif tests:
        raise InputError(
            "test data serve to evaluate again",
            field="tests",
            value=sorted(tests),
            remedy="name the task to evaluate (--rerun, rerun=), or leave them out",
        )
    folder, files, commit = _fetch(pair, revision)
    with opened(folder, files) as inspected, _quiet():
        if again is not None:
            again.prepare(inspected)
        findings: list[Finding] = []
        done = []
        for name, check in tqdm(CHECKS.items(), desc="checks", disable=not progress):
            if name in _BY_CONFIGURATION and inspected.config is None:
                continue
            collected = Findings(name, inspected.models)
            with collected.within(None, "the check could not be finished", "mend what else was found, and check again"):
                check(inspected, collected)
            findings += collected.found
            done.append(name)
        if again is not None and inspected.config is not None:
            collected = Findings("rerun", inspected.models)
            check_again(inspected, again, collected)
            findings += collected.found
            done.append("rerun")
        to_read = claims_of(inspected)
    return Report(os.fspath(pair), commit, tuple(findings), tuple(done), tuple(inspected.notes), to_read)


def check_structure(pair: PairFolder, findings: Findings) -> None:
    """Look for files that no pair has, and for those that each pair has."""
    for name in pair.files:
        if not is_allowed(name):
            findings.add(
                name,
                "a file that no pair has",
                "remove it; a pair is safetensors, JSON, Markdown, PNG and the files that this package copies",
            )
            continue
        with findings.within(name, "it cannot be read", _PACKAGE_AGAIN):
            if name.endswith(".png") and not (pair.folder / name).read_bytes().startswith(_PNG):
                findings.add(name, "not a PNG file", _PACKAGE_AGAIN)
            elif name.endswith(".json"):
                json.loads((pair.folder / name).read_text(encoding="utf-8"))
    if MODULES_FILE in pair.files:
        with findings.within(MODULES_FILE, "its modules cannot be loaded as they should", _PACKAGE_AGAIN):
            check_modules(str(pair.folder))
    wanted = [*_NECESSARY, *map(delta_file, sorted(pair.listed_tasks))]
    for name in (name for name in wanted if name not in pair.files):
        findings.add(name, "the file is missing", _PACKAGE_AGAIN)


def check_hashes(pair: PairFolder, findings: Findings) -> None:
    """Hash base and recipe anew, and compare with what configuration, deltas and card say that they belong to."""
    from safetensors.torch import load_file

    with findings.within(CONFIG_FILE, "it cannot be read as a pair's configuration", _PACKAGE_AGAIN):
        BistillConfig.from_pretrained(pair.models)
    base = None
    if BASE_FILE in pair.files:
        with findings.within(BASE_FILE, "it cannot be read", "fetch or package it again"):
            state = load_file(pair.models / BASE_FILE)
            base = state_sha256(state)
            for name, tensor in state.items():
                if not bool(tensor.isfinite().all()):
                    findings.add(BASE_FILE, f"{name} holds values that are not finite", "train again")
    if base is not None and base != pair.fields.get("base_sha256"):
        recorded = pair.fields.get("base_sha256")
        findings.add(
            BASE_FILE,
            f"its weights have the hash {base}, {CONFIG_FILE} records {recorded}",
            "restore the weights that the configuration was written for",
        )
    if RECIPE_FILE in pair.files:
        _check_recipe(pair, findings)
    for task, name in pair.delta_files.items():
        with findings.within(name, "it cannot be read", "restore the file, or train the task again"):
            _check_delta(pair, task, SparseDelta.load(pair.models / name), base, findings)


def _check_recipe(pair: PairFolder, findings: Findings) -> None:
    content = pair.read_json(RECIPE_FILE)
    if not content:
        return  # which another check tells
    found, recorded, told = published_sha256(content), content.get("sha256"), pair.read_json(FACTS_FILE)
    if recorded != found:
        problem = f"its fields have the hash {found}, it records {recorded}"
        findings.add(RECIPE_FILE, problem, "restore the recipe that was packaged; for another one, run that")
    elif told and told.get("recipe_sha256") != found:
        problem = f"the card was written for the recipe {told.get('recipe_sha256')}, {RECIPE_FILE} has the hash {found}"
        findings.add(FACTS_FILE, problem, "restore recipe and card of one run")


def _check_delta(pair: PairFolder, task: str, delta: SparseDelta, base: str | None, findings: Findings) -> None:
    name = pair.delta_files[task]
    made_for = delta.metadata.get("base_sha256")
    if base is not None and made_for != base:
        findings.add(
            name, f"it was made for the weights {made_for}, {BASE_FILE} has {base}", "train the task on these weights"
        )
    head = delta.metadata.get("head")
    if head not in HEADS:
        findings.add(name, f"head = {head!r}: there is no such head", "train the task again")
    for field in ("head", "labels"):
        listed = pair.listed_tasks.get(task, {}).get(field)
        if task in pair.listed_tasks and listed != delta.metadata.get(field):
            findings.add(
                name, f"{field} = {delta.metadata.get(field)!r}: {CONFIG_FILE} lists {listed!r}", _PACKAGE_AGAIN
            )
    if delta.metadata.get("task") != task:
        findings.add(name, f"task = {delta.metadata.get('task')!r}: it lies in the folder of {task}", _PACKAGE_AGAIN)
    parts = [*delta.dense.items(), *((parameter, update.values) for parameter, update in delta.sparse.items())]
    for parameter, tensor in parts:
        if not bool(tensor.isfinite().all()):
            findings.add(name, f"{parameter} holds values that are not finite", "train the task again")


def check_code(pair: PairFolder, findings: Findings) -> None:
    """Compare the files for remote code with those of the released versions, and see that no other code is named."""
    versions = released_code()
    fitting = set(versions)
    for name in (name for name in TRAVELLING_FILES if name in pair.files):
        found = file_sha256(pair.folder / name)
        of = {version for version, hashes in versions.items() if hashes.get(name) == found}
        if not of:
            findings.add(
                name,
                f"its SHA-256 is {found}, which is no released version's",
                "do not load it with trust_remote_code, and restore the file; or upgrade bistill-hub if it is newer",
            )
        fitting &= of or fitting
    if not fitting:
        findings.add(None, "the files for remote code are of different versions", "copy those of one version")
    if pair.fields and pair.fields.get("auto_map") != AUTO_MAP:
        findings.add(CONFIG_FILE, _other_code(pair.fields.get("auto_map")), "restore the auto_map that was packaged")
    tokenizer = "tokenizer_config.json"
    if "auto_map" in pair.read_json(tokenizer):
        findings.add(tokenizer, "auto_map names code, which no pair's tokenizer has", "remove the field")
    for field in (field for field in LEADS_ELSEWHERE if field in pair.fields):
        findings.add(
            CONFIG_FILE, f"{field} = {pair.fields[field]!r}: it may lead to other code, no model is loaded", "remove it"
        )


def _other_code(auto_map: Any) -> str:
    if not isinstance(auto_map, dict):
        return f"auto_map = {auto_map!r}: not the classes of a pair"
    differing = sorted(name for name in {*auto_map, *AUTO_MAP} if auto_map.get(name) != AUTO_MAP.get(name))
    shown = ", ".join(f"auto_map.{name} = {auto_map.get(name)!r}" for name in differing)
    elsewhere = any("--" in str(auto_map.get(name)) for name in differing)
    return f"{shown}: {'code of another repository' if elsewhere else 'not the class that loads a pair'}"


CHECKS: Mapping[str, Callable[[PairFolder, Findings], None]] = {
    "files": check_structure,
    "hashes": check_hashes,
    "code": check_code,
    "tokenizer": check_tokenizer,
    "loading": check_loading,
    "results": check_results,
    "card": check_card,
}
"""The checks that are always done, in order."""

_BY_CONFIGURATION = ("tokenizer", "loading", "results")
"""Those that need a configuration by which models can be loaded."""


def _fetch(pair: str | os.PathLike[str], revision: str | None) -> tuple[Path, tuple[str, ...], str | None]:
    """Return the folder of a pair, what is in it, and the commit if it is of the Hub.

    Raises:
        InputError: there is no such pair, or it cannot be fetched.
        BistillError: the Hub did not answer as it should.
    """
    folder, name = Path(pair), os.fspath(pair)
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                "a folder has no revisions", field="revision", value=revision, remedy="leave it out, or name a Hub id"
            )
        paths = (file.as_posix() for file in files_of(folder))
        return folder, tuple(path for path in paths if not path.startswith(_KEPT_BESIDE)), None
    if folder.exists() or not is_hub_id(name):
        raise InputError(
            "neither a folder nor a Hub id",
            field="pair",
            value=name,
            remedy="name a folder that a run packaged, or a published pair's Hub id",
        )
    return _download(name, revision)


def _download(repo_id: str, revision: str | None) -> tuple[Path, tuple[str, ...], str]:
    """Fetch one commit's files, those left out that no pair has: it is enough to know their names."""
    from huggingface_hub import HfApi, constants, snapshot_download

    from .refusals import explained, offline

    if constants.HF_HUB_OFFLINE:  # what has been fetched before may be a part
        raise offline(repo_id)
    api: HfApi = HfApi()
    try:
        with explained(repo_id):
            info = api.model_info(repo_id, revision=revision)
            listed = sorted(file.rfilename for file in info.siblings or ())
            wanted = [name for name in listed if is_allowed(name)]
            folder = Path(str(snapshot_download(repo_id, revision=info.sha, allow_patterns=wanted)))
    except OSError as error:  # a full disk, or a connection that broke between two files
        raise BistillError(
            f"{repo_id}: fetching it failed ({first_line(error)}). Give the same command again."
        ) from error
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        raise BistillError(f"{repo_id}: {missing[0]} could not be fetched. Give the same command again.")
    return folder, tuple(name for name in listed if not name.startswith(_KEPT_BESIDE)), str(info.sha)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from telling what it makes of each file: the report does."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
