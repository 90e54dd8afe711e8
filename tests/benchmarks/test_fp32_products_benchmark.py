"""The benchmark of products in fp32 measures both libraries whatever is chosen, and leaves the choice as it was."""

import os

import pytest
from click.testing import CliRunner
from torch import nn

from benchmarks.fp32_products import compared, main, multiplied_by
from bistill_hub.fp32_products import VARIABLE, is_chosen


def test_a_small_layer_is_measured_and_what_is_chosen_here_is_told(monkeypatch):
    monkeypatch.setenv(VARIABLE, "torch")
    finished = CliRunner().invoke(main, ["--small", "--rounds", "2"], catch_exceptions=False)
    table = dict([cell.strip() for cell in line.split("|")[1:3]] for line in finished.output.splitlines())
    assert table["chosen here"] == "torch"
    assert {"512 tokens, 64 to 256: torch", "512 tokens, 64 to 256: time of torch / oneDNN"} < set(table)


@pytest.mark.parametrize("said", [None, "torch", "onednn"])
def test_what_a_user_said_is_said_again_afterwards(monkeypatch, said):
    monkeypatch.delenv(VARIABLE, raising=False)
    if said:
        monkeypatch.setenv(VARIABLE, said)
    before = nn.Linear.forward
    with multiplied_by("onednn"):
        assert (nn.Linear.forward is not before) == is_chosen()
    with multiplied_by("torch"):
        assert nn.Linear.forward is before
    assert os.environ.get(VARIABLE) == said


def test_ratios_are_of_the_same_turn():
    table = dict(compared((1024, 768, 3072), {"torch": [0.002, 0.004, 0.006], "onednn": [0.001, 0.001, 0.006]}))
    assert table["1,024 tokens, 768 to 3,072: torch"].startswith("4.0 ")
    assert table["1,024 tokens, 768 to 3,072: time of torch / oneDNN"].startswith("2.00 ")
