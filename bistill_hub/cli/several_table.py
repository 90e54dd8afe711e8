"""The table that `bistill run` ends with where it was given several recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from ..evaluation.results import Result, retention
from ..pipeline.several import Outcome
from ..recipe import Recipe
from .printing import print_table

_NUMBERS = ("student", "teacher", "retention", "minutes")


def print_outcomes(recipes: Sequence[Recipe], outcomes: Sequence[Outcome]) -> None:
    """Print how each recipe's run ended, a line for each task.

    Args:
        recipes: All that were to be run.
        outcomes: How those ended that were come to, in the recipes' order.
    """
    print_table(outcome_table(recipes, outcomes))


def outcome_table(recipes: Sequence[Recipe], outcomes: Sequence[Outcome]) -> Table:
    """Lay out how each recipe's run ended, with the scores on the target language."""
    synthetic = any(recipe.synthetic for recipe in recipes)
    table = Table(title=f"Pairs; scores on the target language ({'synthetic, ' if synthetic else ''}in %)")
    for name in ("recipe", "languages", "task", "student", "teacher", "retention", "state", "minutes", "pair"):
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for index, recipe in enumerate(recipes):
        outcome = outcomes[index] if index < len(outcomes) else None
        minutes = "" if outcome is None else f"{outcome.seconds / 60:.1f}"
        place = outcome.result.repository if outcome is not None and outcome.result is not None else None
        ends = [escape(_state(outcome)), minutes, "" if place is None else escape(str(place))]
        languages = f"{recipe.source.code}-{recipe.target.code}"
        for row, cells in enumerate(_scores(recipe, outcome)):
            first = row == 0
            table.add_row(*([recipe.name, languages] if first else ["", ""]), *cells, *(ends if first else []))
    return table


def _state(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not finished"
    if outcome.result is None:
        return f"failed: {outcome.error}"
    return "finished before" if all(stage.skipped for stage in outcome.result.stages) else "finished"


def _scores(recipe: Recipe, outcome: Outcome | None) -> Iterator[list[str]]:
    """Yield for each task its name, the student's and the teacher's score, and how much the student keeps."""
    results = () if outcome is None or outcome.result is None else outcome.result.results
    for task in recipe.tasks:
        scored = {each.model: each for each in results if each.task == task.name and each.role == "target"}
        yield [task.name, *_pair(scored.get("student"), scored.get("teacher"))]
    if not recipe.tasks:
        yield ["", "", "", ""]


def _pair(student: Result | None, teacher: Result | None) -> list[str]:
    scores = ["" if each is None else f"{100 * each.score:.1f}" for each in (student, teacher)]
    if student is None or teacher is None:
        return [*scores, ""]
    kept = retention(student, teacher)
    return [*scores, "teacher not above trivial" if kept is None else f"{100 * kept:.1f}"]
