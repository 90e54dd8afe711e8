"""`bistill run`: recipes from their teachers to their packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from .recipe_options import load, load_all, several_recipes_options, shown_command

if TYPE_CHECKING:
    from ..pipeline.run import RunResult
    from ..recipe import Recipe

FAILED = 1
"""Exit code where one of several recipes failed."""

_EXAMPLE = """\b
Examples, with your own text and labels; and two pairs that share their task teacher:
  bistill run en_sw --tasks ner -o runs/mine --set teacher.model=FOLDER \\
    --set source.text=en.txt --set target.text=sw.txt \\
    --set tasks.ner.train=train.conll --set tasks.ner.validation=dev.conll \\
    --set tasks.ner.test_source=test.en.conll --set tasks.ner.test_target=test.sw.conll
  bistill run en_hau.py en_yor.py --set-file mine.toml
"""


@dataclass(frozen=True)
class _Words:
    """What the command line says of how recipes are run, whichever they are."""

    tasks: str | None
    assignments: tuple[str, ...]
    set_file: Path | None
    smoke: bool
    stages: dict[str, Any]
    quiet: bool

    def command(self, recipe: str) -> str:
        """The command that runs one recipe by itself."""
        flags = ["--smoke"] if self.smoke else []
        return shown_command("run", recipe, self.tasks, self.assignments, self.set_file, flags=flags)


@click.command("run", short_help="Distil pairs from recipes.", epilog=_EXAMPLE)
@several_recipes_options
@click.option("--from", "from_stage", metavar="STAGE", help="Do this stage and all that depend on it again.")
@click.option("--until", metavar="STAGE", help="End after this stage.")
@click.option("--fresh", is_flag=True, help="Do every stage again, whatever is finished.")
@click.option(
    "--smoke", is_flag=True, help="Go through everything in minutes, on a sample, as a pair named NAME-smoke."
)
@click.option("--revision", metavar="COMMIT", help="Branch, tag or commit of the published pair that is run again.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def run_command(
    context: click.Context,
    recipes: tuple[str, ...],
    output: Path | None,
    tasks: str | None,
    assignments: tuple[str, ...],
    set_file: Path | None,
    from_stage: str | None,
    until: str | None,
    fresh: bool,
    smoke: bool,
    revision: str | None,
    quiet: bool,
) -> None:
    """Distil a pair: student, phase 1, then for each task its teacher, phase 2 and evaluation, package.

    RECIPE is a Python file that defines RECIPE, the name of one that ships with the package (en_sw), or, by itself, a
    published pair on the Hub (ORG/NAME), which is made again from its recipe.json and compared. A run that was
    interrupted, by whatever, goes on where it stopped when the same command is given again (without --from or --fresh,
    which would begin anew); finished stages whose inputs have not changed are skipped.

    Several recipes are run one after the other, each as if by itself into runs/NAME, and end with one table; options
    hold for all of them. What equal settings and data go into is done once, above all the task teachers of a source
    language, and kept in runs/shared. All are checked before anything begins; one that fails then stops no other.

    STAGE is the name of a stage's folder: student, phase-1, TASK-teacher, TASK-phase-2, TASK-evaluation, speed,
    package. `bistill plan` lists those of a recipe.

    Exit code 1: one of several recipes failed; the others are finished.
    """
    stages = {"from_stage": from_stage, "until": until, "fresh": fresh}
    words = _Words(tasks, assignments, set_file, smoke, stages, quiet)
    published = [recipe for recipe in recipes if is_published(recipe)]
    _check_kinds(recipes, published, words, revision)
    if published:
        from .reproduced import run_published

        run_published(
            repo_id=published[0],
            output=output,
            tasks=tasks,
            assignments=assignments,
            set_file=set_file,
            progress=not quiet,
            revision=revision,
        )
    elif len(recipes) == 1:
        _run_one(recipes[0], output, words)
    else:
        context.exit(_run_several(recipes, output, words))


def is_published(recipe: str) -> bool:
    """Whether a word names a pair on the Hub: ORG/NAME, where no file or folder of that name is here."""
    owner, slash, name = recipe.partition("/")
    ours = owner in ("", ".", "..", "~") or recipe.endswith(".py") or Path(recipe).exists()
    return bool(slash and name) and "/" not in name and not ours


def _check_kinds(recipes: tuple[str, ...], published: list[str], words: _Words, revision: str | None) -> None:
    """Refuse published pairs beside others, and options that do not belong to what is run."""
    if published and len(recipes) > 1:
        raise InputError(
            "a published pair is run again by itself",
            field="RECIPE",
            value=published[0],
            remedy="give it a command of its own",
        )
    if revision is not None and not published:
        raise InputError(
            "only a published pair has revisions",
            field="--revision",
            value=revision,
            remedy="leave it out, or name a pair on the Hub, as ORG/NAME",
        )
    given = {"--from": words.stages["from_stage"], "--until": words.stages["until"]}
    given |= {"--fresh": words.stages["fresh"], "--smoke": words.smoke}
    for name, value in given.items():
        if published and value:
            raise InputError(
                "a published pair is run again as it was",
                field=name,
                remedy="leave the option out",
                **({} if value is True else {"value": value}),
            )


def _run_one(recipe: str, output: Path | None, words: _Words) -> None:
    loaded = load(recipe, words.tasks, words.assignments, words.set_file)
    if words.smoke:
        loaded = _small(loaded)

    from ..pipeline.run import default_output, run

    finished = run(
        loaded,
        output or default_output(loaded),
        progress=not words.quiet,
        command=words.command(recipe),
        **words.stages,
    )
    print_run(finished)


def _run_several(recipes: tuple[str, ...], output: Path | None, words: _Words) -> int:
    loaded = load_all(recipes, words.tasks, words.assignments, words.set_file)
    if words.smoke:
        loaded = [_small(recipe) for recipe in loaded]

    from ..pipeline.run import RUNS_FOLDER
    from ..pipeline.several import Outcome, run_several
    from .several_table import print_outcomes

    ended: list[Outcome] = []
    commands = [words.command(recipe) for recipe in recipes]
    outcomes = run_several(
        loaded, output or Path(RUNS_FOLDER), progress=not words.quiet, commands=commands, **words.stages
    )
    try:
        for outcome in outcomes:
            ended.append(outcome)
    finally:  # however it ends, by Ctrl-C or on a full disk: what is finished is told
        print_outcomes(loaded, ended)
    return FAILED if any(outcome.error for outcome in ended) else 0


def _small(recipe: Recipe) -> Recipe:
    from ..pipeline.smoke import smoke_recipe

    return smoke_recipe(recipe)


def print_run(finished: RunResult) -> None:
    """Print a table of the stages, one of the scores, and where the pair is."""
    from rich.console import Console
    from rich.table import Table

    from .printing import print_table
    from .tables import score_table

    console = Console()
    stages = Table(title="Stages")
    stages.add_column("stage")
    stages.add_column("minutes", justify="right")
    stages.add_column("")
    for stage in finished.stages:
        stages.add_row(stage.name, f"{stage.seconds / 60:.1f}", "finished before" if stage.skipped else "")
    print_table(stages, console)
    if finished.results:
        print_table(score_table(finished.results), console)
    if finished.repository is not None:
        console.print(f"The pair is in {finished.repository}", soft_wrap=True, markup=False)
