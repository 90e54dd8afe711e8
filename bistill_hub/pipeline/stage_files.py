"""Names of the files that stages leave for later ones, and how a student is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from ..model.modeling_bistill import BASE_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


STUDENT_FILE = "student.json"
TOKEN_MAP_FILE = "token_map.safetensors"
DELTA_FILE = "delta.safetensors"


def prefixed(encoder: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A headless encoder's parameters under the names that the head classes give them."""
    return {f"{encoder.base_model_prefix}.{name}": tensor for name, tensor in encoder.state_dict().items()}


def write_student(
    folder: Path, state: Mapping[str, torch.Tensor], config: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write a native checkpoint: weights, configuration, tokenizer."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        folder / BASE_FILE,
        metadata={"format": "pt"},
    )
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def size_of(model: PreTrainedModel) -> dict[str, int]:
    """Parameters, layers and vocabulary of an encoder."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": model.config.num_hidden_layers,
        "vocabulary": model.config.vocab_size,
    }
