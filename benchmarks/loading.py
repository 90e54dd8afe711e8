"""How long a packaged pair with a task takes to load, beside a native checkpoint of the same size.

    python -m benchmarks.loading --output measured.json

It needs no network and no data. What it measures, and what came out, is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import click
import huggingface_hub
import torch

from benchmarks.deltas import random_delta
from benchmarks.report import machine, machine_rows, print_table, spread, timed
from bistill_hub.model.sparse_delta import SparseDelta, SparseUpdate

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-DATE", "I-DATE")
TASK = "ner"
BATCH, LENGTH = 8, 128


def write_both(folder: Path, vocabulary: int, layers: int, width: int, density: float) -> tuple[Path, Path]:
    """Write a pair with a task, and its tagger as an ordinary checkpoint.

    Returns:
        Folders of the pair and of the checkpoint.
    """
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedTokenizerFast

    from bistill_hub.hub.repository import PairModel, write_model

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=max(1, width // 64),
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    tagger = AutoModelForTokenClassification.from_config(config).eval()
    state = {name: tensor.clone() for name, tensor in tagger.state_dict().items() if name.startswith("bert.")}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if "LayerNorm" not in name}
    delta = random_delta({name: shape for name, shape in shapes.items() if len(shape) == 2}, density, seed=1)
    # As training leaves them: differences of weights in fp32.
    sparse = {
        name: SparseUpdate(update.shape, update.indices, update.values.float()) for name, update in delta.sparse.items()
    }
    head = {name: tensor.clone() for name, tensor in tagger.state_dict().items() if name not in state}
    delta = SparseDelta(sparse, head, {"head": "token-classification", "labels": list(LABELS)})
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    pair, native = folder / "pair", folder / "native"
    write_model(pair, PairModel(config, "en", "sw", tuple(range(layers)), {}), state, tokenizer, {TASK: delta})
    delta.apply(tagger)
    tagger.save_pretrained(native)
    return pair, native


def measure(pair: Path, native: Path, rounds: int) -> dict[str, Any]:
    """Load the pair with its task and the checkpoint in turns, alone and with a first batch through the model.

    The pair is loaded as it comes, and with the sum of base and delta kept by an earlier load. A checkpoint's weights
    are mapped, not read: that comes later, with the first batch.

    Returns:
        Sizes in bytes, and of each round the [clock, processors] seconds of each.

    Raises:
        RuntimeError: the two are not the same model.
    """
    from transformers import AutoModelForTokenClassification
    from transformers.utils.logging import disable_progress_bar

    import bistill_hub  # noqa: F401 (registers the pair's classes)

    disable_progress_bar()

    load = AutoModelForTokenClassification.from_pretrained
    kept = partial(huggingface_hub.cached_assets_path, assets_dir=pair.parent / "assets")

    def load_kept() -> Any:
        with mock.patch.object(huggingface_hub, "cached_assets_path", kept):
            return load(pair, task=TASK, cache_task_weights=True)

    alone: dict[str, Callable[[], Any]] = {
        "native": partial(load, native),
        "pair": partial(load, pair, task=TASK),
        "kept": load_kept,
    }
    theirs = alone["native"]().state_dict()
    for name in ("pair", "kept", "kept"):  # a warm-up of the file cache too
        _refuse_other(alone[name]().state_dict(), theirs)
    del theirs
    works = alone | {f"{name}_used": partial(_used, work) for name, work in alone.items()}
    taken = []
    for turn in range(rounds):
        names = list(works) if turn % 2 else list(reversed(works))
        taken.append({name: timed(works[name]) for name in names})
    return {
        "base_bytes": os.path.getsize(pair / "model.safetensors"),
        "delta_bytes": os.path.getsize(pair / "tasks" / TASK / "delta.safetensors"),
        "native_bytes": os.path.getsize(native / "model.safetensors"),
        "rounds": taken,
    }


def _refuse_other(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    if ours.keys() != theirs.keys() or not all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items()):
        raise RuntimeError("the pair and the checkpoint are not the same model")


def _rows(taken: Sequence[dict[str, Any]], suffix: str, what: str) -> list[tuple[str, str]]:
    rows = [(f"loading the checkpoint{what}", f"{spread([times['native' + suffix][0] for times in taken], 3)} s")]
    for name, how in (("pair", ""), ("kept", ", its sum kept")):
        pairs = [(times[name + suffix], times["native" + suffix]) for times in taken]
        rows += [
            (f"loading the pair with its task{how}{what}", f"{spread([pair[0] for pair, _ in pairs], 3)} s"),
            (f"pair{how} / checkpoint{what}", spread([pair[0] / native[0] for pair, native in pairs])),
            (f"the same, processor time{what}", spread([pair[1] / max(native[1], 1e-9) for pair, native in pairs])),
        ]
    return rows


def _used(work: Callable[[], Any]) -> None:
    model = work()
    length = min(LENGTH, model.config.max_position_embeddings)
    with torch.inference_mode():
        model(torch.arange(BATCH * length).view(BATCH, length) % model.config.vocab_size)


@click.command()
@click.option("--density", type=click.FloatRange(0, 1, min_open=True), default=0.08, show_default=True)
@click.option("--vocabulary", type=click.IntRange(min=10), default=40_000, show_default=True)
@click.option("--layers", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--width", type=click.IntRange(min=8), default=768, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=21, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
def main(density: float, vocabulary: int, layers: int, width: int, rounds: int, output: Path | None) -> None:
    """Measure how a tagger of BERT's shape loads, from a pair and from a checkpoint of its own."""
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(*write_both(Path(folder), vocabulary, layers, width, density), rounds)
    taken = found["rounds"]
    print_table(
        [
            *machine_rows(facts),
            ("student", f"BERT, {layers} layers, width {width}, {vocabulary:,} tokens, {len(LABELS)} labels"),
            ("rounds", str(rounds)),
            ("base and delta", f"{found['base_bytes'] / 1e6:,.1f} MB and {found['delta_bytes'] / 1e6:,.1f} MB"),
            ("native checkpoint", f"{found['native_bytes'] / 1e6:,.1f} MB"),
            *_rows(taken, "", ""),
            *_rows(taken, "_used", f", and a first batch of {BATCH} x {LENGTH} tokens"),
        ]
    )
    if output is not None:
        output.write_text(json.dumps({"machine": facts, **found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
