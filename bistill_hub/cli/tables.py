"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ..demo.showcase import Answer, Loaded
    from ..evaluation.results import Result


def number_table(title: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left")
    return table


def score_table(results: Sequence[Result]) -> Table:
    """Lay out scores, each student's and baseline's retention beside its score where a teacher was scored too."""
    from ..evaluation.results import retention

    teachers = {(result.task, result.language): result for result in results if result.model == "teacher"}
    of = "Scores of a synthetic demonstration" if any(result.synthetic for result in results) else "Scores"
    if any(result.smoke for result in results):
        of = "Scores of a smoke run, which say nothing about the pair"
    table = Table(title=f"{of} (%), 95 % bootstrap intervals over examples")
    for name in ("task", "language", "model", "metric", "score", "interval", "trivial", "retention"):
        table.add_column(name, justify="right" if name in ("score", "trivial", "retention") else "left")
    for result in results:
        teacher = teachers.get((result.task, result.language))
        kept = None if teacher is None or result is teacher else retention(result, teacher)
        missing = "" if teacher is None or result is teacher else "teacher not above trivial"
        table.add_row(
            result.task,
            f"{result.language} ({result.role})",
            result.model.replace("_", " "),
            result.metric,
            f"{100 * result.score:.1f}",
            f"{100 * result.low:.1f} to {100 * result.high:.1f}",
            f"{100 * result.trivial:.1f}",
            missing if kept is None else f"{100 * kept:.1f}",
        )
    return table


def loaded_table(loaded: Sequence[Loaded]) -> Table:
    """Lay out what the Auto classes made of a pair."""
    table = Table(title="What loads")
    for name in ("Auto class", "task", "comes out as"):
        table.add_column(name)
    table.add_column("parameters", justify="right")
    for one in loaded:
        table.add_row(one.auto, one.task or "", one.native, f"{one.parameters:,}")
    return table


def answer_table(answers: Sequence[Answer]) -> Table:
    """Lay out test examples with the student's answers."""
    table = Table(title="The student's answers to the first test example of each set (synthetic)", show_lines=True)
    for name in ("task", "language", "text", "predicted", "gold"):
        table.add_column(name)
    for one in answers:
        table.add_row(one.task, one.language, escape(one.text), escape(one.predicted), escape(one.gold))
    return table
