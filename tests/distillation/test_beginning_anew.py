"""A training does not begin anew where an earlier one could be gone on with: a resume would mix them up."""

import pytest
import torch
from tiny_models import class_of
from tiny_models import tiny_model as model_of
from transformers import TrainerCallback, TrainingArguments

from bistill_hub import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    InputError,
    SparseTaskDistillationArguments,
)
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation.checkpoints import COMPLETE_FILE, last_complete, whole_checkpoint
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer
from bistill_hub.distillation.language_modelling import LanguageFineTuningArguments, LanguageFineTuningTrainer
from bistill_hub.distillation.task import SparseTaskDistillationTrainer

LABELS = ("O", "B-PER", "I-PER")
QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 4}
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6}
SPARSE = {**SAVING, "dense_max_steps": 6, "density": 0.1}


def phase_1(tiny_model, rows, folder, **settings):
    args = BilingualDistillationArguments(output_dir=folder, **QUIET, **SAVING, **settings)
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    texts = [{"input_ids": row["input_ids"]} for row in rows]
    blocks = BilingualBlocks({"en": texts[:10], "sw": texts[10:]})
    return BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=blocks)


def fine_tuning(tiny_model, rows, folder, **settings):
    args = TrainingArguments(output_dir=folder, **QUIET, **SAVING, **settings)
    return TaskFineTuningTrainer(tiny_model(layers=2, seed=1, labels=LABELS), args, train_dataset=rows)


def phase_2(tiny_model, rows, folder, **settings):
    args = SparseTaskDistillationArguments(output_dir=folder, **QUIET, **{**SPARSE, **settings})
    student, teacher = (tiny_model(layers=layers, seed=layers, labels=LABELS) for layers in (2, 4))
    return SparseTaskDistillationTrainer(student, args, teacher=teacher, train_dataset=rows)


def two_iterations(tiny_model, rows, folder, **settings):
    return phase_2(tiny_model, rows, folder, iterations=2, **settings)


def every_entry(tiny_model, rows, folder, **settings):
    return phase_2(tiny_model, rows, folder, density=1, **settings)


class Tokenizer:
    """What the trainer asks of a tokenizer."""

    mask_token_id = 3
    all_special_ids = (0, 1, 2, 3)

    def __len__(self):
        return 60

    def save_pretrained(self, folder):
        """Write nothing into a checkpoint."""


def language_delta(tiny_model, rows, folder, **settings):
    args = LanguageFineTuningArguments(output_dir=folder, **QUIET, **SPARSE, **settings)
    model = model_of(class_of("bert", "ForMaskedLM"), 60, 2)
    return LanguageFineTuningTrainer(model, args, train_dataset=rows, processing_class=Tokenizer())


class Kill(TrainerCallback):
    """Breaks off the first stage before its fourth update: there is one checkpoint."""

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("make", [phase_1, fine_tuning, phase_2, two_iterations, every_entry, language_delta])
def test_beginning_anew_over_an_earlier_trainings_checkpoints_is_refused(tiny_model, uneven_rows, tmp_path, make):
    def trainer_with(learning_rate):
        return make(tiny_model, uneven_rows(20), str(tmp_path), learning_rate=learning_rate)

    killed = trainer_with(1e-2)
    killed.add_callback(Kill())
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    left = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    another = trainer_with(1e-3)
    start = {name: parameter.detach().clone() for name, parameter in another.model.named_parameters()}
    for begun in (None, False):
        with pytest.raises(InputError, match=r"an earlier training has left \S*checkpoint-2 there") as refused:
            another.train(resume_from_checkpoint=begun)
        assert refused.value.field == "output_dir"
        assert "resume_from_checkpoint=True" in refused.value.remedy
    assert all(torch.equal(start[name], parameter) for name, parameter in another.model.named_parameters())
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == left
    trainer_with(1e-2).train(resume_from_checkpoint=True)


def test_what_is_no_whole_checkpoint_keeps_nobody_from_beginning(tiny_model, uneven_rows, tmp_path):
    kept = ["checkpoint-best/model.bin", "my-checkpoint-8/model.bin", "blocks_en/data.arrow", "checkpoint-9"]
    for name in (*kept, "checkpoint-80/unfinished"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    fine_tuning(tiny_model, uneven_rows(20), str(tmp_path), learning_rate=1e-3).train()
    assert all((tmp_path / name).is_file() for name in kept)
    assert last_complete(tmp_path) == str(tmp_path / "checkpoint-6")


def test_a_checkpoint_that_a_power_cut_has_left_empty_counts_as_none(tiny_model, uneven_rows, tmp_path):
    def trainer(folder):
        return fine_tuning(tiny_model, uneven_rows(20), str(tmp_path / folder), learning_rate=1e-2)

    trainer("whole").train()
    cut = trainer("cut")
    cut.add_callback(Kill())
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    (tmp_path / "cut" / "checkpoint-2" / COMPLETE_FILE).write_bytes(b"")
    assert whole_checkpoint(tmp_path / "cut") is None
    trainer("cut").train(resume_from_checkpoint=True)
    assert (tmp_path / "cut/checkpoint-6/model.safetensors").read_bytes() == (
        tmp_path / "whole/checkpoint-6/model.safetensors"
    ).read_bytes()
