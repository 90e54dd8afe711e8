"""A Trainer whose result is sparse: dense stage, selection, rewind, sparse stage (Ansell et al. 2022).

Dense training shows which entries matter, the model is rewound to where it started, and those entries alone are trained
again. This may be done several times, with a share of the entries chosen each time. What is left is a `SparseDelta`.
With every entry chosen at once (density 1) there is nothing to find out, and it is ordinary fine-tuning.
What the loss is, which parameters may change in part and which are trained as a whole is left to subclasses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainingArguments, set_seed
from transformers.trainer_utils import TrainOutput

from ..errors import InputError
from ..model.sparse_delta import SparseDelta, state_sha256
from ..student.backbones import backbone_for
from .checkpoints import refuse_earlier
from .exact_averaging import ExactAveragingTrainer
from .lottery_ticket import Ticket, TicketAdamW, TicketInForce, choose_ticket, join_tickets, ticket_size
from .sharding import refuse_sharding
from .stage_records import REACHED_FILE, TICKET_FILE, StageRecords, of_iteration, selects

_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
_Result = TypeVar("_Result")


@dataclass
class SparseFineTuningArguments(TrainingArguments):
    """Training arguments of sparse fine-tuning; `num_train_epochs` and `max_steps` are those of the sparse stage."""

    learning_rate: float = field(default=5e-5, metadata={"help": "peak rate of both stages; decays linearly to 0"})
    num_train_epochs: float = field(default=10.0, metadata={"help": "epochs of the sparse stage"})
    dense_epochs: float = field(default=3.0, metadata={"help": "epochs of the dense stage, before the selection"})
    dense_max_steps: int = field(default=-1, metadata={"help": "updates of the dense stage; overrides its epochs"})
    density: float = field(default=0.08, metadata={"help": "share of the entries that may change to select; 1: all"})
    iterations: int = field(default=1, metadata={"help": "rounds of dense stage, selection and sparse stage"})
    freeze_layer_norms: bool = field(default=True, metadata={"help": "train no LayerNorm of the encoder"})
    delta_precision: str = field(default="fp32", metadata={"help": "what the delta's values are kept in: fp32 or fp16"})

    def __post_init__(self) -> None:
        """Check what this class adds, and that nothing is to be sharded.

        Raises:
            InputError: density, iterations or delta_precision is out of range, or training would be sharded.
        """
        refuse_sharding(self)
        super().__post_init__()
        if not 0 < self.density <= 1:
            raise InputError(
                "not a share", field="density", value=self.density, remedy="give a number above 0, at most 1"
            )
        if self.iterations < 1:
            raise InputError(
                "not a number of rounds", field="iterations", value=self.iterations, remedy="give 1 or more"
            )
        if self.delta_precision not in _PRECISIONS:
            raise InputError(
                "not a precision of a delta",
                field="delta_precision",
                value=self.delta_precision,
                remedy=f"give one of {', '.join(_PRECISIONS)}",
            )


class SparseFineTuningTrainer(ExactAveragingTrainer):
    """Trains a sparse delta: dense stage, selection, rewind, sparse stage; several times over if asked.

    `train()` runs all of them and leaves the result in `delta`; the model then carries it. Checkpoints of the stages
    lie in `dense/` and `sparse/` of the output folder (`dense-2/`, `sparse-2/` in the second iteration), the selection
    in `ticket.safetensors` beside them.

    With `iterations` n, each selects an n-th of the entries, among those not chosen before: dense training starts from
    what the sparse stage before it has reached, and the model is rewound to there, with all that is chosen so far free.

    With density 1 and one iteration there is no dense stage and no selection: the stage that is called sparse trains
    every eligible entry, with the optimizer of `args`, and the delta holds those that changed.

    Every parameter is of one of three kinds. Those of `whole_names` are trained as a whole in all stages and are dense
    in the delta. Others are eligible for the selection if they are to be trained and `may_change` says so. The rest is
    frozen. A parameter with two names (tied weights) is one, under the encoder's name.

    Under DDP all processes hold the same selection, and the main one alone writes. Sharded training is refused.

    Args:
        model: The model to start from.
        args: `SparseFineTuningArguments`.
        kwargs: As for transformers' Trainer; with `load_best_model_at_end` and `metric_for_best_model` each sparse
            stage ends with its best checkpoint.

    Attributes:
        delta: What was learnt; None before `train()`.

    Raises:
        InputError: training would be sharded, or no entry would be selected.
    """

    args: SparseFineTuningArguments
    optimizer: torch.optim.Optimizer | None

    def __init__(self, model: PreTrainedModel, args: SparseFineTuningArguments, **kwargs: Any) -> None:
        refuse_sharding(args)
        super().__init__(model, args, **kwargs)
        self.delta: SparseDelta | None = None
        self._ticket: Ticket | None = None
        self._force: TicketInForce | None = None
        scaler = self.accelerator.scaler
        self._first_scale = {} if scaler is None else scaler.state_dict()
        parameters = parameters_once(model)
        self._whole = sorted(self.whole_names() & set(parameters))
        self._eligible = {
            name: parameter
            for name, parameter in parameters.items()
            if name not in self._whole and parameter.requires_grad and self.may_change(name)
        }
        for name, parameter in parameters.items():
            if name not in self._whole and name not in self._eligible:
                parameter.requires_grad_(False)
        if self._entries(1) == 0:
            raise InputError(
                f"it selects no entry of {sum(p.numel() for p in self._eligible.values())} in each iteration",
                field="density",
                value=args.density,
                remedy="give a larger one, or fewer iterations",
            )

    def whole_names(self) -> set[str]:
        """Name the parameters that are trained, and kept in the delta, as a whole; none unless a subclass has some."""
        return set()

    def may_change(self, name: str) -> bool:
        """Tell whether entries of a parameter (not one of `whole_names`) may be selected; by default no LayerNorm's."""
        return not (self.args.freeze_layer_norms and backbone_for(self.model.config).is_layer_norm(name))

    def delta_metadata(self) -> dict[str, Any]:
        """Return the JSON values that the delta is to carry."""
        return {"density": self.args.density}

    def train(self, resume_from_checkpoint: bool | str | None = None, **kwargs: Any) -> TrainOutput:
        """Run the stages.

        Args:
            resume_from_checkpoint: True goes on after the last selection that was made, and from the last checkpoint of
                the stage that was interrupted. The model must be the one that the interrupted run started from. None or
                False begins anew, without selections that an earlier training has left; that is refused where one has
                left a checkpoint. Stages have checkpoints of their own: none of them can be named.
            kwargs: Passed on to transformers' `train`.

        Returns:
            The last sparse stage's result.

        Raises:
            InputError: the run to resume started from another model, or chose another number of entries; or it is to
                begin anew in the folder of an earlier one; or a checkpoint is named.
        """
        if isinstance(resume_from_checkpoint, (str, os.PathLike)):
            raise InputError(
                "each stage has checkpoints of its own, of which none can be named",
                field="resume_from_checkpoint",
                value=os.fspath(resume_from_checkpoint),
                remedy="pass True to go on where the training in output_dir was interrupted",
            )
        resume = bool(resume_from_checkpoint)
        start = {name: p.detach().clone() for name, p in parameters_once(self.model).items()}
        record = StageRecords(Path(str(self.args.output_dir)), state_sha256(start))
        if not resume:
            earlier = [record.checkpoint() if self.is_world_process_zero() else None]
            refuse_earlier(broadcast_object_list(earlier)[0], str(record.folder))
        if not resume and self.is_world_process_zero():
            record.clear()
        if not selects(self.args.density, self.args.iterations):
            return self._train_every_entry(record, start, resume, **kwargs)
        ticket: Ticket = {}
        begun = start  # where the iteration begins
        result: Any = None
        for iteration in range(1, self.args.iterations + 1):
            before, ticket = ticket, self._recall(record, TICKET_FILE, iteration, resume)
            goes_on = iteration < self.args.iterations
            reached = self._recall(record, REACHED_FILE, iteration, resume and goes_on)
            self._put(begun)
            if not ticket:
                self._run_stage("dense", iteration, resume, **kwargs)
                ticket = self._of_main_process(partial(self._choose, record, start, before, iteration))
                self._put(begun)
            if not reached:
                result = self._train_chosen(ticket, iteration, resume, **kwargs)
                reached = self._values(ticket)
                if goes_on and self.is_world_process_zero():
                    record.write(REACHED_FILE, iteration, reached)
            begun = _changed(start, ticket, reached)
        self._take_delta(start, self._mask_of(ticket))
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train on a micro-batch; once processes have summed their gradients, they are masked again."""
        loss = super().training_step(*args, **kwargs)
        if self._force is not None and self.args.world_size > 1 and self.accelerator.sync_gradients:
            self._force.mask()
        return loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """In a sparse stage AdamW over the ticket and what is trained as a whole, otherwise the Trainer's own."""
        if self._ticket is None:
            return super().create_optimizer(model)
        if self.optimizer is None:
            trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
            decayed = set(self.get_decay_parameter_names(self.model))
            self.optimizer = TicketAdamW(
                [
                    {
                        "params": [p for name, p in trained.items() if (name in decayed) is decay],
                        "weight_decay": self.args.weight_decay if decay else 0.0,
                    }
                    for decay in (True, False)
                ],
                {self._eligible[name]: positions for name, positions in self._ticket.items()},
                lr=self.args.learning_rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
            )
        return self.optimizer

    def _entries(self, iteration: int) -> int:
        """How many entries are chosen after the dense stage of an iteration, those of earlier ones included."""
        entries = round(self.args.density * sum(p.numel() for p in self._eligible.values()))
        return entries if iteration == self.args.iterations else iteration * (entries // self.args.iterations)

    def _choose(self, record: StageRecords, start: Mapping[str, Tensor], before: Ticket, iteration: int) -> Ticket:
        """Add to the ticket what moved most in the dense stage, and write it down."""
        eligible = {name: start[name] for name in self._eligible}
        chosen = choose_ticket(eligible, self._eligible, self._entries(iteration) - ticket_size(before), without=before)
        ticket = join_tickets(before, chosen)
        record.write(TICKET_FILE, iteration, ticket)
        return ticket

    def _train_every_entry(
        self, record: StageRecords, start: Mapping[str, Tensor], resume: bool, **kwargs: Any
    ) -> TrainOutput:
        """Run the one stage that there is where no entry is left out."""
        self._recall(record, TICKET_FILE, 1, resume)
        if self.is_world_process_zero():
            record.write(TICKET_FILE, 1, {}, entries=self._entries(1))
        result = self._run_stage("sparse", 1, resume, **kwargs)
        self._take_delta(start, {name: start[name] != p.detach() for name, p in self._eligible.items()})
        return result

    def _train_chosen(self, ticket: Ticket, iteration: int, resume: bool, **kwargs: Any) -> TrainOutput:
        """Run a sparse stage: nothing but the ticket's entries, and what is trained as a whole, can move."""
        self._ticket, self._force = ticket, TicketInForce(self._eligible, ticket)
        try:
            return self._run_stage("sparse", iteration, resume, **kwargs)
        finally:
            self._force.lift()
            self._ticket = self._force = None

    def _run_stage(self, stage: str, iteration: int, resume: bool, **kwargs: Any) -> TrainOutput:
        """Train once, with checkpoints in the stage's own folder; a dense stage is not evaluated, nor stopped early."""
        given = {
            name: getattr(self.args, name)
            for name in ("output_dir", "num_train_epochs", "max_steps", "eval_strategy", "load_best_model_at_end")
        }
        handler, callbacks = self.callback_handler, self.callback_handler.callbacks
        self.args.output_dir = os.path.join(given["output_dir"], of_iteration(stage, iteration))
        if stage == "dense":
            self.args.num_train_epochs = self.args.dense_epochs
            self.args.max_steps = self.args.dense_max_steps
            self.args.eval_strategy = type(given["eval_strategy"])("no")
            self.args.load_best_model_at_end = False
            handler.callbacks = [each for each in callbacks if not isinstance(each, EarlyStoppingCallback)]
        self.optimizer = self.lr_scheduler = None
        self.model_wrapped = self.model
        # A stage draws the same numbers, and with fp16 first scales its loss alike, whether the stage before it ran in
        # this process or in an interrupted one.
        set_seed(self.args.seed)
        if self._first_scale:
            self.accelerator.scaler.load_state_dict(self._first_scale)
        try:
            return super().train(resume_from_checkpoint=resume, **kwargs)
        finally:
            handler.callbacks = callbacks
            for name, value in given.items():
                setattr(self.args, name, value)

    def _mask_of(self, ticket: Ticket) -> dict[str, Tensor]:
        """Give the ticket as a boolean tensor for each eligible parameter."""
        mask = {}
        for name, parameter in self._eligible.items():
            flat = torch.zeros(parameter.numel(), dtype=torch.bool)
            if name in ticket:
                flat[ticket[name]] = True
            mask[name] = flat.view(parameter.shape)
        return mask

    def _take_delta(self, start: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> None:
        """Form the delta, and leave the model where it leads: what is scored then is what is published."""
        delta = SparseDelta.from_models(start, self.model, mask, dense=self._whole, metadata=self.delta_metadata())
        kept = _PRECISIONS[self.args.delta_precision]
        delta.sparse = {name: replace(update, values=update.values.to(kept)) for name, update in delta.sparse.items()}
        if not all(bool(torch.isfinite(update.values).all()) for update in delta.sparse.values()):
            raise InputError(
                "the delta has values that are not finite in it",
                field="delta_precision",
                value=self.args.delta_precision,
                remedy="lower the learning rate, or keep the delta in fp32",
            )
        self._put(start)
        delta.apply(self.model)
        self.delta = delta

    def _values(self, ticket: Ticket) -> dict[str, Tensor]:
        """Copy what the sparse stage has reached: the ticket's entries, and whole parameters."""
        parameters = {name: p.detach() for name, p in parameters_once(self.model).items()}
        reached = {name: parameters[name].view(-1)[index.to(parameters[name].device)] for name, index in ticket.items()}
        return {name: values.cpu() for name, values in reached.items()} | {
            name: parameters[name].cpu().clone() for name in self._whole
        }

    def _put(self, values: Mapping[str, Tensor]) -> None:
        """Copy parameters into the model."""
        with torch.no_grad():
            for name, parameter in parameters_once(self.model).items():
                parameter.copy_(values[name])

    def _recall(self, record: StageRecords, file: str, iteration: int, resume: bool) -> dict[str, Tensor]:
        """Read what an interrupted run wrote down, or nothing."""
        if not resume:
            return {}
        expected = self._entries(iteration) if file == TICKET_FILE else None
        return self._of_main_process(partial(record.read, file, iteration, expected))

    def _of_main_process(self, work: Callable[[], _Result]) -> _Result:
        """Do something on the main process alone, and give its result to all of them.

        Raises:
            RuntimeError: it failed there, which is told on the main process.
        """
        if self.args.world_size == 1:
            return work()
        outcome: list[Any] = [None]
        failure = None
        if self.is_world_process_zero():
            try:
                outcome = [work()]
            except Exception as error:  # the others wait for it: they are told before it is raised
                failure = error
        broadcast_object_list(outcome)
        if failure is not None:
            raise failure
        if outcome[0] is None:
            raise RuntimeError("the main process failed; it says why")
        result: _Result = outcome[0]
        return result


def parameters_once(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Name a model's parameters, each once: one that a head ties to the encoder by the encoder's name."""
    encoder = f"{model.base_model_prefix}."
    names: dict[nn.Parameter, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter not in names or (name.startswith(encoder) and not names[parameter].startswith(encoder)):
            names[parameter] = name
    return {name: parameter for parameter, name in names.items()}


def _changed(start: Mapping[str, Tensor], ticket: Ticket, reached: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return start weights with what a sparse stage has reached: entries of the ticket, and whole parameters."""
    weights = dict(start)
    for name, values in reached.items():
        if name in ticket:
            weights[name] = start[name].clone()
            device = start[name].device
            weights[name].view(-1)[ticket[name].to(device)] = values.to(device)
        else:
            weights[name] = values
    return weights
