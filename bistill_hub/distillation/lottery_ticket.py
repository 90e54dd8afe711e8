"""Lottery-Ticket Sparse Fine-Tuning (Ansell et al. 2022): choose the entries that moved most, and train those alone.

The choice is a set of flat row-major positions per parameter, the ticket. While it is in force, gradients elsewhere are
zeroed as soon as they arrive (so that clipping never sees them), and the optimizer updates the chosen entries only: it
keeps moments for those and no others, so its memory shrinks with the density and nothing else can move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ..errors import InputError

Ticket = dict[str, Tensor]
"""For each parameter with chosen entries: their flat row-major positions, int64, ascending."""

_BLOCK = 1 << 18
"""How many entries are compared at a time: few enough for a processor's cache."""

_STRIDE = 61
"""Of how many entries one is in the sample: prime, so that it is not always of the same columns."""

_HALF = 1 << 15
"""What the upper 16 bits of a float32 can be where the sign is not set."""

_WITHOUT_SIGN, _NOT_FINITE = 0x7FFFFFFF, 0x7F800000


def choose_ticket(
    start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], entries: int, *, without: Ticket | None = None
) -> Ticket:
    """Choose the entries that moved most in absolute value.

    Floats that are not negative are ordered like the integers of the same bits, so two histograms, of the upper and of
    the lower 16 bits, give the exact threshold. Distances are taken a block at a time, and only those are kept that
    reach what a sample of them says is well below the threshold; if it was not, all are.

    Args:
        start: Parameters that may be chosen from, before dense training.
        tuned: The same after it.
        entries: How many entries to choose; at most as many as there are.
        without: Entries that are not to be chosen, as they were before.

    Returns:
        Exactly `entries` positions, on the CPU. Of entries that moved equally far, those of the parameter that `start`
        names first are taken, and of one parameter the first in row-major order, so equal runs choose equally.

    Raises:
        ValueError: there are fewer entries than asked for.
        InputError: a parameter has values that are not finite, or has moved farther than float32 can say.
    """
    without = without or {}
    there = sum(start[name].numel() - (without[name].numel() if name in without else 0) for name in start)
    if not 0 <= entries <= there:
        raise ValueError(f"cannot choose {entries} of {there} entries")
    candidates = _candidates(start, tuned, without, _well_below(start, tuned, entries + ticket_size(without)))
    if sum(candidate.bits.numel() for candidate in candidates) < entries:
        candidates = _candidates(start, tuned, without, 0)
    upper, lower = torch.zeros(_HALF, dtype=torch.int64), torch.zeros(2 * _HALF, dtype=torch.int64)
    for candidate in candidates:
        upper += torch.bincount(candidate.bits >> 16, minlength=len(upper))
    if int(upper[_NOT_FINITE >> 16 :].sum()):
        raise InputError(
            "dense training has moved entries by distances that are not finite",
            field="learning_rate",
            remedy="set a lower one",
        )
    if entries == 0:
        return {}
    high, wanted = _bin_of(upper, entries)
    for candidate in candidates:
        within = candidate.bits[candidate.bits >> 16 == high]
        lower += torch.bincount(within & 0xFFFF, minlength=len(lower))
    low, ties = _bin_of(lower, wanted)
    threshold = high << 16 | low
    found: dict[str, list[Tensor]] = {}
    for candidate in candidates:
        chosen = candidate.bits > threshold
        tied = (candidate.bits == threshold).nonzero().flatten()[:ties]
        chosen[tied] = True
        ties -= tied.numel()
        found.setdefault(candidate.name, []).append(candidate.places[chosen].long() + candidate.offset)
    joined = ((name, torch.cat(positions)) for name, positions in found.items())
    return {name: positions for name, positions in joined if positions.numel()}


class _Candidates(NamedTuple):
    """Entries of a block that may be chosen: the block's parameter and position, and the entries' places in it."""

    name: str
    offset: int
    places: Tensor
    bits: Tensor


def _candidates(
    start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], without: Ticket, floor: int
) -> list[_Candidates]:
    """Find the entries whose distance has bits of at least `floor`; places and bits are int32, on the CPU."""
    found = []
    for name, offset, bits in _distances(start, tuned, without):
        places = (bits >= floor).nonzero().flatten()
        found.append(_Candidates(name, offset, places.int().cpu(), bits[places].cpu()))
    return found


def _well_below(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], entries: int) -> int:
    """Guess, from a sample, bits of a distance that somewhat more entries reach than so many."""
    sample = torch.cat(
        [_bits(start[name].reshape(-1)[::_STRIDE], tuned[name].reshape(-1)[::_STRIDE]).cpu() for name in start]
    )
    total = sum(parameter.numel() for parameter in start.values())
    rank = int(1.1 * entries / total * len(sample)) + 100 if total else 0
    return int(sample.kthvalue(len(sample) - rank).values) if rank < len(sample) else 0


def _bits(before: Tensor, after: Tensor) -> Tensor:
    """Return how far entries moved, as the bits of float32 in int32."""
    return (after.detach() - before.detach()).float().view(torch.int32).bitwise_and_(_WITHOUT_SIGN)


def _distances(
    start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], without: Ticket
) -> Iterator[tuple[str, int, Tensor]]:
    """Yield, block by block, a parameter's name, the block's position in it, and the bits of how far its entries moved.

    Entries that are not to be chosen have -1.
    """
    for name, parameter in start.items():
        before, after = parameter.reshape(-1), tuned[name].reshape(-1)
        excluded = without.get(name)
        for offset in range(0, before.numel(), _BLOCK):
            bits = _bits(before[offset : offset + _BLOCK], after[offset : offset + _BLOCK])
            if excluded is not None:
                first, last = torch.searchsorted(excluded, torch.tensor([offset, offset + bits.numel()])).tolist()
                bits[(excluded[first:last] - offset).to(bits.device)] = -1
            yield name, offset, bits


def _bin_of(histogram: Tensor, entries: int) -> tuple[int, int]:
    """Find the bin that the last of so many largest entries lies in, and how many of them lie there."""
    from_the_top = histogram.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_the_top, entries))
    above = int(from_the_top[place - 1]) if place else 0
    return len(histogram) - 1 - place, entries - above


def ticket_size(ticket: Ticket) -> int:
    """Count a ticket's entries."""
    return sum(positions.numel() for positions in ticket.values())


def join_tickets(one: Ticket, other: Ticket) -> Ticket:
    """Put together two tickets that have no entry in common."""
    parts = {name: [ticket[name] for ticket in (one, other) if name in ticket] for name in [*one, *other]}
    return {name: torch.cat(positions).sort().values for name, positions in parts.items()}


class TicketInForce:
    """Zeroes gradients outside the ticket as they arrive, and stops them where nothing was chosen.

    Args:
        parameters: The model's parameters by name that the ticket was chosen from.
        ticket: The chosen entries.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], ticket: Ticket) -> None:
        self._stopped = [parameter for name, parameter in parameters.items() if name not in ticket]
        for parameter in self._stopped:
            parameter.requires_grad_(False)
        self._kept = [
            (parameter, _keep_only(ticket[name].to(parameter.device)))
            for name, parameter in parameters.items()
            if name in ticket
        ]
        self._hooks = [parameter.register_post_accumulate_grad_hook(keep) for parameter, keep in self._kept]

    def mask(self) -> None:
        """Zero what gradients have outside the ticket now, as after processes have summed them."""
        for parameter, keep in self._kept:
            keep(parameter)

    def lift(self) -> None:
        """Let all gradients through again."""
        for hook in self._hooks:
            hook.remove()
        for parameter in self._stopped:
            parameter.requires_grad_(True)


def _keep_only(positions: Tensor) -> Any:
    def hook(parameter: Tensor) -> None:
        if parameter.grad is None:
            return
        flat = parameter.grad.view(-1)
        kept = flat[positions]
        flat.zero_()
        flat[positions] = kept

    return hook


class TicketAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019) on chosen entries of some parameters and on all of others.

    The arithmetic is torch's own functional AdamW, given the chosen entries as vectors. The positions stay outside the
    optimizer's state, which torch casts to the parameters' type when a checkpoint is loaded.

    Args:
        params: Parameters or parameter groups, as for any optimizer.
        positions: For parameters that are trained in part, the flat positions of what is trained.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: Added to the denominator.
        weight_decay: Decoupled decay of the trained entries.
    """

    def __init__(
        self,
        params: Iterable[Any],
        positions: Mapping[nn.Parameter, Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._positions = {parameter: index.to(parameter.device) for parameter, index in positions.items()}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the trained entries from the gradients; `closure` recomputes the loss, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            values = [self._trained(parameter, parameter.data) for parameter in parameters]
            gradients = [self._trained(parameter, parameter.grad) for parameter in parameters]
            for parameter, value in zip(parameters, values, strict=True):
                if not self.state[parameter]:
                    self.state[parameter] = {
                        "step": torch.zeros((), dtype=torch.float32),
                        "exp_avg": torch.zeros_like(value),
                        "exp_avg_sq": torch.zeros_like(value),
                    }
            states = [self.state[parameter] for parameter in parameters]
            adamw(
                values,
                gradients,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )
            for parameter, value in zip(parameters, values, strict=True):
                if parameter in self._positions:
                    parameter.data.view(-1)[self._positions[parameter]] = value
        return loss

    def _trained(self, parameter: nn.Parameter, tensor: Tensor) -> Tensor:
        """Return the trained entries of a tensor: a gathered copy, or the tensor itself where all are trained."""
        positions = self._positions.get(parameter)
        return tensor if positions is None else tensor.view(-1)[positions]
