"""Templates of cards: Markdown out of Jinja, with every value escaped unless a template says otherwise."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from ..resources import resource_dir

if TYPE_CHECKING:
    from jinja2 import Template

_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What could begin or end markup or a table's cell; an underscore inside a word means nothing."""


@cache
def template(name: str) -> Template:
    """Load a template of `model_cards`.

    What it writes out is escaped as Markdown, unless it passes the filter `safe`. Its own filters are `percent` (of a
    fraction, one decimal) and `number` (whole, with separators).
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resource_dir("model_cards")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
        finalize=_escaped,
    )
    environment.filters.update(percent=percent, number=number)
    return environment.get_template(name)


def percent(value: float) -> str:
    """Write a fraction as a percentage with one decimal, without the sign."""
    return f"{100 * value:.1f}"


def number(value: float) -> str:
    """Write a whole number with separators."""
    return f"{value:,.0f}"


def _escaped(value: object) -> object:
    """Write a value so that it is read as the text that it is: no Markdown, no HTML, no second line or cell."""
    from markupsafe import Markup

    if isinstance(value, Markup):  # passed the filter `safe`, or became a string of a program by `tojson`
        return value
    text = re.sub(r"\s+", " ", str(value))
    text = _MARKS.sub(r"\\\g<0>", text)
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, entity)
    return text
