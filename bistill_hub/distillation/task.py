"""Phase 2: the student learns a task from a task-tuned teacher, and what it learns stays sparse.

Ansell et al. 2023, section 3.2: attention, hidden-state and logit terms on source-language task data, under
Lottery-Ticket Sparse Fine-Tuning. Dense training shows which entries matter, the model is rewound to its start, and
those entries alone are trained again. What is left is a `SparseDelta`, with the task head as its dense part.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_utils import TrainOutput

from ..errors import InputError
from ..model.sparse_delta import SparseDelta, state_sha256
from ..student.backbones import backbone_for
from .fine_tuning import PredictingTrainer
from .heads import answer_count, distilled_loss, head_of, head_parameters
from .language_teacher import LanguageTeacher
from .lottery_ticket import Ticket, TicketAdamW, TicketInForce, choose_ticket
from .trainer import DistillationTrainer

TICKET_FILE = "ticket.safetensors"


@dataclass
class SparseTaskDistillationArguments(TrainingArguments):
    """Training arguments of phase 2; `num_train_epochs` and `max_steps` are those of the sparse stage."""

    learning_rate: float = field(default=5e-5, metadata={"help": "peak rate of both stages; decays linearly to 0"})
    num_train_epochs: float = field(default=10.0, metadata={"help": "epochs of the sparse stage"})
    dense_epochs: float = field(default=3.0, metadata={"help": "epochs of the dense stage, before the selection"})
    dense_max_steps: int = field(default=-1, metadata={"help": "updates of the dense stage; overrides its epochs"})
    density: float = field(default=0.08, metadata={"help": "share of the encoder's trainable entries to select"})
    freeze_layer_norms: bool = field(default=True, metadata={"help": "train no LayerNorm of the encoder"})
    temperature: float = field(default=2.0, metadata={"help": "what logits are divided by before they are compared"})
    attention_weight: float = field(default=1.0, metadata={"help": "weight of the attention term"})
    hidden_weight: float = field(default=1.0, metadata={"help": "weight of the hidden-state term"})
    logits_weight: float = field(default=1.0, metadata={"help": "weight of the soft cross-entropy"})
    layer_map: list[int] | None = field(
        default=None, metadata={"help": "teacher layer (from 0) for each student layer; None spreads them evenly"}
    )

    def __post_init__(self) -> None:
        """Check what this class adds.

        Raises:
            InputError: density or temperature is out of range.
        """
        super().__post_init__()
        if not 0 < self.density <= 1:
            raise InputError(
                "not a share", field="density", value=self.density, remedy="give a number above 0, at most 1"
            )
        if self.temperature <= 0:
            raise InputError(
                "not a temperature", field="temperature", value=self.temperature, remedy="give a number above 0"
            )


class SparseTaskDistillationTrainer(PredictingTrainer, DistillationTrainer):
    """Distils a task into a sparse delta of the student: dense stage, selection, rewind, sparse stage.

    `train()` runs all four and leaves the result in `delta`; the model then carries it. Checkpoints of the stages lie
    in `dense/` and `sparse/` of the output folder, the selection in `ticket.safetensors` beside them.

    Args:
        model: The phase-1 student with a new task head.
        teacher: A model tuned for the task, with the same head and labels and the student's vocabulary.
        args: `SparseTaskDistillationArguments`.
        kwargs: As for transformers' Trainer; with `compute_metrics`, `load_best_model_at_end` and
            `metric_for_best_model` the sparse stage ends with its best checkpoint.

    Attributes:
        delta: What was learnt; None before `train()`.

    Raises:
        InputError: teacher and student do not fit together.
    """

    args: SparseTaskDistillationArguments
    optimizer: torch.optim.Optimizer | None

    def __init__(
        self,
        model: PreTrainedModel,
        args: SparseTaskDistillationArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        **kwargs: Any,
    ) -> None:
        self.head = head_of(model)
        tuned = teacher.model if isinstance(teacher, LanguageTeacher) else teacher
        _check_same_task(model, tuned, self.head)
        self.term_weights = {
            "attention": args.attention_weight,
            "hidden": args.hidden_weight,
            "logits": args.logits_weight,
        }
        super().__init__(model, args, teacher=teacher, layer_map=args.layer_map, **kwargs)
        self.delta: SparseDelta | None = None
        self._ticket: Ticket | None = None
        head = set(head_parameters(model))
        encoder = {name: p for name, p in model.named_parameters() if name not in head}
        if args.freeze_layer_norms:
            backbone = backbone_for(model.config)
            for name, parameter in encoder.items():
                if backbone.is_layer_norm(name):
                    parameter.requires_grad_(False)
        self._eligible = {name: parameter for name, parameter in encoder.items() if parameter.requires_grad}
        self._head_names = sorted(head)

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in phase 1, and the logits' term is a mean over the predictions."""
        return {**super().term_counts(inputs), "logits": answer_count(inputs, self.head)}

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the attention, hidden-state and logit terms of a batch, and the student's outputs."""
        ours, theirs = self.both_outputs(model, inputs)
        terms = self.distillation_terms(ours, theirs, inputs["attention_mask"])
        terms["logits"] = distilled_loss(ours, theirs, inputs, self.head, self.args.temperature)
        return terms, ours

    def train(self, resume_from_checkpoint: bool | str | None = None, **kwargs: Any) -> TrainOutput:
        """Run the stages.

        Args:
            resume_from_checkpoint: True goes on after the selection if it was made, and from the last checkpoint of the
                stage that was interrupted. The model must be the one that the interrupted run started from.
            kwargs: Passed on to transformers' `train`.

        Returns:
            The sparse stage's result.

        Raises:
            InputError: the run to resume started from another model.
        """
        start = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        folder = Path(self.args.output_dir)
        ticket_file = folder / TICKET_FILE
        if resume_from_checkpoint and ticket_file.exists():
            ticket = _read_ticket(ticket_file, start)
        else:
            self._run_stage("dense", resume_from_checkpoint, **kwargs)
            tuned = dict(self.model.named_parameters())
            eligible = {name: start[name] for name in self._eligible}
            entries = round(self.args.density * sum(p.numel() for p in eligible.values()))
            ticket = choose_ticket(eligible, tuned, entries)
            if self.is_world_process_zero():
                _write_ticket(ticket_file, ticket, start)
            self._put(start)
        self._ticket = ticket
        force = TicketInForce(self._eligible, ticket)
        try:
            result = self._run_stage("sparse", resume_from_checkpoint, **kwargs)
        finally:
            force.lift()
            self._ticket = None
        mask = {}
        for name, parameter in self._eligible.items():
            flat = torch.zeros(parameter.numel(), dtype=torch.bool)
            if name in ticket:
                flat[ticket[name]] = True
            mask[name] = flat.view(parameter.shape)
        self.delta = SparseDelta.from_models(
            start, self.model, mask, dense=self._head_names, metadata={"head": self.head, "density": self.args.density}
        )
        # What is published is start + delta: leave the model exactly there, not a rounding away from it.
        self._put(start)
        self.delta.apply(self.model)
        return result

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """In the sparse stage AdamW over the ticket and the head, otherwise the Trainer's own."""
        if self._ticket is None:
            return super().create_optimizer(model)
        if self.optimizer is None:
            trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
            decayed = set(self.get_decay_parameter_names(self.model))
            self.optimizer = TicketAdamW(
                [
                    {
                        "params": [p for name, p in trained.items() if (name in decayed) is decay],
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                    }
                    for decay in (True, False)
                ],
                {self._eligible[name]: positions for name, positions in self._ticket.items()},
                lr=self.args.learning_rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
            )
        return self.optimizer

    def _run_stage(self, stage: str, resume: bool | str | None, **kwargs: Any) -> TrainOutput:
        """Train once, with checkpoints in the stage's own folder; the dense stage is not evaluated on the way."""
        whole = {
            name: getattr(self.args, name)
            for name in ("output_dir", "num_train_epochs", "max_steps", "eval_strategy", "load_best_model_at_end")
        }
        self.args.output_dir = os.path.join(whole["output_dir"], stage)
        if stage == "dense":
            self.args.num_train_epochs = self.args.dense_epochs
            self.args.max_steps = self.args.dense_max_steps
            self.args.eval_strategy = type(whole["eval_strategy"])("no")
            self.args.load_best_model_at_end = False
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model
        try:
            return super().train(resume_from_checkpoint=bool(resume), **kwargs)
        finally:
            for name, value in whole.items():
                setattr(self.args, name, value)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        """Copy parameters into the model."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(values[name])


def _check_same_task(student: PreTrainedModel, teacher: PreTrainedModel, head: str) -> None:
    if head_of(teacher) != head:
        raise InputError(
            f"the student's is {head!r}",
            field="head of the teacher",
            value=head_of(teacher),
            remedy="give both one head",
        )
    if head != "question-answering" and student.config.id2label != teacher.config.id2label:
        raise InputError(
            f"the teacher's labels are {_names(teacher)}",
            field="labels of the student",
            value=_names(student),
            remedy="give both the same labels in the same order (`id2label`)",
        )


def _names(model: PreTrainedModel) -> Sequence[str]:
    return [model.config.id2label[index] for index in sorted(model.config.id2label)]


def _write_ticket(file: Path, ticket: Ticket, start: Mapping[str, Tensor]) -> None:
    unfinished = file.with_suffix(".unfinished")
    save_file(dict(ticket), unfinished, metadata={"start_sha256": state_sha256(start)})
    unfinished.replace(file)


def _read_ticket(file: Path, start: Mapping[str, Tensor]) -> Ticket:
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        recorded = tensors.metadata()["start_sha256"]
    if recorded != state_sha256(start):
        raise InputError(
            "the interrupted run started from other weights",
            file=file,
            remedy="give the trainer the same student and seed, or start afresh in an empty folder",
        )
    return load_file(file)
