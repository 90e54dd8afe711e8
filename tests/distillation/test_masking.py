import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import class_of, tiny_model
from tokenizers import Tokenizer, models
from torch.nn.functional import log_softmax, softmax
from transformers import PreTrainedTokenizerFast

from bistill_hub.batches import PaddingCollator
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer
from bistill_hub.distillation.masking import MASKED, MaskingCollator, TokenChooser
from bistill_hub.errors import InputError

SPECIAL, MASK, PAD = (0, 1, 2, 3), 3, 1
ROWS = st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=30), min_size=1, max_size=6)


def masking(probability=0.15, seed=0, epoch=None):
    choose = TokenChooser(special_ids=SPECIAL, probability=probability, seed=seed, epoch=epoch)
    return MaskingCollator(PaddingCollator(PAD), choose, mask_token_id=MASK)


def features(rows):
    return [{"input_ids": ids} for ids in rows]


@given(ROWS, st.floats(0.01, 0.99))
def test_what_is_hidden_is_the_mask_token_and_everything_else_is_as_it_was(rows, probability):
    plain, batch = PaddingCollator(PAD)(features(rows)), masking(probability)(features(rows))
    hidden = batch[MASKED]
    assert (batch["input_ids"][hidden] == MASK).all()
    assert torch.equal(batch["input_ids"][~hidden], plain["input_ids"][~hidden])
    assert torch.equal(batch["attention_mask"], plain["attention_mask"])
    may_be = torch.tensor([[i not in SPECIAL for i in row] for row in plain["input_ids"].tolist()])
    assert not (hidden & ~(may_be & plain["attention_mask"].bool())).any()
    assert hidden.any() == (may_be & plain["attention_mask"].bool()).any()


@given(ROWS, st.data())
def test_a_row_hides_the_same_whatever_stands_beside_it(rows, data):
    together = masking()(features(rows))[MASKED]
    order = data.draw(st.permutations(range(len(rows))))
    for place, row in zip(order, masking()(features([rows[place] for place in order]))[MASKED], strict=True):
        assert torch.equal(row[: len(rows[place])], together[place, : len(rows[place])])
    alone = masking()(features(rows[:1]))[MASKED]
    assert torch.equal(alone[0], together[0, : alone.shape[1]])


def test_each_epoch_hides_something_else_and_evaluation_always_the_same(tmp_path):
    rows = [list(range(4, 60))]
    hidden = [masking(0.5, epoch=lambda epoch=epoch: epoch)(features(rows))[MASKED] for epoch in (0, 1, 0)]
    assert not torch.equal(hidden[0], hidden[1])
    assert torch.equal(hidden[0], hidden[2])
    teacher, student = (tiny_model(class_of("bert", "ForMaskedLM"), seed=seed) for seed in (0, 1))
    made = trainer(tmp_path, teacher, student, masked_share=0.5, per_device_train_batch_size=8)
    made.train_dataset = BilingualBlocks({"en": [made.train_dataset[row] for row in range(4)]})
    loaders = made.get_train_dataloader(), made.get_eval_dataloader(made.train_dataset)
    for loader, changes in zip(loaders, (True, False), strict=True):
        found = []
        for epoch in (0, 1):
            getattr(loader, "set_epoch", loader.batch_sampler.set_epoch)(epoch)
            (batch,) = loader
            rest = [tuple(ids[~gone].tolist()) for ids, gone in zip(batch["input_ids"], batch[MASKED], strict=True)]
            found.append(set(rest))
        assert (found[0] != found[1]) is changes


def test_the_share_is_that_which_is_asked_for_and_the_seed_decides_which():
    rows = [list(range(4, 60)) for _ in range(40)]
    found = [masking(0.15, seed)(features(rows))[MASKED] for seed in (0, 1)]
    for hidden in found:
        assert 0.12 < hidden.float().mean().item() < 0.18  # 2,240 draws: a standard deviation of 0.0075
    assert not torch.equal(*found)


def trainer(tmp_path, teacher, student, tokenizer="with a mask", **settings):
    if tokenizer == "with a mask":
        words = {f"w{number}": number for number in range(77)}
        pipeline = Tokenizer(models.WordLevel(words, unk_token="w0"))
        special = {"unk_token": "w0", "pad_token": "w1", "sep_token": "w2", "mask_token": "w3"}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=pipeline, **special)
    args = BilingualDistillationArguments(output_dir=str(tmp_path), report_to="none", max_steps=1, **settings)
    rows = [{"input_ids": torch.randint(4, 77, (12,)).tolist()} for _ in range(8)]
    return BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=rows, processing_class=tokenizer)


def test_the_logits_term_is_the_soft_cross_entropy_at_the_hidden_tokens(tmp_path):
    teacher, student = (tiny_model(class_of("bert", "ForMaskedLM"), seed=seed) for seed in (0, 1))
    made = trainer(tmp_path, teacher, student, logits_weight=1.0, masked_share=0.4, temperature=2.0)
    batch = made.data_collator([made.train_dataset[row] for row in range(4)])
    terms, _ = made.loss_terms(student, batch)
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        theirs, ours = (model(**read).logits.double() / 2.0 for model in (teacher, student))
    each = -(softmax(theirs, -1) * log_softmax(ours, -1)).sum(-1)
    assert 0 < batch[MASKED].sum() < batch[MASKED].numel()
    assert terms["logits"].item() == pytest.approx(each[batch[MASKED]].mean().item(), rel=1e-5)
    assert made.term_counts(batch)["logits"] == batch[MASKED].sum()


def test_hiding_without_a_mask_token_and_a_share_that_is_none_are_refused(tmp_path):
    teacher, student = (tiny_model(class_of("bert", "ForMaskedLM"), seed=seed) for seed in (0, 1))
    with pytest.raises(InputError, match="processing_class = None: hiding tokens needs a tokenizer with a mask token"):
        trainer(tmp_path, teacher, student, tokenizer=None, masked_share=0.2)
    with pytest.raises(InputError, match=r"masked_share = 1\.0: not a share"):
        trainer(tmp_path, teacher, student, masked_share=1.0)
