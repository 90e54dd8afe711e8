"""What a task head's logits are and where they count: the same for the supervised loss and for the distilled one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from ..errors import InputError
from .losses import soft_cross_entropy

_CLASS_ENDINGS = {
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "sequence-classification",
    "ForQuestionAnswering": "question-answering",
}


def head_of(model: PreTrainedModel) -> str:
    """Name the head of a task model, as `bistill_hub.model` names heads.

    Raises:
        InputError: the model has no task head.
    """
    name = type(model).__name__
    for ending, head in _CLASS_ENDINGS.items():
        if name.endswith(ending):
            return head
    raise InputError(
        "the model has no task head",
        field="model",
        value=name,
        remedy=f"load it through a class whose name ends with one of {', '.join(_CLASS_ENDINGS)}",
    )


def head_parameters(model: PreTrainedModel) -> list[str]:
    """Names of the parameters outside the encoder: the task head."""
    encoder = f"{model.base_model_prefix}."
    return [name for name, _ in model.named_parameters() if not name.startswith(encoder)]


def answer_count(inputs: Mapping[str, Tensor], head: str) -> Tensor:
    """How many predictions of a batch the loss is a mean over: labelled tokens, sentences, or questions."""
    return _answered(inputs, head).sum().double()


def _answered(inputs: Mapping[str, Tensor], head: str) -> Tensor:
    """Where a prediction counts, [batch(, positions)]: not where the label, or a question's start, is -100."""
    answers: Tensor = inputs["start_positions" if head == "question-answering" else "labels"]
    return answers != -100


def supervised_loss(outputs: Any, inputs: Mapping[str, Tensor], head: str) -> Tensor:
    """Cross-entropy of the labels, as a mean over the batch's predictions; for spans, of start and end averaged.

    Args:
        outputs: A task model's outputs.
        inputs: The batch, with `labels` [batch(, positions)] or `start_positions` and `end_positions` [batch].
        head: The model's head.
    """
    if head == "question-answering":
        ends = [
            cross_entropy(_without_padding(logits, inputs["attention_mask"]).float(), inputs[positions])
            for logits, positions in (
                (outputs.start_logits, "start_positions"),
                (outputs.end_logits, "end_positions"),
            )
        ]
        # As below, where a micro-batch asks nothing.
        return torch.where(_answered(inputs, head).any(), torch.stack(ends).mean(), 0)
    logits, labels = outputs.logits.float().flatten(0, -2), inputs["labels"].flatten()
    # A micro-batch without a labelled token has the mean 0, not 0/0.
    total = cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)


def distilled_loss(ours: Any, theirs: Any, inputs: Mapping[str, Tensor], head: str, temperature: float) -> Tensor:
    """Soft cross-entropy between student and teacher, as a mean over the batch's predictions; spans: start plus end.

    Args:
        ours: The student's outputs.
        theirs: The teacher's outputs on the same batch.
        inputs: The batch; what has the label -100 does not count, nor does a question that starts at -100.
        head: The models' head.
        temperature: What the logits are divided by.
    """
    answered = _answered(inputs, head)
    if head == "question-answering":
        mask = inputs["attention_mask"]
        pairs = ((ours.start_logits, theirs.start_logits), (ours.end_logits, theirs.end_logits))
        ends = [[_without_padding(logits, mask, temperature) for logits in pair] for pair in pairs]
        return torch.stack([soft_cross_entropy(one, other, 1.0, answered) for one, other in ends]).sum()
    return soft_cross_entropy(ours.logits, theirs.logits, temperature, answered)


def _without_padding(logits: Tensor, attention_mask: Tensor, temperature: float = 1.0) -> Tensor:
    """Give padded positions no probability: a span cannot start or end there.

    The logits are divided by the temperature before: one below 1 would make what padding is filled with infinite.
    """
    return (logits.float() / temperature).masked_fill(attention_mask == 0, torch.finfo(torch.float32).min)
