"""Which library multiplies matrices in fp32 while a model is trained or scored on a CPU.

torch leaves linear layers in fp32 to MKL. On AMD's processors of family 26 (Zen 5), which have vectors of 512 bits, it
is half as fast as oneDNN, which torch has for products in bf16. Both compute in fp32 and differ in the order in which
they sum. docs/benchmarks.md has what is gained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from .errors import InputError
from .processor import Processor, processor

VARIABLE = "BISTILL_FP32_PRODUCTS"
"""By which a user says which library it shall be."""

ONEDNN, LEFT_TO_TORCH = "onednn", "torch"
FIRST_FAMILY = 26
"""The family of AMD's Zen 5, the first that has been seen to gain."""

LEAST = 2**23
"""How many multiplications a product has at least that is given to oneDNN; what is before and after it costs more than
is gained where there are few."""


@contextmanager
def faster_fp32_products() -> Iterator[None]:
    """Within it, linear layers of any model multiply by oneDNN where that is the faster one, forwards and backwards.

    Products in another precision, under autocast and of few numbers are torch's, as ever, and so is everything where an
    accelerator trains, and on other processors unless the variable `VARIABLE` says `onednn`.

    Raises:
        InputError: the variable says something else than `onednn` or `torch`.
    """
    if not is_chosen():
        yield
        return
    before = nn.Linear.forward
    nn.Linear.forward = _forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Linear.forward = before  # type: ignore[method-assign]


def is_chosen() -> bool:
    """Whether oneDNN is to be used here.

    Raises:
        InputError: the variable says something else than `onednn` or `torch`.
    """
    said = os.environ.get(VARIABLE, "")
    if said not in ("", ONEDNN, LEFT_TO_TORCH):
        remedy = f"say {ONEDNN} or {LEFT_TO_TORCH}, or leave it out"
        raise InputError("there is no such library for products in fp32", field=VARIABLE, value=said, remedy=remedy)
    if said == LEFT_TO_TORCH or not is_there() or torch.accelerator.is_available():
        return False
    return said == ONEDNN or gains(processor(), torch.backends.cpu.get_cpu_capability())


def is_there() -> bool:
    """Whether this torch has oneDNN, and the operator that torch's own compiler gives linear layers to."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def gains(found: Processor, capability: str) -> bool:
    """Whether a processor is one that has been seen to gain.

    Args:
        found: The processor.
        capability: What torch says of the vectors that it uses, such as "AVX512".
    """
    return found.vendor == "AuthenticAMD" and (found.family or 0) >= FIRST_FAMILY and capability == "AVX512"


def _forward(self: nn.Linear, input: Tensor) -> Tensor:
    """Stand for `nn.Linear.forward`."""
    weight, bias = self.weight, self.bias
    if not _is_for_onednn(input, weight):
        return linear(input, weight, bias)
    learns = any(tensor is not None and tensor.requires_grad for tensor in (input, weight, bias))
    if learns and torch.is_grad_enabled():
        output: Tensor = _Product.apply(input, weight, bias)  # type: ignore[no-untyped-call]
        return output
    return product(input, weight, bias)


def _is_for_onednn(input: Tensor, weight: Tensor) -> bool:
    return (
        input.dtype is torch.float32
        and weight.dtype is torch.float32
        and input.device.type == weight.device.type == "cpu"  # and not "meta"
        and type(weight) in (nn.Parameter, Tensor)
        and input.dim() > 1
        and input.numel() * weight.shape[0] >= LEAST
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def product(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by oneDNN; without gradients.

    Args:
        input: (..., in), fp32.
        weight: (out, in), fp32, of any strides.
        bias: (out,).

    Returns:
        (..., out), as `torch.nn.functional.linear` gives it.
    """
    output: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return output


class _Product(torch.autograd.Function):
    """A linear layer whose three products, of outputs and of both gradients, are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return product(input, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(gradient, weight.t()) if of_input else None,
            product(rows.t(), input.reshape(-1, input.shape[-1]).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )
