"""`bistill pairs`: what pairs are published, how good, how small and how fast they are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.table import Table

    from ..hub.pairs import PublishedPair

_SYNTHETIC = "synthetic"

_PAIRS_EXAMPLE = """\b
Example, for taggers of names in Swahili, as a file for a spreadsheet:
  bistill pairs --target sw --task ner --format csv > pairs.csv
"""


@click.command("pairs", short_help="List the published pairs.", epilog=_PAIRS_EXAMPLE)
@click.option("--source", metavar="CODE", help="Only pairs with this source language, such as en.")
@click.option("--target", metavar="CODE", help="Only pairs with this target language, such as sw.")
@click.option("--task", metavar="TASK", help="Only pairs with this task, such as ner.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How they are printed; csv and json hold more than the table.",
)
@click.option("--endpoint", metavar="URL", help="The Hub's address.  [default: that of HF_ENDPOINT, or the Hub]")
def pairs_command(
    source: str | None,
    target: str | None,
    task: str | None,
    layout: Literal["table", "csv", "json"],
    endpoint: str | None,
) -> None:
    """List the pairs that are published on the Hub: scores of the student on each task, size and speed.

    Scores, size and speed are those that a pair's own card and files state. A line a task and test set; a cell is empty
    where the pair's files do not tell, and notes say why.
    """
    from ..hub.pairs import list_pairs

    pairs = list_pairs(source=source, target=target, task=task, endpoint=endpoint)
    if task is not None:
        pairs = tuple(replace(pair, scores=tuple(one for one in pair.scores if one.task == task)) for pair in pairs)
    if layout == "json":
        click.echo(json.dumps([_record(pair) for pair in pairs], indent=2, ensure_ascii=False))
    elif layout == "csv":
        click.echo(_csv(pairs), nl=False)
    elif pairs:
        _print(pairs)
    if not pairs:
        click.echo("No published pair fits.", err=layout != "table")


def _print(pairs: Sequence[PublishedPair]) -> None:
    from .printing import print_table

    print_table(_table(pairs))
    for pair in pairs:
        if pair.notes:
            click.echo(f"{pair.repo_id}: {'; '.join(pair.notes)}.")
    if conditions := sorted({pair.measured_on for pair in pairs if pair.measured_on}):
        click.echo(f"Speed was measured on {'; '.join(conditions)}.")


def _table(pairs: Sequence[PublishedPair]) -> Table:
    """Lay out a row for each score, and one for a pair without any."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Published pairs, scores of the students (%)")
    for name in ("repository", "pair", "task", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("source score", "target score", "parameters", "times as fast", "updated"):
        table.add_column(name, justify="right")
    for pair in pairs:
        for score in pair.scores or (None,):
            cells = [
                pair.repo_id,
                f"{pair.source}-{pair.target}" if pair.source else "",
                (score.task + (f" ({_SYNTHETIC})" if score.synthetic else "")) if score else "",
                (score.metric if score else None) or "",
                _percent(score.source if score else None),
                _percent(score.target if score else None),
                "" if pair.parameters is None else f"{pair.parameters:,}",
                "" if pair.times_as_fast is None else f"{pair.times_as_fast:.1f}",
                "" if pair.updated is None else pair.updated.date().isoformat(),
            ]
            table.add_row(*map(escape, cells))
    return table


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.1f}"


def _record(pair: PublishedPair) -> dict[str, Any]:
    """A pair as JSON values; scores are fractions."""
    return {
        "repository": pair.repo_id,
        "commit": pair.commit,
        "updated": _time(pair),
        "source": pair.source,
        "target": pair.target,
        "teacher": pair.teacher,
        "license": pair.license,
        "parameters": pair.parameters,
        "teacher_parameters": pair.teacher_parameters,
        "times_as_fast": pair.times_as_fast,
        "measured_on": pair.measured_on,
        "scores": [
            {
                "task": score.task,
                "metric": score.metric,
                "source_score": score.source,
                "target_score": score.target,
                "synthetic": score.synthetic,
            }
            for score in pair.scores
        ],
        "notes": list(pair.notes),
    }


def _csv(pairs: Sequence[PublishedPair]) -> str:
    """A line a score, with the pair's other values repeated; scores are fractions."""
    file = io.StringIO()
    of_pair = ("repository", "commit", "updated", "source", "target", "teacher", "license", "parameters",
               "teacher_parameters", "times_as_fast", "measured_on")  # fmt: skip
    of_score = ("task", "metric", "source_score", "target_score", "synthetic")
    writer = csv.DictWriter(file, [*of_pair, *of_score, "notes"], lineterminator="\n")
    writer.writeheader()
    for pair in pairs:
        record = _record(pair)
        common = {name: record[name] for name in of_pair} | {"notes": "; ".join(record["notes"])}
        for score in record["scores"] or [{}]:
            writer.writerow(common | {name: score.get(name) for name in of_score})
    return file.getvalue()


def _time(pair: PublishedPair) -> str | None:
    return pair.updated.isoformat() if pair.updated else None
