"""A recipe scaled down: every stage of it on a sample of its data and with few updates, to find out whether it runs.

What decides whether a run fails stays as it is: models, readers, columns, label names, batch sizes, lengths and
precisions, and with them most of the memory that is needed.
"""

from __future__ import annotations

from ..recipe import BilingualSettings, Language, Recipe, SparseSettings, SpeedSettings, TaskRecipe, TaskTeacher
from ..sources import LabelledSource, TextSource

SUFFIX = "-smoke"
"""What the name of a smoke run ends in."""

TEXT_LINES = 2_000
"""Lines of a plain text file."""

TEXT_ROWS = 200
"""Rows of a table of text or of a Hub data set, which may be whole documents."""

TRAINING_EXAMPLES = 1_000
"""Examples to train on, of which most are not reached: the labels of the test sets have to occur among them."""

EVALUATION_EXAMPLES = 100
"""Examples of each development and test set."""

UPDATES = 10
"""Updates of each training."""

SPEED_SECONDS = 2.0
"""Time for the measurements of speed."""

_ITERATIONS = 2


def smoke_recipe(recipe: Recipe) -> Recipe:
    """Scale a recipe down to minutes on a laptop, for a run that goes through all of its stages.

    The samples are the beginnings of text and labels, the same at each run; Hub data sets are read as streams, so that
    only their beginnings are fetched. What is less already stays. The recipe says that it is one of a smoke run, and
    whatever comes of it says so too.

    Args:
        recipe: The recipe; one that is scaled down already is returned as it is.

    Returns:
        The recipe of the smoke run, of the same name with `SUFFIX`.

    Raises:
        InputError: an environment variable in the path of a text is not set.
    """
    if recipe.smoke:
        return recipe
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}{SUFFIX}",
            "smoke": True,
            "source": _language(recipe.source),
            "target": _language(recipe.target),
            "further_languages": tuple(_language(language) for language in recipe.further_languages),
            "bilingual": _bilingual(recipe.bilingual),
            "tasks": tuple(_task(task) for task in recipe.tasks),
            "speed": _speed(recipe.speed),
        }
    )


def _language(language: Language) -> Language:
    return language.model_copy(update={"text": _text(language.text)})


def _text(text: TextSource) -> TextSource:
    most = TEXT_ROWS if text.is_table else TEXT_LINES
    return text.model_copy(update={"limit": _at_most(most, text.limit), "streaming": _can_stream(text)})


def _labelled(source: LabelledSource, most: int) -> LabelledSource:
    streaming = source.dataset is not None and _can_stream(source)
    return source.model_copy(update={"limit": _at_most(most, source.limit), "streaming": streaming})


def _can_stream(source: TextSource | LabelledSource) -> bool:
    """Whether a source can be read as a stream: a slice or a sum of splits cannot."""
    return not set("[+") & set(source.split or "")


def _bilingual(settings: BilingualSettings) -> BilingualSettings:
    return settings.model_copy(
        update={
            "steps": min(settings.steps, UPDATES),
            "evaluation_every": min(settings.evaluation_every, UPDATES // 2),
        }
    )


def _task(task: TaskRecipe) -> TaskRecipe:
    train = _labelled(task.train, TRAINING_EXAMPLES)
    tests = {name: _labelled(source, EVALUATION_EXAMPLES) for name, source in task.sources.items() if name != "train"}
    examples = train.limit or TRAINING_EXAMPLES
    return task.model_copy(
        update={
            "train": train,
            **tests,
            "teacher": _tuning(task.teacher, examples),
            "distillation": _distillation(task.distillation, examples),
        }
    )


def _tuning(settings: TaskTeacher, examples: int) -> TaskTeacher:
    epochs = _epochs(settings.batch_size, examples)
    passes = {"epochs": min(settings.epochs, epochs)}
    if settings.is_sparse:
        passes["dense_epochs"] = min(settings.dense_epochs, epochs)
    return settings.model_copy(update=passes)


def _distillation(settings: SparseSettings, examples: int) -> SparseSettings:
    epochs = _epochs(settings.batch_size * settings.accumulation, examples + settings.unlabelled(examples))
    return settings.model_copy(
        update={
            "dense_epochs": min(settings.dense_epochs, epochs),
            "sparse_epochs": min(settings.sparse_epochs, epochs),
            "iterations": min(settings.iterations, _ITERATIONS),
        }
    )


def _speed(settings: SpeedSettings) -> SpeedSettings:
    return settings.model_copy(update={"seconds": min(settings.seconds, SPEED_SECONDS)})


def _epochs(examples_per_update: int, examples: int) -> float:
    return UPDATES * examples_per_update / examples


def _at_most(most: int, own: int | None) -> int:
    return most if own is None else min(own, most)
