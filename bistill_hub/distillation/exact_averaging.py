"""A Trainer whose loss is the mean over the whole update, however it is cut into micro-batches.

transformers' Trainer averages micro-batch means, which weighs a short sentence's tokens more than a long one's as soon
as gradients are accumulated or several processes take part. Here every term of a loss states how many elements it is a
mean over, and each micro-batch contributes its share of the update's total, so accumulation 1 and 4 take the same step.
The counts are summed over processes too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from ..batches import PaddingCollator
from ..errors import InputError
from .checkpoints import last_complete, mark_complete, read_averages
from .sampling import GroupedByLength


class ExactAveragingTrainer(Trainer, ABC):
    """A Trainer whose loss terms are means over the whole update: all its micro-batches, on all processes.

    Subclasses define `term_counts` and `loss_terms`, and may set `term_weights`. The terms are logged one by one as
    `<term>_loss`, each as it enters the loss.

    Training that is killed at any moment and resumed from its last checkpoint ends with the same weights and the same
    log as if it had not been: a checkpoint counts when it is whole, it carries the running averages, and the order of
    the examples depends on seed and epoch alone.
    """

    loss_is_scaled_for_ga = True  # compute_loss returns this micro-batch's share of the update's loss
    term_weights: Mapping[str, float] = {}

    def __init__(self, model: PreTrainedModel, args: TrainingArguments, **kwargs: Any) -> None:
        if args.n_gpu > 1:
            raise InputError(
                "one process cannot train on several GPUs exactly",
                field="CUDA_VISIBLE_DEVICES",
                value=args.n_gpu,
                remedy="start one process per GPU with `torchrun` or `accelerate launch`, or show it a single GPU",
            )
        if kwargs.get("data_collator") is None:
            kwargs["data_collator"] = PaddingCollator(model.config.pad_token_id or 0)
        args.remove_unused_columns = False  # the collator chooses; transformers would drop what only the teacher reads
        super().__init__(model=model, args=args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self._update_counts: dict[str, Tensor] = {}
        self._logged_terms: dict[str, Tensor] = {}
        self._steps_at_last_log = 0

    def train(self, resume_from_checkpoint: bool | str | None = None, **kwargs: Any) -> TrainOutput:
        """Train as transformers does.

        Args:
            resume_from_checkpoint: A checkpoint's folder; True goes on from the last whole one of the output folder, or
                starts where there is none.
            kwargs: Passed on to transformers' `train`.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete(str(self.args.output_dir))
        averages = read_averages(Path(resume_from_checkpoint)) if resume_from_checkpoint else {}
        self._steps_at_last_log = averages.get("steps_at_last_log", 0)
        self._logged_terms = {
            name: torch.tensor(value, device=self.args.device) for name, value in averages.get("terms", {}).items()
        }
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    @abstractmethod
    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return, for each term of the loss, how many elements of this batch it is a mean over (scalars, float64)."""

    @abstractmethod
    def loss_terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return each term as the mean over this batch's elements, and the model's outputs."""

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """Fetch an update's micro-batches, and count over all of them and all processes what each term averages."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        totals: dict[str, Tensor] = {}
        for batch in batches:
            for name, count in self.term_counts(batch).items():
                totals[name] = totals.get(name, torch.zeros((), dtype=torch.float64)) + count.cpu()
        if self.args.world_size > 1:
            gathered = self.accelerator.reduce(torch.stack(list(totals.values())).float().to(device), reduction="sum")
            totals = dict(zip(totals, gathered.double().cpu(), strict=True))
        self._update_counts = totals
        return batches, items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the weighted sum of the terms; while training, each as this micro-batch's share of the update."""
        terms, outputs = self.loss_terms(model, inputs)
        share = dict.fromkeys(terms, 1.0)
        if model.training:
            for name, count in self.term_counts(inputs).items():
                # DDP averages gradients over processes; the terms are sums over them.
                share[name] = float(count) / max(float(self._update_counts[name]), 1.0) * self.args.world_size
        weighted = {name: self.term_weights.get(name, 1.0) * share[name] * term for name, term in terms.items()}
        if model.training:
            for name, term in weighted.items():
                self._logged_terms[name] = self._logged_terms.get(name, 0.0) + term.detach().float()
        loss = torch.stack(list(weighted.values())).sum()
        return (loss, outputs) if return_outputs else loss

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler | None:
        """Evaluate in the data set's order: grouping training by length would shuffle what predictions belong to."""
        return SequentialSampler(eval_dataset) if self.args.world_size == 1 else None

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """Order the examples: where they are grouped by length, by seed and epoch alone."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or self.args.world_size > 1:
            return super()._get_train_sampler(train_dataset)
        lengths = [len(ids) for ids in dataset["input_ids"]]
        group = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return GroupedByLength(lengths, group, seed=self.args.seed)

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
        """Save a checkpoint, declare it whole, and only then remove older ones."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if not self.args.should_save:
            return
        folder = Path(self._get_output_dir(trial=trial))
        terms = {name: float(term) for name, term in self._logged_terms.items()}
        mark_complete(
            folder / f"checkpoint-{self.state.global_step}",
            {"terms": terms, "steps_at_last_log": self._steps_at_last_log},
        )
        rotate_checkpoints(
            output_dir=str(folder),
            save_total_limit=limit,
            best_model_checkpoint=self.state.best_model_checkpoint,
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; a training loss is averaged over the steps since the last one, and its terms stand beside it."""
        if "loss" in logs and self._logged_terms:
            steps = max(self.state.global_step - self._steps_at_last_log, 1)
            names = list(self._logged_terms)
            sums = torch.stack([self._logged_terms[name].double() for name in names])
            if self.args.world_size > 1:
                sums = self.accelerator.reduce(sums.float(), reduction="mean").double()
            terms = {f"{name}_loss": float(value) / steps for name, value in zip(names, sums, strict=True)}
            # The Trainer's own average begins anew in a resumed run; these sums go on.
            logs = {**logs, "loss": sum(terms.values()), **terms}
            self._logged_terms = {}
            self._steps_at_last_log = self.state.global_step
        super().log(logs, start_time)
