"""Predictions on disk, one a line, written slice by slice: an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from ..tasks.task import Task

_BATCH = 1000


@dataclass(frozen=True)
class KeptPredictions:
    """A file that predictions are added to while they are made, and a second one that says what they are of.

    The second file has the same name and ".origin.json" behind it. Only predictions of the same origin are gone on
    with; others in the file are replaced.

    Attributes:
        file: One prediction a line as JSON, in the order of the examples.
        origin: JSON values that determine the predictions.
    """

    file: Path
    origin: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        file: Path,
        *,
        weights_sha256: str,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        dataset: Dataset,
        labels: tuple[str, ...],
        max_length: int,
    ) -> KeptPredictions:
        """Describe predictions by what they are made with and of.

        Args:
            file: Where they are kept.
            weights_sha256: Hash of the model's weights.
            tokenizer: Its tokenizer.
            task: The task.
            dataset: What `task.read` returned.
            labels: The head's label names.
            max_length: Sub-words that a model input may have.
        """
        origin = {
            "weights_sha256": weights_sha256,
            "tokenizer_sha256": _tokenizer_sha256(tokenizer),
            "task": repr(task),
            "labels": list(labels),
            "max_length": max_length,
            "examples": len(dataset),
            "examples_sha256": _examples_sha256(dataset),
        }
        return cls(file, origin)

    def resume(self, slice_examples: int) -> list[Any]:
        """Return the predictions that an interrupted evaluation has left, and make the files ready for further ones.

        Whole slices count: what an interruption has left of another one, such as half a line, is cut off.

        Args:
            slice_examples: Examples of a slice; the last one may have fewer.
        """
        if not self._is_ours():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._origin_file.unlink(missing_ok=True)
            self.file.write_bytes(b"")
            _write_whole(self._origin_file, json.dumps(self.origin, indent=2, ensure_ascii=False) + "\n")
            return []
        lines = _whole_lines(self.file.read_bytes())
        total = self.origin["examples"]
        count = len(lines) if len(lines) == total else min(len(lines), total) // slice_examples * slice_examples
        with self.file.open("r+b") as content:
            content.truncate(sum(len(line) for line in lines[:count]))
        return [json.loads(line) for line in lines[:count]]

    def append(self, predictions: Iterable[Any]) -> None:
        """Add a slice, and return when it is on the disk."""
        with self.file.open("ab") as content:
            content.write(b"".join(_line(prediction) for prediction in predictions))
            content.flush()
            os.fsync(content.fileno())

    @property
    def _origin_file(self) -> Path:
        return self.file.with_name(f"{self.file.name}.origin.json")

    def _is_ours(self) -> bool:
        if not (self.file.is_file() and self._origin_file.is_file()):
            return False
        try:
            found = json.loads(self._origin_file.read_text(encoding="utf-8"))
        except ValueError:
            return False
        return bool(found == self.origin)


def write_predictions(file: Path, predictions: Iterable[Any]) -> None:
    """Write predictions one a line as JSON, so that a score can be recomputed without a model."""
    with file.open("wb") as content:
        for prediction in predictions:
            content.write(_line(prediction))


def read_predictions(file: Path) -> list[Any]:
    """Read what `write_predictions` wrote.

    Raises:
        InputError: the file is not there, or a line of it is not JSON.
    """
    if not file.is_file():
        raise InputError("there is no such file", file=file, remedy="name a file of predictions, one a line as JSON")
    predictions = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            predictions.append(json.loads(line))
        except ValueError as error:
            raise InputError(
                f"not JSON ({error})",
                file=file,
                field=f"line {number}",
                remedy="evaluate again, which goes on behind the last whole slice",
            ) from error
    return predictions


def _line(prediction: Any) -> bytes:
    return (json.dumps(prediction, ensure_ascii=False) + "\n").encode()


def _whole_lines(content: bytes) -> list[bytes]:
    """Return the lines, each with its line feed, before the first one that is torn."""
    lines = []
    for line in content.splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        lines.append(line)
    return lines


def _write_whole(file: Path, text: str) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def _tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash what a fast tokenizer does to text, without the truncation and padding of its last call."""
    if not tokenizer.is_fast:
        return ""  # encoding refuses it
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content = {name: value for name, value in content.items() if name not in ("truncation", "padding")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _examples_sha256(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for batch in dataset.iter(batch_size=_BATCH):
        digest.update(json.dumps(batch, sort_keys=True).encode())
    return digest.hexdigest()
