"""What models return as attentions are the probabilities that a second implementation finds from the weights."""

import math

import pytest
import torch
from tiny_models import CLASSES, class_of, padded_batch, tiny_model

from bistill_hub.distillation.losses import attention_loss
from bistill_hub.student.backbones import BACKBONES
from bistill_hub.student.build import cut_model

HEADS, WIDTH = 4, 8
each_backbone = pytest.mark.parametrize("backbone", CLASSES)


def split(values):
    """[batch, positions, heads * width] to [batch, heads, positions, width]."""
    return values.unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)


def plain(query, key):
    """Scores of ordinary attention."""
    return torch.einsum("bhqd,bhkd->bhqk", split(query), split(key)) / math.sqrt(WIDTH)


def bert_scores(model, layer, hidden):
    block = model.encoder.layer[layer].attention.self
    return plain(block.query(hidden), block.key(hidden))


def distilbert_scores(model, layer, hidden):
    block = model.transformer.layer[layer].attention
    return plain(block.q_lin(hidden), block.k_lin(hidden))


def bucket(distance, buckets, longest):
    """Near distances have buckets of their own, farther ones share them by their logarithm."""
    half = buckets // 2
    if abs(distance) <= half:
        return distance
    share = math.log(abs(distance) / half) / math.log((longest - 1) / half)
    return int(math.copysign(math.ceil(share * (half - 1)) + half, distance))


def deberta_scores(model, layer, hidden):
    """Content to content, content to position and position to content, each by the square root of three widths."""
    block = model.encoder.layer[layer].attention.self
    buckets = model.config.position_buckets
    length = hidden.shape[1]
    rows = torch.tensor([[bucket(i - j, buckets, 130) + buckets for j in range(length)] for i in range(length)])
    distances = model.encoder.LayerNorm(model.encoder.rel_embeddings.weight)[None]
    query, key = split(block.query_proj(hidden)), split(block.key_proj(hidden))
    key_of, query_of = split(block.key_proj(distances))[0], split(block.query_proj(distances))[0]
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key)
    scores = scores + torch.einsum("bhqd,hqkd->bhqk", query, key_of[:, rows.clamp(0, 2 * buckets - 1)])
    scores = scores + torch.einsum("bhkd,hqkd->bhqk", key, query_of[:, rows.clamp(0, 2 * buckets - 1)])
    return scores / math.sqrt(3 * WIDTH)


def rotated(values, base):
    """Rotary positions as a multiplication of complex numbers; the first half are real parts, the second imaginary."""
    positions = torch.arange(values.shape[2])
    frequencies = base ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    turn = torch.polar(torch.ones(len(positions), WIDTH // 2), positions[:, None] * frequencies)
    numbers = torch.complex(*values.chunk(2, dim=-1)) * turn
    return torch.cat([numbers.real, numbers.imag], dim=-1)


def modernbert_scores(model, layer, hidden):
    block = model.layers[layer]
    local = model.config.layer_types[layer] == "sliding_attention"
    read = hidden if layer == 0 else block.attn_norm(hidden)
    query, key, _ = block.attn.Wqkv(read).chunk(3, dim=-1)
    base = 10_000.0 if local else 160_000.0
    scores = torch.einsum("bhqd,bhkd->bhqk", rotated(split(query), base), rotated(split(key), base)) / math.sqrt(WIDTH)
    positions = torch.arange(hidden.shape[1])
    far = (positions[:, None] - positions[None, :]).abs() > model.config.local_attention // 2
    return scores.masked_fill(far, -math.inf) if local else scores


SCORES = {
    "bert": bert_scores,
    "xlm-roberta": bert_scores,
    "distilbert": distilbert_scores,
    "deberta-v2": deberta_scores,
    "modernbert": modernbert_scores,
}


@each_backbone
@pytest.mark.parametrize("layer_map", [None, (1, 2)], ids=["teacher", "student"])
def test_attentions_are_the_probabilities_before_any_dropout(backbone, layer_map):
    model = tiny_model(class_of(backbone))
    if layer_map is not None:
        model = cut_model(model, None, layer_map, dropout=0.0).train()
    model.set_attn_implementation(BACKBONES[backbone].attentions_under)
    batch = padded_batch()
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        found = model(**batch, output_attentions=True, output_hidden_states=True)
        assert len(found.attentions) == model.config.num_hidden_layers
        for layer, attention in enumerate(found.attentions):
            scores = SCORES[backbone](model, layer, found.hidden_states[layer])
            expected = scores.masked_fill(~real[:, None, None, :], -math.inf).softmax(dim=-1)
            rows = real[:, None, :, None].expand_as(expected)
            torch.testing.assert_close(attention[rows], expected[rows], rtol=1e-4, atol=1e-6)
            assert attention.masked_select(rows & ~real[:, None, None, :]).abs().max() == 0, "padding is not looked at"
    # Rows of padding hold something else, and count for nothing.
    noise = [attention.where(real[:, None, :, None], 7.0) for attention in found.attentions]
    assert attention_loss(found.attentions, noise, batch["attention_mask"]) == 0


@each_backbone
def test_an_attention_implementation_that_returns_none_is_an_error(backbone):
    model = tiny_model(class_of(backbone))
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        found = model(**padded_batch(), output_attentions=True).attentions
    if backbone == "deberta-v2":  # it has no other implementation than its own, and goes on with it
        assert len(found) == 4
    else:
        with pytest.raises(ValueError, match="returned no attentions"):
            attention_loss(found, found)


@pytest.mark.parametrize("backbone", [name for name in CLASSES if name != "deberta-v2"])
def test_a_student_computes_the_same_under_the_attention_that_it_is_used_with(backbone):
    model = cut_model(tiny_model(class_of(backbone)), None, (1, 2))
    batch = padded_batch()
    states = []
    for attention in (BACKBONES[backbone].attentions_under, "sdpa"):
        model.set_attn_implementation(attention)
        with torch.no_grad():
            states.append(model(**batch).last_hidden_state[batch["attention_mask"].bool()])
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)
