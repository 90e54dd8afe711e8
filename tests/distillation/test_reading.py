"""Attention that is compared while the student runs gives what the losses say of attentions that are handed over."""

import math

import pytest
import torch
from tiny_models import CLASSES, class_of, padded_batch, tiny_model
from torch.nn.functional import mse_loss
from torch.profiler import ProfilerActivity, profile

from bistill_hub.distillation import reading as distillation_reading
from bistill_hub.distillation.reading import (
    IMPLEMENTATION,
    Attention,
    AttentionErrors,
    KeptAttentions,
    layers_by_module,
    reading,
    sum_of_squared_errors,
)

READABLE = [name for name in CLASSES if name != "deberta-v2"]
MODULE = torch.nn.Identity()
SHAPE = (2, 3, 5, 4)
"""Batch, heads, positions, head size."""


def tensors(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(SHAPE, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    target = torch.rand(2, 3, 5, 5, generator=generator, dtype=torch.float64).softmax(dim=-1).to(dtype)
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    return query, key, value, target, real


def compare(query, key, value, target, real, *, padded, dropout=0.0):
    mask = real[:, None, None, :].expand(-1, 1, 5, -1) if padded else None
    pairs = real[:, None, :, None] & real[:, None, None, :] if padded else None
    theirs = target if isinstance(target, Attention) else Attention((target,))
    errors = AttentionErrors({MODULE: 0}, {0: theirs}, pairs)
    output = errors(MODULE, query, key, value, mask, 0.5, dropout)
    return output, errors.sums[0]


def plainly(query, key, value, target, real, *, padded):
    """The same in the words of the formula."""
    scores = 0.5 * torch.einsum("bhqd,bhkd->bhqk", query, key)
    if padded:
        scores = scores.masked_fill(~real[:, None, None, :], -math.inf)
    probabilities = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    error = (probabilities - target).square()
    if padded:
        error = error * (real[:, None, :, None] & real[:, None, None, :])
    return torch.einsum("bhqk,bhkd->bhqd", probabilities, value), error.sum()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("part_bytes", [0, 512 * 1024], ids=["row by row", "at once"])
def test_output_error_and_gradients_are_those_of_the_formula(padded, part_bytes, monkeypatch):
    monkeypatch.setattr(distillation_reading, "_PART_BYTES", part_bytes)
    results = []
    for attend in (compare, plainly):
        query, key, value, target, real = tensors()
        leaves = [each.requires_grad_() for each in (query, key, value)]
        output, error = attend(query, key, value, target, real, padded=padded)
        (output.sin().sum() + 3 * error).backward()
        results.append([output, error, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("part_bytes", [0, 512 * 1024], ids=["row by row", "at once"])
def test_a_teachers_query_and_key_do_for_its_probabilities(padded, part_bytes, monkeypatch):
    """And a batch may be compared in parts."""
    monkeypatch.setattr(distillation_reading, "_PART_BYTES", part_bytes)
    (query, key, _, _, real), results = tensors(seed=3), []
    mask = real[:, None, None, :].expand(-1, 1, 5, -1) if padded else None
    theirs = Attention((query, key, mask), 0.7)
    scores = 0.7 * torch.einsum("bhqd,bhkd->bhqk", query, key)
    expected = (scores.masked_fill(~mask, -math.inf) if padded else scores).softmax(dim=-1)
    for target, attend in ((theirs, compare), (expected, plainly)):
        *given, _, real = tensors()
        leaves = [each.requires_grad_() for each in given]
        output, error = attend(*given, target, real, padded=padded)
        (output.sin().sum() + 3 * error).backward()
        results.append([output, error, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "positions", "dtype", "sizes"),
    [
        (32, 30, torch.float32, [32]),  # 14,400 bytes of probabilities a row
        (20, 128, torch.float32, [2] * 10),  # 262,144 bytes
        (5, 128, torch.float32, [2, 2, 1]),
        (8, 128, torch.bfloat16, [4, 4]),
        (3, 256, torch.float32, [1, 1, 1]),  # a row is more than may be compared at once
        (0, 128, torch.float32, []),
    ],
)
def test_short_rows_are_compared_together_and_each_once(rows, positions, dtype, sizes):
    query = torch.empty(rows, 4, positions, 8, dtype=dtype)
    parts = distillation_reading._parts(query, query)
    assert [len(range(rows)[part]) for part in parts] == sizes
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))


@pytest.mark.parametrize("shared", [False, True], ids=["a mask of each row", "one mask for all"])
def test_a_mask_may_be_one_for_all_rows(shared):
    query, key, value, target, _ = tensors()
    rows = 1 if shared else SHAPE[0]
    mask = torch.ones(5, 5).tril().bool().expand(rows, 1, 5, 5)
    errors = AttentionErrors({MODULE: 0}, {0: Attention((target,))}, None)
    output = errors(MODULE, query, key, value, mask, 0.5, 0.0)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.5)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("positions", "dtype", "formed"),
    [(16, torch.float32, False), (17, torch.float32, True), (17, torch.float64, True), (17, torch.bfloat16, False)],
)
def test_what_takes_less_is_kept(positions, dtype, formed):
    """In types of four bytes and more."""
    query, key, value = (torch.randn(2, 3, positions, 8, dtype=dtype) for _ in range(3))
    kept = KeptAttentions({MODULE: 0})
    output = kept(MODULE, query, key, value, None, 0.5, 0.0)
    attention = kept.found[0]
    assert (attention.scaling is not None) == formed
    if dtype.itemsize >= 4:
        assert sum(each.numel() for each in attention.tensors if each is not None) <= 2 * 3 * 2 * positions * 8
    expected = (0.5 * query @ key.transpose(2, 3)).softmax(dim=-1)
    torch.testing.assert_close(output, expected @ value)
    torch.testing.assert_close(attention.probabilities(), expected)
    torch.testing.assert_close(attention.probabilities(slice(1, 2)), expected[1:])


def test_long_rows_are_compared_one_at_a_time_which_takes_memory_for_one():
    """Beside what comes out: output, gradients, and what backward passes hand to each other."""
    rows, heads, positions, size = 16, 4, 256, 32
    query, key, value, of_output = (torch.randn(rows, heads, positions, size) for _ in range(4))
    theirs = Attention((torch.randn_like(query), torch.randn_like(key), None), 0.5)
    leaves = [each.requires_grad_() for each in (query, key, value)]

    def train():
        errors = AttentionErrors({MODULE: 0}, {0: theirs}, None)
        output = errors(MODULE, *leaves, None, 0.5, 0.0)
        torch.autograd.backward([output, errors.sums[0]], [of_output, torch.ones(())])

    train()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        train()
    changes = [e.nbytes() for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    most = max(sum(changes[: end + 1]) for end in range(len(changes)))
    states, probabilities = 4 * query.numel(), 4 * rows * heads * positions**2
    assert most < 6 * states + probabilities / 2


@pytest.mark.parametrize("padded", [False, True])
def test_gradients_are_those_of_finite_differences(padded):
    query, key, value, target, real = tensors(seed=1)
    leaves = [each.requires_grad_() for each in (query, key, value)]
    assert torch.autograd.gradcheck(lambda q, k, v: compare(q, k, v, target, real, padded=padded), leaves)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_half_precision_is_near_to_the_formula(dtype, tolerance):
    results = []
    for attend, kind in ((compare, dtype), (plainly, torch.float64)):
        query, key, value, target, real = (each.to(kind) if each.is_floating_point() else each for each in tensors())
        leaves = [each.requires_grad_() for each in (query, key, value)]
        output, error = attend(query, key, value, target, real, padded=True)
        (output.double().sin().sum() + 3 * error.double()).backward()
        results.append([output.double(), error.double(), *(leaf.grad.double() for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * other.detach().abs().max().item())


def test_a_gradient_that_is_scaled_up_for_float16_stays_finite():
    query, key, value, target, real = tensors(torch.float16)
    query.requires_grad_()
    _, error = compare(query, key, value, target, real, padded=False)
    (error * 60_000.0 / 1e3).backward()
    assert bool(query.grad.isfinite().all())
    assert float(query.grad.abs().max()) > 0


def test_dropout_comes_after_the_comparison():
    given = tensors()
    torch.manual_seed(0)
    output, error = compare(*given, padded=True, dropout=0.5)
    undropped, same_error = compare(*given, padded=True)
    assert not torch.allclose(output, undropped)
    torch.testing.assert_close(error, same_error)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_squared_errors_and_their_gradient_equal_torchs(dtype, weighted):
    generator = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(3, 4, 5, generator=generator).to(dtype) for _ in range(2))
    weights = torch.rand(3, 4, 1, generator=generator) > 0.4 if weighted else None
    student.requires_grad_()
    found = sum_of_squared_errors(student, teacher, weights)
    (gradient,) = torch.autograd.grad(found, student)
    again = student.detach().double().requires_grad_()
    counted = torch.ones(3, 4, 5, dtype=torch.bool) if weights is None else weights.expand(3, 4, 5)
    expected = mse_loss(again[counted], teacher.double()[counted], reduction="sum")
    (expected_gradient,) = torch.autograd.grad(expected, again)
    tolerance = 0.01 if dtype == torch.bfloat16 else 1e-6  # differences are of the tensors' own type
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=1e-6)


def test_what_stands_at_uncounted_places_does_not_matter_even_if_it_is_not_finite():
    student, teacher = torch.ones(2, 3, requires_grad=True), torch.full((2, 3), math.inf)
    teacher[0] = 0.0
    total = sum_of_squared_errors(student, teacher, torch.tensor([[True], [False]]))
    total.backward()
    assert total.item() == 3
    assert student.grad.tolist() == [[2, 2, 2], [0, 0, 0]]


def test_tensors_of_different_shapes_are_not_compared():
    with pytest.raises(ValueError, match=r"differ in shape: \(2, 3\), \(2, 1\)"):
        sum_of_squared_errors(torch.ones(2, 3), torch.ones(2, 1))
    query, key, value, _, real = tensors()
    with pytest.raises(ValueError, match="differ in shape"):
        compare(query, key, value, torch.ones(2, 1, 5, 5), real, padded=False)


@pytest.mark.parametrize("backbone", READABLE)
def test_what_a_model_keeps_while_it_runs_is_what_it_hands_over(backbone):
    model, batch = tiny_model(class_of(backbone)).eval(), padded_batch()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**batch, output_attentions=True)
        model.set_attn_implementation(IMPLEMENTATION)
        kept = KeptAttentions({module: layer for module, layer in layers_by_module(model).items() if layer in (1, 3)})
        with reading(kept):
            found = model(**batch)
        asked = model(**batch, output_attentions=True)
        alone = model(**batch)
    real = batch["attention_mask"].bool()
    assert sorted(kept.found) == [1, 3]
    for layer, kept_of_layer in kept.found.items():
        attention = kept_of_layer.probabilities()
        rows = real[:, None, :, None].expand_as(attention)
        torch.testing.assert_close(attention[rows], expected.attentions[layer][rows], rtol=1e-5, atol=1e-6)
    for one, other in zip(asked.attentions, expected.attentions, strict=True):
        rows = real[:, None, :, None].expand_as(one)
        torch.testing.assert_close(one[rows], other[rows], rtol=1e-5, atol=1e-6)
    for output in (found, asked, alone):
        torch.testing.assert_close(output[0][real], expected[0][real], rtol=1e-4, atol=1e-5)


def test_nobody_reads_a_model_outside_the_context_even_after_an_error():
    model = tiny_model(class_of("bert")).eval()
    model.set_attn_implementation(IMPLEMENTATION)
    kept = KeptAttentions(layers_by_module(model))
    with pytest.raises(RuntimeError, match="on purpose"), reading(kept):
        raise RuntimeError("on purpose")
    model(**padded_batch())
    assert kept.found == {}
