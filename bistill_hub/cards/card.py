"""Renders a pair's card from facts alone: equal facts give equal bytes, and nothing is looked up."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from ..errors import InputError
from ..evaluation.results import Result, retention
from ..resources import resource_dir
from .facts import CardFacts

_LIBRARY = "transformers"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What could begin or end markup or a table's cell; an underscore inside a word means nothing."""


def render_card(facts: CardFacts) -> str:
    """Render the card of a pair.

    Args:
        facts: What it states.

    Returns:
        Markdown with the Hub's metadata block.

    Raises:
        InputError: there is no licence, or nothing is said of limits and biases.
    """
    for name in ("license", "limits"):
        if not getattr(facts, name).strip():
            raise InputError(
                "a card cannot do without it",
                file=facts.name,
                field=name,
                value=getattr(facts, name),
                remedy="write it",
            )
    if facts.teacher is not None and not _HUB_ID.fullmatch(facts.teacher):
        facts = replace(facts, teacher=None, teacher_revision=None)  # a folder is no name that others could use
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resource_dir("model_cards")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML: what the template writes out is escaped here, unless it passes the filter `safe`.
        autoescape=False,
        finalize=_text,
    )
    environment.filters.update(percent=_percent, number=_number)
    body = environment.get_template("pair.md.j2").render(
        facts=facts, rows=_rows(facts), metadata=_metadata(facts), tasks=sorted(facts.tasks)
    )
    return body if body.endswith("\n") else body + "\n"


def _metadata(facts: CardFacts) -> str:
    """Render the YAML block's content with the Hub's own data class."""
    from huggingface_hub import ModelCardData

    values: dict[str, Any] = {
        "language": [facts.source[0], facts.target[0]],
        "license": facts.license,
        "library_name": _LIBRARY,
        "pipeline_tag": "fill-mask" if facts.language_modelling_head else "feature-extraction",
        "tags": [
            "bistill",
            "bilingual",
            *(["distillation"] if facts.taught or facts.tasks else ["vocabulary-trimming"]),
            f"pair:{facts.source[0]}-{facts.target[0]}",
        ],
    }
    if datasets := [name for name in facts.datasets if _HUB_ID.fullmatch(name)]:
        values["datasets"] = datasets
    if facts.teacher is not None:
        values["base_model"] = facts.teacher
        values["base_model_relation"] = "finetune"
    return ModelCardData(**values).to_yaml().strip()


def _rows(facts: CardFacts) -> list[dict[str, Any]]:
    """One row a task, language and model, with retention where there is something to retain."""
    rows = []
    teachers = {(r.task, r.language): r for r in facts.results if r.model == "teacher"}
    for result in facts.results:
        teacher = teachers.get((result.task, result.language))
        rows.append(
            {
                "result": result,
                "retention": _retention(result, teacher),
                "dataset": _dataset(result),
            }
        )
    return rows


def _retention(result: Result, teacher: Result | None) -> str:
    if teacher is None or result.model == "teacher":
        return ""
    kept = retention(result, teacher)
    return "teacher not above the trivial baseline" if kept is None else _percent(kept)


def _dataset(result: Result) -> str:
    name = result.dataset if _HUB_ID.fullmatch(result.dataset) else PurePath(result.dataset).name
    parts = [name, result.dataset_config, result.split]
    revision = result.revision or "main"
    if re.fullmatch("(sha256:)?[0-9a-f]{40,64}", revision):
        revision = revision.removeprefix("sha256:")[:12]
    subset = f" ({result.subset})" if result.subset else ""
    return "/".join(part for part in parts if part) + f"@{revision}{subset}"


def _text(value: object) -> object:
    """Write a value so that it is read as the text that it is: no Markdown, no HTML, no second line or cell."""
    from markupsafe import Markup

    if isinstance(value, Markup):  # passed the filter `safe`, or became a string of a program by `tojson`
        return value
    text = re.sub(r"\s+", " ", str(value))
    text = _MARKS.sub(r"\\\g<0>", text)
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, entity)
    return text


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _number(value: float) -> str:
    return f"{value:,.0f}"
