"""The figure of a comparison: quality on the target language against parameters and against operations.

Drawn from scores alone: equal scores give equal bytes, whatever matplotlib's settings are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..student.figures import BACKGROUND, COLOURS, INK
from .contenders import CONTENDERS, TEACHER
from .table import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES_FOLDER = "figures"
_GREY = "#666666"
_GROUPS = {
    "pair": (COLOURS[1], "the pair's student"),
    "teacher": (INK, "teacher"),
    "trimming": (COLOURS[0], "trimming alone"),
    "multilingual": (COLOURS[2], "multilingual students"),
    "scratch": (COLOURS[3], "from scratch"),
    "ablation": ("#8C6D00", "ablations"),
    "extension": ("#7A4FBF", "beyond the paper"),
    "published": ("#56B4E9", "published"),
}
"""By group its colour and what the legend calls it."""

_WIDTH, _LABEL_HEIGHT, _LEAST_HEIGHT, _AROUND = 13.0, 0.19, 3.2, 1.6  # inches
_ROOM = 0.06
"""Share of a panel's width, in logarithms, that is left free on either side."""
_APART, _ALL_APART = 0.03, 0.15
"""The same between models of equal size, which are drawn beside each other: of two, and of all together at most."""
_TICKS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))


@dataclass(frozen=True)
class _Point:
    label: str
    colour: str
    x: float
    score: Score


def draw_comparison(scores: Sequence[Score], folder: Path, *, synthetic: bool) -> list[Path]:
    """Draw a PNG for each task.

    Args:
        scores: Scores of any tasks; those on the target language are drawn.
        folder: Where the pictures go, each called by its task; made where it is not there.
        synthetic: Text and labels were generated, which is said in the picture.

    Returns:
        The pictures.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for task in dict.fromkeys(score.task for score in scores if score.role == "target"):
        drawn = [score for score in scores if (score.task, score.role) == (task, "target")]
        file = folder / f"{task}.png"
        save_figure(comparison_figure(drawn, synthetic=synthetic), file)
        files.append(file)
    return files


def comparison_figure(scores: Sequence[Score], *, synthetic: bool) -> Figure:
    """Lay out the picture of one task.

    Args:
        scores: Of one task on one test set.
        synthetic: Text and labels were generated.

    Raises:
        InputError: there is nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not scores:
        raise InputError("there is nothing to draw", field="scores", value=[], remedy="leave the picture out")
    first = scores[0]
    with drawing_style():
        height = _panel_height(scores) + _AROUND
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
        figure = Figure(figsize=(_WIDTH, height), facecolor=BACKGROUND, layout=layout)
        FigureCanvasAgg(figure)
        title = f"{first.task}, {first.language}: {first.metric} on {_plain(first.dataset)}, n = {first.n:,}"
        figure.suptitle(f"{title}{' (synthetic)' if synthetic else ''}", fontsize=12)
        left, right = figure.subplots(1, 2)
        _draw_panel(left, scores, lambda score: score.size.parameters / 1e6)
        left.set_xlabel(f"parameters of the encoder (millions){_beside(scores, lambda score: score.size.parameters)}")
        left.set_ylabel(f"{first.metric} (%), 95 % interval")
        _draw_panel(right, scores, lambda score: score.size.flops_per_token * score.size.flops_length / 1e9)
        beside = _beside(scores, lambda score: score.size.flops_per_token)
        right.set_xlabel(f"GFLOPs for an input of {first.size.flops_length} tokens{beside}")
        _draw_legend(figure, scores)
        layout.execute(figure)  # makes the ticks too, which would take later settings
        figure.set_layout_engine(None)  # saving would lay everything out again, and draw it once more for that
        return figure


def _panel_height(scores: Sequence[Score]) -> float:
    """About how high a panel becomes, in inches: there is room for all labels."""
    return max(_LEAST_HEIGHT, _LABEL_HEIGHT * len(scores))


def label_places(wanted: Sequence[float], gap: float) -> list[float]:
    """Spread labels along an edge from 0 to 1, at least `gap` apart and near where they are wanted.

    Args:
        wanted: Where each would be, in rising order.
        gap: The least distance; so many have to fit.
    """
    places: list[float] = []
    for each in wanted:
        places.append(max(each, 0.0, places[-1] + gap if places else 0.0))
    above = 1.0
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], above)
        above = places[index] - gap
    return places


def _beside(scores: Sequence[Score], size: Callable[[Score], float]) -> str:
    """Say that models of equal size stand a little apart, where there are such."""
    return "\nequal ones side by side" if len({size(score) for score in scores}) < len(scores) else ""


def _draw_panel(axes: Axes, scores: Sequence[Score], size: Callable[[Score], float]) -> None:
    """Points with intervals, a label for each on the right, the teacher and the trivial baseline as lines."""
    low, high = min(map(size, scores)), max(map(size, scores))
    span = max(math.log(high / low), math.log(1.5))
    points = _apart(scores, size, span)
    axes.set_facecolor(BACKGROUND)
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    axes.set_xlim(
        min(point.x for point in points) / math.exp(_ROOM * span),
        max(point.x for point in points) * math.exp(_ROOM * span),
    )
    _set_ticks(axes)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.axhline(100 * scores[0].trivial, color=_GREY, linestyle=":", linewidth=1)
    for score in scores:
        if score.contender == TEACHER:
            axes.axhline(100 * score.score, color=_GREY, linestyle="--", linewidth=1)
    for point in points:
        score = point.score
        axes.plot([point.x, point.x], [100 * score.low, 100 * score.high], color=point.colour, linewidth=1.4, zorder=3)
        axes.plot([point.x], [100 * score.score], color=point.colour, marker="o", markersize=5, zorder=4)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    points.sort(key=lambda point: point.score.score)
    wanted = [(100 * point.score.score - bottom) / (top - bottom) for point in points]
    for point, place in zip(points, label_places(wanted, _LABEL_HEIGHT / _panel_height(scores)), strict=True):
        axes.annotate(
            point.label,
            (point.x, 100 * point.score.score),
            (1.04, place),
            textcoords="axes fraction",
            annotation_clip=False,
            color=INK,
            fontsize=9,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": point.colour,
                "linewidth": 0.8,
                "alpha": 0.8,
                "shrinkA": 1,
                "relpos": (0, 0.5),
            },
        )


def _apart(scores: Sequence[Score], size: Callable[[Score], float], span: float) -> list[_Point]:
    """Put models of equal size beside each other, around where they belong."""
    by_size: dict[float, list[Score]] = {}
    for score in scores:
        by_size.setdefault(size(score), []).append(score)
    points = []
    several = len({score.seeds for score in scores}) > 1
    for x, equal in by_size.items():
        apart = min(_APART, _ALL_APART / len(equal)) * span
        for number, score in enumerate(equal):
            moved = x * math.exp(apart * (number - (len(equal) - 1) / 2))
            contender = CONTENDERS[score.contender]
            word = "seed" if len(score.seeds) == 1 else "seeds"
            seeds = f" ({word} {', '.join(map(str, score.seeds))})" if several else ""
            points.append(_Point(f"{contender.label}{seeds}", _GROUPS[contender.group][0], moved, score))
    return points


def _set_ticks(axes: Axes) -> None:
    """A few round numbers, however narrow the range."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_xlim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in _TICKS:
        if len(ticks) < 3:
            numbers = [digit * 10.0**power for power in powers for digit in digits]
            ticks = [number for number in numbers if low <= number <= high]
    if len(ticks) < 3:
        ticks = [float(number) for number in MaxNLocator(4).tick_values(low, high) if low <= number <= high]
    axes.set_xticks(ticks[:: math.ceil(len(ticks) / 7)])
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xticks([], minor=True)


def _draw_legend(figure: Figure, scores: Sequence[Score]) -> None:
    from matplotlib.lines import Line2D

    there = {CONTENDERS[score.contender].group for score in scores}
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=5, linewidth=1.4, label=name)
        for group, (colour, name) in _GROUPS.items()
        if group in there
    ]
    handles.append(Line2D([], [], color=_GREY, linestyle="--", linewidth=1, label="teacher's score"))
    handles.append(Line2D([], [], color=_GREY, linestyle=":", linewidth=1, label="trivial baseline"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False, fontsize=9)


def _plain(text: str) -> str:
    """A name as it is written into a picture: no formula."""
    return " ".join(text.split()).replace("$", r"\$")


@contextmanager
def drawing_style() -> Iterator[None]:
    """Use matplotlib's own settings and the package's colours, whatever the user has set."""
    from matplotlib import style

    ink = {name: INK for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")}
    own = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", {**ink, **own}]):
        yield


def save_figure(figure: Figure, file: str | os.PathLike[str]) -> None:
    """Write a PNG; equal figures give equal bytes."""
    with drawing_style():
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
