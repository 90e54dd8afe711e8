"""Memory in large pages for torch, where Linux hands them out to who asks."""

from __future__ import annotations

import os
from pathlib import Path

SWITCH = "THP_MEM_ALLOC_ENABLE"
"""The variable by which torch is told to ask; it looks once, when it first makes a tensor."""

_OFFERED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Linux tells here what it does: `always`, `madvise` (on asking) or `never`; the one in force is in brackets."""


def ask_for_large_pages(offered: Path = _OFFERED) -> None:
    """Have torch take tensors of 2 MB and more in large pages, unless the user has said something about it.

    A training on the CPU takes and gives back tensors of many megabytes all the time. In large pages of their own they
    leave fewer holes and fewer pages to fetch; docs/benchmarks.md has the figures.

    Args:
        offered: The kernel's file.
    """
    try:
        at_hand = "[never]" not in offered.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):  # another system, or a kernel without them
        return
    if at_hand:
        os.environ.setdefault(SWITCH, "1")
