"""How long the stages of a run take on this machine, from a short trial.

Models of the right shapes with random weights make a few updates on batches of the right size.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM
from transformers.models.auto import modeling_auto

from ..distillation.bilingual import LOGITS, MASKED_LM, form_terms, needs_teacher, weights_of
from ..distillation.comparison import ATTENTION, HIDDEN, LayerwiseComparison
from ..distillation.heads import distilled_loss, supervised_loss
from ..distillation.masking import MASKED, ORIGINAL
from ..distillation.trainer import TYPES
from ..fp32_products import faster_fp32_products
from ..model.configuration_bistill import HEADS
from ..recipe import Precision
from ..student.held_out import held_out_lines
from ..student.token_counts import encode_in_batches, plain_backend
from .order import PACKAGE, PHASE_1, SPEED, STUDENT, Stage
from .preflight import TaskData, text_fields
from .survey import Facts, Features, scores_of

SAMPLED_LINES = 1000
TIMED_UPDATES = 2
_OUT_OF_MEMORY = "its trial does not fit into memory"
_ON_A_CPU = "DefaultCPUAllocator"
"""What torch names where there is no memory on a CPU: the error has no class of its own there."""


@dataclass(frozen=True)
class Speed:
    """Seconds that a trial took.

    Attributes:
        batch: Forward and backward pass of a batch.
        step: Clipping and optimizer, once an update.
        scoring: A batch that is scored only.
        tokens: Tokens of a batch.
    """

    batch: float
    step: float
    scoring: float
    tokens: int


class Trial:
    """Tries what stages do, each thing once, and tells from that how long a stage takes.

    Args:
        facts: What is known.
        progress: Say what is being tried.
    """

    def __init__(self, facts: Facts, progress: bool) -> None:
        from rich.console import Console

        self.facts = facts
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = found or torch.device("cpu")
        self.tried: dict[tuple[str, ...], Any] = {}
        self._console = Console(stderr=True, quiet=not progress)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def estimate(self, stage: Stage, updates: Sequence[int] | None, done: int) -> tuple[float | None, str]:
        """Return the rough seconds that a stage still takes (None where they cannot be known), and a remark."""
        if stage.name == PACKAGE:
            return None, "writes and hashes files, trains nothing"
        if self.facts.config is None or self.facts.tokenizer is None:
            missing = "the teacher" if self.facts.config is None else "the teacher's tokenizer"
            return None, f"{missing} is not in the cache"
        if stage.name == SPEED:
            return self.facts.recipe.speed.seconds, "takes the time that the recipe gives it"
        try:
            if stage.name == STUDENT:
                return self._cutting()
            if stage.name == PHASE_1:
                return self._bilingual(done)
            task, part = self.facts.part_of(stage.name)
            if task is None:
                raise ValueError(f"no stage of a run: {stage.name}")
            if part == "evaluation":
                return self._evaluation(task)
            return self._task(task, part, updates, done)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and _ON_A_CPU not in str(error):
                raise
            return None, _OUT_OF_MEMORY

    def peak_megabytes(self) -> float | None:
        """Return the most memory that was in use so far; None where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        try:
            import resource
        except ImportError:  # not on Windows
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

    def _cutting(self) -> tuple[float | None, str]:
        """Phase 0 tokenises the text once, and the lines that it holds out by either tokenizer."""
        lines = self.facts.lines
        if on_hub := [field for field, count in lines.items() if count is None]:
            return None, on_the_hub(on_hub)
        times = [
            (count + held_out_lines(count)) * self._tokenizing(field)[0]
            for field, count in lines.items()
            if count is not None
        ]
        return sum(times), ""

    def _bilingual(self, done: int) -> tuple[float | None, str]:
        settings = self.facts.recipe.bilingual
        if not settings.steps:
            return 0.0, "left out"
        speed = self._once("bilingual", PHASE_1, self._try_bilingual)
        seconds = (settings.steps - done) * (settings.accumulation * speed.batch + speed.step)
        evaluations = math.ceil(settings.steps / settings.evaluation_every)  # the last one at the end
        left = 1 - done / settings.steps
        for field, count in self.facts.lines.items():
            if count is None:
                continue
            each, tokens = self._tokenizing(field)
            blocks = max(1, round(count * tokens / settings.block_size))
            held_out = max(1, round(blocks * settings.evaluation_share))
            seconds += left * evaluations * math.ceil(held_out / settings.batch_size) * speed.scoring
            seconds += 0 if done else count * each
        on_hub = [field for field, count in self.facts.lines.items() if count is None]
        return seconds, f"without reading and evaluating: {on_the_hub(on_hub)}" if on_hub else ""

    def _task(self, task: TaskData, part: str, updates: Sequence[int] | None, done: int) -> tuple[float | None, str]:
        name, recipe = task.recipe.name, task.recipe
        if updates == ():
            return 0.0, "a tuned teacher is taken"
        if updates is None:
            return None, on_the_hub([f"tasks.{name}.train"])
        if part.endswith("teacher"):
            speed = self._once("teacher", name, lambda: self._try_tuning(task))
            seconds, evaluations = speed.batch + speed.step, math.ceil(recipe.teacher.epochs)
        else:
            settings = recipe.distillation
            speed = self._once("phase 2", name, lambda: self._try_distillation(task))
            seconds = settings.accumulation * speed.batch + speed.step
            evaluations = settings.iterations * math.ceil(settings.sparse_epochs)
        seconds *= sum(updates) - done
        validation = self.facts.features.get((name, "validation"))
        if validation is None or validation.length is None:
            return seconds, f"without scoring: {on_the_hub([f'tasks.{name}.validation'])}"
        left = 1 - done / sum(updates)
        return seconds + left * evaluations * _tokens(validation) * speed.scoring / speed.tokens, ""

    def _evaluation(self, task: TaskData) -> tuple[float | None, str]:
        name = task.recipe.name
        fields = {test: f"tasks.{name}.{test}" for _, test in scores_of(self.facts)}
        fields["train"] = f"tasks.{name}.train"
        if on_hub := [field for test, field in fields.items() if (name, test) not in self.facts.features]:
            return None, on_the_hub(on_hub)
        teacher, student = self._once("scoring", name, lambda: self._try_scoring(task))
        seconds = 0.0
        for model, test in scores_of(self.facts):
            speed = student if model in ("student", "no_phase_1") else teacher
            seconds += _tokens(self.facts.features[name, test]) * speed.scoring / speed.tokens
        return seconds, ""

    def _once(self, what: str, of: str, work: Callable[[], Any]) -> Any:
        """Try something, unless it has been tried."""
        if (what, of) not in self.tried:
            with self._console.status(f"trial: {of if of == PHASE_1 else f'{of} {what}'}"), _aside(self.device):
                self.tried[what, of] = work()
        return self.tried[what, of]

    def _tokenizing(self, field: str) -> tuple[float, float]:
        """Seconds and tokens of a line of text."""

        def measure() -> tuple[float, float]:
            text = text_fields(self.facts.recipe)[field]
            backend = plain_backend(self.facts.tokenizer)
            lines = list(islice(text.lines(), SAMPLED_LINES))
            begin = time.perf_counter()
            tokens = sum(len(each.ids) for _, batch in encode_in_batches(backend, lines, len(lines)) for each in batch)
            return (time.perf_counter() - begin) / len(lines), tokens / len(lines)

        return self._once("tokens", field, measure)

    def _try_bilingual(self) -> Speed:
        facts, settings = self.facts, self.facts.recipe.bilingual
        wanted = weights_of(settings)

        def make(config: Any, *by_head: str) -> Any:
            auto = AutoModelForMaskedLM if set(by_head) & wanted.keys() else AutoModel
            # Weights are trained in float32, whatever the teacher's file holds.
            return auto.from_config(config, dtype=torch.float32).to(self.device)

        student, teacher = make(facts.student_config, LOGITS, MASKED_LM), None
        batch = self._batch(settings.batch_size, settings.block_size)
        inputs = dict(batch)
        if settings.masked_share:
            inputs |= {MASKED: torch.rand(*batch["input_ids"].shape).to(self.device) < settings.masked_share}
            inputs |= {ORIGINAL: batch["input_ids"]}

        compare: LayerwiseComparison | None = None
        if needs_teacher(wanted):
            teacher = make(facts.trimmed_teacher_config, LOGITS)
            teacher.to(TYPES[settings.teacher_precision]).eval().requires_grad_(False)
            heads = settings.relation_heads
            compare = LayerwiseComparison(student, teacher, facts.layer_map, terms=wanted, relation_heads=heads)

        def run() -> tuple[dict[str, Tensor], Any, Any]:
            return ({}, student(**batch), None) if compare is None else compare(student, teacher, batch)

        def loss() -> Tensor:
            terms, _ = form_terms(run, student, teacher, inputs, wanted, settings.temperature)
            return torch.stack(list(terms.values())).sum()

        return self._train(student, batch, loss, loss, settings.precision)

    def _try_tuning(self, task: TaskData) -> Speed:
        settings, head = task.recipe.teacher, task.task.head
        model = self._with_head(task, self.facts.config)
        batch = self._batch(settings.batch_size, self._length(task, "train"))
        inputs = {**batch, **_answers(head, batch)}

        def loss() -> Tensor:
            return supervised_loss(model(**batch), inputs, head)

        return self._train(model, batch, loss, lambda: model(**batch), settings.precision)

    def _try_distillation(self, task: TaskData) -> Speed:
        facts, settings, head = self.facts, task.recipe.distillation, task.task.head
        student = self._with_head(task, facts.student_config)
        batch = self._batch(settings.batch_size, self._length(task, "train"))
        inputs = {**batch, **_answers(head, batch)}
        teacher = compare = None
        if settings.learns_from == "teacher":
            teacher = self._with_head(task, facts.trimmed_teacher_config)
            teacher.to(TYPES[settings.teacher_precision]).eval().requires_grad_(False)
            weights = {ATTENTION: settings.attention_weight, HIDDEN: settings.hidden_weight}
            terms = [term for term, weight in weights.items() if weight]
            compare = LayerwiseComparison(student, teacher, facts.layer_map, terms=terms)

        def loss() -> Tensor:
            if compare is None:
                return supervised_loss(student(**batch), inputs, head)
            found, ours, theirs = compare(student, teacher, batch)
            if settings.logits_weight:
                found["logits"] = distilled_loss(ours, theirs, inputs, head, settings.temperature)
            return torch.stack(list(found.values())).sum()

        return self._train(student, batch, loss, lambda: student(**batch), settings.precision)

    def _try_scoring(self, task: TaskData) -> tuple[Speed, Speed]:
        """Teacher and student score a batch of test examples."""
        length = self._length(task, "test_source")
        batch = self._batch(max(1, 1024 // length), length)
        speeds = []
        for config in (self.facts.config, self.facts.student_config):
            model = self._with_head(task, config).eval()
            seconds = self._scoring(lambda model=model: model(**batch))  # type: ignore[misc]
            speeds.append(Speed(0.0, 0.0, seconds, batch["input_ids"].numel()))
        return speeds[0], speeds[1]

    def _train(
        self,
        model: Any,
        batch: Mapping[str, Tensor],
        loss: Callable[[], Tensor],
        score: Callable[[], Any],
        precision: Precision,
    ) -> Speed:
        """Make a few updates, of which the first is not timed."""
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)

        def mixed() -> Any:
            return torch.autocast(self.device.type, dtype, enabled=precision != "fp32")

        def backward() -> None:
            with mixed():
                value = loss()
            value.backward()

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        batches, steps = [], []
        for _ in range(1 + TIMED_UPDATES):
            batches.append(self._seconds(backward))
            steps.append(self._seconds(step))
        model.eval()
        with mixed():
            scoring = self._scoring(score)
        return Speed(_mean(batches[1:]), _mean(steps[1:]), scoring, batch["input_ids"].numel())

    def _scoring(self, score: Callable[[], Any]) -> float:
        with torch.inference_mode():
            return _mean([self._seconds(score) for _ in range(1 + TIMED_UPDATES)][1:])

    def _seconds(self, work: Callable[[], Any]) -> float:
        begin = time.perf_counter()
        work()
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter() - begin

    def _batch(self, size: int, length: int) -> dict[str, Tensor]:
        ids = torch.randint(min(5, self.facts.vocabulary - 1), self.facts.vocabulary, (size, length))
        return {"input_ids": ids.to(self.device), "attention_mask": torch.ones_like(ids).to(self.device)}

    def _length(self, task: TaskData, source: str) -> int:
        features = self.facts.features[task.recipe.name, source]
        return max(1, math.ceil(features.length or 0))

    def _with_head(self, task: TaskData, config: Any, **kwargs: Any) -> Any:
        config = copy.deepcopy(config)
        if task.labels:
            config.num_labels = len(task.labels)
        auto = getattr(modeling_auto, HEADS[task.task.head])
        return auto.from_config(config, dtype=torch.float32, **kwargs).to(self.device)


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """Try something as a run does it, and leave the generators of random numbers as they were."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), faster_fp32_products():
        torch.manual_seed(0)
        yield


def _answers(head: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gold answers of the shape that a head's loss asks for."""
    ids = batch["input_ids"]
    if head == "token-classification":
        return {"labels": torch.zeros_like(ids)}
    first = torch.zeros_like(ids[:, 0])
    return {"start_positions": first, "end_positions": first} if head == "question-answering" else {"labels": first}


def _tokens(features: Features) -> float:
    return features.count * (features.length or 0.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def on_the_hub(fields: Sequence[str]) -> str:
    """Say that fields cannot be looked at."""
    return f"{' and '.join(fields)} {'is' if len(fields) == 1 else 'are'} on the Hub"
