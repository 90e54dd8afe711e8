"""The benchmarks of deltas, loading, encoders and corpora run from end to end, and their material is what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fresh import run_fresh

CHECKOUT = Path(__file__).resolve().parents[2]
TINY = ("--vocabulary", "60", "--layers", "2", "--width", "16", "--rounds", "2")


@pytest.fixture(autouse=True)
def _from_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))


def table_and_measurements(main, folder, *arguments):
    output = folder / "measured.json"
    result = CliRunner().invoke(main, [*map(str, arguments), "--output", str(output)], catch_exceptions=False)
    assert result.exit_code == 0
    table = [line for line in result.stdout.splitlines() if line.startswith("|")]
    return dict(map(str.strip, line.strip("|").split("|")) for line in table), json.loads(output.read_text())


def same_update(one, other):
    return (
        one.shape == other.shape and torch.equal(one.indices, other.indices) and torch.equal(one.values, other.values)
    )


@pytest.mark.parametrize("kind", ["random_delta", "clustered_delta"])
def test_deltas_are_as_dense_as_asked_and_survive_the_authors_format(tmp_path, kind):
    from benchmarks import deltas
    from bistill_hub import from_legacy

    shapes, head = deltas.student_shapes(300, 2, 32, 9)
    assert head == ["classifier.weight", "classifier.bias"]
    assert not any("LayerNorm" in name for name in shapes)
    delta = getattr(deltas, kind)(shapes, 0.08, 1)
    free = sum(np.prod(shape) for shape in shapes.values())
    assert delta.entries == pytest.approx(0.08 * free, rel=0.1)
    words = delta.sparse["bert.embeddings.word_embeddings.weight"].indices // 32
    touched = len(words.unique()) / 300
    assert (touched > 0.9) if kind == "random_delta" else (0.15 < touched < 0.45)
    file = tmp_path / "pytorch_diff.bin"
    deltas.save_as_the_authors(delta, file)
    for loaded in (deltas.load_as_the_authors(file), from_legacy(file)):
        assert loaded.sparse.keys() == delta.sparse.keys()
        assert all(same_update(loaded.sparse[name], update) for name, update in delta.sparse.items())


def test_a_small_measurement_of_deltas_tells_sizes_and_times(tmp_path):
    from benchmarks.deltas import main

    table, found = table_and_measurements(main, tmp_path, *TINY)
    for name in ("anywhere", "clustered"):
        measured = found["deltas"][name]
        assert len(measured["rounds"]) == 2
        assert all(seconds[0] > 0 for times in measured["rounds"] for seconds in times.values())
        content = measured["file_bytes"] - measured["head_bytes"] - measured["header_bytes"]
        assert 3 * measured["entries"] <= content <= 4 * measured["entries"]
        assert f"{name}: encode + decode / save + load" in table


def test_a_small_measurement_of_loading_loads_the_same_model_both_ways(tmp_path):
    from benchmarks.loading import main, measure, write_both

    table, found = table_and_measurements(main, tmp_path, *TINY)
    loads = {"pair", "kept", "native"}
    assert [set(times) for times in found["rounds"]] == [loads | {f"{name}_used" for name in loads}] * 2
    assert {"pair / checkpoint", "pair, its sum kept / checkpoint", "loading the checkpoint"} <= table.keys()
    pair, _ = write_both(tmp_path / "one", 60, 2, 16, 0.08)
    _, other = write_both(tmp_path / "other", 60, 2, 16, 0.5)
    with pytest.raises(RuntimeError, match="not the same model"):
        measure(pair, other, 1)


def test_a_small_measurement_of_encoders_has_a_row_for_each_factor_and_number_of_threads(tmp_path):
    from benchmarks.encoders import main, make_student, make_teacher

    arguments = ("--vocabulary", 60, "--kept", 40, "--layers", 6, "--width", 16, "--length", 12, "--rounds", 2)
    table, found = table_and_measurements(main, tmp_path, *arguments)
    for factor in (2, 3):
        assert [speed["threads"] for speed in found["speeds"][str(factor)] if speed["device"] == "cpu"] == [1, 2]
        assert f"LRF {factor}, 2 threads: teacher / student" in table
    teacher = make_teacher(60, 6, 16)
    student = make_student(teacher, 40, 3)
    assert (student.config.num_hidden_layers, student.config.vocab_size) == (2, 40)
    assert torch.equal(
        student.encoder.layer[0].output.dense.weight, teacher.encoder.layer[0].output.dense.weight
    ) or torch.equal(student.encoder.layer[0].output.dense.weight, teacher.encoder.layer[2].output.dense.weight)


@pytest.fixture
def texts(tmp_path):
    chance = np.random.default_rng(0)
    for name in ("one.txt", "two.txt"):
        words = chance.choice(["ma", "toki", "wali", "thering", "é"], size=(300, 12))
        (tmp_path / name).write_text("\n".join(map(" ".join, words)), encoding="utf-8")
    return [tmp_path / "one.txt", tmp_path / "two.txt"]


def test_a_small_measurement_of_corpora_packs_and_reads_all_of_it(texts, tmp_path):
    from benchmarks.corpora import main, rows
    from benchmarks.material import make_tokenizer

    make_tokenizer("wordpiece", texts, 500).save_pretrained(tmp_path / "tokenizer")
    arguments = ["--tokenizer", tmp_path / "tokenizer", "--megabytes", 0.4, "--block-size", 32]
    table, found = table_and_measurements(main, tmp_path, *arguments, *(a for t in texts for a in ("--text", t)))
    (packed,) = found["packed"]
    assert packed["bytes"] >= 0.4e6
    assert packed["blocks"] > 1000
    assert 0.7 * packed["blocks"] <= 8 * packed["batches"] <= packed["blocks"] + 16
    assert packed["tokens_read"] <= 32 * 8 * packed["batches"]
    assert all(size > 0 and seconds > 0 and alone > 0 for size, seconds, alone in packed["samples"])
    assert packed["megabytes_loaded"] <= packed["megabytes_packing"]
    assert "time of packing / tokenizer alone" in table
    larger = {**packed, "bytes": packed["bytes"] + 1_000_000, "megabytes_packing": packed["megabytes_packing"] + 0.5}
    assert dict(rows([packed, larger]))["the same, bytes a byte of text, packing"] == "0.50000"


PRIVATE_MEMORY = """
import json, mmap
import numpy as np
from benchmarks.pack import PrivateMemory, private_megabytes

with open(FILE, "rb") as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    before = private_megabytes()
    with PrivateMemory() as mapping:
        assert sum(mapped[place] for place in range(0, len(mapped), 4096)) > 0
    with PrivateMemory() as allocating:
        held = np.ones(50_000_000, dtype=np.uint8)
print(json.dumps([before, mapping.peak, allocating.peak]))
"""


def test_private_memory_is_what_a_process_allocates_and_not_what_it_maps(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 30_000_000)
    # A process of its own: in this one, what earlier tests have left may be freed at the same moment.
    done = run_fresh(f"FILE = {str(file)!r}\n{PRIVATE_MEMORY}", cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    before, mapping, allocating = json.loads(done.stdout)
    assert mapping < before + 10
    assert before + 40 < allocating < before + 60
