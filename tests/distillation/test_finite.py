"""A training that comes to values that are not finite ends there, on all processes alike, and writes none of them."""

import math
import os
from types import SimpleNamespace

import pytest
import torch
from processes import in_processes
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForTokenClassification, Trainer, TrainerCallback, TrainingArguments

from bistill_hub import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    InputError,
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
)
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer
from bistill_hub.distillation.finite import NotFiniteError, StopWhereNotFinite, check_losses, check_weights
from bistill_hub.distillation.recording import calm

LABELS = ("O", "B-PER", "I-PER")
QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "logging_steps": 1, "save_strategy": "no"}
FAR_TOO_HIGH = {"learning_rate": 1e30, "lr_scheduler_type": "constant"}


@pytest.fixture
def models(tiny_model, tmp_path):
    """Folders of a student and a teacher, with and without a head."""
    folder = tmp_path / "models"
    for name, kwargs in (("student", {"layers": 2, "seed": 1}), ("teacher", {"layers": 4, "seed": 0})):
        tiny_model(**kwargs).save_pretrained(folder / name)
        tiny_model(**kwargs, labels=LABELS).save_pretrained(folder / f"{name}-of-task")
    return folder


@pytest.fixture
def rows(uneven_rows):
    return uneven_rows(16).to_list()


def phase_1(folder, models, rows, *, teacher=None, **settings):
    args = BilingualDistillationArguments(
        output_dir=str(folder), per_device_train_batch_size=2, **{**QUIET, "max_steps": 5, **settings}
    )
    blocks = BilingualBlocks({language: [{"input_ids": row["input_ids"]} for row in rows] for language in ("en", "sw")})
    return BilingualDistillationTrainer(
        AutoModel.from_pretrained(models / "student"),
        args,
        teacher=teacher or AutoModel.from_pretrained(models / "teacher"),
        train_dataset=blocks,
        eval_dataset=blocks,
    )


def task_teacher(folder, models, rows, **settings):
    args = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=2, **{**QUIET, "max_steps": 5, **settings}
    )
    model = AutoModelForTokenClassification.from_pretrained(models / "teacher-of-task")
    return TaskFineTuningTrainer(model, args, train_dataset=rows)


def phase_2(folder, models, rows, **settings):
    args = SparseTaskDistillationArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        **{**QUIET, "max_steps": 5, "dense_max_steps": 5, **settings},
    )
    return SparseTaskDistillationTrainer(
        AutoModelForTokenClassification.from_pretrained(models / "student-of-task"),
        args,
        teacher=AutoModelForTokenClassification.from_pretrained(models / "teacher-of-task"),
        train_dataset=rows,
    )


TRAINERS = {"phase 1": phase_1, "task teacher": task_teacher, "phase 2": phase_2}


class Poison(TrainerCallback):
    """Makes a weight something else than a finite number after some update."""

    def __init__(self, update, value=math.nan):
        self.update, self.value = update, value

    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step == self.update:
            with torch.no_grad():
                next(model.parameters())[0, 0] = self.value


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_training_ends_soon_after_a_loss_that_is_not_finite(kind, models, rows, tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 1}
    trainer = TRAINERS[kind](tmp_path / "out", models, rows, **FAR_TOO_HIGH, **saved)
    with pytest.raises(NotFiniteError, match=r"cannot go on, for \w+_loss\b.* not finite at update [23]\b") as e:
        trainer.train()
    assert (e.value.field, e.value.value) == ("learning_rate", 1e30)
    assert e.value.remedy == "set a lower learning_rate"
    assert e.value.file == str(tmp_path / "out" / ("dense" if kind == "phase 2" else ""))
    weights = list((tmp_path / "out").rglob("model.safetensors"))
    assert weights, "the first update's are finite"
    assert all(tensor.isfinite().all() for file in weights for tensor in load_file(file).values())
    assert not list((tmp_path / "out").rglob("ticket.safetensors"))


def test_a_teacher_that_overflows_is_noticed_and_its_precision_named(models, rows, tmp_path):
    teacher = AutoModel.from_pretrained(models / "teacher")
    with torch.no_grad():
        teacher.encoder.layer[0].output.LayerNorm.weight[3] = 6e4
    trainer = phase_1(tmp_path / "out", models, rows, teacher=teacher, teacher_precision="fp16")
    with pytest.raises(NotFiniteError, match=r"hidden_loss .*not finite at update 1\b") as e:
        trainer.train()
    assert e.value.remedy == "set a lower learning_rate, or another teacher_precision than fp16 (bf16 or fp32)"


def test_the_remedy_names_the_precisions_that_may_be_the_cause(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), bf16=True, use_cpu=True)
    with pytest.raises(NotFiniteError, match="loss is not finite at update 7") as e:
        check_losses({"loss": math.inf}, args, 7)
    assert e.value.remedy == "set a lower learning_rate, or another precision than bf16 (fp32)"
    args.bf16, args.fp16, args.teacher_precision = False, True, "bf16"
    with pytest.raises(NotFiniteError) as e:
        check_losses({"loss": math.inf}, args, 7)
    assert e.value.remedy == (
        "set a lower learning_rate, or another precision than fp16 (bf16 or fp32), or another teacher_precision than "
        "bf16 (fp32)"
    )


@pytest.mark.parametrize(
    ("logs", "named"),
    [
        ({"loss": math.nan, "hidden_loss": math.nan, "attention_loss": 0.5}, "hidden_loss is"),
        (
            {"loss": math.inf, "a_loss": -math.inf, "b_loss": math.nan, "c_loss": math.inf},
            "a_loss, b_loss and c_loss are",
        ),
        ({"loss": math.inf, "a_loss": 3e38, "b_loss": 3e38}, "loss is"),
        ({"eval_loss": math.nan, "eval_runtime": 1.0}, "eval_loss is"),
        ({"eval_sw_loss": math.nan}, "eval_sw_loss is"),
    ],
)
def test_the_terms_that_are_not_finite_are_named(logs, named, tmp_path):
    with pytest.raises(NotFiniteError, match=f"for {named} not finite at update 3"):
        check_losses(logs, TrainingArguments(output_dir=str(tmp_path), use_cpu=True), 3)


def test_a_gradient_that_is_not_finite_is_no_loss(tmp_path):
    # With fp16 an update whose gradient is infinite is left out, and the scale of the loss lowered.
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    check_losses({"loss": 1.0, "task_loss": 1.0, "grad_norm": math.inf, "eval_f1": math.nan}, args, 3)


@pytest.mark.parametrize("settings", [{"logging_strategy": "no"}, {"logging_steps": 3}], ids=["never", "too early"])
def test_losses_that_are_never_logged_are_judged_at_the_end(settings, models, rows, tmp_path):
    trainer = phase_1(tmp_path / "out", models, rows, **settings)
    true_terms = trainer.loss_terms

    def loss_terms(model, inputs):
        terms, outputs = true_terms(model, inputs)
        if trainer.state.global_step == 4:
            terms["hidden"] = torch.where(torch.tensor(True), math.nan, terms["hidden"]).detach()
        return terms, outputs

    trainer.loss_terms = loss_terms
    with pytest.raises(NotFiniteError, match="hidden_loss is not finite at update 5"):
        trainer.train()
    check_weights(trainer.model, trainer.args, 5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_no_loss_has_shown_are_not_handed_on(value, models, rows, tmp_path):
    trainer = phase_1(tmp_path / "out", models, rows)
    trainer.add_callback(Poison(5, value))
    with pytest.raises(NotFiniteError, match=r"embeddings\.\S+ holds values that are not finite after update 5"):
        trainer.train()


def test_a_checkpoint_of_weights_that_are_not_finite_is_not_written(models, rows, tmp_path):
    trainer = phase_1(tmp_path / "out", models, rows, logging_strategy="no", save_strategy="steps", save_steps=2)
    trainer.add_callback(Poison(4))
    with pytest.raises(NotFiniteError, match="after update 4"):
        trainer.train()
    assert [place.name for place in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_loss_on_held_out_data_is_judged_before_the_checkpoint_is_written(models, rows, tmp_path):
    strategy = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = phase_1(tmp_path / "out", models, rows, logging_strategy="no", **strategy)
    trainer.model.embeddings.register_forward_hook(
        lambda module, inputs, output: output if module.training or trainer.state.global_step < 4 else output * math.nan
    )
    with pytest.raises(NotFiniteError, match="eval_loss is not finite at update 4"):
        trainer.train()
    assert [place.name for place in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_model_that_is_not_finite_is_refused_before_it_is_trained_and_may_be_evaluated(models, rows, tmp_path):
    trainer = phase_1(tmp_path / "out", models, rows)
    with torch.no_grad():
        trainer.model.embeddings.word_embeddings.weight[7, 0] = math.nan
    assert math.isnan(trainer.evaluate()["eval_loss"])
    with pytest.raises(
        InputError, match=r"the model to train holds values that are not finite, in embeddings\.word"
    ) as e:
        trainer.train()
    assert not isinstance(e.value, NotFiniteError), "no learning rate is at fault"
    assert e.value.field == "model"


def message_of(folder, models, rows, poisoned):
    """What a process says of a training whose loss one process alone finds not to be finite."""
    trainer = phase_1(folder, models, rows, logging_steps=2)
    true_terms = trainer.loss_terms

    def loss_terms(model, inputs):
        terms, outputs = true_terms(model, inputs)
        if int(os.environ["RANK"]) == poisoned and trainer.state.global_step == 3:
            terms["hidden"] = terms["hidden"] * math.nan
        return terms, outputs

    trainer.loss_terms = loss_terms
    try:
        trainer.train()
    except NotFiniteError as error:
        return str(error)


@pytest.mark.parametrize("poisoned", [0, 1])
def test_all_processes_say_the_same_where_one_of_them_meets_it(poisoned, models, rows, tmp_path):
    first, second = in_processes(2, message_of, tmp_path / "out", models, rows, poisoned)
    assert first == second
    assert "for hidden_loss is not finite at update 4." in first


class Slope(nn.Module):
    """A line through the origin, and its squared error."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        return {"loss": ((self.slope * x - labels) ** 2).mean()}


def test_any_trainer_that_is_calmed_ends_there_too(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=5, **QUIET, **FAR_TOO_HIGH)
    rows = [{"x": torch.tensor([float(x)]), "labels": torch.tensor([2.0 * x])} for x in range(1, 9)]
    trainer = calm(calm(Trainer(Slope(), args, train_dataset=rows)))
    with pytest.raises(NotFiniteError, match="loss is not finite at update 2"):
        trainer.train()
    kinds = [type(callback) for callback in trainer.callback_handler.callbacks]
    assert kinds.count(StopWhereNotFinite) == 1


def test_the_extremes_tell_of_any_type_and_of_no_entry():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = nn.Linear(40, 30).to(dtype)
        model.empty = nn.Parameter(torch.zeros(0, 3))
        args = SimpleNamespace(output_dir="out", learning_rate=1.0, fp16=False, bf16=False)
        check_weights(model, args, 1)
        for value in (math.nan, math.inf, -math.inf):
            with torch.no_grad():
                model.weight.zero_()[17, 23] = value
            with pytest.raises(NotFiniteError, match="weight holds values"):
                check_weights(model, args, 1)
