"""Attention as distillation reads it: fused where nobody looks, compared on the spot where the loss looks.

`output_attentions=True` makes a model form the probabilities of every layer by itself and hand them all over. The loss
reads those of a few. Under the attention implementation of this module, layers that are not read use torch's fused
attention; a read layer of the teacher keeps its probabilities; and each layer of the student forms its squared error
against them while they are at hand, with the gradient of that error written down in one tensor instead of a chain of
them. The numbers are those of `losses.attention_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..student.backbones import backbone_for

IMPLEMENTATION = "bistill_reading"
"""The name under which transformers knows this module's attention."""

Reader = Callable[[nn.Module, Tensor, Tensor, Tensor, "Tensor | None", float, float], "Tensor | None"]
"""Called with an attention module, query, key, value [batch, heads, positions, head size], a mask that can be broadcast
to [batch, heads, queries, keys] (true or 0 where a query may look), the scores' factor and the dropout probability.
Returns the output [batch, heads, positions, head size], or None for a layer that it does not read."""

_READER: ContextVar[Reader | None] = ContextVar("reader", default=None)


@contextmanager
def reading(reader: Reader) -> Iterator[None]:
    """Have models of this attention implementation show their attention to a reader."""
    token = _READER.set(reader)
    try:
        yield
    finally:
        _READER.reset(token)


def layers_by_module(model: PreTrainedModel) -> dict[nn.Module, int]:
    """Tell for each module inside a layer of a model, with or without a head, the layer's 0-based number."""
    encoder = model.base_model
    backbone = backbone_for(encoder.config)
    found: dict[nn.Module, int] = {}
    for name, module in encoder.named_modules():
        if name.startswith(backbone.layer_prefix):
            layer = backbone.layer_of(name)
            if layer is not None:
                found[module] = layer
    return found


class KeptAttentions:
    """Keeps a model's attention probabilities of some layers.

    Args:
        layers: Number of the layer for each module of the layers that are read.

    Attributes:
        found: Probabilities [batch, heads, queries, keys] by layer.
    """

    def __init__(self, layers: Mapping[nn.Module, int]) -> None:
        self.layers = layers
        self.found: dict[int, Tensor] = {}

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        dropout: float,
    ) -> Tensor | None:
        """Attend as a model in evaluation does."""
        layer = self.layers.get(module)
        if layer is None:
            return None
        probabilities = _probabilities(query, key, mask, scaling)
        self.found[layer] = probabilities
        return torch.matmul(probabilities, value)


class AttentionErrors:
    """Sums the squared errors of a student's attention probabilities, layer by layer.

    Args:
        layers: Number of the layer for each module inside the student's layers.
        targets: The teacher's probabilities [batch, heads, queries, keys] for each layer; each is let go of once it is
            compared.
        pairs: [batch, 1, queries, keys], true where an error counts; None: everywhere.

    Attributes:
        sums: The sum over batch, heads, queries and keys by layer, a scalar in float32 (float64 for float64 inputs).
    """

    def __init__(self, layers: Mapping[nn.Module, int], targets: dict[int, Tensor], pairs: Tensor | None) -> None:
        self.layers = layers
        self.targets = targets
        self.pairs = pairs
        self.sums: dict[int, Tensor] = {}

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        dropout: float,
    ) -> Tensor | None:
        """Attend, and note the error; dropout comes after the comparison."""
        layer = self.layers.get(module)
        if layer is None:
            return None
        target = self.targets.pop(layer).to(query.device)
        if dropout:
            probabilities = _probabilities(query, key, mask, scaling)
            self.sums[layer] = sum_of_squared_errors(probabilities, target, self.pairs)
            dropped = nn.functional.dropout(probabilities, dropout)
            return torch.matmul(dropped.to(value.dtype), value)
        output, self.sums[layer] = _ComparedAttention.apply(query, key, value, mask, scaling, target, self.pairs)
        return output


def sum_of_squared_errors(student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum the squared differences of two tensors; only the student's side has a gradient.

    For the gradient one tensor of the student's type is kept, where a chain of differences, casts and squares would
    keep several in float32.

    Args:
        student: Any shape.
        teacher: The same shape.
        weights: True where a difference counts, of a shape that can be broadcast; None: everywhere.

    Returns:
        A scalar in float32 (float64 for float64 inputs).

    Raises:
        ValueError: the shapes differ.
    """
    _same_shape(student, teacher)
    total: Tensor = _SumOfSquares.apply(student, teacher, weights)
    return total


class _SumOfSquares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, weights: Tensor | None) -> Tensor:
        error = _error(student, teacher, weights)  # in the more precise type of the two
        ctx.save_for_backward(error.to(student.dtype))
        return _squared_norm(error)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (error,) = ctx.saved_tensors
        return _times(error, 2 * gradients[0]), None, None


class _ComparedAttention(torch.autograd.Function):
    """Attention and the squared error of its probabilities, with the gradients of both written out.

    With P = softmax(S), S = scaling Q K^T, O = P V and E the sum of (P - T)^2: dP = dO V^T + 2 dE (P - T),
    dS = P (dP - the rows' sums of dP P), and dQ, dK, dV follow. Kept are Q, K, V and T. P is
    formed again, which costs a product and a softmax: little beside the memory that it takes in every layer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        target: Tensor,
        pairs: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        probabilities = _probabilities(query, key, mask, scaling)
        target = target.to(probabilities.dtype)
        ctx.save_for_backward(query, key, value, mask, target, pairs)
        ctx.scaling = scaling
        return torch.matmul(probabilities, value), _squared_norm(_error(probabilities, target, pairs))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None, None]:
        of_output, of_sum = gradients
        query, key, value, mask, target, pairs = ctx.saved_tensors
        probabilities = _probabilities(query, key, mask, ctx.scaling)
        of_value = torch.matmul(probabilities.transpose(2, 3), of_output)
        # In float16 a loss that is scaled up for its small gradients would leave the range here.
        work = torch.float32 if query.dtype == torch.float16 else query.dtype
        inner = torch.matmul(of_output, value.transpose(2, 3)).to(work)
        inner += _times(_error(probabilities, target, pairs).to(work), 2 * of_sum)
        weighted = probabilities.to(work)
        of_scores = torch.ops.aten._softmax_backward_data(inner, weighted, -1, work).mul_(ctx.scaling).to(query.dtype)
        of_query = torch.matmul(of_scores, key)
        of_key = torch.matmul(of_scores.transpose(2, 3), query)
        return of_query, of_key, of_value, None, None, None, None


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls: to a reader that wants this layer, else torch's fused attention."""
    factor = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    reader = _READER.get()
    output = None
    if reader is not None:
        read = _in_one_type(query, key, value)
        with torch.autocast(query.device.type, enabled=False):
            output = reader(module, *read, attention_mask, factor, dropout)
    if output is not None:
        return output.transpose(1, 2).contiguous(), None
    if kwargs.get("output_attentions"):
        probabilities = _probabilities(query, key, attention_mask, factor)
        output = torch.matmul(nn.functional.dropout(probabilities, dropout), value)
        return output.transpose(1, 2).contiguous(), probabilities
    fused: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return fused


def _in_one_type(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cast as autocast would for the products: rotary positions may have left query and key in another type."""
    kind = query.device.type
    wanted = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
    return query.to(wanted), key.to(wanted), value.to(wanted)


def _probabilities(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Return softmax(scaling Q K^T) in the type of the query, with nothing where the mask forbids to look."""
    scores = torch.matmul(query, key.transpose(2, 3)).mul_(scaling)
    if mask is not None:
        if mask.dtype == torch.bool:
            # The lowest number, not minus infinity: a row of padding that may look nowhere must not become NaN, which
            # would reach other rows through its values.
            scores = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores.add_(mask)
    if scores.dtype == torch.float16:
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(torch.float16)
    return torch.softmax(scores, dim=-1)


def _error(student: Tensor, teacher: Tensor, weights: Tensor | None) -> Tensor:
    """Return the difference, with 0 where a weight is false; the shapes must be the same."""
    _same_shape(student, teacher)
    error = student - teacher
    return error if weights is None else error.masked_fill_(~weights, 0)


def _exact(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _squared_norm(error: Tensor) -> Tensor:
    """Sum the squares in float32 at least, without a copy of that type."""
    kind = torch.float64 if error.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(error, dtype=kind).square()


def _times(tensor: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a scalar tensor that is not rounded to the tensor's type before."""
    if tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu":
        return tensor * factor  # here torch takes the factor as it is, and a copy in float32 would cost time
    return (_exact(tensor) * factor).to(tensor.dtype)


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"student and teacher differ in shape: {tuple(student.shape)}, {tuple(teacher.shape)}")


AttentionInterface.register(IMPLEMENTATION, _attention)
# Without a mask function of its own, transformers would pass none on and padding would be looked at.
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
