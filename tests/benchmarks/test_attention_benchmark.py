"""The benchmark of attention in parts compares alike in each way, and tells ratios of what was measured in turn."""

import torch
from click.testing import CliRunner

from benchmarks.attention_parts import WAYS, compared, main, together
from bistill_hub.distillation import reading


def test_each_way_is_measured_in_both_precisions():
    finished = CliRunner().invoke(main, ["--small", "--rounds", "2"], catch_exceptions=False)
    table = [line.split("|")[1].strip() for line in finished.output.splitlines() if line.startswith("| ")]
    for precision in ("fp32", "bf16"):
        assert f"{precision}, 4 x 8, 2 heads: time of row by row / in parts" in table
        assert f"{precision}, 4 x 8, 2 heads: time of row by row / at once" in table


def test_the_ways_take_one_row_some_and_all_and_leave_the_choice_as_it_was():
    query, parts = torch.empty(32, 4, 64, 8), {}
    for way, part_bytes in WAYS.items():
        with together(part_bytes):
            parts[way] = len(reading._parts(query, query))
    assert parts == {"row by row": 32, "in parts": 4, "at once": 1}
    assert len(reading._parts(query, query)) == parts["in parts"]


def test_ratios_are_of_the_same_turn():
    found = {"row by row": [0.002, 0.004, 0.006], "in parts": [0.001, 0.001, 0.002], "at once": [0.004, 0.004, 0.004]}
    table = dict(compared("x", found))
    assert table["x: row by row"].startswith("4.0 ")
    assert table["x: time of row by row / in parts"].startswith("3.00 ")
    assert table["x: time of row by row / at once"].startswith("1.00 ")
