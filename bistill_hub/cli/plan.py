"""`bistill plan`: what a run would do and need, without any of it being done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .recipe_options import load, recipe_options, shown_command

if TYPE_CHECKING:
    from rich.table import Table

    from ..pipeline.plan import Plan
    from ..pipeline.survey import TeacherPlan


@click.command("plan", short_help="Tell what a run would do, and how long it would take.")
@recipe_options
@click.option("--no-trial", is_flag=True, help="Leave out time and memory, which are measured by a short trial.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def plan_command(
    recipe: str,
    output: Path | None,
    tasks: str | None,
    assignments: tuple[str, ...],
    set_file: Path | None,
    no_trial: bool,
    as_json: bool,
) -> None:
    """Tell what `bistill run` with the same words would do: stages, sources, and rough time, memory and disk.

    RECIPE is a Python file that defines RECIPE, or the name of one that ships with the package (en_sw).

    Nothing is downloaded, trained or written. Names of stages are those that `bistill run --from` and `--until` take.
    Files are checked as a run checks them; what is on the Hub is not looked up.
    """
    loaded = load(recipe, tasks, assignments, set_file)

    from ..pipeline.plan import plan
    from ..pipeline.run import default_output

    made = plan(
        loaded,
        output or default_output(loaded),
        trial=not no_trial,
        progress=True,
        command=shown_command("run", recipe, tasks, assignments, set_file),
    )
    if as_json:
        import json

        click.echo(json.dumps(made.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print_plan(made)


def _print_plan(plan: Plan) -> None:
    from rich.console import Console

    from .printing import print_table

    console = Console()
    print_table(_stage_table(plan), console)
    print_table(_source_table(plan), console)
    lines = [_teacher_line(plan.teacher)]
    if plan.seconds is not None:
        lines.append(f"Time, all that is known together: about {_duration(plan.seconds)} on {plan.device}")
    if plan.memory_megabytes is not None:
        lines.append(f"Memory at its peak: about {plan.memory_megabytes:,.0f} MB")
    if plan.disk_megabytes is not None:
        lines.append(f"Disk still needed: about {plan.disk_megabytes:,.0f} MB of {plan.free_megabytes:,.0f} MB free")
    for line in (*lines, *plan.notes):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _stage_table(plan: Plan) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Stages in {escape(str(plan.output))}")
    table.add_column("stage", overflow="fold")
    table.add_column("state")
    table.add_column("updates", justify="right")
    table.add_column("time", justify="right")
    table.add_column("")
    for stage in plan.stages:
        updates = "unknown" if stage.updates is None else f"{stage.updates:,}" if stage.updates else ""
        time = "" if stage.seconds is None else _duration(stage.seconds)
        remark = "; ".join(text for text in (stage.reason, stage.note) if text)
        table.add_row(stage.slug, stage.state, updates, time, escape(remark))
    return table


def _source_table(plan: Plan) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Sources")
    table.add_column("field", overflow="fold")
    table.add_column("name", overflow="fold")
    table.add_column("where")
    table.add_column("content")
    for source in plan.sources:
        size = [] if source.megabytes is None else [f"{source.megabytes:,.3f} MB"]
        count = [] if source.count is None else [f"{source.count:,} {source.unit}"]
        content = ", ".join(size + count) or source.note
        table.add_row(source.field, *map(escape, (source.name, source.kind, content)))
    return table


def _teacher_line(teacher: TeacherPlan) -> str:
    if teacher.layers is None:
        return f"Teacher: {teacher.model}: {teacher.note}"
    return (
        f"Teacher: {teacher.model} ({teacher.place}), {teacher.layers} layers, width {teacher.width}, "
        f"{teacher.vocabulary:,} tokens, {teacher.parameters:,} parameters"
    )


def _duration(seconds: float) -> str:
    """Write a rough time in the unit that fits it."""
    if seconds < 1:
        return "< 1 s"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
