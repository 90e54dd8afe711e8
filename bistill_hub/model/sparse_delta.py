"""A sparse delta: few changed entries of a model's parameters, and whole new parameters such as a task head.

It is what sparse fine-tuning leaves (Ansell et al. 2022) and what a published task is. In memory an update holds flat
row-major indices, ascending, and the differences at them. On disk (`delta.safetensors`) the indices are kept as gaps of
8 bits each, or of 16 where that takes less room.

This file travels with every published repository and imports nothing of the package it comes from.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

DELTA_FORMAT_VERSION = 2
_READABLE_VERSIONS = (1, 2)
"""Version 1 has gaps of 16 bits alone."""

_METADATA_KEY = "bistill"
_LONG_GAPS = {torch.uint8: 255, torch.uint16: 65535}
"""By type of the gaps, what is stored in place of one: move on by this many entries without a value there."""

# The deltas that each live model carries, oldest first: taking them off in another order would not be exact.
_APPLIED: weakref.WeakKeyDictionary[nn.Module, list[SparseDelta]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class SparseUpdate:
    """Differences at some entries of one parameter.

    Attributes:
        shape: Shape of the parameter.
        indices: Flat row-major positions [entries], int64, ascending, each at most once.
        values: What is added there [entries], floating point.
    """

    shape: tuple[int, ...]
    indices: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        """Refuse positions that are not ascending or leave the parameter.

        Raises:
            ValueError: indices and values do not belong together or are of the wrong type, the shape is none, or the
                indices are unsorted, double or out of range.
        """
        if not all(isinstance(extent, int) and extent >= 0 for extent in self.shape):
            raise ValueError(f"{self.shape} is no shape of a parameter")
        if self.indices.dtype != torch.int64 or not self.values.is_floating_point():
            raise ValueError(
                f"indices ({self.indices.dtype}) must be int64, values ({self.values.dtype}) floating point"
            )
        if self.indices.shape != self.values.shape or self.indices.dim() != 1:
            raise ValueError(
                f"indices {tuple(self.indices.shape)} and values {tuple(self.values.shape)} must be vectors of one size"
            )
        size = math.prod(self.shape)
        if self.indices.numel() and (
            bool((self.indices[1:] <= self.indices[:-1]).any())
            or int(self.indices[0]) < 0
            or int(self.indices[-1]) >= size
        ):
            raise ValueError(f"indices must ascend within 0 to {size - 1}")


@dataclass(eq=False)
class SparseDelta:
    """Sparse updates of a model's parameters, and parameters that it replaces or adds as a whole.

    Attributes:
        sparse: Parameter name to update, under the names of the model that was tuned.
        dense: Parameter name to whole tensor (a task head).
        metadata: JSON values kept with the delta: task, head, labels, base_sha256, eligible_parameters, ...
    """

    sparse: dict[str, SparseUpdate]
    dense: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    _replaced: weakref.WeakKeyDictionary[nn.Module, dict[str, Tensor]] = field(
        default_factory=weakref.WeakKeyDictionary, repr=False
    )

    @classmethod
    def from_models(
        cls,
        start: nn.Module | Mapping[str, Tensor],
        tuned: nn.Module | Mapping[str, Tensor],
        mask: Mapping[str, Tensor] | None = None,
        *,
        dense: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> SparseDelta:
        """Take the difference of two models of one architecture.

        Args:
            start: The model, or its parameters by name, before tuning. It may lack the tuned model's head and its
                base-model prefix.
            tuned: The same after tuning.
            mask: For each parameter that was free, a boolean tensor of its shape, true at the entries to record, zero
                differences included; parameters left out of it must be unchanged. None: every entry that changed.
            dense: Parameters to keep whole although `start` has them too, such as a head that was rewound.
            metadata: JSON values to keep with the delta.

        Returns:
            The delta; parameters that `start` does not have are kept whole. `metadata["eligible_parameters"]` is the
            number of entries that the density refers to: those of the masked parameters, or of all that both have.

        Raises:
            ValueError: shapes differ, a parameter changed where the mask does not allow it, or the mask names a
                parameter that there is not.
        """
        before, after = _parameters(start), _parameters(tuned)
        whole = set(dense)
        if unknown := sorted(set(mask or ()) - set(after)):
            raise ValueError(f"the mask names parameters that the tuned model does not have: {unknown}")
        sparse: dict[str, SparseUpdate] = {}
        kept_whole: dict[str, Tensor] = {}
        eligible = 0
        for name, new in after.items():
            old_name = _match(name, before)
            if old_name is None or name in whole:
                kept_whole[name] = new.detach().cpu().clone()
                continue
            old = before[old_name]
            if old.shape != new.shape:
                raise ValueError(f"{name}: shapes {tuple(old.shape)} and {tuple(new.shape)} differ")
            old, new = old.detach().flatten().cpu(), new.detach().flatten().cpu()
            changed = old != new
            if mask is not None:
                if name in mask and mask[name].shape != after[name].shape:
                    raise ValueError(f"{name}: the mask's shape {tuple(mask[name].shape)} is not the parameter's")
                allowed = mask[name].flatten().cpu().bool() if name in mask else torch.zeros_like(changed)
                if bool((changed & ~allowed).any()):
                    raise ValueError(f"{name} changed at entries that the mask does not allow")
                changed = allowed
            if mask is None or name in mask:
                eligible += old.numel()
            indices = changed.nonzero().flatten()
            if indices.numel():
                sparse[name] = SparseUpdate(
                    tuple(before[old_name].shape), indices, new[indices].float() - old[indices].float()
                )
        return cls(sparse, kept_whole, {**(metadata or {}), "eligible_parameters": eligible})

    @property
    def entries(self) -> int:
        """How many parameter entries the sparse part changes."""
        return sum(update.indices.numel() for update in self.sparse.values())

    @property
    def density(self) -> float:
        """Changed entries as a share of those that were free to change (of the updated parameters, if not known)."""
        eligible = self.metadata.get("eligible_parameters") or sum(
            math.prod(update.shape) for update in self.sparse.values()
        )
        return self.entries / eligible if eligible else 0.0

    def apply(self, model: nn.Module, *, strict: bool = True) -> nn.Module:
        """Add the delta to a model in place, keeping what it replaces so that `revert` is exact.

        Sums are formed in float32 and rounded once to the parameter's own type. Two names of one parameter (tied
        weights) are changed once, where the delta changes both in the same way.

        Args:
            model: A model with the delta's parameters, with or without the base-model prefix in their names.
            strict: False passes over parameters that the model does not have (a head, on a headless encoder).

        Returns:
            The same model.

        Raises:
            ValueError: a parameter is missing, of another shape or not contiguous in memory, two names of the delta
                mean the same one and change it differently, or this delta is on the model already. The model is
                unchanged then.
        """
        if model in self._replaced:
            raise ValueError("this delta is on the model already; revert it first")
        parameters = dict(model.named_parameters(remove_duplicate=False))  # a tied parameter answers to each name
        targets: dict[str, Tensor] = {}
        taken: dict[int, str] = {}
        for name, shape in self._shapes().items():
            target = _match(name, parameters)
            if target is None:
                if strict:
                    raise ValueError(f"the model has no parameter {name}, which the delta changes")
                continue
            if tuple(parameters[target].shape) != shape:
                raise ValueError(f"{name}: the model's shape is {tuple(parameters[target].shape)}, the delta's {shape}")
            if name not in self.dense:
                _flat(parameters[target], name)  # raises where it cannot be had, before anything is changed
            if (other := taken.setdefault(id(parameters[target]), name)) != name:
                if not self.changes_alike(other, name):
                    raise ValueError(f"{other} and {name} are one parameter of the model, and changed differently")
                continue
            targets[name] = parameters[target]
        replaced: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, parameter in targets.items():
                if name in self.dense:
                    replaced[name] = parameter.detach().clone()
                    parameter.copy_(self.dense[name])
                    continue
                update = self.sparse[name]
                indices = update.indices.to(parameter.device)
                flat = _flat(parameter, name)
                replaced[name] = flat[indices]
                flat[indices] = (replaced[name].float() + update.values.to(flat.device, torch.float32)).to(flat.dtype)
        self._replaced[model] = replaced
        _APPLIED.setdefault(model, []).append(self)
        return model

    def changes_alike(self, one: str, other: str) -> bool:
        """Tell whether two parameters of the same shape are changed in the same way.

        Args:
            one: The name of an updated parameter, or of one that is replaced.
            other: Another one.
        """
        if one in self.dense or other in self.dense:
            both = one in self.dense and other in self.dense
            return both and torch.equal(self.dense[one].float(), self.dense[other].float())
        first, second = self.sparse[one], self.sparse[other]
        return torch.equal(first.indices, second.indices) and torch.equal(first.values.float(), second.values.float())

    def revert(self, model: nn.Module) -> nn.Module:
        """Write back, bit for bit, what `apply` replaced.

        Args:
            model: A model that this delta was applied to, and nothing after it.

        Returns:
            The same model.

        Raises:
            ValueError: the delta is not on the model, or another was applied on top of it.
        """
        if model not in self._replaced:
            raise ValueError("this delta is not on the model")
        if _APPLIED[model][-1] is not self:
            raise ValueError("another delta was applied on top of this one; revert that first")
        parameters = dict(model.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, old in self._replaced[model].items():
                parameter = parameters[_match(name, parameters) or name]
                if name in self.dense:
                    parameter.copy_(old)
                else:
                    flat = _flat(parameter, name)
                    flat[self.sparse[name].indices.to(flat.device)] = old.to(flat.device, flat.dtype)
        del self._replaced[model]
        _APPLIED[model].pop()
        return model

    def applied_to(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with the delta added; the one given is left as it is.

        Args:
            state: Parameters by the names that the delta uses.

        Returns:
            A new dict: changed parameters in float32, the others as they were, dense ones added.

        Raises:
            ValueError: a parameter is missing or of another shape.
        """
        result = dict(state)
        for name, shape in self._shapes().items():
            there = tuple(state[name].shape) if name in state else "not there"
            if there != shape and (name in state or name not in self.dense):
                raise ValueError(f"{name}: the base's parameter is {there}, the delta's {shape}")
        for name, update in self.sparse.items():
            changed = state[name].detach().to(torch.float32, copy=True).flatten()
            changed.index_add_(0, update.indices.to(changed.device), update.values.to(changed.device, torch.float32))
            result[name] = changed.view(update.shape)
        result.update(self.dense)
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the delta as one safetensors file; equal deltas give equal bytes.

        The file appears whole or not at all.

        Args:
            path: The file to write, `delta.safetensors` by convention.
        """
        tensors: dict[str, Tensor] = {}
        for name, update in self.sparse.items():
            tensors[f"gaps/{name}"] = _to_gaps(update.indices)
            tensors[f"values/{name}"] = _own_copy(update.values)
        for name, tensor in self.dense.items():
            tensors[f"dense/{name}"] = _own_copy(tensor)
        description = {
            **self.metadata,
            "format_version": DELTA_FORMAT_VERSION,
            "shapes": {name: list(update.shape) for name, update in self.sparse.items()},
        }
        # One metadata key: safetensors writes several in an order that changes from run to run.
        content = save(tensors, metadata={_METADATA_KEY: json.dumps(description, sort_keys=True, ensure_ascii=False)})
        unfinished = f"{os.fspath(path)}.unfinished"
        with open(unfinished, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SparseDelta:
        """Read a file that `save` wrote.

        Args:
            path: The file.

        Returns:
            The delta, on the CPU.

        Raises:
            ValueError: the file is not a sparse delta, is damaged, or has a newer format.
        """
        where = os.fspath(path)
        metadata = read_description(where)
        shapes = metadata.pop("shapes", None)
        if not isinstance(shapes, dict):
            raise ValueError(f"{where}: damaged: its description has no shapes")
        try:
            with safe_open(where, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: not a sparse delta of bistill-hub ({error})") from error
        expected = {f"{part}/{name}" for name in shapes for part in ("gaps", "values")}
        dense = {name.removeprefix("dense/"): tensor for name, tensor in tensors.items() if name.startswith("dense/")}
        if set(tensors) != expected | {f"dense/{name}" for name in dense}:
            raise ValueError(f"{where}: its tensors are not those that its description names")
        try:
            sparse = {
                name: SparseUpdate(tuple(shape), _from_gaps(tensors[f"gaps/{name}"]), tensors[f"values/{name}"])
                for name, shape in shapes.items()
            }
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: damaged: {error}") from error
        return cls(sparse, dense, metadata)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: update.shape for name, update in self.sparse.items()} | {
            name: tuple(tensor.shape) for name, tensor in self.dense.items()
        }


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a file that `SparseDelta.save` wrote says of itself, and none of its numbers.

    Args:
        path: The file.

    Returns:
        The delta's metadata, and `shapes`: parameter name to the shape of each that has a sparse update.

    Raises:
        ValueError: the file is not a sparse delta, is damaged, or has a newer format.
    """
    where = os.fspath(path)
    try:
        with safe_open(where, "pt") as file:
            description = json.loads((file.metadata() or {})[_METADATA_KEY])
        version = description.pop("format_version")
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a sparse delta of bistill-hub ({error})") from error
    if version not in _READABLE_VERSIONS:
        raise ValueError(
            f"{where}: format_version = {version}: this code reads versions up to {DELTA_FORMAT_VERSION}. "
            "Upgrade bistill-hub."
        )
    return dict(description)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash weights: SHA-256 over name, dtype, shape and bytes of every tensor, in the order of the names.

    Args:
        state: Tensors by name.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{str(tensor.dtype).removeprefix('torch.')}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _to_gaps(indices: Tensor) -> Tensor:
    """Encode ascending positions: entries skipped before each, after as many `_LONG_GAPS` as fit.

    Returns:
        A vector of uint8, or of uint16 where long gaps make that the shorter one.
    """
    if not indices.numel():
        return torch.empty(0, dtype=torch.uint8)
    skipped = torch.diff(indices, prepend=indices.new_tensor([-1])).sub_(1)
    if int(skipped.max()) < _LONG_GAPS[torch.uint8]:
        return skipped.to(torch.uint8)
    bytes_of = {
        kind: kind.itemsize * (indices.numel() + int((skipped[skipped >= long] // long).sum()))
        for kind, long in _LONG_GAPS.items()
    }
    kind = min(bytes_of, key=lambda kind: bytes_of[kind])
    long = _LONG_GAPS[kind]
    at = (skipped >= long).nonzero().flatten()  # few, and division is slow
    times = skipped[at] // long
    skipped[at] %= long
    # Each stored number is an entry's but for the long gaps, of which an entry's stand right before it.
    is_entry = torch.ones(bytes_of[kind] // kind.itemsize, dtype=torch.bool)
    first = at + torch.cumsum(times, 0) - times
    within = torch.arange(int(times.sum())) - torch.repeat_interleave(torch.cumsum(times, 0) - times, times)
    is_entry[torch.repeat_interleave(first, times) + within] = False
    gaps = torch.full(is_entry.shape, long, dtype=torch.int32)
    return gaps.masked_scatter_(is_entry, skipped.to(torch.int32)).to(kind)


def _from_gaps(gaps: Tensor) -> Tensor:
    if gaps.dtype not in _LONG_GAPS or gaps.dim() != 1:
        raise ValueError(f"gaps must be a vector of uint8 or uint16, not {gaps.dtype} of shape {tuple(gaps.shape)}")
    if gaps.dtype == torch.uint8 and gaps.numel() and int(gaps.max()) < _LONG_GAPS[torch.uint8]:
        steps = gaps + 1  # still 8 bits: this way takes a third of the time of the one below
        steps[0] -= 1
        return torch.cumsum(steps, 0, dtype=torch.int64)
    steps = gaps.to(torch.int64)
    is_entry = steps != _LONG_GAPS[gaps.dtype]
    return steps.add_(is_entry).cumsum_(0)[is_entry].sub_(1)


def _parameters(model: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Each parameter once; one that a head ties to the encoder goes by the encoder's name, which every head shares."""
    if not isinstance(model, nn.Module):
        return model
    encoder = f"{getattr(model, 'base_model_prefix', '')}."
    named: dict[int, tuple[str, Tensor]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) not in named or (name.startswith(encoder) and not named[id(parameter)][0].startswith(encoder)):
            named[id(parameter)] = name, parameter
    return dict(named.values())


def _match(name: str, names: Mapping[str, Tensor]) -> str | None:
    """Find a parameter under its own name, or under its name with or without a base-model prefix."""
    if name in names:
        return name
    if (stripped := name.partition(".")[2]) in names:
        return stripped
    with_prefix = [other for other in names if other.partition(".")[2] == name]
    return with_prefix[0] if len(with_prefix) == 1 else None


def _own_copy(tensor: Tensor) -> Tensor:
    """Copy a tensor, because safetensors refuses to write two that share memory."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _flat(parameter: Tensor, name: str) -> Tensor:
    """Return a vector that shares the parameter's storage."""
    if not parameter.is_contiguous():
        raise ValueError(f"{name} is not contiguous in memory, so its entries cannot be changed in place")
    return parameter.data.view(-1)
