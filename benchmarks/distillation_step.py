"""How long a step of either phase takes and how much memory, beside a plain implementation of the authors' way.

    python -m benchmarks.distillation_step
    python -m benchmarks.distillation_step --phase 2

Teacher and student are shaped like BERT base, with random weights. What came out is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch
from datasets import Dataset
from torch.nn.functional import log_softmax, mse_loss, softmax
from transformers import BertConfig, BertForTokenClassification, BertModel, PrinterCallback, TrainerCallback

from benchmarks.report import (
    in_fresh_process,
    machine,
    machine_rows,
    peak_megabytes,
    print_table,
    quartiles,
    spread,
    timed,
)
from bistill_hub.distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer
from bistill_hub.distillation.task import SparseTaskDistillationArguments, SparseTaskDistillationTrainer
from bistill_hub.fp32_products import LEFT_TO_TORCH, VARIABLE, faster_fp32_products
from bistill_hub.freed_memory import freed_memory_kept
from bistill_hub.student.build import cut_model

LAYERS, FACTOR, ROWS, LABELS, TEMPERATURE = 12, 2, 8, 9, 2.0
_PRODUCTS, _PATIENCE = 12, 5.0
"""How many products are timed at most, and for how many seconds."""

LENGTHS = {1: 256, 2: 128}
"""Tokens of a row, in each phase."""

HANDED_OVER, KEPT, LARGE_PAGES, MAPPED_ANEW = "handed_over", "kept", "large_pages", "mapped_anew"
LEFT_TO_GLIBC, OWN_PRODUCTS = "left_to_glibc", "own_products"
SPLIT = {"per_device_train_batch_size": ROWS // 4, "gradient_accumulation_steps": 4}
"""The same update in four parts."""

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fp32": {},
    "fp32, in four parts": SPLIT,
    "bf16": {"bf16": True, "teacher_precision": "bf16"},
    "bf16, in four parts": {"bf16": True, "teacher_precision": "bf16", **SPLIT},
    "bf16, teacher in fp32": {"bf16": True},
    "bf16, attentions handed over": {"bf16": True, "teacher_precision": "bf16", HANDED_OVER: True},
    "bf16, optimizer not fused": {"bf16": True, "teacher_precision": "bf16", "optim": "adamw_torch"},
    "bf16, compiled": {"bf16": True, "teacher_precision": "bf16", "torch_compile": True},
    "bf16, memory given back": {"bf16": True, "teacher_precision": "bf16", LEFT_TO_GLIBC: True},
    "fp32, memory given back": {LEFT_TO_GLIBC: True},
    "fp32, activations kept": {KEPT: True},
    "fp32, large pages": {LARGE_PAGES: True},
    "fp32, mapped anew": {MAPPED_ANEW: True},
    "fp32, products by torch": {OWN_PRODUCTS: True},
}
"""What is compared: the plain way, and trainings with these arguments. "Large pages" are those that torch asks Linux
for when told so; "mapped anew" is memory of 4 MB and more, which glibc then takes and gives back each time; "memory
given back" is what glibc does of itself, which recipes tell it not to do; "products by torch" is without oneDNN."""

VARIABLES = {
    LARGE_PAGES: {"THP_MEM_ALLOC_ENABLE": "1"},
    MAPPED_ANEW: {"MALLOC_MMAP_THRESHOLD_": "4000000"},
    OWN_PRODUCTS: {VARIABLE: LEFT_TO_TORCH},
}
"""What is said by variables; torch and glibc read them when a process starts."""

COMPARED = ("plain", "fp32", "fp32, in four parts", "bf16", "bf16, in four parts")


def models(phase: int, small: bool) -> tuple[Any, Any]:
    """Make teacher and student; the student is cut out of another such teacher, so that there is something to learn."""
    size = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64} if small else {}
    config = BertConfig(vocab_size=500 if small else 30_000, num_hidden_layers=LAYERS, num_labels=LABELS, **size)
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(BertModel(config, add_pooling_layer=False) if phase == 1 else BertForTokenClassification(config))
    kept = range(FACTOR - 1, LAYERS, FACTOR)
    return made[0].eval().requires_grad_(False), cut_model(made[1], None, kept, dropout=0.0)


def rows_of_text(phase: int, steps: int, small: bool) -> list[dict[str, list[int]]]:
    """Draw rows without padding, and labels for phase 2."""
    length, words = (16, 500) if small else (LENGTHS[phase], 30_000)
    ids = torch.randint(5, words, (steps * ROWS, length), generator=torch.Generator().manual_seed(1))
    drawn = [{"input_ids": row.tolist()} for row in ids]
    return drawn if phase == 1 else [{**row, "labels": [i % LABELS for i in row["input_ids"]]} for row in drawn]


def variables(way: str) -> dict[str, str]:
    """Give the variables that a way of training is measured with."""
    return {name: value for told in VARIABLES if WAYS[way].get(told) for name, value in VARIABLES[told].items()}


def now() -> tuple[float, float]:
    """Read the clock, and how long all processors have worked for this process, in seconds."""
    return time.perf_counter(), time.process_time()


def between(ends: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Give the differences of such pairs, of each to the next."""
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(ends)]


def plain(phase: int, steps: int, small: bool) -> tuple[list[float], list[tuple[float, float]]]:
    """Train in the way of the authors' code, as the method describes it.

    Everything is in fp32, attention is eager, all attentions of both models are kept, and those that are not 0 are
    picked by a mask. LayerNorms are frozen in phase 2, as the paper does for entity recognition.
    """
    teacher, student = models(phase, small)
    for model in (teacher, student):
        model.set_attn_implementation("eager")
    student.train()
    if phase == 2:
        for name, parameter in student.named_parameters():
            parameter.requires_grad_(".LayerNorm." not in name)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    rows = rows_of_text(phase, steps, small)
    losses, ends = [], [now()]
    for start in range(0, len(rows), ROWS):
        ids = torch.tensor([row["input_ids"] for row in rows[start : start + ROWS]])
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            theirs = teacher(**batch, output_attentions=True, output_hidden_states=True)
        ours = student(**batch, output_attentions=True, output_hidden_states=True)
        attention = []
        for layer, mine in enumerate(ours.attentions):
            wanted = theirs.attentions[(layer + 1) * FACTOR - 1]
            there = wanted != 0
            attention.append(mse_loss(mine[there], wanted[there]))
        hidden = [mse_loss(mine, theirs.hidden_states[at * FACTOR]) for at, mine in enumerate(ours.hidden_states)]
        loss = torch.stack(attention).mean() + torch.stack(hidden).mean()
        if phase == 2:
            softened = softmax(theirs.logits / TEMPERATURE, dim=-1)
            loss = loss - (softened * log_softmax(ours.logits / TEMPERATURE, dim=-1)).sum(dim=-1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        ends.append(now())
    return losses, between(ends)


class Clock(TrainerCallback):
    """Notes when each step ends, and the losses; of each stage by itself."""

    def __init__(self) -> None:
        self.ends: list[list[tuple[float, float]]] = []
        self.losses: list[list[float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a stage."""
        self.ends.append([now()])
        self.losses.append([])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.ends[-1].append(now())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the loss."""
        if "loss" in logs:
            self.losses[-1].append(logs["loss"])

    def seconds(self, stage: int) -> list[tuple[float, float]]:
        """How long each step of a stage took: on the clock, and of all processors."""
        return between(self.ends[stage])


def by_trainer(
    phase: int, steps: int, small: bool, settings: dict[str, Any], clock: Clock | None = None
) -> tuple[list[float], list[tuple[float, float]]]:
    """Train with the trainer of the phase; of phase 2 the dense stage counts, the sparse one makes a single step."""
    teacher, student = models(phase, small)
    data = Dataset.from_list(rows_of_text(phase, steps, small))
    settings = dict(settings)
    handed_over, kept, given_back = (settings.pop(name, False) for name in (HANDED_OVER, KEPT, LEFT_TO_GLIBC))
    clock = clock or Clock()
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "output_dir": folder,
            "per_device_train_batch_size": ROWS,
            "learning_rate": 1e-5,
            "lr_scheduler_type": "constant",
            "train_sampling_strategy": "sequential",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": not torch.accelerator.is_available(),
            "dataloader_pin_memory": torch.accelerator.is_available(),
            **{name: value for name, value in settings.items() if name not in VARIABLES},
        }
        trainer: Any
        if phase == 1:
            args: Any = BilingualDistillationArguments(max_steps=steps, **common)
            trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=data)
        else:
            args = SparseTaskDistillationArguments(dense_max_steps=steps, max_steps=1, **common)
            trainer = SparseTaskDistillationTrainer(student, args, teacher=teacher, train_dataset=data)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        if handed_over:
            trainer.comparison.reads = False
            for model in (teacher, student):
                model.set_attn_implementation("eager")
        if kept:
            trainer.comparison.formed_again = []
        with nullcontext() if given_back else freed_memory_kept(), faster_fp32_products():
            trainer.train()
    return clock.losses[0], clock.seconds(0)


def product_rate(kind: torch.dtype, small: bool) -> float:
    """Measure how fast a layer's largest product is at best, in 10^9 operations a second.

    The first products are not counted, unless one takes so long, as those of bf16 do where a processor has none, that
    it will do.
    """
    rows, narrow, wide = (128, 32, 64) if small else (2048, 768, 3072)
    one, other = torch.randn(rows, narrow).to(kind), torch.randn(narrow, wide).to(kind)
    seconds = [timed(lambda: one @ other)[0]]
    while len(seconds) < _PRODUCTS and sum(seconds) < _PATIENCE:
        seconds.append(timed(lambda: one @ other)[0])
    return 2 * rows * narrow * wide / quartiles(seconds[2:] or seconds)[0] / 1e9


def measure(way: str, phase: int, steps: int, small: bool, untimed: int = 1) -> dict[str, Any]:
    """Train a few steps, in this process; the first are not timed, while what a process keeps of memory still grows."""
    before = peak_megabytes()
    rates = {name: product_rate(kind, small) for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    if way == "plain":
        losses, seconds = plain(phase, steps, small)
    else:
        losses, seconds = by_trainer(phase, steps, small, WAYS[way])
    return {
        "way": way,
        "losses": losses,
        "seconds": [clock for clock, _ in seconds[untimed:]],
        "processor_seconds": [processors for _, processors in seconds[untimed:]],
        "libraries_megabytes": before,
        "product_rates": rates,
        "megabytes": peak_megabytes(),
    }


def rows(samples: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put measurements into words: medians over all steps, with the quartiles; ratios of the rounds' medians.

    The least step of each way is the one that others on the machine disturbed least.
    """
    of = {way: [sample for sample in samples if sample["way"] == way] for way in WAYS}
    of = {way: found for way, found in of.items() if found}
    table = []
    for way, found in of.items():
        table.append((f"a step, {way}", f"{spread([second for sample in found for second in sample['seconds']])} s"))
    for clock, name in (("seconds", "time"), ("processor_seconds", "processor time")):
        middle = {way: [quartiles(sample[clock])[0] for sample in found] for way, found in of.items()}
        for way in of:
            if way != "plain":
                ratios = [slow / fast for slow, fast in zip(middle["plain"], middle[way], strict=True)]
                table.append((f"{name} of plain / {way}", spread(ratios)))
    least = {way: min(second for sample in found for second in sample["seconds"]) for way, found in of.items()}
    table += [(f"least step of plain / {way}", f"{least['plain'] / least[way]:.2f}") for way in of if way != "plain"]
    for way, found in of.items():
        table.append((f"most memory, {way}", f"{spread([sample['megabytes'] for sample in found], 0)} MB"))
    for way in of:
        if way != "plain":
            share = [mine["megabytes"] / other["megabytes"] for mine, other in zip(of[way], of["plain"], strict=True)]
            table.append((f"memory of {way} / plain", spread(share)))
    table.append(("memory of the libraries alone", f"{spread([s['libraries_megabytes'] for s in samples], 0)} MB"))
    for kind in ("fp32", "bf16"):
        rates = [sample["product_rates"][kind] for sample in samples]
        table.append((f"a matrix product in {kind} at that time", f"{spread(rates, 0)} GFLOP/s"))
    for way, found in of.items():
        first, last = found[0]["losses"][0], found[0]["losses"][-1]
        table.append((f"loss at the first and the last step, {way}", f"{first:.5f} and {last:.5f}"))
    return table


@click.command()
@click.option("--phase", type=click.IntRange(1, 2), default=1, show_default=True, help="Which phase's step.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is measured.")
@click.option("--steps", type=click.IntRange(min=2), default=10, show_default=True, help="How many steps are made.")
@click.option("--untimed", type=click.IntRange(min=1), default=3, show_default=True, help="First steps, not timed.")
@click.option("--all", "every", is_flag=True, help="Measure single changes as well.")
@click.option("--way", "named", type=click.Choice(list(WAYS)), multiple=True, help="Measure these and the plain way.")
@click.option("--small", is_flag=True, help="Tiny models, to try the command.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write all measurements here, as JSON.")
@click.option("--only", type=click.Choice(list(WAYS)), hidden=True)
def main(
    phase: int,
    rounds: int,
    steps: int,
    untimed: int,
    every: bool,
    named: tuple[str, ...],
    small: bool,
    output: Path | None,
    only: str | None,
) -> None:
    """Measure a training step of BERT base's shape, half the layers kept, in fresh processes in turn."""
    if untimed >= steps:
        raise click.UsageError(f"of {steps} steps {untimed} are not timed, which leaves none; give --steps more")
    if only is not None:
        click.echo(json.dumps(measure(only, phase, steps, small, untimed)))
        return
    ways = list(WAYS) if every else list(COMPARED)
    if named:
        ways = [way for way in WAYS if way == "plain" or way in named]
    given = ["--phase", phase, "--steps", steps, "--untimed", untimed, *(["--small"] if small else [])]
    samples = [
        in_fresh_process("benchmarks.distillation_step", "--only", way, *given, variables=variables(way))
        for number in range(rounds)
        for way in (ways if number % 2 == 0 else reversed(ways))
    ]
    facts = [("phase", str(phase)), ("batch", f"{ROWS} x {LENGTHS[phase]}")]
    facts.append(("rounds", f"{rounds} of {steps} steps, {untimed} not timed"))
    print_table([*machine_rows(machine()), *facts, *rows(samples)])
    if output is not None:
        output.write_text(json.dumps({"machine": machine(), "samples": samples}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
