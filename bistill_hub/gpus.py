"""GPUs that one process sees: transformers would split every batch among them, which is not exact."""

from __future__ import annotations

import torch

from .errors import InputError

SHOW_ONE = "show it a single one: CUDA_VISIBLE_DEVICES=0"
ONE_PROCESS_EACH = f"start one process per GPU with `torchrun` or `accelerate launch`, or {SHOW_ONE}"


def refuse_several_gpus(problem: str, remedy: str) -> None:
    """Refuse to begin a training in one process that sees several GPUs, before there is work that it would wait for.

    Args:
        problem: What is wanted with one GPU.
        remedy: What to do instead.

    Raises:
        InputError: there are several.
    """
    if (gpus := torch.cuda.device_count()) > 1:
        raise InputError(problem, field="CUDA_VISIBLE_DEVICES", value=f"{gpus} GPUs", remedy=remedy)
