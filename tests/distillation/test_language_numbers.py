"""Whatever the order of a data set's languages, the teacher speaks the right one, or says that it cannot."""

import pytest
import torch
from test_language_teacher import random_delta

from bistill_hub import (
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    InputError,
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
)
from bistill_hub.corpora import BilingualBlocks
from bistill_hub.distillation.language_teacher import LanguageTeacher

QUIET = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "logging_steps": 1}


@pytest.fixture
def text():
    generator = torch.Generator().manual_seed(3)
    return {
        language: [{"input_ids": torch.randint(5, 60, (12,), generator=generator).tolist()} for _ in range(6)]
        for language in ("en", "sw", "yo")
    }


def pair_of(text, *languages):
    return BilingualBlocks({language: text[language] for language in languages})


def trainer_of(tiny_model, folder, train, *, eval_dataset=None, languages=(), deltas=("en", "sw"), steps=2):
    args = BilingualDistillationArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=3, per_device_eval_batch_size=4, **QUIET
    )
    student, teacher = tiny_model(layers=2, seed=1), tiny_model(layers=4, seed=0)
    worn = {language: random_delta(teacher, seed) for seed, language in enumerate(deltas)}
    voice = LanguageTeacher(teacher, worn, languages)
    return BilingualDistillationTrainer(student, args, teacher=voice, train_dataset=train, eval_dataset=eval_dataset)


def loss_under(trainer, blocks, language):
    """The loss on rows that do not say their language, which the teacher is told instead."""
    trainer.teacher.speak(language)
    return trainer.evaluate(blocks)["eval_loss"]


def test_held_out_text_in_any_order_and_of_one_language_is_compared_in_its_own(tiny_model, text, tmp_path):
    trainer = trainer_of(tiny_model, tmp_path, pair_of(text, "en", "sw"))
    expected = {language: loss_under(trainer, text[language], language) for language in ("en", "sw")}
    assert len({*expected.values(), loss_under(trainer, text["sw"], "en")}) == 3
    for language in ("en", "sw"):
        found = trainer.evaluate(pair_of(text, language))["eval_loss"]
        assert found == pytest.approx(expected[language], rel=1e-6)
    mean = sum(expected.values()) / 2  # both have as many tokens
    for order in (("en", "sw"), ("sw", "en")):
        assert trainer.evaluate(pair_of(text, *order))["eval_loss"] == pytest.approx(mean, rel=1e-6)


def test_training_text_is_taught_in_its_own_language_whatever_the_order_of_the_teachers(tiny_model, text, tmp_path):
    logs = []
    for languages in ((), ("sw", "yo", "en")):
        trainer = trainer_of(tiny_model, tmp_path, pair_of(text, "en", "sw"), languages=languages)
        trainer.train()
        logs.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert len(logs[0]) == 2
    assert logs[0] == logs[1]


def test_held_out_sets_with_names_are_each_evaluated_in_batches_of_one_language(tiny_model, text, tmp_path):
    sets = {"both": pair_of(text, "sw", "en"), "rest": pair_of(text, "sw"), "plain": text["en"]}
    trainer = trainer_of(tiny_model, tmp_path, pair_of(text, "en", "sw"), eval_dataset=sets)
    found = trainer.evaluate()
    for name, blocks in sets.items():
        assert found[f"eval_{name}_loss"] == pytest.approx(trainer.evaluate(blocks)["eval_loss"], rel=1e-6)


def test_a_language_that_the_teacher_does_not_name_is_refused_before_training(tiny_model, text, tmp_path):
    message = (
        r"languages of the teacher = \['en', 'sw'\]: there are data in 'yo', which it does not name\. Pass languages="
    )
    pair, three = pair_of(text, "en", "sw"), pair_of(text, "en", "sw", "yo")
    with pytest.raises(InputError, match=message):
        trainer_of(tiny_model, tmp_path, three, languages=("en", "sw"))
    for held_out in (three, {"pair": pair, "yo": pair_of(text, "yo")}):
        with pytest.raises(InputError, match=message):
            trainer_of(tiny_model, tmp_path, pair, eval_dataset=held_out)
    with pytest.raises(InputError, match=message):
        trainer_of(tiny_model, tmp_path, pair).evaluate(pair_of(text, "yo"))
    with pytest.raises(InputError, match=r"languages of the teacher = \[\]: there are data in 'en'"):
        trainer_of(tiny_model, tmp_path, text["en"], eval_dataset=pair)


def test_a_teacher_without_deltas_is_asked_for_no_language(tiny_model, text, tmp_path):
    trainer = trainer_of(tiny_model, tmp_path, pair_of(text, "en", "sw"), deltas=())
    assert trainer.evaluate(pair_of(text, "yo"))["eval_loss"] > 0


def test_rows_without_a_language_are_evaluated_as_the_user_had_the_teacher_speak(tiny_model, text, tmp_path):
    trainer = trainer_of(tiny_model, tmp_path, pair_of(text, "en", "sw"))
    bare = trainer.evaluate(text["yo"])["eval_loss"]
    trainer.evaluate(pair_of(text, "sw"))
    assert trainer.evaluate(text["yo"])["eval_loss"] == bare, "what a batch was in does not last"
    spoken = loss_under(trainer, text["yo"], "sw")
    trainer.evaluate(pair_of(text, "en"))
    assert trainer.evaluate(text["yo"])["eval_loss"] == spoken != bare


def test_task_data_are_taught_in_the_language_that_the_teacher_was_told(tiny_model, uneven_rows, tmp_path):
    labels = ("O", "B-PER", "I-PER")

    def log_under(adapt):
        student, teacher = (tiny_model(layers=layers, seed=layers, labels=labels) for layers in (2, 4))
        args = SparseTaskDistillationArguments(
            output_dir=str(tmp_path), dense_max_steps=2, max_steps=2, density=0.1, learning_rate=1e-3, **QUIET
        )
        taught = adapt(teacher, random_delta(tiny_model(layers=4), 1))
        trainer = SparseTaskDistillationTrainer(student, args, teacher=taught, train_dataset=uneven_rows(8))
        trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    def told(teacher, delta):
        voice = LanguageTeacher(teacher, {"en": delta}, ["en"])
        voice.speak("en")
        return voice

    def never_told(teacher, delta):
        return LanguageTeacher(teacher, {"en": delta}, ["en"])

    by_hand = log_under(lambda teacher, delta: delta.apply(teacher))
    bare = log_under(lambda teacher, delta: teacher)
    assert log_under(told) == pytest.approx(by_hand, rel=1e-6)
    assert log_under(never_told) == bare != by_hand
