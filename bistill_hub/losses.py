"""The terms of the distillation objective, and those that can be added, under the name that users import them by."""

from .distillation.losses import (
    attention_divergence,
    attention_loss,
    hidden_state_loss,
    relation_divergence,
    soft_cross_entropy,
)

__all__ = [
    "attention_divergence",
    "attention_loss",
    "hidden_state_loss",
    "relation_divergence",
    "soft_cross_entropy",
]
