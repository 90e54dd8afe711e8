"""What a pair's scores were computed with, beside the weights: configuration, tokenizer's settings, order of labels.

Scores name the hash of their weights. That hash says nothing of what else decides what a model computes and what its
answers are called, so hashes of these are kept in `card.json`. They are of the files as they are written, so that they
are the same under every version of transformers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

_CONFIG_FILE = "config.json"
_TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

_NOT_COMPUTED = frozenset(
    (
        "_name_or_path",
        "architectures",
        "auto_map",
        "base_sha256",
        "default_tasks",
        "dtype",
        "format_version",
        "language_modelling_head",
        "layer_map",
        "model_type",
        "name_or_path",
        "source_language",
        "target_language",
        "tasks",
        "teacher",
        "teacher_revision",
        "torch_dtype",
        "transformers_version",
        "vocabulary",
        "written_by",
    )
)
"""Fields of config.json that say where a pair comes from and how it is loaded; all others make the native model."""


def configuration_sha256(fields: Mapping[str, Any]) -> str:
    """Hash what a configuration says of the computation: the backbone's type, and the backbone's own fields.

    Args:
        fields: What stands in config.json.
    """
    return _sha256({name: value for name, value in fields.items() if name not in _NOT_COMPUTED})


def tokenizer_sha256(fields: Mapping[str, Any]) -> str:
    """Hash a tokenizer's settings; what it splits text into is in tokenizer.json, of which config.json has the hash.

    Args:
        fields: What stands in tokenizer_config.json.
    """
    return _sha256(dict(fields))


def labels_sha256(labels: Sequence[str]) -> str:
    """Hash a task's labels in their order."""
    return _sha256(list(labels))


def with_tasks(
    known: Mapping[str, Any] | None,
    repository: Path,
    tasks: Mapping[str, Mapping[str, Any]],
    scored: Collection[str],
) -> Mapping[str, Any] | None:
    """Add to what is known of a pair's scores what those of further tasks were computed with: the files that are there.

    Args:
        known: What is known; None if nothing is.
        repository: The pair's folder.
        tasks: All tasks, each with its `labels`.
        scored: Those whose scores were computed with the present files.

    Returns:
        `configuration` and `tokenizer`, each a hash, and `labels`, a hash by task; what is known where the files are
        not there.
    """
    contents = []
    for name in (_CONFIG_FILE, _TOKENIZER_CONFIG_FILE):
        if not (repository / name).is_file():
            return known
        contents.append(json.loads((repository / name).read_text(encoding="utf-8")))
    hashed = {name: labels_sha256(tasks[name].get("labels") or ()) for name in scored}
    return {
        "configuration": configuration_sha256(contents[0]),
        "tokenizer": tokenizer_sha256(contents[1]),
        "labels": {name: sha for name, sha in {**(known or {}).get("labels", {}), **hashed}.items() if name in tasks},
    }


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
