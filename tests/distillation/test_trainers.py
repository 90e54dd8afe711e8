"""Both phases: accumulation changes nothing, the sparse stage moves exactly what was chosen, misfits are refused."""

import math

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback

from bistill_hub import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    InputError,
    SparseDelta,
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
)
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation import exact_averaging
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer
from bistill_hub.distillation.language_teacher import LanguageTeacher

LABELS = ("O", "B-PER", "I-PER")
QUIET = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def largest_difference(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def phase_1(tiny_model, rows, folder, *, batch, accumulation, steps=3):
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    args = BilingualDistillationArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=steps,
        # Plain gradient descent: Adam would turn the rounding of a gradient that is zero into a whole step.
        optim="sgd",
        learning_rate=0.1,
        **QUIET,
    )
    trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=rows)
    trainer.train()
    return trainer


def phase_2(tiny_model, rows, folder, *, batch=4, accumulation=1, scored=None, **settings):
    student, teacher = tiny_model(layers=2, seed=1, labels=LABELS), tiny_model(layers=4, seed=0, labels=LABELS)
    args = SparseTaskDistillationArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        **{"max_steps": 6, "dense_max_steps": 4, "learning_rate": 1e-3, "density": 0.08, **QUIET, **settings},
    )
    return SparseTaskDistillationTrainer(student, args, teacher=teacher, train_dataset=rows, **(scored or {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fsdp", True),
        ("deepspeed", {"zero_optimization": {"stage": 2}}),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_USE_DEEPSPEED", "true"),
    ],
)
def test_phase_1_refuses_sharded_training_as_phase_2_does(tiny_model, tmp_path, monkeypatch, uneven_rows, field, value):
    ready = BilingualDistillationArguments(output_dir=str(tmp_path / "out"), **QUIET)
    sparse = SparseTaskDistillationArguments(output_dir=str(tmp_path / "out"), **QUIET)
    if field.isupper():
        monkeypatch.setenv(field, value)
    else:
        setattr(ready, field, value)
        setattr(sparse, field, value)
    models = [[tiny_model(layers=layers, labels=labels) for layers in (2, 4)] for labels in (None, LABELS)]
    rows = uneven_rows(2)
    (student, teacher), (tagger, tagging_teacher) = models
    with pytest.raises(InputError) as by_phase_2:
        SparseTaskDistillationTrainer(tagger, sparse, teacher=tagging_teacher, train_dataset=rows)
    with pytest.raises(InputError) as by_phase_1:
        BilingualDistillationTrainer(student, ready, teacher=teacher, train_dataset=rows)
    assert str(by_phase_1.value) == str(by_phase_2.value)
    settings = {} if field.isupper() else {field: value}
    with pytest.raises(InputError, match=rf"{field} = .*sharded.*DDP.*torchrun"):
        BilingualDistillationArguments(output_dir=str(tmp_path / "out"), **settings, **QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_phase_1_refuses_what_a_plug_in_of_accelerate_has_set_up_for_sharding(
    tiny_model, tmp_path, monkeypatch, uneven_rows, kind
):
    args = BilingualDistillationArguments(output_dir=str(tmp_path), **QUIET)
    real = exact_averaging.Trainer.__init__

    def plugged_in(self, *words, **named):
        real(self, *words, **named)
        monkeypatch.setattr(type(self.accelerator), "distributed_type", DistributedType(kind))

    monkeypatch.setattr(exact_averaging.Trainer, "__init__", plugged_in)
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    with pytest.raises(InputError, match=rf"distributed_type = '{kind}': .*sharded.*DDP"):
        BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=uneven_rows(2))


def fine_tuning(tiny_model, rows, folder, *, batch, accumulation):
    from transformers import TrainingArguments

    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=3,
        optim="sgd",
        learning_rate=0.1,
        **QUIET,
    )
    trainer = TaskFineTuningTrainer(tiny_model(layers=2, seed=1, labels=LABELS), args, train_dataset=rows)
    trainer.train()
    return trainer


def test_accumulation_changes_no_update_of_phase_1(tiny_model, uneven_rows, tmp_path):
    whole = phase_1(tiny_model, uneven_rows(24), tmp_path, batch=8, accumulation=1)
    parts = phase_1(tiny_model, uneven_rows(24), tmp_path, batch=2, accumulation=4)
    assert largest_difference(parameters(whole.model), parameters(parts.model)) < 2e-6
    logged = [[entry for entry in t.state.log_history if "loss" in entry] for t in (whole, parts)]
    for one, other in zip(*logged, strict=True):
        for name in ("loss", "attention_loss", "hidden_loss", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-4), name


def test_accumulation_changes_no_update_of_phase_2(tiny_model, uneven_rows, tmp_path):
    trainers = []
    for batch, accumulation in ((8, 1), (2, 4)):
        trainer = phase_2(tiny_model, uneven_rows(24), tmp_path / str(batch), batch=batch, accumulation=accumulation)
        trainer.train()
        trainers.append(trainer)
    whole, parts = trainers
    assert set(whole.delta.sparse) == set(parts.delta.sparse)
    for name, update in whole.delta.sparse.items():
        torch.testing.assert_close(update.indices, parts.delta.sparse[name].indices)
    assert largest_difference(parameters(whole.model), parameters(parts.model)) < 5e-6


def test_accumulation_changes_no_update_of_ordinary_fine_tuning(tiny_model, uneven_rows, tmp_path):
    whole = fine_tuning(tiny_model, uneven_rows(24), tmp_path, batch=8, accumulation=1)
    parts = fine_tuning(tiny_model, uneven_rows(24), tmp_path, batch=2, accumulation=4)
    assert largest_difference(parameters(whole.model), parameters(parts.model)) < 2e-6


class WithoutFloat64(torch.Tensor):
    """Stands for a tensor on an Apple GPU."""

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def to(self, device):
        return self.cpu()


@pytest.mark.parametrize("training", [True, False])
def test_a_loss_is_averaged_where_the_device_has_no_float64(tiny_model, uneven_rows, tmp_path, monkeypatch, training):
    trainer = phase_2(tiny_model, uneven_rows(8), tmp_path)
    (batch,), _ = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, trainer.args.device)
    trainer.model.train(training)
    terms, _ = trainer.loss_terms(trainer.model, batch)
    expected = trainer.compute_loss(trainer.model, batch).item()
    there = {name: tensor.as_subclass(WithoutFloat64) for name, tensor in batch.items()}
    of_terms = {name: term.detach().as_subclass(WithoutFloat64) for name, term in terms.items()}
    monkeypatch.setattr(trainer, "loss_terms", lambda *_: (of_terms, None))
    monkeypatch.setattr(exact_averaging, "_WITHOUT_FLOAT64", (trainer.args.device.type,))
    trainer.get_batch_samples(iter([there]), 1, trainer.args.device)
    assert trainer.compute_loss(trainer.model, there).item() == pytest.approx(expected)


def test_a_short_last_accumulation_is_averaged_over_what_it_holds(tiny_model, uneven_rows, tmp_path):
    # 10 rows: the second update holds two rows, in one micro-batch or in one of the four.
    whole = phase_1(tiny_model, uneven_rows(10), tmp_path, batch=8, accumulation=1, steps=2)
    parts = phase_1(tiny_model, uneven_rows(10), tmp_path, batch=2, accumulation=4, steps=2)
    assert largest_difference(parameters(whole.model), parameters(parts.model)) < 2e-6


@pytest.mark.parametrize("density", [0.01, 0.08, 0.5])
def test_exactly_the_chosen_entries_differ_after_the_sparse_stage(tiny_model, uneven_rows, tmp_path, density):
    trainer = phase_2(tiny_model, uneven_rows(16), tmp_path, density=density, weight_decay=0.1)
    start = parameters(trainer.model)
    trainer.train()
    after = parameters(trainer.model)
    encoder = {name for name in start if name.startswith("bert.")}
    norms = {name for name in encoder if "LayerNorm" in name}
    # The pooler-less encoder without its LayerNorms is what may be chosen from.
    eligible = sum(start[name].numel() for name in encoder - norms)
    changed = {name: int((start[name] != after[name]).sum()) for name in start}
    assert sum(changed[name] for name in encoder) == round(density * eligible) == trainer.delta.entries
    assert all(changed[name] == 0 for name in norms)
    assert all(changed[name] > 0 for name in set(start) - encoder), "the head is dense"
    assert trainer.delta.density == pytest.approx(density, abs=1 / eligible)
    for name in encoder:
        chosen = torch.zeros_like(start[name], dtype=torch.bool).flatten()
        if name in trainer.delta.sparse:
            chosen[trainer.delta.sparse[name].indices] = True
        untouched = ~chosen.view_as(start[name])
        assert torch.equal(start[name][untouched], after[name][untouched]), name


def test_the_delta_on_the_start_gives_the_trained_model_and_reverts_to_the_start(tiny_model, uneven_rows, tmp_path):
    trainer = phase_2(tiny_model, uneven_rows(16), tmp_path)
    start = parameters(trainer.model)
    trainer.train()
    trainer.delta.save(tmp_path / "delta.safetensors")
    fresh = tiny_model(layers=2, seed=1, labels=LABELS)
    loaded = SparseDelta.load(tmp_path / "delta.safetensors")
    loaded.apply(fresh)
    assert largest_difference(parameters(fresh), parameters(trainer.model)) == 0
    loaded.revert(fresh)
    assert largest_difference(parameters(fresh), start) == 0


def test_the_sparse_stage_starts_from_the_start_head_included(tiny_model, uneven_rows, tmp_path):
    seen = {}

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_):
            seen[args.output_dir.rsplit("/", 1)[-1]] = parameters(model)

    trainer = phase_2(tiny_model, uneven_rows(16), tmp_path)
    trainer.add_callback(Look())
    trainer.train()
    assert set(seen) == {"dense", "sparse"}
    assert largest_difference(seen["dense"], seen["sparse"]) == 0


def test_gradients_outside_the_ticket_never_reach_clipping(tiny_model, uneven_rows, tmp_path):
    norms = {}

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **_):
            norms[args.output_dir.rsplit("/", 1)[-1]] = {
                name: int((p.grad != 0).sum()) for name, p in model.named_parameters() if p.grad is not None
            }

    trainer = phase_2(tiny_model, uneven_rows(16), tmp_path, density=0.02)
    trainer.add_callback(Look())
    trainer.train()
    sparse = {name: count for name, count in norms["sparse"].items() if name.startswith("bert.")}
    assert sum(sparse.values()) <= trainer.delta.entries < sum(norms["dense"].values())


def test_the_sparse_optimizers_memory_is_that_of_the_ticket(tiny_model, uneven_rows, tmp_path):
    sizes = {}

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, optimizer=None, model=None, **_):
            sizes[args.output_dir.rsplit("/", 1)[-1]] = sum(
                value.numel() for entry in optimizer.state.values() for name, value in entry.items() if name != "step"
            )

    trainer = phase_2(tiny_model, uneven_rows(16), tmp_path)
    trainer.add_callback(Look())
    trainer.train()
    head = sum(tensor.numel() for tensor in trainer.delta.dense.values())
    assert sizes["sparse"] == 2 * (trainer.delta.entries + head)
    assert sizes["dense"] > 8 * sizes["sparse"]


def test_the_sparse_stage_ends_with_its_best_checkpoint_by_the_metric(tiny_model, uneven_rows, tmp_path):
    scores = iter([0.2, 0.9, 0.4])
    often = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "f1"}
    scored = {"eval_dataset": uneven_rows(4), "compute_metrics": lambda prediction: {"f1": next(scores)}}
    trainer = phase_2(tiny_model, uneven_rows(16), tmp_path, scored=scored, **often, **best)
    trainer.train()
    assert next(scores, None) is None, "the sparse stage alone is scored"
    first, second, last = (
        load_file(tmp_path / "sparse" / f"checkpoint-{step}" / "model.safetensors") for step in (2, 4, 6)
    )
    reached = parameters(trainer.model)
    assert largest_difference(reached, second) < 1e-6
    assert min(largest_difference(reached, other) for other in (first, last)) > 1e-4


@pytest.mark.parametrize("killed_in", ["dense", "sparse"])
def test_an_interrupted_run_ends_like_one_that_was_not(tiny_model, uneven_rows, tmp_path, killed_in):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if args.output_dir.endswith(killed_in) and state.global_step == 3:
                raise KeyboardInterrupt

    settings = {"save_strategy": "steps", "save_steps": 2}
    whole = phase_2(tiny_model, uneven_rows(16), tmp_path / "whole", **settings)
    whole.train()
    broken = phase_2(tiny_model, uneven_rows(16), tmp_path / "broken", **settings)
    broken.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = phase_2(tiny_model, uneven_rows(16), tmp_path / "broken", **settings)
    resumed.train(resume_from_checkpoint=True)
    for trainer in (whole, resumed):
        trainer.delta.save(f"{trainer.args.output_dir}/delta.safetensors")
    one, other = ((tmp_path / name / "delta.safetensors").read_bytes() for name in ("whole", "broken"))
    assert one == other


def test_a_run_of_another_start_is_not_resumed(tiny_model, uneven_rows, tmp_path):
    phase_2(tiny_model, uneven_rows(16), tmp_path).train()
    assert load_file(tmp_path / "ticket.safetensors")
    other = phase_2(tiny_model, uneven_rows(16), tmp_path)
    with torch.no_grad():
        other.model.classifier.bias += 1
    with pytest.raises(InputError, match="started from other weights"):
        other.train(resume_from_checkpoint=True)


def test_development_data_are_predicted_in_their_order_however_training_is_batched(tiny_model, uneven_rows, tmp_path):
    from transformers import TrainingArguments

    rows = uneven_rows(24)
    seen = []

    def compute_metrics(prediction):
        seen.extend(labels[labels != -100].tolist() for labels in prediction.label_ids)
        return {}

    args = TrainingArguments(
        output_dir=str(tmp_path), train_sampling_strategy="group_by_length", per_device_eval_batch_size=4, **QUIET
    )
    model = tiny_model(layers=2, seed=1, labels=LABELS)
    TaskFineTuningTrainer(model, args, eval_dataset=rows, compute_metrics=compute_metrics).evaluate()
    assert seen == [[label for label in row["labels"] if label != -100] for row in rows]


def test_a_sparse_stage_alone_may_be_stopped_early(tiny_model, uneven_rows, tmp_path):
    updates = []

    class Count(TrainerCallback):
        def on_train_end(self, args, state, control, **_):
            updates.append(state.global_step)

    rows = uneven_rows(12)
    settings = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "score"}
    scored = {"eval_dataset": rows, "compute_metrics": lambda _: {"score": 0.5}}
    trainer = phase_2(tiny_model, rows, tmp_path, scored=scored, dense_max_steps=4, max_steps=9, **settings)
    callbacks = [EarlyStoppingCallback(early_stopping_patience=2), Count()]
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    assert updates == [4, 3]
    assert trainer.callback_handler.callbacks[-2:] == callbacks


def test_rows_that_are_had_by_number_alone_are_grouped_by_length_as_a_table_is(tiny_model, uneven_rows, tmp_path):
    def trained(rows, folder):
        settings = {"train_sampling_strategy": "group_by_length", "dense_max_steps": 2, "max_steps": 2}
        trainer = phase_2(tiny_model, rows, folder, **settings)
        trainer.train()
        return parameters(trainer.model)

    table = uneven_rows(24)
    one, other = trained(table, tmp_path / "table"), trained(table.to_list(), tmp_path / "list")
    assert largest_difference(one, other) == 0


def test_the_teacher_is_in_no_optimizer_and_does_not_change(tiny_model, uneven_rows, tmp_path):
    trainer = phase_1(tiny_model, uneven_rows(8), tmp_path, batch=4, accumulation=1)
    assert largest_difference(parameters(trainer.teacher.model), parameters(tiny_model(layers=4, seed=0))) == 0
    trained = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert trained.isdisjoint(id(p) for p in trainer.teacher.model.parameters())


def test_phase_1_brings_the_student_nearer_to_its_teacher(tiny_model, tmp_path):
    generator = torch.Generator().manual_seed(0)
    blocks = BilingualBlocks(
        {
            language: [{"input_ids": torch.randint(5, 60, (20,), generator=generator).tolist()} for _ in range(40)]
            for language in ("en", "sw")
        }
    )
    train, held_out = blocks.split(0.2)
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    args = BilingualDistillationArguments(output_dir=str(tmp_path), max_steps=60, learning_rate=3e-3, **QUIET)
    trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=train, eval_dataset=held_out)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.8 * before


@pytest.mark.parametrize("stopped_at", [7, 10, 13])
def test_phase_1_resumes_in_any_epoch_as_if_it_had_not_stopped(tiny_model, tmp_path, stopped_at):
    generator = torch.Generator().manual_seed(0)
    blocks = BilingualBlocks(
        {
            language: [{"input_ids": torch.randint(5, 60, (12,), generator=generator).tolist()} for _ in range(count)]
            for language, count in (("en", 20), ("sw", 9))
        }
    )

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == stopped_at:
                raise KeyboardInterrupt

    def make(folder):
        settings = {**QUIET, "save_strategy": "steps", "save_steps": 3}
        args = BilingualDistillationArguments(
            output_dir=str(folder), max_steps=16, per_device_train_batch_size=4, learning_rate=1e-3, **settings
        )
        student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
        return BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=blocks)

    whole = make(tmp_path / "whole")
    whole.train()
    assert whole.state.epoch > 2
    broken = make(tmp_path / "broken")
    broken.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make(tmp_path / "broken")
    resumed.train(resume_from_checkpoint=True)
    assert largest_difference(parameters(whole.model), parameters(resumed.model)) == 0


def test_the_teacher_speaks_the_batchs_language_and_is_itself_again_after_thousands_of_swaps(tiny_model):
    teacher = tiny_model(layers=2, seed=0).to(torch.bfloat16)
    start = parameters(teacher)
    generator = torch.Generator().manual_seed(0)
    deltas = {}
    for language in ("en", "sw"):
        tuned = {n: p + 0.1 * (torch.rand(p.shape, generator=generator) > 0.9) for n, p in start.items()}
        deltas[language] = SparseDelta.from_models(start, tuned)
    voice = LanguageTeacher(teacher, deltas, languages=("en", "sw"))
    for step in range(2000):
        voice.for_batch({"language": torch.full((2,), step % 2)})
    spoken = parameters(voice.speak("sw"))
    assert largest_difference(spoken, start) > 0
    voice.speak(None)
    assert all(torch.equal(start[name], p) for name, p in teacher.named_parameters())
    with pytest.raises(ValueError, match="one language"):
        voice.for_batch({"language": torch.tensor([0, 1])})


def test_models_that_do_not_fit_are_refused_before_training(tiny_model, uneven_rows, tmp_path):
    def make(student, teacher, **settings):
        args = BilingualDistillationArguments(output_dir=str(tmp_path), **settings, **QUIET)
        return BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=uneven_rows(4))

    with pytest.raises(InputError, match="cannot be spread evenly over the teacher's 4"):
        make(tiny_model(layers=3), tiny_model(layers=4))
    with pytest.raises(InputError, match="layer_map"):
        make(tiny_model(layers=3), tiny_model(layers=4), layer_map=[0, 1, 4])
    other = tiny_model(layers=4)
    other.config.vocab_size = 61
    with pytest.raises(InputError, match="trim_vocabulary"):
        make(tiny_model(layers=2), other)
    with pytest.raises(InputError, match="density"):
        SparseTaskDistillationArguments(output_dir=str(tmp_path), density=0)
    wrong = tiny_model(layers=4, labels=("O", "B-LOC", "I-LOC"))
    with pytest.raises(InputError, match="the teacher's labels are"):
        SparseTaskDistillationTrainer(
            tiny_model(layers=2, labels=LABELS),
            SparseTaskDistillationArguments(output_dir=str(tmp_path), **QUIET),
            teacher=wrong,
            train_dataset=uneven_rows(4),
        )


def test_a_model_on_fused_attention_still_gives_its_attentions(tiny_model, uneven_rows, tmp_path):
    student, teacher = tiny_model(layers=2), tiny_model(layers=4)
    student.set_attn_implementation("sdpa")
    teacher.set_attn_implementation("sdpa")
    args = BilingualDistillationArguments(output_dir=str(tmp_path), max_steps=1, **QUIET)
    trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=uneven_rows(8))
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "attention_loss" in entry)
    assert logged["attention_loss"] > 0
    assert math.isclose(logged["loss"], logged["attention_loss"] + logged["hidden_loss"], rel_tol=1e-5)
