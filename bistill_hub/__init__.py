"""Small, fast bilingual students of multilingual encoders: distil, fine-tune sparsely, evaluate, publish.

Importing this package makes transformers' Auto classes know published pairs. Everything else is loaded when it is first
used, so that the import stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .model import auto as _auto  # noqa: F401 (registers the classes)
from .model.configuration_bistill import BistillConfig
from .model.modeling_bistill import (
    BistillForMaskedLM,
    BistillForQuestionAnswering,
    BistillForSequenceClassification,
    BistillForTokenClassification,
    BistillModel,
)
from .version import __version__

if TYPE_CHECKING:
    from .distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer
    from .distillation.task import SparseTaskDistillationArguments, SparseTaskDistillationTrainer
    from .errors import BistillError, InputError
    from .evaluation.evaluate import evaluate_pair
    from .hub.repository import package_pair
    from .model.legacy import from_legacy
    from .model.sparse_delta import SparseDelta
    from .pipeline.run import run
    from .pretraining import PretrainingSettings, pretrain
    from .recipe import Recipe
    from .student.build import StudentParts, build_student


_HOMES = {
    "BilingualDistillationArguments": "distillation.bilingual",
    "BilingualDistillationTrainer": "distillation.bilingual",
    "BistillError": "errors",
    "InputError": "errors",
    "PretrainingSettings": "pretraining",
    "Recipe": "recipe",
    "SparseDelta": "model.sparse_delta",
    "SparseTaskDistillationArguments": "distillation.task",
    "SparseTaskDistillationTrainer": "distillation.task",
    "StudentParts": "student.build",
    "build_student": "student.build",
    "evaluate_pair": "evaluation.evaluate",
    "from_legacy": "model.legacy",
    "package_pair": "hub.repository",
    "pretrain": "pretraining",
    "run": "pipeline.run",
}

__all__ = [
    "BilingualDistillationArguments",
    "BilingualDistillationTrainer",
    "BistillConfig",
    "BistillError",
    "BistillForMaskedLM",
    "BistillForQuestionAnswering",
    "BistillForSequenceClassification",
    "BistillForTokenClassification",
    "BistillModel",
    "InputError",
    "PretrainingSettings",
    "Recipe",
    "SparseDelta",
    "SparseTaskDistillationArguments",
    "SparseTaskDistillationTrainer",
    "StudentParts",
    "__version__",
    "build_student",
    "evaluate_pair",
    "from_legacy",
    "package_pair",
    "pretrain",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
