"""Sharded training (FSDP, DeepSpeed's ZeRO) is refused: it spreads one parameter over processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainingArguments

_VARIABLES = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
_TRUE = ("1", "true", "t", "yes", "y", "on")
_SHARDED = ("FSDP", "DEEPSPEED")
_TRAINERS = "the trainers need every parameter as a whole in each process, and sharded training has none"
_REMEDY = "train without it, in several processes under DDP: `torchrun --nproc-per-node N`"


def refuse_sharding(args: TrainingArguments) -> None:
    """Refuse training that spreads one parameter over processes.

    Single entries of it could not be held still in phase 2; whatever is learnt, the main process alone writes it.

    Args:
        args: Training arguments; the variables that `accelerate launch` sets are looked at too.

    Raises:
        InputError: FSDP or DeepSpeed is asked for.
    """
    asked = {name: getattr(args, name) for name in ("fsdp", "deepspeed") if getattr(args, name)} | _asked_at_launch()
    _refuse(asked, _TRAINERS)


def refuse_sharded_accelerator(accelerator: Accelerator) -> None:
    """Refuse what was set up for sharded training by a plug-in of accelerate's.

    Raises:
        InputError: it was.
    """
    kind = accelerator.distributed_type.value
    _refuse({"distributed_type": kind} if kind in _SHARDED else {}, _TRAINERS)


def refuse_sharded_launch() -> None:
    """Refuse a run that `accelerate launch` has started for sharded training, whatever the run trains.

    Phase 1 and the tuning of teachers hold no single entries still, but the main process alone writes what they have
    learnt, out of parameters that it must have as a whole.

    Raises:
        InputError: FSDP or DeepSpeed is asked for.
    """
    _refuse(_asked_at_launch(), "a run needs every parameter as a whole in each process, and sharded training has none")


def _asked_at_launch() -> dict[str, Any]:
    """Return those of the variables of `accelerate launch` that ask for sharding."""
    return {name: os.environ[name] for name in _VARIABLES if os.environ.get(name, "").lower() in _TRUE}


def _refuse(asked: dict[str, Any], problem: str) -> None:
    if asked:
        name, value = next(iter(asked.items()))
        raise InputError(problem, field=name, value=value, remedy=_REMEDY)
