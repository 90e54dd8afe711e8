from types import SimpleNamespace

import pytest
import torch
from tiny_models import VARIANTS, class_of, padded_batch, tiny_model
from transformers import BertForPreTraining

from bistill_hub.errors import InputError
from bistill_hub.student.backbones import BACKBONES, backbone_for


@pytest.fixture(params=VARIANTS)
def masked_lm(request):
    model_type, fields = VARIANTS[request.param]
    return tiny_model(class_of(model_type, "ForMaskedLM"), vocab_size=77, **fields)


def test_the_prefix_is_that_of_the_library(masked_lm):
    backbone = backbone_for(masked_lm.config)
    assert backbone.base_model_prefix == masked_lm.base_model_prefix
    assert getattr(masked_lm, backbone.base_model_prefix) is masked_lm.base_model


def test_the_vocabulary_parameters_are_those_with_as_many_rows_as_tokens(masked_lm):
    backbone = backbone_for(masked_lm.config)
    rows = masked_lm.config.vocab_size
    for model in (masked_lm, masked_lm.base_model):
        for name, tensor in model.state_dict().items():
            assert backbone.has_vocabulary_rows(name) == (tensor.shape[0] == rows), name


def test_the_layer_norms_are_those_of_the_library(masked_lm):
    backbone = backbone_for(masked_lm.config)
    modules = {name: type(module).__name__ for name, module in masked_lm.named_modules()}
    for name in masked_lm.state_dict():
        assert backbone.is_layer_norm(name) == (modules[name.rpartition(".")[0]] == "LayerNorm"), name


def test_the_layers_are_those_of_the_library(masked_lm):
    backbone = backbone_for(masked_lm.config)
    blocks = masked_lm.base_model.get_submodule(backbone.layer_prefix.removesuffix("."))
    assert len(blocks) == masked_lm.config.num_hidden_layers == 4
    within = {id(parameter): number for number, block in enumerate(blocks) for parameter in block.parameters()}
    for model in (masked_lm, masked_lm.base_model):
        for name, parameter in model.named_parameters():
            assert backbone.layer_of(name) == within.get(id(parameter)), name


def test_what_the_first_layer_lacks_is_what_its_class_leaves_out(masked_lm):
    backbone = backbone_for(masked_lm.config)
    names = {layer: set() for layer in range(4)}
    for name, _ in masked_lm.base_model.named_parameters():
        if (layer := backbone.layer_of(name)) is not None:
            names[layer].add(backbone.in_layer(name, 0))
    lacking = {name for name in names[1] if backbone.has_no_place_first(name)}
    assert names[1] == names[2] == names[3] == names[0] | lacking
    assert names[0].isdisjoint(lacking)
    assert bool(lacking) == (backbone.first_layer is not None)


def test_the_dropout_fields_are_those_of_the_config(masked_lm):
    backbone = backbone_for(masked_lm.config)
    named = {field for field in masked_lm.config.to_dict() if "dropout" in field}
    assert named <= set(backbone.dropout_fields)
    # `cls_dropout` is what some configs have and the class does not declare.
    assert set(backbone.dropout_fields) - named <= {"cls_dropout"}


def test_a_last_hidden_state_is_behind_the_final_norm_and_every_other_one_is_not(masked_lm):
    encoder = masked_lm.base_model
    backbone = backbone_for(encoder.config)
    seen = []
    for block in encoder.get_submodule(backbone.layer_prefix.removesuffix(".")):
        block.register_forward_hook(lambda _, __, output: seen.append(output if torch.is_tensor(output) else output[0]))
    if getattr(encoder.config, "conv_kernel_size", 0):  # its output takes the place of the first layer's
        encoder.encoder.conv.register_forward_hook(lambda _, __, output: seen.__setitem__(0, output))
    with torch.no_grad():
        found = encoder(**padded_batch(77), output_hidden_states=True)
        last = encoder.get_submodule(backbone.final_norm)(seen[-1]) if backbone.final_norm else seen[-1]
    assert len(found.hidden_states) == 5
    for one, other in zip(found.hidden_states[1:], [*seen[:-1], last], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found.last_hidden_state, last)


def test_the_longest_input_is_read_and_one_token_more_is_not(masked_lm):
    encoder = masked_lm.base_model
    longest = backbone_for(encoder.config).longest_input(encoder.config)
    with torch.no_grad():
        assert encoder(input_ids=torch.full((1, longest), 5)).last_hidden_state.isfinite().all()
        if any("position_embeddings" in name for name, _ in encoder.named_parameters()):
            with pytest.raises((IndexError, RuntimeError)):
                encoder(input_ids=torch.full((1, longest + 1), 5))


def test_layers_are_found_and_renamed_with_and_without_the_prefix():
    bert = BACKBONES["bert"]
    assert bert.layer_of("bert.encoder.layer.11.output.dense.weight") == 11
    assert bert.layer_of("encoder.layer.0.output.dense.weight") == 0
    assert bert.layer_of("embeddings.word_embeddings.weight") is None
    assert bert.in_layer("bert.encoder.layer.11.output.dense.bias", 5) == "bert.encoder.layer.5.output.dense.bias"
    assert bert.in_layer("encoder.layer.1.output.dense.bias", 0) == "encoder.layer.0.output.dense.bias"
    modern = BACKBONES["modernbert"]
    assert modern.layer_of("model.layers.21.attn.Wqkv.weight") == modern.layer_of("layers.21.attn_norm.weight") == 21
    assert modern.in_layer("model.layers.21.attn.Wqkv.weight", 6) == "model.layers.6.attn.Wqkv.weight"
    assert modern.layer_of("head.dense.weight") is None
    distil = BACKBONES["distilbert"]
    assert distil.in_layer("transformer.layer.5.ffn.lin1.bias", 2) == "transformer.layer.2.ffn.lin1.bias"


def test_the_pretraining_head_of_bert_is_known_too(make_teacher, wordpiece):
    model = make_teacher(BertForPreTraining, wordpiece)
    backbone = backbone_for(model.config)
    assert sum(map(backbone.has_vocabulary_rows, model.state_dict())) == 4


def test_another_architecture_is_refused_with_the_list_of_those_supported():
    with pytest.raises(InputError, match=r"model_type = 'gpt2'.*\['bert', .*'modernbert', 'xlm-roberta'\]"):
        backbone_for(SimpleNamespace(model_type="gpt2"))
