"""What glibc does with the memory of a tensor that is done with, while a model is trained on a CPU.

Left to itself it gives large pieces back to Linux, which hands them out again page by page, each filled with zeros: a
training step takes and frees hundreds of tensors of many megabytes. Kept, they are there for the next ones.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of two parameters in glibc's malloc.h: from how many free bytes at its end the heap shrinks, and from what
size on a piece of memory is asked of Linux by itself and goes back there when it is freed."""

KEPT = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1}
GIVEN_BACK = {MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}
"""What glibc at most comes to by itself in a program with large pieces of memory (dynamic threshold in mallopt(3))."""

VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables by which a user tells glibc something about this."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within it, memory that is freed stays with the process; after it, what is free goes back to Linux.

    Does nothing where an accelerator trains, where the user has said something else (`VARIABLES`), or where the C
    library is another than glibc. docs/benchmarks.md has what it gains.
    """
    library = glibc()
    if library is None or torch.accelerator.is_available() or any(name in os.environ for name in VARIABLES):
        yield
        return
    tell(library, KEPT)
    try:
        yield
    finally:
        tell(library, GIVEN_BACK)
        library.malloc_trim(0)


def glibc() -> ctypes.CDLL | None:
    """Give the C library, if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def tell(library: ctypes.CDLL, values: Mapping[int, int]) -> None:
    """Set parameters by `mallopt`. From then on, until the process ends, glibc no longer adapts them by itself.

    Args:
        library: What `glibc` gives.
        values: By the numbers of malloc.h: `KEPT` or `GIVEN_BACK`.
    """
    for parameter, value in values.items():
        library.mallopt(parameter, value)
