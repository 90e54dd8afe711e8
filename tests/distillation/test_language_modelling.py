"""Tokens are hidden reproducibly, the head is computed where it is asked, and nothing but the encoder may change."""

import pytest
import torch
from tiny_models import CLASSES, class_of, tiny_model
from torch.nn.functional import cross_entropy

from bistill_hub import InputError
from bistill_hub.batches import PaddingCollator
from bistill_hub.distillation.language_modelling import (
    LanguageFineTuningArguments,
    LanguageFineTuningTrainer,
    MaskedLanguageCollator,
)
from bistill_hub.distillation.masking import TokenChooser

VOCABULARY, MASK, SPECIAL = 97, 3, (0, 1, 2, 3)


class Tokenizer:
    """What the trainer asks of a tokenizer."""

    mask_token_id = MASK
    all_special_ids = SPECIAL

    def __len__(self):
        return VOCABULARY


def rows(count, seed=0, length=12):
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(4, VOCABULARY, (count, length), generator=generator).tolist()
    return [{"input_ids": [0, *ids[: length - index % 3], 2]} for index, ids in enumerate(text)]


def collator(**options):
    choose = TokenChooser(**{"special_ids": SPECIAL, "probability": 0.15, **options})
    return MaskedLanguageCollator(PaddingCollator(1), choose, mask_token_id=MASK, vocabulary=VOCABULARY)


def make_trainer(model, folder, **settings):
    args = LanguageFineTuningArguments(
        output_dir=str(folder), report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no", **settings
    )
    return LanguageFineTuningTrainer(
        model, args, train_dataset=rows(10), eval_dataset=rows(6, seed=1), processing_class=Tokenizer()
    )


def masked_language_model(backbone):
    special = {"bos_token_id": 0, "cls_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    return tiny_model(class_of(backbone, "ForMaskedLM"), VOCABULARY, 2, special_ids=special)


def test_of_the_chosen_tokens_most_are_masked_some_exchanged_and_some_stay():
    batch = rows(2000)
    whole = PaddingCollator(1)(batch)["input_ids"]
    found = collator()(batch)
    chosen = found["labels"] != -100
    eligible = ~torch.isin(whole, torch.tensor(SPECIAL))
    assert not bool((chosen & ~eligible).any())
    assert torch.equal(found["labels"][chosen], whole[chosen])
    assert torch.equal(found["input_ids"][~chosen], whole[~chosen])
    # Where chance chooses none of a row's tokens, one is chosen all the same.
    lengths = eligible.sum(dim=1)
    expected = float((0.15 * lengths + 0.85**lengths).sum() / lengths.sum())
    assert float(chosen.sum() / eligible.sum()) == pytest.approx(expected, abs=0.01)
    seen, meant = found["input_ids"][chosen], whole[chosen]
    assert float((seen == MASK).float().mean()) == pytest.approx(0.8, abs=0.02)
    stayed = 0.1 + 0.1 / (VOCABULARY - len(SPECIAL))  # another token may happen to be the same
    assert float((seen == meant).float().mean()) == pytest.approx(stayed, abs=0.02)
    assert set(seen.tolist()) == {*range(4, VOCABULARY), MASK}


def test_what_is_hidden_depends_on_seed_epoch_and_row_alone():
    epoch = [0]
    hide = collator(seed=5, epoch=lambda: epoch[0])
    first = hide(rows(8))
    torch.manual_seed(99)
    again = hide(rows(8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    epoch[0] = 1
    assert not torch.equal(first["labels"], hide(rows(8))["labels"])
    assert not torch.equal(first["labels"], collator(seed=6, epoch=lambda: 0)(rows(8))["labels"])
    one = collator(probability=1e-9)(rows(1))
    assert int((one["labels"] != -100).sum()) == 1


def test_an_epoch_reads_every_block_once_and_hides_anew(tmp_path):
    trainer = make_trainer(masked_language_model("bert"), tmp_path, per_device_train_batch_size=4)
    loader = trainer.get_train_dataloader()
    text, labels = [], []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        text.append([])
        labels.append({})
        for batch in loader:
            whole = torch.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
            for ids, hidden in zip(whole.tolist(), batch["labels"].tolist(), strict=True):
                text[-1].append(tuple(i for i in ids if i != 1))
                labels[-1][text[-1][-1]] = tuple(hidden)
    assert sorted(text[0]) == sorted(text[1]) == sorted(tuple(row["input_ids"]) for row in rows(10))
    assert text[0] != text[1]
    assert labels[0] != labels[1]
    held_out = [b["labels"] for _ in range(2) for b in trainer.get_eval_dataloader()]
    assert torch.equal(held_out[0], held_out[len(held_out) // 2])


def test_workers_that_are_to_last_hide_anew_in_each_epoch_all_the_same(tmp_path):
    labels = {}
    for workers in (0, 1):
        kept = {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
        trainer = make_trainer(masked_language_model("bert"), tmp_path, per_device_train_batch_size=4, **kept)
        loader = trainer.get_train_dataloader()
        labels[workers] = []
        for epoch in (0, 1, 2):
            loader.set_epoch(epoch)
            labels[workers].append(sorted(row for batch in loader for row in batch["labels"].tolist()))
    assert labels[0] == labels[1]
    assert labels[1][0] != labels[1][1] != labels[1][2]


def test_held_out_texts_with_names_are_evaluated_one_by_one(tmp_path):
    trainer = make_trainer(masked_language_model("bert"), tmp_path)
    trainer.eval_dataset = {"near": rows(6, seed=1), "far": rows(6, seed=2)}
    found = trainer.evaluate()
    for name, blocks in trainer.eval_dataset.items():
        assert found[f"eval_{name}_loss"] == pytest.approx(trainer.evaluate(blocks)["eval_loss"], rel=1e-6)


@pytest.mark.parametrize("backbone", CLASSES)
def test_the_loss_is_that_of_the_whole_models_logits(backbone, tmp_path):
    model = masked_language_model(backbone)
    trainer = make_trainer(model, tmp_path, per_device_eval_batch_size=4)
    seen = []
    loss_terms = trainer.loss_terms
    trainer.loss_terms = lambda *args: seen.append(loss_terms(*args)) or seen[-1]
    found = trainer.held_out_loss()
    total, count = 0.0, 0
    for batch, (_, outputs) in zip(trainer.get_eval_dataloader(), seen, strict=True):
        labels = batch.pop("labels")
        with torch.no_grad():
            logits = model(**batch).logits
        total += float(cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
        count += int((labels != -100).sum())
        assert outputs.logits.shape == (int((labels != -100).sum()), VOCABULARY)
    assert found == pytest.approx(total / count, rel=1e-5)


def test_a_batch_in_which_nothing_can_be_hidden_counts_nothing(tmp_path):
    # One of the blocks is of special tokens alone.
    made, without = rows(5), {"input_ids": [0, 2, 0, 2]}
    steps = {"dense_max_steps": 2, "max_steps": 2, "logging_steps": 1, "gradient_accumulation_steps": 3}
    one = {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}
    trainer = make_trainer(masked_language_model("bert"), tmp_path, **steps, **one)
    trainer.train_dataset, trainer.eval_dataset = [*made, without], made
    expected = trainer.held_out_loss()
    trainer.eval_dataset = [*made[:2], without, *made[2:]]
    assert trainer.held_out_loss() == pytest.approx(expected, rel=1e-6)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2, "of the sparse stage"
    assert all(0 < loss < 100 for loss in losses)


@pytest.mark.parametrize("backbone", CLASSES)
def test_the_encoder_may_change_but_for_layer_norms_and_the_head_may_not(backbone, tmp_path):
    model = masked_language_model(backbone)
    encoder = {f"{model.base_model_prefix}.{name}": p for name, p in model.base_model.named_parameters()}
    of_encoder = {id(parameter) for parameter in encoder.values()}
    head = {name: p for name, p in model.named_parameters() if id(p) not in of_encoder}
    assert head
    start = {name: parameter.detach().clone() for name, parameter in {**encoder, **head}.items()}
    steps = {"dense_max_steps": 2, "max_steps": 2, "learning_rate": 1e-2, "density": 0.1}
    trainer = make_trainer(model, tmp_path, **steps)
    trainer.train()
    norms = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for part in ("weight", "bias")
    }
    free = set(encoder) - norms
    changed = {name for name, parameter in {**encoder, **head}.items() if not torch.equal(start[name], parameter)}
    assert changed <= set(trainer.delta.sparse) <= free
    assert any(".embeddings." in name for name in changed)
    assert not trainer.delta.dense
    assert trainer.delta.entries == round(0.1 * sum(start[name].numel() for name in free))


def test_a_tokenizer_without_a_mask_token_is_refused(tmp_path):
    model = masked_language_model("bert")
    args = LanguageFineTuningArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    with pytest.raises(InputError, match="a tokenizer with a mask token"):
        LanguageFineTuningTrainer(model, args, train_dataset=rows(4))
    with pytest.raises(InputError, match=r"masked_share = 1\.0: not a share"):
        LanguageFineTuningArguments(output_dir=str(tmp_path), masked_share=1.0)


def test_training_without_a_block_is_refused(tmp_path):
    args = LanguageFineTuningArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    with pytest.raises(InputError, match="train_dataset = '0 blocks': there is no text to learn from"):
        LanguageFineTuningTrainer(masked_language_model("bert"), args, train_dataset=[], processing_class=Tokenizer())
