"""The matrix of every two contenders says in each cell what lies between its row and its column."""

import matplotlib
import pytest
from matplotlib.text import Text

from bistill_hub import InputError
from bistill_hub.comparison.beside import Beside
from bistill_hub.comparison.beside_figure import beside_figure, draw_beside
from bistill_hub.comparison.contenders import CONTENDERS

NAMES = ("teacher", "student", "lrf_3")


def pair(contender, beside, difference, low, high, *, task="ner", role="target"):
    return Beside(
        task=task,
        role=role,
        language="sw",
        contender=contender,
        beside=beside,
        seeds=(0, 1),
        seeds_ahead=1,
        difference=difference,
        low=low,
        high=high,
    )


PAIRS = [
    pair("student", "teacher", -0.04, -0.05, -0.03),
    pair("lrf_3", "student", 0.01, -0.01, 0.02),
]
"""The third two share no seed."""


def cells_of(figure):
    """By row and column the text and the colour of a cell."""
    axes = figure.axes[0]
    colours = axes.images[0].get_array()
    said = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    places = [(row, column) for row in range(len(NAMES)) for column in range(len(NAMES))]
    return {place: (said.get(place, ""), tuple(float(each) for each in colours[place])) for place in places}


def test_a_cell_says_how_far_its_row_is_ahead_and_is_coloured_where_that_is_sure():
    cells = cells_of(beside_figure(PAIRS, synthetic=False))
    assert {place: text for place, (text, _) in cells.items() if text} == {
        (1, 0): "-4.0",
        (0, 1): "+4.0",
        (2, 1): "+1.0",
        (1, 2): "-1.0",
    }
    blank = cells[0, 0][1]
    assert {place for place, (_, colour) in cells.items() if colour != blank} == {(1, 0), (0, 1)}
    red, _, blue = cells[1, 0][1]
    assert red > blue, "the student is behind"
    red, _, blue = cells[0, 1][1]
    assert blue > red


def test_rows_and_columns_are_numbered_and_named_in_the_order_of_tables():
    axes = beside_figure(PAIRS, synthetic=False).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [f"{CONTENDERS[name].label}   {number}" for number, name in enumerate(NAMES, 1)]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]


@pytest.mark.parametrize("count", [2, 3, len(CONTENDERS)])
def test_everything_fits_in_however_many_there_are(count):
    names = list(CONTENDERS)[:count]
    figure = beside_figure([pair(name, names[0], -0.789, -0.8, -0.7) for name in names[1:]], synthetic=True)
    renderer = figure.canvas.get_renderer()
    axes = figure.axes[0]
    within = axes.get_window_extent(renderer)
    width = within.width / len(names)
    assert all(Text.get_window_extent(text, renderer).width < width for text in axes.texts)
    assert all(
        figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        for box in (Text.get_window_extent(text, renderer) for text in figure.texts)
    )
    assert len(figure.texts) == 2, "title and what colours mean"
    labels = [Text.get_window_extent(label, renderer) for label in axes.get_yticklabels()]
    assert all(figure.bbox.x0 <= box.x0 for box in labels)
    assert not any(one.overlaps(other) for number, one in enumerate(labels) for other in labels[:number])


def test_a_picture_for_each_task_with_equal_bytes_whatever_the_users_settings_are(tmp_path):
    beside = [
        *PAIRS,
        pair("student", "teacher", 0.0, 0.0, 0.0, task="pos"),
        pair("lrf_3", "teacher", 1, 1, 1, role="source"),
    ]
    first = draw_beside(beside, tmp_path / "a", synthetic=True)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        second = draw_beside(beside, tmp_path / "b", synthetic=True)
    assert [file.name for file in first] == ["ner-beside.png", "pos-beside.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_a_synthetic_comparison_is_called_so_and_nothing_is_drawn_of_nothing(tmp_path):
    assert "(synthetic)" in beside_figure(PAIRS, synthetic=True).get_suptitle()
    assert "synthetic" not in beside_figure(PAIRS, synthetic=False).get_suptitle()
    with pytest.raises(InputError, match="nothing to draw"):
        beside_figure([], synthetic=False)
    assert draw_beside([], tmp_path / "none", synthetic=False) == []
