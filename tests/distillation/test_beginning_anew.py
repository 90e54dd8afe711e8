"""A training that is begun anew in a used folder, killed and resumed goes on with itself, not with the one before."""

import pytest
import torch
from tiny_models import class_of
from tiny_models import tiny_model as model_of
from transformers import TrainerCallback, TrainingArguments

from bistill_hub import BilingualDistillationArguments, BilingualDistillationTrainer, SparseTaskDistillationArguments
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation.checkpoints import COMPLETE_FILE, last_complete, remove_checkpoints
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
def test_what_was_begun_anew_and_killed_ends_as_if_nothing_had_been_there(tiny_model, uneven_rows, tmp_path, make):
    def trainer_in(name, learning_rate):
        return make(tiny_model, uneven_rows(20), str(tmp_path / name), learning_rate=learning_rate)

    def weights(trainer, **resuming):
        trainer.train(**resuming)
        return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}

    earlier = weights(trainer_in("used", 1e-2))
    expected = weights(trainer_in("empty", 1e-3))
    killed = trainer_in("used", 1e-3)
    killed.add_callback(Kill())
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    found = weights(trainer_in("used", 1e-3), resume_from_checkpoint=True)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not all(torch.equal(earlier[name], expected[name]) for name in expected)


@pytest.mark.parametrize("resume", [None, False])
def test_nothing_but_checkpoints_is_removed_from_the_folder(tiny_model, uneven_rows, tmp_path, resume):
    kept = ["checkpoint-best/model.bin", "my-checkpoint-8/model.bin", "blocks_en/data.arrow", "checkpoint-9"]
    for name in (*kept, "checkpoint-8/complete.json", "checkpoint-80/unfinished"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    fine_tuning(tiny_model, uneven_rows(20), str(tmp_path), learning_rate=1e-3).train(resume_from_checkpoint=resume)
    assert all((tmp_path / name).is_file() for name in kept)
    checkpoints = {place.name for place in tmp_path.glob("checkpoint-*") if place.is_dir()}
    assert checkpoints == {"checkpoint-best", "checkpoint-2", "checkpoint-4", "checkpoint-6"}


def test_a_sparse_training_leaves_checkpoints_that_are_of_none_of_its_stages(tiny_model, uneven_rows, tmp_path):
    for name in ("checkpoint-8", "dense-old/checkpoint-8", "sparse-3/checkpoint-8", "dense/notes"):
        (tmp_path / name).mkdir(parents=True)
    phase_2(tiny_model, uneven_rows(20), str(tmp_path), learning_rate=1e-3).train()
    left = {str(place.relative_to(tmp_path)) for place in tmp_path.rglob("*-8")}
    assert left == {"checkpoint-8", "dense-old/checkpoint-8"}
    assert (tmp_path / "dense" / "notes").is_dir()


def test_a_removal_that_is_killed_leaves_no_checkpoint_that_looks_whole(tmp_path, monkeypatch):
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / COMPLETE_FILE).write_text("{}")

    def killed(place):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bistill_hub.distillation.checkpoints.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_checkpoints(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert last_complete(tmp_path) is None
