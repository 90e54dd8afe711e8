"""The benchmark's ways of training are the same training: equal losses, whatever they take."""

import pytest

from benchmarks.distillation_step import measure, rows


@pytest.mark.parametrize("phase", [1, 2])
def test_the_plain_way_and_ours_make_equal_steps(phase):
    samples = [measure(way, phase, steps=3, small=True) for way in ("plain", "fp32", "bf16")]
    plain, fp32, bf16 = (sample["losses"] for sample in samples)
    assert len(plain) == 3
    assert fp32 == pytest.approx(plain, rel=1e-5)
    assert bf16 == pytest.approx(plain, rel=0.01)
    table = dict(rows(samples))
    assert {"a step, plain", "time of plain / bf16", "memory of fp32 / plain"} <= set(table)
