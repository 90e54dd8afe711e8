"""Reads the sparse fine-tunings that the method's authors published: `pytorch_diff.bin`, a pickled dict.

Only what such a file is made of can be in it: torch's weights-only unpickler builds tensors, numbers, strings, lists
and dicts, and is allowed numpy's scalar and dtype besides, because the first index of each encoding is a numpy integer.
What comes out is checked again for anything else. This module stays at home: published repositories hold no pickle.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .sparse_delta import SparseDelta, SparseUpdate

LEGACY_FILE = "pytorch_diff.bin"

# numpy 1 and 2 pickle a scalar under different module names; the dtype classes are those of integer scalars.
_ALLOWED: list[Any] = [
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np.dtype,
    *{type(np.dtype(code)) for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")},
]
_PLAIN = (bool, int, float, str, np.integer, np.floating)
_MOST_ENTRIES = 2**32
"""Larger than any encoder's parameter: a size beyond it comes from a damaged file."""


def from_legacy(folder: str | os.PathLike[str]) -> SparseDelta:
    """Read a sparse fine-tuning of the authors' format.

    Indices there are running sums over column-major positions (the first coordinate varies fastest); here they become
    row-major ones. Parameter names stay as they are.

    Args:
        folder: The folder that holds `pytorch_diff.bin`, or that file.

    Returns:
        The delta: `diffs` as sparse updates, `abs` as dense parameters (both may use either encoding).

    Raises:
        InputError: there is no such file, it holds anything but tensors, numbers, strings, lists and dicts, or an
            encoding in it is malformed.
    """
    file = Path(folder)
    if file.is_dir():
        file = file / LEGACY_FILE
    if not file.is_file():
        raise InputError("there is no such file", file=file, remedy=f"name a folder that holds {LEGACY_FILE}")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a damaged file can make the unpickler stumble over anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"this is no plain sparse fine-tuning ({reason})",
            file=file,
            remedy="load only files that hold tensors, numbers and lists; this one asks for more, or is damaged",
        ) from error
    _check_plain(content, file, "")
    parts = content if isinstance(content, Mapping) else {}
    named = all(isinstance(part, Mapping) and all(isinstance(name, str) for name in part) for part in parts.values())
    if not named or not {"diffs", "abs"} <= set(parts):
        raise InputError(
            "expected the entries `diffs` and `abs`, each with encodings by parameter name",
            file=file,
            remedy="name a file in the authors' format",
        )
    # The authors' files can have further parts, such as `block_sparses`; what is in them would be lost in silence.
    if beyond := sorted(str(name) for name, part in parts.items() if part and name not in ("diffs", "abs")):
        raise InputError(
            f"holds {', '.join(beyond)} besides `diffs` and `abs`, which cannot be read",
            file=file,
            remedy="name a file whose changes are all in `diffs` and `abs`",
        )
    sparse = {name: _decode(encoding, file, name) for name, encoding in parts["diffs"].items()}
    dense: dict[str, torch.Tensor] = {}
    for name, encoding in parts["abs"].items():
        if isinstance(encoding, torch.Tensor):
            dense[name] = encoding.detach()
            continue
        update = _decode(encoding, file, name)
        values = torch.zeros(math.prod(update.shape), dtype=update.values.dtype)
        values[update.indices] = update.values
        dense[name] = values.view(update.shape)
    return SparseDelta(sparse, dense, {"source_format": "legacy"})


def _decode(encoding: Any, file: Path, name: str) -> SparseUpdate:
    """Turn {"size", "index_steps", "values"} into flat row-major positions, ascending; or take a tensor whole.

    Raises:
        InputError: the encoding has other entries, or they do not describe ascending positions within the size.
    """
    try:
        if isinstance(encoding, torch.Tensor):  # a dense difference: every entry may change
            return SparseUpdate(tuple(encoding.shape), torch.arange(encoding.numel()), encoding.detach().flatten())
        if not isinstance(encoding, Mapping) or set(encoding) != {"size", "index_steps", "values"}:
            raise ValueError("expected `size`, `index_steps` and `values`")
        size = tuple(_whole_numbers(encoding["size"]).tolist())
        entries = math.prod(size)
        if any(extent < 0 for extent in size) or entries > _MOST_ENTRIES:
            raise ValueError(f"{size} is not the size of a parameter")
        steps = _whole_numbers(encoding["index_steps"])
        values = torch.as_tensor(encoding["values"]).detach()
        if values.shape != (len(steps),):
            raise ValueError(f"{len(steps)} indices but values of shape {tuple(values.shape)}")
        if len(steps) and (steps[0] < 0 or (steps[1:] < 1).any() or (steps > entries).any()):
            raise ValueError(f"the indices do not ascend within the {entries} entries of {size}")
        # A single number has no axes to unravel; as a vector of one entry it has the same position.
        axes = size or (1,)
        flat = np.ravel_multi_index(np.unravel_index(np.cumsum(steps), axes, order="F"), axes)
        order = np.argsort(flat)
        return SparseUpdate(size, torch.from_numpy(flat[order]), values[torch.from_numpy(order)])
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(str(error), file=file, field=name, remedy="publish the file again") from error


def _whole_numbers(values: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    if not isinstance(values, (list, tuple)):
        raise ValueError("`size` and `index_steps` must be lists")
    if not all(issubclass(kind, (int, np.integer)) for kind in set(map(type, values))):
        raise ValueError("`size` and `index_steps` must be lists of whole numbers")
    return np.asarray(values, dtype=np.int64)


def _check_plain(value: Any, file: Path, place: str) -> None:
    """Refuse everything but tensors, numbers, strings, and lists, tuples and dicts of them."""
    if isinstance(value, _PLAIN):
        return
    if isinstance(value, torch.Tensor):
        stored = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
        if stored and value.numel() * value.element_size() <= value.untyped_storage().nbytes():
            return
        problem = "holds a tensor whose entries are not all stored in it"
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, file, place)
            _check_plain(entry, file, f"{place}/{key}")
        return
    elif isinstance(value, (list, tuple)):
        if not all(issubclass(kind, _PLAIN) for kind in set(map(type, value))):  # millions of numbers, as a rule
            for entry in value:
                _check_plain(entry, file, place)
        return
    else:
        problem = f"holds an object of type {type(value).__name__}"
    raise InputError(
        problem,
        file=file,
        field=place.strip("/") or None,
        remedy="load only files that hold tensors, numbers and lists",
    )
