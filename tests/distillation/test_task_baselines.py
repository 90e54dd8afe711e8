"""Phase 2's baselines: the labels instead of a teacher, every entry at once, and terms that are left out."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    TrainerCallback,
    TrainingArguments,
)

from bistill_hub import (
    InputError,
    SparseDelta,
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
)
from bistill_hub.distillation import comparison, task
from bistill_hub.distillation.fine_tuning import TaskFineTuningTrainer
from bistill_hub.distillation.losses import attention_loss, hidden_state_loss, soft_cross_entropy
from bistill_hub.distillation.sparse_fine_tuning import SparseFineTuningArguments
from bistill_hub.distillation.task import SparseTaskFineTuningTrainer

LABELS = ("O", "B-PER", "I-PER")
QUIET = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}
GROUPED = {"train_sampling_strategy": "group_by_length", "seed": 3, "data_seed": 3}


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def largest_difference(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def from_labels(model, rows, folder, *, batch=4, accumulation=1, **settings):
    args = SparseFineTuningArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        **{"max_steps": 6, "dense_max_steps": 4, "learning_rate": 1e-3, **QUIET, **settings},
    )
    return SparseTaskFineTuningTrainer(model, args, train_dataset=rows)


def ordinary(model, rows, folder, **settings):
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        **{"max_steps": 6, "learning_rate": 1e-3, **QUIET, **settings},
    )
    return TaskFineTuningTrainer(model, args, train_dataset=rows)


def from_teacher(tiny_model, rows, folder, **settings):
    student, teacher = tiny_model(layers=2, seed=1, labels=LABELS), tiny_model(layers=4, seed=0, labels=LABELS)
    args = SparseTaskDistillationArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        **{"max_steps": 1, "dense_max_steps": 1, "learning_rate": 1e-3, **QUIET, **settings},
    )
    return SparseTaskDistillationTrainer(student, args, teacher=teacher, train_dataset=rows)


def test_labels_that_are_to_be_smoothed_are_refused_where_no_loss_would_be(tiny_model, uneven_rows, tmp_path):
    for make in (from_labels, ordinary):
        with pytest.raises(InputError, match=r"label_smoothing_factor = 0\.1: the loss is formed here"):
            make(tiny_model(labels=LABELS), uneven_rows(8), tmp_path, label_smoothing_factor=0.1)


def test_spans_are_predicted_for_questions_whose_answers_are_not_known(tiny_model, uneven_rows, tmp_path):
    model = AutoModelForQuestionAnswering.from_config(tiny_model(layers=1).config)
    rows = uneven_rows(5).remove_columns("labels")
    args = TrainingArguments(output_dir=str(tmp_path), **QUIET)
    predicted = TaskFineTuningTrainer(model, args).predict(rows)
    assert [logits.shape for logits in predicted.predictions] == [(5, 25), (5, 25)]
    assert predicted.label_ids is None


def tagger(tiny_model, dropout=0.0):
    model = tiny_model(layers=2, seed=1, labels=LABELS)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


def classifier():
    """A model with a pooler, which belongs to the encoder."""
    torch.manual_seed(1)
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    return AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(
            "bert", **sizes, num_hidden_layers=2, max_position_embeddings=40, num_labels=3, initializer_range=0.3
        )
    )


class Stop(TrainerCallback):
    def __init__(self, stage, step):
        self.stage, self.step = stage, step

    def on_step_end(self, args, state, control, **_):
        if args.output_dir.endswith(f"/{self.stage}") and state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("head", ["token-classification", "sequence-classification"])
def test_every_entry_and_the_labels_are_ordinary_fine_tuning(tiny_model, uneven_rows, tmp_path, head, dropout):
    rows = uneven_rows(20)
    if head == "sequence-classification":
        rows = rows.map(lambda row: {"labels": len(row["input_ids"]) % 3})

    def model():
        made = tagger(tiny_model) if head == "token-classification" else classifier()
        for module in made.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        return made

    settings = {**GROUPED, "weight_decay": 0.1, "max_grad_norm": 0.5}
    known = ordinary(model(), rows, tmp_path / "ordinary", **settings)
    trainer = from_labels(model(), rows, tmp_path / "every", density=1, freeze_layer_norms=False, **settings)
    start = parameters(trainer.model)
    known.train()
    trainer.train()
    losses = [[entry["loss"] for entry in each.state.log_history if "loss" in entry] for each in (known, trainer)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    assert largest_difference(parameters(known.model), start) > 1e-3
    # The start plus a rounded difference: one rounding of float32 away, with weights of at most 1 or so.
    assert largest_difference(parameters(known.model), parameters(trainer.model)) < 2.5e-7
    loaded = model()
    trainer.delta.save(tmp_path / "delta.safetensors")
    SparseDelta.load(tmp_path / "delta.safetensors").apply(loaded)
    assert largest_difference(parameters(loaded), parameters(trainer.model)) == 0


def test_every_entry_at_once_has_no_dense_stage_and_a_delta_of_what_changed(tiny_model, uneven_rows, tmp_path):
    seen = []

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            seen.append(args.output_dir.rsplit("/", 1)[-1])

    trainer = from_labels(tagger(tiny_model), uneven_rows(4), tmp_path, density=1, weight_decay=0.0)
    trainer.add_callback(Look())
    start = parameters(trainer.model)
    trainer.train()
    after = parameters(trainer.model)
    assert seen == ["sparse"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ticket.safetensors"]
    assert load_file(tmp_path / "ticket.safetensors") == {}
    norms = {name for name in start if "LayerNorm" in name}
    encoder = {name for name in start if name.startswith("bert.")} - norms
    changed = {name: int((start[name] != after[name]).sum()) for name in start}
    assert all(changed[name] == 0 for name in norms)
    assert sum(changed[name] for name in encoder) == trainer.delta.entries
    assert trainer.delta.metadata["eligible_parameters"] == sum(start[name].numel() for name in encoder)
    assert trainer.delta.metadata["density"] == 1
    assert set(trainer.delta.dense) == set(start) - encoder - norms
    words = "bert.embeddings.word_embeddings.weight"
    read = {token for row in uneven_rows(4) for token in row["input_ids"]} | {0}  # padding
    rows_kept = {index // 16 for index in trainer.delta.sparse[words].indices.tolist()}
    assert rows_kept <= read < set(range(60)), "words that no example has take no room"


def test_a_delta_of_every_entry_takes_five_bytes_for_each(tmp_path):
    generator = torch.Generator().manual_seed(0)
    start = {"weight": torch.randn(200, 500, generator=generator)}
    delta = SparseDelta.from_models(start, {"weight": start["weight"] + 1})
    delta.save(tmp_path / "delta.safetensors")
    assert delta.entries == 100_000
    assert 5 * 100_000 < (tmp_path / "delta.safetensors").stat().st_size < 5 * 100_000 + 500


def test_frozen_layer_norms_stay_and_the_rest_is_trained_as_without_them(tiny_model, uneven_rows, tmp_path):
    known = ordinary(tagger(tiny_model), uneven_rows(16), tmp_path / "ordinary", **GROUPED)
    for name, parameter in known.model.named_parameters():
        parameter.requires_grad_("LayerNorm" not in name)
    trainer = from_labels(tagger(tiny_model), uneven_rows(16), tmp_path / "every", density=1, **GROUPED)
    known.train()
    trainer.train()
    assert largest_difference(parameters(known.model), parameters(trainer.model)) < 2.5e-7


def test_the_labels_choose_what_moves_most_in_ordinary_fine_tuning(tiny_model, uneven_rows, tmp_path):
    known = ordinary(tagger(tiny_model), uneven_rows(16), tmp_path / "ordinary", max_steps=4)
    for name, parameter in known.model.named_parameters():
        parameter.requires_grad_("LayerNorm" not in name)
    trainer = from_labels(tagger(tiny_model), uneven_rows(16), tmp_path / "labels", density=0.05)
    start = parameters(trainer.model)
    known.train()
    trainer.train()
    tuned, after = parameters(known.model), parameters(trainer.model)
    eligible = [name for name in start if name.startswith("bert.") and "LayerNorm" not in name]
    moved = np.concatenate([(tuned[name] - start[name]).abs().flatten().numpy() for name in eligible])
    chosen = np.zeros(moved.size, dtype=bool)
    chosen[np.argsort(-moved, kind="stable")[: round(0.05 * moved.size)]] = True
    parts = np.split(chosen, np.cumsum([start[name].numel() for name in eligible])[:-1])
    for name, part in zip(eligible, parts, strict=True):
        found = trainer.delta.sparse[name].indices.tolist() if name in trainer.delta.sparse else []
        assert np.flatnonzero(part).tolist() == found, name
    for name in start:
        free = torch.zeros(start[name].numel(), dtype=torch.bool)
        if name in trainer.delta.sparse:
            free[trainer.delta.sparse[name].indices] = True
        if name not in trainer.delta.dense:
            assert torch.equal(start[name].flatten()[~free], after[name].flatten()[~free]), name
    assert set(trainer.delta.dense) == {"classifier.weight", "classifier.bias"}
    assert trainer.delta.metadata["head"] == "token-classification"


@pytest.mark.parametrize("density", [0.08, 1])
def test_accumulation_changes_no_update_of_learning_from_labels(tiny_model, uneven_rows, tmp_path, density):
    trained = []
    for batch, accumulation in ((8, 1), (2, 4)):
        # Plain gradient descent, where it is to be had: Adam would turn the rounding of a gradient into a whole step.
        settings = {"density": density, "optim": "sgd", "learning_rate": 0.01, "max_steps": 3, "dense_max_steps": 3}
        folder = tmp_path / str(batch)
        trainer = from_labels(
            tagger(tiny_model), uneven_rows(24), folder, batch=batch, accumulation=accumulation, **settings
        )
        trainer.train()
        trained.append(parameters(trainer.model))
    assert largest_difference(*trained) < 5e-6


def test_a_run_with_every_entry_that_was_killed_ends_like_one_that_was_not(tiny_model, uneven_rows, tmp_path):
    def make(name, **settings):
        given = {"density": 1, "save_strategy": "steps", "save_steps": 2, **settings}
        return from_labels(tagger(tiny_model, dropout=0.1), uneven_rows(16), tmp_path / name, **given)

    whole, broken = make("whole"), make("broken")
    whole.train()
    broken.add_callback(Stop("sparse", 3))
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    for density, iterations in ((0.08, 1), (0.08, 2)):
        with pytest.raises(InputError, match=r"chose \d+ entries, not \d+.*same density"):
            make("broken", density=density, iterations=iterations).train(resume_from_checkpoint=True)
    other = make("broken")
    with torch.no_grad():
        other.model.classifier.bias += 1
    with pytest.raises(InputError, match="started from other weights"):
        other.train(resume_from_checkpoint=True)
    resumed, steps = make("broken"), []
    resumed.add_callback(type("Look", (TrainerCallback,), {"on_step_end": lambda *_, **__: steps.append(1)})())
    resumed.train(resume_from_checkpoint=True)
    assert len(steps) == 4, "from the checkpoint after two of six"
    for trainer in (whole, resumed):
        trainer.delta.save(f"{trainer.args.output_dir}/delta.safetensors")
    one, two = ((tmp_path / name / "delta.safetensors").read_bytes() for name in ("whole", "broken"))
    assert one == two


def test_a_selection_that_was_made_is_not_resumed_with_every_entry(tiny_model, uneven_rows, tmp_path):
    from_labels(tagger(tiny_model), uneven_rows(8), tmp_path, max_steps=1, dense_max_steps=1).train()
    with pytest.raises(InputError, match=r"chose \d+ entries, not \d+"):
        from_labels(tagger(tiny_model), uneven_rows(8), tmp_path, density=1).train(resume_from_checkpoint=True)


def test_every_entry_can_be_distilled_from_a_teacher_too(tiny_model, uneven_rows, tmp_path):
    trainer = from_teacher(tiny_model, uneven_rows(8), tmp_path, density=1)
    start = parameters(trainer.model)
    trainer.train()
    assert not (tmp_path / "dense").exists()
    changed = sum(int((p != start[n]).sum()) for n, p in parameters(trainer.model).items() if n.startswith("bert."))
    assert trainer.delta.entries == changed > 0.5 * trainer.delta.metadata["eligible_parameters"]


@pytest.mark.parametrize("weights", [(0.0, 0.0, 3.0), (0.5, 0.0, 0.0), (0.0, 2.0, 0.0), (0.5, 2.0, 3.0)])
def test_the_loss_is_the_weighted_sum_of_the_terms_that_have_a_weight(tiny_model, uneven_rows, tmp_path, weights):
    names = ("attention", "hidden", "logits")
    given = {f"{name}_weight": weight for name, weight in zip(names, weights, strict=True)}
    rows = uneven_rows(8)
    trainer = from_teacher(tiny_model, rows, tmp_path, density=1, **given)
    batch = trainer.data_collator(list(rows))
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    models = tiny_model(layers=2, seed=1, labels=LABELS), tiny_model(layers=4, seed=0, labels=LABELS)
    outputs = []
    for model in models:
        model.set_attn_implementation("eager")
        with torch.no_grad():
            outputs.append(model.eval()(**read, output_attentions=True, output_hidden_states=True))
    ours, theirs = outputs
    expected = {
        "attention": attention_loss(ours.attentions, theirs.attentions, read["attention_mask"]),
        "hidden": hidden_state_loss(ours.hidden_states, theirs.hidden_states, read["attention_mask"]),
        "logits": soft_cross_entropy(ours.logits, theirs.logits, 2.0, batch["labels"] != -100),
    }
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    for name, weight in zip(names, weights, strict=True):
        if weight:
            assert logged[f"{name}_loss"] == pytest.approx(weight * expected[name].item(), rel=1e-4)
        else:
            assert f"{name}_loss" not in logged
    total = sum(weight * expected[name].item() for name, weight in zip(names, weights, strict=True))
    assert logged["loss"] == pytest.approx(total, rel=1e-4)


def test_a_term_without_weight_is_not_formed_and_nothing_is_read_for_it(tiny_model, uneven_rows, tmp_path, monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise AssertionError("a term without weight was formed")

    def watched(folder, **weights):
        """Train, and return whether each forward pass was asked for states, by model."""
        trainer = from_teacher(tiny_model, uneven_rows(8), folder, density=1, **weights)
        asked = []
        for model in (trainer.model, trainer.teacher.model):
            model.register_forward_pre_hook(
                lambda _module, _args, kwargs: asked.append(bool(kwargs.get("output_hidden_states"))), with_kwargs=True
            )
        trainer.train()
        return asked

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "AttentionErrors", forbidden)
        patch.setattr(comparison, "sum_of_squared_errors", forbidden)
        assert watched(tmp_path / "logits", attention_weight=0, hidden_weight=0) == [False, False]
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "AttentionErrors", forbidden)
        patch.setattr(task, "distilled_loss", forbidden)
        assert watched(tmp_path / "hidden", attention_weight=0, logits_weight=0) == [True, True]
    with monkeypatch.context() as patch:
        patch.setattr(task, "distilled_loss", forbidden)
        assert watched(tmp_path / "attention", hidden_weight=0, logits_weight=0) == [False, False]


def test_weights_that_are_all_zero_are_refused(tmp_path):
    nothing = {"attention_weight": 0, "hidden_weight": 0, "logits_weight": 0}
    with pytest.raises(InputError, match=r"logits_weight = 0: .*nothing to learn.*labels"):
        SparseTaskDistillationArguments(output_dir=str(tmp_path), **nothing)


def test_a_model_without_a_head_has_nothing_that_labels_could_teach(tiny_model, uneven_rows, tmp_path):
    with pytest.raises(InputError, match="no task head"):
        from_labels(tiny_model(layers=2), uneven_rows(4), tmp_path)
