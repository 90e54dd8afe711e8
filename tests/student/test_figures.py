"""The picture of a cut is readable: opaque, labelled, and no text covers another."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from bistill_hub.student.figures import cut_figure, draw_cut
from bistill_hub.student.inspection import CutReport, EncoderSize, ThresholdReport
from bistill_hub.student.vocabulary_report import LanguageReport, VocabularyReport


def report(factors=(1, 2, 3), threshold=1e-6, scale=1, coverage=0.95):
    language = LanguageReport(1000, coverage, 10, 0.5, 0.0, 0.0, 1.5, 1.5)
    return CutReport(
        teacher="FacebookAI/xlm-roberta-base",
        revision=None,
        min_token_probability=threshold,
        vocabulary_size=None,
        teacher_size=EncoderSize(12, 250_002 * scale, 278_043_648 * scale, 192_001_536 * scale),
        cuts={n: EncoderSize(12 // n, 30_000 * scale, (23 + 85 // n) * 10**6 * scale, 23 * 10**6) for n in factors},
        vocabulary=VocabularyReport(250_002, 30_000, {"en": language, "sw": language}),
        thresholds=tuple(
            ThresholdReport(each, 10_000 + 1000 * index, {"en": coverage, "sw": min(1.0, coverage + index / 1000)})
            for index, each in enumerate(sorted({1e-4, 1e-5, 1e-7, threshold}, reverse=True))
        ),
    )


REPORTS = {
    "three factors": report(),
    "one factor": report(factors=(1,)),
    "many factors": report(factors=(1, 2, 3, 4, 6, 12)),
    "everything kept": report(threshold=0.0, coverage=1.0),
    "nothing kept": report(threshold=1.0, coverage=0.01),
    "a large teacher": report(scale=50),
}


def labels_out_of_view(axes):
    """Labels of ticks that matplotlib keeps and does not draw."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


@pytest.mark.parametrize("name", REPORTS)
def test_no_text_covers_another_or_leaves_the_picture(name):
    figure = cut_figure(REPORTS[name])
    figure.draw_without_rendering()  # puts the labels where they are saved
    undrawn = {label for axes in figure.axes for label in labels_out_of_view(axes)}
    boxes = {
        text: text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in undrawn
    }
    drawn = {text.get_text() for text in boxes}
    assert {"parameters of the encoder (millions)", "tokens kept", "corpus tokens kept (%)", "en", "sw"} <= drawn
    edges = figure.bbox
    for text, box in boxes.items():
        assert box.x0 >= edges.x0, text
        assert box.x1 <= edges.x1, text
        assert box.y0 >= edges.y0, text
        assert box.y1 <= edges.y1, text
    for one, other in combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[other]), (one.get_text(), other.get_text())


def test_bars_and_curves_are_the_reports_numbers():
    given = REPORTS["three factors"]
    sizes, tokens, coverage = cut_figure(given).axes
    embeddings, others = sizes.containers
    found = [a.get_width() + b.get_width() for a, b in zip(embeddings, others, strict=True)]
    assert found == pytest.approx([278.043648, 108, 65, 51])
    (curve,) = (line for line in tokens.lines if len(line.get_xdata()) > 2)
    assert list(curve.get_ydata()) == [threshold.tokens for threshold in given.thresholds]
    curves = {line.get_label(): list(line.get_ydata()) for line in coverage.lines}
    for language in ("en", "sw"):
        assert curves[language] == pytest.approx([100 * t.coverage[language] for t in given.thresholds])


def test_the_png_is_opaque_and_light_whatever_matplotlibs_settings(tmp_path):
    draw_cut(REPORTS["three factors"], tmp_path / "plain.png")
    with matplotlib.rc_context({"text.color": "white", "xtick.color": "white", "savefig.facecolor": "auto"}):
        draw_cut(REPORTS["three factors"], tmp_path / "dark.png")
    picture = imread(tmp_path / "plain.png")
    assert picture.shape[2] == 3 or (picture[..., 3] == 1).all()
    assert picture[0, 0, :3].min() > 0.95
    assert np.array_equal(picture, imread(tmp_path / "dark.png"))
