"""`bistill compare`: the student beside its baselines and ablations, with what it would cost told first."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .recipe_options import load_compared, recipe_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..comparison.cost import Cost
    from ..comparison.report import Comparison
    from ..comparison.rows import Asked
    from ..comparison.trainings import Trainings

FAILED = 1
"""Exit code where a contender failed."""

_EXAMPLE = """\b
Examples:
  bistill compare en_sw --against all --tasks ner -o runs/compared --set-file mine.toml --dry-run
  bistill compare en_sw --against trimmed_teacher,no_phase_1 -o runs/compared --seeds 0,1,2 --set-file mine.toml
"""


@click.command("compare", short_help="Compare the student with baselines and ablations.", epilog=_EXAMPLE)
@recipe_options
@click.option(
    "--against",
    metavar="NAMES",
    default="",
    help="Contenders, or baselines, ablations, all, separated by commas.  [default: teacher and student alone]",
)
@click.option("--alone", is_flag=True, help="Do those that --against names, without teacher and student beside them.")
@click.option(
    "--train-only", is_flag=True, help="Tell what each training reaches on development data, and score no test set."
)
@click.option("--seeds", metavar="NUMBERS", default="0", show_default=True, help="Train each contender with each.")
@click.option("--yes", is_flag=True, help="Do not ask before it begins.")
@click.option("--dry-run", is_flag=True, help="Tell what is missing and what it would cost, and do nothing.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def compare_command(
    context: click.Context,
    recipe: str,
    output: Path | None,
    tasks: str | None,
    assignments: tuple[str, ...],
    set_file: Path | None,
    against: str,
    alone: bool,
    train_only: bool,
    seeds: str,
    yes: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Train and score the student of RECIPE, its teacher and what they are compared with, all by the same stages.

    RECIPE is a Python file that defines RECIPE, or the name of one that ships with the package (en_sw).

    Every contender is a recipe derived from it, with the same steps, layers and data. Baselines: teacher_full, where
    the recipe gives a task SFT or a tuned model or tunes it sparsely; teacher_sft, trimmed_teacher; distilbert_style
    and minilmv2_style, students of all languages, for which the recipe names further_languages; from_scratch; each of
    these three also _fine_tuned instead of phase 2. Ablations: student_fine_tuned, student_sft, student_relations,
    no_phase_1, no_attention_loss, no_hidden_loss, dense_phase_2, whole_vocabulary, lrf_2, lrf_3, and, where there are
    further_languages, all_languages. Extensions, with phase 2 on unlabelled target text too: target_text,
    lrf_3_target_text, minilmv2_style_target_text, trimmed_teacher_target_text. By name alone, and untried: distilmbert,
    multilingual_minilmv2, from the Hub.

    What is missing and its cost are told first, and on a terminal you are asked. Stages that contenders share are done
    once; what was stopped goes on where it stopped when the same command is given again. Several commands with the same
    --output fill one table, comparison.md, beside it .csv and .json, and the figures; given at the same time, on a GPU
    each, they share the work.

    With --alone, only what is named is trained and scored: teacher and student are another command's, before it, after
    it or at the same time. What a contender is taught by is trained all the same.

    A contender's recipe may have settings of its own, such as a learning rate that was chosen for it:
    --set contenders.from_scratch.bilingual.learning_rate=5e-4, or the same in the file. The table tells them.

    Such a setting is chosen with --train-only: it trains what is asked for, tells what each training has reached on
    held-out text and development data, and scores nothing on a test set; the table takes no notice. The same command
    without it goes on from there.

    Exit code 1: a contender failed; the others are finished.
    """
    loaded, own = load_compared(recipe, tasks, assignments, set_file)

    from ..comparison.compare import compare
    from ..comparison.cost import cost_of
    from ..pipeline.run import default_output

    folder = output or default_output(loaded)
    words = [word.strip() for word in against.split(",") if word.strip()]
    numbers = _seeds(seeds)
    cost = cost_of(
        loaded, words, folder, seeds=numbers, own=own, alone=alone, train_only=train_only, progress=not quiet
    )
    _print_cost(cost, folder)
    if dry_run:
        return
    if cost.to_do and not yes and on_a_terminal() and not click.confirm("Begin?", default=True):
        click.echo("Nothing was done.")
        return
    if train_only:
        from ..comparison.trainings import train_contenders

        trained = train_contenders(loaded, words, folder, seeds=numbers, own=own, alone=alone, progress=not quiet)
        _print_trainings(trained)
        context.exit(FAILED if trained.failed else 0)
    found = compare(loaded, words, folder, seeds=numbers, own=own, alone=alone, progress=not quiet)
    _print_comparison(found, folder)
    context.exit(FAILED if any(asked.seed in numbers for asked in found.failed) else 0)


def on_a_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


def _seeds(text: str) -> list[int]:
    from ..errors import InputError

    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(
            "not whole numbers", field="seeds", value=text, remedy="write them with commas, such as 0,1,2"
        ) from None


def _print_cost(cost: Cost, folder: Path) -> None:
    from rich.console import Console

    from .printing import print_table

    console = Console()
    print_table(_cost_table(cost, folder), console)
    lines = [f"To do: {cost.to_do} stages, about {_hours(cost.seconds)} h{_on(cost)}, as far as is known."]
    if cost.disk_megabytes is not None:
        lines.append(f"Disk still needed: about {cost.disk_megabytes:,.0f} MB of {cost.free_megabytes:,.0f} MB free")
    lines += dict.fromkeys(f"Not known: {note}" for each in cost.contenders for note in each.unknown)
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _on(cost: Cost) -> str:
    return f" on {cost.device}" if cost.device else ""


def _cost_table(cost: Cost, folder: Path) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Stages in {escape(str(folder))}")
    table.add_column("contender", overflow="fold")
    for name in ("rows", "finished", "shared", "to do", "hours"):
        table.add_column(name, justify="right")
    for each in cost.contenders:
        hours = _hours(each.seconds) + ("+" if each.unknown else "") if each.to_do else ""
        table.add_row(each.contender, *map(str, (each.rows, each.finished, each.shared, each.to_do)), hours)
    return table


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}" if seconds < 36000 else f"{seconds / 3600:,.0f}"


def _findings_table(found: Comparison) -> Table:
    from rich.table import Table

    from ..comparison.findings import COLUMNS, cells

    of = " (synthetic)" if found.recipe.synthetic else ""
    table = Table(title=f"What the paper found, and what is so here{of}")
    for name in ("task", *COLUMNS):
        table.add_column(name, overflow="fold")
    for finding in found.findings:
        table.add_row(finding.task, *cells(finding))
    return table


def _print_comparison(found: Comparison, folder: Path) -> None:
    from rich.console import Console

    from ..comparison.report import NAME
    from .printing import print_table
    from .tables import number_table

    console = Console()
    of = "synthetic, in %" if found.recipe.synthetic else "in %"
    table = number_table(f"Scores on the target language ({of}), 95 % intervals", "contender", "task", "seeds", "score")
    for score in found.scores:
        if score.role == "target":
            written = f"{100 * score.score:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
            table.add_row(score.contender, score.task, str(len(score.seeds)), written)
    print_table(table, console)
    if found.findings:
        print_table(_findings_table(found), console)
    if found.missing:
        console.print(f"Missing: {len(found.missing)} rows that earlier commands asked for", highlight=False)
    _print_failed(found.failed, console)
    console.print(f"The table is {folder / f'{NAME}.md'}", soft_wrap=True, highlight=False, markup=False)


def _print_trainings(found: Trainings) -> None:
    from rich.console import Console

    from .printing import print_table
    from .tables import number_table

    console = Console()
    of_text, of_task, guessed = "held-out losses", "development %", "trivial %"
    table = number_table("What was reached", "contender", "seed", "stage", of_text, of_task, guessed, "minutes")
    for each in found.finished:
        losses = " ".join(f"{loss:#.4g}" for loss in each.held_out_losses)
        scores = ("" if score is None else f"{100 * score:.1f}" for score in (each.development_score, each.trivial))
        table.add_row(each.contender, str(each.seed), each.stage, losses, *scores, f"{each.seconds / 60:.1f}")
    print_table(table, console)
    for each in found.finished:
        if each.warning:
            said = f"{each.contender}, {each.stage}, seed {each.seed}: {each.warning}"
            console.print(said, soft_wrap=True, highlight=False, markup=False)
    _print_failed(found.failed, console)
    console.print("No test set was scored; without --train-only the same command does.", highlight=False)


def _print_failed(failed: Mapping[Asked, str], console: Console) -> None:
    for asked, error in failed.items():
        console.print(f"Failed: {asked}: {error}", soft_wrap=True, highlight=False, markup=False)
