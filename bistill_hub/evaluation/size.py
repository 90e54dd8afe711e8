"""Size of a model's encoder: parameters, bytes, and operations for each token."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from ..student.backbones import backbone_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Size:
    """Size of a model's encoder, pooler included where it has one, head not.

    Attributes:
        layers: Transformer layers.
        vocabulary: Rows of the word embeddings.
        parameters: All parameters of the encoder; a tensor that stands in two places counts once.
        embedding_parameters: Those of the word embeddings.
        bytes: Of the checkpoint's safetensors, whatever heads they hold, or of the encoder's parameters in memory.
        on_disk: Whether `bytes` are those of the checkpoint.
        flops_per_token: Floating-point operations of a forward pass for each token of a text of `flops_length` tokens.
        flops_length: Tokens of that text.
    """

    layers: int
    vocabulary: int
    parameters: int
    embedding_parameters: int
    bytes: int
    on_disk: bool
    flops_per_token: float
    flops_length: int

    @property
    def other_parameters(self) -> int:
        """Parameters outside the word embeddings."""
        return self.parameters - self.embedding_parameters

    @property
    def megabytes(self) -> float:
        """`bytes` in 10^6 bytes."""
        return self.bytes / 1e6


def measure_size(model: PreTrainedModel, *, folder: str | os.PathLike[str] | None = None, length: int = 128) -> Size:
    """Measure the encoder of a model.

    The floating-point operations are those that torch counts in a forward pass of one text: two for each
    multiplication with addition in matrix products. Looking up embeddings counts as 0, and so do normalisation,
    activation functions, softmax and biases. The pass uses attention written out as matrix products, since the counter
    does not see torch's fused attention on a CPU.

    Args:
        model: A model with or without head; left as it is.
        folder: Its checkpoint. `model.safetensors` in it is weighed, or else its shards; deltas of tasks are not.
        length: Tokens of the text.

    Raises:
        InputError: the architecture is not supported, the model cannot read so many tokens, or the folder holds no
            weights.
    """
    encoder = model.base_model
    check_lengths([encoder], [length], "length")
    parameters = list(encoder.parameters())
    embeddings = encoder.get_input_embeddings().weight
    return Size(
        layers=encoder.config.num_hidden_layers,
        vocabulary=len(embeddings),
        parameters=sum(parameter.numel() for parameter in parameters),
        embedding_parameters=embeddings.numel(),
        bytes=sum(parameter.nbytes for parameter in parameters) if folder is None else _stored_bytes(Path(folder)),
        on_disk=folder is not None,
        flops_per_token=_flops(encoder, length) / length,
        flops_length=length,
    )


def random_inputs(encoder: PreTrainedModel, batch: int, length: int, seed: int) -> dict[str, Tensor]:
    """Draw texts of token ids from an encoder's vocabulary, the padding token left out.

    Args:
        encoder: The base model.
        batch: Texts.
        length: Tokens of each.
        seed: Determines the ids.

    Returns:
        `input_ids` and `attention_mask`, [batch, length] each, on the CPU.
    """
    tokens = len(encoder.get_input_embeddings().weight)
    padding = encoder.config.pad_token_id
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(tokens - (padding is not None), (batch, length), generator=generator)
    if padding is not None:
        ids += ids >= padding
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@contextmanager
def evaluating(encoder: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode for a while; then each module gets its mode back, and the encoder its device."""
    device = encoder.device
    modes = {module: module.training for module in encoder.modules()}
    try:
        encoder.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        encoder.to(device)


def check_lengths(encoders: Sequence[PreTrainedModel], lengths: Sequence[int], field: str) -> None:
    """Make sure that encoders can read texts of these lengths.

    Args:
        encoders: Base models.
        lengths: Tokens of a text.
        field: What an error calls the lengths.

    Raises:
        InputError: the architecture is not supported, or a text is empty or too long.
    """
    for encoder, length in product(encoders, lengths):
        longest = backbone_for(encoder.config).longest_input(encoder.config)
        if not 1 <= length <= longest:
            raise InputError(
                f"the model reads texts of 1 to {longest} tokens",
                file=encoder.name_or_path or None,
                field=field,
                value=length,
                remedy=f"choose a number from 1 to {longest}",
            )


def _stored_bytes(folder: Path) -> int:
    from transformers.utils import SAFE_WEIGHTS_NAME

    whole = folder / SAFE_WEIGHTS_NAME
    files = [whole] if whole.is_file() else list(folder.glob(f"{whole.stem}-*{whole.suffix}"))
    if not files:
        raise InputError(
            "there are no safetensors weights", file=folder, remedy=f"name a folder that holds {SAFE_WEIGHTS_NAME}"
        )
    return sum(file.stat().st_size for file in files)


def _flops(encoder: PreTrainedModel, length: int) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    inputs = {name: tensor.to(encoder.device) for name, tensor in random_inputs(encoder, 1, length, seed=0).items()}
    attention = encoder.config._attn_implementation
    try:
        encoder.set_attn_implementation("eager")
        with evaluating(encoder), torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoder(**inputs)
    finally:
        encoder.set_attn_implementation(attention)
    return counter.get_total_flops()
