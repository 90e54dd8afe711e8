"""What a contender is made of that its recipe's differences do not tell: whence its task teacher, which language SFTs.

A recipe may name language SFTs, a task SFT or a tuned model; who reads a table has to see which model had which.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..distillation.bilingual import needs_teacher, weights_of
from ..pipeline.portable import public_name, shown_name
from ..recipe import Recipe, TaskRecipe, TaskTeacher
from ..teacher import LEGACY_PREFIX
from .contenders import OF_TASK_TEACHER, Scored

NO_SFT = "none"


def task_teacher(settings: TaskTeacher) -> str:
    """Say where a task's teacher comes from: tuned here, or given by the recipe."""
    if settings.model is not None:
        return f"a given tuned model, {_name(settings.model)}"
    if settings.delta is not None:
        which = "given" if public_name(settings.delta) is None else "published"
        return f"a {which} task SFT, {_name(settings.delta)}"
    return "tuned here by LT-SFT" if settings.is_sparse else "tuned in full here"


def phase_1_teacher(recipe: Recipe, scored: Scored) -> str:
    """Say what teaches in phase 1, with which language SFTs.

    Args:
        recipe: The contender's recipe.
        scored: Which of its models is scored.
    """
    if scored in OF_TASK_TEACHER or not recipe.bilingual.steps:
        return "no phase 1"
    if not needs_teacher(weights_of(recipe.bilingual)):
        return "no teacher"
    codes = [language.code for language in recipe.text_languages]
    return worn_in_words({code: recipe.teacher.language_deltas.get(code) for code in codes})


def worn_at_test(recipe: Recipe, task: TaskRecipe, scored: Scored) -> dict[str, str | None]:
    """Tell which language SFT the scored model carries on data of source and target; None for none.

    Args:
        recipe: The contender's recipe.
        task: The task.
        scored: Which of its models is scored.
    """
    given = scored in OF_TASK_TEACHER and task.teacher.model is not None
    deltas = {} if scored == "student" or given else recipe.teacher.language_deltas
    names = {language.code: deltas.get(language.code) for language in recipe.languages}
    return {code: name and _name(name) for code, name in names.items()}


def worn_in_words(worn: Mapping[str, str | None]) -> str:
    """Say which languages have their SFT on the model, and which do not."""
    having = [code for code, name in worn.items() if name]
    lacking = [code for code, name in worn.items() if not name]
    if not having:
        return NO_SFT
    return "; ".join((f"SFTs of {', '.join(having)}", *([f"none for {', '.join(lacking)}"] if lacking else [])))


def in_one(by_task: Mapping[str, str]) -> str:
    """Say once what is true of all tasks, or by task."""
    texts = list(dict.fromkeys(by_task.values()))
    return texts[0] if len(texts) == 1 else "; ".join(f"{task}: {text}" for task, text in by_task.items())


def _name(model: str) -> str:
    return shown_name(model).removeprefix(LEGACY_PREFIX)
