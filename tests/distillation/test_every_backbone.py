"""Both phases train students of every architecture: aligned by the layer map, and sparse where they ought to be."""

import math

import pytest
import torch
from datasets import Dataset
from tiny_models import CLASSES, SPECIAL_IDS, class_of, padded_batch, tiny_model
from torch.nn.functional import mse_loss
from transformers import ElectraForMaskedLM, ElectraForTokenClassification

from bistill_hub import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    InputError,
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
)
from bistill_hub.evaluation.size import measure_size
from bistill_hub.model.sparse_delta import SparseDelta
from bistill_hub.student import backbones
from bistill_hub.student.backbones import BACKBONES, Backbone
from bistill_hub.student.build import cut_model, trim_vocabulary
from bistill_hub.student.layers import layer_map_for

QUIET = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}
LABELS = {0: "O", 1: "B-PER", 2: "I-PER"}
TASK_HEADS = ("ForTokenClassification", "ForSequenceClassification", "ForQuestionAnswering")
each_backbone = pytest.mark.parametrize("backbone", CLASSES)


def teacher_of(backbone, head="Model", **options):
    labels = {"id2label": LABELS} if head in TASK_HEADS[:2] else {}
    return tiny_model(class_of(backbone, head), **labels, **options)


def rows(head="Model", count=12):
    """Texts of unequal lengths, with what each head is asked."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for index in range(count):
        length = (5, 24, 13, 9)[index % 4]
        row = {"input_ids": torch.randint(3, 77, (length,), generator=generator).tolist()}
        if head == "ForTokenClassification":
            row["labels"] = [-100, *torch.randint(0, 3, (length - 1,), generator=generator).tolist()]
        elif head == "ForSequenceClassification":
            row["labels"] = index % 3
        elif head == "ForQuestionAnswering":
            row |= {"start_positions": index % 5, "end_positions": min(index % 5 + 1, length - 1)}
        made.append(row)
    return Dataset.from_list(made)


def phase_1(student, teacher, folder, *, layer_map=None, **settings):
    settings = {"per_device_train_batch_size": 4, "max_steps": 3, "learning_rate": 1e-3, **QUIET, **settings}
    args = BilingualDistillationArguments(output_dir=str(folder), layer_map=layer_map, **settings)
    return BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=rows(), eval_dataset=rows())


def phase_2(student, teacher, head, folder, **settings):
    settings = {"max_steps": 2, "dense_max_steps": 2, "per_device_train_batch_size": 6, **settings}
    args = SparseTaskDistillationArguments(output_dir=str(folder), layer_map=[1, 3], **settings, **QUIET)
    return SparseTaskDistillationTrainer(student, args, teacher=teacher, train_dataset=rows(head))


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def copied(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# Phase 1


@each_backbone
def test_phase_1_reaches_every_layer_and_brings_the_student_nearer(backbone, tmp_path):
    teacher = teacher_of(backbone)
    student = cut_model(teacher, None, (1, 3), dropout=0.0)
    for model in (student, teacher):
        model.set_attn_implementation("sdpa")  # the trainer chooses the one that returns probabilities
    trainer = phase_1(student, teacher, tmp_path, max_steps=12)
    before, start, untouched = trainer.evaluate()["eval_loss"], copied(student), copied(teacher)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.9 * before
    for entry in trainer.state.log_history:
        if "loss" in entry:
            assert entry["attention_loss"] > 0
            assert math.isclose(entry["loss"], entry["attention_loss"] + entry["hidden_loss"], rel_tol=1e-5)
    assert set(start) - moved(start, copied(student)) == {name for name in start if name.startswith("pooler.")}
    assert not moved(untouched, copied(teacher))


@each_backbone
def test_a_student_that_is_its_teacher_has_nothing_to_learn(backbone, tmp_path):
    teacher = teacher_of(backbone)
    trainer = phase_1(cut_model(teacher, dropout=0.0), teacher, tmp_path)
    assert trainer.evaluate()["eval_loss"] == 0


@each_backbone
@pytest.mark.parametrize("kept", [1, 3])
def test_the_bottom_of_a_teacher_has_nothing_to_learn_when_the_losses_follow_the_map(backbone, kept, tmp_path):
    teacher = teacher_of(backbone)
    layers = layer_map_for(4, choice="bottom", kept=kept)
    student = cut_model(teacher, None, layers, dropout=0.0)
    assert phase_1(student, teacher, tmp_path, layer_map=list(layers)).evaluate()["eval_loss"] == 0


@each_backbone
@pytest.mark.parametrize("layer_map", [(1, 2), (0, 3), (2,)], ids=str)
def test_each_students_state_is_compared_with_that_of_the_layer_it_answers_to(backbone, layer_map, tmp_path):
    teacher = teacher_of(backbone)
    student = cut_model(teacher_of(backbone, seed=1), None, layer_map, dropout=0.0)
    trainer = phase_1(student, teacher, tmp_path, layer_map=list(layer_map))
    batch = padded_batch(lengths=(12, 12))
    # A teacher cut off behind the layer that the student's last one answers to ends as the student does.
    shorter = cut_model(teacher, None, range(layer_map[-1] + 1))
    with torch.no_grad():
        terms, _ = trainer.loss_terms(student, batch)
        ours = student(**batch, output_hidden_states=True, output_attentions=True)
        theirs = shorter(**batch, output_hidden_states=True, output_attentions=True)
    places = [0, *(layer + 1 for layer in layer_map)]
    hidden = [mse_loss(one, theirs.hidden_states[at]) for one, at in zip(ours.hidden_states, places, strict=True)]
    attention = [mse_loss(one, theirs.attentions[at]) for one, at in zip(ours.attentions, layer_map, strict=True)]
    torch.testing.assert_close(terms["hidden"], torch.stack(hidden).mean())
    torch.testing.assert_close(terms["attention"], torch.stack(attention).mean())


def test_layers_of_another_kind_than_those_they_answer_to_are_refused(tmp_path):
    teacher = teacher_of("modernbert")
    student = cut_model(teacher, None, (1, 3))
    with pytest.raises(InputError, match=r"layer_types = .*answer to are \['full_attention', 'sliding_attention'\]"):
        phase_1(student, teacher, tmp_path, layer_map=[0, 2])


def test_a_map_for_another_number_of_layers_is_refused(tmp_path):
    teacher = teacher_of("bert")
    with pytest.raises(InputError, match="the student has 2 layers, not 3"):
        phase_1(cut_model(teacher, None, (1, 3)), teacher, tmp_path, layer_map=[0, 1, 3])


@pytest.mark.parametrize("backbone", ["deberta-v2", "modernbert"])
def test_the_terms_in_half_precision_are_near_to_those_in_full(backbone, tmp_path):
    teacher = teacher_of(backbone)
    losses = []
    for bf16 in (False, True):
        student = cut_model(teacher, None, (1, 2), dropout=0.0)
        trainer = phase_1(student, teacher, tmp_path, layer_map=[1, 2], bf16=bf16, max_steps=1)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


@each_backbone
def test_a_language_modelling_head_learns_the_teachers_distribution_at_every_token(backbone, tmp_path):
    teacher = teacher_of(backbone, "ForMaskedLM")
    student = cut_model(teacher_of(backbone, "ForMaskedLM", seed=1), None, (1, 3), dropout=0.0)
    trainer = phase_1(student, teacher, tmp_path, max_steps=2, logits_weight=0.5, temperature=3.0)
    start = copied(student)
    batch = padded_batch()
    with torch.no_grad():
        terms, outputs = trainer.loss_terms(student, batch)
        target = (teacher(**batch).logits / 3).softmax(dim=-1)
        entropies = -(target * (outputs.logits / 3).log_softmax(dim=-1)).sum(dim=-1)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    summed = sum(float(row[:length].sum()) for row, length in zip(entropies, lengths, strict=True))
    assert float(terms["logits"]) == pytest.approx(summed / sum(lengths), rel=1e-5)
    trainer.train()
    head = {name for name in start if not name.startswith(f"{student.base_model_prefix}.")}
    assert head
    assert head <= moved(start, copied(student))
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    parts = [entry[f"{term}_loss"] for term in ("attention", "hidden", "logits")]
    assert min(parts) > 0
    assert math.isclose(entry["loss"], sum(parts), rel_tol=1e-5)


def test_accumulation_changes_nothing_about_the_logits_term(tmp_path):
    logged = []
    for batch, accumulation in ((4, 1), (1, 4)):
        teacher = teacher_of("modernbert", "ForMaskedLM")
        student = cut_model(teacher_of("modernbert", "ForMaskedLM", seed=1), None, (1, 3), dropout=0.0)
        settings = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "max_steps": 1}
        trainer = phase_1(student, teacher, tmp_path, logits_weight=1.0, **settings)
        trainer.train()
        logged.append(trainer.state.log_history[0])
    for name in ("logits_loss", "hidden_loss", "grad_norm"):
        assert logged[1][name] == pytest.approx(logged[0][name], rel=1e-4), name


def test_logits_of_a_model_without_a_head_are_refused(tmp_path):
    encoder, language_model = teacher_of("bert"), teacher_of("bert", "ForMaskedLM")
    with pytest.raises(InputError, match=r"teacher = 'BertModel'.*AutoModelForMaskedLM"):
        phase_1(language_model, encoder, tmp_path, logits_weight=1.0)
    with pytest.raises(InputError, match="student = 'BertModel'"):
        phase_1(encoder, language_model, tmp_path, logits_weight=1.0)
    with pytest.raises(InputError, match="temperature = 0"):
        phase_1(language_model, language_model, tmp_path, temperature=0)


# Phase 2


@each_backbone
@pytest.mark.parametrize("head", TASK_HEADS)
def test_phase_2_leaves_a_sparse_delta_of_every_layer_and_frozen_norms(backbone, head, tmp_path):
    teacher = teacher_of(backbone, head)
    student = cut_model(teacher_of(backbone, head, seed=1), None, (1, 3), dropout=0.0)
    start = copied(student)
    norms = {
        f"{place}.{name}"
        for place, module in student.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for name, _ in module.named_parameters()
    }
    trainer = phase_2(student, teacher, head, tmp_path, density=0.3)
    trainer.train()
    prefix = f"{BACKBONES[backbone].base_model_prefix}."
    encoder = {name for name in start if name.startswith(prefix)}
    assert set(trainer.delta.dense) == set(start) - encoder
    eligible = sum(start[name].numel() for name in encoder - norms)
    assert trainer.delta.entries == round(0.3 * eligible)
    assert moved(start, copied(student)).isdisjoint(norms & encoder)
    assert {BACKBONES[backbone].layer_of(name) for name in trainer.delta.sparse} >= {0, 1}
    fresh = cut_model(teacher_of(backbone, head, seed=1), None, (1, 3), dropout=0.0)
    trainer.delta.save(tmp_path / "delta.safetensors")
    SparseDelta.load(tmp_path / "delta.safetensors").apply(fresh)
    assert not moved(copied(fresh), copied(student))


@pytest.mark.parametrize("backbone", ["distilbert", "modernbert"])
def test_norms_that_are_not_frozen_may_be_chosen_from(backbone, tmp_path):
    head = "ForTokenClassification"
    student = cut_model(teacher_of(backbone, head, seed=1), None, (1, 3), dropout=0.0)
    encoder = [name for name, _ in student.named_parameters() if name.startswith(f"{student.base_model_prefix}.")]
    eligible = sum(student.get_parameter(name).numel() for name in encoder)
    trainer = phase_2(student, teacher_of(backbone, head), head, tmp_path, density=0.1, freeze_layer_norms=False)
    trainer.train()
    assert trainer.delta.metadata["eligible_parameters"] == eligible
    assert trainer.delta.entries == round(0.1 * eligible)


@each_backbone
def test_a_batch_is_padded_with_the_architectures_own_padding_token(backbone, tmp_path):
    teacher = teacher_of(backbone)
    trainer = phase_1(cut_model(teacher, None, (1, 3), dropout=0.0), teacher, tmp_path)
    batch = next(iter(trainer.get_eval_dataloader()))
    assert set(batch["input_ids"][batch["attention_mask"] == 0].tolist()) == {SPECIAL_IDS["pad_token_id"]}


# A further architecture


def test_an_architecture_needs_its_description_and_nothing_else(monkeypatch, tmp_path):
    electra = Backbone(
        model_type="electra",
        base_model_prefix="electra",
        layer_prefix="encoder.layer.",
        base_vocabulary_parameters=("embeddings.word_embeddings.weight",),
        head_vocabulary_parameters=("generator_lm_head.weight", "generator_lm_head.bias"),
        layer_norm_modules=("LayerNorm",),
        projections=("attention.self.query", "attention.self.key", "attention.self.value"),
    )
    monkeypatch.setattr(backbones, "BACKBONES", {**BACKBONES, "electra": electra})
    tokens = torch.arange(60)
    options = {"embedding_size": 16}
    teacher = trim_vocabulary(tiny_model(ElectraForMaskedLM, **options), tokens)
    student = cut_model(tiny_model(ElectraForMaskedLM, **options), tokens, (1, 3), dropout=0.0)
    assert student.generator_lm_head.bias.shape == (60,)
    batch = padded_batch(60)
    trainer = phase_1(student, teacher, tmp_path, layer_map=[1, 3], logits_weight=1.0)
    with torch.no_grad():
        terms, _ = trainer.loss_terms(student, batch)
    assert min(terms.values()) > 0
    tagger = tiny_model(ElectraForTokenClassification, id2label=LABELS, **options)
    trainer = phase_2(cut_model(tagger, None, (1, 3), dropout=0.0), tagger, TASK_HEADS[0], tmp_path)
    trainer.train()
    assert trainer.delta.entries > 0
    assert measure_size(tagger, length=8).layers == 4
