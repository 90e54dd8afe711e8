"""Whatever way two models are compared, the terms are those of the losses, computed here from what they hand over."""

import math
import weakref

import pytest
import torch
from accelerate import dispatch_model
from tiny_models import CLASSES, class_of, padded_batch, tiny_model

from bistill_hub.distillation import comparison as comparing
from bistill_hub.distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer
from bistill_hub.distillation.comparison import (
    ATTENTION,
    DIVERGENCE,
    HIDDEN,
    RELATIONS,
    LayerwiseComparison,
)
from bistill_hub.distillation.losses import (
    attention_divergence,
    attention_loss,
    hidden_state_loss,
    relation_divergence,
)
from bistill_hub.distillation.reading import sum_of_squared_errors
from bistill_hub.student.backbones import BACKBONES
from bistill_hub.student.build import cut_model

each_backbone = pytest.mark.parametrize("backbone", CLASSES)
QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}


def pair(backbone, layer_map=(1, 3)):
    """A teacher, and a student cut out of another such teacher."""
    teacher = tiny_model(class_of(backbone))
    return cut_model(tiny_model(class_of(backbone), seed=1), None, layer_map, dropout=0.0), teacher


def projected(model, layer, batch):
    """Queries, keys and values of a layer, read off by hooks."""
    description = BACKBONES[model.config.model_type]
    modules = [model.get_submodule(f"{description.layer_prefix}{layer}.{name}") for name in description.projections]
    outputs = {}

    def note(module, inputs, output):
        outputs.setdefault(module, output)

    hooks = [module.register_forward_hook(note) for module in modules]
    model(**batch)
    for hook in hooks:
        hook.remove()
    made = [outputs[module] for module in modules]
    return made if len(made) == 3 else [made[0][..., at * 32 : (at + 1) * 32] for at in range(3)]


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@each_backbone
@pytest.mark.parametrize("lengths", [(12, 12), (14, 5, 9)], ids=["full", "padded"])
def test_terms_and_gradients_are_those_of_the_losses(backbone, lengths):
    student, teacher = pair(backbone)
    batch = padded_batch(lengths=lengths)
    compare = LayerwiseComparison(student, teacher, (1, 3))
    assert compare.reads is (backbone != "deberta-v2")
    terms, ours, theirs = compare(student, teacher, {**batch, "labels": torch.zeros(1)})
    (terms[ATTENTION] * 50 + terms[HIDDEN]).backward()
    found = gradients(student)
    student.zero_grad()
    for model in (student, teacher):
        model.set_attn_implementation(BACKBONES[backbone].attentions_under)
    mine = student(**batch, output_attentions=True, output_hidden_states=True)
    with torch.no_grad():
        other = teacher(**batch, output_attentions=True, output_hidden_states=True)
    mask, layers = batch["attention_mask"], {"layer_map": (1, 3)}
    attention = attention_loss(mine.attentions, other.attentions, mask, **layers)
    hidden = hidden_state_loss(mine.hidden_states, other.hidden_states, mask, **layers)
    (attention * 50 + hidden).backward()
    torch.testing.assert_close(terms[ATTENTION], attention, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(terms[HIDDEN], hidden, rtol=1e-5, atol=1e-8)
    real = mask.bool()
    torch.testing.assert_close(ours[0][real], mine[0][real], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs[0][real], other[0][real], rtol=1e-4, atol=1e-5)
    expected = gradients(student)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@each_backbone
def test_only_the_terms_that_are_wanted_are_formed(backbone):
    student, teacher = pair(backbone)
    for terms in ([ATTENTION], [HIDDEN], [RELATIONS], [DIVERGENCE, HIDDEN], []):
        found, _, _ = LayerwiseComparison(student, teacher, (1, 3), terms=terms)(student, teacher, padded_batch())
        assert sorted(found) == sorted(terms)
        assert all(term.requires_grad and term > 0 for term in found.values())


def test_a_student_whose_layers_are_computed_again_is_compared_all_the_same():
    results = []
    for recomputes in (False, True):
        student, teacher = pair("bert")
        compare = LayerwiseComparison(student, teacher, (1, 3), recomputes=recomputes)
        if recomputes:
            student.activation_checkpointing_enable({"use_reentrant": False})
        terms, _, _ = compare(student.train(), teacher, padded_batch())
        sum(terms.values()).backward()
        results.append((terms, gradients(student)))
    for name, term in results[0][0].items():
        torch.testing.assert_close(term, results[1][0][name], rtol=1e-4, atol=1e-8)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], rtol=1e-3, atol=1e-6)


def test_a_model_that_was_set_to_other_attention_meanwhile_is_an_error():
    student, teacher = pair("bert")
    compare = LayerwiseComparison(student, teacher, (1, 3))
    student.set_attn_implementation("sdpa")
    with pytest.raises(RuntimeError, match=r"the student's layers \[0, 1\] did not show their attention"):
        compare(student, teacher, padded_batch())


def test_a_divergence_of_attentions_is_that_of_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(2, 1, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    ours, theirs = (
        [layer.masked_fill(mask[:1, None, None, :] == 0, -math.inf).softmax(dim=-1) for layer in side]
        for side in (ours, theirs)
    )
    for only in (0, 1):
        expected, count = 0.0, 0
        length = int(mask[only].sum())
        for one, other in zip(ours, theirs, strict=True):
            one, other = one[:, :, :, :length], other[:, :, :, :length]
            one, other = one / one.sum(dim=-1, keepdim=True), other / other.sum(dim=-1, keepdim=True)
            for head in range(3):
                for row in range(length):
                    p, q = other[0, head, row].tolist(), one[0, head, row].tolist()
                    expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
                    count += 1
        cut = [
            [
                torch.zeros(1, 3, 4, 4, dtype=torch.float64).index_add(3, torch.arange(length), each[..., :length])
                for each in side
            ]
            for side in (ours, theirs)
        ]
        cut = [[each / each.sum(dim=-1, keepdim=True) for each in side] for side in cut]
        found = attention_divergence(*cut, mask[only][None], layer_map=(0, 1))
        torch.testing.assert_close(found.item(), expected / count, rtol=1e-9, atol=0)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_relations_diverge_as_a_plain_loop_says(heads):
    generator = torch.Generator().manual_seed(1)
    sides = [[torch.randn(2, 5, 8, generator=generator, dtype=torch.float64) for _ in range(3)] for _ in range(2)]
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    width, terms = 8 // heads, []
    for mine, other in zip(*sides, strict=True):
        total, count = 0.0, 0
        for row in range(2):
            length = int(mask[row].sum())
            for head in range(heads):
                a, b = (
                    (part @ part.T / math.sqrt(width)).softmax(dim=-1)
                    for part in (each[row, :length, head * width : (head + 1) * width] for each in (mine, other))
                )
                total += float((b * (b / a).log()).sum())
                count += length
        terms.append(total / count)
    found = relation_divergence(*sides, mask, heads=heads)
    torch.testing.assert_close(found.item(), sum(terms) / 3, rtol=1e-9, atol=0)
    assert relation_divergence(sides[0], sides[0], mask, heads=heads).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="3 relation heads do not divide the hidden size 8"):
        relation_divergence(*sides, mask, heads=3)


@each_backbone
def test_relations_are_of_the_last_layer_and_the_one_that_it_answers_to(backbone):
    student, teacher = pair(backbone, (0, 2))
    batch = padded_batch(lengths=(6, 6))
    found, _, _ = LayerwiseComparison(student, teacher, (0, 2), terms=[RELATIONS])(student, teacher, batch)
    seen = [projected(model, layer, batch) for model, layer in ((student, 1), (teacher, 2))]
    torch.testing.assert_close(found[RELATIONS], relation_divergence(*seen, batch["attention_mask"], heads=4))


def test_added_terms_are_weighted_logged_and_unmoved_by_accumulation(tmp_path):
    rows = [{"input_ids": torch.randint(3, 77, (length,)).tolist()} for length in (9, 4, 7, 12)]
    logs = []
    for size in (4, 1):
        student, teacher = pair("bert")
        args = BilingualDistillationArguments(
            output_dir=str(tmp_path / str(size)),
            max_steps=2,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=4 // size,
            divergence_weight=0.5,
            relations_weight=2.0,
            relation_heads=8,
            layer_map=[1, 3],
            train_sampling_strategy="sequential",
            logging_steps=1,
            **QUIET,
        )
        trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=rows)
        trainer.train()
        logs.append([entry for entry in trainer.state.log_history if "loss" in entry])
    names = [f"{term}_loss" for term in (ATTENTION, HIDDEN, DIVERGENCE, RELATIONS)]
    for one, other in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(sum(one[name] for name in names), rel=1e-5)
        for name in names:
            assert one[name] > 0
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_a_teacher_in_lower_precision_teaches_nearly_the_same(tmp_path):
    losses = []
    for precision in (None, "bf16"):
        student, teacher = pair("xlm-roberta")
        args = BilingualDistillationArguments(
            output_dir=str(tmp_path), layer_map=[1, 3], teacher_precision=precision, **QUIET
        )
        trainer = BilingualDistillationTrainer(student, args, teacher=teacher, eval_dataset=[{"input_ids": [5, 6, 7]}])
        assert teacher.dtype == (torch.float32 if precision is None else torch.bfloat16)
        assert student.dtype == torch.float32
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_teacher_that_was_spread_over_devices_is_left_where_it_lies(tmp_path):
    student, teacher = pair("bert")
    places = {"embeddings": "cpu", "encoder": "cpu", "pooler": "cpu"}
    spread = dispatch_model(pair("bert")[1], places, main_device="cpu", force_hooks=True)
    losses = []
    for each in (teacher, spread):
        args = BilingualDistillationArguments(output_dir=str(tmp_path), layer_map=[1, 3], **QUIET)
        rows = [{"input_ids": [5, 6, 7, 8]}, {"input_ids": [9, 10]}]
        trainer = BilingualDistillationTrainer(student, args, teacher=each, eval_dataset=rows)
        losses.append(trainer.evaluate()["eval_loss"])
    assert hasattr(spread, "hf_device_map")
    assert losses[0] == losses[1]


def test_a_teachers_state_is_let_go_of_once_it_is_compared(monkeypatch):
    """But for the last one, which is an output of its own."""
    student, teacher = pair("bert", (0, 1, 3))
    compared, alive = [], []

    def noting(one, other, weights):
        alive.append(sum(state() is not None for state in compared[1:-1]))
        compared.append(weakref.ref(other))
        return sum_of_squared_errors(one, other, weights)

    monkeypatch.setattr(comparing, "sum_of_squared_errors", noting)
    outcome = LayerwiseComparison(student, teacher, (0, 1, 3), terms=(HIDDEN,))(student, teacher, padded_batch())
    assert alive == [0, 0, 0, 0]
    assert [state() is not None for state in compared] == [True, False, False, False]
    assert all(output.hidden_states is None for output in outcome[1:])
