"""A Trainer whose loss is the mean over the whole update, however it is cut into micro-batches and over processes.

transformers' Trainer averages micro-batch means, which weighs a short sentence's tokens more than a long one's as soon
as gradients are accumulated or several processes take part. Here every term of a loss states how many elements it is a
mean over, and each micro-batch contributes its share of the update's total, so accumulation 1 and 4 take the same step.

The counts are summed over processes too, and the processes share out the batches that one process would take one after
the other: n of them with accumulation a take the steps of one with accumulation n x a.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, TrainOutput, has_length, rotate_checkpoints

from ..batches import PaddingCollator
from ..errors import InputError
from ..gpus import ONE_PROCESS_EACH
from .checkpoints import check_update, last_complete, mark_complete, read_progress, refuse_earlier, whole_checkpoint
from .finite import StopWhereNotFinite, check_losses, check_weights
from .masking import asks_epoch
from .sampling import COUNTED, Batches, GroupedByLength, RowsOrNone, SharedBatches
from .sharding import refuse_sharded_accelerator, refuse_sharding

_WITHOUT_FLOAT64 = ("mps",)
"""Kinds of device that have no float64, such as Apple's GPUs: what a batch there holds is counted on the CPU."""


class ExactAveragingTrainer(Trainer, ABC):
    """A Trainer whose loss terms are means over the whole update: all its micro-batches, on all processes.

    Subclasses define `term_counts` and `loss_terms`, and may set `term_weights`. The terms are logged one by one as
    `<term>_loss`, each as it enters the loss.

    Training that is killed at any moment and resumed from its last checkpoint ends with the same weights and the same
    log as if it had not been: a checkpoint counts when it is whole, it carries the running averages, and the order of
    the examples depends on seed and epoch alone. It may be resumed on another number of processes, as long as an update
    stays the same batches.

    A loss that is evaluated is the mean over all held-out data, whatever the batches and processes.

    Args:
        model: What is trained.
        args: Training arguments; `per_device_train_batch_size` is the rows of a batch.
        processes_per_batch: How many processes share the rows of a batch; by default each process takes whole batches.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: training would be sharded, one process is to use several GPUs, or the processes were not started so
            that they train together, or cannot share batches as they are asked to; or labels are to be smoothed.
    """

    loss_is_scaled_for_ga = True  # compute_loss returns this micro-batch's share of the update's loss
    term_weights: Mapping[str, float] = {}
    evaluates_loss = True

    def __init__(
        self, model: PreTrainedModel, args: TrainingArguments, *, processes_per_batch: int = 1, **kwargs: Any
    ) -> None:
        refuse_sharding(args)
        _check_processes(args, processes_per_batch)
        _refuse_smoothing(args)
        if kwargs.get("data_collator") is None:
            kwargs["data_collator"] = PaddingCollator(model.config.pad_token_id or 0)
        args.remove_unused_columns = False  # the collator chooses; transformers would drop what only the teacher reads
        super().__init__(model=model, args=args, **kwargs)
        refuse_sharded_accelerator(self.accelerator)
        self.add_callback(StopWhereNotFinite())
        self.model_accepts_loss_kwargs = False
        self.processes_per_batch = processes_per_batch
        self._update_counts: dict[str, Tensor] = {}
        self._logged_terms: dict[str, Tensor] = {}
        self._steps_at_last_log = 0
        self._evaluated: dict[str, Tensor] = {}
        if args.world_size > 1:
            # A head that each process has drawn for itself must not start differently.
            for tensor in (*model.parameters(), *model.buffers()):
                torch.distributed.broadcast(tensor.detach(), src=0)

    @property
    def batches_per_update(self) -> int:
        """How many batches an update consists of, over all processes."""
        at_once: int = self.args.world_size // self.processes_per_batch
        return at_once * int(self.args.gradient_accumulation_steps)

    def train(self, resume_from_checkpoint: bool | str | None = None, **kwargs: Any) -> TrainOutput:
        """Train as transformers does.

        Args:
            resume_from_checkpoint: A checkpoint's folder; True goes on from the last whole one of the output folder, or
                starts where there is none. None or False begins anew, which is refused where an earlier training has
                left a checkpoint.
            kwargs: Passed on to transformers' `train`.

        Raises:
            InputError: the checkpoint's updates were made of other batches, so that training cannot go on exactly; it
                is to begin anew in the folder of an earlier one; or a loss or the weights are not finite.
        """
        if not resume_from_checkpoint:
            earlier = [whole_checkpoint(str(self.args.output_dir)) if self.args.should_save else None]
            refuse_earlier(broadcast_object_list(earlier)[0], str(self.args.output_dir))
        if resume_from_checkpoint is True:
            found = [last_complete(str(self.args.output_dir)) if self.args.should_save else None]
            resume_from_checkpoint = broadcast_object_list(found)[0]
        progress = read_progress(Path(str(resume_from_checkpoint))) if resume_from_checkpoint else {}
        if not self.args.auto_find_batch_size:
            check_update(str(resume_from_checkpoint), progress, self._update_made_of())
        self._steps_at_last_log = progress.get("steps_at_last_log", 0)
        self._logged_terms = {
            name: torch.tensor(value, device=self.args.device) for name, value in progress.get("terms", {}).items()
        }
        output = super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)
        # The weights that are left may be those of a better checkpoint: losses that were not logged are judged too.
        check_losses(self._loss_terms(), self.args, self.state.global_step)
        return output

    @abstractmethod
    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return, for each term of the loss, how many elements of this batch it is a mean over (scalars, float64)."""

    @abstractmethod
    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return each term as the mean over this batch's elements, and the model's outputs."""

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count none: nobody reads the count, and it would take a walk over all parameters at each step."""
        return 0

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """Fetch an update's micro-batches, and count over all of them and all processes what each term averages."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        totals: dict[str, Tensor] = {}
        for batch in batches:
            for name, count in self._counts(batch).items():
                totals[name] = totals[name] + count if name in totals else count
        if self.args.world_size > 1:
            totals = self._over_processes(totals, "sum")
        self._update_counts = totals
        return batches, items

    def _counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `term_counts`, and zero for a batch that does not count."""
        counted = inputs.get(COUNTED)
        if self.args.device.type in _WITHOUT_FLOAT64:
            inputs = {name: tensor.cpu() for name, tensor in inputs.items()}
        counts = self.term_counts(inputs)
        return counts if counted is None else {name: count * counted for name, count in counts.items()}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the weighted sum of the terms; while training, each as this micro-batch's share of the update."""
        terms, outputs = self.loss_terms(model, inputs)
        weighted = {name: self.term_weights.get(name, 1.0) * term for name, term in terms.items()}
        counts = self._counts(inputs)
        if model.training:
            for name, count in counts.items():
                # DDP averages gradients over processes; the terms are sums over them.
                share = count / self._update_counts[name].clamp(min=1) * self.args.world_size
                weighted[name] = weighted[name] * share.to(weighted[name].dtype)
                self._logged_terms[name] = self._logged_terms.get(name, 0.0) + weighted[name].detach().float()
        else:
            for name, count in counts.items():
                sums = torch.stack([weighted[name].detach().to(count.device).double() * count, count])
                self._evaluated[name] = self._evaluated[name] + sums if name in self._evaluated else sums
        loss = torch.stack(list(weighted.values())).sum()
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate as transformers does, but average a loss over all data and not over batches."""
        self._evaluated = {}
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if self._evaluated and output.metrics is not None:
            sums = self._over_processes(self._evaluated, "sum").values()
            loss = sum(float(total) / max(float(count), 1.0) for total, count in sums)
            output.metrics[f"{metric_key_prefix}_loss"] = loss
        return output

    def load_batches(self, dataset: Any, batches: Batches, *, train: bool = True) -> DataLoader[Any]:
        """Load batches: all of them, or this process's part.

        Workers live on from one epoch of training to the next if the arguments ask for that. They do not where the
        collator asks for the epoch, which reaches them only when they start, nor after an evaluation.

        Args:
            dataset: Rows by number.
            batches: The batches as lists of row numbers, the same on every process.
            train: Whether they are trained on, shared as the trainer was told to; others each go to one process whole.
        """
        count = self.args.world_size
        lasting = self.args.dataloader_persistent_workers and train and not asks_epoch(self.data_collator)
        settings: dict[str, Any] = {
            "num_workers": self.args.dataloader_num_workers,
            "pin_memory": self.args.dataloader_pin_memory,
            "persistent_workers": lasting,
            "prefetch_factor": self.args.dataloader_prefetch_factor,
        }
        if count == 1:
            loader: DataLoader[Any] = DataLoader(
                dataset, batch_sampler=batches, collate_fn=self.data_collator, **settings
            )
            return self.accelerator.prepare(loader)
        rows = RowsOrNone(dataset, self.data_collator)
        part = SharedBatches(batches, count, self.args.process_index, self.processes_per_batch if train else 1)
        # accelerate would deal out full batches alone, and the first ones twice where they do not divide.
        return prepare_data_loader(
            DataLoader(rows, batch_sampler=part, collate_fn=rows.collate, **settings),
            device=self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            non_blocking=self.accelerator.non_blocking,
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The Trainer's own, or what this process takes of the batches that it would give to one process."""
        dataset = self.train_dataset
        if self.args.world_size == 1 or self.args.train_sampling_strategy == "batch_rebalance":
            return super().get_train_dataloader()
        if dataset is None or not has_length(dataset):
            raise InputError(
                "several processes cannot share out rows whose number is not known",
                field="train_dataset",
                value=type(dataset).__name__,
                remedy="write them to disk first (`bistill_hub.corpora.write_blocks`), or train in one process",
            )
        sampler = self._get_train_sampler() or SequentialSampler(dataset)
        drop_last = self.args.dataloader_drop_last
        return self.load_batches(dataset, BatchSampler(sampler, self._train_batch_size, drop_last))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The Trainer's own, or what this process takes of it where a loss is evaluated."""
        if self.args.world_size == 1 or not self.evaluates_loss:
            # Of predictions accelerate removes what it has repeated to fill up the last batches.
            return super().get_eval_dataloader(eval_dataset)
        dataset = self._held_out(eval_dataset)
        batches = BatchSampler(SequentialSampler(dataset), self.args.eval_batch_size, drop_last=False)
        return self.load_batches(dataset, batches, train=False)

    def _held_out(self, eval_dataset: Any) -> Any:
        """Return the rows to evaluate on: those given, the trainer's own, or those that it has under a name."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        return self.eval_dataset[dataset] if isinstance(dataset, str) else dataset

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler:
        """Evaluate in the data set's order: grouping training by length would shuffle what predictions belong to."""
        return SequentialSampler(eval_dataset)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """Order the examples: where they are grouped by length, or shared out, by seed and epoch alone."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        strategy = self.args.train_sampling_strategy
        if strategy == "group_by_length":
            has_columns = hasattr(dataset, "column_names")  # which read faster than rows
            lengths = [len(ids) for ids in (dataset["input_ids"] if has_columns else _inputs_of(dataset))]
            return GroupedByLength(lengths, self.args.train_batch_size * self.batches_per_update, seed=self.args.seed)
        if strategy == "random" and self.args.world_size > 1:
            # As accelerate has it for one process; the processes must not each have an order of their own.
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            return SeedableRandomSampler(dataset, data_seed=seed)
        return super()._get_train_sampler(train_dataset)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Restore the state, and find the best checkpoint where it lies now: the folder may have been moved."""
        position = super()._init_training_state(*args, **kwargs)
        if self.state.best_global_step:
            best = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        return position

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train an epoch, unless the run that is resumed had made its last update already."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint if its weights are finite, declare it whole, and only then remove older ones."""
        check_weights(self.model, self.args, self.state.global_step)
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if self.args.world_size > 1:
            self._logged_terms = self._over_processes(self._logged_terms, "mean")
            self.accelerator.wait_for_everyone()  # each process writes its own random state
        if not self.args.should_save:
            return
        folder = Path(self._get_output_dir(trial=trial))
        terms = {name: float(term) for name, term in self._logged_terms.items()}
        mark_complete(
            folder / f"checkpoint-{self.state.global_step}",
            {"terms": terms, "steps_at_last_log": self._steps_at_last_log, "update": self._update_made_of()},
        )
        rotate_checkpoints(
            output_dir=str(folder),
            save_total_limit=limit,
            best_model_checkpoint=self.state.best_model_checkpoint,
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; a training loss is averaged over the steps since the last one, and its terms stand beside it."""
        if "loss" in logs and self._logged_terms:
            terms = self._loss_terms()
            # The Trainer's own average begins anew in a resumed run; these sums go on.
            logs = {**logs, "loss": sum(terms.values()), **terms}
            self._logged_terms = {}
            self._steps_at_last_log = self.state.global_step
        super().log(logs, start_time)

    def _loss_terms(self) -> dict[str, float]:
        """Average the terms over the steps since the last log, and over the processes, which all get the same."""
        steps = max(self.state.global_step - self._steps_at_last_log, 1)
        means = self._over_processes(self._logged_terms, "mean")
        return {f"{name}_loss": float(value) / steps for name, value in means.items()}

    def _over_processes(self, values: Mapping[str, Tensor], reduction: str) -> dict[str, Tensor]:
        """Sum or average tensors of one shape over all processes."""
        if self.args.world_size == 1 or not values:
            return dict(values)
        stacked = torch.stack([value.to(self.args.device) for value in values.values()])
        return dict(zip(values, self.accelerator.reduce(stacked, reduction=reduction), strict=True))

    def _update_made_of(self) -> dict[str, int]:
        return {
            "per_device_train_batch_size": int(self.args.per_device_train_batch_size),
            "batches_per_update": self.batches_per_update,
        }


def _inputs_of(rows: Any) -> Iterator[Any]:
    """Go through the token ids of rows that are had by number."""
    return (rows[number]["input_ids"] for number in range(len(rows)))


def _refuse_smoothing(args: TrainingArguments) -> None:
    if args.label_smoothing_factor:
        raise InputError(
            "the loss is formed here, where no labels are smoothed",
            field="label_smoothing_factor",
            value=args.label_smoothing_factor,
            remedy="leave it at 0",
        )


def _check_processes(args: TrainingArguments, processes_per_batch: int) -> None:
    if args.n_gpu > 1:
        raise InputError(
            "one process cannot train on several GPUs exactly",
            field="CUDA_VISIBLE_DEVICES",
            value=args.n_gpu,
            remedy=ONE_PROCESS_EACH,
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and args.world_size == 1:
        raise InputError(
            f"{started} processes were started, and each would train for itself",
            field="use_cpu",
            value=args.use_cpu,
            remedy="set it to True to train together on the CPU, or start one process",
        )
    if args.world_size % processes_per_batch:
        raise InputError(
            f"{args.world_size} processes cannot be divided by it",
            field="processes_per_batch",
            value=processes_per_batch,
            remedy="choose a divisor of the number of processes",
        )
