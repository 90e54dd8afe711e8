"""Ordinary supervised fine-tuning: makes the task teacher out of the multilingual encoder, and the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from ..batches import MODEL_INPUTS
from .exact_averaging import ExactAveragingTrainer
from .heads import answer_count, head_of, supervised_loss

_ENDS = ("start_positions", "end_positions")


class PredictingTrainer(ExactAveragingTrainer):
    """Evaluates by predicting: returns logits and labels for `compute_metrics`, without forming a loss."""

    evaluates_loss = False

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, Any, Any]:
        """Return the logits (start and end for spans) and labels of a batch, which need not have any."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        if "start_logits" in outputs:
            logits: Any = (outputs.start_logits.detach(), outputs.end_logits.detach())
            return None, logits, tuple(inputs[name] for name in _ENDS if name in inputs) or None
        return None, outputs.logits.detach(), inputs.get("labels")


class TaskFineTuningTrainer(PredictingTrainer):
    """Fine-tunes every parameter of a task model on labels.

    Args:
        model: A model with a task head.
        args: transformers' training arguments.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: the model has no task head.
    """

    def __init__(self, model: PreTrainedModel, args: TrainingArguments, **kwargs: Any) -> None:
        self.head = head_of(model)
        super().__init__(model, args, **kwargs)

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss is a mean over labelled tokens, sentences or questions."""
        return {"task": answer_count(inputs, self.head)}

    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the cross-entropy of the labels, and the outputs."""
        outputs = model(**{name: inputs[name] for name in MODEL_INPUTS if name in inputs})
        return {"task": supervised_loss(outputs, inputs, self.head)}, outputs
