"""Sparse fine-tuning by itself: tied weights, iterations, resuming, the delta's precision, two processes, refusals."""

import re

import numpy as np
import pytest
import torch
from processes import in_processes
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM, TrainerCallback

from bistill_hub import InputError
from bistill_hub.distillation.lottery_ticket import ticket_size
from bistill_hub.distillation.sparse_fine_tuning import (
    SparseFineTuningArguments,
    SparseFineTuningTrainer,
    parameters_once,
)
from bistill_hub.distillation.stage_records import of_iteration

QUIET = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}
WORDS = "bert.embeddings.word_embeddings.weight"


class ReadsWords(SparseFineTuningTrainer):
    """Learns to give back each word, through the head of a language model."""

    def term_counts(self, inputs):
        return {"words": inputs["attention_mask"].sum().double()}

    def loss_terms(self, model, inputs):
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        real = inputs["attention_mask"] == 1
        return {"words": torch.nn.functional.cross_entropy(outputs.logits[real], inputs["input_ids"][real])}, outputs


class ReadsWordsHeadFrozen(ReadsWords):
    def may_change(self, name):
        return name.startswith("bert.") and super().may_change(name)


def language_model(dropout=0.0):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.3,
    )
    return BertForMaskedLM(config)


def trainer_of(rows, folder, kind=ReadsWords, *, dropout=0.0, **settings):
    given = {"max_steps": 3, "dense_max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-2, **settings}
    args = SparseFineTuningArguments(output_dir=str(folder), weight_decay=0.1, **{**QUIET, **given})
    return kind(language_model(dropout), args, train_dataset=rows.remove_columns("labels"))


def copied(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


class Watch(TrainerCallback):
    """Keeps the parameters at both ends of every stage."""

    def __init__(self):
        self.begun, self.ended = {}, {}

    def on_train_begin(self, args, state, control, model=None, **_):
        self.begun[args.output_dir.rsplit("/", 1)[-1]] = copied(model)

    def on_train_end(self, args, state, control, model=None, **_):
        self.ended[args.output_dir.rsplit("/", 1)[-1]] = copied(model)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [ReadsWords, ReadsWordsHeadFrozen])
def test_nothing_but_the_chosen_entries_of_a_language_model_moves_and_tied_weights_count_once(
    uneven_rows, tmp_path, kind
):
    trainer = trainer_of(uneven_rows(12), tmp_path, kind)
    start = copied(trainer.model)
    trainer.train()
    eligible = [name for name in start if "LayerNorm" not in name and (kind is ReadsWords or name.startswith("bert."))]
    assert WORDS in eligible
    assert "cls.predictions.decoder.weight" not in eligible, "transformers names a tied parameter once"
    size = sum(start[name].numel() for name in eligible)
    delta = trainer.delta
    assert delta.entries == round(0.08 * size)
    assert delta.metadata["eligible_parameters"] == size
    assert delta.dense == {}
    assert set(delta.sparse) <= set(eligible)
    for name, after in copied(trainer.model).items():
        moved = (after != start[name]).flatten().nonzero().flatten()
        assert torch.equal(moved, delta.sparse[name].indices if name in delta.sparse else moved[:0]), name
    tied = trainer.model.cls.predictions.decoder.weight
    assert torch.equal(tied, trainer.model.bert.embeddings.word_embeddings.weight)
    assert WORDS in delta.sparse


def test_a_tied_parameter_goes_by_the_encoders_name_even_if_the_head_comes_first():
    class HeadFirst(torch.nn.Module):
        base_model_prefix = "encoder"

        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 5)
            self.encoder = torch.nn.ModuleDict({"words": torch.nn.Embedding(5, 3)})
            self.head.weight = self.encoder["words"].weight

    model = HeadFirst()
    parameters = parameters_once(model)
    assert set(parameters) == {"encoder.words.weight", "head.bias"}
    assert parameters["encoder.words.weight"] is model.head.weight


def test_each_iteration_adds_its_share_from_where_the_one_before_ended(uneven_rows, tmp_path):
    trainer = trainer_of(uneven_rows(12), tmp_path, iterations=3, density=0.1)
    start = copied(trainer.model)
    watch = Watch()
    trainer.add_callback(watch)
    trainer.train()
    stages = [of_iteration(stage, iteration) for iteration in (1, 2, 3) for stage in ("dense", "sparse")]
    assert stages == ["dense", "sparse", "dense-2", "sparse-2", "dense-3", "sparse-3"]
    assert list(watch.begun) == stages
    eligible = [name for name in start if "LayerNorm" not in name]
    total = round(0.1 * sum(start[name].numel() for name in eligible))
    chosen = {name: np.zeros(start[name].numel(), dtype=bool) for name in eligible}
    begun = start
    for iteration, size in ((1, total // 3), (2, 2 * (total // 3)), (3, total)):
        dense, sparse = (of_iteration(stage, iteration) for stage in ("dense", "sparse"))
        assert same(watch.begun[dense], begun)
        assert same(watch.begun[sparse], begun)
        # The farthest from the original weights among those not chosen yet, by a stable sort of all of them.
        moved = [(watch.ended[dense][name] - start[name]).abs().flatten().numpy() for name in eligible]
        free = np.concatenate([np.where(chosen[name], -1, far) for name, far in zip(eligible, moved, strict=True)])
        added = np.zeros(free.size, dtype=bool)
        added[np.argsort(-free, kind="stable")[: size - sum(map(np.sum, chosen.values()))]] = True
        for name, part in zip(
            eligible, np.split(added, np.cumsum([start[name].numel() for name in eligible])[:-1]), strict=True
        ):
            chosen[name] = chosen[name] | part
        ticket = load_file(tmp_path / of_iteration("ticket.safetensors", iteration))
        assert ticket_size(ticket) == size
        for name in eligible:
            assert np.array_equal(np.flatnonzero(chosen[name]), ticket.get(name, [])), name
            still = torch.from_numpy(~chosen[name])
            assert torch.equal(watch.ended[sparse][name].flatten()[still], start[name].flatten()[still])
        begun = watch.ended[sparse]
    assert trainer.delta.entries == total
    torch.testing.assert_close(copied(trainer.model), begun)


@pytest.mark.parametrize("killed_in", ["dense", "sparse", "dense-2", "sparse-2"])
def test_a_run_of_two_iterations_that_was_killed_ends_like_one_that_was_not(uneven_rows, tmp_path, killed_in):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if args.output_dir.endswith(f"/{killed_in}") and state.global_step == 2:
                raise KeyboardInterrupt

    def make(name):
        steps = {"save_strategy": "steps", "save_steps": 1}
        return trainer_of(uneven_rows(12), tmp_path / name, iterations=2, dropout=0.1, **steps)

    whole, broken = make("whole"), make("broken")
    whole.train()
    broken.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make("broken")
    seen = Watch()
    resumed.add_callback(seen)
    resumed.train(resume_from_checkpoint=True)
    stages = ["dense", "sparse", "dense-2", "sparse-2"]
    assert list(seen.begun) == stages[stages.index(killed_in) :]
    for trainer in (whole, resumed):
        trainer.delta.save(f"{trainer.args.output_dir}/delta.safetensors")
    one, other = ((tmp_path / name / "delta.safetensors").read_bytes() for name in ("whole", "broken"))
    assert one == other
    assert same(copied(whole.model), copied(resumed.model))


class ReadsWordsScaled(ReadsWords):
    """Scales its loss up as fp16 does on a GPU; of a new scale the first update is left out, which overflows."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, backoff_factor=2.0**-60)


def test_a_stage_scales_its_loss_as_it_does_where_the_stage_before_was_another_process_s(uneven_rows, tmp_path):
    class Stop(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            if args.output_dir.endswith("/sparse"):
                raise KeyboardInterrupt

    def make(name):
        return trainer_of(uneven_rows(12), tmp_path / name, ReadsWordsScaled, max_grad_norm=0.0, density=0.3)

    whole, broken = make("whole"), make("broken")
    start = copied(whole.model)
    whole.train()
    assert not same(copied(whole.model), start)
    broken.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make("broken")
    resumed.train(resume_from_checkpoint=True)
    assert same(copied(whole.model), copied(resumed.model))


def test_a_run_that_chose_another_number_is_not_resumed_and_a_fresh_one_forgets_it(uneven_rows, tmp_path):
    trainer_of(uneven_rows(12), tmp_path, density=0.1).train()
    with pytest.raises(InputError, match=r"chose \d+ entries, not \d+"):
        trainer_of(uneven_rows(12), tmp_path, density=0.2).train(resume_from_checkpoint=True)
    fresh = trainer_of(uneven_rows(12), tmp_path, density=0.2)
    fresh.train()
    assert ticket_size(load_file(tmp_path / "ticket.safetensors")) == fresh.delta.entries


def test_a_checkpoint_that_is_named_is_refused_and_not_passed_over(uneven_rows, tmp_path):
    trainer = trainer_of(uneven_rows(12), tmp_path)
    with pytest.raises(InputError, match=r"resume_from_checkpoint = .*none can be named"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "sparse" / "checkpoint-2"))


def test_a_delta_in_half_precision_is_what_the_model_carries(uneven_rows, tmp_path):
    exact, half = (
        trainer_of(uneven_rows(12), tmp_path / precision, delta_precision=precision) for precision in ("fp32", "fp16")
    )
    start = copied(half.model)
    exact.train()
    half.train()
    assert {update.values.dtype for update in half.delta.sparse.values()} == {torch.float16}
    assert half.delta.sparse.keys() == exact.delta.sparse.keys()
    differs = False
    for name, after in copied(half.model).items():
        expected = start[name].flatten().clone()
        if name in half.delta.sparse:
            fine, coarse = exact.delta.sparse[name], half.delta.sparse[name]
            assert torch.equal(coarse.values, fine.values.half())
            expected[coarse.indices] += fine.values.half().float()
            differs |= not torch.equal(fine.values, coarse.values.float())
        assert torch.equal(after.flatten(), expected), name
    assert differs


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fsdp", True),
        ("fsdp", "full_shard"),
        ("deepspeed", {"zero_optimization": {"stage": 2}}),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_USE_DEEPSPEED", "true"),
    ],
)
def test_sharded_training_is_refused_before_anything_else(tmp_path, monkeypatch, field, value, uneven_rows):
    settings = {} if field.isupper() else {field: value}
    ready = SparseFineTuningArguments(output_dir=str(tmp_path / "out"), **QUIET)
    if field.isupper():
        monkeypatch.setenv(field, value)
    else:
        setattr(ready, field, value)
    message = rf"{field} = {re.escape(repr(value))}: .*sharded.*DDP.*torchrun"
    with pytest.raises(InputError, match=message):
        SparseFineTuningArguments(output_dir=str(tmp_path / "out"), **settings, **QUIET)
    with pytest.raises(InputError, match=message):
        ReadsWords(language_model(), ready, train_dataset=uneven_rows(2))
    assert not (tmp_path / "out").exists()


def test_arguments_out_of_range_are_refused(tmp_path, uneven_rows):
    for field, value in (("density", 0), ("density", 1.5), ("iterations", 0), ("delta_precision", "bf16")):
        with pytest.raises(InputError, match=field):
            SparseFineTuningArguments(output_dir=str(tmp_path), **{field: value})
    with pytest.raises(InputError, match="selects no entry"):
        trainer_of(uneven_rows(2), tmp_path, density=1e-6)
    with pytest.raises(InputError, match="selects no entry"):
        trainer_of(uneven_rows(2), tmp_path, density=0.001, iterations=50)


class OutsideTheTicket(TrainerCallback):
    """Counts gradients that clipping and the optimizer would see outside the entries with a state."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.counts, self.norms = [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        ticket = self.trainer._ticket
        if ticket is None:
            return
        outside = 0
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                flat = parameter.grad.flatten().clone()
                flat[ticket.get(name, torch.zeros(0, dtype=torch.int64))] = 0
                outside += int((flat != 0).sum())
        self.counts.append(outside)

    def on_log(self, args, state, control, logs=None, **_):
        if "grad_norm" in logs:
            self.norms.append(logs["grad_norm"])


def trained_in_parts(rows, folder, accumulation):
    """Train with clipping in force and weight decay, and tell what came out and what files this process wrote."""
    trainer = trainer_of(
        rows,
        folder,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.05,
        iterations=2,
        # Plain gradient descent in the dense stage: Adam would turn the rounding of a gradient into a whole step.
        optim="sgd",
    )
    outside = OutsideTheTicket(trainer)
    trainer.add_callback(outside)
    start = copied(trainer.model)
    trainer.train()
    return {
        "start": start,
        "after": copied(trainer.model),
        "sparse": {name: (update.indices, update.values) for name, update in trainer.delta.sparse.items()},
        "outside": outside.counts,
        "norms": outside.norms,
    }


def test_two_processes_choose_and_reach_what_one_does_with_twice_the_accumulation(uneven_rows, tmp_path):
    rows = uneven_rows(24)
    alone = trained_in_parts(rows, tmp_path / "alone", 4)
    pair = in_processes(2, trained_in_parts, rows, tmp_path / "pair", 2)
    assert same(pair[0]["after"], pair[1]["after"])
    for one in (alone, *pair):
        assert len(one["outside"]) == 6
        assert set(one["outside"]) == {0}
        assert same(one["start"], alone["start"])
        assert one["sparse"].keys() == alone["sparse"].keys()
        for name, (indices, values) in alone["sparse"].items():
            assert torch.equal(one["sparse"][name][0], indices), name
            torch.testing.assert_close(one["sparse"][name][1], values, rtol=1e-3, atol=2e-6)
        for name, after in one["after"].items():
            moved = (after != one["start"][name]).flatten().nonzero().flatten()
            allowed = alone["sparse"][name][0] if name in alone["sparse"] else moved[:0]
            assert set(moved.tolist()) <= set(allowed.tolist()), name
    assert max(alone["norms"]) > 0.05, "clipping was in force"
    for iteration in (1, 2):
        name = of_iteration("ticket.safetensors", iteration)
        assert (tmp_path / "pair" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
