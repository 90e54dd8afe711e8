"""Makes transformers know the model type `bistill`: importing this module registers the classes that load it."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel
from transformers.models.auto import modeling_auto

from .configuration_bistill import HEADS, BistillConfig
from .modeling_bistill import (
    BistillForMaskedLM,
    BistillForQuestionAnswering,
    BistillForSequenceClassification,
    BistillForTokenClassification,
    BistillModel,
)

MODEL_CLASSES = {
    "AutoModel": BistillModel,
    "AutoModelForMaskedLM": BistillForMaskedLM,
    "AutoModelForTokenClassification": BistillForTokenClassification,
    "AutoModelForSequenceClassification": BistillForSequenceClassification,
    "AutoModelForQuestionAnswering": BistillForQuestionAnswering,
}
"""The loading class behind each Auto class."""

TRAVELLING_FILES = ("configuration_bistill.py", "modeling_bistill.py", "sparse_delta.py")
"""The files of this folder that are copied into every published repository."""

AUTO_MAP = {"AutoConfig": f"configuration_bistill.{BistillConfig.__name__}"} | {
    auto: f"modeling_bistill.{loader.__name__}" for auto, loader in MODEL_CLASSES.items()
}
"""`auto_map` of config.json: where transformers finds the classes when this package is not installed."""


def register() -> None:
    """Register the model type with AutoConfig and the five Auto classes; calling it again changes nothing."""
    AutoConfig.register(BistillConfig.model_type, BistillConfig, exist_ok=True)
    AutoModel.register(BistillConfig, BistillModel, exist_ok=True)
    for auto in HEADS.values():
        getattr(modeling_auto, auto).register(BistillConfig, MODEL_CLASSES[auto], exist_ok=True)


register()
