"""Several processes take the steps of one: the same losses, weights and evaluation, in every kind of training.

What is compared differs by the order in which float32 numbers are added: gradients are summed over processes instead of
one batch after the other. A unit in the last place is 1e-7 of a value, and a few updates leave less than 2e-6.
"""

import json
import os

import pytest
import tiny_models
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from processes import in_processes
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers import models as models_of
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainingArguments,
)

from bistill_hub import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    InputError,
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
)
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer
from bistill_hub.distillation.language_modelling import LanguageFineTuningArguments, LanguageFineTuningTrainer
from bistill_hub.distillation.sampling import Division, SharedBatches, divided
from bistill_hub.student.build import cut_model

LABELS = ("O", "B-PER", "I-PER")
QUIET = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}
# Plain gradient descent: Adam would turn the rounding of a gradient that is zero into a whole step.
PLAIN = {**QUIET, "optim": "sgd", "learning_rate": 0.1}
TOLERANCE = 2e-6


@pytest.fixture
def models(tiny_model, tmp_path):
    """Folders of a student and a teacher, with and without a head: what every process loads."""
    folder = tmp_path / "models"
    for name, kwargs in (("student", {"layers": 2, "seed": 1}), ("teacher", {"layers": 4, "seed": 0})):
        tiny_model(**kwargs).save_pretrained(folder / name)
        tiny_model(**kwargs, labels=LABELS).save_pretrained(folder / f"{name}-of-task")
    return folder


@pytest.fixture
def rows(uneven_rows):
    """Nineteen labelled rows: five batches of four, the last one of three."""
    return uneven_rows(19).to_list()


def phase_1(folder, models, *, counts=(30, 14), student=None, **settings):
    """A trainer of phase 1 on blocks of two languages, of unequal lengths."""
    generator = torch.Generator().manual_seed(0)
    blocks = {
        language: [
            {"input_ids": torch.randint(5, 60, (length,), generator=generator).tolist()}
            for length in torch.randint(6, 30, (count,), generator=generator).tolist()
        ]
        for language, count in zip(("en", "sw"), counts, strict=True)
    }
    shared = settings.pop("processes_per_batch", 1)
    args = BilingualDistillationArguments(output_dir=str(folder), **{**PLAIN, "max_steps": 5, **settings})
    return BilingualDistillationTrainer(
        student or AutoModel.from_pretrained(models / "student"),
        args,
        teacher=AutoModel.from_pretrained(models / "teacher"),
        train_dataset=BilingualBlocks(blocks),
        eval_dataset=BilingualBlocks({language: part[:7] for language, part in blocks.items()}),
        processes_per_batch=shared,
    )


def fine_tuning(folder, models, rows, **settings):
    """A trainer of ordinary fine-tuning on rows grouped by length."""
    shared = settings.pop("processes_per_batch", 1)
    args = TrainingArguments(
        output_dir=str(folder),
        **{**PLAIN, "num_train_epochs": 2, "train_sampling_strategy": "group_by_length", **settings},
    )
    return TaskFineTuningTrainer(
        AutoModelForTokenClassification.from_pretrained(models / "student-of-task"),
        args,
        train_dataset=Dataset.from_list(rows),
        processes_per_batch=shared,
    )


def phase_2(folder, models, rows, **settings):
    """A trainer of phase 2, with AdamW in both stages."""
    shared = settings.pop("processes_per_batch", 1)
    args = SparseTaskDistillationArguments(
        output_dir=str(folder),
        **{**QUIET, "num_train_epochs": 2, "dense_epochs": 1, "learning_rate": 1e-3, **settings},
    )
    return SparseTaskDistillationTrainer(
        AutoModelForTokenClassification.from_pretrained(models / "student-of-task"),
        args,
        teacher=AutoModelForTokenClassification.from_pretrained(models / "teacher-of-task"),
        train_dataset=Dataset.from_list(rows),
        processes_per_batch=shared,
    )


def language_delta(folder, **settings):
    """A trainer of a language delta, with AdamW in both stages, on blocks of unequal lengths."""
    generator = torch.Generator().manual_seed(0)
    blocks = [
        {"input_ids": torch.randint(4, 77, (length,), generator=generator).tolist()}
        for length in torch.randint(2, 30, (19,), generator=generator).tolist()
    ]
    args = LanguageFineTuningArguments(
        output_dir=str(folder),
        **{**QUIET, "num_train_epochs": 2, "dense_epochs": 1, "learning_rate": 1e-3, **settings},
    )
    whole = tiny_models.tiny_model(tiny_models.class_of("bert", "ForMaskedLM"))
    model = cut_model(whole, None, (1, 3), dropout=0.0)
    return LanguageFineTuningTrainer(model, args, train_dataset=blocks, processing_class=word_tokenizer())


KINDS = {"phase 1": phase_1, "fine-tuning": fine_tuning, "phase 2": phase_2}
TRAINERS = {**KINDS, "language delta": language_delta}


class Stop(TrainerCallback):
    """Breaks off after some update, as if all processes were killed."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def trained(kind, *arguments, resume=False, stopped_at=None, **settings):
    """Train, and return the weights, the log, and what a dense and a sparse stage chose."""
    trainer = TRAINERS[kind](*arguments, **settings)
    if stopped_at is not None:
        trainer.add_callback(Stop(stopped_at))
    try:
        trainer.train(resume_from_checkpoint=resume)
    except KeyboardInterrupt:
        return None
    delta = getattr(trainer, "delta", None)
    return {
        "weights": {name: p.detach().clone() for name, p in trainer.model.named_parameters()},
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
        "ticket": {} if delta is None else {name: update.indices for name, update in delta.sparse.items()},
    }


def assert_same(one, other, tolerance=TOLERANCE):
    """Check that two trainings logged the same losses and ended with the same weights."""
    assert len(one["log"]) == len(other["log"]) > 0
    for entry, theirs in zip(one["log"], other["log"], strict=True):
        assert set(entry) == set(theirs)
        assert any(name.endswith("_loss") for name in entry)
        for name, value in entry.items():
            if name == "epoch" and tolerance:  # counted in rounds of all processes, the last of which may not be full
                continue
            assert value == pytest.approx(theirs[name], rel=1e-5 if name != "grad_norm" else 1e-4), name
    for name, weights in one["weights"].items():
        assert (weights - other["weights"][name]).abs().max() <= tolerance, name
    assert one["ticket"].keys() == other["ticket"].keys()
    for name, chosen in one["ticket"].items():
        assert torch.equal(chosen, other["ticket"][name]), name


def arguments_of(kind, folder, models, rows):
    return {"phase 1": (folder, models), "language delta": (folder,)}.get(kind, (folder, models, rows))


def trained_each(jobs):
    """Train one after the other."""
    return [trained(*arguments, **settings) for arguments, settings in jobs]


@pytest.mark.parametrize("kind", TRAINERS)
def test_two_processes_train_as_one_with_twice_the_accumulation(kind, models, rows, tmp_path):
    # Nineteen rows are five batches: one process has none left when the other takes the fifth.
    jobs = {}
    for name, accumulations in (("one", (2, 4)), ("two", (1, 2))):
        jobs[name] = [
            (
                (kind, *arguments_of(kind, tmp_path / f"{name}-{accumulation}", models, rows)),
                {"per_device_train_batch_size": 4, "gradient_accumulation_steps": accumulation},
            )
            for accumulation in accumulations
        ]
    expected = trained_each(jobs["one"])
    for process in in_processes(2, trained_each, jobs["two"]):
        for one, two in zip(expected, process, strict=True):
            assert_same(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_three_processes_that_share_each_batch_train_as_one(kind, models, rows, tmp_path):
    # Batches of four are shared as two, one and one row; of the last two rows of a language one process gets none.
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    one = trained(kind, *arguments_of(kind, tmp_path / "one", models, rows), **batch)
    three = in_processes(
        3, trained, kind, *arguments_of(kind, tmp_path / "three", models, rows), **batch, processes_per_batch=3
    )
    for process in three:
        assert_same(one, process)


def evaluated(folder, models, batch):
    return phase_1(folder, models, per_device_eval_batch_size=batch).evaluate()["eval_loss"]


def test_a_loss_is_evaluated_alike_by_any_processes_in_any_batches(models, tmp_path):
    trainer = phase_1(tmp_path, models)
    # By hand: each term over all blocks at once, by the number of pairs of tokens and of tokens.
    sums = {"attention": [0.0, 0.0], "hidden": [0.0, 0.0]}
    trainer.model.eval()
    for row in trainer.eval_dataset:
        inputs = trainer.data_collator([row])
        with torch.no_grad():
            terms, _ = trainer.loss_terms(trainer.model, inputs)
        length = len(row["input_ids"])
        for name, count in (("attention", length**2), ("hidden", length)):
            sums[name][0] += float(terms[name]) * count
            sums[name][1] += count
    expected = sum(total / count for total, count in sums.values())
    assert evaluated(tmp_path, models, 4) == pytest.approx(expected, rel=1e-6)
    assert evaluated(tmp_path, models, 5) == pytest.approx(expected, rel=1e-6)
    for count, batch in ((2, 4), (3, 4)):
        assert in_processes(count, evaluated, tmp_path, models, batch) == pytest.approx([expected] * count, rel=1e-6)


def word_tokenizer():
    words = {f"w{number}": number for number in range(77)}
    special = {"unk_token": "w0", "pad_token": "w1", "sep_token": "w2", "mask_token": "w3"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models_of.WordLevel(words)), **special)


def with_heads(folder, **settings):
    """Train phase 1 by heads and last states alone, on batches of four rows that hide unequally many tokens."""
    teacher = tiny_models.tiny_model(tiny_models.class_of("bert", "ForMaskedLM"))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 30, (19,), generator=generator).tolist()
    shared = settings.pop("processes_per_batch", 1)
    args = BilingualDistillationArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        layer_map=[1, 3],
        attention_weight=0.0,
        hidden_weight=0.0,
        cosine_weight=1.0,
        logits_weight=1.0,
        masked_lm_weight=1.0,
        masked_share=0.2,
        **{**PLAIN, "max_steps": 3, "learning_rate": 0.01, **settings},
    )
    blocks = [{"input_ids": torch.randint(4, 77, (length,), generator=generator).tolist()} for length in lengths]
    trainer = BilingualDistillationTrainer(
        cut_model(teacher, None, (1, 3), dropout=0.0),
        args,
        teacher=teacher,
        train_dataset=BilingualBlocks({"en": blocks[:9], "sw": blocks[9:]}),
        eval_dataset=BilingualBlocks({"en": blocks[:3], "sw": blocks[9:14]}),
        processing_class=word_tokenizer(),
        processes_per_batch=shared,
    )
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    weights = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    return {"weights": weights, "log": log, "ticket": {}, "held out": trainer.evaluate()["eval_loss"]}


def test_processes_that_share_hidden_tokens_train_heads_as_one(tmp_path):
    expected = with_heads(tmp_path / "one", gradient_accumulation_steps=2)
    assert {name for name in expected["log"][0] if name.endswith("_loss")} == {
        "cosine_loss",
        "logits_loss",
        "masked_lm_loss",
    }
    part = {"gradient_accumulation_steps": 1}
    for process in in_processes(2, with_heads, tmp_path / "two", **part):
        assert_same(expected, process)
        assert process["held out"] == pytest.approx(expected["held out"], rel=1e-6)


def predicted(folder, models, rows):
    trainer = fine_tuning(folder, models, rows, per_device_eval_batch_size=4)
    found = trainer.predict(Dataset.from_list(rows))
    return found.predictions, found.label_ids


def test_two_processes_predict_every_row_once_and_in_order(models, rows, tmp_path):
    logits, labels = predicted(tmp_path, models, rows)
    assert len(labels) == len(rows)
    for logits_of_two, labels_of_two in in_processes(2, predicted, tmp_path, models, rows):
        assert (labels_of_two == labels).all()
        assert abs(logits_of_two - logits).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_that_are_interrupted_end_bit_for_bit_as_if_they_were_not(kind, models, rows, tmp_path):
    settings = {
        "per_device_train_batch_size": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 1,
        "logging_steps": 3,
    }
    whole, broken = (arguments_of(kind, tmp_path / name, models, rows) for name in ("whole", "broken"))
    expected = in_processes(2, trained, kind, *whole, **settings)
    assert in_processes(2, trained, kind, *broken, **settings, stopped_at=3) == [None, None]
    folder = tmp_path / "broken" / ("dense" if kind == "phase 2" else "")
    (checkpoint,) = folder.glob("checkpoint-*")
    assert {"complete.json", "rng_state_0.pth", "rng_state_1.pth"} <= {file.name for file in checkpoint.iterdir()}
    assert not list(checkpoint.glob("*.unfinished"))
    # What a killed process leaves of a later checkpoint is not taken.
    (folder / "checkpoint-4").mkdir()
    found = in_processes(2, trained, kind, *broken, **settings, resume=True)
    for one, other in zip(expected, found, strict=True):
        assert_same(one, other, tolerance=0)
        assert one["log"] == other["log"]


def refused(*arguments, **settings):
    with pytest.raises(InputError) as error:
        trained(*arguments, **settings)
    return error.value.problem


def test_two_processes_refuse_alike_to_begin_anew_over_an_earlier_training(models, tmp_path):
    used = ("phase 1", tmp_path, models)
    settings = {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 2}
    trained(*used, **settings, gradient_accumulation_steps=2, max_steps=2)
    told = in_processes(2, refused, *used, **settings)
    assert told == 2 * ["an earlier training has left checkpoint-2 there"]


def trained_by(count, *arguments, **settings):
    """Train in so many processes, on updates of two batches."""
    settings["gradient_accumulation_steps"] = 2 // count
    if count == 1:
        return [trained(*arguments, **settings)]
    return in_processes(count, trained, *arguments, **settings)


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_with_another_number_of_processes(kind, before, models, rows, tmp_path):
    # Phase 2 has three updates in its dense stage: it is interrupted there, or in its sparse stage.
    stopped_at = 3 if before == 1 else 4
    settings = {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 2}
    whole, broken = (arguments_of(kind, tmp_path / name, models, rows) for name in ("whole", "broken"))
    (expected,) = trained_by(1, kind, *whole, **settings)
    assert trained_by(before, kind, *broken, **settings, stopped_at=stopped_at) == [None] * before
    stage = {3: "dense", 4: "sparse"}[stopped_at] if kind == "phase 2" else ""
    assert (tmp_path / "broken" / stage / "checkpoint-2" / "complete.json").is_file()
    after = trained_by(3 - before, kind, *broken, **settings, resume=True)
    assert len(after) == 3 - before
    for process in after:
        assert_same(expected, process)


def test_a_checkpoint_of_other_updates_is_not_resumed(models, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trained("phase 1", tmp_path, models, **settings, per_device_train_batch_size=4)
    update = json.loads((tmp_path / "checkpoint-4" / "complete.json").read_text())["update"]
    assert update == {"per_device_train_batch_size": 4, "batches_per_update": 1}
    with pytest.raises(InputError, match=r"batches_per_update = 2: the checkpoint's updates have 1\. Resume with"):
        trained(
            "phase 1",
            tmp_path,
            models,
            **settings,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            resume=True,
        )
    with pytest.raises(InputError, match=r"per_device_train_batch_size = 2: the checkpoint's updates have 4"):
        trained("phase 1", tmp_path, models, **settings, per_device_train_batch_size=2, resume=True)


def watched(folder, models):
    """Train phase 1 and say what the wrapped module, the optimizer and the checkpoint hold."""
    seen = {}

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, optimizer=None, **_):
            wrapped = trainer.model_wrapped
            seen["wrapped"] = type(wrapped).__name__ if isinstance(wrapped, DistributedDataParallel) else None
            theirs = {id(p) for p in trainer.teacher.model.parameters()}
            seen["in module"] = sum(id(p) in theirs for p in wrapped.parameters())
            seen["in optimizer"] = sum(id(p) in theirs for group in optimizer.param_groups for p in group["params"])
            seen["teacher"] = type(trainer.teacher.model).__name__

    trainer = phase_1(folder, models, max_steps=2, save_strategy="steps", save_steps=2, optim="adamw_torch")
    before = [p.detach().clone() for p in trainer.teacher.model.parameters()]
    trainer.add_callback(Look())
    trainer.train()
    moved = [not torch.equal(p, then) for p, then in zip(trainer.teacher.model.parameters(), before, strict=True)]
    return {**seen, "moved": sum(moved), "entries": len(list(trainer.model.parameters()))}


def test_the_teacher_is_outside_the_trained_module_the_optimizer_and_the_checkpoint(models, tmp_path):
    for process in in_processes(2, watched, tmp_path, models):
        entries = process.pop("entries")
        assert process == {
            "wrapped": "DistributedDataParallel",
            "in module": 0,
            "in optimizer": 0,
            "teacher": "BertModel",
            "moved": 0,
        }
    checkpoint = tmp_path / "checkpoint-2"
    with safe_open(checkpoint / "model.safetensors", "pt") as saved:
        names = set(saved.keys())
    assert names == {name for name, _ in AutoModel.from_pretrained(models / "student").named_parameters()}
    assert not any("layer.2." in name for name in names), "the student has two layers, its teacher four"
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    assert sum(len(group["params"]) for group in optimizer["param_groups"]) == entries


def test_two_processes_train_in_bfloat16_as_one_does(models, tmp_path):
    # Products are rounded to eight bits: what differs by float32's last place may be rounded apart.
    settings = {"per_device_train_batch_size": 4, "bf16": True, "max_steps": 3}
    one = trained("phase 1", tmp_path / "one", models, **settings, gradient_accumulation_steps=2)
    exact = trained("phase 1", tmp_path / "exact", models, **{**settings, "bf16": False}, gradient_accumulation_steps=2)
    for two in in_processes(2, trained, "phase 1", tmp_path / "two", models, **settings):
        for entry, theirs in zip(one["log"], two["log"], strict=True):
            assert entry["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        distance = max((p - two["weights"][name]).abs().max() for name, p in one["weights"].items())
        assert distance < 1e-4
    rounding = max((p - one["weights"][name]).abs().max() for name, p in exact["weights"].items())
    assert rounding > TOLERANCE, "nothing was computed in bfloat16"


def started_differently(folder, models):
    """Train a student whose weights each process has drawn for itself."""
    torch.manual_seed(int(os.environ["RANK"]))
    student = AutoModel.from_config(AutoModel.from_pretrained(models / "student").config)
    trainer = phase_1(folder, models, student=student)
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def test_all_processes_start_from_the_first_ones_weights(models, tmp_path):
    first, second = in_processes(2, started_differently, tmp_path, models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def alone(folder, models):
    try:
        phase_1(folder, models, use_cpu=False)
    except InputError as error:
        return str(error)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="transformers takes the accelerator by itself")
def test_processes_that_would_train_each_for_itself_are_refused(models, tmp_path):
    for message in in_processes(2, alone, tmp_path, models):
        assert message.startswith("use_cpu = False: 2 processes were started, and each would train for itself.")


batches = st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=9), max_size=12)


@given(batches, st.integers(1, 5), st.integers(1, 4))
def test_every_row_of_every_update_is_in_one_part_and_all_parts_are_equally_many(rows, at_once, sharing):
    count = at_once * sharing
    parts = [list(SharedBatches(rows, count, process, sharing)) for process in range(count)]
    lengths = {len(part) for part in parts} | {len(SharedBatches(rows, count, 0, sharing))}
    assert lengths == {-(-len(rows) // at_once)}
    for turn in range(lengths.pop()):
        together = sorted(row for part in parts for row in part[turn])
        assert together == sorted(row for batch in rows[turn * at_once : (turn + 1) * at_once] for row in batch)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_an_update_is_divided_into_the_same_batches_or_refused(batch_size, accumulation, processes):
    try:
        division = divided(batch_size, accumulation, processes)
    except InputError as error:
        assert str(error).startswith(f"batch_size = {batch_size}: {processes} processes cannot share")  # noqa: PT017
        assert processes > batch_size
        return
    at_once = processes // division.processes_per_batch
    assert at_once * division.processes_per_batch == processes
    assert at_once * division.accumulation == accumulation
    assert division.processes_per_batch <= batch_size


def test_whole_batches_are_dealt_out_where_the_accumulation_allows_it():
    assert divided(8, 4, 4) == Division(processes_per_batch=1, accumulation=1)
    assert divided(8, 6, 4) == Division(processes_per_batch=2, accumulation=3)
    assert divided(8, 1, 2) == Division(processes_per_batch=2, accumulation=1)
