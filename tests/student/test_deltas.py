"""A delta of the full teacher, trimmed, does to the trimmed teacher what the whole does to the whole."""

import math

import pytest
import torch
from tiny_models import class_of
from transformers import (
    BertForMaskedLM,
    BertForTokenClassification,
    BertModel,
    XLMRobertaForMaskedLM,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
)

from bistill_hub.model.sparse_delta import SparseDelta, SparseUpdate
from bistill_hub.student.backbones import backbone_for
from bistill_hub.student.build import trim_vocabulary
from bistill_hub.student.deltas import trim_delta

BERT = (BertModel, BertForMaskedLM, BertForTokenClassification)
XLM_R = (XLMRobertaModel, XLMRobertaForMaskedLM, XLMRobertaForTokenClassification)
OTHERS = tuple(
    class_of(model_type, head)
    for model_type in ("distilbert", "deberta-v2", "modernbert")
    for head in ("Model", "ForMaskedLM", "ForTokenClassification")
)
every_model = pytest.mark.parametrize("model_class", BERT + XLM_R + OTHERS)
masked_lm = pytest.mark.parametrize("model_class", [BertForMaskedLM, XLMRobertaForMaskedLM, *OTHERS[1::3]])


@pytest.fixture
def tokenizer(model_class, request):
    return request.getfixturevalue("wordpiece" if model_class in BERT else "unigram")


@pytest.fixture
def teacher(model_class, tokenizer, make_teacher):
    """Two calls give equal models: a delta is applied in place."""
    return lambda: make_teacher(model_class, tokenizer, num_layers=2)


@pytest.fixture
def token_map(tokenizer):
    """All special tokens and a random half of the others."""
    kept = torch.rand(len(tokenizer), generator=torch.Generator().manual_seed(1)) < 0.5
    kept[tokenizer.all_special_ids] = True
    return kept.nonzero().flatten()


def random_delta(model, *, density=0.3, dense=()):
    """Changes at random entries of every parameter, and new values for the dense ones."""
    generator = torch.Generator().manual_seed(2)
    sparse, whole = {}, {}
    for name, parameter in model.named_parameters():
        if name in dense:
            whole[name] = torch.rand(parameter.shape, generator=generator)
            continue
        indices = (torch.rand(parameter.numel(), generator=generator) < density).nonzero().flatten()
        sparse[name] = SparseUpdate(tuple(parameter.shape), indices, torch.randn(len(indices), generator=generator))
    return SparseDelta(sparse, whole, {"task": "x", "eligible_parameters": model.num_parameters()})


def assert_equal_to_the_last_bit(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@every_model
def test_trimming_before_or_after_applying_gives_the_same_weights(teacher, token_map):
    full = teacher()
    backbone = backbone_for(full.config)
    delta = random_delta(full)
    before = trim_delta(delta, backbone, token_map).apply(trim_vocabulary(full, token_map))
    after = trim_vocabulary(delta.apply(full), token_map)
    assert_equal_to_the_last_bit(before, after)
    words = after.get_input_embeddings().weight
    assert words.shape[0] == len(token_map)
    assert not torch.equal(words, teacher().get_input_embeddings().weight[token_map]), "the delta did something"


@masked_lm
@pytest.mark.parametrize("axes", [2, 1], ids=["embeddings", "bias"])
def test_whole_parameters_with_a_row_for_each_token_are_sliced_too(teacher, token_map, axes):
    full = teacher()
    backbone = backbone_for(full.config)
    rows = [(name, tensor) for name, tensor in full.named_parameters() if backbone.has_vocabulary_rows(name)]
    dense = [name for name, tensor in rows if tensor.dim() == axes]
    assert len(dense) == 1
    delta = random_delta(full, dense=dense)
    before = trim_delta(delta, backbone, token_map).apply(trim_vocabulary(full, token_map))
    assert_equal_to_the_last_bit(before, trim_vocabulary(delta.apply(full), token_map))


@masked_lm
def test_a_delta_under_the_names_of_a_model_with_a_head_can_be_put_on_the_encoder(teacher, token_map):
    encoder = teacher().base_model
    plain = random_delta(encoder)
    backbone = backbone_for(encoder.config)
    delta = SparseDelta({f"{backbone.base_model_prefix}.{name}": update for name, update in plain.sparse.items()})
    delta.dense["classifier.weight"] = torch.ones(2, 32)  # a head that the encoder does not have
    before = trim_delta(delta, backbone, token_map).apply(trim_vocabulary(encoder, token_map), strict=False)
    assert_equal_to_the_last_bit(before, trim_vocabulary(plain.apply(encoder), token_map))


@every_model
def test_the_trimmed_delta_comes_off_again_without_a_trace(teacher, token_map):
    full = teacher()
    trimmed = trim_vocabulary(full, token_map)
    delta = trim_delta(random_delta(full), backbone_for(full.config), token_map)
    delta.revert(delta.apply(trimmed))
    assert_equal_to_the_last_bit(trimmed, trim_vocabulary(teacher(), token_map))


@pytest.mark.parametrize("model_class", [BertForMaskedLM])
class TestRecord:
    def test_the_delta_given_is_left_as_it_is(self, teacher, token_map):
        full = teacher()
        delta = random_delta(full)
        shapes = {name: update.shape for name, update in delta.sparse.items()}
        trim_delta(delta, backbone_for(full.config), token_map)
        assert {name: update.shape for name, update in delta.sparse.items()} == shapes
        assert_equal_to_the_last_bit(delta.apply(teacher()), random_delta(teacher()).apply(teacher()))

    def test_what_counted_the_full_vocabulary_is_forgotten(self, teacher, token_map):
        full = teacher()
        trimmed = trim_delta(random_delta(full), backbone_for(full.config), token_map)
        assert trimmed.metadata == {"task": "x"}
        sizes = {name: math.prod(update.shape) for name, update in trimmed.sparse.items()}
        assert trimmed.density == trimmed.entries / sum(sizes.values())

    def test_keeping_every_token_changes_nothing(self, teacher, tokenizer):
        full = teacher()
        delta = random_delta(full)
        same = trim_delta(delta, backbone_for(full.config), torch.arange(len(tokenizer)))
        for name, update in delta.sparse.items():
            assert torch.equal(update.indices, same.sparse[name].indices)
            assert torch.equal(update.values, same.sparse[name].values)

    def test_a_parameter_of_which_no_changed_row_is_kept_becomes_an_empty_update(self, teacher, token_map, tmp_path):
        full = teacher()
        name = "bert.embeddings.word_embeddings.weight"
        rows, width = full.get_input_embeddings().weight.shape
        dropped = next(row for row in range(rows) if row not in token_map)
        update = SparseUpdate((rows, width), torch.tensor([dropped * width]), torch.ones(1))
        trimmed = trim_delta(SparseDelta({name: update}), backbone_for(full.config), token_map)
        trimmed.save(tmp_path / "delta.safetensors")
        loaded = SparseDelta.load(tmp_path / "delta.safetensors")
        assert (loaded.entries, loaded.sparse[name].shape) == (0, (len(token_map), width))
        model = trim_vocabulary(full, token_map)
        assert_equal_to_the_last_bit(loaded.apply(model), trim_vocabulary(teacher(), token_map))
