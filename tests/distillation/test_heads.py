"""A task head's losses: of padding and of what asks nothing they are independent; distilled ones at any temperature."""

from types import SimpleNamespace

import pytest
import torch

from bistill_hub.distillation.heads import distilled_loss, supervised_loss

LENGTHS = (9, 4, 6)


def spans(seed):
    """Logits [questions, positions] of starts and ends."""
    generator = torch.Generator().manual_seed(seed)
    start, end = (4 * torch.randn(len(LENGTHS), max(LENGTHS), generator=generator) for _ in range(2))
    return SimpleNamespace(start_logits=start.requires_grad_(), end_logits=end.requires_grad_())


def by_hand(ours, theirs, temperature):
    """Soft cross-entropy of each question's own positions, and no other's."""
    terms = []
    for one, other in ((ours.start_logits, theirs.start_logits), (ours.end_logits, theirs.end_logits)):
        rows = [
            [side[row, :length].double() / temperature for side in (one, other)] for row, length in enumerate(LENGTHS)
        ]
        terms.append(torch.stack([-(b.softmax(-1) * a.log_softmax(-1)).sum() for a, b in rows]).mean())
    return torch.stack(terms).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.01, 0.5, 0.99, 1.0, 2.0, 10.0])
def test_padding_is_no_place_for_an_answer_at_any_temperature(temperature, dtype):
    ours, theirs = spans(1), spans(2)
    mask = torch.tensor([[1] * length + [0] * (max(LENGTHS) - length) for length in LENGTHS])
    inputs = {"attention_mask": mask, "start_positions": torch.ones(3, dtype=torch.long)}
    given = [
        SimpleNamespace(**{name: logits.to(dtype) for name, logits in vars(side).items()}) for side in (ours, theirs)
    ]
    loss = distilled_loss(*given, inputs, "question-answering", temperature)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_hand(*given, temperature).item(), rel=1e-5)
    loss.backward()
    for logits in (ours.start_logits, ours.end_logits):
        assert logits.grad.isfinite().all()
        assert logits.grad[mask == 0].eq(0).all()
        assert logits.grad[mask == 1].any()


def test_questions_none_of_which_is_asked_have_the_loss_nought_and_no_gradient():
    ours = spans(1)
    nowhere = torch.full((len(LENGTHS),), -100)
    mask = torch.ones(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    inputs = {"attention_mask": mask, "start_positions": nowhere, "end_positions": nowhere}
    loss = supervised_loss(ours, inputs, "question-answering")
    assert loss.item() == 0
    loss.backward()
    for logits in (ours.start_logits, ours.end_logits):
        assert logits.grad.eq(0).all()
