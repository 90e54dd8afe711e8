"""Stops a training that has come to values that are not finite: whatever it did after them would be lost.

What is looked at is logged anyway: the loss and its terms, alike on all processes. A gradient's norm is not: with fp16
an update whose gradient is infinite is left out, and the training goes on. The weights are looked at before they are
trained, written or handed on. So no update waits for an answer of the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import InputError

_OTHER_PRECISIONS = {"fp16": "bf16 or fp32", "bf16": "fp32"}
_OF_ALL_UPDATES = "train_loss"
"""What transformers logs at the end: each process has a value of its own."""


class NotFiniteError(InputError):
    """A training has come to values that are not finite.

    Args:
        problem: Which values, and at which update.
        args: The training's arguments, of which the remedy names those that may be the cause.
    """

    def __init__(self, problem: str, args: TrainingArguments) -> None:
        super().__init__(
            f"training cannot go on, for {problem}",
            file=args.output_dir,
            field="learning_rate",
            value=args.learning_rate,
            remedy=_remedy(args),
        )

    def set_in(self, place: str) -> InputError:
        """Say the same with the place of the training's settings in a recipe, such as `bilingual`."""
        field = f"{place}.{self.field}"
        return InputError(self.problem, file=self.file, field=field, value=self.value, remedy=self.remedy)


class StopWhereNotFinite(TrainerCallback):
    """Ends a training with a `NotFiniteError` as soon as a loss that is not finite is logged, or at its end.

    An evaluation before the first update is not judged.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Refuse weights that nothing can be learnt from, and have losses logged as they are.

        Raises:
            InputError: the model holds values that are not finite.
        """
        args.logging_nan_inf_filter = False  # it puts the mean of the others for a loss that is not finite
        if name := not_finite(model):
            raise InputError(
                f"the model to train holds values that are not finite, in {name}",
                field="model",
                remedy="make it again, or start afresh in an empty folder if it is a checkpoint's",
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Look at what is logged.

        Raises:
            NotFiniteError: a loss is not finite.
        """
        if state.global_step:
            check_losses(logs or {}, args, state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Look at the weights that the training leaves.

        Raises:
            NotFiniteError: they are not finite.
        """
        check_weights(model, args, state.global_step)


def check_losses(logs: Mapping[str, float], args: TrainingArguments, update: int) -> None:
    """Refuse losses that are not finite.

    Args:
        logs: Numbers by name; those that are called a loss are looked at.
        args: The training's arguments.
        update: At which update they are.

    Raises:
        NotFiniteError: one is not finite.
    """
    losses = [name for name in logs if name.rpartition("_")[-1] == "loss" and name != _OF_ALL_UPDATES]
    wrong = [name for name in losses if not math.isfinite(logs[name])]
    terms = [name for name in wrong if name != "loss"] or wrong  # their sum says no more than they
    if terms:
        named = " and ".join(filter(None, (", ".join(terms[:-1]), terms[-1])))
        raise NotFiniteError(f"{named} {'is' if len(terms) == 1 else 'are'} not finite at update {update}", args)


def check_weights(model: nn.Module, args: TrainingArguments, update: int) -> None:
    """Refuse weights that are not finite, in one pass over them.

    Args:
        model: What is trained.
        args: The training's arguments.
        update: After which update this is.

    Raises:
        NotFiniteError: a parameter holds values that are not finite.
    """
    if name := not_finite(model):
        raise NotFiniteError(f"{name} holds values that are not finite after update {update}", args)


def not_finite(model: nn.Module) -> str | None:
    """Name a parameter that holds values that are not finite; its extremes tell, and take no memory.

    Args:
        model: Any model.

    Returns:
        The first such parameter's name; None where all values are finite.
    """
    for name, parameter in model.named_parameters():
        if parameter.numel() and not all(math.isfinite(end) for end in torch.aminmax(parameter.detach())):
            return name
    return None


def _remedy(args: TrainingArguments) -> str:
    precision = "fp16" if args.fp16 else "bf16" if args.bf16 else "fp32"
    used = {"precision": precision, "teacher_precision": getattr(args, "teacher_precision", None)}
    others = [
        f"another {name} than {found} ({_OTHER_PRECISIONS[found]})"
        for name, found in used.items()
        if found in _OTHER_PRECISIONS
    ]
    return ", or ".join(["set a lower learning_rate", *others])
