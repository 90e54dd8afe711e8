"""Configs as teachers on the Hub have them, older spellings included, are cut right and survive packaging."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel

from bistill_hub import BistillConfig
from bistill_hub.student.backbones import backbone_for
from bistill_hub.student.build import cut_config, cut_model
from bistill_hub.student.layers import layer_map_for

# What matters of each: sizes, special tokens, kinds of layers, positions. Vocabularies and widths are smaller.
CONFIGS = {
    "distilbert-base-multilingual-cased": {
        "model_type": "distilbert",
        "activation": "gelu",
        "attention_dropout": 0.1,
        "dim": 24,
        "dropout": 0.1,
        "hidden_dim": 48,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "n_heads": 12,
        "n_layers": 6,
        "output_past": True,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": 500,
    },
    "mdeberta-v3-base": {
        "model_type": "deberta-v2",
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "layer_norm_eps": 1e-7,
        "max_relative_positions": -1,
        "position_biased_input": False,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "type_vocab_size": 0,
        "vocab_size": 500,
    },
    "mmBERT-base": {
        "model_type": "modernbert",
        "bos_token_id": 2,
        "classifier_pooling": "mean",
        "cls_token_id": 1,
        "eos_token_id": 1,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160_000,
        "hidden_activation": "gelu",
        "hidden_size": 24,
        "intermediate_size": 36,
        "layer_norm_eps": 1e-5,
        "local_attention": 128,
        "local_rope_theta": 160_000,
        "mask_token_id": 4,
        "max_position_embeddings": 8192,
        "num_attention_heads": 2,
        "num_hidden_layers": 22,
        "pad_token_id": 0,
        "position_embedding_type": "sans_pos",
        "reference_compile": True,
        "sep_token_id": 1,
        "vocab_size": 500,
    },
    "ModernBERT-base": {
        "model_type": "modernbert",
        "bos_token_id": 481,
        "cls_token_id": 481,
        "eos_token_id": 482,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160_000.0,
        "hidden_size": 24,
        "intermediate_size": 36,
        "local_attention": 128,
        "local_rope_theta": 10_000.0,
        "num_attention_heads": 2,
        "num_hidden_layers": 22,
        "pad_token_id": 483,
        "sep_token_id": 482,
        "vocab_size": 500,
    },
}
TOKENS = torch.tensor([*range(5), *range(5, 480, 3), 481, 482, 483])
every_teacher = pytest.mark.parametrize("name", CONFIGS)


@pytest.fixture
def config(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]))
    return AutoConfig.from_pretrained(tmp_path)


@every_teacher
@pytest.mark.parametrize("kept", [3, 5])
def test_a_student_of_it_survives_packaging(name, config, kept, tmp_path):
    layer_map = layer_map_for(config.num_hidden_layers, kept=kept)
    torch.manual_seed(0)
    student = cut_model(AutoModel.from_config(config), TOKENS, layer_map, dropout=0.0).eval()
    assert (student.config.num_hidden_layers, student.config.vocab_size) == (kept, len(TOKENS))
    BistillConfig.from_backbone(student.config, layer_map=layer_map).save_pretrained(tmp_path / "pair")
    native = AutoConfig.from_pretrained(tmp_path / "pair").backbone_config()
    again = type(student).from_pretrained(None, config=native, state_dict=student.state_dict())
    ids = torch.arange(5, 105)[None]
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).last_hidden_state, student(input_ids=ids).last_hidden_state)


@pytest.mark.parametrize(
    ("name", "layer_map", "kinds"),
    [
        ("mmBERT-base", (2, 5, 8, 12, 15, 18, 21), "lllgggg"),
        ("mmBERT-base", (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21), "lgllgllgllg"),
        ("ModernBERT-base", (0, 1, 2, 3, 4, 5, 6), "gllgllg"),
        ("ModernBERT-base", (10, 21), "lg"),
    ],
)
def test_kinds_of_layers_and_bases_of_positions_are_those_of_the_kept_layers(name, config, layer_map, kinds):
    cut = cut_config(config, None, layer_map)
    assert "".join({"sliding_attention": "l", "full_attention": "g"}[kind] for kind in cut.layer_types) == kinds
    student = AutoModel.from_config(cut)
    bases = {"g": 160_000.0, "l": 160_000.0 if name == "mmBERT-base" else 10_000.0}
    for kind, field in (("l", "sliding_attention"), ("g", "full_attention")):
        assert cut.rope_parameters[field]["rope_theta"] == bases[kind]
        if kind in kinds:  # a head is 12 wide
            frequencies = getattr(student.rotary_emb, f"{field}_inv_freq")
            torch.testing.assert_close(frequencies, bases[kind] ** (-torch.arange(0, 12, 2) / 12))
    assert not hasattr(cut, "global_attn_every_n_layers")


@every_teacher
def test_no_field_that_a_cut_does_not_concern_is_changed(name, config):
    cut = cut_config(config, dropout=0.0)
    dropouts = set(backbone_for(config).dropout_fields)
    changed = {field for field, value in config.to_dict().items() if cut.to_dict()[field] != value}
    assert changed <= dropouts
    assert {getattr(cut, field) for field in dropouts if hasattr(cut, field)} == {0.0}
