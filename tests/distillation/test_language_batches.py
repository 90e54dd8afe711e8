"""Phase 1 trains on the same batches, in the same order, however many processes load them."""

import multiprocessing
import re

import pytest
import torch

from bistill_hub import InputError
from bistill_hub.corpora import BilingualBlocks, OneLanguageBatches
from bistill_hub.distillation.bilingual import BilingualDistillationArguments, BilingualDistillationTrainer

SIZES = {"en": 23, "sw": 10}


@pytest.fixture
def blocks():
    generator = torch.Generator().manual_seed(3)
    return BilingualBlocks(
        {
            language: [
                {"input_ids": [*torch.randint(5, 60, (5 + 3 * (row % 4),), generator=generator).tolist()]}
                for row in range(size)
            ]
            for language, size in SIZES.items()
        }
    )


def epochs(tiny_model, blocks, folder, workers, count=2):
    """Every tensor of every batch of some epochs, and of the evaluation, as the Trainer gets them."""
    args = BilingualDistillationArguments(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        dataloader_num_workers=workers,
        seed=11,
    )
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=blocks, eval_dataset=blocks)
    loader = trainer.get_train_dataloader()
    found = []
    for epoch in range(count):
        loader.set_epoch(epoch)
        found.append(list(loader))
    return [*found, list(trainer.get_eval_dataloader())]


@pytest.fixture
def expected(blocks):
    """The same read row by row in the order of the sampler: two epochs, and all in order."""
    samplers = []
    for epoch in range(2):
        samplers.append(OneLanguageBatches(blocks.sizes, 4, seed=11))
        samplers[-1].set_epoch(epoch)
    samplers.append(OneLanguageBatches(blocks.sizes, 4, seed=11, balanced=False))
    return [[[blocks[row] for row in batch] for batch in sampler] for sampler in samplers]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_the_same_in_the_same_order_for_any_number_of_workers(
    tiny_model, blocks, expected, tmp_path, workers
):
    found = epochs(tiny_model, blocks, tmp_path, workers)
    assert [len(batches) for batches in found] == [6, 6, 9]
    assert [
        [
            [
                {"input_ids": ids[: mask.sum()].tolist(), "language": int(language)}
                for ids, mask, language in zip(
                    batch["input_ids"], batch["attention_mask"], batch["language"], strict=True
                )
            ]
            for batch in batches
        ]
        for batches in found
    ] == expected
    assert [str(batch) for batch in found[0]] != [str(batch) for batch in found[1]]
    for batch in found[0] + found[1]:
        assert len(set(batch["language"].tolist())) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("hides", [True, False])
def test_workers_that_are_to_last_do_so_where_the_batches_need_no_epoch(tiny_model, blocks, tmp_path, hides):
    args = BilingualDistillationArguments(
        output_dir=str(tmp_path),
        report_to="none",
        use_cpu=True,
        masked_share=0.3 if hides else 0.0,
        dataloader_num_workers=1,
        dataloader_persistent_workers=True,
    )
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    tokenizer = type("Tokenizer", (), {"mask_token_id": 3, "all_special_ids": (0, 1, 2, 3)})()
    trainer = BilingualDistillationTrainer(
        student, args, teacher=teacher, train_dataset=blocks, eval_dataset=blocks, processing_class=tokenizer
    )
    loader = trainer.get_train_dataloader()
    found = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        # What of a row is left to see, by its language and its length: of "sw" every row is in each epoch.
        found.append({tuple(row) for batch in loader for row in batch["input_ids"].tolist()})
    assert found[0] == found[2]
    assert (len(multiprocessing.active_children()) == 0) is hides
    shared = found[0] & found[1]
    assert len(shared) < 3 if hides else len(shared) >= SIZES["sw"]
    del loader
    before = len(multiprocessing.active_children())
    trainer.evaluate()
    trainer.evaluate()
    assert len(multiprocessing.active_children()) <= before, "accelerate keeps the loader of each evaluation"


def test_a_language_without_a_block_is_refused_by_name_before_training(tiny_model, blocks, tmp_path):
    for empty, message in (
        ({"en": blocks.parts[0], "sw": []}, "corpus of 'sw' = '0 blocks': there is no text to learn from"),
        ({}, "languages = []: there is no language to learn"),
    ):
        args = BilingualDistillationArguments(output_dir=str(tmp_path / "out"), report_to="none", use_cpu=True)
        student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
        with pytest.raises(InputError, match=re.escape(message)):
            BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=BilingualBlocks(empty))
        trainer = BilingualDistillationTrainer(student, args, teacher=teacher, train_dataset=blocks)
        trainer.train_dataset = BilingualBlocks(empty)
        with pytest.raises(InputError, match=re.escape(message)):
            trainer.train()
