"""Metric modules for `evaluate`, each a file that works by itself.

`from bistill_hub.metrics import EntityF1`, or `evaluate.load` on the path of `entity_f1.py`: neither needs a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .entity_f1 import EntityF1

__all__ = ["EntityF1"]


def __getattr__(name: str) -> Any:
    # On first use: `evaluate` and `seqeval` take seconds to import, and most commands score nothing.
    if name == "EntityF1":
        from .entity_f1 import EntityF1

        return EntityF1
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
