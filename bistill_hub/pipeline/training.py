"""Settings that every training of a run shares, and what is read off its log."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..distillation.finite import NotFiniteError
from ..recipe import Precision, Recipe

LAST_UPDATES = 50
"""Updates at least that the last loss of a training is a mean over.

Batches of labelled data come in stretches of up to 50, within each of which the examples get shorter: the loss goes up
and down with them, and a single value tells the place in its stretch.
"""

_LAST_SHARE = 0.1
"""The share of a training that the mean is over, where that is more."""


def common_arguments(recipe: Recipe, precision: Precision, steps: int, progress: bool) -> dict[str, Any]:
    """Training arguments that every stage shares."""
    return {
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "logging_steps": max(1, steps // 200),
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": not progress,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        # Without an accelerator transformers takes the CPU anyway, but neither computes in bf16 nor joins several
        # processes unless it is told so.
        "use_cpu": not torch.accelerator.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


@contextmanager
def settings_at(place: str) -> Iterator[None]:
    """Say of a training that has come to values that are not finite where the recipe has its settings.

    Args:
        place: The field that they are under, such as `tasks.ner.teacher`.

    Raises:
        InputError: the training has come to such values.
    """
    try:
        yield
    except NotFiniteError as error:
        raise error.set_in(place) from error


def best_of(
    curve: Sequence[Mapping[str, float]], name: str, choose: Callable[[Iterable[float]], float]
) -> float | None:
    """The least or greatest value that a log has under a name; None where it has none."""
    found = [entry[name] for entry in curve if name in entry]
    return float(choose(found)) if found else None


def last_loss(curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Average the loss over the end of a training: the last 50 updates, or its last tenth where that is more.

    Args:
        curve: A training's log: each `loss` is the mean over the updates since the one before.

    Returns:
        `loss`, None where none was logged, and `loss_updates`, over how many updates it is the mean: so many that whole
        entries of the log make them up.
    """
    logged = [(int(entry["step"]), entry["loss"]) for entry in curve if "loss" in entry]
    if not logged:
        return {"loss": None, "loss_updates": 0}
    steps = [0, *(step for step, _ in logged)]
    wanted = max(LAST_UPDATES, math.ceil(_LAST_SHARE * steps[-1]))
    first = bisect_right(steps, max(0, steps[-1] - wanted)) - 1  # the entry that holds the first update wanted
    total = sum((step - before) * loss for before, (step, loss) in zip(steps[first:-1], logged[first:], strict=True))
    updates = steps[-1] - steps[first]
    return {"loss": total / updates, "loss_updates": updates}
