"""`bistill score`: a score of predictions that were kept, without the model that made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .evaluate import labelled_source
from .options import check_output_file, not_writable

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluation.rescoring import KeptScore

_SCORE_EXAMPLE = """\b
Example, with what `bistill eval --predictions kept` has left:
  bistill score kept/student.sw.jsonl --against kept/teacher.sw.jsonl --task ner --test test.sw.conll
"""
_SOURCE = "a file, or a source's fields as JSON"


@click.command("score", epilog=_SCORE_EXAMPLE)
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--task", required=True, help="The task, such as ner.")
@click.option("--test", required=True, metavar="FILE", help=f"The test set that was predicted: {_SOURCE}.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The teacher's predictions of the same test set, to compare with.",
)
@click.option(
    "--train", metavar="FILE", help=f"The training set, which some trivial baselines are fitted on: {_SOURCE}."
)
@click.option(
    "--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the scores there too, as JSON."
)
def score_command(
    predictions: Path, task: str, test: str, against: Path | None, train: str | None, file: Path | None
) -> None:
    """Score PREDICTIONS again without a model.

    PREDICTIONS is a file with one prediction a line as JSON, in the order of the test set, as runs and `bistill eval`
    keep them. Prints the score with its interval and the trivial baseline, and beside the teacher's the paired
    difference and the retention.
    """
    source = labelled_source("--test", test)
    training = None if train is None else labelled_source("--train", train)
    if file is not None:
        check_output_file("--json", file)

    from ..evaluation.rescoring import score_predictions, write_kept_scores
    from .printing import print_table

    scored = score_predictions(task, source, predictions, against=against, training=training)
    print_table(_table(task, scored))
    if file is not None:
        try:
            write_kept_scores(file, task, source, scored)
        except OSError as error:
            raise not_writable("--json", file, error) from error
        click.echo(f"The scores are in {file}")


def _table(task: str, scored: Sequence[KeptScore]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{task}: scores of kept predictions (%), 95 % bootstrap intervals over examples")
    texts = ("predictions", "metric")
    compared = ("difference to the teacher", "retention") if len(scored) > 1 else ()
    for name in ("predictions", "n", "metric", "score", "interval", "trivial", *compared):
        table.add_column(name, justify="left" if name in texts else "right")
    for one in scored:
        score = one.score
        cells = [
            escape(one.predictions),
            f"{score.n:,}",
            score.metric,
            _percent(score.score),
            _interval(score.low, score.high),
            _percent(score.trivial),
        ]
        paired = one.against_teacher
        if paired is not None:
            cells.append(f"{_percent(paired.difference)} ({_interval(paired.difference_low, paired.difference_high)})")
            kept = "teacher not above trivial" if paired.retention is None else _percent(paired.retention)
            if paired.retention_low is not None and paired.retention_high is not None:
                kept += f" ({_interval(paired.retention_low, paired.retention_high)})"
            cells.append(kept)
        table.add_row(*cells)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(low: float, high: float) -> str:
    return f"{_percent(low)} to {_percent(high)}"
