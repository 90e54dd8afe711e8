"""What both phases share: a Trainer whose loss is the mean over the whole update, and one that has a teacher.

transformers' Trainer averages micro-batch means, which weighs a short sentence's tokens more than a long one's as soon
as gradients are accumulated or several processes take part. Here every term of a loss states how many elements it is a
mean over, and each micro-batch contributes its share of the update's total, so accumulation 1 and 4 take the same step.
The counts are summed over processes too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from ..batches import MODEL_INPUTS, PaddingCollator
from ..errors import InputError
from ..student.backbones import backbone_for
from ..student.layers import layer_map_for
from .checkpoints import last_complete, mark_complete, read_averages
from .language_teacher import LanguageTeacher
from .losses import attention_loss, hidden_state_loss
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


class DistillationTrainer(ExactAveragingTrainer):
    """A Trainer with a teacher beside the student: attention and hidden-state terms, aligned layer by layer.

    The teacher stands outside the trained module: it is in no optimizer, no checkpoint and no gradient.

    Args:
        model: The student.
        teacher: The multilingual encoder, with the student's vocabulary, or a `LanguageTeacher`.
        args: Training arguments.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.
        kwargs: As for transformers' Trainer.

    Raises:
        InputError: teacher and student do not fit together.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        teacher: PreTrainedModel | LanguageTeacher,
        layer_map: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        voice = teacher if isinstance(teacher, LanguageTeacher) else LanguageTeacher(teacher)
        _check_fit(model, voice.model, layer_map)
        for one in (model, voice.model):
            one.set_attn_implementation(backbone_for(one.config).attentions_under)
        super().__init__(model, args, **kwargs)
        self.layer_map = layer_map
        voice.model.eval().requires_grad_(False)
        self.accelerator.prepare_model(voice.model, evaluation_mode=True)
        self.teacher = voice

    def term_counts(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Attention is a mean over pairs of tokens, the hidden states' term over tokens (up to constant factors)."""
        lengths = inputs["attention_mask"].sum(dim=1).double()
        return {"attention": lengths.square().sum(), "hidden": lengths.sum()}

    def distillation_terms(self, ours: Any, theirs: Any, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return the attention and hidden-state terms of two models' outputs on one batch."""
        states = states_to_match(self.teacher.model, theirs.hidden_states, self.layer_map)
        return {
            "attention": attention_loss(ours.attentions, theirs.attentions, attention_mask, layer_map=self.layer_map),
            "hidden": hidden_state_loss(ours.hidden_states, states, attention_mask, layer_map=self.layer_map),
        }

    def both_outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, Any]:
        """Run student and teacher on one batch, the teacher in the batch's language and without gradients."""
        read = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        with torch.no_grad():
            theirs = self.teacher.for_batch(inputs)(**read, output_attentions=True, output_hidden_states=True)
        return model(**read, output_attentions=True, output_hidden_states=True), theirs


def states_to_match(
    teacher: PreTrainedModel, hidden_states: Sequence[Tensor], layer_map: Sequence[int] | None
) -> tuple[Tensor, ...]:
    """Give the teacher's states as a student has them whose last layer answers to another layer than the last.

    Where an architecture has a norm after its last layer, the student's last state is normed, and an inner state of the
    teacher is not. Then the teacher's own final norm goes over the state that the student's last layer answers to.

    Args:
        teacher: The teacher, with or without a head.
        hidden_states: Its embedding output and one state for each layer, [batch, positions, hidden size] each.
        layer_map: For each student layer the 0-based teacher layer; None if the last ones answer to each other.

    Returns:
        The hidden states, one of them normed or all as they were.
    """
    states = list(hidden_states)
    norm = backbone_for(teacher.config).final_norm
    if norm is not None and layer_map is not None and layer_map[-1] + 2 < len(states):
        place = layer_map[-1] + 1  # behind the embedding output
        with torch.no_grad():
            states[place] = teacher.base_model.get_submodule(norm)(states[place])
    return tuple(states)


def _check_fit(student: PreTrainedModel, teacher: PreTrainedModel, layer_map: Sequence[int] | None) -> None:
    ours, theirs = student.config, teacher.config
    for field in ("vocab_size", "hidden_size", "num_attention_heads"):
        if getattr(ours, field) != getattr(theirs, field):
            remedy = (
                "slice the teacher with bistill_hub.student.trim_vocabulary(teacher, token_map)"
                if field == "vocab_size"
                else "cut the student out of this teacher"
            )
            raise InputError(
                f"the student's differs from the teacher's {getattr(theirs, field)}",
                field=field,
                value=getattr(ours, field),
                remedy=remedy,
            )
    if layer_map is None and theirs.num_hidden_layers % ours.num_hidden_layers:
        raise InputError(
            f"the student's layers cannot be spread evenly over the teacher's {theirs.num_hidden_layers}",
            field="num_hidden_layers",
            value=ours.num_hidden_layers,
            remedy="pass the layer_map that the student was cut with",
        )
    layers = layer_map_for(theirs.num_hidden_layers, layer_map=layer_map, kept=ours.num_hidden_layers)
    if len(layers) != ours.num_hidden_layers:
        raise InputError(
            f"the student has {ours.num_hidden_layers} layers, not {len(layers)}",
            field="layer_map",
            value=layers,
            remedy="pass the layer_map that the student was cut with",
        )
    _check_kinds_of_layers(ours, theirs, layers)


def _check_kinds_of_layers(ours: Any, theirs: Any, layer_map: Sequence[int]) -> None:
    """Refuse a student layer of another kind (such as local attention) than the teacher layer that it answers to."""
    for field in backbone_for(theirs).layer_fields:
        expected = [getattr(theirs, field)[layer] for layer in layer_map]
        if list(getattr(ours, field, None) or ()) != expected:
            raise InputError(
                f"the teacher layers that these answer to are {expected}",
                field=field,
                value=getattr(ours, field, None),
                remedy="pass the layer_map that the student was cut with",
            )
