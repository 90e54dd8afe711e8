"""The recipes of a comparison's contenders: what the registry changes of the pair's, and their own settings on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InputError
from ..recipe import Recipe
from ..recipe_changes import OF_CONTENDERS
from ..tasks import get_task
from .changes import Changes
from .contenders import ALWAYS, CONTENDERS, Contender


def derived_recipes(
    contenders: Iterable[Contender], pair: Recipe, own: Mapping[str, Changes] | None = None
) -> dict[str, Recipe]:
    """Derive each contender's recipe from the pair's.

    Args:
        contenders: The contenders.
        pair: The pair's recipe.
        own: By contender's name, fields that its recipe has otherwise, such as a rate chosen for it: dotted path to
            value. Those of contenders that are not asked for are passed over.

    Returns:
        Recipes by contender's name.

    Raises:
        InputError: a contender cannot be derived, a field is not one of a recipe, or the setting is of the teacher or
            the student, whose recipe is the pair's.
    """
    own = own or {}
    refuse_fixed(own)
    recipes = {}
    for contender in contenders:
        recipe = contender.recipe(pair)
        try:
            recipes[contender.name] = recipe.replace(_of_its_tasks(own.get(contender.name, {}), recipe))
        except InputError as error:
            raise error.said_of(f"{OF_CONTENDERS}.{contender.name}") from error
    return recipes


def _of_its_tasks(changes: Changes, recipe: Recipe) -> Changes:
    """Leave out what is of tasks that the recipe does not do this time."""
    theirs = {task.name for task in recipe.tasks}
    kept = {}
    for path, value in changes.items():
        first, *names = path.split(".")
        if first != "tasks" or not names or get_task(names[0]).name in theirs:
            kept[path] = value
    return kept


def refuse_fixed(own: Mapping[str, Any]) -> None:
    """Refuse settings of what has none of its own, and of contenders that there are not.

    Raises:
        InputError: a name is the teacher's or the student's, a model's that is scored without being trained, or no
            contender's.
    """
    for name in own:
        if name not in CONTENDERS:
            raise InputError(
                "there is no such contender",
                field=OF_CONTENDERS,
                value=name,
                remedy=f"choose from {', '.join(each for each in CONTENDERS if not _is_fixed(CONTENDERS[each]))}",
            )
        if _is_fixed(CONTENDERS[name]):
            raise InputError(
                f"the {CONTENDERS[name].label} is the pair's own recipe and has no settings of its own",
                field=f"{OF_CONTENDERS}.{name}",
                value=sorted(own[name]),
                remedy="change the recipe itself: the contenders follow it",
            )


def _is_fixed(contender: Contender) -> bool:
    return contender.name in ALWAYS or contender.scored == "trimmed_teacher"
