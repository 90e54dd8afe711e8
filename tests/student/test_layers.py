import pytest

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
