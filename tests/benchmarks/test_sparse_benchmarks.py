"""The benchmarks of selection and of the sparse stage's memory run from end to end, on something small."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _from_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))


def run(module, tmp_path, monkeypatch):
    """Run a benchmark; what it would start as a process of its own is called in this one."""

    def called(name, *arguments):
        assert name == module.__name__
        result = CliRunner().invoke(module.main, [str(argument) for argument in arguments], catch_exceptions=False)
        return json.loads(result.output)

    monkeypatch.setattr(module, "in_fresh_process", called)
    output = tmp_path / "measured.json"
    result = CliRunner().invoke(
        module.main, ["--small", "--rounds", "1", "--output", str(output)], catch_exceptions=False
    )
    assert result.exit_code == 0
    table = dict(map(str.strip, line.strip("|").split("|")) for line in result.output.splitlines())
    assert {"machine", "versions", "rounds"} <= table.keys()
    return table, json.loads(output.read_text(encoding="utf-8"))["samples"]


def test_the_selections_benchmark_prints_both_ways(tmp_path, monkeypatch):
    from benchmarks import selection

    table, samples = run(selection, tmp_path, monkeypatch)
    assert {"time of a Python list / choose_ticket", "extra memory, choose_ticket"} <= table.keys()
    ours, theirs = sorted(samples, key=lambda sample: sample["way"], reverse=True)
    assert ours["way"] == "choose_ticket"
    assert ours["chosen"] == ours["entries"] == round(0.08 * ours["parameters"])
    assert theirs["chosen"] >= theirs["entries"] == ours["entries"]
    assert all(sample["seconds"] > 0 for sample in samples)

    start, tuned = selection.moved_parameters(small=True)
    chosen = selection.by_list(start, tuned, 50)
    moved = {name: (tuned[name] - start[name]).abs().flatten() for name in start}
    near = min(moved[name][positions].min() for name, positions in chosen.items())
    assert sum(len(positions) for positions in chosen.values()) == sum(
        int((far >= near).sum()) for far in moved.values()
    )


def test_the_memory_benchmark_measures_both_stages_and_an_optimizer_as_small_as_the_density(tmp_path, monkeypatch):
    from benchmarks import sparse_memory

    table, samples = run(sparse_memory, tmp_path, monkeypatch)
    assert {"peak, sparse / dense", "optimizer, sparse / dense"} <= table.keys()
    dense, sparse = samples
    assert (dense["stage"], sparse["stage"]) == ("dense", "sparse")
    # Two moments of 4 bytes for each trained entry: all but the frozen LayerNorms, and 8 % of them and the head.
    head, norms = 32 * 3 + 3, 2 * 32 * (1 + 2 * 2)
    encoder = dense["parameters"] - head - norms
    scalars = 4 * 100
    assert 8 * (encoder + head) <= dense["optimizer_bytes"] < 8 * (encoder + head) + scalars
    assert (
        8 * (round(0.08 * encoder) + head) <= sparse["optimizer_bytes"] < 8 * (round(0.08 * encoder) + head) + scalars
    )
    assert all(sample["megabytes_peak"] >= sample["megabytes_before"] > 0 for sample in samples)
