"""What the Hub makes of a model card and a `config.json`: tags, the fields of a model's record, and its complaints.

Only what the client and these tests look at: the Hub derives more tags than are derived here, and checks more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from .objects import Tree

LICENSES = (
    "apache-2.0", "mit", "openrail", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "gpl-3.0", "agpl-3.0", "unknown", "other",
)  # fmt: skip
"""Some of the identifiers in the Hub documentation's page "Licenses"."""

_FRONT_MATTER = re.compile(rb"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)


def front_matter(card: bytes) -> Any:
    """The YAML at the top of a card, parsed; None if there is none.

    Raises:
        yaml.YAMLError: It is not YAML.
    """
    match = _FRONT_MATTER.match(card)
    return yaml.safe_load(match[1]) if match else None


def card_data(tree: Tree) -> dict[str, Any]:
    """The metadata of a commit's card; empty where there is no usable one."""
    try:
        data = front_matter(tree["README.md"].content)
    except (KeyError, yaml.YAMLError):
        return {}
    # Dates and the like are told as text, as JSON has nothing else for them.
    return json.loads(json.dumps(data, default=str)) if isinstance(data, dict) else {}


def config(tree: Tree) -> dict[str, Any] | None:
    """What the Hub tells of a commit's `config.json`; None if there is no usable one."""
    try:
        content = json.loads(tree["config.json"].content)
    except (KeyError, ValueError):
        return None
    kept = ("architectures", "auto_map", "model_type")
    return {key: content[key] for key in kept if key in content} if isinstance(content, dict) else None


def tags(tree: Tree) -> list[str]:
    """The tags by which a model is found (`HfApi.list_models(filter=...)`), from its card and configuration."""
    data = card_data(tree)
    found = [data.get("library_name"), (config(tree) or {}).get("model_type"), *_list(data.get("tags"))]
    found += _list(data.get("language"))
    for key in ("dataset", "base_model", "license"):
        values = _list(data.get("datasets" if key == "dataset" else key))
        found += [f"{key}:{value}" for value in values]
    found.append(data.get("pipeline_tag"))
    return list(dict.fromkeys(str(tag) for tag in found if tag))


def safetensors(tree: Tree) -> dict[str, Any] | None:
    """Numbers of parameters by type, read from the header of `model.safetensors`; None if there is no usable one.

    The format: 8 bytes of length, little-endian, then that much JSON (safetensors documentation, "Format").
    """
    try:
        content = tree["model.safetensors"].content
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        parameters: dict[str, int] = {}
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for length in tensor["shape"]:
                    count *= length
                parameters[tensor["dtype"]] = parameters.get(tensor["dtype"], 0) + count
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return {"parameters": parameters, "total": sum(parameters.values())}


def complaints(card: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card (`HfApi._validate_yaml`, `ModelCard.validate`)."""
    try:
        data = front_matter(card.encode())
    except yaml.YAMLError as error:
        return [f"YAML Metadata Error: {' '.join(str(error).split())}"], []
    if data is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(data, dict):
        return ["YAML Metadata Error: the metadata must be an object"], []
    errors = []
    if "license" in data and any(entry not in LICENSES for entry in _list(data["license"])):
        errors.append(f'"license" must be one of [{", ".join(LICENSES)}]')
    for entry in _list(data.get("language")):
        if not isinstance(entry, str) or not re.fullmatch(r"[a-z]{2,3}(-[a-zA-Z0-9]+)*|multilingual|code", entry):
            errors.append(f'"language" must be an ISO 639 code in lower case, not {entry!r}')
    for key in ("tags", "datasets", "metrics"):
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            errors.append(f'"{key}" must be an array of strings')
    errors += _model_index_errors(data.get("model-index"))
    return errors, []


def _model_index_errors(index: Any) -> list[str]:
    """What is required: Hub documentation, page "Model Cards", section "Evaluation Results"."""
    if index is None:
        return []
    errors = []
    for number, model in enumerate(_list(index)):
        place = f'"model-index[{number}]'
        if not isinstance(model, Mapping) or not isinstance(model.get("name"), str):
            errors.append(f'{place}.name" is required')
            continue
        for position, result in enumerate(_list(model.get("results"))):
            inside = f"{place}.results[{position}]"
            needed = (("task", "type"), ("dataset", "type"), ("dataset", "name"))
            errors += [
                f'{inside}.{part}.{key}" is required'
                for part, key in needed
                if not isinstance(result, Mapping) or not (result.get(part) or {}).get(key)
            ]
            for which, metric in enumerate(_list(result.get("metrics")) if isinstance(result, Mapping) else []):
                missing = [key for key in ("type", "value") if not isinstance(metric, Mapping) or key not in metric]
                errors += [f'{inside}.metrics[{which}].{key}" is required' for key in missing]
    return errors


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
