"""Loads a pair that nobody vouches for: whatever is wrong with its files is one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import BistillError, InputError, first_line

if TYPE_CHECKING:
    from .model.configuration_bistill import BistillConfig


@contextmanager
def loading(pair: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one sentence why a pair's configuration, tokenizer or model cannot be loaded.

    What damaged files make other libraries raise has no common kind: `SafetensorError` (weights that are cut off),
    `StrictDataclassError`, `TypeError` and `AttributeError` (fields of another type), `LookupError`, `ArithmeticError`,
    `AssertionError` and `RuntimeError` (impossible sizes, unknown names), `RecursionError` (deep JSON), `ImportError`
    (a library that config.json asks for), and of tokenizers the bare `Exception`. So all are caught, and nothing
    belongs within but calls that read the pair's files.

    Args:
        pair: Hub id or folder.

    Raises:
        InputError: it cannot be loaded.
    """
    try:
        yield
    except (BistillError, MemoryError):
        raise
    except Exception as error:  # see above
        raise InputError(
            f"the pair cannot be loaded ({_reason(error)})",
            field="pair",
            value=str(pair),
            remedy="name a folder that a run packaged, or a published pair's Hub id",
        ) from error


def load_pair_config(pair: str | os.PathLike[str], revision: str | None = None) -> BistillConfig:
    """Read the configuration of a published or packaged pair.

    Args:
        pair: Hub id or folder.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: there is no such pair, it is another kind of model, or its fields are not a pair's.
    """
    from transformers import AutoConfig

    from .model import auto as _registered  # noqa: F401
    from .model.configuration_bistill import BistillConfig

    with loading(pair):
        # Said outright: where it is left open, transformers asks the user for a yes on the terminal.
        config = AutoConfig.from_pretrained(pair, revision=revision, trust_remote_code=False)
        if config.model_type != BistillConfig.model_type:
            raise ValueError(f"it is a model of the type {config.model_type!r}, not a pair")
        _check_fields(config)
    return config


def _check_fields(config: BistillConfig) -> None:
    """Refuse what transformers reads and nothing can be done with.

    Raises:
        ValueError: a field is not a pair's; the backbone's own configuration raises what it will.
    """
    from .model.configuration_bistill import HEADS

    for field in ("source_language", "target_language"):
        if not isinstance(code := getattr(config, field), str):
            raise ValueError(f"config.json: {field} = {code!r}: not the code of a language")
    for name, task in (config.tasks or {}).items():
        if not isinstance(task, Mapping) or task.get("head") not in HEADS:
            raise ValueError(f"config.json: tasks.{name}: it names no head that there is")
        labels = task.get("labels")
        if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"config.json: tasks.{name}: labels = {labels!r}: not a list of names")
    config.backbone_config()


def _reason(error: Exception) -> str:
    """The first line of what a library says, where that is a reason by itself."""
    said = first_line(error)
    if "ignore_mismatched_sizes" in said:
        return "its weights are of other sizes than its configuration asks for"
    if isinstance(error, KeyError):
        return f"something is missing: {said}"
    if said.endswith(":"):
        said = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
    return said.rstrip(".")
