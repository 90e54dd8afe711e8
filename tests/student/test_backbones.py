from types import SimpleNamespace

import pytest
from transformers import AutoModelForMaskedLM, BertForPreTraining, BertModel, XLMRobertaModel

from bistill_hub.errors import InputError
from bistill_hub.student.backbones import BACKBONES, backbone_for


@pytest.fixture(params=["bert", "xlm-roberta"])
def masked_lm(request, make_teacher, wordpiece, unigram):
    model_class, tokenizer = (BertModel, wordpiece) if request.param == "bert" else (XLMRobertaModel, unigram)
    return AutoModelForMaskedLM.from_config(make_teacher(model_class, tokenizer).config)


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


def test_layers_are_found_and_renamed_with_and_without_the_prefix():
    bert = BACKBONES["bert"]
    assert bert.layer_of("bert.encoder.layer.11.output.dense.weight") == 11
    assert bert.layer_of("encoder.layer.0.output.dense.weight") == 0
    assert bert.layer_of("embeddings.word_embeddings.weight") is None
    assert bert.in_layer("bert.encoder.layer.11.output.dense.bias", 5) == "bert.encoder.layer.5.output.dense.bias"
    assert bert.in_layer("encoder.layer.1.output.dense.bias", 0) == "encoder.layer.0.output.dense.bias"


def test_the_pretraining_head_of_bert_is_known_too(make_teacher, wordpiece):
    model = make_teacher(BertForPreTraining, wordpiece)
    backbone = backbone_for(model.config)
    assert sum(map(backbone.has_vocabulary_rows, model.state_dict())) == 4


def test_another_architecture_is_refused_with_the_list_of_those_supported():
    with pytest.raises(InputError, match=r"model_type = 'gpt2'.*\['bert', 'xlm-roberta'\]"):
        backbone_for(SimpleNamespace(model_type="gpt2"))
