"""Runs a recipe from its teacher to its package: the stages in order, skipping what is done, ending with a table.

Several processes, started by `torchrun` or `accelerate launch`, train together; all else is the main one's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ..distillation.sampling import divided
from ..errors import InputError
from ..evaluation.results import RESULTS_FILE, Result, read_results
from ..folders import check_writable
from ..recipe import Recipe
from ..tasks import get_task
from .counted_text import read_text
from .executor import do_stages, locked
from .manifest import StageRecord, finished, write_json
from .order import (
    PHASE_1,
    SPEED,
    STUDENT,
    Stage,
    by_name,
    consistent,
    find_stage,
    stage_names_of_task,
    stages_of,
    up_to,
    with_dependents,
)
from .overwriting import refuse_another_pair, refuse_overwriting
from .packaging import package_run
from .pinning import COMMITS_FILE, pinned, pinned_before
from .preflight import TaskData, preflight, read_task
from .processes import join
from .shared import Shared, SharingRun
from .stage_folder import DAMAGED, REPOSITORY_FOLDER, empty, read_json

RUNS_FOLDER = "runs"
RECIPE_FILE = "recipe.json"
"""In a run's folder: the recipe that it was last run with, and the command."""


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        repository: The packaged pair, ready to be loaded; None for a run that was to end before.
        results: Every score.
        stages: A record of each stage.
        seconds: Wall time of this run.
    """

    repository: Path | None
    results: tuple[Result, ...]
    stages: tuple[StageRecord, ...]
    seconds: float


def run(
    recipe: Recipe,
    output_dir: str | Path,
    *,
    from_stage: str | None = None,
    until: str | None = None,
    fresh: bool = False,
    progress: bool = True,
    command: str | None = None,
    sharing: SharingRun | None = None,
    pin: bool = True,
) -> RunResult:
    """Run a recipe: student, phase 1, for each task its teacher, phase 2 and evaluation, package.

    Every stage leaves a folder with a manifest in `output_dir`. A run into the same folder skips stages whose inputs
    have not changed, and goes on where an interrupted one stopped, at whatever moment; it ends with the same files as
    one that was not interrupted. A stage's folder that holds what no run has left is refused. Of what lies on the Hub
    it reads the commits that it found at its beginning, and the package's recipe names them.

    Processes that `torchrun` or `accelerate launch` started share out the batches of every training, so that the pair
    is that of one process, and the same command goes on where they stopped with any number of them.

    Args:
        recipe: What to do.
        output_dir: Where everything is written.
        from_stage: Do this stage and those that depend on it again, even if they are finished.
        until: End after this stage.
        fresh: Do every stage again, in the folder of another pair too.
        progress: Show progress bars and what is being done.
        command: The command that reproduces the run, for the card; by default `bistill run` with the recipe's name.
        sharing: What the run shares with those of other recipes, see `several.run_several`.
        pin: Look up the commits of branches on the Hub, and read those; otherwise what each branch names at that time.

    Returns:
        The package, the scores and the stages' records.

    Raises:
        InputError: something that the run needs is missing or wrong, or it would remove what it reads, what no run has
            made, or another pair; raised before anything expensive starts.
        BistillError: the disk is full, or a file vanished on the way; what is finished is kept.
    """
    begin = time.monotonic()
    folder = Path(output_dir)
    together = join()
    with ExitStack() as held, together.one_voice():
        recipe = together.main_first(
            partial(_begun, recipe, folder, held, fresh=fresh, pin=pin),
            partial(pinned_before, recipe, folder) if pin else lambda: recipe,
        )
        data = together.main_first(
            partial(_looked_at, recipe, folder, together.count),
            lambda: [read_task(settings, get_task(settings.name)) for settings in recipe.tasks],
        )
        shown = command or default_command(recipe)
        progress = progress and together.main
        read = read_text if sharing is None else sharing.read_text
        tokens_of = None if sharing is None else sharing.tokens_of
        stages = stages_of(recipe, data, command=shown, progress=progress, read=read, tokens_of=tokens_of)
        wanted, again = _wanted(stages, from_stage, until, fresh)
        together.on_main(lambda: refuse_overwriting(recipe, folder, [*wanted, *again]))
        if together.main:
            for stage in again:
                empty(folder / stage.slug)
            write_json(folder / RECIPE_FILE, {"recipe": recipe.model_dump(mode="json"), "command": shown})
        if sharing is not None:
            sharing.begin(wanted, again)
        records = do_stages(
            wanted,
            folder,
            progress=progress,
            together=together,
            place_of=None if sharing is None else sharing.place_of,
            keep=None if sharing is None else sharing.keep,
        )
    repository = folder / stages[-1].slug / REPOSITORY_FOLDER if wanted[-1] is stages[-1] else None
    seconds = round(time.monotonic() - begin, 1)
    return RunResult(repository, _results(data, records), tuple(records), seconds)


def look_ahead(
    recipe: Recipe,
    output_dir: str | Path,
    shared: Shared,
    *,
    from_stage: str | None = None,
    until: str | None = None,
    fresh: bool = False,
    command: str | None = None,
) -> Recipe:
    """Check a recipe as `run` with the same arguments does, and tell what it shares with others; begin nothing.

    Returns:
        The recipe with the commits that are read of the Hub.

    Raises:
        InputError: something that the run needs is missing or wrong.
    """
    folder = Path(output_dir)
    with ExitStack() as held:
        recipe = _begun(recipe, folder, held, fresh=fresh, pin=True)
        data = _looked_at(recipe, folder, 1)
        stages = stages_of(recipe, data, command=command or default_command(recipe), progress=False)
        wanted, again = _wanted(stages, from_stage, until, fresh)
        refuse_overwriting(recipe, folder, [*wanted, *again])
        shared.expect(recipe, folder, wanted, again)
    return recipe


def _begun(recipe: Recipe, folder: Path, held: ExitStack, *, fresh: bool, pin: bool) -> Recipe:
    """Keep others from writing to the run's folder as long as `held` is; the recipe with the commits that it reads."""
    check_writable(folder)
    held.enter_context(locked(folder))
    if not fresh:
        refuse_another_pair(recipe, folder / RECIPE_FILE)
    if not pin:
        return recipe
    if fresh:
        (folder / COMMITS_FILE).unlink(missing_ok=True)
    return pinned(recipe, folder, begun=not fresh and (folder / RECIPE_FILE).is_file())


def _looked_at(recipe: Recipe, folder: Path, processes: int) -> list[TaskData]:
    """Check everything that the run will need."""
    check_division(recipe, processes)
    return preflight(recipe, folder)


def check_division(recipe: Recipe, processes: int) -> None:
    """Refuse more processes than can share out a training's batches.

    Raises:
        InputError: there are too many for one of the recipe's trainings.
    """
    divided(recipe.bilingual.batch_size, recipe.bilingual.accumulation, processes, field="bilingual.batch_size")
    for task in recipe.tasks:
        divided(task.teacher.batch_size, 1, processes, field=f"tasks.{task.name}.teacher.batch_size")
        settings = task.distillation
        field = f"tasks.{task.name}.distillation.batch_size"
        divided(settings.batch_size, settings.accumulation, processes, field=field)


def _wanted(
    stages: Sequence[Stage], from_stage: str | None, until: str | None, fresh: bool
) -> tuple[tuple[Stage, ...], list[Stage]]:
    """Choose the stages to do, and those of them that are to be done again."""
    wanted = tuple(stages) if until is None else up_to(stages, find_stage(stages, until, "until"))
    again = list(wanted) if fresh else []
    if from_stage is not None:
        first = find_stage(stages, from_stage, "from")
        if first not in wanted:
            raise InputError(
                f"this stage comes after {until}, with which the run is to end",
                field="from",
                value=from_stage,
                remedy="name an earlier stage, or a later one to end with",
            )
        again += with_dependents(stages, first)
    return wanted, again


def _results(data: Sequence[TaskData], records: Sequence[StageRecord]) -> tuple[Result, ...]:
    done = by_name(records)
    names = [f"{task.task.name} evaluation" for task in data]
    return tuple(result for name in names if name in done for result in read_results(done[name].folder / RESULTS_FILE))


def package_finished(run_dir: str | Path, output_dir: str | Path) -> Path:
    """Package what a run has finished: the encoder after phase 1, and each task whose phase 2 is finished.

    For a run that was ended early by `until`, or that still goes on. Tasks that are not evaluated have no scores on the
    card.

    Args:
        run_dir: Folder of the run.
        output_dir: Where the repository goes; it must not exist yet, or be empty.

    Returns:
        The repository's folder.

    Raises:
        InputError: the folder holds no run, phase 1 is not finished, or there is something at the output already.
    """
    folder, target = Path(run_dir), Path(output_dir)
    file = folder / RECIPE_FILE
    if not file.is_file():
        raise InputError(
            "there is no run in this folder",
            field="run",
            value=str(folder),
            remedy="name the folder that `bistill run` was given as --output",
        )
    content = read_json(file)
    if content == DAMAGED:
        raise InputError("the file is damaged", file=file, remedy="give the run's `bistill run` command again")
    if not isinstance(content, dict) or not {"recipe", "command"} <= content.keys():
        raise InputError(
            "this file is no run's: a pair that is packaged has one of its own",
            file=file,
            remedy="name the folder that `bistill run` was given as --output",
        )
    recipe = Recipe.make(content["recipe"], file=file)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("there is something already", field="to", value=str(target), remedy="name a new folder")
    names = [STUDENT, PHASE_1]
    for task in recipe.tasks:
        names += stage_names_of_task(task.name, recipe.baselines)
    names.append(SPEED)
    found = [finished(name, folder / name.replace(" ", "-")) for name in names]
    records = consistent([record for record in found if record is not None])
    missing = {STUDENT, PHASE_1} - set(by_name(records))
    if missing:
        raise InputError(
            f"the run has not finished {' and '.join(sorted(missing))}, which a package needs",
            field="run",
            value=str(folder),
            remedy="give its `bistill run` command again",
        )
    check_writable(target.parent)
    with TemporaryDirectory(dir=target.parent) as place:
        package_run(recipe, Path(place), records, content["command"])
        if target.exists():
            target.rmdir()
        (Path(place) / REPOSITORY_FOLDER).rename(target)
    return target


def default_output(recipe: Recipe) -> Path:
    """Where a run writes when nothing else is said: `runs/<name>` in the working folder."""
    return Path(os.curdir) / RUNS_FOLDER / recipe.name


def default_command(recipe: Recipe) -> str:
    """The command that a card names when nothing else is said."""
    return f"bistill run {recipe.name}"
