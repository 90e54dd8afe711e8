"""`bistill run`: a recipe from its teacher to its package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .recipe_options import load, recipe_options, shown_command

if TYPE_CHECKING:
    from ..pipeline.run import RunResult


_EXAMPLE = """\b
Example, with your own text and labels:
  bistill run en_sw --tasks ner -o runs/mine --set teacher.model=FOLDER \\
    --set source.text=en.txt --set target.text=sw.txt \\
    --set tasks.ner.train=train.conll --set tasks.ner.validation=dev.conll \\
    --set tasks.ner.test_source=test.en.conll --set tasks.ner.test_target=test.sw.conll
"""


@click.command("run", short_help="Distil a pair from a recipe.", epilog=_EXAMPLE)
@recipe_options
@click.option("--from", "from_stage", metavar="STAGE", help="Do this stage and all that depend on it again.")
@click.option("--until", metavar="STAGE", help="End after this stage.")
@click.option("--fresh", is_flag=True, help="Do every stage again, whatever is finished.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def run_command(
    recipe: str,
    output: Path | None,
    tasks: str | None,
    assignments: tuple[str, ...],
    set_file: Path | None,
    from_stage: str | None,
    until: str | None,
    fresh: bool,
    quiet: bool,
) -> None:
    """Distil a pair: student, phase 1, then for each task its teacher, phase 2 and evaluation, package.

    RECIPE is a Python file that defines RECIPE, or the name of one that ships with the package (en_sw). A run that was
    interrupted, by whatever, goes on where it stopped when the same command is given again (without --from or --fresh,
    which would begin anew); finished stages whose inputs have not changed are skipped.

    STAGE is the name of a stage's folder: student, phase-1, TASK-teacher, TASK-phase-2, TASK-evaluation, package.
    `bistill plan` lists those of a recipe.
    """
    loaded = load(recipe, tasks, assignments, set_file)

    from ..pipeline.run import default_output, run

    finished = run(
        loaded,
        output or default_output(loaded),
        from_stage=from_stage,
        until=until,
        fresh=fresh,
        progress=not quiet,
        command=shown_command("run", recipe, tasks, assignments, set_file),
    )
    print_run(finished)


def print_run(finished: RunResult) -> None:
    """Print a table of the stages, one of the scores, and where the pair is."""
    from rich.console import Console
    from rich.table import Table

    from .tables import score_table

    console = Console()
    stages = Table(title="Stages")
    stages.add_column("stage")
    stages.add_column("minutes", justify="right")
    stages.add_column("")
    for stage in finished.stages:
        stages.add_row(stage.name, f"{stage.seconds / 60:.1f}", "finished before" if stage.skipped else "")
    console.print(stages)
    if finished.results:
        console.print(score_table(finished.results))
    if finished.repository is not None:
        console.print(f"The pair is in {finished.repository}", soft_wrap=True)
