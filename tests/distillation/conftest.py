"""Tiny random teachers and students, and data of unequal lengths, for the trainers' tests."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@pytest.fixture
def tiny_model():
    """Build a seeded random model: `tiny_model("bert", layers=4, seed=0, labels=None)`."""

    def build(model_type="bert", *, layers=4, seed=0, labels=None):
        torch.manual_seed(seed)
        kwargs = {"id2label": dict(enumerate(labels))} if labels else {}
        config = AutoConfig.for_model(model_type, **SIZES, num_hidden_layers=layers, **kwargs)
        # Attentions and states far from uniform, so that every term has a gradient worth comparing.
        config.initializer_range = 0.3
        return (AutoModelForTokenClassification if labels else AutoModel).from_config(config)

    return build


@pytest.fixture
def uneven_rows():
    """Rows of very unequal lengths, with labels on an unequal share of the positions."""

    def rows(count):
        generator = torch.Generator().manual_seed(5)
        made = []
        for index in range(count):
            length = [3, 25, 9, 17, 5, 30, 12, 7][index % 8]
            ids = torch.randint(5, 60, (length,), generator=generator).tolist()
            labels = torch.randint(0, 3, (length,), generator=generator).tolist()
            labels[0] = -100
            if index % 3 == 0:
                labels[: length // 2 + 1] = [-100] * (length // 2 + 1)
            made.append({"input_ids": ids, "attention_mask": [1] * length, "labels": labels})
        return Dataset.from_list(made)

    return rows
