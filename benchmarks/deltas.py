"""How large a sparse delta's file is, and how fast it is written and read beside the authors' format.

    python -m benchmarks.deltas --output measured.json

It needs no network and no data. What it measures, and what came out, is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.report import machine, machine_rows, print_table, spread, timed
from bistill_hub.model.sparse_delta import SparseDelta, SparseUpdate

TOUCHED_ROWS = 0.3
"""Of a clustered delta, the share of tokens whose embeddings it changes: the others did not occur in training."""

UNEVENNESS = 1.0
"""Of a clustered delta, the standard deviation of the logarithm of how much of a row is changed."""


def student_shapes(
    vocabulary: int, layers: int, width: int, labels: int
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Give the parameters of a student with a tagging head.

    Returns:
        Shape by name of the parameters that are free to change, and the names of the head's.
    """
    from transformers import AutoConfig, AutoModelForTokenClassification

    config = AutoConfig.for_model(
        "bert",
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=max(1, width // 64),
        num_labels=labels,
    )
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    head = [name for name in shapes if not name.startswith("bert.")]
    free = {name: shape for name, shape in shapes.items() if name not in head and "LayerNorm" not in name}
    return free, head


def random_delta(shapes: Mapping[str, tuple[int, ...]], density: float, seed: int) -> SparseDelta:
    """Change entries anywhere, each as likely as any other."""
    generator = torch.Generator().manual_seed(seed)
    chosen = {name: torch.rand(math.prod(shape), generator=generator) < density for name, shape in shapes.items()}
    return _delta(shapes, chosen, generator)


def clustered_delta(shapes: Mapping[str, tuple[int, ...]], density: float, seed: int) -> SparseDelta:
    """Change entries as training does: most tokens' embeddings not at all, of other rows one more than another."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        rows = torch.randn(shape[0] if len(shape) > 1 else 1, generator=generator).mul(UNEVENNESS).exp()
        if "word_embeddings" in name:
            rows *= torch.rand(len(rows), generator=generator) < TOUCHED_ROWS
        weights[name] = rows
    sizes = {name: math.prod(shape) // len(weights[name]) for name, shape in shapes.items()}
    # The factor that makes all rows' shares, none of them above 1, come to the density.
    low, high, entries = 0.0, 100.0, density * sum(map(math.prod, shapes.values()))
    for _ in range(50):
        factor = (low + high) / 2
        found = sum(float((rows * factor).clamp(max=1).sum()) * sizes[name] for name, rows in weights.items())
        low, high = (factor, high) if found < entries else (low, factor)
    chosen = {
        name: (torch.rand(len(rows), sizes[name], generator=generator) < (rows * high).clamp(max=1)[:, None]).flatten()
        for name, rows in weights.items()
    }
    return _delta(shapes, chosen, generator)


def _delta(
    shapes: Mapping[str, tuple[int, ...]], chosen: Mapping[str, Tensor], generator: torch.Generator
) -> SparseDelta:
    sparse = {}
    for name, mask in chosen.items():
        indices = mask.nonzero().flatten()
        if len(indices):
            values = torch.randn(len(indices), generator=generator).mul(1e-2).half()
            sparse[name] = SparseUpdate(shapes[name], indices, values)
    return SparseDelta(sparse)


def save_as_the_authors(delta: SparseDelta, path: Path) -> None:
    """Write a delta in the authors' format, in the way that the format suggests: a list of steps, one by one."""
    encoded = {}
    for name, update in delta.sparse.items():
        rows, columns = update.shape if len(update.shape) == 2 else (math.prod(update.shape), 1)
        order = torch.argsort(update.indices % columns * rows + update.indices // columns)
        positions = (update.indices % columns * rows + update.indices // columns)[order].tolist()
        steps, last = [], 0
        for position in positions:
            steps.append(position - last)
            last = position
        encoded[name] = {"size": torch.Size(update.shape), "index_steps": steps, "values": update.values[order]}
    torch.save({"diffs": encoded, "abs": dict(delta.dense)}, path)


def load_as_the_authors(path: Path) -> SparseDelta:
    """Read what `save_as_the_authors` wrote: a running sum, one by one."""
    content = torch.load(path, weights_only=False)  # our own file; the restricted reader takes several times as long
    sparse = {}
    for name, encoding in content["diffs"].items():
        size = tuple(encoding["size"])
        rows, columns = size if len(size) == 2 else (math.prod(size), 1)
        positions, position = [], 0
        for step in encoding["index_steps"]:
            position += step
            positions.append(position)
        found = torch.tensor(positions)
        found, order = torch.sort(found % rows * columns + found // rows)
        sparse[name] = SparseUpdate(size, found, encoding["values"][order])
    return SparseDelta(sparse, content["abs"])


def dense_bytes(delta: SparseDelta) -> int:
    """Tell the size of what a delta holds whole."""
    return sum(tensor.numel() * tensor.element_size() for tensor in delta.dense.values())


def measure(delta: SparseDelta, folder: Path, rounds: int) -> dict[str, Any]:
    """Write and read a delta in both formats, in turns.

    Returns:
        Sizes in bytes, and of each round the [clock, processors] seconds of all four.
    """
    ours, theirs = folder / "delta.safetensors", folder / "pytorch_diff.bin"
    works: dict[str, Callable[[], Any]] = {
        "save": partial(delta.save, ours),
        "load": partial(SparseDelta.load, ours),
        "legacy_encode": partial(save_as_the_authors, delta, theirs),
        "legacy_decode": partial(load_as_the_authors, theirs),
    }
    taken: list[dict[str, tuple[float, float]]] = []
    for number in _turns(rounds):
        names = list(works) if number % 2 else [*list(works)[2:], *list(works)[:2]]
        times = {name: timed(works[name]) for name in names}
        if number >= 0:
            taken.append(times)
    with ours.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    return {
        "entries": delta.entries,
        "density": delta.density,
        "head_bytes": dense_bytes(delta),
        "header_bytes": header,
        "file_bytes": os.path.getsize(ours),
        "legacy_file_bytes": os.path.getsize(theirs),
        "rounds": taken,
    }


def _turns(number: int) -> Iterator[int]:
    """Count rounds from -1: the first is a warm-up."""
    for turn in count(-1):
        if turn == number:
            return
        yield turn


def _rows(name: str, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Put measurements into words: of each row, what it says and the number."""
    taken: Sequence[Mapping[str, Sequence[float]]] = found["rounds"]
    ours = [times["save"][0] + times["load"][0] for times in taken]
    theirs = [times["legacy_encode"][0] + times["legacy_decode"][0] for times in taken]
    each = (found["file_bytes"] - found["head_bytes"]) / found["entries"]
    legacy_each = (found["legacy_file_bytes"] - found["head_bytes"]) / found["entries"]
    return [
        (f"{name}: changed entries", f"{found['entries']:,} ({found['density']:.1%})"),
        (
            f"{name}: bytes a changed entry, all but the head",
            f"{each:.4f}, of which {found['header_bytes']:,} bytes header",
        ),
        (f"{name}: the same of the authors' format", f"{legacy_each:.2f}"),
        *(
            (f"{name}: {what}", f"{spread([times[key][0] for times in taken], 3)} s")
            for key, what in (
                ("save", "save"),
                ("load", "load"),
                ("legacy_encode", "encode in the authors' format"),
                ("legacy_decode", "decode it"),
            )
        ),
        (
            f"{name}: encode + decode / save + load",
            spread([their / our for our, their in zip(ours, theirs, strict=True)], 1),
        ),
    ]


@click.command()
@click.option("--density", type=click.FloatRange(0, 1, min_open=True), default=0.08, show_default=True)
@click.option("--vocabulary", type=click.IntRange(min=10), default=40_000, show_default=True)
@click.option("--layers", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--width", type=click.IntRange(min=8), default=768, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
def main(density: float, vocabulary: int, layers: int, width: int, rounds: int, output: Path | None) -> None:
    """Measure two deltas of a student of BERT's shape: one with entries anywhere, one with clusters."""
    facts = machine()
    shapes, head = student_shapes(vocabulary, layers, width, 9)
    found = {}
    for name, make in (("anywhere", random_delta), ("clustered", clustered_delta)):
        delta = make(shapes, density, seed=1)
        delta.metadata["eligible_parameters"] = sum(map(math.prod, shapes.values()))
        delta.dense = {each: torch.zeros((9, width) if each.endswith("weight") else (9,)) for each in head}
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(delta, Path(folder), rounds)
    print_table(
        [
            *machine_rows(facts),
            ("parameters free to change", f"{sum(map(math.prod, shapes.values())):,}"),
            ("rounds", str(rounds)),
            *(row for name, each in found.items() for row in _rows(name, each)),
        ]
    )
    if output is not None:
        output.write_text(json.dumps({"machine": facts, "deltas": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
