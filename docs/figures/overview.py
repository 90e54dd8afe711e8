"""Draw the README's picture: python docs/figures/overview.py."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, QUIET, PAPER = "#1f2937", "#6b7280", "#f8fafc"
TEACHER, KEPT, STUDENT, DELTA = "#cbd5e1", "#60a5fa", "#60a5fa", "#f59e0b"


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, text: str = "", size: int = 9) -> None:
    """Draw a rounded box with its text in the middle."""
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=color, edgecolor="none"))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=INK, fontsize=size)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=QUIET, linewidth=1.2))


def draw(file: Path) -> None:
    """Draw the way from a teacher to a published pair.

    Args:
        file: The PNG to write.
    """
    figure = Figure(figsize=(9, 4.1), dpi=160, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 12)
    axes.set_ylim(0, 5.5)
    axes.axis("off")
    label = {"ha": "center", "va": "center", "color": INK}

    axes.text(1.7, 5.15, "multilingual teacher", fontsize=11, weight="bold", **label)
    for layer in range(12):
        box(axes, 0.6, 1.25 + 0.3 * layer, 2.2, 0.23, KEPT if layer % 2 else TEACHER)
    box(axes, 0.1, 0.55, 3.2, 0.45, TEACHER)
    box(axes, 0.1, 0.55, 0.9, 0.45, KEPT)
    axes.text(1.7, 0.25, "vocabulary of a hundred languages", fontsize=8, color=QUIET, ha="center", va="center")

    arrow(axes, (3.5, 2.9), (5.0, 2.9))
    axes.text(4.25, 3.5, "keep every\n2nd layer,\ntwo languages'\ntokens", fontsize=8.5, linespacing=1.25, **label)
    axes.text(4.25, 2.25, "phase 1:\nlearn from it on\nplain text of both", fontsize=8.5, linespacing=1.25, **label)

    axes.text(6.2, 5.15, "bilingual student", fontsize=11, weight="bold", **label)
    for layer in range(6):
        box(axes, 5.1, 2.15 + 0.3 * layer, 2.2, 0.23, STUDENT)
    box(axes, 5.75, 1.45, 0.9, 0.45, STUDENT)
    axes.text(6.2, 1.13, "vocabulary of two", fontsize=8, color=QUIET, ha="center", va="center")

    arrow(axes, (7.5, 2.9), (9.0, 2.9))
    axes.text(
        8.25,
        3.42,
        "phase 2:\nlearn a task from\nits task teacher,\nsource labels alone",
        fontsize=8.5,
        linespacing=1.25,
        **label,
    )

    axes.text(10.5, 5.15, "sparse task deltas", fontsize=11, weight="bold", **label)
    for place, task in enumerate(("NER", "POS", "NLI", "QA", "yours")):
        box(axes, 9.5, 4.3 - 0.62 * place, 2.0, 0.42, DELTA if task != "yours" else "#fde68a", task)
    axes.text(
        10.5,
        1.35,
        "8 % of the encoder each;\nzero-shot in the target language",
        fontsize=8,
        color=QUIET,
        ha="center",
        va="center",
    )

    axes.text(
        8.6,
        0.45,
        "one repository: from_pretrained gives ordinary transformers models",
        fontsize=9.5,
        style="italic",
        **label,
    )
    figure.savefig(file, facecolor=PAPER)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
