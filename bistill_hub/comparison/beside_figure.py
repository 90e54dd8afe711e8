"""The picture of every contender beside every other on the target language: who is ahead, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..student.figures import BACKGROUND, COLOURS, INK
from .beside import Beside
from .contenders import CONTENDERS
from .figure import drawing_style, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _LABELS, _ABOVE, _LEAST = 0.62, 3.4, 1.5, 7.5  # inches
_STRONGEST = 0.75
"""Share of the colour in the cell of the greatest difference; the others have less in proportion."""
_CAPTION = (
    "means over the seeds that both have\n"
    "coloured: the whole 95 % interval lies on one side of 0 (blue: the row is ahead)"
)
_UNTOLD = "#6B6B6B"
"""Ink of a difference that could as well be of the other sign."""


def draw_beside(beside: Sequence[Beside], folder: Path, *, synthetic: bool) -> list[Path]:
    """Draw a PNG for each task, `TASK-beside.png`.

    Args:
        beside: Of any tasks; what is on the target language is drawn.
        folder: Where the pictures go; made where it is not there.
        synthetic: Text and labels were generated, which is said in the picture.

    Returns:
        The pictures.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for task in dict.fromkeys(each.task for each in beside if each.role == "target"):
        file = folder / f"{task}-beside.png"
        drawn = [each for each in beside if (each.task, each.role) == (task, "target")]
        save_figure(beside_figure(drawn, synthetic=synthetic), file)
        files.append(file)
    return files


def beside_figure(beside: Sequence[Beside], *, synthetic: bool) -> Figure:
    """Lay out the picture of one task: in each row how many points its model is ahead of that of the column.

    A cell is coloured where the whole interval lies on one side of 0, and empty where two models share no seed.

    Args:
        beside: Of one task on one test set.
        synthetic: Text and labels were generated.

    Raises:
        InputError: there is nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not beside:
        raise InputError("there is nothing to draw", field="beside", value=[], remedy="leave the picture out")
    there = {name for each in beside for name in (each.contender, each.beside)}
    names = [name for name in CONTENDERS if name in there]
    with drawing_style():
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
        size = (max(_LEAST, _LABELS + _CELL * len(names)), _ABOVE + 0.6 * _CELL * len(names))
        figure = Figure(figsize=size, facecolor=BACKGROUND, layout=layout)
        FigureCanvasAgg(figure)
        title = f"{beside[0].task}, {beside[0].language}: row minus column, in points"
        figure.suptitle(f"{title}{' (synthetic)' if synthetic else ''}", fontsize=12)
        _draw_cells(figure.subplots(), names, beside)
        figure.supxlabel(_CAPTION, fontsize=9)
        layout.execute(figure)
        figure.set_layout_engine(None)
        return figure


def _draw_cells(axes: Axes, names: Sequence[str], beside: Sequence[Beside]) -> None:
    from matplotlib.colors import to_rgb

    place = {name: number for number, name in enumerate(names)}
    greatest = max(abs(each.difference) for each in beside) or 1.0
    cells = np.full((len(names), len(names), 3), to_rgb(BACKGROUND))
    for each in beside:
        row, column = place[each.contender], place[each.beside]
        told = each.low > 0 or each.high < 0
        for there, sign in (((row, column), 1), ((column, row), -1)):
            value = sign * each.difference
            if told:
                share = _STRONGEST * abs(value) / greatest
                colour = np.array(to_rgb(COLOURS[0] if value > 0 else COLOURS[1]))
                cells[there] = share * colour + (1 - share) * cells[there]
            axes.text(
                there[1],
                there[0],
                f"{100 * value:+.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color=INK if told else _UNTOLD,
                style="normal" if told else "italic",
            )
    axes.imshow(cells, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(names)), [str(number + 1) for number in range(len(names))])
    axes.set_yticks(range(len(names)), [f"{CONTENDERS[name].label}   {number + 1}" for name, number in place.items()])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
