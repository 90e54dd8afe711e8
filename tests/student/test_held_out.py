from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bistill_hub.errors import InputError
from bistill_hub.student import held_out
from bistill_hub.student.held_out import HeldOut, held_out_lines

NUMBERED = [f"Line number {number} of a long text." for number in range(5000)]


def divided(text):
    reader = HeldOut(text, "sw")
    return list(reader), reader.lines


@given(st.lists(st.sampled_from(["", " ", "a", *NUMBERED[:300]])))
def test_no_line_is_lost_or_on_both_sides(text):
    text = ["the first", *text, ""]
    counted, held = divided(text)
    assert Counter(counted) + Counter(held) == Counter(text)
    assert not set(counted) & set(held)
    assert held[0] == "the first"


def test_about_one_line_in_fifty_is_held_out():
    _, held = divided(NUMBERED)
    assert 60 < len(held) < 145  # 100 are expected, with a standard deviation of 10
    assert abs(len(held) - held_out_lines(len(NUMBERED))) < 45


def test_the_choice_does_not_depend_on_the_order_but_for_the_first_line():
    _, held = divided(NUMBERED)
    _, backwards = divided(NUMBERED[::-1])
    assert set(held) ^ set(backwards) <= {NUMBERED[0], NUMBERED[-1]}


def test_no_more_different_lines_than_the_limit_are_held_out_and_one_that_recurs_still_is(monkeypatch):
    monkeypatch.setattr(held_out, "MOST_LINES", 7)
    counted, held = divided(NUMBERED * 2)
    assert len(set(held)) == 7
    assert Counter(held) == dict.fromkeys(held, 2)
    assert len(counted) == 2 * (5000 - 7)


def test_lines_without_words_are_never_held_out():
    assert divided(["", "  ", "maji", "moto"]) == (["", "  ", "moto"], ["maji"])


def test_a_text_of_one_line_is_refused_and_an_empty_one_is_left_to_the_count():
    with pytest.raises(InputError, match=r"sw: too little text to hold any out \(1 different line\)"):
        divided(["maji", "maji"])
    assert divided([]) == ([], [])


def test_one_string_is_no_text():
    with pytest.raises(InputError, match="a corpus is a sequence of lines"):
        HeldOut("maji", "sw")
