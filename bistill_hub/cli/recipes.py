"""`bistill recipes`: which recipes ship with the package, and what each still needs."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..recipe_list import ShippedRecipe

_EXAMPLE = """\b
Example, for what a recipe leaves to be checked:
  bistill recipes --language sw
  bistill plan en_sw --no-trial
"""

_WIDE = 98
"""Characters that the table takes without a line broken."""

_LEGEND = (
    "open: facts that nobody has verified. needs: text, a file of your own (--set target.text=FILE); convert, the "
    "teacher's weights to safetensors (bistill convert-teacher). run: never, where nobody has run it as it stands."
)


@click.command("recipes", short_help="List the recipes that ship with the package.", epilog=_EXAMPLE)
@click.option("--language", metavar="CODE", help="Only recipes with this source or target language, such as sw.")
@click.option("--teacher", metavar="WORD", help="Only recipes whose teacher's Hub id holds this word, such as mmBERT.")
@click.option("--task", metavar="TASK", help="Only recipes for this task, such as ner.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with licences and unverified facts.")
def recipes_command(language: str | None, teacher: str | None, task: str | None, as_json: bool) -> None:
    """List the recipes that ship with the package: languages, teacher, tasks, and how far they are.

    A name is what `bistill run` and `bistill plan` take. The last columns tell how many of a recipe's facts nobody has
    verified, which `bistill plan` prints, what it needs before it can run, and where nobody has run it as it stands.
    Nothing is looked up on the Hub. Full Hub ids are in the JSON.
    """
    from ..recipe_list import list_recipes

    recipes = list_recipes(language=language, teacher=teacher, task=task)
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(recipe) for recipe in recipes], indent=2, ensure_ascii=False))
    elif recipes:
        _print(recipes)
    if not recipes:
        click.echo("No recipe fits.", err=as_json)


def _print(recipes: Sequence[ShippedRecipe]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ..recipe_list import SHORT_NEEDS

    console = Console()
    # Lines between columns would take a fifth of a narrow terminal.
    table = Table(
        title=f"Recipes: {len(recipes)}", box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left"
    )
    for name in ("name", "target", "teacher"):
        table.add_column(name, no_wrap=True)  # rich would break them anywhere
    table.add_column("tasks", overflow="fold")
    table.add_column("open", justify="right")
    for name in ("needs", "run"):
        table.add_column(name)
    narrow = console.width < _WIDE
    for recipe in recipes:
        teacher = recipe.teacher.rpartition("/")[2]
        cells = (
            recipe.name,
            _in_lines(recipe.target_name, 14) if narrow else recipe.target_name,
            _in_lines(teacher, 18) if narrow else teacher,
            ", ".join(recipe.tasks),
            str(len(recipe.unverified)),
            ", ".join(SHORT_NEEDS[need.partition(": ")[2]] for need in recipe.needs),
            "never" if recipe.never_run else "",
        )
        table.add_row(*map(escape, cells))
    console.print(table)
    console.print(_LEGEND, highlight=False)


def _in_lines(name: str, width: int) -> str:
    """Break a long name at spaces and hyphens."""
    return "\n".join(wrap(name, width))
