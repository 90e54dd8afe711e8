"""Count which inputs of the target language's test sets stand in the text that a student reads.

    python docs/studies/overlap.py RECIPE --set-file SETTINGS.toml [--tasks TASKS]

Words are compared, without case, punctuation and how characters are composed. A context of questions is taken sentence
by sentence. Prints a table: how many distinct inputs there are, how many are a line of the text, how many of at least
four words stand within a longer line, and how many share eight words in a row with one.
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from bistill_hub.cli.recipe_options import load_compared
from bistill_hub.errors import InputError
from bistill_hub.tasks import get_task

COLUMNS = ("tokens", "premise", "hypothesis", "question", "context")
"""Columns of the tasks' data sets that hold what a model reads."""

COUNTED = ("inputs", "a line", "within a line", "eight words in a row")
LEAST_WITHIN, IN_A_ROW = 4, 8
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|\n+")


def words_of(text: str) -> tuple[str, ...]:
    """Split a text into its words: letters, marks and digits, composed and without case."""
    composed = unicodedata.normalize("NFC", text).casefold()
    spaced = "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in composed)
    return tuple(spaced.split())


def inputs_of(dataset: Dataset) -> dict[str, list[tuple[str, ...]]]:
    """Give the distinct inputs of a data set as words, by column; those without a word are left out."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for column in COLUMNS:
        if column in dataset.column_names:
            texts = (" ".join(value) if isinstance(value, list) else value for value in dataset[column])
            parts = (part for text in texts for part in (_SENTENCE_ENDS.split(text) if column == "context" else [text]))
            found[column] = list(dict.fromkeys(words for words in map(words_of, parts) if words))
    return found


class Text(NamedTuple):
    """A text, prepared for looking in it.

    Attributes:
        lines: The words of each distinct line.
        joined: All lines, their words between single spaces.
        rows: What stands in it eight words in a row.
    """

    lines: set[tuple[str, ...]]
    joined: str
    rows: set[tuple[str, ...]]

    @classmethod
    def of(cls, lines: Iterable[str]) -> Text:
        """Prepare the lines of a text."""
        words = [words_of(line) for line in lines]
        rows = {row for each in words for row in _in_a_row(each)}
        return cls(set(words), "\n".join(f" {' '.join(each)} " for each in words), rows)


def overlap(inputs: Iterable[tuple[str, ...]], text: Text) -> dict[str, int]:
    """Count how many inputs stand in a text.

    Args:
        inputs: Words of each.
        text: The text.

    Returns:
        `inputs`, and of these `a line`, `within a line` and `eight words in a row`.
    """
    counts = dict.fromkeys(COUNTED, 0)
    for words in inputs:
        counts["inputs"] += 1
        counts["a line"] += words in text.lines
        long = len(words) >= LEAST_WITHIN and words not in text.lines
        counts["within a line"] += long and f" {' '.join(words)} " in text.joined
        counts["eight words in a row"] += any(row in text.rows for row in _in_a_row(words))
    return counts


def _in_a_row(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (words[start : start + IN_A_ROW] for start in range(len(words) - IN_A_ROW + 1))


def main() -> None:
    """Read the arguments, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set-file", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--tasks")
    args = parser.parse_args()
    try:
        recipe, _ = load_compared(args.recipe, args.tasks, args.assignments, args.set_file)
        found = {}
        for task in recipe.tasks:
            if task.test_target is not None:
                found[task.name] = inputs_of(get_task(task.name).read(task.test_target))
        text = Text.of(recipe.target.text)
        counts = {
            (task, column): overlap(inputs, text)
            for task, by_column in found.items()
            for column, inputs in by_column.items()
        }
    except InputError as error:
        parser.error(str(error))
    lines = [f"| task | column | {' | '.join(COUNTED)} |", f"|---|---|{'---:|' * len(COUNTED)}"]
    for (task, column), of_column in counts.items():
        lines.append(f"| {task} | {column} | {' | '.join(f'{of_column[head]:,}' for head in COUNTED)} |")
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
