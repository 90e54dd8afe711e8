"""Tiny random models of every supported architecture, in which nothing is a constant that would hide a wrong copy."""

import torch
import transformers

CLASSES = {
    "bert": "Bert",
    "xlm-roberta": "XLMRoberta",
    "distilbert": "DistilBert",
    "deberta-v2": "DebertaV2",
    "modernbert": "ModernBert",
}
"""What the names of each architecture's classes begin with."""

HEADS = ("Model", "ForMaskedLM", "ForTokenClassification", "ForSequenceClassification", "ForQuestionAnswering")
"""What they end with; the Auto classes' names end so too."""

SPECIAL_IDS = {"bos_token_id": 0, "cls_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
SHAPE = {
    "max_position_embeddings": 130,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.2,
}
NAMES = {
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    }
}
"""For an architecture its own names of what the others call otherwise."""

OWN_FIELDS = {
    "deberta-v2": {  # as mDeBERTa-v3 has them
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": "p2c|c2p",
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "max_relative_positions": -1,
        "position_buckets": 8,
    },
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 3},
}
"""What makes an architecture what it is, at a size where a text of a few tokens shows it."""

VARIANTS = {
    **{name: (name, {}) for name in CLASSES},
    "untied bert": ("bert", {"tie_word_embeddings": False}),
    "untied distilbert": ("distilbert", {"tie_word_embeddings": False, "sinusoidal_pos_embds": True}),
    "untied modernbert": ("modernbert", {"tie_word_embeddings": False, "decoder_bias": False}),
    "modernbert with biases": (
        "modernbert",
        {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True},
    ),
    "deberta-v2 with a convolution": (
        "deberta-v2",
        {
            "conv_kernel_size": 3,
            "conv_act": "gelu",
            "position_biased_input": True,
            "type_vocab_size": 2,
            "share_att_key": False,
            "legacy": False,
        },
    ),
}
"""Architecture and options of models that differ in which parameters they have."""


def class_of(model_type, head="Model"):
    """The architecture's own class for a head."""
    return getattr(transformers, CLASSES[model_type] + head)


def tiny_model(model_class, vocab_size=77, num_layers=4, seed=0, special_ids=SPECIAL_IDS, **options):
    """A random model in eval mode; options are fields of its config."""
    config_class = model_class.config_class
    names = NAMES.get(config_class.model_type, {})
    shape = {**SHAPE, "num_hidden_layers": num_layers}
    config = config_class(
        **{
            "vocab_size": vocab_size,
            **{name: value for name, value in special_ids.items() if hasattr(config_class, name)},
            **{names.get(name, name): value for name, value in shape.items()},
            **OWN_FIELDS.get(config_class.model_type, {}),
            **options,
        }
    )
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():  # biases and norms begin as constants
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def padded_batch(vocab_size=77, lengths=(23, 9, 16), seed=0):
    """Random ids beside the special ones, [batch, longest], padded on the right, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocab_size, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids.where(mask.bool(), SPECIAL_IDS["pad_token_id"]), "attention_mask": mask}
