"""Pages that are written from the code when the site is built: the commands, and the fields of a recipe."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

COMMANDS, FIELDS = "<!-- commands -->", "<!-- fields -->"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put what the code says in the place of the marks."""
    for mark, written in ((COMMANDS, _commands), (FIELDS, _fields)):
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(written()))
    return markdown


def _commands() -> Iterator[str]:
    from bistill_hub.cli import main

    for name, command in main.commands.items():
        context = click.Context(command, info_name=f"bistill {name}")
        yield f"## bistill {name}\n"
        yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n"
        yield _prose(command.help or "")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
                yield _definition(f"`{record[0]}`", _escaped(record[1]))
        yield _prose(command.epilog or "")


def _prose(text: str) -> str:
    """Turn a help text into Markdown: paragraphs after the mark of click's own (backspace) keep their lines."""
    written = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        kept, mark, lines = paragraph.rpartition("\b\n")
        if not mark:
            written.append(_escaped(paragraph))
        else:
            title, *code = inspect.cleandoc(kept + lines).splitlines()
            written.append(
                f"{_escaped(title)}\n\n```text\n{inspect.cleandoc(chr(10).join(code))}\n```" if code else title
            )
    return "\n\n".join(written) + "\n"


def _fields() -> Iterator[str]:
    from bistill_hub.recipe import Recipe
    from bistill_hub.sources import LabelledSource, TextSource

    yield from _fields_of(Recipe, "")
    for title, source in (("A source of text", TextSource), ("A source of labels", LabelledSource)):
        yield f"## {title}\n\n{_escaped(source.__doc__ or '')}\n"
        yield from _fields_of(source, "")


def _fields_of(model: Any, prefix: str) -> Iterator[str]:
    """Yield the fields that hold values, and below headings of their own those that hold further fields."""
    groups = []
    for name, field in model.model_fields.items():
        if inner := _model_in(name, field.annotation):
            groups.append((inner, f"{prefix}{name}", field.description or ""))
            continue
        default = "" if field.is_required() else f" = `{_shown(field.get_default(call_default_factory=True))}`"
        yield _definition(f"`{prefix}{name}`{default}", _escaped(field.description or ""))
    for inner, path, description in groups:
        path += ".NAME" if path == "tasks" else ""
        yield f"## {path}\n\n{_escaped(description[:1].upper() + description[1:])}.\n"
        yield from _fields_of(inner, f"{path}.")


def _model_in(name: str, annotation: Any) -> Any:
    """Return the class of a field's own fields; sources are described once, and further languages are as the pair's."""
    from pydantic import BaseModel

    from bistill_hub.recipe import TaskRecipe
    from bistill_hub.sources import LabelledSource, TextSource

    if name == "tasks":
        return TaskRecipe
    is_model = inspect.isclass(annotation) and issubclass(annotation, BaseModel)
    return annotation if is_model and annotation not in (LabelledSource, TextSource) else None


def _shown(value: Any) -> str:
    """Write a default as `--set` takes it."""
    if isinstance(value, float) and not 1e-3 <= abs(value) <= 1e6 and value:
        return f"{value:g}"
    return json.dumps(dict(value) if isinstance(value, Mapping) else value).strip('"')


def _definition(term: str, text: str) -> str:
    return f"{term}\n:   {' '.join(text.split()) or '-'}\n"


def _escaped(text: str) -> str:
    """Keep Markdown from reading signs of a help text as its own; `code` stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", part) for part in parts)
