"""A card's pictures show the records' numbers, readably for any number of tasks, and equal records give equal bytes."""

import subprocess
import sys
import warnings
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from bistill_hub.cards.facts import LossCurve
from bistill_hub.cards.pictures import (
    KeptQuality,
    coverage_figure,
    coverage_text,
    draw_coverage,
    draw_losses,
    draw_retention,
    losses_figure,
    losses_text,
    retention_figure,
    retention_text,
)
from bistill_hub.errors import InputError

HARD_NAMES = ("a_task_with_a_name_that_nobody_would_want_to_read", "$x^{2}$ 日本", "_hidden", "line\nbreak")
KEPT = [
    KeptQuality(task="ner", language="en", retention=0.95),
    KeptQuality(task="ner", language="sw", retention=0.875),
    KeptQuality(task="nli", language="sw", retention=None),
]

INTERVALS = [
    KeptQuality(task="ner", language="en", retention=0.95, low=0.9, high=1.02),
    KeptQuality(task="ner", language="sw", retention=0.6, low=-0.2, high=1.3),
    KeptQuality(task="nli", language="sw", retention=0.4, low=-9.0, high=40.0),
    KeptQuality(task="qa", language="sw", retention=0.5),
]


def log(updates, terms=("attention", "hidden", "logits"), scale=1.0, evaluations=0):
    """A log of falling losses, every tenth update."""
    entries = []
    for number in range(1, updates + 1):
        losses = {f"{term}_loss": scale * (place + 1) / number for place, term in enumerate(terms)}
        entries.append({"step": 10 * number, "epoch": 0.1, **losses, "loss": sum(losses.values())})
        if evaluations and number % evaluations == 0:
            entries.append({"step": 10 * number, "eval_loss": 2 * sum(losses.values()), "eval_f1": 0.5})
    return entries


def task_curve(name):
    return LossCurve(name=name, stages=(("dense", log(30, scale=3)), ("sparse", log(100))))


PHASE_1 = LossCurve(name="phase 1", stages=(("", log(200, terms=("attention", "hidden"), evaluations=20)),))
CURVES = [PHASE_1, task_curve("ner"), task_curve("pos")]


def language(kept=0.9987, dropped=0.0123, before=1.75, after=1.7512):
    return {
        "corpus_tokens_kept": kept,
        "lines_with_dropped_pieces": dropped,
        "unknown_before": 0.0,
        "unknown_after": 0.0,
        "fertility_before": before,
        "fertility_after": after,
    }


VOCABULARY = {
    "tokens_before": 119_547,
    "tokens_after": 29_876,
    "languages": {"en": language(), "sw": language(0.5, 1.0, 2.0, 2.5)},
}


def kept_of(tasks):
    return [
        KeptQuality(task=task, language=code, retention=share)
        for task in tasks
        for code, share in (("en", 1), ("sw", 0.5))
    ]


def retention(kept, parameters=0.371, speed=2.125):
    return lambda: retention_figure(kept, parameters=parameters, speed=speed)


TWELVE = [f"task_{number}" for number in range(12)]
FIGURES = {
    "one result": retention(KEPT[:1], speed=None),
    "three results": retention(KEPT),
    "twelve tasks": retention(kept_of(TWELVE)),
    "hard names": retention(kept_of(HARD_NAMES)),
    "worse than trivial, and better than the teacher": retention(
        [KeptQuality(task="a", language="en", retention=-0.4), KeptQuality(task="b", language="en", retention=1.4)]
    ),
    "intervals, narrow, wide, and far wider than the picture": retention(INTERVALS),
    "nothing to keep": retention(KEPT[2:]),
    "a student that is slower": retention(KEPT, speed=0.5),
    "a student that is far faster": retention(KEPT, parameters=0.01, speed=40),
    "phase 1 alone": lambda: losses_figure(CURVES[:1]),
    "two tasks": lambda: losses_figure(CURVES),
    "losses of twelve tasks": lambda: losses_figure([PHASE_1, *map(task_curve, TWELVE)]),
    "losses under hard names": lambda: losses_figure([*map(task_curve, HARD_NAMES), *map(task_curve, HARD_NAMES[:2])]),
    "a few losses under hard names": lambda: losses_figure(list(map(task_curve, HARD_NAMES))),
    "a stage without a log": lambda: losses_figure([LossCurve(name="ner", stages=(("sparse", ()),))]),
    "a single update": lambda: losses_figure([LossCurve(name="ner", stages=(("sparse", log(1)),))]),
    "two languages": lambda: coverage_figure(VOCABULARY),
    "one language, sizes not known": lambda: coverage_figure({"languages": {"en": language()}}),
    "seven languages": lambda: coverage_figure(
        {**VOCABULARY, "languages": {f"language {number}": language() for number in range(7)}}
    ),
    "a large vocabulary": lambda: coverage_figure({**VOCABULARY, "tokens_before": 10**9, "tokens_after": 10**8}),
}


def labels_out_of_view(axes):
    """Labels of ticks that matplotlib keeps and does not draw."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_covers_another_or_leaves_the_picture_or_makes_matplotlib_complain(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.draw_without_rendering()  # puts the labels where they are saved
    undrawn = {label for axes in figure.axes for label in labels_out_of_view(axes)}
    boxes = {
        text: text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in undrawn
    }
    assert len(boxes) > 3
    edges = figure.bbox
    for text, box in boxes.items():
        assert box.x0 >= edges.x0, text
        assert box.x1 <= edges.x1, text
        assert box.y0 >= edges.y0, text
        assert box.y1 <= edges.y1, text
    for one, other in combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[other]), (one.get_text(), other.get_text())


def drawn(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def test_bars_are_what_is_kept_and_say_so():
    above, below = retention_figure(KEPT, parameters=0.371, speed=2.125).axes
    assert [bar.get_width() for bar in above.patches] == [0.371, 2.125]
    assert [bar.get_width() for bar in below.patches] == pytest.approx([95, 87.5, 0])
    assert [label.get_text() for label in below.get_yticklabels()] == ["ner, en", "ner, sw", "nli, sw"]
    assert {text.get_text() for text in below.texts} == {"95.0 %", "87.5 %", "teacher not above the trivial baseline"}
    assert below.yaxis.get_inverted(), "the first row is on top"
    first, second, _ = below.patches
    assert first.get_facecolor() != second.get_facecolor()


def test_a_bar_has_its_interval_where_there_is_one_within_the_picture():
    _, below = retention_figure(INTERVALS, parameters=0.371, speed=2.125).axes
    lines = [line.get_xydata().tolist() for line in below.lines if line.get_linestyle() == "-"]
    assert lines == [
        [[pytest.approx(90), 0], [pytest.approx(102), 0]],
        [[pytest.approx(-20), 1], [pytest.approx(130), 1]],
        [[pytest.approx(-50), 2], [pytest.approx(150), 2]],
    ]
    low, high = below.get_xlim()
    assert low < -50
    assert high > 150
    assert [text.xy[0] for text in below.texts] == pytest.approx([102, 130, 150, 50])
    assert below.get_title("left").startswith("Quality kept, with 95 % intervals")
    assert retention_figure(KEPT, parameters=1, speed=1).axes[1].get_title("left") == "Quality kept"


def test_curves_are_the_logged_losses_stage_after_stage():
    phase_1, ner, _ = losses_figure(CURVES).axes
    curves = {line.get_color(): line.get_xydata().tolist() for line in phase_1.lines}
    logged = PHASE_1.stages[0][1]
    for name, term in (("loss", "#222222"), ("attention_loss", "#0072B2"), ("hidden_loss", "#D55E00"),
                       ("eval_loss", "#E69F00")):  # fmt: skip
        assert curves[term] == [[entry["step"], entry[name]] for entry in logged if name in entry]
    dense, sparse = (line for line in ner.lines if line.get_color() == "#009E73")
    assert dense.get_xydata().tolist() == [[entry["step"], entry["logits_loss"]] for entry in ner_log(0)]
    assert sparse.get_xydata().tolist() == [[300 + entry["step"], entry["logits_loss"]] for entry in ner_log(1)]
    assert ner.get_title(loc="left") == "ner: dense, then sparse"


def ner_log(stage):
    return CURVES[1].stages[stage][1]


def test_the_legend_names_each_loss_once():
    (legend,) = losses_figure(CURVES).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "total", "attention", "hidden states", "logits", "held-out",
    ]  # fmt: skip


def test_a_term_of_another_method_and_a_term_that_is_the_whole_loss_are_told_apart():
    other = LossCurve(name="x", stages=(("", log(5, terms=("attention", "new_term"))),))
    alone = LossCurve(name="y", stages=(("", log(5, terms=("task",))),))
    (legend,) = losses_figure([other, alone]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["total", "attention", "new term"]


def test_losses_that_are_no_numbers_are_left_out():
    entries = [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": float("inf")}]
    curve = LossCurve(name="ner", stages=(("", entries),))
    (axes,) = losses_figure([curve]).axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[2, 0.5]]]
    assert losses_text([curve]) == "Loss by term. ner: total 0.5 at update 2."


def test_bars_are_the_report_s_numbers():
    tokens, covered, pieces = coverage_figure(VOCABULARY).axes
    assert [bar.get_width() for bar in tokens.patches] == [119_547, 29_876]
    assert [bar.get_width() for bar in covered.patches] == pytest.approx([99.87, 50, 98.77, 0])
    assert [bar.get_width() for bar in pieces.patches] == [1.75, 2.0, 1.7512, 2.5]
    assert {"119,547", "29,876", "99.87", "50.00", "98.77", "0.00", "1.750", "2.000", "1.751", "2.500"} <= drawn(
        coverage_figure(VOCABULARY)
    )


def test_teacher_and_student_have_their_colours_in_every_panel():
    tokens, _, pieces = coverage_figure(VOCABULARY).axes
    teacher, student = (bar.get_facecolor() for bar in tokens.patches)
    assert teacher != student
    drawn_as = {
        text.get_text(): bars[0].get_facecolor()
        for bars, text in zip(pieces.containers, pieces.get_legend().get_texts(), strict=True)
    }
    assert drawn_as == {"teacher": teacher, "student": student}


def test_the_texts_say_the_pictures_numbers():
    assert retention_text(KEPT, parameters=0.371, speed=2.125) == (
        "Quality kept of the teacher's, above the trivial baseline: ner en 95.0 %, ner sw 87.5 %, "
        "nli sw teacher not above the trivial baseline. "
        "The student has 37.1 % of the teacher's parameters; it is 2.12 times as fast."
    )
    assert "ner en 95.0 % (90.0 to 102.0), ner sw 60.0 % (-20.0 to 130.0)" in retention_text(
        INTERVALS, parameters=0.5, speed=None
    )
    assert retention_text(KEPT[:1], parameters=0.5, speed=None).endswith("; its speed was not measured.")
    ner = LossCurve(name="ner", stages=(("dense", log(2, scale=3)), ("sparse", ())))
    assert losses_text([ner]) == (
        "Loss by term. ner, dense: total 18 at update 10 and 9 at update 20, "
        "attention 3 at update 10 and 1.5 at update 20, hidden states 6 at update 10 and 3 at update 20, "
        "logits 9 at update 10 and 4.5 at update 20; "
        "ner, sparse: nothing was logged."
    )
    assert coverage_text(VOCABULARY) == (
        "The student keeps 29,876 of 119,547 tokens. "
        "en: 99.87 % of the corpus's tokens covered, 98.77 % of lines whole, 1.750 pieces a word with the teacher's "
        "tokenizer and 1.751 with the student's; "
        "sw: 50.00 % of the corpus's tokens covered, 0.00 % of lines whole, 2.000 pieces a word with the teacher's "
        "tokenizer and 2.500 with the student's."
    )
    assert coverage_text({"languages": {"en": language()}}).startswith("en: 99.87 %")


DRAWN = {
    "retention": lambda file: draw_retention(KEPT, file, parameters=0.371, speed=2.125),
    "losses": lambda file: draw_losses(CURVES[:2], file),
    "coverage": lambda file: draw_coverage(VOCABULARY, file),
}


@pytest.mark.parametrize("name", DRAWN)
def test_equal_records_give_equal_bytes_light_and_opaque_whatever_matplotlib_s_settings(name, tmp_path):
    texts = {"retention": retention_text(KEPT, parameters=0.371, speed=2.125), "losses": losses_text(CURVES[:2]),
             "coverage": coverage_text(VOCABULARY)}  # fmt: skip
    assert DRAWN[name](tmp_path / "plain.png") == texts[name]
    other = {
        "text.color": "white",
        "font.size": 20,
        "font.family": "monospace",
        "axes.grid": True,
        "savefig.transparent": True,
        "savefig.bbox": "tight",
    }
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context(other):
        DRAWN[name](tmp_path / "other.png")
    assert dict(matplotlib.rcParams) == before
    content = (tmp_path / "plain.png").read_bytes()
    assert content == (tmp_path / "other.png").read_bytes()
    assert b"Software" not in content
    picture = imread(tmp_path / "plain.png")
    assert picture.shape[2] == 3 or (picture[..., 3] == 1).all()
    assert np.median(picture[..., :3]) > 0.95
    assert picture[..., :3].min() < 0.2


def test_drawing_needs_no_pyplot(tmp_path):
    program = (
        "import sys; from bistill_hub.cards.pictures import *; "
        "draw_retention([KeptQuality(task='a', language='b', retention=1)], sys.argv[1], parameters=1, speed=None); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program, tmp_path / "x.png"], check=True)
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "draw",
    [
        lambda file: draw_retention([], file, parameters=0.5, speed=None),
        lambda file: draw_losses([], file),
        lambda file: draw_coverage({"languages": {}}, file),
        lambda file: draw_coverage({}, file),
    ],
)
def test_nothing_is_no_picture(draw, tmp_path):
    with pytest.raises(InputError, match="there is nothing to draw"):
        draw(tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
