"""The benchmark of freed memory takes turns, and tells what it counted in each."""

import os

import pytest
from fresh import run_fresh

from benchmarks.freed_memory import GIVEN_BACK, KEPT, rows
from benchmarks.report import CHECKOUT
from bistill_hub.freed_memory import VARIABLES


def run(*options, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    words = ["freed_memory", "--small", "--steps", "13", *options]
    code = f"import runpy, sys; sys.argv = {words}; runpy.run_module('benchmarks.freed_memory', run_name='__main__')"
    return run_fresh(code, cwd=CHECKOUT, env={**environment, **variables})


@pytest.mark.parametrize("phase", ["1", "2"])
def test_both_ways_have_their_turns(phase):
    finished = run("--phase", phase, "--way", "bf16")
    assert finished.returncode == 0, finished.stderr
    table = dict(line.strip("| ").split(" | ") for line in finished.stdout.splitlines() if line.startswith("| "))
    table = {name.strip(): value for name, value in table.items()}
    # Five steps keep it, five give it back, three keep it; the first of each are not counted.
    assert {f"the least of 6 steps, {KEPT}", f"the least of 4 steps, {GIVEN_BACK}"} <= set(table)
    assert table["precision"] == "bf16"


def test_a_user_who_has_said_something_else_is_told():
    finished = run(MALLOC_TRIM_THRESHOLD_="1000")
    assert finished.returncode == 1
    assert "MALLOC_TRIM_THRESHOLD_" in finished.stderr


def test_ratios_are_of_medians_and_of_the_least():
    samples = {
        KEPT: [{"seconds": each, "pages": 10.0, "system": 0.001} for each in (1.0, 2.0, 4.0)],
        GIVEN_BACK: [{"seconds": each, "pages": 500.0, "system": 0.2} for each in (3.0, 3.0, 9.0)],
    }
    table = dict(rows(samples))
    assert table[f"{GIVEN_BACK} / {KEPT}"] == "1.50"
    assert table[f"the least, {GIVEN_BACK} / {KEPT}"] == "3.00"
    assert table[f"pages handed out in a step, {GIVEN_BACK}"].startswith("500")
    assert table[f"Linux worked for a step, {GIVEN_BACK}"].startswith("200")
