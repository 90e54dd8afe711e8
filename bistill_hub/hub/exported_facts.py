"""Gathers what the card of an exported checkpoint states, out of the pair's own files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cards.card import CARD_FILE, read_card
from ..cards.exported import ExportedFacts
from ..cards.front_matter import FRONT_MATTER, parse_yaml
from ..cards.metadata_check import check_metadata
from ..cards.sections import read_section
from ..errors import InputError
from ..evaluation.results import RESULTS_FILE, Result, read_results
from ..model.configuration_bistill import BistillConfig

_RECIPE_FILE = "recipe.json"


def exported_facts(
    pair: str | os.PathLike[str],
    config: BistillConfig,
    *,
    name: str,
    task: str | None = None,
    head: str | None = None,
    revision: str | None = None,
) -> ExportedFacts:
    """Read a pair's card, recipe and scores.

    A checkpoint can be exported whatever its pair says of itself: what is missing or cannot be read is left out.

    Args:
        pair: Hub id or folder of a published or packaged pair.
        config: Its configuration.
        name: What the snippets are to load.
        task: The task; None for the encoder.
        head: The checkpoint's head; None for the encoder alone.
        revision: Branch, tag or commit of the pair on the Hub, as `resolve_revision` gives it.

    Returns:
        The facts, without the name of the native class and without labels.

    Raises:
        OSError: the Hub cannot be reached.
    """
    on_hub = not os.path.isdir(pair)
    card = _card(pair, revision)
    metadata = _metadata(card)
    recipe = _recipe(pair, revision)
    native = config.backbone_config()
    commit = getattr(revision, "resolved", revision) if on_hub else None
    results = _results(pair, task, revision)
    return ExportedFacts(
        name=name,
        pair=os.fspath(pair) if on_hub else _text(recipe.get("name")) or Path(pair).resolve().name,
        pair_url=_url(pair) if on_hub else None,
        commit=commit,
        backbone=config.backbone_type,
        architecture="",
        layers=native.num_hidden_layers,
        vocabulary=native.vocab_size,
        languages=(
            _language(config.source_language, recipe.get("source")),
            _language(config.target_language, recipe.get("target")),
        ),
        task=task,
        head=head,
        license=_text(metadata.get("license")),
        license_name=_text(metadata.get("license_name")),
        license_link=_link(_text(metadata.get("license_link")), pair if on_hub else None, commit),
        results=results,
        limits=_limits(card),
        synthetic=recipe.get("synthetic") is True or any(result.synthetic for result in results),
        smoke=recipe.get("smoke") is True or any(result.smoke for result in results),
    )


def check_publishable(card: str, facts: ExportedFacts) -> None:
    """Refuse a card that a published checkpoint cannot have.

    Args:
        card: The rendered card.
        facts: What it states.

    Raises:
        InputError: the pair's card names no licence, or one that the Hub does not take.
    """
    if facts.license is None:
        raise InputError(
            "the card of the pair names no licence",
            file=facts.pair,
            field="license",
            remedy="state it there, and export again",
        )
    for problem in check_metadata(card, file=f"the card of {facts.name}"):
        raise problem.error()


def _file(pair: str | os.PathLike[str], name: str, revision: str | None) -> Path | None:
    from transformers.utils import cached_file

    found = cached_file(pair, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None


def _card(pair: str | os.PathLike[str], revision: str | None) -> str:
    file = _file(pair, CARD_FILE, revision)
    try:
        return read_card(file) if file else ""
    except UnicodeDecodeError:
        return ""


def _metadata(card: str) -> Mapping[str, Any]:
    block = FRONT_MATTER.match(card)
    try:
        metadata = parse_yaml(block[2]) if block else None
    except InputError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _limits(card: str) -> str | None:
    try:
        return read_section(card, "limits").strip() or None
    except InputError:
        return None


def _recipe(pair: str | os.PathLike[str], revision: str | None) -> Mapping[str, Any]:
    file = _file(pair, _RECIPE_FILE, revision)
    try:
        recipe = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except (ValueError, RecursionError):
        return {}
    return recipe if isinstance(recipe, dict) else {}


def _results(pair: str | os.PathLike[str], task: str | None, revision: str | None) -> tuple[Result, ...]:
    file = _file(pair, f"tasks/{task}/{RESULTS_FILE}", revision) if task is not None else None
    try:
        return tuple(result for result in read_results(file) if result.task == task) if file else ()
    except (ValueError, TypeError, LookupError, RecursionError):
        return ()


def _language(code: str, stated: Any) -> tuple[str, str]:
    """Code and English name; the code again where the recipe does not tell the name."""
    same = isinstance(stated, dict) and stated.get("code") == code
    return code, (_text(stated.get("name")) if same else None) or code


def _url(pair: str | os.PathLike[str]) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{os.fspath(pair)}"


def _link(link: str | None, pair: str | os.PathLike[str] | None, commit: str | None) -> str | None:
    """The address of a licence's text, which may be a file of the pair's repository; `pair` is None for a folder's."""
    if link is None or link.startswith(("https://", "http://")):
        return link
    return None if pair is None else f"{_url(pair)}/blob/{commit or 'main'}/{link}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
