"""What `bistill run ORG/NAME` prints: a published pair, reproduced and compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..hub.reproduction import Reproduction

NOT_REPRODUCED = 1
"""Exit code where scores are further from the published ones than they may be."""


def run_published(
    repo_id: str,
    *,
    output: Path | None,
    tasks: str | None,
    assignments: tuple[str, ...],
    set_file: Path | None,
    progress: bool,
    revision: str | None,
) -> None:
    """Reproduce a published pair, and print how it compares.

    Args:
        repo_id: Hub id of the pair, or the folder of a packaged one.
        output: Folder for everything written; None for `runs/` and the recipe's name.
        tasks: Names of tasks, with commas between them; "none" for the encoder alone, None for all.
        assignments: `--set` of the command line: where files are, and what else is to be changed.
        set_file: A TOML file of such.
        progress: Show progress bars and what is being done.
        revision: Branch, tag or commit of the pair on the Hub.

    Raises:
        InputError: something that is needed is missing or wrong.
        SystemExit: the pair is not reproduced; the code is `NOT_REPRODUCED`.
    """
    from ..hub.reproduce import reproduce
    from ..recipe_changes import of_contender, parse_changes
    from .recipe_options import changes_from

    chosen = None if tasks is None else [] if tasks == "none" else tasks.split(",")
    of_file = changes_from(set_file) if set_file else {}
    # What a file says of a comparison's contenders is nothing to other commands.
    of_file = {path: value for path, value in of_file.items() if of_contender(path) is None}
    changes = {**of_file, **parse_changes(assignments)}
    found = reproduce(repo_id, output, changes=changes, tasks=chosen, revision=revision, progress=progress)
    print_reproduction(found)
    if found.verdict == "not reproduced":
        raise SystemExit(NOT_REPRODUCED)


def print_reproduction(found: Reproduction) -> None:
    """Print tables of what was changed, scores and files, the verdict, and where pair and report are."""
    from rich.console import Console

    from ..hub import reproduction

    console = Console()
    _print_table("Changed", reproduction.CHANGE_COLUMNS, reproduction.change_rows(found))
    _print_table(reproduction.score_title(found), reproduction.SCORE_COLUMNS, reproduction.score_rows(found))
    _print_table("Files", reproduction.FILE_COLUMNS, reproduction.file_rows(found))
    for line in [*reproduction.remarks(found), *found.differences]:
        click.echo(_printable(line))
    console.print(f"The pair is in {found.repository}, the report in {found.report}", soft_wrap=True, markup=False)
    click.echo(_printable(reproduction.headline(found)))


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from .printing import print_table

    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMBERS else "left")
    for row in rows:
        table.add_row(*(escape(_printable(cell)) for cell in row))
    if table.row_count:
        print_table(table)


_NUMBERS = ("published", "reproduced", "difference", "equal predictions", "MB", "relative distance")


def _printable(text: str) -> str:
    """Names and values of somebody else's files do not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
