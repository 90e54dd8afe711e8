"""Phase 2: the student learns a task from a task-tuned teacher, and what it learns stays sparse.

Ansell et al. 2023, section 3.2: attention, hidden-state and logit terms on source-language task data, under
Lottery-Ticket Sparse Fine-Tuning. Dense training shows which entries matter, the model is rewound to its start, and
those entries alone are trained again. What is left is a `SparseDelta`, with the task head as its dense part.

The same stages with the labels' loss instead, and without a teacher, are Lottery-Ticket Sparse Fine-Tuning proper
(Ansell et al. 2022), and with density 1 ordinary fine-tuning: baselines of the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import InputError
from .fine_tuning import PredictingTrainer, TaskFineTuningTrainer
from .heads import answer_count, distilled_loss, head_of, head_parameters
from .language_teacher import LanguageTeacher
from .sharding import refuse_sharding
from .sparse_fine_tuning import SparseFineTuningArguments, SparseFineTuningTrainer
from .trainer import DistillationTrainer


@dataclass
class SparseTaskDistillationArguments(SparseFineTuningArguments):
    """Training arguments of phase 2; `num_train_epochs` and `max_steps` are those of the sparse stage."""

    temperature: float = field(default=2.0, metadata={"help": "what logits are divided by before they are compared"})
    attention_weight: float = field(default=1.0, metadata={"help": "weight of the attention term"})
    hidden_weight: float = field(default=1.0, metadata={"help": "weight of the hidden-state term"})
    logits_weight: float = field(default=1.0, metadata={"help": "weight of the soft cross-entropy"})
    layer_map: list[int] | None = field(
        default=None, metadata={"help": "teacher layer (from 0) for each student layer; None spreads them evenly"}
    )
    teacher_precision: str | None = field(
        default=None, metadata={"help": "what the teacher's weights are converted to: fp32, bf16, fp16; None: as is"}
    )

    def __post_init__(self) -> None:
        """Check what this class adds.

        Raises:
            InputError: a value is out of range, no term has a weight, or training would be sharded.
        """
        super().__post_init__()
        check_some_term_has_a_weight(self.attention_weight, self.hidden_weight, self.logits_weight)
        if self.temperature <= 0:
            raise InputError(
                "not a temperature", field="temperature", value=self.temperature, remedy="give a number above 0"
            )


class SparseTaskTrainer(PredictingTrainer, SparseFineTuningTrainer):
    """What a task's delta is, whatever it is learnt from: sparse in the encoder, with the head as its dense part.

    Args:
        model: The student with a new task head.
        args: `SparseFineTuningArguments`.
        kwargs: As for transformers' Trainer, and what a subclass learns from.

    Raises:
        InputError: the model has no task head, or training would be sharded.
    """

    def __init__(self, model: PreTrainedModel, args: SparseFineTuningArguments, **kwargs: Any) -> None:
        refuse_sharding(args)
        self.head = head_of(model)
        super().__init__(model, args, **kwargs)

    def whole_names(self) -> set[str]:
        """Name the task head's parameters."""
        return set(head_parameters(self.model))

    def delta_metadata(self) -> dict[str, Any]:
        """Return the head and the density."""
        return {"head": self.head, **super().delta_metadata()}


class SparseTaskFineTuningTrainer(SparseTaskTrainer, TaskFineTuningTrainer):
    """Learns a task's delta from the labels alone, without a teacher: dense stage, selection, rewind, sparse stage.

    `train()` runs them all and leaves the result in `delta`, as `SparseTaskDistillationTrainer` does.

    Args:
        model: The student with a new task head.
        args: `SparseFineTuningArguments`.
        kwargs: As for transformers' Trainer.

    Attributes:
        delta: What was learnt; None before `train()`.

    Raises:
        InputError: the model has no task head, or training would be sharded.
    """


class SparseTaskDistillationTrainer(SparseTaskTrainer, DistillationTrainer):
    """Distils a task into a sparse delta of the student: dense stage, selection, rewind, sparse stage.

    `train()` runs them all and leaves the result in `delta`, with the task head as its dense part; the model then
    carries it. What lies in the output folder meanwhile is told by `SparseFineTuningTrainer`.

    Args:
        model: The phase-1 student with a new task head.
        teacher: A model tuned for the task, with the same head and labels and the student's vocabulary.
        args: `SparseTaskDistillationArguments`.
        kwargs: As for transformers' Trainer; with `compute_metrics`, `load_best_model_at_end` and
            `metric_for_best_model` the sparse stage ends with its best checkpoint.

    Attributes:
        delta: What was learnt; None before `train()`.

    Raises:
        InputError: teacher and student do not fit together, or training would be sharded.
    """

    args: SparseTaskDistillationArguments

    def __init__(
        self,
        model: PreTrainedModel,
        args: SparseTaskDistillationArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        **kwargs: Any,
    ) -> None:
        tuned = teacher.model if isinstance(teacher, LanguageTeacher) else teacher
        _check_same_task(model, tuned, head_of(model))
        weights = {"attention": args.attention_weight, "hidden": args.hidden_weight, "logits": args.logits_weight}
        self.term_weights = {term: weight for term, weight in weights.items() if weight}
        super().__init__(
            model, args, teacher=teacher, layer_map=args.layer_map, teacher_precision=args.teacher_precision, **kwargs
        )

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in phase 1, and the logits' term is a mean over the predictions."""
        counts = super().term_counts(inputs)
        if "logits" in self.term_weights:
            counts["logits"] = answer_count(inputs, self.head)
        return counts

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return those of attention, hidden-state and logit terms that have a weight, and the student's outputs."""
        terms, ours, theirs = self.compare(model, inputs)
        if "logits" in self.term_weights:
            terms["logits"] = distilled_loss(ours, theirs, inputs, self.head, self.args.temperature)
        return terms, ours


def check_some_term_has_a_weight(attention: float, hidden: float, logits: float, *, field: str = "") -> None:
    """Refuse weights with which there is nothing to learn.

    Args:
        attention: Weight of the attention term.
        hidden: Weight of the hidden-state term.
        logits: Weight of the soft cross-entropy.
        field: Where they stand, such as "tasks.ner.distillation.".

    Raises:
        InputError: all of them are 0.
    """
    if not (attention or hidden or logits):
        raise InputError(
            "attention_weight, hidden_weight and logits_weight are all 0, so there is nothing to learn",
            field=f"{field}logits_weight",
            value=logits,
            remedy="give one of them a weight above 0, or learn from the labels",
        )


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
