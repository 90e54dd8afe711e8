"""What is formed again in the backward pass takes no memory until then, and changes no bit of a gradient."""

import gc
from types import SimpleNamespace

import pytest
import torch
from tiny_models import CLASSES, class_of, padded_batch, tiny_model
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bistill_hub.distillation.comparison import ATTENTION, DIVERGENCE, HIDDEN, RELATIONS, LayerwiseComparison
from bistill_hub.distillation.recomputing import cheap_modules, forming_again
from bistill_hub.student.build import cut_model


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def kept_by(run):
    """How many bytes a computation keeps for its backward pass, with what it returns."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = run()
    events = seen.profiler.kineto_results.events()
    del result
    return sum(event.nbytes() for event in events if event.name() == "[memory]")


class FeedForward(nn.Module):
    def __init__(self, between=None, activation=None):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)
        self.activation, self.between = activation or nn.GELU(), between or nn.Identity()

    def forward(self, states):
        return self.down(self.between(self.activation(self.up(states))))


def assert_the_same_gradients(model):
    """Whether the output of its activation is kept or formed again."""
    states, found = torch.randn(3, 5, 8), []
    for modules in ([], [model.activation]):
        model.zero_grad()
        torch.manual_seed(1)
        with forming_again(modules):
            loss = model(states).square().sum()
        loss.backward()
        found.append(gradients(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("backbone", CLASSES)
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_gradients_are_the_same_to_the_last_bit(backbone, precision):
    found = []
    for compiled in (True, False):
        teacher = tiny_model(class_of(backbone))
        student = cut_model(tiny_model(class_of(backbone), seed=1), None, (1, 3), dropout=0.0)
        compare = LayerwiseComparison(student, teacher, (1, 3), compiled=compiled)
        with torch.autocast("cpu", precision, enabled=precision is not None):
            terms, _, _ = compare(student, teacher, padded_batch(lengths=(14, 5, 9)))
        sum(terms.values()).backward()
        found.append((terms, gradients(student)))
    (terms, ours), (others, theirs) = found
    assert terms == others
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("backbone", CLASSES)
def test_every_backbone_has_cheap_modules_and_keeps_less_with_them(backbone):
    model = tiny_model(class_of(backbone)).train()
    batch = padded_batch(lengths=(16, 16))

    def run(modules):
        with forming_again(modules):
            return model(**batch).last_hidden_state

    cheap = cheap_modules(model)
    assert len(cheap) >= model.config.num_hidden_layers
    kept_by(lambda: run(cheap))  # what the first run alone makes is out of the way
    assert kept_by(lambda: run(cheap)) < kept_by(lambda: run([]))


def test_the_output_of_an_activation_is_not_kept():
    model, states = FeedForward(), torch.randn(64, 8)

    def run(modules):
        with forming_again(modules):
            return model(states)

    kept_by(lambda: run([]))
    assert kept_by(lambda: run([])) - kept_by(lambda: run([model.activation])) == 64 * 32 * 4


class Doubling(nn.Module):
    """Changes what it is given in place."""

    def forward(self, states):
        return states.mul_(2)


THROUGH_ANOTHER_SHAPE = nn.Sequential(nn.Unflatten(-1, (2, 16)), nn.Flatten(-2))


@pytest.mark.parametrize("between", [nn.Dropout(0.5), THROUGH_ANOTHER_SHAPE, nn.Tanh(), Doubling()])
def test_what_comes_between_activation_and_linear_layer_changes_no_gradient(between):
    assert_the_same_gradients(FeedForward(between))


def test_a_module_that_somebody_has_hooked_is_left_alone():
    model = FeedForward()
    model.activation.register_forward_hook(lambda module, given, output: 3 * output)
    assert_the_same_gradients(model)


def test_what_was_changed_in_place_after_it_was_kept_is_refused():
    model = FeedForward()
    with forming_again([model.activation]):
        up = model.up(torch.randn(5, 8))
        loss = model.down(model.activation(up)).sum()
        with torch.no_grad():
            up.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("terms", [(ATTENTION,), (HIDDEN,), (RELATIONS,), (DIVERGENCE,), (ATTENTION, HIDDEN)])
@pytest.mark.parametrize("backbone", CLASSES)
def test_nothing_of_a_step_is_left_after_it(backbone, terms):
    """Nor of what no term reads, such as what follows the last attention, which no backward pass goes through."""
    teacher = tiny_model(class_of(backbone))
    student = cut_model(tiny_model(class_of(backbone), seed=1), None, (1, 3))
    comparison = LayerwiseComparison(student, teacher, (1, 3), terms=terms)
    counts = []
    for _ in range(4):
        found, *outputs = comparison(student, teacher, padded_batch(lengths=(14, 5, 9)))
        sum(found.values()).backward()
        del found, outputs
        gc.collect()
        counts.append(sum(isinstance(each, torch.Tensor) for each in gc.get_objects()))
    assert counts[1:] == counts[1:2] * 3


def test_nothing_is_hooked_any_more_afterwards():
    model = FeedForward()
    with pytest.raises(ZeroDivisionError), forming_again([model.activation]):
        raise ZeroDivisionError
    assert not model.activation._forward_hooks
    loss = model(torch.randn(5, 8)).sum()
    assert isinstance(loss.grad_fn.next_functions[0][0]._saved_mat1, torch.Tensor)


def test_a_relu_is_left_alone():
    assert cheap_modules_of(nn.ReLU()) == []
    assert len(cheap_modules_of(nn.GELU())) == 1


def cheap_modules_of(activation):
    return cheap_modules(SimpleNamespace(base_model=FeedForward(activation=activation)))
