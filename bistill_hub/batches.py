"""Batches: rows of token ids become padded tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What encoders read of a batch; everything else in it is for the loss."""

_PADDING = {"attention_mask": 0, "token_type_ids": 0, "labels": -100}
_SCALARS = ("labels", "start_positions", "end_positions", "language")


class PaddingCollator:
    """Makes a batch of features: sequences are padded on the right to the longest, unknown columns are left out.

    Args:
        pad_token_id: What `input_ids` are padded with.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.padding = {"input_ids": pad_token_id, **_PADDING}

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return tensors [batch, positions] for sequences and [batch] for scalars, all int64.

        Args:
            features: Rows of a data set: `input_ids`, and what else there is of `attention_mask`, `token_type_ids`,
                `labels` (a sequence or a class), `start_positions`, `end_positions`, `language`.
        """
        batch: dict[str, Tensor] = {}
        for name in {**self.padding, **dict.fromkeys(_SCALARS)}:
            if name not in features[0]:
                continue
            rows = [torch.as_tensor(feature[name], dtype=torch.int64) for feature in features]
            batch[name] = (
                torch.stack(rows)
                if rows[0].dim() == 0
                else pad_sequence(rows, batch_first=True, padding_value=self.padding[name])
            )
        if "attention_mask" not in batch:
            lengths = torch.tensor([len(feature["input_ids"]) for feature in features])
            batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
        return batch
