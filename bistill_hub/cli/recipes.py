"""`bistill recipes`: which recipes ship with the package, and what each still needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..recipe_list import ShippedRecipe

_EXAMPLE = """\b
Example, for what a recipe leaves to be checked:
  bistill recipes --language sw
  bistill plan en_sw --no-trial
"""


@click.command("recipes", short_help="List the recipes that ship with the package.", epilog=_EXAMPLE)
@click.option("--language", metavar="CODE", help="Only recipes with this source or target language, such as sw.")
@click.option("--teacher", metavar="WORD", help="Only recipes whose teacher's Hub id holds this word, such as mmBERT.")
@click.option("--task", metavar="TASK", help="Only recipes for this task, such as ner.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with licences and unverified facts.")
def recipes_command(language: str | None, teacher: str | None, task: str | None, as_json: bool) -> None:
    """List the recipes that ship with the package: languages, teacher, tasks, and how far they are.

    A name is what `bistill run` and `bistill plan` take. The last columns tell how many of a recipe's facts nobody has
    verified, which `bistill plan` prints, and what it needs before it can run; nothing is looked up on the Hub.
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
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Recipes: {len(recipes)}")
    table.add_column("name", no_wrap=True)  # it is what one copies
    for name in ("pair", "target", "teacher", "tasks"):
        table.add_column(name, overflow="fold")
    table.add_column("unverified", justify="right")
    table.add_column("needs", overflow="fold")
    for recipe in recipes:
        cells = (
            recipe.name,
            f"{recipe.source}-{recipe.target}",
            recipe.target_name,
            recipe.teacher,
            ", ".join(recipe.tasks),
            str(len(recipe.unverified)),
            "; ".join(recipe.needs),
        )
        table.add_row(*map(escape, cells))
    Console().print(table)
