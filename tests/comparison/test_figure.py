"""The figure of a comparison shows every contender by name, with nothing written over anything else."""

from dataclasses import replace
from itertools import pairwise

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from bistill_hub import InputError
from bistill_hub.comparison.contenders import CONTENDERS
from bistill_hub.comparison.figure import comparison_figure, draw_comparison, label_places
from bistill_hub.comparison.table import Score
from bistill_hub.evaluation.size import Size

OF_THE_TEACHER = dict.fromkeys(("teacher", "teacher_full", "teacher_sft"), 7_500_000)
PARAMETERS = {"lrf_3": 3_000_000, **OF_THE_TEACHER, "distilmbert": 134_000_000}


def scores_with(values, task="ner"):
    return [
        Score(
            contender=name,
            task=task,
            role="target",
            language="sw",
            dataset="swahili$test.conll",
            metric="f1",
            n=1883,
            seeds=(0,),
            by_seed=(value,),
            score=value,
            low=max(0.0, value - 0.02),
            high=min(1.0, value + 0.03),
            deviation=None,
            trivial=0.0,
            to_teacher=None,
            to_student=None,
            size=Size(6, 10_000, PARAMETERS.get(name, 4_000_000), 1, 1, False, 2.0 * PARAMETERS.get(name, 4e6), 128),
        )
        for name, value in zip(CONTENDERS, values, strict=False)
    ]


CASES = {
    "all equal": [0.3] * len(CONTENDERS),
    "rising": [0.02 * number for number in range(len(CONTENDERS))],
    "two clusters": [0.9, 0.901] + [0.3] * (len(CONTENDERS) - 2),
    "two": [0.5, 0.1],
    "one": [0.0],
}


@pytest.mark.parametrize("case", CASES)
def test_labels_overlap_nothing_and_are_in_the_picture(case):
    scores = scores_with(CASES[case])
    figure = comparison_figure(scores, synthetic=True)
    renderer = figure.canvas.get_renderer()
    boxes = []
    for axes in figure.axes:
        assert {label.get_text() for label in axes.texts} == {CONTENDERS[score.contender].label for score in scores}
        ours = [Text.get_window_extent(label, renderer) for label in axes.texts]
        assert all(box.x0 >= axes.get_window_extent(renderer).x1 for box in ours), "beside the panel"
        boxes += ours
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
    ticks = [axes.get_xticks() for axes in figure.axes]
    assert all(1 <= len(each) <= 8 for each in ticks)


def test_points_stand_at_their_scores_with_their_intervals():
    scores = scores_with(CASES["rising"])
    left, right = comparison_figure(scores, synthetic=False).axes
    for axes, size in ((left, lambda s: s.size.parameters / 1e6), (right, lambda s: s.size.flops_per_token * 128e-9)):
        assert axes.get_xscale() == "log"
        points = [line for line in axes.lines if line.get_marker() == "o"]
        bars = [line for line in axes.lines if len(set(line.get_xdata())) == 1 and len(line.get_ydata()) == 2]
        for score, point, bar in zip(scores, sorted(points, key=top), sorted(bars, key=top), strict=True):
            assert point.get_ydata()[0] == pytest.approx(100 * score.score)
            assert bar.get_ydata() == pytest.approx([100 * score.low, 100 * score.high])
            assert point.get_xdata()[0] == bar.get_xdata()[0]
            assert point.get_xdata()[0] == pytest.approx(size(score), rel=0.6), "equal sizes stand a little apart"
    of_name = {score.contender: 100 * score.score for score in scores}
    alone = next(line for line in left.lines if line.get_marker() == "o" and top(line) == of_name["lrf_3"])
    assert alone.get_xdata()[0] == pytest.approx(3)


def test_labels_stand_at_the_height_of_their_points_where_there_is_room():
    figure = comparison_figure(scores_with([0.5, 0.1, 0.3]), synthetic=False)
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        for label in axes.texts:
            box = Text.get_window_extent(label, renderer)
            assert (box.y0 + box.y1) / 2 == pytest.approx(axes.transData.transform(label.xy)[1], abs=3)


def test_models_of_equal_size_stand_clear_of_each_other_and_the_axis_says_so():
    both = comparison_figure(scores_with([0.5, 0.49]), synthetic=False)
    for axes in both.axes:
        assert axes.get_xlabel().endswith("\nequal ones side by side")
        points = [line for line in axes.lines if line.get_marker() == "o"]
        first, second = (axes.transData.transform((line.get_xdata()[0], 0))[0] for line in points)
        assert abs(first - second) > points[0].get_markersize() * both.dpi / 72
    apart = comparison_figure(
        [score for score in scores_with(CASES["rising"]) if score.contender in ("lrf_3", "teacher")], synthetic=False
    )
    assert not any("equal" in axes.get_xlabel() for axes in apart.axes)


def test_labels_are_dark_enough_to_be_read():
    for axes in comparison_figure(scores_with(CASES["rising"]), synthetic=False).axes:
        behind = luminance(axes.get_facecolor())
        assert all((behind + 0.05) / (luminance(label.get_color()) + 0.05) >= 4.5 for label in axes.texts)


def luminance(colour):
    """Relative luminance as the W3C's guidelines on contrast define it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def top(line):
    return max(line.get_ydata())


def test_equal_scores_give_equal_bytes_whatever_the_users_settings_are(tmp_path):
    scores = scores_with(CASES["two"]) + scores_with(CASES["one"], task="pos")
    first = draw_comparison(scores, tmp_path / "a", synthetic=True)
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "axes.facecolor": "red"}):
        second = draw_comparison(scores, tmp_path / "b", synthetic=True)
    assert [file.name for file in first] == ["ner.png", "pos.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_a_synthetic_comparison_is_called_so_in_the_picture():
    scores = scores_with([0.5, 0.1])
    assert "(synthetic)" in comparison_figure(scores, synthetic=True).get_suptitle()
    assert "synthetic" not in comparison_figure(scores, synthetic=False).get_suptitle()


def test_nothing_is_drawn_of_no_scores(tmp_path):
    with pytest.raises(InputError, match="nothing to draw"):
        comparison_figure([], synthetic=False)
    assert draw_comparison([], tmp_path / "none", synthetic=False) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20).map(sorted))
def test_labels_keep_their_order_and_distance_within_the_edge(wanted):
    gap = 1 / max(len(wanted), 2)
    places = label_places(wanted, gap)
    assert all(later - earlier >= gap - 1e-9 for earlier, later in pairwise(places))
    assert places[0] >= -1e-9
    assert places[-1] <= 1
    if all(later - earlier >= gap for earlier, later in pairwise(wanted)):
        assert places == pytest.approx(wanted, abs=1e-9)


def test_labels_tell_the_seeds_where_they_are_not_the_same_for_all():
    first, second, *_ = scores_with([0.5, 0.4])
    labels = [CONTENDERS[score.contender].label for score in (first, second)]

    def written(*scores):
        return {text.get_text() for text in comparison_figure(scores, synthetic=False).findobj(Text)}

    assert set(labels) <= written(first, second)
    told = written(replace(first, seeds=(0, 1)), second)
    assert {f"{labels[0]} (seeds 0, 1)", f"{labels[1]} (seed 0)"} <= told
