"""Text of the target language without labels, which phase 2 can read beside the labelled source language.

The task teacher reads it, too, and the student is taught what it makes of it: no label is needed (Wu et al. 2020, on
named entities).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..recipe import Recipe
from ..tasks.task import Task
from .preflight import TaskData

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def encode_target_text(recipe: Recipe, data: TaskData, tokenizer: PreTrainedTokenizerBase, count: int) -> Dataset:
    """Make model inputs of lines of the target language, drawn at random.

    Args:
        recipe: The recipe; its seed decides which lines.
        data: The task's data.
        tokenizer: The student's.
        count: How many inputs are wanted.

    Returns:
        Features without those that only `decode` reads. There are fewer than `count` where the text has fewer lines;
        where lines become several inputs each, not all of them are kept.
    """
    lines = sample_lines(recipe.target.text, count, recipe.seed)
    features = data.task.encode_unlabelled(lines, tokenizer, data.labels, data.recipe.max_length)
    return features.select(range(min(count, len(features))))


def with_unlabelled(task: Task, labelled: Dataset, unlabelled: Dataset) -> Dataset:
    """Put inputs without labels behind those that have some.

    Args:
        task: The task.
        labelled: What `Task.encode` returned.
        unlabelled: What `encode_target_text` returned.
    """
    from datasets import concatenate_datasets

    trained_on = labelled.remove_columns(list(task.decode_columns))
    return concatenate_datasets([trained_on, unlabelled.cast(trained_on.features)])


def sample_lines(lines: Iterable[str], count: int, seed: int) -> list[str]:
    """Draw lines at random, each as likely as any other, in one pass that keeps no more than are drawn.

    Algorithm R of Vitter 1985, and then a shuffle: without it the first of them would stand where they stood.

    Args:
        lines: The text.
        count: How many are wanted; all are taken where there are fewer.
        seed: Decides which ones, and their order.
    """
    generator = random.Random(seed)
    drawn: list[str] = []
    for number, line in enumerate(lines):
        if number < count:
            drawn.append(line)
        elif (place := generator.randrange(number + 1)) < count:
            drawn[place] = line
    generator.shuffle(drawn)
    return drawn
