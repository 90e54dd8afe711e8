"""Linear layers in fp32 multiply by oneDNN where that is faster, and by it compute the same."""

import copy

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from bistill_hub import cli, fp32_products, run
from bistill_hub.distillation.recomputing import forming_again
from bistill_hub.errors import InputError
from bistill_hub.fp32_products import LEAST, VARIABLE, faster_fp32_products, gains, is_chosen, is_there
from bistill_hub.processor import Processor

TOKENS, NARROW, WIDE = 512, 128, 256
"""Twice as many multiplications as are needed."""

PROCESSORS = {
    "Zen 5": ("AuthenticAMD", 26, "AVX512", True),
    "a later one": ("AuthenticAMD", 27, "AVX512", True),
    "Zen 5 without its wide vectors": ("AuthenticAMD", 26, "AVX2", False),
    "Zen 4": ("AuthenticAMD", 25, "AVX512", False),
    "Intel's": ("GenuineIntel", 26, "AVX512", False),
    "nothing is told": ("", None, "AVX512", False),
}

pytestmark = pytest.mark.skipif(
    not is_there() or torch.accelerator.is_available(),
    reason="it is not used here: no oneDNN, or a GPU",
)


@pytest.fixture
def asked_for(monkeypatch):
    """oneDNN, whatever the processor, and the numbers of its products."""
    real, products = fp32_products.product, []

    def counted(*tensors):
        products.append([tuple(tensor.shape) for tensor in tensors if tensor is not None])
        return real(*tensors)

    monkeypatch.setenv(VARIABLE, "onednn")
    monkeypatch.setattr(fp32_products, "product", counted)
    return products


def gradients(layer, given, of_output):
    """The output of a layer, and the gradients of whatever learns."""
    learning = [each for each in (given, *layer.parameters()) if each.requires_grad]
    output = layer(given)
    return [output.detach(), *torch.autograd.grad(output, learning, of_output)] if learning else [output]


def twice(name, **changes):
    """A layer with its input in fp32 and in fp64."""
    torch.manual_seed(0)
    layer = nn.Linear(NARROW, WIDE, bias=changes.get("bias", True))
    for frozen in changes.get("frozen", ()):
        getattr(layer, frozen).requires_grad_(False)
    shape = {"of three dimensions": (4, TOKENS // 4, NARROW), "not contiguous": (NARROW, TOKENS)}.get(name)
    given = torch.randn(shape or (TOKENS, NARROW))
    given = given.t() if name == "not contiguous" else given
    of_output = torch.randn(*given.shape[:-1], WIDE)
    if name == "a broadcast gradient":
        of_output = of_output[:1].expand(TOKENS, WIDE)
    precise = given.detach().double().requires_grad_(changes.get("input", True))
    return (layer, given.requires_grad_(changes.get("input", True)), of_output), (
        copy.deepcopy(layer).double(),
        precise,
        of_output.double(),
    )


@pytest.mark.parametrize(
    ("name", "changes", "products"),
    [
        ("of two dimensions", {}, 3),
        ("of three dimensions", {}, 3),
        ("not contiguous", {}, 3),
        ("a broadcast gradient", {}, 3),
        ("no bias", {"bias": False}, 3),
        ("a frozen weight", {"frozen": ["weight"]}, 2),
        ("a bias alone learns", {"frozen": ["weight"], "input": False}, 1),
        ("the first layer", {"input": False}, 2),
        ("nothing learns", {"frozen": ["weight", "bias"], "input": False}, 1),
    ],
)
def test_outputs_and_gradients_are_those_of_fp64_as_closely_as_torchs(name, changes, products, asked_for):
    ours, precise = twice(name, **changes)
    by_torch, expected = gradients(*ours), gradients(*precise)
    assert not asked_for
    with faster_fp32_products():
        found = gradients(*ours)
    assert len(asked_for) == products
    assert len(found) == len(by_torch) == len(expected)
    for mine, torchs, right in zip(found, by_torch, expected, strict=True):
        scale = right.abs().max()
        assert (mine.dtype, mine.shape) == (torch.float32, right.shape)
        assert (mine - right).abs().max() < 2e-6 * scale > (torchs - right).abs().max()


def test_a_layer_that_is_taught_by_it_learns_the_same(asked_for):
    def trained():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(NARROW, WIDE), nn.GELU(), nn.LayerNorm(WIDE), nn.Linear(WIDE, NARROW))
        given, wanted = torch.randn(2, TOKENS, NARROW)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(10):
            with forming_again([model[1], model[2]]):
                loss = nn.functional.mse_loss(model(given), wanted)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    by_torch = trained()
    with faster_fp32_products():
        found = trained()
    assert len(asked_for) == 10 * 5  # the first layer's input learns nothing
    assert found[-1] < 0.98 * found[0]
    assert found == pytest.approx(by_torch, rel=1e-5)


def test_a_weight_that_was_changed_before_the_backward_pass_is_noticed(asked_for):
    (layer, given, of_output), _ = twice("of two dimensions")
    with faster_fp32_products():
        output = layer(given)
        with torch.no_grad():
            layer.weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.backward(of_output)


@pytest.mark.parametrize("other", ["bf16", "under autocast", "few numbers", "fp64", "one vector"])
def test_what_is_no_large_product_in_fp32_is_torchs(other, asked_for):
    layer, given = nn.Linear(NARROW, WIDE), torch.randn(TOKENS, NARROW)
    if other == "few numbers":
        given = given[: LEAST // (NARROW * WIDE) - 1]
    if other == "one vector":
        layer, given = nn.Linear(2**14, 2**10), torch.randn(2**14)
    dtype = {"bf16": torch.bfloat16, "fp64": torch.float64}.get(other, torch.float32)
    layer, given = layer.to(dtype), given.to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=other == "under autocast"):
        expected = layer(given)
        with faster_fp32_products():
            found = layer(given)
    assert not asked_for
    assert torch.equal(found, expected)


def test_it_ends_with_what_it_was_for_one_within_the_other_too(asked_for):
    before = nn.Linear.forward
    with faster_fp32_products():
        within = nn.Linear.forward
        with pytest.raises(InputError), faster_fp32_products():
            raise InputError("on the way", field="x", value=0, remedy="none")
        assert nn.Linear.forward is within is not before
    assert nn.Linear.forward is before


@pytest.mark.parametrize("name", PROCESSORS)
def test_it_is_for_processors_that_have_been_seen_to_gain(name):
    vendor, family, capability, expected = PROCESSORS[name]
    assert gains(Processor("some processor", vendor, family, 2), capability) is expected


def test_a_user_says_otherwise(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for processor in (True, False):
        monkeypatch.setattr(fp32_products, "gains", lambda *_, gains=processor: gains)
        assert is_chosen() is processor
    monkeypatch.setenv(VARIABLE, "onednn")
    assert is_chosen()
    monkeypatch.setattr(fp32_products, "gains", lambda *_: True)
    monkeypatch.setenv(VARIABLE, "torch")
    assert not is_chosen()
    monkeypatch.setenv(VARIABLE, "onednn")
    with monkeypatch.context() as without:
        without.setattr(fp32_products, "is_there", lambda: False)
        assert not is_chosen()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not is_chosen()


def test_a_library_that_there_is_not_is_refused_before_anything_is_done(monkeypatch, small_recipes, tmp_path):
    monkeypatch.setenv(VARIABLE, "blis")
    with pytest.raises(InputError, match="Say onednn or torch"):
        run(small_recipes["bert"], tmp_path / "out", progress=False)
    assert not list(tmp_path.rglob("manifest.json"))
    result = CliRunner().invoke(cli.main, ["run", "en_sw", "--output", str(tmp_path / "out")])
    assert (result.exit_code, VARIABLE in result.output, "Traceback" in result.output) == (2, True, False)


def test_every_stage_of_a_run_uses_it_and_comes_to_the_same(monkeypatch, runs, small_recipes, tmp_path, asked_for):
    monkeypatch.setattr(fp32_products, "LEAST", 0)
    recipe, counts = small_recipes["bert"], {}
    for stage in ("student", "phase-1", "ner-teacher", "ner-phase-2", None):
        found = run(recipe, tmp_path / "out", until=stage, progress=False)
        counts[stage] = len(asked_for)
    assert counts["student"] < counts["phase-1"] < counts["ner-teacher"] < counts["ner-phase-2"] < counts[None]
    assert sum(len(shapes) == 2 for shapes in asked_for) > 100, "gradients, which add no bias"
    by_torch = {(r.task, r.role, r.model): r.score for r in runs["bert"].results}
    scores = {(r.task, r.role, r.model): r.score for r in found.results}
    assert scores == pytest.approx(by_torch, abs=0.05)
