"""Which recipes ship with the package: what each is of, and what it still needs before it can run.

The scripts are run, as a recipe of one's own is; no model and no data are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .families import NEVER_RUN, PICKLED_TEACHERS
from .languages import other_code
from .recipe import Recipe, load_recipe
from .resources import resource_dir

A_TEXT = "a text file"
CONVERTED = "converted to safetensors"
SHORT_NEEDS = {A_TEXT: "text", CONVERTED: "convert"}
"""A word for each thing that a recipe can need."""


@dataclass(frozen=True, kw_only=True)
class ShippedRecipe:
    """A recipe in a few words.

    Attributes:
        name: What `bistill run` takes.
        source: Code of the source language.
        target: Code of the target language.
        target_name: The target language's English name.
        teacher: The teacher's Hub id.
        tasks: Names of the tasks.
        tests: Hub id of each task's test set in the target language.
        license: Licence of the weights.
        needs: What has to be given or done before it can run, by field; empty where it runs as it is.
        never_run: Nobody has run it as it stands, by its own unverified facts.
        unverified: Facts in it that nobody has checked.
    """

    name: str
    source: str
    target: str
    target_name: str
    teacher: str
    tasks: tuple[str, ...]
    tests: tuple[str, ...]
    license: str
    needs: tuple[str, ...]
    never_run: bool
    unverified: tuple[str, ...]


def list_recipes(
    *, language: str | None = None, teacher: str | None = None, task: str | None = None
) -> tuple[ShippedRecipe, ...]:
    """List the shipped recipes, in the order of their names.

    Args:
        language: Code of a language, of two letters or three, that is source or target.
        teacher: Part of the teacher's Hub id, in upper or lower case.
        task: Name of a task that the recipe is for.

    Raises:
        InputError: a script in the folder of recipes is none.
    """
    codes = {language, other_code(language)} if language is not None else set()
    found = []
    for file in _scripts():
        recipe = load_recipe(file)
        fits = (
            language is None or codes & {each.code for each in recipe.languages},
            teacher is None or teacher.lower() in recipe.teacher.model.lower(),
            task is None or task in [each.name for each in recipe.tasks],
        )
        if all(fits):
            found.append(_in_short(file.stem, recipe))
    return tuple(found)


def names_of_pairs() -> frozenset[str]:
    """Names that the shipped recipes give their pairs, which are those of their runs' folders too.

    Raises:
        InputError: a script in the folder of recipes is none.
    """
    return frozenset(load_recipe(file).name for file in _scripts())


def needs_of(recipe: Recipe) -> tuple[str, ...]:
    """Tell what a recipe needs that it does not bring along: text of one's own, a teacher converted to safetensors."""
    texts = {"source": recipe.source.text, "target": recipe.target.text}
    needs = [f"{role}.text: {A_TEXT}" for role, text in texts.items() if text.path is not None]
    if recipe.teacher.model in PICKLED_TEACHERS:
        needs.append(f"teacher.model: {CONVERTED}")
    return tuple(needs)


def _scripts() -> list[Path]:
    return sorted(resource_dir("recipes").glob("[!_]*.py"))


def _in_short(name: str, recipe: Recipe) -> ShippedRecipe:
    return ShippedRecipe(
        name=name,
        source=recipe.source.code,
        target=recipe.target.code,
        target_name=recipe.target.name,
        teacher=recipe.teacher.model,
        tasks=tuple(task.name for task in recipe.tasks),
        tests=tuple(task.test_target.dataset or task.test_target.name for task in recipe.tasks),
        license=recipe.license,
        needs=needs_of(recipe),
        never_run=NEVER_RUN in recipe.unverified,
        unverified=recipe.unverified,
    )
