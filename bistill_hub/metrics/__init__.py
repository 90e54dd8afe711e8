"""Metric modules for `evaluate`, each a file that works by itself.

`from bistill_hub.metrics import EntityF1`, or `evaluate.load` on the path of `entity_f1.py`: neither needs a network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accuracy import Accuracy
    from .entity_f1 import EntityF1
    from .span_answers import SpanAnswers

__all__ = ["Accuracy", "EntityF1", "SpanAnswers"]

# Imported on first use: `evaluate` and `seqeval` take seconds to import, and most commands score nothing.
_MODULES = {"Accuracy": "accuracy", "EntityF1": "entity_f1", "SpanAnswers": "span_answers"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
