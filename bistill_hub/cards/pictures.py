"""The pictures of a card: quality kept beside size and speed, loss curves, what the vocabulary covers.

Each is drawn from records alone: equal records give equal bytes, whatever matplotlib's settings are. Each comes with
a text that says the same to those who do not see it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..student.figures import BACKGROUND, COLOURS, INK
from .facts import LossCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#666666"
_WIDTH = 10.0  # inches
_NOTHING_TO_KEEP = "teacher not above the trivial baseline"
_TERMS = {"attention": COLOURS[0], "hidden": COLOURS[1], "logits": COLOURS[2], "task": COLOURS[3]}
_OTHER_TERMS = ("#56B4E9", "#8C6D00", "#999999")
_HELD_OUT = "#E69F00"
_MODELS = {"teacher": "#999999", "student": COLOURS[0]}
_TERM_NAMES = {"hidden": "hidden states"}


@dataclass(frozen=True, kw_only=True)
class KeptQuality:
    """What the student keeps of the teacher's quality on one test set.

    Attributes:
        task: Name of the task.
        language: Code of the test set's language.
        retention: The share that is kept above the trivial baseline; None where there is nothing to keep.
        low: Lower end of its 95 % interval; None where it has no ends, as in results without paired intervals.
        high: Upper end, with None as for the lower one.
    """

    task: str
    language: str
    retention: float | None
    low: float | None = None
    high: float | None = None


def draw_retention(
    kept: Sequence[KeptQuality], file: str | os.PathLike[str], *, parameters: float, speed: float | None
) -> str:
    """Draw quality kept, size and speed as a PNG.

    Args:
        kept: What is kept of each task and language, in the order of the rows.
        file: Where the picture goes; replaced if it is there.
        parameters: The student's parameters divided by the teacher's.
        speed: The student's throughput divided by the teacher's; None if it was not measured.

    Returns:
        The picture's alternative text.

    Raises:
        InputError: there is nothing to draw.
        OSError: the file cannot be written.
    """
    _save(lambda: retention_figure(kept, parameters=parameters, speed=speed), file)
    return retention_text(kept, parameters=parameters, speed=speed)


def draw_losses(curves: Sequence[LossCurve], file: str | os.PathLike[str]) -> str:
    """Draw loss curves by term as a PNG.

    Args:
        curves: A panel each.
        file: Where the picture goes; replaced if it is there.

    Returns:
        The picture's alternative text.

    Raises:
        InputError: there is nothing to draw.
        OSError: the file cannot be written.
    """
    _save(lambda: losses_figure(curves), file)
    return losses_text(curves)


def draw_coverage(vocabulary: Mapping[str, Any], file: str | os.PathLike[str]) -> str:
    """Draw a vocabulary report as a PNG.

    Args:
        vocabulary: `VocabularyReport.to_dict()`; its two sizes may be missing.
        file: Where the picture goes; replaced if it is there.

    Returns:
        The picture's alternative text.

    Raises:
        InputError: there is nothing to draw.
        OSError: the file cannot be written.
    """
    _save(lambda: coverage_figure(vocabulary), file)
    return coverage_text(vocabulary)


def retention_figure(kept: Sequence[KeptQuality], *, parameters: float, speed: float | None) -> Figure:
    """Lay out the picture that `draw_retention` writes."""
    _need(kept, "kept")
    with _style():
        figure = _figure(2.6 + 0.34 * len(kept))
        above, below = figure.subplots(2, 1, height_ratios=(2, max(len(kept), 2)))
        _draw_ratios(above, {"parameters": parameters, "speed": speed})
        _draw_kept(below, kept)
        return _finished(figure)


def losses_figure(curves: Sequence[LossCurve]) -> Figure:
    """Lay out the picture that `draw_losses` writes."""
    _need(curves, "curves")
    columns = 1 if len(curves) == 1 else 2 if len(curves) <= 4 else 3
    rows = math.ceil(len(curves) / columns)
    with _style():
        figure = _figure(0.8 + (2.9 if columns < 3 else 2.3) * rows)
        colours = _colours_of(curves)
        handles: dict[str, Any] = {}
        for place, curve in enumerate(curves):
            axes = figure.add_subplot(rows, columns, place + 1)
            handles |= _draw_curve(axes, curve, colours, 10 if columns == 3 else 30)
        if handles:
            names = [name for name in colours if name in handles]
            labels = [_label(_term_name(name)) for name in names]
            figure.legend([handles[name] for name in names], labels, loc="outside lower center", ncols=5, frameon=False)
        return _finished(figure)


def coverage_figure(vocabulary: Mapping[str, Any]) -> Figure:
    """Lay out the picture that `draw_coverage` writes."""
    languages = _need(vocabulary.get("languages"), "languages")
    with _style():
        sized = {"tokens_before", "tokens_after"} <= vocabulary.keys()
        figure = _figure(1.9 + 0.75 * max(len(languages), 1 + sized))
        panels = figure.subplots(1, 2 + sized, squeeze=False)[0]
        if sized:
            sizes = {"teacher": [vocabulary["tokens_before"]], "student": [vocabulary["tokens_after"]]}
            _draw_bars(panels[0], sizes, [list(_MODELS.values())], "{:,.0f}")
            panels[0].set_title("Tokens", loc="left")
            panels[0].set_xlabel("entries of the tokenizer")
        covered = {
            code: [100 * report["corpus_tokens_kept"], 100 * (1 - report["lines_with_dropped_pieces"])]
            for code, report in languages.items()
        }
        _draw_bars(panels[-2], covered, COLOURS[:2], "{:.2f}", ["tokens of the corpus", "whole lines"])
        panels[-2].set_title("Covered by what is kept", loc="left")
        panels[-2].set_xlabel("%")
        pieces = {code: [r["fertility_before"], r["fertility_after"]] for code, r in languages.items()}
        _draw_bars(panels[-1], pieces, list(_MODELS.values()), "{:.3f}", list(_MODELS))
        panels[-1].set_title("Pieces a word", loc="left")
        panels[-1].set_xlabel("pieces for each word")
        return _finished(figure)


def retention_text(kept: Sequence[KeptQuality], *, parameters: float, speed: float | None) -> str:
    """Say what `draw_retention` draws."""
    parts = [f"{each.task} {each.language} {_kept_text(each.retention)}{_between_text(each)}" for each in kept]
    fast = "its speed was not measured" if speed is None else f"it is {speed:.2f} times as fast"
    return (
        f"Quality kept of the teacher's, above the trivial baseline: {', '.join(parts)}. "
        f"The student has {100 * parameters:.1f} % of the teacher's parameters; {fast}."
    )


def losses_text(curves: Sequence[LossCurve]) -> str:
    """Say what `draw_losses` draws: the first and the last values of each stage."""
    parts = []
    for curve in curves:
        for stage, entries in curve.stages:
            lines = {name: points for name in _loss_names([entries]) if (points := _points(entries, name))}
            ends = [
                f"{_term_name(name)} "
                + " and ".join(
                    f"{value:.4g} at update {update:,}"
                    for update, value in dict.fromkeys(points[:: len(points) - 1 or 1])
                )
                for name, points in lines.items()
            ]
            parts.append(f"{curve.name}{f', {stage}' if stage else ''}: {', '.join(ends) or 'nothing was logged'}")
    return f"Loss by term. {'; '.join(parts)}."


def coverage_text(vocabulary: Mapping[str, Any]) -> str:
    """Say what `draw_coverage` draws."""
    parts = [
        f"{code}: {100 * report['corpus_tokens_kept']:.2f} % of the corpus's tokens covered, "
        f"{100 * (1 - report['lines_with_dropped_pieces']):.2f} % of lines whole, "
        f"{report['fertility_before']:.3f} pieces a word with the teacher's tokenizer and "
        f"{report['fertility_after']:.3f} with the student's"
        for code, report in vocabulary["languages"].items()
    ]
    sizes = ""
    if {"tokens_before", "tokens_after"} <= vocabulary.keys():
        sizes = f"The student keeps {vocabulary['tokens_after']:,} of {vocabulary['tokens_before']:,} tokens. "
    return f"{sizes}{'; '.join(parts)}."


def _draw_ratios(axes: Axes, ratios: Mapping[str, float | None]) -> None:
    """Bars of the student's size and speed, in the teacher's."""
    axes.barh(range(len(ratios)), [ratio or 0 for ratio in ratios.values()], 0.6, color=COLOURS[0])
    for place, ratio in enumerate(ratios.values()):
        _annotate(axes, "not measured" if ratio is None else f"{ratio:.2f}", ratio or 0, place)
    axes.axvline(1, color=_GREY, linestyle="--", linewidth=1)
    _set_rows(axes, list(ratios))
    axes.set_xlim(0, 1.15 * max(1.0, *(ratio or 0 for ratio in ratios.values())))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("student / teacher")
    axes.set_title("Size and speed", loc="left")


def _draw_kept(axes: Axes, kept: Sequence[KeptQuality]) -> None:
    """A bar for each task and language, with its interval where there is one; a language has one colour.

    An interval that is far wider than what is kept leaves the picture, so that the bars stay to be seen.
    """
    languages = list(dict.fromkeys(each.language for each in kept))
    shares = [100 * (each.retention or 0) for each in kept]
    colours = [COLOURS[languages.index(each.language) % len(COLOURS)] for each in kept]
    axes.barh(range(len(kept)), shares, 0.7, color=colours)
    least, most = min(0.0, *shares), max(100.0, *shares)
    limits = (least - most / 2, 1.5 * most)
    ends = [_ends(each, limits) or (share, share) for each, share in zip(kept, shares, strict=True)]
    for place, (each, (low, high)) in enumerate(zip(kept, ends, strict=True)):
        if low < high:
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2, solid_capstyle="butt")
        _annotate(axes, _kept_text(each.retention), max(shares[place], high, 0), place)
    axes.axvline(100, color=_GREY, linestyle="--", linewidth=1, zorder=0)
    _set_rows(axes, [f"{_label(each.task, 24)}, {_label(each.language, 12)}" for each in kept])
    axes.set_xlim(1.1 * min(least, *(low for low, _ in ends)), 1.15 * max(most, *(high for _, high in ends)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("% of what the teacher has above the trivial baseline")
    with_ends = any(low < high for low, high in ends)
    axes.set_title("Quality kept" + (", with 95 % intervals over examples" if with_ends else ""), loc="left")


def _ends(kept: KeptQuality, limits: tuple[float, float]) -> tuple[float, float] | None:
    """An interval's ends in %, within limits."""
    if kept.low is None or kept.high is None:
        return None
    return max(100 * kept.low, limits[0]), min(100 * kept.high, limits[1])


def _draw_curve(axes: Axes, curve: LossCurve, colours: Mapping[str, str], name_limit: int) -> dict[str, Any]:
    """Draw one training's losses, stage after stage; give a line for each name."""
    handles: dict[str, Any] = {}
    start = 0
    values: list[float] = []
    for number, (_, entries) in enumerate(curve.stages):
        if number:
            axes.axvline(start, color=_GREY, linestyle="--", linewidth=1)
        for name in _loss_names([entries]):
            points = _points(entries, name)
            if points:
                alone = name == "eval_loss" or len(points) == 1
                (handles[name],) = axes.plot(
                    [start + step for step, _ in points],
                    [value for _, value in points],
                    color=colours[name],
                    linewidth=1.8 if name == "loss" else 1.2,
                    marker="o" if alone else None,
                    markersize=4,
                )
                values += [value for _, value in points]
        start += max((int(entry["step"]) for entry in entries if "step" in entry), default=0)
    stages = ", then ".join(_label(stage, 10) for stage, _ in curve.stages if stage)
    axes.set_title(_label(curve.name, name_limit) + (f": {stages}" if stages else ""), loc="left", fontsize=10)
    axes.set_xlabel("update")
    axes.set_ylabel("loss")
    axes.grid(color="#DDDDDD", linewidth=0.8)
    if not values:
        axes.text(0.5, 0.5, "nothing was logged", transform=axes.transAxes, ha="center")
        axes.set_xticks([])
        axes.set_yticks([])
        return handles
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return handles


def _draw_bars(
    axes: Axes,
    rows: Mapping[str, Sequence[float]],
    colours: Sequence[str | Sequence[str]],
    form: str,
    labels: Sequence[str] = (),
) -> None:
    """Bars side by side in each row, each with its number; a legend where a row has several.

    Colours are of the bars of each row, or of one bar in all rows, row by row.
    """
    count = len(next(iter(rows.values())))
    height = 0.7 / count
    for number in range(count):
        places = [row + (number - (count - 1) / 2) * height for row in range(len(rows))]
        lengths = [values[number] for values in rows.values()]
        axes.barh(places, lengths, height, color=colours[number], label=labels[number] if labels else None)
        for place, length in zip(places, lengths, strict=True):
            _annotate(axes, form.format(length), length, place)
    _set_rows(axes, [_label(name, 16) for name in rows])
    axes.set_xlim(0, 1.45 * max(1e-9, *(max(values) for values in rows.values())))
    axes.locator_params(axis="x", nbins=3)
    axes.xaxis.set_major_formatter("{x:,g}")
    if labels:
        from matplotlib.transforms import ScaledTranslation

        below = axes.transAxes + ScaledTranslation(0, -0.5, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, ncols=2)


def _set_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows, the first one on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _annotate(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(
        text,
        (x, y),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        bbox={"facecolor": BACKGROUND, "edgecolor": "none", "pad": 0.6},
    )


def _kept_text(retention: float | None) -> str:
    return _NOTHING_TO_KEEP if retention is None else f"{100 * retention:.1f} %"


def _between_text(kept: KeptQuality) -> str:
    if kept.low is None or kept.high is None:
        return ""
    return f" ({100 * kept.low:.1f} to {100 * kept.high:.1f})"


def _loss_names(logs: Sequence[Sequence[Mapping[str, float]]]) -> list[str]:
    """The losses of some logs: the total, its terms, the held-out one; a lone term that is the total is left out."""
    found = dict.fromkeys(name for log in logs for entry in log for name in entry)
    terms = [name for name in found if name.endswith("_loss") and not name.startswith("eval_")]
    ordered = [f"{term}_loss" for term in _TERMS if f"{term}_loss" in terms]
    ordered += sorted(set(terms) - set(ordered))
    if len(ordered) == 1 and "loss" in found:
        ordered = []
    return [name for name in ("loss", *ordered, "eval_loss") if name in found]


def _colours_of(curves: Sequence[LossCurve]) -> dict[str, str]:
    """A colour for each loss, the same in all panels."""
    colours: dict[str, str] = {"loss": INK}
    names = {name for curve in curves for _, entries in curve.stages for name in _loss_names([entries])}
    for term, colour in _TERMS.items():
        colours[f"{term}_loss"] = colour
    for number, name in enumerate(sorted(names - colours.keys() - {"eval_loss"})):
        colours[name] = _OTHER_TERMS[number % len(_OTHER_TERMS)]
    colours["eval_loss"] = _HELD_OUT
    return colours


def _term_name(name: str) -> str:
    if name in ("loss", "eval_loss"):
        return {"loss": "total", "eval_loss": "held-out"}[name]
    term = name.removesuffix("_loss")
    return _TERM_NAMES.get(term, term.replace("_", " "))


def _points(entries: Sequence[Mapping[str, float]], name: str) -> list[tuple[int, float]]:
    return [
        (int(entry["step"]), float(entry[name]))
        for entry in entries
        if "step" in entry and name in entry and math.isfinite(entry[name])
    ]


@contextmanager
def _style() -> Iterator[None]:
    """Use matplotlib's own settings and the package's colours, whatever the user has set."""
    from matplotlib import style

    ink = {name: INK for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")}
    own = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", {**ink, **own}]):
        yield


def _figure(height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
    figure = Figure(figsize=(_WIDTH, height), facecolor=BACKGROUND, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _finished(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.set_facecolor(BACKGROUND)
        axes.set_axisbelow(True)
    if layout := figure.get_layout_engine():
        layout.execute(figure)  # makes the ticks too, which would take later settings
    figure.set_layout_engine(None)  # saving would lay everything out again, and draw it once more for that
    return figure


def _save(make: Any, file: str | os.PathLike[str]) -> None:
    figure = make()
    with _style():
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})


def _need(given: Any, field: str) -> Any:
    if not given:
        raise InputError("there is nothing to draw", field=field, value=given, remedy="leave the picture out")
    return given


def _label(text: str, limit: int = 30) -> str:
    """A name as it is written into a picture: one line, shortened in its middle, no formula, what the font can draw."""
    known = _characters()
    text = "".join(c if ord(c) in known else "?" for c in " ".join(text.split()))
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-(limit - limit // 2 - 1) :]}"
    return text.replace("$", r"\$")


@cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
