"""Compares the student of a recipe with its contenders: what is missing is run, and one table is made of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..folders import check_writable
from ..pipeline.executor import locked
from ..pipeline.manifest import StageRecord
from ..pipeline.pinning import pinned
from ..pipeline.preflight import TaskData, preflight, read_task
from ..recipe import Recipe
from ..tasks import get_task
from ..teacher import load_config
from .beside import Beside, each_beside_each
from .beside_figure import draw_beside
from .changes import Changes
from .contenders import ALWAYS, CONTENDERS, Contender, chosen, own_recipe
from .counted import counted_tests
from .derived import derived_recipes, refuse_fixed
from .figure import FIGURES_FOLDER, draw_comparison
from .memory import ROWS_FILE, Remembered, read_rows, remember
from .queue import work_through
from .report import Comparison, write_comparison
from .rows import Asked, Row, finished_stages, rows_of, score_name
from .table import Score, scores_of

PATIENCE = 300.0
"""How many seconds to wait for another process of the same comparison that is writing down what there is."""


def compare(
    recipe: Recipe,
    against: Sequence[str],
    output_dir: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    own: Mapping[str, Changes] | None = None,
    alone: bool = False,
    progress: bool = True,
) -> Comparison:
    """Train and score the contenders that are missing, and put all that is finished into one table.

    Every contender is a recipe derived from the pair's, done by the ordinary stages. Stages that contenders share are
    done once; an interrupted comparison goes on where it stopped. What earlier calls asked of the same recipe in the
    same folder stays in the table. Several processes may do this in the same folder at once, on a GPU each: a stage is
    one process's, and each ends when all that it was asked for is finished or has failed in its own hands.

    Args:
        recipe: The pair's recipe.
        against: Names of contenders and groups, see `contenders.CONTENDERS`; teacher and student are there unless
            `alone` says otherwise.
        output_dir: Where everything is written.
        seeds: Each contender is trained once with each; replace the recipe's own.
        own: By contender's name, fields of its recipe that are its own, such as a learning rate: dotted path to value.
        alone: Do those that are named and nobody else: teacher and student may be another command's, or another
            machine's. What a contender is taught by is trained all the same.
        progress: Show progress bars and what is being done.

    Returns:
        What is finished, what is missing, and what failed.

    Raises:
        InputError: there is no such contender, or something that the recipes need is missing or wrong; raised before
            anything expensive starts.
        BistillError: the disk is full, or a file vanished on the way; what is finished is kept.
    """
    folder = Path(output_dir)
    begun = begin(recipe, against, folder, seeds=seeds, own=own, alone=alone)
    recipe, recipes, data, seeds = begun.recipe, begun.recipes, begun.data, begun.seeds
    beside = derived_recipes([CONTENDERS[name] for name in ALWAYS if name not in recipes], recipe, own)
    failed: dict[Asked, str] = {}

    def note() -> None:
        if beside:  # the table needs their recipes, though no row of theirs is asked for
            remember(folder, recipe, beside, (), {})
        remember(folder, recipe, recipes, seeds, _by_contender(failed))

    def tell() -> Comparison:
        with locked(folder, patience=PATIENCE):
            note()
            found = find(recipe, folder, data)
            write_comparison(folder, found)
            draw_comparison(found.scores, folder / FIGURES_FOLDER, synthetic=recipe.synthetic)
            draw_beside(found.beside, folder / FIGURES_FOLDER, synthetic=recipe.synthetic)
        return found

    with locked(folder, patience=PATIENCE):
        note()
    rows = in_order(begun.contenders, recipes, seeds, data, progress=progress)
    try:
        work_through(rows, folder, failed, progress=progress)
    except BaseException:  # stopped on the way, by Ctrl-C above all: what there is, is told
        with suppress(Exception):
            tell()
        raise
    return tell()


@dataclass(frozen=True)
class Begun:
    """A comparison that may begin: what was asked for is there and can be compared.

    Attributes:
        recipe: The pair's recipe, with the commits that it reads.
        contenders: Those that are asked for.
        recipes: Their recipes by name.
        data: The tasks' data by name.
        seeds: The seeds, each once.
    """

    recipe: Recipe
    contenders: tuple[Contender, ...]
    recipes: dict[str, Recipe]
    data: dict[str, TaskData]
    seeds: tuple[int, ...]


def begin(
    recipe: Recipe,
    against: Sequence[str],
    folder: Path,
    *,
    seeds: Sequence[int],
    own: Mapping[str, Changes] | None,
    alone: bool,
) -> Begun:
    """Check what is asked for, and write down the commits that are read.

    Raises:
        InputError: as `compare`.
    """
    check_tasks(recipe)
    seeds = checked_seeds(seeds)
    refuse_fixed(own or {})
    layers = load_config(recipe.teacher.model, recipe.teacher.revision).num_hidden_layers
    contenders = chosen(recipe, against, layers, alone=alone)
    derived_recipes(contenders, recipe, own)  # which refuses what cannot be compared, before anything is written
    check_writable(folder)
    with locked(folder, patience=PATIENCE):
        recipe = pinned(recipe, folder, begun=(folder / ROWS_FILE).is_file())
    recipes = derived_recipes(contenders, recipe, own)
    return Begun(recipe, contenders, recipes, _looked_at(own_recipe(recipe), recipes, folder), seeds)


def checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Return seeds as they are trained with, each once.

    Raises:
        InputError: there is none, or one is negative.
    """
    if not seeds or min(seeds) < 0:
        raise InputError("seeds are whole numbers from 0", field="seeds", value=list(seeds), remedy="name one at least")
    return tuple(dict.fromkeys(seeds))


def check_tasks(recipe: Recipe) -> None:
    """Refuse a recipe without tasks.

    Raises:
        InputError: there is nothing to compare the models on.
    """
    if not recipe.tasks:
        raise InputError(
            "there is no task to compare the models on", field="tasks", value=[], remedy="name one of the recipe's"
        )


def in_order(
    contenders: Sequence[Contender],
    recipes: Mapping[str, Recipe],
    seeds: Sequence[int],
    data: Mapping[str, TaskData],
    *,
    progress: bool,
) -> list[Row]:
    """Return the rows in the order in which they are done: the first seed of all contenders before the second."""
    return [
        row
        for seed in seeds
        for contender in contenders
        for row in rows_of(contender, recipes[contender.name], [seed], data, progress=progress)
    ]


def find(recipe: Recipe, folder: Path, data: Mapping[str, TaskData]) -> Comparison:
    """Put together what is finished of all that was ever asked of a recipe; nothing is trained.

    Args:
        recipe: The pair's recipe.
        folder: The comparison's folder.
        data: Data of tasks that have been read already, by name.
    """
    remembered = read_rows(folder, recipe)
    own = own_recipe(recipe)
    scores: list[Score] = []
    beside: list[Beside] = []
    missing: list[Asked] = []
    failed: dict[Asked, str] = {}
    for task in dict.fromkeys(row.task for row in remembered):
        of_task = [row for row in remembered if row.task == task]
        read = data[task] if task in data else _read(of_task[0])
        done: dict[str, dict[int, StageRecord]] = {}
        for entry in of_task:
            for asked, record in _records(entry, read, folder).items():
                if record is not None:
                    done.setdefault(entry.contender, {})[asked.seed] = record
                elif asked.seed in entry.failed:
                    failed[asked] = entry.failed[asked.seed]
                else:
                    missing.append(asked)
        if read is not None:
            tests = counted_tests(own, read, done)
            scores += scores_of(tests)
            beside += each_beside_each(tests)
    return Comparison(
        recipe=own,
        rows=tuple(remembered),
        scores=tuple(scores),
        beside=tuple(beside),
        missing=tuple(missing),
        failed=failed,
    )


def _records(entry: Remembered, data: TaskData | None, folder: Path) -> dict[Asked, StageRecord | None]:
    """By row the record of the stage that scored it; None where it is not finished with what is there now."""
    asked = {seed: Asked(entry.contender, seed, entry.task) for seed in entry.seeds}
    found: dict[Asked, StageRecord | None] = dict.fromkeys(asked.values())
    if data is None:
        return found
    try:
        rows = rows_of(CONTENDERS[entry.contender], entry.recipe, entry.seeds, {entry.task: data}, progress=False)
    except (OSError, InputError):  # a file of an earlier command's is gone, or a variable in its path is not set
        return found
    return found | {row.asked: finished_stages(row, folder).get(score_name(entry.task)) for row in rows}


def _looked_at(own: Recipe, recipes: Mapping[str, Recipe], folder: Path) -> dict[str, TaskData]:
    """Check everything that the contenders will need, and read the tasks' data."""
    data = {task.recipe.name: task for task in preflight(own, folder)}
    checked = {own.only([]).sha256}
    for recipe in recipes.values():
        bare = recipe.only([])
        if bare.sha256 not in checked:
            checked.add(bare.sha256)
            preflight(bare, folder)
    return data


def _read(row: Remembered) -> TaskData | None:
    """Read the data of an earlier command's task; None where a file is gone or no longer what it was."""
    task = row.recipe.tasks[0]
    try:
        return read_task(task, get_task(task.name))
    except (OSError, InputError):
        return None


def _by_contender(failed: Mapping[Asked, str]) -> dict[tuple[str, str], dict[int, str]]:
    found: dict[tuple[str, str], dict[int, str]] = {}
    for asked, error in failed.items():
        found.setdefault((asked.contender, asked.task), {})[asked.seed] = error
    return found
