"""Renders a pair's card from facts alone: equal facts give equal bytes, and nothing is looked up."""

from __future__ import annotations

from typing import Any

from ..evaluation.results import Result, retention
from ..resources import resource_dir
from .facts import CardFacts

_LIBRARY = "transformers"


def render_card(facts: CardFacts) -> str:
    """Render the card of a pair.

    Args:
        facts: What it states.

    Returns:
        Markdown with the Hub's metadata block.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resource_dir("model_cards")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML: `cell` and `text` escape what could break a table or a block
    )
    environment.filters.update(cell=_cell, percent=_percent, number=_number)
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
        "tags": ["bistill", "bilingual", "distillation", f"pair:{facts.source[0]}-{facts.target[0]}"],
    }
    if facts.datasets:
        values["datasets"] = list(facts.datasets)
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
    parts = [result.dataset, result.dataset_config, result.split]
    revision = (result.revision or "main").removeprefix("sha256:")[:12]
    return "/".join(part for part in parts if part) + f"@{revision}"


def _cell(value: object) -> str:
    """Make a value safe inside a Markdown table's cell and outside of HTML."""
    text = " ".join(str(value).split())
    for mark, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "\\`")):
        text = text.replace(mark, escaped)
    return text


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _number(value: float) -> str:
    return f"{value:,.0f}"
