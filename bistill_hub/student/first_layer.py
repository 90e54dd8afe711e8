"""A later layer becomes the first of an architecture whose first layer has no norm before its attention.

Such an architecture (ModernBERT) normalises the word embeddings and sends them into the first layer as they are, while
every other layer normalises what it reads. A layer that moves to the front loses its norm, and with it a scale for each
feature. Its linear module reads x, the normalised embeddings, where it read g * (x - mean(x)) / std(x) + b. All of this
is linear in x but for 1 / std(x), which differs from token to token; put the constant that fits best over the student's
vocabulary in its place, and the linear module can absorb the rest exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .backbones import Backbone
from .vocabulary import checked_token_map

_ROWS_AT_ONCE = 32_768


@torch.no_grad()
def absorb_norm(model: Any, backbone: Backbone, layer: int, token_map: Tensor | None = None) -> dict[str, Tensor]:
    """Fold the norm that a layer loses by becoming the first into the linear module that read its output.

    Args:
        model: A transformers model, with or without a head; left as it is.
        backbone: Its architecture.
        layer: The layer that becomes the first, 0-based.
        token_map: int64 [V_student], the ids whose embeddings the layer is going to read; all of them if None.

    Returns:
        New values for parameters of the layer, under the model's own names; none where nothing is lost.

    Raises:
        InputError: the norm has a bias and the linear module none to absorb it.
    """
    first = backbone.first_layer
    if layer == 0 or first is None:
        return {}
    base = model.base_model
    place = f"{backbone.layer_prefix}{layer}."
    norm, linear = base.get_submodule(place + first.lacks), base.get_submodule(place + first.absorbed_by)
    if norm.bias is not None and linear.bias is None:
        raise InputError(
            f"teacher layer {layer} cannot be the student's first: its {first.lacks} has a bias, which no parameter of "
            "a first layer can hold",
            field="layer_map",
            value=layer,
            remedy="keep the teacher's layer 0 as the first one",
        )
    weight = linear.weight.float()
    scaled = weight * norm.weight.float()
    scale = _inverse_spread(base.get_input_embeddings().weight, base.get_submodule(first.reads), norm.eps, token_map)
    prefix = "" if base is model else f"{backbone.base_model_prefix}."
    name = f"{prefix}{place}{first.absorbed_by}"
    # (I - 1/n) takes the mean off what is read; it is applied to the weights, row by row.
    found = {f"{name}.weight": (scale * (scaled - scaled.mean(dim=1, keepdim=True))).to(linear.weight.dtype)}
    if norm.bias is not None:
        found[f"{name}.bias"] = (linear.bias.float() + weight @ norm.bias.float()).to(linear.bias.dtype)
    return found


def _inverse_spread(words: Tensor, norm: Any, eps: float, token_map: Tensor | None) -> Tensor:
    """Return the constant s that makes s * (x - mean(x)) nearest to (x - mean(x)) / std(x), by least squares.

    Args:
        words: Word embeddings, [V, hidden size].
        norm: The LayerNorm between them and x.
        eps: What the lost norm adds to the variance.
        token_map: The rows that count; all of them if None.
    """
    from torch.nn.functional import layer_norm

    rows = torch.arange(len(words)) if token_map is None else checked_token_map(token_map, len(words))
    variances = []
    for some in rows.to(words.device).split(_ROWS_AT_ONCE):
        bias = None if norm.bias is None else norm.bias.float()
        read = layer_norm(words[some].float(), norm.normalized_shape, norm.weight.float(), bias, norm.eps)
        variances.append(read.var(dim=1, unbiased=False).double())
    variance = torch.cat(variances)
    # The sum over tokens of variance * (s - 1 / std)^2 is least where its derivative is 0.
    return (variance / (variance + eps).sqrt()).sum().div(variance.sum()).float()
