"""The picture of a cut: sizes by layer reduction factor, tokens and coverage by threshold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .inspection import CutReport

# Distinct in greyscale and to the colour-blind (Okabe and Ito's set).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_MARKERS = ("o", "s", "^", "D")
BACKGROUND = "#FCFCFA"
INK = "#222222"


def draw_cut(report: CutReport, file: str | os.PathLike[str]) -> None:
    """Draw what `inspect_cut` found, as a PNG on a light, opaque background.

    Args:
        report: What was found.
        file: Where the picture goes; replaced if it is there.

    Raises:
        OSError: the file cannot be written.
    """
    cut_figure(report).savefig(file, format="png", dpi=150)


def cut_figure(report: CutReport) -> Figure:
    """Lay out the picture that `draw_cut` writes, whatever matplotlib's settings are."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ink = {name: INK for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")}
    with rc_context({**ink, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        rows = 1 + len(report.cuts)
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
        figure = Figure(figsize=(10, 5.4 + 0.4 * rows), facecolor=BACKGROUND, layout=layout)
        FigureCanvasAgg(figure)
        languages = " and ".join(report.vocabulary.languages)
        figure.suptitle(f"{Path(report.teacher).name or report.teacher} cut for {languages}", fontsize=13)
        grid = figure.add_gridspec(2, 2, height_ratios=(0.8 + 0.4 * rows, 3.6))
        _draw_sizes(figure.add_subplot(grid[0, :]), report)
        _draw_tokens(figure.add_subplot(grid[1, 0]), report)
        _draw_coverage(figure.add_subplot(grid[1, 1]), report)
        for axes in figure.axes:
            axes.set_facecolor(BACKGROUND)
            axes.set_axisbelow(True)
        layout.execute(figure)  # makes the ticks too, which would take later settings
        figure.set_layout_engine(None)  # saving would lay everything out again, and draw it once more for that
    return figure


def _draw_sizes(axes: Axes, report: CutReport) -> None:
    """Bars of parameters: word embeddings and everything else."""
    sizes = {"teacher": report.teacher_size} | {f"student, LRF {factor}": size for factor, size in report.cuts.items()}
    embeddings = [size.embedding_parameters / 1e6 for size in sizes.values()]
    others = [(size.parameters - size.embedding_parameters) / 1e6 for size in sizes.values()]
    places = range(len(sizes))
    axes.barh(places, embeddings, 0.6, color=COLOURS[0], label="word embeddings")
    axes.barh(places, others, 0.6, left=embeddings, color="#E69F00", label="everything else")
    for place, size in zip(places, sizes.values(), strict=True):
        written = f"{size.megabytes:,.{0 if size.megabytes >= 10 else 2}f} MB, {size.layers} layers"
        axes.annotate(written, (size.parameters / 1e6, place), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(list(places), list(sizes))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(size.parameters for size in sizes.values()) / 1e6)
    axes.set_xlabel("parameters of the encoder (millions)")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_title("Size (MB: weights in float32)", loc="left")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)


def _draw_tokens(axes: Axes, report: CutReport) -> None:
    """Tokens kept by threshold."""
    swept = [threshold for threshold in report.thresholds if threshold.min_token_probability > 0]
    axes.plot(
        [threshold.min_token_probability for threshold in swept],
        [threshold.tokens for threshold in swept],
        color=COLOURS[0],
        marker=_MARKERS[0],
    )
    axes.set_title("Vocabulary", loc="left")
    axes.set_ylabel("tokens kept")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    _finish_thresholds(axes, report)


def _draw_coverage(axes: Axes, report: CutReport) -> None:
    """Share of each corpus's tokens that are kept, by threshold."""
    swept = [threshold for threshold in report.thresholds if threshold.min_token_probability > 0]
    for index, language in enumerate(report.vocabulary.languages):
        axes.plot(
            [threshold.min_token_probability for threshold in swept],
            [100 * threshold.coverage[language] for threshold in swept],
            color=COLOURS[index % len(COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=8 - 2 * index if index < 3 else 3,  # so that equal curves show behind one another
            label=language,
        )
    axes.set_title("Coverage", loc="left")
    axes.set_ylabel("corpus tokens kept (%)")
    axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    if min(min(threshold.coverage.values()) for threshold in swept) > 0.9999:
        axes.set_ylim(99.9, 100.01)
    _finish_thresholds(axes, report)
    axes.legend(frameon=False, loc="lower right")


def _finish_thresholds(axes: Axes, report: CutReport) -> None:
    axes.set_xscale("log")
    axes.invert_xaxis()
    asked = f" (asked for: {report.min_token_probability:g})" if report.min_token_probability is not None else ""
    axes.set_xlabel(f"least token probability{asked}")
    axes.grid(color="#DDDDDD", linewidth=0.8)
    if report.min_token_probability:
        axes.axvline(report.min_token_probability, color="#666666", linestyle="--", linewidth=1, zorder=1)
