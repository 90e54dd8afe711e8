"""Sizes are what a count by hand gives, whatever attention runs, and the model that is measured stays as it is."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    BertModel,
    ElectraConfig,
    ElectraModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from bistill_hub.errors import InputError
from bistill_hub.evaluation.size import measure_size, random_inputs

HIDDEN, INNER, LAYERS, VOCABULARY, POSITIONS, TYPES = 32, 48, 3, 50, 42, 2
SHAPE = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": TYPES,
}
BACKBONES = {"bert": (BertConfig, BertModel), "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel)}
EMBEDDINGS = VOCABULARY * HIDDEN
LAYER = 4 * (HIDDEN**2 + HIDDEN) + (HIDDEN * INNER + INNER) + (INNER * HIDDEN + HIDDEN) + 2 * 2 * HIDDEN
POOLER = HIDDEN**2 + HIDDEN
ENCODER = EMBEDDINGS + (POSITIONS + TYPES + 2) * HIDDEN + LAYERS * LAYER


def encoder(backbone="bert", *, pooler=False, attention="sdpa", **shape):
    config_class, model_class = BACKBONES[backbone]
    config = config_class(**{**SHAPE, **shape}, attn_implementation=attention)
    return model_class(config, add_pooling_layer=pooler)


def flops_a_token(hidden, inner, layers, length):
    """Two for each multiplication: four projections and two feed-forward ones, then scores and their weighted sum."""
    return 2 * (4 * hidden**2 + 2 * hidden * inner) * layers + 4 * length * hidden * layers


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("pooler", [False, True], ids=["no pooler", "pooler"])
def test_parameters_are_those_of_a_count_by_hand(backbone, pooler):
    size = measure_size(encoder(backbone, pooler=pooler), length=4)
    assert size.parameters == ENCODER + pooler * POOLER
    assert size.embedding_parameters == EMBEDDINGS
    assert size.other_parameters == size.parameters - EMBEDDINGS
    assert (size.layers, size.vocabulary) == (LAYERS, VOCABULARY)
    assert (size.bytes, size.on_disk) == (4 * size.parameters, False)
    assert size.megabytes == 4 * size.parameters / 1e6


@pytest.mark.parametrize("head", [BertForMaskedLM, BertForTokenClassification])
def test_heads_do_not_count(head):
    assert measure_size(head(BertConfig(**SHAPE)), length=4) == measure_size(encoder(), length=4)


def test_a_tensor_in_two_places_counts_once():
    model = encoder()
    first, second, _ = model.encoder.layer
    second.intermediate.dense.weight = first.intermediate.dense.weight
    size = measure_size(model, length=4)
    assert size.parameters == ENCODER - HIDDEN * INNER
    assert size.bytes == 4 * size.parameters


def test_half_precision_takes_half_the_bytes_and_the_same_operations():
    model = encoder()
    full, half = measure_size(model, length=4), measure_size(model.to(torch.bfloat16), length=4)
    assert half.bytes * 2 == full.bytes
    assert (half.parameters, half.flops_per_token) == (full.parameters, full.flops_per_token)


@pytest.mark.parametrize("shard", ["1GB", "10KB"], ids=["one file", "shards"])
def test_a_checkpoint_weighs_what_its_safetensors_do(tmp_path, shard):
    model = BertForMaskedLM(BertConfig(**SHAPE))
    model.save_pretrained(tmp_path, max_shard_size=shard)
    stored = [file for file in tmp_path.iterdir() if file.suffix == ".safetensors"]
    assert len(stored) == 1 or shard == "10KB"
    (tmp_path / "delta.safetensors").write_bytes(b"not of the checkpoint")
    size = measure_size(model, folder=str(tmp_path), length=4)
    assert size.bytes == sum(len(file.read_bytes()) for file in stored)
    assert size.bytes > 4 * size.parameters, "the head is in the checkpoint too"
    assert size.on_disk


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="no safetensors weights") as caught:
        measure_size(encoder(), folder=tmp_path, length=4)
    assert caught.value.file == str(tmp_path)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("length", [1, 7, 40])
def test_operations_follow_the_formula_whatever_attention_runs(backbone, attention, length):
    size = measure_size(encoder(backbone, attention=attention), length=length)
    assert size.flops_per_token == flops_a_token(HIDDEN, INNER, LAYERS, length)
    assert size.flops_length == length


@pytest.mark.parametrize(("hidden", "inner", "layers"), [(8, 8, 1), (16, 64, 2), (24, 16, 5)])
def test_operations_follow_the_formula_for_other_shapes(hidden, inner, layers):
    model = encoder(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers)
    assert measure_size(model, length=9).flops_per_token == flops_a_token(hidden, inner, layers, 9)


def test_a_pooler_adds_one_projection_of_one_token_of_the_text():
    found = measure_size(encoder(pooler=True), length=16).flops_per_token
    assert found == flops_a_token(HIDDEN, INNER, LAYERS, 16) + 2 * HIDDEN**2 / 16


def test_embeddings_cost_no_operations():
    large = encoder(vocab_size=5000)
    assert measure_size(large, length=8).flops_per_token == measure_size(encoder(), length=8).flops_per_token


class TestAfterwards:
    @pytest.mark.parametrize("fails", [False, True], ids=["measured", "failed"])
    def test_the_model_is_as_it_was(self, fails, monkeypatch):
        model = encoder().train()
        model.encoder.layer[1].eval()
        before = [module.training for module in model.modules()]
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if fails:
            monkeypatch.setattr(model.encoder.layer[2], "forward", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                measure_size(model, length=4)
        else:
            measure_size(model, length=4)
        assert [module.training for module in model.modules()] == before
        assert len(set(before)) == 2
        assert model.config._attn_implementation == "sdpa"
        assert torch.is_grad_enabled()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())

    def test_random_numbers_go_on_as_if_nothing_had_been_measured(self):
        model = encoder()
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        measure_size(model, length=4)
        assert torch.equal(torch.rand(3), expected)


class TestRefused:
    @pytest.mark.parametrize(("backbone", "longest"), [("bert", POSITIONS), ("xlm-roberta", POSITIONS - 2)])
    def test_texts_longer_than_the_positions(self, backbone, longest):
        model = encoder(backbone)
        assert measure_size(model, length=longest).flops_length == longest
        with pytest.raises(InputError, match=f"length = {longest + 1}: the model reads texts of 1 to {longest} tokens"):
            measure_size(model, length=longest + 1)

    def test_a_text_of_nothing(self):
        with pytest.raises(InputError, match="length = 0"):
            measure_size(encoder(), length=0)

    def test_an_architecture_that_is_not_supported(self):
        model = ElectraModel(ElectraConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9))
        with pytest.raises(InputError, match="architecture"):
            measure_size(model)


class TestTexts:
    @pytest.mark.parametrize("padding", [0, 1, 49, None])
    def test_they_are_made_of_every_token_but_padding(self, padding):
        inputs = random_inputs(encoder(pad_token_id=padding), 40, 40, seed=0)
        assert inputs["input_ids"].shape == inputs["attention_mask"].shape == (40, 40)
        assert set(inputs["input_ids"].flatten().tolist()) == set(range(VOCABULARY)) - {padding}
        assert inputs["attention_mask"].all()

    def test_the_seed_alone_determines_them(self):
        model = encoder()
        first, again, other = (random_inputs(model, 3, 9, seed)["input_ids"] for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
