"""Phase 0: the student is cut out of the teacher (vocabulary, layers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import StudentParts, build_student

__all__ = ["StudentParts", "build_student"]


def __getattr__(name: str) -> Any:
    # Lazily, so that the command line can check a recipe's layers without waiting for torch.
    if name in __all__:
        from . import build

        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
