"""The benchmark's ways of training are the same training: equal losses, whatever they take."""

import pytest
from click.testing import CliRunner

from benchmarks.distillation_step import COMPARED, main, measure, rows, variables
from benchmarks.distillation_step import WAYS as STEP_WAYS
from benchmarks.update_split import WAYS, in_processes, table_of
from benchmarks.update_split import measure as measure_split


@pytest.mark.parametrize("phase", [1, 2])
def test_the_plain_way_and_ours_make_equal_steps(phase):
    ways = [*COMPARED, *(way for way in STEP_WAYS if way.startswith("fp32") and way not in COMPARED)]
    samples = [measure(way, phase, steps=3, small=True) for way in ways]
    plain, *ours = samples
    assert plain["way"] == "plain"
    assert len(plain["losses"]) == 3
    for sample in ours:
        rounding = 1e-5 if sample["way"].startswith("fp32") else 0.01
        assert sample["losses"] == pytest.approx(plain["losses"], rel=rounding), sample["way"]
    table = dict(rows(samples))
    assert {"a step, plain", "time of plain / bf16", "least step of plain / bf16", "memory of fp32 / plain"} <= set(
        table
    )


def test_only_ways_that_are_about_memory_or_products_set_variables():
    told = {way: variables(way) for way in STEP_WAYS if variables(way)}
    assert told == {
        "fp32, large pages": {"THP_MEM_ALLOC_ENABLE": "1"},
        "fp32, mapped anew": {"MALLOC_MMAP_THRESHOLD_": "4000000"},
        "fp32, products by torch": {"BISTILL_FP32_PRODUCTS": "torch"},
    }


def test_steps_that_are_not_timed_are_made_all_the_same():
    sample = measure("plain", 1, steps=5, small=True, untimed=3)
    assert (len(sample["seconds"]), len(sample["processor_seconds"]), len(sample["losses"])) == (2, 2, 5)
    refused = CliRunner().invoke(main, ["--small", "--steps", "3", "--untimed", "3"])
    assert refused.exit_code == 2
    assert "which leaves none" in refused.output


def test_every_split_of_an_update_makes_the_same_one():
    found = [
        measure_split(way, "fp32", steps=2, small=True) for way, (_, _, processes) in WAYS.items() if processes == 1
    ]
    found += [in_processes(way, "--steps", "2", "--small") for way, (_, _, processes) in WAYS.items() if processes > 1]
    assert {sample["way"]: len(sample["seconds"]) for sample in found} == dict.fromkeys(WAYS, 1)
    for sample in found:
        assert sample["losses"] == pytest.approx(found[0]["losses"], rel=1e-5), sample["way"]
    table = dict(table_of(found))
    assert {"an update, 2 x 4", "time of two processes, 4 x 2 / 8 x 1", "memory of 1 x 8 / 8 x 1"} <= set(table)
