"""The three terms of the distillation objective, under the name that users import them by."""

from .distillation.losses import attention_loss, hidden_state_loss, soft_cross_entropy

__all__ = ["attention_loss", "hidden_state_loss", "soft_cross_entropy"]
