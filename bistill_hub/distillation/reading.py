"""Attention as distillation reads it: fused where nobody looks, compared on the spot where the loss looks.

`output_attentions=True` makes a model form the probabilities of every layer by itself and hand them all over. The loss
reads those of a few. Under the attention implementation of this module, layers that are not read use torch's fused
attention; a read layer of the teacher keeps its probabilities, or what they are formed from where that is less; and
each layer of the student forms its squared error against them while its own are at hand, with the gradient of that
error written down in one tensor instead of a chain of them. The numbers are those of `losses.attention_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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

_PART_BYTES = 512 * 1024
"""Of attention probabilities that are compared at once on a CPU."""

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


@dataclass(frozen=True)
class Attention:
    """A layer's attention probabilities, or the query, key and mask that they are formed from when they are asked for.

    Args:
        tensors: Probabilities [batch, heads, queries, keys], alone; or query and key [batch, heads, positions, head
            size] and a mask as `Reader` has it.
        scaling: The scores' factor; None for probabilities.
    """

    tensors: tuple[Tensor | None, ...]
    scaling: float | None = None

    @property
    def heads(self) -> int:
        """How many heads there are."""
        assert self.tensors[0] is not None
        return self.tensors[0].shape[1]

    def to(self, device: torch.device) -> Attention:
        """Give the same on another device."""
        return Attention(tuple(None if each is None else each.to(device) for each in self.tensors), self.scaling)

    def probabilities(self, part: slice = slice(None)) -> Tensor:
        """Give the probabilities [rows, heads, queries, keys] of a part of the batch."""
        first, *others = self.tensors
        assert first is not None
        if self.scaling is None:
            return first[part]
        key, mask = others
        assert key is not None
        return _probabilities(first[part], key[part], _of(mask, part), self.scaling)


class KeptAttentions:
    """Keeps a model's attention of some layers.

    The layer's own output is formed from its probabilities, as the student's is, whatever is kept of them: a student
    that is its teacher has nothing to learn, to the last bit.

    Args:
        layers: Number of the layer for each module of the layers that are read.

    Attributes:
        found: The attention by layer.
    """

    def __init__(self, layers: Mapping[nn.Module, int]) -> None:
        self.layers = layers
        self.found: dict[int, Attention] = {}

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
        formed_later = _is_worth_forming_again(query, key)
        output = torch.empty_like(value)
        kept = None if formed_later else value.new_empty((*query.shape[:-1], key.shape[-2]))
        for part in _parts(query, key):
            probabilities = _probabilities(query[part], key[part], _of(mask, part), scaling)
            output[part] = torch.matmul(probabilities, value[part])
            if kept is not None:
                kept[part] = probabilities
        self.found[layer] = Attention((query, key, mask), scaling) if kept is None else Attention((kept,))
        return output


class AttentionErrors:
    """Sums the squared errors of a student's attention probabilities, layer by layer.

    Args:
        layers: Number of the layer for each module inside the student's layers.
        targets: The teacher's attention for each layer; each is let go of once it is compared.
        pairs: [batch, 1, queries, keys], true where an error counts; None: everywhere.

    Attributes:
        sums: The sum over batch, heads, queries and keys by layer, a scalar in float32 (float64 for float64 inputs).
    """

    def __init__(self, layers: Mapping[nn.Module, int], targets: dict[int, Attention], pairs: Tensor | None) -> None:
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
            self.sums[layer] = sum_of_squared_errors(probabilities, target.probabilities(), self.pairs)
            dropped = nn.functional.dropout(probabilities, dropout)
            return torch.matmul(dropped.to(value.dtype), value)
        output, self.sums[layer] = _ComparedAttention.apply(
            query, key, value, mask, self.pairs, scaling, target.scaling, *target.tensors
        )
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
    dS = P (dP - the rows' sums of dP P), and dQ, dK, dV follow. Kept are Q, K, V and T, or what T is formed from. P is
    formed again, which costs a product and a softmax: little beside the memory that it takes in every layer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        pairs: Tensor | None,
        scaling: float,
        targets_scaling: float | None,
        *target: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(query, key, value, mask, pairs, *target)
        ctx.scaling, ctx.targets_scaling = scaling, targets_scaling
        theirs = Attention(target, targets_scaling)
        output, sums = torch.empty_like(value), []
        for part in _parts(query, key):
            probabilities = _probabilities(query[part], key[part], _of(mask, part), scaling)
            output[part] = torch.matmul(probabilities, value[part])
            wanted = theirs.probabilities(part).to(probabilities.dtype)
            sums.append(_squared_norm(_error(probabilities, wanted, _of(pairs, part))))
        return output, torch.stack(sums).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_output, of_sum = gradients
        query, key, value, mask, pairs, *target = ctx.saved_tensors
        theirs = Attention(tuple(target), ctx.targets_scaling)
        of_query, of_key, of_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        # In float16 a loss that is scaled up for its small gradients would leave the range here.
        work = torch.float32 if query.dtype == torch.float16 else query.dtype
        for part in _parts(query, key):
            probabilities = _probabilities(query[part], key[part], _of(mask, part), ctx.scaling)
            of_value[part] = torch.matmul(probabilities.transpose(2, 3), of_output[part])
            wanted = theirs.probabilities(part).to(probabilities.dtype)
            inner = torch.matmul(of_output[part], value[part].transpose(2, 3)).to(work)
            inner += _times(_error(probabilities, wanted, _of(pairs, part)).to(work), 2 * of_sum)
            weighted = probabilities.to(work)
            of_scores = torch.ops.aten._softmax_backward_data(inner, weighted, -1, work).mul_(ctx.scaling)
            of_scores = of_scores.to(query.dtype)
            of_query[part] = torch.matmul(of_scores, key[part])
            of_key[part] = torch.matmul(of_scores.transpose(2, 3), query[part])
        return of_query, of_key, of_value, *([None] * (4 + len(target)))


def _is_worth_forming_again(query: Tensor, key: Tensor) -> bool:
    """Whether query and key have fewer numbers than the probabilities that they give, in types of four bytes and more.

    Types of two bytes halve what is kept anyway, and of their shorter steps forming probabilities twice takes more.
    """
    queries, keys, size = query.shape[-2], key.shape[-2], query.shape[-1]
    return query.element_size() >= 4 and (queries + keys) * size < queries * keys


def _parts(query: Tensor, key: Tensor) -> Sequence[slice]:
    """Say in which parts of a batch attention is compared.

    On a CPU in as many rows as `_PART_BYTES` hold the probabilities of, at least one: what they need comes and goes in
    the processor's cache, where tensors of the whole batch would be taken from the system and given back at each step
    of the way. Rows of short inputs go together, since each operation has a cost of its own.
    """
    rows = query.shape[0]
    if query.device.type != "cpu":
        return [slice(None)]
    of_a_row = query.shape[1] * query.shape[2] * key.shape[2] * query.element_size()
    together = max(1, _PART_BYTES // max(1, of_a_row))
    return [slice(start, min(start + together, rows)) for start in range(0, rows, together)]


def _of(mask: Tensor | None, part: slice) -> Tensor | None:
    """Give a part of a mask, which may be one for all rows."""
    return mask if mask is None or mask.shape[0] == 1 else mask[part]


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
