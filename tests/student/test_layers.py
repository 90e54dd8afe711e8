import pytest
from hypothesis import given
from hypothesis import strategies as st

from bistill_hub.errors import InputError
from bistill_hub.student.layers import layer_map_for


@pytest.mark.parametrize(
    ("num_layers", "factor", "expected"),
    [(12, 2, (1, 3, 5, 7, 9, 11)), (12, 3, (2, 5, 8, 11)), (12, 1, tuple(range(12))), (4, 4, (3,))],
)
def test_student_layer_i_starts_as_teacher_layer_i_plus_1_times_the_factor_minus_1(num_layers, factor, expected):
    assert layer_map_for(num_layers, factor) == expected


def test_the_default_factor_is_two():
    assert layer_map_for(4) == (1, 3)


@pytest.mark.parametrize("factor", [0, -2, 5, 7, 24])
def test_a_factor_that_does_not_divide_names_count_factor_and_divisors(factor):
    with pytest.raises(InputError, match=rf"= {factor}: .*12 layers.*\[1, 2, 3, 4, 6, 12\]"):
        layer_map_for(12, factor)


def test_a_map_wins_over_the_factor():
    assert layer_map_for(12, 5, [0, 6, 11]) == (0, 6, 11)


@pytest.mark.parametrize("layer_map", [[], [3, 2], [2, 2], [-1, 3], [0, 12]])
def test_a_map_that_is_empty_unordered_repeated_or_out_of_range_is_refused(layer_map):
    with pytest.raises(InputError, match="layer_map"):
        layer_map_for(12, 2, layer_map)


# Choices by number


@pytest.mark.parametrize(
    ("num_layers", "kept", "expected"),
    [
        (22, 7, (2, 5, 8, 12, 15, 18, 21)),
        (22, 11, tuple(range(1, 22, 2))),
        (22, 2, (10, 21)),
        (12, 5, (1, 4, 6, 9, 11)),
        (12, 8, (1, 2, 4, 5, 7, 8, 10, 11)),  # 1.5 and its like are rounded up to 2
        (12, 1, (11,)),
        (6, 6, (0, 1, 2, 3, 4, 5)),
    ],
)
def test_spread_layers_are_as_even_as_whole_numbers_allow(num_layers, kept, expected):
    assert layer_map_for(num_layers, choice="spread", kept=kept) == layer_map_for(num_layers, kept=kept) == expected


@given(st.integers(1, 60).flatmap(lambda layers: st.tuples(st.just(layers), st.integers(1, layers))))
def test_spread_ends_at_the_last_layer_with_gaps_that_differ_by_at_most_one(sizes):
    num_layers, kept = sizes
    found = layer_map_for(num_layers, choice="spread", kept=kept)
    gaps = {later - earlier for earlier, later in zip((-1, *found), found, strict=False)}
    assert len(found) == kept
    assert found[-1] == num_layers - 1
    assert gaps <= {num_layers // kept, -(-num_layers // kept)}
    if num_layers % kept == 0:
        assert found == layer_map_for(num_layers, num_layers // kept)


def test_bottom_and_top_are_the_first_and_the_last_layers():
    assert layer_map_for(22, choice="bottom", kept=7) == (0, 1, 2, 3, 4, 5, 6)
    assert layer_map_for(22, choice="top", kept=7) == (15, 16, 17, 18, 19, 20, 21)
    assert layer_map_for(4, choice="bottom", kept=4) == layer_map_for(4, choice="top", kept=4) == (0, 1, 2, 3)


def test_without_a_number_the_factor_says_how_many():
    assert layer_map_for(12, 3, choice="bottom") == (0, 1, 2, 3)
    assert layer_map_for(12, 3, choice="top") == (8, 9, 10, 11)
    assert layer_map_for(12, 3, choice="spread") == layer_map_for(12, 3)
    with pytest.raises(InputError, match="layer_reduction_factor = 5"):
        layer_map_for(22, 5, choice="top")


def test_a_number_wins_over_the_factor_and_a_map_over_both():
    assert layer_map_for(22, 5, kept=2) == (10, 21)
    assert layer_map_for(22, 5, [3, 4], choice="top", kept=7) == (3, 4)


@pytest.mark.parametrize("kept", [0, -1, 13])
def test_a_number_of_layers_that_the_teacher_does_not_have_is_refused(kept):
    with pytest.raises(InputError, match=rf"layers = {kept}: the teacher has 12 layers\. Choose a number from 1 to 12"):
        layer_map_for(12, kept=kept)


def test_an_unknown_choice_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"layer_choice = 'middle'.*spread, bottom, top"):
        layer_map_for(12, choice="middle", kept=3)
