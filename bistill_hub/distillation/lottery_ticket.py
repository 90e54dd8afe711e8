"""Lottery-Ticket Sparse Fine-Tuning (Ansell et al. 2022): choose the entries that moved most, and train those alone.

The choice is a set of flat row-major positions per parameter, the ticket. While it is in force, gradients elsewhere are
zeroed as soon as they arrive (so that clipping never sees them), and the optimizer updates the chosen entries only: it
keeps moments for those and no others, so its memory shrinks with the density and nothing else can move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

Ticket = dict[str, Tensor]
"""For each parameter with chosen entries: their flat row-major positions, int64, ascending."""


def choose_ticket(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], entries: int) -> Ticket:
    """Choose the entries that moved most in absolute value.

    Args:
        start: Parameters that may be chosen from, before dense training.
        tuned: The same after it.
        entries: How many entries to choose; at most as many as there are.

    Returns:
        Exactly `entries` positions, on the CPU. Of entries that moved equally far, those of the parameter that `start`
        names first are taken, and of one parameter the first in row-major order, so equal runs choose equally.

    Raises:
        ValueError: there are fewer entries than asked for, or a parameter has values that are not finite.
    """
    moved = torch.cat([(tuned[name].detach() - start[name].detach()).abs().flatten().float() for name in start])
    if not 0 <= entries <= moved.numel():
        raise ValueError(f"cannot choose {entries} of {moved.numel()} entries")
    if not bool(torch.isfinite(moved).all()):
        raise ValueError("dense training left values that are not finite; lower the learning rate")
    if entries == 0:
        return {}
    threshold = torch.topk(moved, entries, sorted=False).values.min()
    chosen = moved > threshold
    ties = (moved == threshold).nonzero().flatten()
    chosen[ties[: entries - int(chosen.sum())]] = True
    ticket: Ticket = {}
    offset = 0
    for name, parameter in start.items():
        positions = chosen[offset : offset + parameter.numel()].nonzero().flatten()
        offset += parameter.numel()
        if positions.numel():
            ticket[name] = positions.cpu()
    return ticket


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
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(_keep_only(ticket[name].to(parameter.device)))
            for name, parameter in parameters.items()
            if name in ticket
        ]

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
