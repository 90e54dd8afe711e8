"""What contenders change of a pair's recipe, as `Recipe.replace` takes it.

Where the number of updates would change with what is changed, epochs are changed so that it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..recipe import Recipe, TaskRecipe, TaskTeacher

TUNING = {"epochs", "density", "dense_epochs", "batch_size", "learning_rate", "precision"}
"""How a recipe tunes a task's teacher; the other fields say what it takes instead."""

Changes = Mapping[str, Any]
"""Dotted path to new value, as `Recipe.replace` takes them."""

_NO_GENERAL_LOSS: Changes = {
    f"bilingual.{term}_weight": 0.0
    for term in ("attention", "hidden", "logits", "divergence", "relations", "masked_lm", "cosine")
}
WHOLE_VOCABULARY: Changes = {"student.vocabulary": "whole"}
_HIDDEN_SHARE = 0.15
"""Share of the tokens that BERT and DistilBERT hide."""

DISTILBERT: Changes = {
    **_NO_GENERAL_LOSS,
    **WHOLE_VOCABULARY,
    # The weights of DistilBERT's training: 5 for the teacher's distribution, 2 for the tokens, 1 for the cosine.
    "bilingual.logits_weight": 5.0,
    "bilingual.masked_lm_weight": 2.0,
    "bilingual.cosine_weight": 1.0,
    "bilingual.masked_share": _HIDDEN_SHARE,
    "student.keep_language_modelling_head": True,
}
RELATIONS: Changes = {**_NO_GENERAL_LOSS, "bilingual.relations_weight": 1.0, "bilingual.masked_share": 0.0}
MINILM: Changes = {**RELATIONS, **WHOLE_VOCABULARY}
SCRATCH: Changes = {
    **_NO_GENERAL_LOSS,
    "student.initialisation": "random",
    "bilingual.masked_lm_weight": 1.0,
    "bilingual.masked_share": _HIDDEN_SHARE,
    "student.keep_language_modelling_head": True,
}
NO_PHASE_1: Changes = {"bilingual.steps": 0}
_TARGET_SHARE = 0.5
"""Share of phase 2's inputs that are text of the target language, of the contenders that are about that."""


def of_tasks(recipe: Recipe, changes: Changes) -> dict[str, Any]:
    """The same changes of every task's phase 2."""
    return {f"tasks.{task.name}.distillation.{name}": value for task in recipe.tasks for name, value in changes.items()}


def from_labels(recipe: Recipe) -> dict[str, Any]:
    """Labels alone, in as many updates: without text of the target language there are more passes in them."""
    changes = of_tasks(recipe, {"learns_from": "labels", "target_share": 0.0})
    for task in recipe.tasks:
        settings = task.distillation
        for epochs in ("dense_epochs", "sparse_epochs") if settings.target_share else ():
            longer = getattr(settings, epochs) / (1 - settings.target_share)
            changes[f"tasks.{task.name}.distillation.{epochs}"] = longer
    return changes


def fine_tuned(recipe: Recipe) -> Changes:
    """Labels alone, every entry free, as many updates as the sparse stage, the rate of the task teacher."""
    changes = from_labels(recipe)
    changes |= of_tasks(recipe, {"density": 1.0, "iterations": 1, "freeze_layer_norms": False})
    for task in recipe.tasks:
        changes[f"tasks.{task.name}.distillation.learning_rate"] = task.teacher.learning_rate
    return changes


def on_target_text(recipe: Recipe) -> Changes:
    """Half of phase 2's inputs are text of the target language, in as many updates: half as many passes."""
    changes: dict[str, Any] = {}
    for task in recipe.tasks:
        settings, field = task.distillation, f"tasks.{task.name}.distillation"
        if settings.learns_from == "teacher" and not settings.target_share:
            changes[f"{field}.target_share"] = _TARGET_SHARE
            changes[f"{field}.dense_epochs"] = settings.dense_epochs * (1 - _TARGET_SHARE)
            changes[f"{field}.sparse_epochs"] = settings.sparse_epochs * (1 - _TARGET_SHARE)
    return changes


def is_tuned_in_full(task: TaskRecipe) -> bool:
    """Whether a task's teacher is tuned here, with every entry free."""
    return task.teacher.model is None and task.teacher.delta is None and not task.teacher.is_sparse


def tuned_in_full(tasks: Iterable[TaskRecipe]) -> dict[str, Any]:
    """Without the tuned models and task SFTs that are given: the teacher is fine-tuned in their place, in full."""
    nothing = TaskTeacher().model_dump(exclude=TUNING) | {"density": 1.0}
    return {f"tasks.{task.name}.teacher.{field}": value for task in tasks for field, value in nothing.items()}


def every_nth_layer(factor: int) -> Changes:
    """One student layer for so many of the teacher's, evenly spread, whatever the recipe chooses."""
    evenly = {} if factor == 1 else {"student.layer_choice": "spread"}
    return {"student.layer_reduction_factor": factor, "student.layers": None, "student.layer_map": None, **evenly}


def lt_sft(recipe: Recipe) -> Changes:
    """The whole teacher, tuned as sparsely as the student, on the labels; `sparse_teacher` says what it wears."""
    return {**every_nth_layer(1), **WHOLE_VOCABULARY, **NO_PHASE_1, **from_labels(recipe)}


def fixed(changes: Changes, *, on_labels: bool = False) -> Callable[[Recipe], Changes]:
    """The same for each recipe, and fine-tuned on labels in place of phase 2 if asked."""
    return lambda recipe: {**changes, **(fine_tuned(recipe) if on_labels else {})}


def without_term(terms: Sequence[str], term: str) -> Callable[[Recipe], Changes]:
    """Without these terms of phase 1 and this one of phase 2."""
    first = {f"bilingual.{name}_weight": 0.0 for name in terms}
    return lambda recipe: {**first, **of_tasks(recipe, {f"{term}_weight": 0.0})}


def published(model: str) -> Callable[[Recipe], Changes]:
    """A published student in the teacher's place, fine-tuned in as many updates as the other students."""

    def changes(recipe: Recipe) -> Changes:
        found: dict[str, Any] = {"teacher.model": model, "teacher.revision": None, "teacher.language_deltas": {}}
        found |= tuned_in_full(recipe.tasks)
        for task in recipe.tasks:
            prefix = f"tasks.{task.name}.teacher"
            found[f"{prefix}.epochs"] = task.distillation.sparse_epochs / (1 - task.distillation.target_share)
            found[f"{prefix}.batch_size"] = task.distillation.batch_size * task.distillation.accumulation
        return found

    return changes
