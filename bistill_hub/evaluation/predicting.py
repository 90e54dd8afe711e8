"""Predicts a test set slice by slice, so that memory does not grow with the set and finished slices are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..batches import MODEL_INPUTS, PaddingCollator
from ..fp32_products import faster_fp32_products
from .kept import KeptPredictions

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..tasks.task import Task

PADDED_TOKENS_AT_A_TIME = 8192
SLICE_EXAMPLES = 2048


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    dataset: Dataset,
    labels: tuple[str, ...],
    *,
    max_length: int = 256,
    progress: bool = False,
    description: str | None = None,
    kept: KeptPredictions | None = None,
) -> list[Any]:
    """Predict a task's examples.

    Features and logits of `SLICE_EXAMPLES` examples are in memory at a time. Within a slice features are batched by
    length, longest first, so that little is padded and memory peaks at once. All features of an example are in one
    slice.

    Args:
        model: A model with the task's head, on any device.
        tokenizer: Its tokenizer.
        task: The task.
        dataset: What `task.read` returned.
        labels: The head's label names.
        max_length: Sub-words that a feature may have.
        progress: Show a progress bar over all examples.
        description: What the bar is labelled with.
        kept: Where finished slices are kept, and taken from if they are there already.

    Returns:
        One prediction an example, as the task's `decode` makes them.
    """
    from tqdm.auto import tqdm

    predictions = [] if kept is None else kept.resume(SLICE_EXAMPLES)
    was_training = model.training
    model.eval()
    try:
        with (
            torch.inference_mode(),
            faster_fp32_products(),
            tqdm(
                total=len(dataset), initial=len(predictions), desc=description, disable=not progress, unit="examples"
            ) as bar,
        ):
            while len(predictions) < len(dataset):
                start = len(predictions)
                part = dataset.select(range(start, min(start + SLICE_EXAMPLES, len(dataset))))

                def advance(share: float, start: int = start, size: int = len(part)) -> None:
                    bar.update(start + int(share * size) - bar.n)

                found = _predict_slice(model, tokenizer, task, part, labels, max_length, advance)
                if kept is not None:
                    kept.append(found)
                predictions += found
                advance(1)
    finally:
        model.train(was_training)
    return predictions


def _predict_slice(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    dataset: Dataset,
    labels: tuple[str, ...],
    max_length: int,
    advance: Callable[[float], None],
) -> list[Any]:
    """Predict examples all of whose features fit into memory; `advance` hears the share of tokens that is done."""
    features = task.encode(dataset, tokenizer, labels, max_length)
    inputs = features.select_columns([name for name in MODEL_INPUTS if name in features.column_names])
    lengths = np.array([len(ids) for ids in inputs["input_ids"]], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    collate = PaddingCollator(model.config.pad_token_id or 0)
    logits: list[Any] = [None] * len(inputs)
    start, done = 0, 0
    while start < len(order):
        count = max(1, PADDED_TOKENS_AT_A_TIME // max(int(lengths[order[start]]), 1))
        rows = order[start : start + count]
        batch = collate([inputs[int(row)] for row in rows])
        outputs = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
        if "start_logits" in outputs:
            found = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
        else:
            found = outputs.logits
        for row, array in zip(rows, found.float().cpu().numpy(), strict=True):
            # A copy, so that the padding is not held in memory.
            logits[row] = array[: lengths[row]].copy() if array.ndim == 2 else array
        start += len(rows)
        done += int(lengths[rows].sum())
        advance(done / max(int(lengths.sum()), 1))
    return task.decode(features, logits, dataset, labels)
