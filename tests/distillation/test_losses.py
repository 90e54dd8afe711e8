"""The loss terms equal the authors' numbers, ignore padding, and refuse what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from bistill_hub.losses import attention_loss, hidden_state_loss, soft_cross_entropy

REFERENCE = Path(__file__).parent.parent / "reference"
CASES = json.loads((REFERENCE / "losses.json").read_text())["cases"]
HEADS = {
    None: modeling_auto.AutoModel,
    "ner": modeling_auto.AutoModelForTokenClassification,
    "nli": modeling_auto.AutoModelForSequenceClassification,
    "qa": modeling_auto.AutoModelForQuestionAnswering,
}


def load_pair(case):
    tensors = load_file(REFERENCE / case["file"])
    models = {}
    for role in ("student", "teacher"):
        settings = dict(case["config"])
        if role == "student":
            settings["num_hidden_layers"] //= case["layer_reduction_factor"]
        config = AutoConfig.for_model(
            case["model_type"], **settings, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
        model = HEADS[case["task"]].from_config(config, attn_implementation="eager")
        state = {name.removeprefix(f"{role}."): t for name, t in tensors.items() if name.startswith(f"{role}.")}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected
        assert all("pooler" in name for name in missing), missing
        models[role] = model.eval()
    inputs = {name: t for name, t in tensors.items() if name in ("input_ids", "attention_mask", "token_type_ids")}
    return models["student"], models["teacher"].requires_grad_(False), inputs, tensors


def terms(case, student, teacher, inputs, tensors):
    ours = student(**inputs, output_attentions=True, output_hidden_states=True)
    theirs = teacher(**inputs, output_attentions=True, output_hidden_states=True)
    mask = inputs["attention_mask"]
    found = {
        "attention": attention_loss(ours.attentions, theirs.attentions, mask),
        "hidden": hidden_state_loss(ours.hidden_states, theirs.hidden_states, mask),
    }
    if case["task"] == "qa":
        found["logits"] = soft_cross_entropy(ours.start_logits, theirs.start_logits) + soft_cross_entropy(
            ours.end_logits, theirs.end_logits
        )
    elif case["task"] is not None:
        labelled = tensors["labels"] != -100 if case["task"] == "ner" else None
        found["logits"] = soft_cross_entropy(ours.logits, theirs.logits, case["temperature"], labelled)
    found["total"] = sum(found.values())
    return found


@pytest.mark.parametrize("case", CASES, ids=[case["file"].removesuffix(".safetensors") for case in CASES])
def test_every_term_and_its_gradient_equal_the_authors_code(case):
    student, teacher, inputs, tensors = load_pair(case)
    found = terms(case, student, teacher, inputs, tensors)
    assert {name for name in case["loss"] if not name.endswith("grad_norm")} == set(found)
    for name, loss in found.items():
        gradients = torch.autograd.grad(loss, list(student.parameters()), retain_graph=True, allow_unused=True)
        norm = torch.stack([g.double().square().sum() for g in gradients if g is not None]).sum().sqrt()
        assert loss.item() == pytest.approx(case["loss"][name], rel=1e-5), name
        assert norm.item() == pytest.approx(case["loss"][f"{name}_grad_norm"], rel=1e-5), f"gradient of {name}"


def random_pair(seed, batch=3, positions=7, heads=2, hidden=5, student_layers=2, teacher_layers=6):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    attentions = [
        [draw(batch, heads, positions, positions).softmax(-1) for _ in range(n)]
        for n in (student_layers, teacher_layers)
    ]
    hidden_states = [[draw(batch, positions, hidden) for _ in range(n + 1)] for n in (student_layers, teacher_layers)]
    return attentions, hidden_states


@pytest.mark.parametrize("layer_map", [None, (0, 4), (3, 5)])
def test_padded_positions_count_nowhere_against_a_plain_float64_loop(layer_map):
    (student_a, teacher_a), (student_h, teacher_h) = random_pair(1)
    lengths = [7, 4, 2]
    mask = torch.tensor([[1] * n + [0] * (7 - n) for n in lengths])
    layers = layer_map or (2, 5)

    def plain_mean(student, teacher, cut):
        pieces = [(cut(student[b], n) - cut(teacher[b], n)).square().numpy().ravel() for b, n in enumerate(lengths)]
        return np.concatenate(pieces).mean()

    attention = np.mean(
        [plain_mean(student_a[i], teacher_a[j], lambda t, n: t[:, :n, :n]) for i, j in enumerate(layers)]
    )
    hidden = np.mean(
        [
            plain_mean(student_h[i], teacher_h[j], lambda t, n: t[:n])
            for i, j in enumerate((0, *(j + 1 for j in layers)))
        ]
    )
    assert attention_loss(student_a, teacher_a, mask, layer_map=layer_map).item() == pytest.approx(attention, rel=1e-12)
    assert hidden_state_loss(student_h, teacher_h, mask, layer_map=layer_map).item() == pytest.approx(hidden, rel=1e-12)


def test_what_stands_at_padded_positions_does_not_matter_even_if_it_is_not_finite():
    (student_a, teacher_a), (student_h, teacher_h) = random_pair(2)
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4])
    before = attention_loss(student_a, teacher_a, mask), hidden_state_loss(student_h, teacher_h, mask)
    for tensor in teacher_a:
        tensor[2, :, 3:] = torch.nan
    for tensor in teacher_h:
        tensor[1, 5:] = torch.inf
    assert attention_loss(student_a, teacher_a, mask) == before[0]
    assert hidden_state_loss(student_h, teacher_h, mask) == before[1]


def test_soft_cross_entropy_equals_kullback_leibler_plus_the_teachers_entropy():
    generator = torch.Generator().manual_seed(3)
    student, teacher = (torch.randn(4, 6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(4, 6, generator=generator) > 0.4
    q = (teacher / 2).softmax(-1)
    p = (student / 2).softmax(-1)
    expected = ((q * (q / p).log()).sum(-1) - (q * q.log()).sum(-1))[mask].mean()
    assert soft_cross_entropy(student, teacher, 2.0, mask).item() == pytest.approx(expected.item(), rel=1e-12)


def test_soft_cross_entropy_of_nothing_is_zero_and_has_a_gradient():
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = soft_cross_entropy(logits, torch.ones(2, 3), mask=torch.zeros(2))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_low_precision_inputs_are_compared_in_float32():
    (student_a, teacher_a), _ = random_pair(4)
    half = [[t.bfloat16() for t in side] for side in (student_a, teacher_a)]
    assert attention_loss(*half).dtype == torch.float32


def test_nothing_captured_is_an_error_not_a_zero():
    (student_a, teacher_a), _ = random_pair(5)
    with pytest.raises(ValueError, match=r"teacher returned no attentions.*eager"):
        attention_loss(student_a, ())
    with pytest.raises(ValueError, match="student returned no attentions"):
        attention_loss((), teacher_a)


def test_misaligned_layers_are_refused():
    (student_a, teacher_a), (student_h, teacher_h) = random_pair(6)
    with pytest.raises(ValueError, match="5 teacher layers cannot be spread evenly over 2"):
        attention_loss(student_a, teacher_a[:5])
    with pytest.raises(ValueError, match="names 3 teacher layers for 2"):
        hidden_state_loss(student_h, teacher_h, layer_map=(0, 1, 2))
    with pytest.raises(ValueError, match="leaves the teacher's layers 0 to 5"):
        attention_loss(student_a, teacher_a, layer_map=(0, 6))
    with pytest.raises(ValueError, match="different shapes"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="above 0"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0)
