"""Terms of the last states and of language-modelling heads: checked one by one, and free where they are not wanted."""

import math

import pytest
import torch
from tiny_models import CLASSES, class_of, tiny_model
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from bistill_hub.distillation import reading
from bistill_hub.distillation.bilingual import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
)
from bistill_hub.distillation.comparison import LayerwiseComparison
from bistill_hub.distillation.masking import MASKED, ORIGINAL
from bistill_hub.errors import InputError
from bistill_hub.student.build import cut_model

QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
NO_LAYERS = {"attention_weight": 0.0, "hidden_weight": 0.0}
each_backbone = pytest.mark.parametrize("backbone", CLASSES)


def tokenizer():
    words = {f"w{number}": number for number in range(77)}
    special = {"unk_token": "w0", "pad_token": "w1", "sep_token": "w2", "mask_token": "w3"}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")),
        **special,
    )


def pair(backbone="bert", head="ForMaskedLM"):
    """A student of two layers, and a teacher of four that it was not cut out of."""
    teacher = tiny_model(class_of(backbone, head))
    return cut_model(tiny_model(class_of(backbone, head), seed=1), None, (1, 3), dropout=0.0), teacher


def rows(*lengths):
    generator = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(4, 77, (length,), generator=generator).tolist()} for length in lengths]


def trainer(folder, student, teacher, lengths=(12, 5, 9, 14), **settings):
    args = BilingualDistillationArguments(
        output_dir=str(folder), layer_map=[1, 3], **{**QUIET, "max_steps": 2, "logging_steps": 1, **settings}
    )
    return BilingualDistillationTrainer(
        student, args, teacher=teacher, train_dataset=rows(*lengths), processing_class=tokenizer()
    )


def batch_of(made, count=4):
    return made.data_collator([made.train_dataset[row] for row in range(count)])


def run(model, batch):
    """What a model says of a batch, all its hidden states and the logits of every position, in float64."""
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return model.double()(**read, output_hidden_states=True)


@each_backbone
@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
def test_the_cosine_term_is_that_of_a_plain_loop_over_the_tokens(backbone, head, tmp_path):
    student, teacher = pair(backbone, head)
    made = trainer(tmp_path, student, teacher, **NO_LAYERS, cosine_weight=1.0)
    batch = batch_of(made)
    terms, _ = made.loss_terms(student, batch)
    with torch.no_grad():
        ours, theirs = (run(model, batch).hidden_states[-1].tolist() for model in (student, teacher))
    total, count = 0.0, 0
    for row, mask in enumerate(batch["attention_mask"].tolist()):
        for place in range(sum(mask)):
            one, other = ours[row][place], theirs[row][place]
            product = sum(a * b for a, b in zip(one, other, strict=True))
            total += 1 - product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))
            count += 1
    assert count == 12 + 5 + 9 + 14
    assert list(terms) == ["cosine"]
    assert terms["cosine"].item() == pytest.approx(total / count, rel=1e-4)
    assert made.term_counts(batch) == {"cosine": count}


@each_backbone
def test_the_masked_term_is_the_cross_entropy_of_what_was_hidden(backbone, tmp_path):
    student, _ = pair(backbone)
    made = trainer(tmp_path, student, None, **NO_LAYERS, masked_lm_weight=1.0, masked_share=0.3)
    batch = batch_of(made)
    terms, outputs = made.loss_terms(student, batch)
    terms["masked_lm"].backward()
    found = {name: p.grad.clone() for name, p in student.named_parameters()}
    student.zero_grad()
    plain = rows(12, 5, 9, 14)
    labels = torch.full_like(batch["input_ids"], -100)
    for row, (hidden, each) in enumerate(zip(batch[MASKED].tolist(), plain, strict=True)):
        for place, identifier in enumerate(each["input_ids"]):
            assert batch[ORIGINAL][row, place] == identifier
            if hidden[place]:
                labels[row, place] = identifier
    assert 4 <= (labels != -100).sum() == batch[MASKED].sum() < 40
    expected = torch.nn.functional.cross_entropy(run(student, batch).logits.flatten(0, 1), labels.flatten())
    expected.backward()
    assert list(terms) == ["masked_lm"]
    assert terms["masked_lm"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert made.term_counts(batch) == {"masked_lm": batch[MASKED].sum()}
    assert outputs.logits.shape == (int(batch[MASKED].sum()), 77), "the head was computed elsewhere too"
    for name, gradient in found.items():
        torch.testing.assert_close(gradient.double(), dict(student.named_parameters())[name].grad, rtol=1e-3, atol=1e-6)


def test_heads_and_last_states_are_weighted_logged_and_unmoved_by_accumulation(tmp_path):
    logs, weights = [], {"cosine": 3.0, "logits": 0.5, "masked_lm": 2.0}
    for size in (4, 1):
        student, teacher = pair()
        made = trainer(
            tmp_path,
            student,
            teacher,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=4 // size,
            train_sampling_strategy="sequential",
            masked_share=0.3,
            optim="sgd",
            **NO_LAYERS,
            **{f"{term}_weight": weight for term, weight in weights.items()},
        )
        terms, _ = made.loss_terms(student, batch_of(made))
        first = {f"{term}_loss": weights[term] * value.item() for term, value in terms.items()}
        made.train()
        logs.append([entry for entry in made.state.log_history if "loss" in entry])
    for name, value in first.items():
        assert logs[0][0][name] == pytest.approx(value, rel=1e-5)
    for one, other in zip(*logs, strict=True):
        assert {name for name in one if name.endswith("_loss")} == set(first)
        assert one["loss"] == pytest.approx(sum(one[name] for name in first), rel=1e-5)
        for name in first:
            assert one[name] == pytest.approx(other[name], rel=1e-5)


def test_a_batch_that_hides_nothing_adds_nothing(tmp_path):
    student, teacher = pair()
    made = trainer(tmp_path, student, teacher, **NO_LAYERS, logits_weight=1.0, masked_lm_weight=1.0, masked_share=0.2)
    batch = made.data_collator([{"input_ids": [0, 2, 2]}])
    terms, _ = made.loss_terms(student, batch)
    assert not batch[MASKED].any()
    assert {name: float(term) for name, term in terms.items()} == {"logits": 0.0, "masked_lm": 0.0}
    assert made.term_counts(batch) == {"logits": 0, "masked_lm": 0}


def test_a_teacher_that_no_term_asks_is_neither_run_nor_touched(tmp_path, monkeypatch):
    student, teacher = pair()
    teacher.train()

    def touched(*_args, **_kwargs):
        raise AssertionError("the teacher was touched")

    for name in ("forward", "to", "eval", "set_attn_implementation"):
        monkeypatch.setattr(teacher, name, touched)
    made = trainer(tmp_path, student, teacher, **NO_LAYERS, masked_lm_weight=1.0, masked_share=0.3)
    made.train()
    assert [set(entry) & {"loss", "masked_lm_loss", "hidden_loss"} for entry in made.state.log_history[:-1]] == [
        {"loss", "masked_lm_loss"}
    ] * 2
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    for weight in ("attention", "hidden", "divergence", "relations", "logits", "cosine"):
        with pytest.raises(InputError, match=rf"teacher = \['{weight}'\]: there is no teacher, and these terms ask it"):
            trainer(tmp_path, student, None, **{**NO_LAYERS, f"{weight}_weight": 1.0})


@pytest.mark.parametrize("backbone", ["bert", "modernbert", "deberta-v2"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_terms_of_weight_0_capture_nothing(backbone, recomputes, tmp_path, monkeypatch):
    student, teacher = pair(backbone)
    if backbone != "deberta-v2":  # which forms all its attention by itself
        monkeypatch.setattr(reading, "_probabilities", lambda *_: pytest.fail("attention was formed to be looked at"))
        expected = reading.IMPLEMENTATION
    else:
        expected = "eager"
    shown = []
    for model in (student, teacher):
        model.register_forward_pre_hook(
            lambda _, args, kwargs: shown.append((kwargs.get("output_attentions"), kwargs["output_hidden_states"])),
            with_kwargs=True,
        )
    terms = {"logits_weight": 1.0, "cosine_weight": 1.0, "relations_weight": 1.0}
    made = trainer(tmp_path, student, teacher, **NO_LAYERS, **terms, gradient_checkpointing=recomputes)
    found, _ = made.loss_terms(student, batch_of(made))
    assert set(found) == {"logits", "cosine", "relations"}
    assert len(shown) == 2
    assert not any(flag for flags in shown for flag in flags)
    assert student.config._attn_implementation == expected
    if backbone == "bert" and not recomputes:
        compare = LayerwiseComparison(student, teacher, (1, 3), terms=["attention"])
        with pytest.raises(pytest.fail.Exception, match="attention was formed"):
            compare(student, teacher, batch_of(made))


def test_objectives_that_cannot_be_formed_are_refused(tmp_path):
    student, teacher = pair()
    headless = pair(head="Model")
    masked = {"masked_lm_weight": 1.0, "masked_share": 0.15}
    with pytest.raises(InputError, match="student = 'BertModel': masked_lm_weight asks for the logits"):
        trainer(tmp_path, headless[0], teacher, **masked)
    with pytest.raises(InputError, match="teacher = 'BertModel': logits_weight asks for the logits"):
        trainer(tmp_path, student, headless[1], **masked, logits_weight=1.0)
    trainer(tmp_path, student, headless[1], **masked)
    with pytest.raises(InputError, match=r"masked_share = 0\.0: the cross-entropy with hidden tokens needs some"):
        trainer(tmp_path, student, teacher, masked_lm_weight=1.0)
    with pytest.raises(InputError, match=r"attention_weight = 0\.0: every term's weight is 0"):
        trainer(tmp_path, student, teacher, **NO_LAYERS)
