"""`bistill check`: whether a published or packaged pair is whole, unaltered, and what its card says it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import by_language

if TYPE_CHECKING:
    from ..hub.check import Claim, Report

_CHECK_EXAMPLE = """\b
Exit code: 0 nothing found, 1 something found, 2 the check could not be made.

\b
Example, with an evaluation on the run's own test files:
  bistill check runs/mine/package/repository --rerun ner \\
    --test en=test.en.conll --test sw=test.sw.conll
"""

_LONGEST = 600
"""Characters of a claim that are shown."""


@click.command("check", short_help="Tell what is wrong with PAIR.", epilog=_CHECK_EXAMPLE)
@click.argument("pair")
@click.option(
    "--rerun",
    metavar="TASK",
    help="Evaluate this task again: 99.5 % of the predictions have to be equal, and scores may differ by 0.2 points.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="CODE=FILE",
    help="For --rerun: the test file of a language, where the pair was not scored on a data set of the Hub. "
    "May be repeated.",
)
@click.option("--revision", help="Branch, tag or commit of the pair on the Hub.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def check_command(
    ctx: click.Context,
    pair: str,
    rerun: str | None,
    tests: tuple[str, ...],
    revision: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look PAIR over, and tell everything that is wrong with it.

    PAIR is a Hub id or a folder that a run packaged. Checked are its files, the hashes of its weights, the code that
    travels with it, its tokenizer, each way of loading it, its results and its card. Nothing of its code is run.

    What no program can verify ends the list, to be read by a person: licences, limits, data that lay in local files,
    and facts that the recipe calls unverified. None of it is a finding.
    """
    by_test = by_language("--test", tests, example="sw=test.conll")

    from ..hub.check import check_pair

    report = check_pair(
        pair,
        revision=revision,
        rerun=rerun,
        tests={code: Path(file) for code, file in by_test.items()},
        progress=not quiet,
    )
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps(asdict(report), indent=2, ensure_ascii=False))
    else:
        _show(report, rerun is not None)
    ctx.exit(1 if report.findings else 0)


def _show(report: Report, rerun: bool) -> None:
    """Print a table of the checks, each finding and note on a line of its own, and what a person has to read."""
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from ..hub.check import CHECKS
    from .printing import printable

    found = Counter(finding.check for finding in report.findings)
    table = Table("check", "found")
    for name in (*CHECKS, *(["rerun"] if rerun else [])):
        table.add_row(
            name, (str(found[name]) if found[name] else "nothing") if name in report.checks else "not checked"
        )
    Console().print(table)
    for finding in report.findings:
        where = f"{finding.file}: " if finding.file else ""
        line = f"{finding.check}: {where}{finding.problem}. {finding.remedy[:1].upper()}{finding.remedy[1:]}."
        click.echo(printable(line))
    for note in report.notes:
        click.echo(f"Note: {printable(note)}")
    place = f"{report.pair} at {report.commit}" if report.commit else report.pair
    count = len(report.findings)
    click.echo(f"{place}: {count or 'no'} finding{'' if count == 1 else 's'}.")
    if report.to_read:
        click.echo("To be read by a person, for no program can tell whether it is true:")
    for claim in report.to_read:
        click.echo(f"  {printable(f'{claim.what}: {_shortened(claim)}')}")


def _shortened(claim: Claim) -> str:
    """A claim's value on one line; of a long one its beginning."""
    value = " ".join(claim.value.split())
    if len(value) <= _LONGEST:
        return value
    return f"{value[:_LONGEST].rstrip()} ... (all {len(value):,} characters are in {claim.file})"
