"""What is published of a recipe: everything but where things lie on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoint_files import local_name
from ..recipe import Recipe, TaskRecipe
from ..sources import LabelledSource, TextSource, file_sha256
from ..teacher import LEGACY_PREFIX
from .manifest import versions

BESIDE_THE_RECIPE = ("sha256", "versions")
"""What stands in `recipe.json` that is no field of a recipe."""


def published(recipe: Recipe) -> dict[str, Any]:
    """What `recipe.json` holds: the recipe as it is published, its hash, and the libraries' versions."""
    fields = portable(recipe)
    return {**fields, "sha256": published_sha256(fields), "versions": versions()}


def published_sha256(content: Mapping[str, Any]) -> str:
    """Hash a published recipe: 64 hexadecimal digits, the same on every machine and for every version of a library.

    Args:
        content: What `recipe.json` holds, or will hold: JSON values.
    """
    fields = {name: value for name, value in content.items() if name not in BESIDE_THE_RECIPE}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def portable(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it is published: local files by name and hash, never by where they lie."""
    fields: dict[str, Any] = recipe.model_dump(mode="json")
    fields["teacher"]["model"] = shown_name(recipe.teacher.model)
    for field, language in (("source", recipe.source), ("target", recipe.target)):
        fields[field]["text"] |= _portable_source(language.text)
    for place, further in zip(fields["further_languages"], recipe.further_languages, strict=True):
        place["text"] |= _portable_source(further.text)
    fields["tasks"] = [portable_task(task) for task in recipe.tasks]
    fields["teacher"]["language_deltas"] = {
        code: shown_name(name) for code, name in recipe.teacher.language_deltas.items()
    }
    return fields


def portable_task(task: TaskRecipe) -> dict[str, Any]:
    """The same of one task."""
    fields: dict[str, Any] = task.model_dump(mode="json")
    for name, source in task.sources.items():
        fields[name] |= _portable_source(source)
    for name in ("model", "delta"):
        if fields["teacher"][name] is not None:
            fields["teacher"][name] = shown_name(fields["teacher"][name])
    return fields


def public_name(model: str) -> str | None:
    """A model's or delta's Hub id, or None if it is a folder or file here."""
    name = model.removeprefix(LEGACY_PREFIX)
    place = Path(local_name(name))
    looks_local = place.exists() or place.is_absolute() or name.startswith((".", "~"))
    return None if looks_local else model


def shown_name(model: str) -> str:
    """A model's or delta's Hub id, or the name of its folder or file here."""
    return public_name(model) or Path(model.removeprefix(LEGACY_PREFIX)).name


def _portable_source(source: TextSource | LabelledSource) -> dict[str, Any]:
    if source.path is None:
        return {}
    return {"path": source.name, "sha256": file_sha256(source.file)}
