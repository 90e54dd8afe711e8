"""The choice of entries against a sorted list, and the optimizer of the chosen ones against torch's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub import InputError
from bistill_hub.distillation.lottery_ticket import (
    TicketAdamW,
    TicketInForce,
    choose_ticket,
    join_tickets,
    ticket_size,
)

# Differences of these are exact in bfloat16 too, and many are equal.
STEPS = st.sampled_from([0.0, -0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -3.0])
FLOATS = st.one_of(
    STEPS,
    st.sampled_from([1e-45, -1e-45, 3e-39, 3.4e38, -3.4e38]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def sorted_choice(distances, entries, excluded=()):
    """All entries in one Python list, the farthest first and equally far ones in order."""
    flat = [
        (-distance, order, name, position)
        for order, (name, values) in enumerate(distances.items())
        for position, distance in enumerate(values)
        if (name, position) not in excluded
    ]
    return {(name, position) for _, _, name, position in sorted(flat, key=lambda e: (e[0], e[1], e[3]))[:entries]}


def as_set(ticket):
    return {(name, position) for name, positions in ticket.items() for position in positions.tolist()}


@st.composite
def cases(draw):
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    from_zero = dtype == torch.float32 and draw(st.booleans())
    start, tuned = {}, {}
    for name in draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)):
        shape = draw(st.sampled_from([(1,), (7,), (3, 4), (2, 3, 2), (0, 3)]))
        size = math.prod(shape)
        values = draw(st.lists(FLOATS if from_zero else STEPS, min_size=size, max_size=size))
        before = [0.0] * size if from_zero else draw(st.lists(STEPS, min_size=size, max_size=size))
        start[name] = torch.tensor(before, dtype=dtype).view(shape)
        tuned[name] = torch.tensor([b + v for b, v in zip(before, values, strict=True)], dtype=dtype).view(shape)
    distances = {
        name: [abs(a - b) for a, b in zip(tuned[name].flatten().tolist(), start[name].flatten().tolist(), strict=True)]
        for name in start
    }
    places = [(name, position) for name in distances for position in range(len(distances[name]))]
    excluded = draw(st.sets(st.sampled_from(places))) if places and draw(st.booleans()) else set()
    entries = draw(st.integers(0, len(places) - len(excluded)))
    return start, tuned, distances, entries, excluded


@settings(max_examples=150, deadline=None)
@given(cases())
def test_exactly_the_farthest_entries_are_chosen_and_of_equal_ones_the_first(case):
    start, tuned, distances, entries, excluded = case
    without = {
        name: torch.tensor(sorted(position for other, position in excluded if other == name))
        for name in {name for name, _ in excluded}
    }
    ticket = choose_ticket(start, tuned, entries, without=without)
    assert as_set(ticket) == sorted_choice(distances, entries, excluded)
    assert ticket_size(ticket) == entries
    for positions in ticket.values():
        assert positions.dtype == torch.int64
        assert (positions[1:] > positions[:-1]).all()
    joined = join_tickets(without, ticket)
    assert as_set(joined) == as_set(ticket) | excluded
    assert all((positions[1:] > positions[:-1]).all() for positions in joined.values())


def many(kind):
    """Distances of several parameters, one of them longer than what is compared at a time."""
    chance = np.random.default_rng(0)
    sizes = {"long": 300_000, "short": 100, "last": 50_000}
    moved = {name: chance.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    if kind == "mostly still":
        moved = {name: np.where(chance.random(values.size) < 0.95, 0, values) for name, values in moved.items()}
    if kind == "all alike":
        moved = {name: np.full_like(values, -0.5) for name, values in moved.items()}
    if kind == "rounded":
        moved = {name: np.round(values, 1) for name, values in moved.items()}
    if kind == "misleading sample":
        for values in moved.values():
            values[::61] = 1000
    if kind == "hidden from the sample":
        for values in moved.values():
            values[::61] = 0
    return {name: torch.from_numpy(np.asarray(values, dtype=np.float32)) for name, values in moved.items()}


@pytest.mark.parametrize("share", [0.001, 0.08, 0.6, 1.0])
@pytest.mark.parametrize(
    "kind", ["normal", "rounded", "mostly still", "all alike", "misleading sample", "hidden from the sample"]
)
def test_many_entries_are_chosen_as_a_stable_sort_would(kind, share):
    tuned = many(kind)
    start = {name: torch.zeros_like(values) for name, values in tuned.items()}
    together = np.concatenate([values.numpy() for values in tuned.values()])
    entries = round(share * together.size)
    expected = np.sort(np.argsort(-np.abs(together), kind="stable")[:entries])
    ticket = choose_ticket(start, tuned, entries)
    offsets = dict(zip(tuned, np.cumsum([0, *(len(values) for values in tuned.values())]), strict=False))
    assert np.array_equal(np.concatenate([ticket[n].numpy() + offsets[n] for n in tuned if n in ticket]), expected)


def test_what_was_chosen_before_is_passed_over_and_the_next_ones_follow():
    tuned = many("rounded")
    start = {name: torch.zeros_like(values) for name, values in tuned.items()}
    first = choose_ticket(start, tuned, 20_000)
    second = choose_ticket(start, tuned, 15_000, without=first)
    both = join_tickets(first, second)
    at_once = choose_ticket(start, tuned, 35_000)
    assert both.keys() == at_once.keys()
    assert all(torch.equal(both[name], at_once[name]) for name in both)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(bad):
    start = {"a": torch.zeros(70_000), "b": torch.zeros(3)}
    tuned = {"a": torch.zeros(70_000), "b": torch.tensor([0, bad, 0])}
    with pytest.raises(InputError, match=r"learning_rate: .*not finite\. Set a lower one"):
        choose_ticket(start, tuned, 100)


def test_more_entries_than_there_are_are_refused():
    values = {"a": torch.zeros(3)}
    for entries, without in ((4, None), (3, {"a": torch.tensor([1])}), (-1, None)):
        with pytest.raises(ValueError, match="cannot choose"):
            choose_ticket(values, values, entries, without=without)


def test_the_optimizer_does_to_the_chosen_entries_what_adamw_does_to_a_vector_of_them():
    generator = torch.Generator().manual_seed(0)
    partly, whole = (torch.nn.Parameter(torch.randn(4, 5, generator=generator)) for _ in range(2))
    positions = torch.tensor([0, 3, 7, 8, 19])
    untouched = torch.ones(20, dtype=torch.bool).index_fill(0, positions, False)
    before = partly.detach().clone().flatten()
    vector = torch.nn.Parameter(before[positions].clone())
    copy = torch.nn.Parameter(whole.detach().clone())
    given_to = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}
    ours = TicketAdamW([partly, whole], {partly: positions}, **given_to)
    theirs = torch.optim.AdamW([vector, copy], **given_to)
    for _ in range(5):
        for one, other in ((partly, vector), (whole, copy)):
            one.grad = torch.randn(4, 5, generator=generator)
            other.grad = one.grad.flatten()[positions] if one is partly else one.grad.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(partly.detach().flatten()[positions], vector.detach(), rtol=0, atol=0)
    torch.testing.assert_close(whole.detach(), copy.detach(), rtol=0, atol=0)
    assert torch.equal(partly.detach().flatten()[untouched], before[untouched])


def test_positions_beyond_the_exact_floats_survive_a_checkpoint_of_the_optimizer():
    # A float32 holds whole numbers up to 2**24, a bfloat16 up to 2**8: positions in the state would come back changed.
    positions = torch.tensor([257, 2**24 + 1, 2**24 + 99])
    size = 2**24 + 100

    def make():
        parameter = torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16))
        return parameter, TicketAdamW([parameter], {parameter: positions}, lr=0.25)

    def step(parameter, optimizer):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()

    parameter, optimizer = make()
    step(parameter, optimizer)
    saved = optimizer.state_dict()
    assert {name: value.numel() for name, value in saved["state"][0].items()} == {
        "step": 1,
        "exp_avg": 3,
        "exp_avg_sq": 3,
    }
    resumed, other = make()
    resumed.data.copy_(parameter.data)
    other.load_state_dict(saved)
    for each in ((parameter, optimizer), (resumed, other)):
        step(*each)
    assert torch.equal(resumed.data, parameter.data)
    assert torch.equal((resumed.data != 1).nonzero().flatten(), positions)


def test_gradients_outside_the_ticket_are_zeroed_as_they_arrive_and_whenever_asked():
    parameters = {name: torch.nn.Parameter(torch.ones(2, 3)) for name in ("some", "none")}
    force = TicketInForce(parameters, {"some": torch.tensor([1, 5])})
    for _ in range(2):  # two micro-batches
        (3 * parameters["some"] + parameters["none"]).sum().backward()
    assert parameters["some"].grad.flatten().tolist() == [0, 6, 0, 0, 0, 6]
    assert parameters["none"].grad is None
    parameters["some"].grad.fill_(2)  # as other processes' gradients come in
    force.mask()
    assert parameters["some"].grad.flatten().tolist() == [0, 2, 0, 0, 0, 2]
    force.lift()
    sum(parameter.sum() for parameter in parameters.values()).backward()
    assert parameters["none"].grad.flatten().tolist() == [1] * 6
    assert parameters["some"].grad.flatten().tolist() == [1, 3, 1, 1, 1, 3]
