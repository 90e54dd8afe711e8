"""Whether what a task is chosen and tested by is held out: that it is not the training data under another field."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from ..sources import LabelledSource, file_sha256


def check_held_out(sources: Mapping[str, LabelledSource], fields: Mapping[str, str]) -> None:
    """Refuse a validation or test set that is the training file, or a copy of it.

    Rows that two differing `where` keep of one table may be held out. Data of the Hub are not looked at.

    Args:
        sources: A task's sources by their field in a recipe, each looked at by its `check`.
        fields: What names each of them, for the error.

    Raises:
        InputError: one is the training file.
    """
    train = sources.get("train")
    if train is None or train.path is None:
        return
    for name, source in sources.items():
        if name == "train" or source.path is None:
            continue
        other_rows = source.where and train.where and source.where != train.where
        if not other_rows and (problem := _same_file(source, train)):
            raise InputError(
                problem,
                field=fields[name],
                value=source.path,
                remedy="name a held-out file, nothing of which is trained on",
            )


def _same_file(source: LabelledSource, train: LabelledSource) -> str | None:
    """Say in which way a local file is that of the training data; None where it is another."""
    file, trained_on = source.file.resolve(), train.file.resolve()
    if file == trained_on:
        return "this is the training file"
    if file.stat().st_size == trained_on.stat().st_size and file_sha256(file) == file_sha256(trained_on):
        return f"its content is that of the training file, {train.name}"
    return None
