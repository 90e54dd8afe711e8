"""Runs several recipes, one after the other: each in a folder of its own, and what they share once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..failed_writes import NoRoomError
from ..recipe import Recipe
from .processes import started_processes
from .run import RunResult, look_ahead, run
from .shared import SHARED_FOLDER, Shared, SharingRun


@dataclass(frozen=True)
class Outcome:
    """How a recipe's run ended.

    Attributes:
        recipe: The recipe.
        result: What it leaves; None where it failed.
        error: What went wrong, in a line.
        seconds: Wall time.
    """

    recipe: Recipe
    result: RunResult | None
    error: str | None
    seconds: float


def run_several(
    recipes: Sequence[Recipe],
    output_dir: str | Path,
    *,
    from_stage: str | None = None,
    until: str | None = None,
    fresh: bool = False,
    progress: bool = True,
    commands: Sequence[str] | None = None,
) -> Iterator[Outcome]:
    """Run several recipes, each in `output_dir/NAME` as `run` does; one that fails stops no other.

    Recipes of one source language and one teacher share the task teachers (and those of random weights, where they are
    a baseline), the source text as the teacher's tokenizer splits it, and any further stage into which the same things
    go; equal means equal inputs and versions. Each is done once, and kept in `output_dir/shared`. Of the source text
    phase 1 tokenises only the lines with pieces that the student has not. A shared stage that fails is not tried again
    for another recipe.

    All recipes are checked before this returns; the work is done as the outcomes are asked for.

    Args:
        recipes: The recipes, each of another name.
        output_dir: Where everything is written.
        from_stage: In each run, do this stage and those that depend on it again; shared ones are done again once.
        until: End each run after this stage.
        fresh: Do every stage of each run again; shared ones are done again once.
        progress: Show progress bars and what is being done.
        commands: The command that reproduces each run by itself, for its card; see `run`.

    Returns:
        Each recipe's outcome, in order, as soon as it is there.

    Raises:
        InputError: two recipes have one name, something that one of them needs is missing or wrong, or several
            processes were started; raised before anything begins.
        BistillError: from the iterator: the disk is full; what is finished is kept.
    """
    if started_processes() > 1:
        raise InputError(
            "several recipes are run by one process",
            field="WORLD_SIZE",
            value=started_processes(),
            remedy="start it without torchrun or accelerate launch, or give each recipe a command of its own",
        )
    _check_names(recipes)
    folder = Path(output_dir)
    shared = Shared(folder / SHARED_FOLDER)
    chosen: dict[str, Any] = {"from_stage": from_stage, "until": until, "fresh": fresh}
    given = [None] * len(recipes) if commands is None else commands
    pinned = []
    for recipe, command in zip(recipes, given, strict=True):
        with said_of(recipe.name):
            pinned.append(look_ahead(recipe, folder / recipe.name, shared, command=command, **chosen))
    shared.keep_finished()
    return _work_through(pinned, given, folder, shared, progress, chosen)


def _work_through(
    recipes: Sequence[Recipe],
    commands: Sequence[str | None],
    folder: Path,
    shared: Shared,
    progress: bool,
    chosen: dict[str, Any],
) -> Iterator[Outcome]:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, quiet=not progress)
    for number, (recipe, command) in enumerate(zip(recipes, commands, strict=True), 1):
        console.print(f"[bold]Recipe {number} of {len(recipes)}:[/bold] {recipe.name}", highlight=False)
        begin, place = time.monotonic(), folder / recipe.name
        sharing = SharingRun(shared, recipe, place)
        result = error = None
        try:
            result = run(recipe, place, progress=progress, command=command, sharing=sharing, **chosen)
        except NoRoomError:  # no other would fare better
            raise
        except Exception as failure:  # whatever a recipe comes to grief about, the others go on
            error = sharing.fails(failure)
            console.print(f"[red]failed:[/red] {escape(error)}", highlight=False, soft_wrap=True)
        yield Outcome(recipe, result, error, round(time.monotonic() - begin, 1))


def _check_names(recipes: Sequence[Recipe]) -> None:
    names = [recipe.name for recipe in recipes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                "two recipes have this name, and each needs a folder of its own",
                field="name",
                value=name,
                remedy="give each another name, or run them one by one",
            )
        if name == SHARED_FOLDER:
            raise InputError(
                "the folder of this name is for what the recipes share",
                field="name",
                value=name,
                remedy="give the recipe another name",
            )


@contextmanager
def said_of(name: str) -> Iterator[None]:
    """Name the recipe that bad input belongs to."""
    try:
        yield
    except InputError as error:
        raise error.said_of(name) from error
