"""What the runs of several recipes share: finished stages, kept by what went into them, and the source text's tokens.

A stage is done in the folder of the run that needs it first, as by a run of its own, so that either goes on where the
other stopped. When it is finished, the shared folder gets hard links to its files (copies where the disk knows none),
and the next run's folder gets links to those, manifest included. So every run's folder is whole: it can be moved,
copied, packaged or removed without the others, and a later run there finds its stages finished; and nothing takes room
twice. No stage writes into a finished one, it removes the folder first. Whoever changes a file by hand would change it
for all: what is taken is compared with the hashes in its manifest, and done again where they differ.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BistillError, first_line
from ..folders import check_writable
from ..power_cuts import bring_to_disk
from ..recipe import Language, Recipe
from ..sources import file_sha256
from ..tokenised_text import TOKENS_FILE, writing_tokens
from .counted_text import CountedText, read_text
from .executor import acquired
from .manifest import MANIFEST_FILE, StageRecord, complete, finished, lasting, versions
from .order import PHASE_1, STUDENT, Stage, text_inputs
from .stage_folder import empty

SHARED_FOLDER = "shared"
_DIGITS = 16
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


def place_by_content(folder: Path, slug: str, inputs: Mapping[str, Any]) -> Path:
    """Where something with these inputs is kept in a folder: equal inputs and versions have the same place."""
    description = json.dumps({**inputs, "versions": versions()}, sort_keys=True)
    return folder / f"{slug}-{hashlib.sha256(description.encode()).hexdigest()[:_DIGITS]}"


def keys_of(stages: Iterable[Stage]) -> dict[str, str]:
    """By stage a hash that equal stages share, whether what they need is finished or not."""
    keys: dict[str, str] = {}
    for stage in stages:
        content = {"settings": stage.settings, "needs": [keys[name] for name in stage.needs]}
        keys[stage.name] = hashlib.sha256(json.dumps([stage.name, content], sort_keys=True).encode()).hexdigest()
    return keys


def link_stage(source: Path, target: Path) -> None:
    """Make a finished stage's folder anew out of links to another one's files; it appears whole or not at all.

    Args:
        source: The finished stage.
        target: The new folder. What is there is removed.

    Raises:
        InputError: what is there cannot be removed.
    """
    record = json.loads((source / MANIFEST_FILE).read_text(encoding="utf-8"))
    place = target.resolve() if target.is_symlink() else target  # the link stays
    unfinished = place.with_name(f".{place.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    files = {name: unfinished / name for name in (*lasting(record["outputs"]), MANIFEST_FILE)}
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        _link(source / name, file)
    bring_to_disk(unfinished, files.values())
    empty(place)
    if place.exists():
        shutil.rmtree(place)
    unfinished.rename(place)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)


@dataclass(frozen=True)
class SharedText:
    """Where the tokens of a source text are kept.

    Attributes:
        name: What they are called in the manifest.
        inputs: What they depend on.
        place: The folder.
    """

    name: str
    inputs: Mapping[str, Any]
    place: Path

    @classmethod
    def of(cls, folder: Path, recipe: Recipe) -> SharedText:
        """Tell it for a recipe's source text, below the shared folder."""
        name, inputs = f"{recipe.source.code} tokens", text_inputs(recipe, recipe.source)
        return cls(name, inputs, place_by_content(folder, name.replace(" ", "-"), inputs))


class FailedBeforeError(Exception):
    """What is to be done has failed before, for another recipe."""


def failure(slug: str | None, error: Exception) -> str:
    """Say in a line why a stage failed."""
    text = str(error) if isinstance(error, BistillError) else f"{type(error).__name__}: {first_line(error)}"
    return f"{slug}: {text}" if slug else text


class Shared:
    """What one command's runs share.

    Kept is what two of its recipes need, and the counts of each source language's tokens, with the tokens themselves
    where two are to learn from the text; what is there of earlier commands is taken by any of them.

    Args:
        folder: Where it is kept.

    Attributes:
        folder: The same.
        failed: What went wrong, by the place where it would be kept.
        made: Places of what this command has done itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failed: dict[Path, str] = {}
        self.made: set[Path] = set()
        self._asked: Counter[str] = Counter()
        self._learners: Counter[Path] = Counter()
        self._finished: list[tuple[str, StageRecord, Path]] = []

    def expect(self, recipe: Recipe, folder: Path, stages: Sequence[Stage], again: Sequence[Stage]) -> None:
        """Learn which stages a run is going to need, before any of the command's runs begins.

        Args:
            recipe: The run's recipe.
            folder: The run's folder.
            stages: Its stages.
            again: Those that it does again, even if they are finished.
        """
        keys, redone = keys_of(stages), {stage.name for stage in again}
        self._asked.update(keys.values())
        records: dict[str, StageRecord] = {}
        for stage in stages:
            if stage.name not in redone and all(name in records for name in stage.needs):
                inputs = stage.inputs(records)
                record = finished(stage.name, folder / stage.slug, inputs)
                if record is not None:
                    records[stage.name] = record
                    self._finished.append((keys[stage.name], record, place_by_content(self.folder, stage.slug, inputs)))

        if recipe.bilingual.steps and any(stage.name == PHASE_1 for stage in stages) and PHASE_1 not in records:
            self._learners[SharedText.of(self.folder, recipe).place] += 1

    def several_learn_from(self, place: Path) -> bool:
        """Whether more than one of the command's recipes has yet to learn from the text whose tokens are kept there."""
        return self._learners[place] > 1

    def keep_finished(self) -> None:
        """Keep what runs have finished before and others need, so that none of these does it again."""
        for key, record, place in self._finished:
            if self._asked[key] > 1:
                self.keep(record, place)

    def several_need(self, key: str) -> bool:
        """Whether more than one of the command's recipes needs a stage."""
        return self._asked[key] > 1

    def has(self, name: str, place: Path, inputs: Mapping[str, Any]) -> bool:
        """Whether something is kept, as it was when it was finished."""
        record = finished(name, place, inputs)
        return record is not None and all(
            file_sha256(place / file) == sha for file, sha in lasting(record.outputs).items()
        )

    def keep(self, record: StageRecord, place: Path) -> None:
        """Keep a finished stage, unless it is kept already; one that was done just now takes the old one's place."""
        with self.locked(place):
            if record.skipped and finished(record.name, place):
                return
            link_stage(record.folder, place)
        if not record.skipped:
            self.made.add(place)

    @contextmanager
    def locked(self, place: Path) -> Iterator[None]:
        """Keep other commands from what is kept at a place, and wait for one that is at it.

        Raises:
            InputError: nothing can be written there.
        """
        check_writable(self.folder)
        with acquired(self.folder / f".{place.name}.lock"):
            yield


class SharingRun:
    """One of the runs: it takes what is shared and not to be done again, and keeps what others need.

    Args:
        shared: What the command's runs share.
        recipe: The run's recipe.
        folder: The run's folder.
    """

    def __init__(self, shared: Shared, recipe: Recipe, folder: Path) -> None:
        self.shared = shared
        self._recipe = recipe
        self._folder = folder
        self._keys: Mapping[str, str] = {}
        self._again: frozenset[str] = frozenset()
        self._at: tuple[str, Path] | None = None

    def begin(self, stages: Sequence[Stage], again: Sequence[Stage]) -> None:
        """Learn the run's stages, and which of them it does again, even if they are finished."""
        self._keys = keys_of(stages)
        self._again = frozenset(stage.name for stage in again)

    def place_of(self, stage: Stage, inputs: Mapping[str, Any]) -> Path:
        """Tell a stage's folder, in which it is finished now if it is shared.

        Raises:
            FailedBeforeError: it has failed for another recipe.
        """
        place, kept = self._folder / stage.slug, place_by_content(self.shared.folder, stage.slug, inputs)
        self._refuse_failed(kept)
        self._at = stage.slug, kept
        if finished(stage.name, place, inputs) is None and self._may_be_taken(stage.name, kept):
            with self.shared.locked(kept):
                if self.shared.has(stage.name, kept, inputs):
                    link_stage(kept, place)
        return place

    def keep(self, record: StageRecord) -> None:
        """Keep the stage that `place_of` was asked for last, now that it is finished, if others need it."""
        if self._at is not None and (self.shared.several_need(self._keys[record.name]) or self._at[1].exists()):
            self.shared.keep(record, self._at[1])
        self._at = None

    def read_text(self, tokenizer: Any, language: Language, *, progress: bool) -> CountedText:
        """Read a language's text as `counted_text.read_text` does; the source language's once for all recipes.

        Raises:
            FailedBeforeError: this has failed for another recipe.
        """
        if language != self._recipe.source:
            return read_text(tokenizer, language, progress=progress)
        text = SharedText.of(self.shared.folder, self._recipe)
        kept, several = text.place, self.shared.several_learn_from(text.place)

        def read(folder: Path) -> Mapping[str, Any]:
            if not several:
                return read_text(tokenizer, language, progress=progress).save(folder)
            with writing_tokens(folder / TOKENS_FILE, tokenizer, text.inputs) as keep:
                counted = read_text(tokenizer, language, progress=progress, keep=keep)
            return counted.save(folder)

        self._refuse_failed(kept)
        with self.shared.locked(kept):
            enough = not several or (kept / TOKENS_FILE).is_file()
            if not (enough and self._may_be_taken(STUDENT, kept) and self.shared.has(text.name, kept, text.inputs)):
                if (kept / MANIFEST_FILE).is_file():
                    empty(kept)
                try:
                    complete(text.name, kept, text.inputs, read)
                except Exception as error:
                    self.shared.failed[kept] = failure(STUDENT, error)
                    raise
                self.shared.made.add(kept)
            return CountedText.load(kept)

    def tokens_of(self, language: Language) -> Path | None:
        """Tell the file with the teacher's tokens of a language's text; None where none is kept."""
        if language != self._recipe.source:
            return None
        text = SharedText.of(self.shared.folder, self._recipe)
        with self.shared.locked(text.place):
            file = text.place / TOKENS_FILE
            return file if file.is_file() and self.shared.has(text.name, text.place, text.inputs) else None

    def fails(self, error: Exception) -> str:
        """Remember that the stage that was begun last has failed; return why in a line."""
        if isinstance(error, FailedBeforeError):
            return str(error)
        text = failure(self._at[0] if self._at else None, error)
        if self._at is not None:
            self.shared.failed[self._at[1]] = text
        return text

    def _may_be_taken(self, stage: str, kept: Path) -> bool:
        return stage not in self._again or kept in self.shared.made

    def _refuse_failed(self, kept: Path) -> None:
        if kept in self.shared.failed:
            raise FailedBeforeError(self.shared.failed[kept])
