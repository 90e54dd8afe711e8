"""`bistill demo`: the whole way in minutes, without a network."""

from __future__ import annotations

from pathlib import Path

import click

SYNTHETIC = "Synthetic demonstration: text and labels were generated, the scores say nothing about real language."


@click.command("demo")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for everything written.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of world and training.")
@click.option("--fresh", is_flag=True, help="Do every stage again, whatever is finished.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def demo_command(output: Path, seed: int, fresh: bool, quiet: bool) -> None:
    """Distil a pair from a tiny teacher in minutes, without a network.

    The world is made up: a grammar in four languages yields text and labels for English and Swahili, the tiny teacher
    was trained on it and ships with the package. The stages are those of every run: student, phase 1, for each of NER,
    POS, NLI and QA its teacher, phase 2 and evaluation, package. Ends with the pair loaded through all five Auto
    classes, predictions in both languages, a table of scores, and the card.
    """
    from rich.console import Console

    from ..demo.demo import run_demo
    from .run import print_run
    from .tables import answer_table, loaded_table

    console = Console()
    console.print(f"[bold]{SYNTHETIC}[/bold]")
    shown = run_demo(output, seed=seed, fresh=fresh, progress=not quiet)
    print_run(shown.run)
    console.print(loaded_table(shown.loaded))
    console.print(answer_table(shown.answers))
    console.print(f"[bold]{SYNTHETIC}[/bold]")
    console.print(f"The card is {shown.repository / 'README.md'}", soft_wrap=True, markup=False)
    console.print(f"It took {shown.run.seconds / 60:.1f} minutes.")
