"""Reads the sparse fine-tunings that the method's authors published: `pytorch_diff.bin`, a pickled dict.

Only what such a file is made of can be in it: torch's weights-only unpickler builds tensors, numbers, strings, lists
and dicts, and is allowed numpy's scalar and dtype besides, because the first index of each encoding is a numpy integer.
What comes out is checked again for anything else. This module stays at home: published repositories hold no pickle.
"""

from __future__ import annotations

import os
import pickle
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
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"this is no plain sparse fine-tuning ({str(error).splitlines()[0]})",
            file=file,
            remedy="load only files that hold tensors, numbers and lists; this one asks for more, or is damaged",
        ) from error
    _check_plain(content, file, "")
    if not isinstance(content, dict) or set(content) != {"diffs", "abs"}:
        raise InputError(
            "expected the entries `diffs` and `abs`", file=file, remedy="name a file in the authors' format"
        )
    sparse: dict[str, SparseUpdate] = {}
    dense: dict[str, torch.Tensor] = {}
    for name, encoding in content["diffs"].items():
        if isinstance(encoding, torch.Tensor):  # a dense difference: every entry may change
            sparse[name] = SparseUpdate(tuple(encoding.shape), torch.arange(encoding.numel()), encoding.flatten())
        else:
            sparse[name] = _decode(encoding, file, name)
    for name, encoding in content["abs"].items():
        if isinstance(encoding, torch.Tensor):
            dense[name] = encoding
            continue
        update = _decode(encoding, file, name)
        values = torch.zeros(torch.Size(update.shape).numel(), dtype=update.values.dtype)
        values[update.indices] = update.values
        dense[name] = values.view(update.shape)
    return SparseDelta(sparse, dense, {"source_format": "legacy"})


def _decode(encoding: Any, file: Path, name: str) -> SparseUpdate:
    """Turn {"size", "index_steps", "values"} into flat row-major positions, ascending."""
    if not isinstance(encoding, Mapping) or set(encoding) != {"size", "index_steps", "values"}:
        raise InputError(
            "expected `size`, `index_steps` and `values`", file=file, field=name, remedy="publish the file again"
        )
    size = tuple(int(extent) for extent in encoding["size"])
    positions = np.cumsum(np.asarray(encoding["index_steps"], dtype=np.int64))
    values = torch.as_tensor(encoding["values"]).flatten()
    if len(positions) != values.numel():
        raise InputError(
            f"{len(positions)} indices but {values.numel()} values",
            file=file,
            field=name,
            remedy="publish the file again",
        )
    try:
        coordinates = np.unravel_index(positions, size, order="F")
        flat = np.ravel_multi_index(coordinates, size)
        order = np.argsort(flat)
        return SparseUpdate(size, torch.from_numpy(flat[order].astype(np.int64)), values[torch.from_numpy(order)])
    except ValueError as error:
        raise InputError(str(error), file=file, field=name, remedy="publish the file again") from error


def _check_plain(value: Any, file: Path, place: str) -> None:
    """Refuse everything but tensors, numbers, strings, and lists, tuples and dicts of them."""
    if isinstance(value, (torch.Tensor, bool, int, float, str, np.integer, np.floating)):
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, file, place)
            _check_plain(entry, file, f"{place}/{key}")
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _check_plain(entry, file, place)
    else:
        raise InputError(
            f"holds an object of type {type(value).__name__}",
            file=file,
            field=place.strip("/") or None,
            remedy="load only files that hold tensors, numbers and lists",
        )
