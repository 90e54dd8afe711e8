"""Draw the pictures of docs/index.md and docs/concepts.md into this folder: python docs/pictures/draw.py.

They are narrow and their letters are large: on a phone a picture is shown at a third of its size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, QUIET, PAPER = "#1f2937", "#64748b", "#f8fafc"
TEACHER, STUDENT, DELTA, TEXT = "#cbd5e1", "#60a5fa", "#f59e0b", "#a7f3d0"
Point = tuple[float, float]


def canvas(height: float) -> tuple[Figure, Axes]:
    """Make an empty picture.

    Args:
        height: In inches; the width is 6, and the axes are in tenths of an inch.
    """
    figure = Figure(figsize=(6, height), dpi=200, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 60)
    axes.set_ylim(0, 10 * height)
    axes.axis("off")
    return figure, axes


def box(axes: Axes, place: Point, size: Point, color: str, text: str = "", fontsize: float = 12) -> None:
    """Draw a rounded box, from its lower left corner, with its text in the middle."""
    style = "round,pad=0,rounding_size=0.6"
    axes.add_patch(FancyBboxPatch(place, *size, boxstyle=style, facecolor=color, edgecolor="none"))
    words(axes, (place[0] + size[0] / 2, place[1] + size[1] / 2), text, fontsize=fontsize)


def words(axes: Axes, place: Point, text: str, color: str = INK, fontsize: float = 12, bold: bool = False) -> None:
    """Write text around a point."""
    weight = "bold" if bold else "normal"
    axes.text(*place, text, ha="center", va="center", color=color, fontsize=fontsize, weight=weight, linespacing=1.25)


def arrow(axes: Axes, start: Point, end: Point, style: str = "-|>", color: str = QUIET) -> None:
    """Draw an arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=16, color=color, linewidth=1.6))


def stack(axes: Axes, place: Point, layers: int, marked: Sequence[int] = (), step: float = 2.6) -> None:
    """Draw layers from the lowest upwards; those that are marked in the student's colour."""
    for layer in range(layers):
        color = STUDENT if layer in marked else TEACHER
        box(axes, (place[0], place[1] + step * layer), (14, step - 0.6), color)


def overview() -> Figure:
    """Draw teacher, student and deltas side by side."""
    figure, axes = canvas(5.2)
    for middle, text in ((9, "multilingual\nteacher"), (32, "bilingual\nstudent"), (52, "sparse\ntask deltas")):
        words(axes, (middle, 48), text, bold=True)
    stack(axes, (2, 12), 12, marked=range(1, 12, 2))
    box(axes, (0.5, 6.5), (17, 3.6), TEACHER)
    box(axes, (0.5, 6.5), (4, 3.6), STUDENT)
    words(axes, (9, 3), "a hundred languages", QUIET, 10.5)
    stack(axes, (25, 19.8), 6, marked=range(6))
    box(axes, (30, 14.3), (4, 3.6), STUDENT)
    words(axes, (32, 10.8), "two languages", QUIET, 10.5)
    for place, task in enumerate(("NER", "POS", "NLI", "QA", "yours")):
        box(axes, (45.5, 37 - 5.6 * place), (13, 4.4), DELTA if task != "yours" else "#fde68a", task)
    words(axes, (52, 10.8), "zero-shot in\nthe target", QUIET, 10.5)
    arrow(axes, (17.5, 27.5), (24, 27.5))
    arrow(axes, (40, 27.5), (44.8, 27.5))
    return figure


def pipeline() -> Figure:
    """Draw the way from teacher and text to a pair."""
    figure, axes = canvas(7.4)
    stages = (
        (63, TEACHER, "multilingual teacher"),
        (49, STUDENT, "student as it is cut:\nfewer layers, fewer tokens"),
        (33, STUDENT, "bilingual student"),
        (17, DELTA, "a sparse delta for each task"),
        (2, PAPER, "the pair: student, deltas, tokenizer,\nscores and card in one repository"),
    )
    for height, color, text in stages:
        box(axes, (17, height), (41, 8), color, text)
    for (above, _, _), (below, _, _) in pairwise(stages):
        arrow(axes, (21, above - 0.4), (21, below + 8.6))
    for height, text in (
        (49, "text of both\nlanguages"),
        (33, "the same\ntext"),
        (17, "labels in\nthe source\nlanguage"),
    ):
        box(axes, (1, height), (13, 8), TEXT, text, 10.5)
        arrow(axes, (14.2, height + 4), (16.8, height + 4))
    for height, text in (
        (60, "phase 0: cut the student out"),
        (45, "phase 1: learn from the teacher"),
        (29, "phase 2: learn from a task teacher"),
        (13.5, "score and package"),
    ):
        axes.text(23.5, height, text, color=QUIET, fontsize=11.5, va="center")
    return figure


def vocabulary() -> Figure:
    """Draw which tokens stay, and what becomes of their ids."""
    figure, axes = canvas(5.6)
    pieces = ("[CLS]", "the", "ni", "der", "wa", "##ing", "ng", "и", "book", "ż")
    kept = (0, 1, 2, 4, 5, 6, 8)
    words(axes, (15, 53.5), "teacher's ids", bold=True)
    words(axes, (46, 53.5), "student's ids", bold=True)
    for row, piece in enumerate(pieces):
        height = 46.5 - 4.8 * row
        words(axes, (4.5, height + 1.8), str(row), QUIET)
        box(axes, (8, height), (14, 3.8), STUDENT if row in kept else TEACHER, piece)
        if row in kept:
            new = kept.index(row)
            target = 46.5 - 4.8 * new
            box(axes, (39, target), (14, 3.8), STUDENT, piece)
            words(axes, (56.5, target + 1.8), str(new), QUIET)
            arrow(axes, (22.4, height + 1.9), (38.6, target + 1.9))
    words(axes, (44, 6.5), "old order,\nno gaps", QUIET, 11)
    return figure


def layers() -> Figure:
    """Draw which teacher layers a student starts as, with a layer reduction factor of 2."""
    figure, axes = canvas(4.6)
    words(axes, (13, 43), "teacher, 12 layers", bold=True)
    words(axes, (46, 43), "student, 6 layers", bold=True)
    stack(axes, (6, 8), 12, marked=range(1, 12, 2))
    for layer in range(12):
        words(axes, (3, 9 + 2.6 * layer), str(layer), QUIET, 10.5)
    for layer in range(6):
        height = 15 + 2.6 * layer
        box(axes, (39, height), (14, 2.0), STUDENT)
        words(axes, (56, height + 1), str(layer), QUIET, 10.5)
        arrow(axes, (20.4, 9 + 2.6 * (2 * layer + 1)), (38.6, height + 1))
    box(axes, (3, 2), (20, 3.6), STUDENT, "embeddings", 11)
    box(axes, (39, 9), (14, 3.6), STUDENT, "embeddings", 11)
    arrow(axes, (23.4, 3.8), (38.6, 10.5))
    return figure


def phase_1() -> Figure:
    """Draw what the losses of phase 1 compare."""
    figure, axes = canvas(5.6)
    words(axes, (11, 53), "teacher\n(fixed)", bold=True)
    words(axes, (49, 53), "student\n(trained)", bold=True)
    for layer in range(6):
        box(axes, (4, 17.5 + 5 * layer), (14, 4), STUDENT if layer % 2 else TEACHER, f"layer {layer}", 11)
    for layer in range(3):
        height = 18.5 + 10 * layer
        box(axes, (42, height), (14, 4), STUDENT, f"layer {layer}", 11)
        top = 17.5 + 5 * (2 * layer + 1)
        arrow(axes, (18.4, top + 1.4), (41.6, height + 1.2), "<|-|>", DELTA)
        arrow(axes, (18.4, top + 3.4), (41.6, height + 3.2), "<|-|>", INK)
    box(axes, (4, 10.5), (14, 4), STUDENT, "embeddings", 11)
    box(axes, (42, 10.5), (14, 4), STUDENT, "embeddings", 11)
    arrow(axes, (18.4, 12.5), (41.6, 12.5), "<|-|>", INK)
    box(axes, (4, 3), (52, 4.6), TEXT, "one batch of text, in one of the two languages", 11.5)
    arrow(axes, (11, 7.8), (11, 10.2))
    arrow(axes, (49, 7.8), (49, 10.2))
    words(axes, (30, 52), "hidden states", INK, 11.5, bold=True)
    words(axes, (30, 48.6), "attention", "#b45309", 11.5, bold=True)
    return figure


def lottery_ticket() -> Figure:
    """Draw dense training, selection, rewinding and sparse training."""
    figure, axes = canvas(6.4)
    draw = random.Random(4)
    moved = [[draw.random() ** 3 for _ in range(12)] for _ in range(6)]
    chosen = sorted((value for row in moved for value in row), reverse=True)[5]
    titles = (
        ("1. dense", "every entry is free;\nsome move far"),
        ("2. select", "those that moved\nfurthest are chosen"),
        ("3. rewind", "every entry is what\nit was at the start"),
        ("4. sparse", "the chosen ones alone\nare trained again"),
    )
    for part, (title, text) in enumerate(titles):
        left, low = (3 if part % 2 == 0 else 33), (37 if part < 2 else 5.5)
        words(axes, (left + 12, low + 23), title, bold=True, fontsize=13)
        for row in range(6):
            for column in range(12):
                value = moved[row][column]
                top = value >= chosen
                shade = {
                    0: _mixed(TEACHER, DELTA, value),
                    1: DELTA if top else TEACHER,
                    2: TEACHER,
                    3: DELTA if top else TEACHER,
                }[part]
                place = (left + 2 * column, low + 8 + 2.1 * row)
                axes.add_patch(
                    FancyBboxPatch(place, 1.7, 1.75, boxstyle="square,pad=0", facecolor=shade, edgecolor="none")
                )
                if part == 2 and top:
                    square = FancyBboxPatch(place, 1.7, 1.75, boxstyle="square,pad=0", facecolor="none", edgecolor=INK)
                    axes.add_patch(square)
        words(axes, (left + 12, low + 3.6), text, QUIET, 11)
    return figure


def _mixed(start: str, end: str, share: float) -> tuple[float, ...]:
    """Return the colour that is this share of the way from one to another."""
    pairs = ((int(start[place : place + 2], 16), int(end[place : place + 2], 16)) for place in (1, 3, 5))
    return tuple((low + share * (high - low)) / 255 for low, high in pairs)


if __name__ == "__main__":
    for picture in (overview, pipeline, vocabulary, layers, phase_1, lottery_ticket):
        picture().savefig(
            Path(__file__).with_name(f"{picture.__name__}.png"), facecolor=PAPER, metadata={"Software": None}
        )
