"""Settings that every training of a run shares, and what is read off its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from ..recipe import Precision, Recipe


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


def best_of(
    curve: Sequence[Mapping[str, float]], name: str, choose: Callable[[Iterable[float]], float]
) -> float | None:
    """The least or greatest value that a log has under a name; None where it has none."""
    found = [entry[name] for entry in curve if name in entry]
    return float(choose(found)) if found else None
