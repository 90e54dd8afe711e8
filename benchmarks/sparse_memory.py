"""How much memory the sparse stage of phase 2 takes, beside the dense stage: at its peak, and for the optimizer alone.

    python -m benchmarks.sparse_memory

Both stages are those of the package's own trainer, each in a process of its own: the first process ends when the
entries have been chosen, the second goes on from there. What came out is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import torch
from datasets import Dataset
from transformers import BertConfig, BertForTokenClassification, TrainerCallback, set_seed

from benchmarks.report import in_fresh_process, machine, machine_rows, peak_megabytes, print_table, spread
from bistill_hub.distillation.recording import calm
from bistill_hub.distillation.task import SparseTaskDistillationArguments, SparseTaskDistillationTrainer

STAGES = ("dense", "sparse")
LABELS = {0: "O", 1: "B-PER", 2: "I-PER"}
WIDTH, LAYERS, VOCABULARY = 768, 6, 30_000
"""Of a student like one of multilingual BERT; the teacher has twice the layers."""


class Ended(Exception):
    """The stage that is measured is over."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Measures one stage.

    Args:
        stage: Which one.

    Attributes:
        optimizer_bytes: What the optimizer's state takes.
        peak: Peak memory up to the stage's end, in millions of bytes.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.optimizer_bytes = 0
        self.peak = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Add up the optimizer's state."""
        tensors = (value for entry in optimizer.state.values() for value in entry.values())
        self.optimizer_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the peak."""
        self.peak = peak(args.device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the process's part once the dense stage is over and its entries are chosen."""
        if self.stage == "dense" and self.peak:
            raise Ended


def peak(device: torch.device) -> float:
    """Give the most memory so far, in millions of bytes: of the GPU if that is used, otherwise of the process."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_megabytes()


def make_trainer(folder: Path, small: bool, density: float, batch: int, tokens: int) -> SparseTaskDistillationTrainer:
    """Make phase 2 for a student and a teacher of random weights that label words."""
    width, layers, vocabulary = (32, 2, 400) if small else (WIDTH, LAYERS, VOCABULARY)
    shape = {"vocab_size": vocabulary, "hidden_size": width, "intermediate_size": 4 * width, "id2label": LABELS}
    heads = {
        "num_attention_heads": max(2, width // 64),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    set_seed(0)
    student, teacher = (
        BertForTokenClassification(BertConfig(num_hidden_layers=count, **shape, **heads))
        for count in (layers, 2 * layers)
    )
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (4 * batch, tokens), generator=generator)
    rows = Dataset.from_dict({"input_ids": ids.tolist(), "labels": (ids % len(LABELS)).tolist()})
    args = SparseTaskDistillationArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        max_steps=2,
        dense_max_steps=2,
        density=density,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    return SparseTaskDistillationTrainer(student, args, teacher=teacher, train_dataset=rows)


def measure(stage: str, folder: Path, small: bool, density: float, batch: int, tokens: int) -> dict[str, Any]:
    """Run one stage, in this process."""
    trainer = calm(make_trainer(folder, small, density, batch, tokens))
    watch = Watch(stage)
    trainer.add_callback(watch)
    before = peak(trainer.args.device)
    if stage == "dense":
        with suppress(Ended):
            trainer.train()
    else:
        trainer.train(resume_from_checkpoint=True)
    return {
        "stage": stage,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "megabytes_before": before,
        "megabytes_peak": watch.peak,
        "optimizer_bytes": watch.optimizer_bytes,
    }


def table_rows(samples: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put measurements into words: medians over the rounds, with the quartiles in brackets."""
    of = {stage: [sample for sample in samples if sample["stage"] == stage] for stage in STAGES}
    memory = {stage: [sample["optimizer_bytes"] for sample in of[stage]] for stage in STAGES}
    peaks = {stage: [sample["megabytes_peak"] for sample in of[stage]] for stage in STAGES}
    share = [sparse / dense for dense, sparse in zip(*memory.values(), strict=True)]
    less = [sparse / dense for dense, sparse in zip(*peaks.values(), strict=True)]
    return [
        ("parameters of the student", f"{samples[0]['parameters']:,}"),
        ("memory before training", f"{spread([sample['megabytes_before'] for sample in samples], 0)} MB"),
        *((f"peak memory, {stage} stage", f"{spread(peaks[stage], 0)} MB") for stage in STAGES),
        ("peak, sparse / dense", spread(less)),
        *((f"optimizer, {stage} stage", f"{spread([b / 1e6 for b in memory[stage]], 1)} MB") for stage in STAGES),
        ("optimizer, sparse / dense", spread(share, 3)),
    ]


@click.command()
@click.option("--density", type=click.FloatRange(0, 1, min_open=True), default=0.08, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Texts in a batch.")
@click.option("--tokens", type=click.IntRange(1, 512), default=128, show_default=True, help="Tokens of each text.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is measured.")
@click.option("--small", is_flag=True, help="A tiny student, to try the command.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
@click.option("--only", type=(click.Choice(STAGES), click.Path(path_type=Path)), hidden=True)
def main(
    density: float,
    batch: int,
    tokens: int,
    rounds: int,
    small: bool,
    output: Path | None,
    only: tuple[str, Path] | None,
) -> None:
    """Measure both stages of phase 2, with two updates each."""
    if only is not None:
        click.echo(json.dumps(measure(*only, small, density, batch, tokens)))
        return
    given = ["--density", density, "--batch", batch, "--tokens", tokens, *(["--small"] if small else [])]
    samples = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            samples += [in_fresh_process("benchmarks.sparse_memory", *given, "--only", s, folder) for s in STAGES]
    described = f"{batch} x {tokens} tokens, density {density:g}"
    print_table([*machine_rows(machine()), ("batch", described), ("rounds", str(rounds)), *table_rows(samples)])
    if output is not None:
        output.write_text(json.dumps({"machine": machine(), "samples": samples}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
