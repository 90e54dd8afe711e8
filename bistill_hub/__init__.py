"""Small, fast bilingual students of multilingual encoders: distil, fine-tune sparsely, evaluate, publish.

Importing this package makes transformers' Auto classes know published pairs, whichever of the two is imported first.
Nothing heavy is loaded before it is used: not even transformers, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from .version import __version__

if TYPE_CHECKING:
    from .comparison.compare import compare
    from .comparison.trainings import train_contenders
    from .distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer
    from .distillation.sparse_fine_tuning import SparseFineTuningArguments
    from .distillation.task import (
        SparseTaskDistillationArguments,
        SparseTaskDistillationTrainer,
        SparseTaskFineTuningTrainer,
    )
    from .errors import BistillError, InputError
    from .evaluation.answering import answer
    from .evaluation.evaluate import evaluate_pair
    from .hub.add_task import add_task
    from .hub.check import check_pair
    from .hub.export import export_model, push_export
    from .hub.pairs import list_pairs
    from .hub.push import plan_push, push_pair_to_hub
    from .hub.repository import package_pair
    from .hub.reproduce import reproduce
    from .model.configuration_bistill import BistillConfig
    from .model.legacy import from_legacy
    from .model.modeling_bistill import (
        BistillForMaskedLM,
        BistillForQuestionAnswering,
        BistillForSequenceClassification,
        BistillForTokenClassification,
        BistillModel,
    )
    from .model.sparse_delta import SparseDelta
    from .pipeline.language_delta import LanguageDeltaSettings, train_language_delta
    from .pipeline.plan import plan
    from .pipeline.run import run
    from .pipeline.several import run_several
    from .pipeline.smoke import smoke_recipe
    from .pretraining import PretrainingSettings, pretrain
    from .recipe import Recipe
    from .student.build import StudentParts, build_student
    from .student.inspection import inspect_cut


_HOMES = {
    "BilingualDistillationArguments": "distillation.bilingual",
    "BilingualDistillationTrainer": "distillation.bilingual",
    "BistillConfig": "model.configuration_bistill",
    "BistillError": "errors",
    "BistillForMaskedLM": "model.modeling_bistill",
    "BistillForQuestionAnswering": "model.modeling_bistill",
    "BistillForSequenceClassification": "model.modeling_bistill",
    "BistillForTokenClassification": "model.modeling_bistill",
    "BistillModel": "model.modeling_bistill",
    "InputError": "errors",
    "LanguageDeltaSettings": "pipeline.language_delta",
    "PretrainingSettings": "pretraining",
    "Recipe": "recipe",
    "SparseDelta": "model.sparse_delta",
    "SparseFineTuningArguments": "distillation.sparse_fine_tuning",
    "SparseTaskDistillationArguments": "distillation.task",
    "SparseTaskDistillationTrainer": "distillation.task",
    "SparseTaskFineTuningTrainer": "distillation.task",
    "StudentParts": "student.build",
    "add_task": "hub.add_task",
    "answer": "evaluation.answering",
    "build_student": "student.build",
    "check_pair": "hub.check",
    "compare": "comparison.compare",
    "evaluate_pair": "evaluation.evaluate",
    "export_model": "hub.export",
    "from_legacy": "model.legacy",
    "inspect_cut": "student.inspection",
    "list_pairs": "hub.pairs",
    "package_pair": "hub.repository",
    "plan": "pipeline.plan",
    "plan_push": "hub.push",
    "pretrain": "pretraining",
    "push_export": "hub.export",
    "push_pair_to_hub": "hub.push",
    "reproduce": "hub.reproduce",
    "run": "pipeline.run",
    "run_several": "pipeline.several",
    "smoke_recipe": "pipeline.smoke",
    "train_contenders": "comparison.trainings",
    "train_language_delta": "pipeline.language_delta",
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
    "LanguageDeltaSettings",
    "PretrainingSettings",
    "Recipe",
    "SparseDelta",
    "SparseFineTuningArguments",
    "SparseTaskDistillationArguments",
    "SparseTaskDistillationTrainer",
    "SparseTaskFineTuningTrainer",
    "StudentParts",
    "__version__",
    "add_task",
    "answer",
    "build_student",
    "check_pair",
    "compare",
    "evaluate_pair",
    "export_model",
    "from_legacy",
    "inspect_cut",
    "list_pairs",
    "package_pair",
    "plan",
    "plan_push",
    "pretrain",
    "push_export",
    "push_pair_to_hub",
    "reproduce",
    "run",
    "run_several",
    "smoke_recipe",
    "train_contenders",
    "train_language_delta",
]


@wrapt.when_imported("transformers.models.auto.configuration_auto")
def _complete_auto(_module: Any) -> None:
    """Bring in the Auto classes as soon as there is AutoConfig: who loads a configuration alone must find ours too."""
    import_module("transformers.models.auto.modeling_auto")


@wrapt.when_imported("transformers.models.auto.modeling_auto")
def _register(_module: Any) -> None:
    """Register the model type as soon as there are the Auto classes."""
    import_module(".model.auto", __name__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
