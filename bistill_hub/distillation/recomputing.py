"""Outputs of cheap modules that a backward pass forms again instead of keeping them.

A linear layer keeps its input for the gradient of its weight. Where that is the output of an activation or a norm,
whose own input is kept anyway, it can be had from there for the price of one elementwise pass. In the feed-forward part
of a layer this saves four times the hidden size for every token. Gradient checkpointing of whole layers would form
their products again, which are nearly all of the work.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, activations

_OF_THEIR_INPUT = (nn.GELU, nn.SiLU, nn.Mish, nn.LayerNorm)
"""Modules whose gradient needs what went in. That of a ReLU needs what came out, so nothing would be gained."""


def cheap_modules(model: PreTrainedModel) -> list[nn.Module]:
    """List the activations and layer norms of a model's encoder that `forming_again` can be given."""
    return [module for module in model.base_model.modules() if _is_cheap(module)]


def _is_cheap(module: nn.Module) -> bool:
    if isinstance(module, _OF_THEIR_INPUT):
        return True
    return type(module).__module__ == activations.__name__ and "GELU" in type(module).__name__


@dataclass(frozen=True)
class _Kept:
    """A tensor that is kept as it is, and how often it had been written to."""

    tensor: Tensor
    version: int

    def get(self) -> Tensor:
        if self.tensor._version != self.version:
            raise RuntimeError("a tensor that the backward pass needs was changed in place after it was kept")
        return self.tensor


@dataclass(frozen=True)
class _Again:
    """A tensor that is formed again: the output of a module under the same autocast, looked at in some shape."""

    module: nn.Module
    given: _Kept
    shape: torch.Size
    autocast: torch.dtype | None

    def get(self) -> Tensor:
        kind = self.given.tensor.device.type
        with torch.no_grad(), torch.autocast(kind, self.autocast, enabled=self.autocast is not None):
            output: Tensor = self.module.forward(self.given.get())
        return output.reshape(self.shape)


@contextmanager
def forming_again(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it, what is computed keeps no output of these modules for its backward pass, which forms them again.

    Gradients are the same to the last bit.

    Args:
        modules: Modules of one input and one output that draw no random numbers; no weight of theirs may change before
            the backward pass. One that somebody has hooked is left alone: its forward method is not all of it.
    """
    modules = [module for module in modules if not (module._forward_hooks or module._forward_pre_hooks)]
    if not modules:
        yield
        return
    latest: dict[int, tuple[weakref.ref[Tensor], nn.Module, Tensor]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if args and output.requires_grad and output.is_contiguous():
            latest[output.data_ptr()] = weakref.ref(output), module, args[0].detach()

    def pack(tensor: Tensor) -> _Kept | _Again:
        if tensor.data_ptr() in latest:
            reference, module, given = latest[tensor.data_ptr()]
            output = reference()
            if output is not None and _is_all_of(tensor, output):
                kind = tensor.device.type
                autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
                return _Again(module, _Kept(given, given._version), tensor.shape, autocast)
        # Detached: a function that keeps its own output would otherwise be kept by it, for ever where no backward pass
        # comes by, as behind the last attention where states are not compared.
        return _Kept(tensor.detach(), tensor._version)

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(note).remove)
        stack.callback(latest.clear)
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.get()))
        yield


def _is_all_of(tensor: Tensor, output: Tensor) -> bool:
    """Whether a tensor at the place of an output has all of its numbers, in order."""
    unchanged = output._version == 0
    return unchanged and tensor.dtype == output.dtype and tensor.numel() == output.numel() and tensor.is_contiguous()
