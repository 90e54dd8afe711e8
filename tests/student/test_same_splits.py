"""The teacher's ids stand for the student's only where trimming promises it, and only for a trimmed tokenizer."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from tokenizer_kinds import KINDS
from tokenizers import Tokenizer, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bistill_hub.student.same_splits import new_ids_where_kept
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

LINES = (
    "The children walked to the river in the morning and came back before noon.",
    "Watoto walitembea hadi mtoni asubuhi na kurudi kabla ya saa sita mchana.",
    "Дети утром пошли к реке и вернулись до полудня.",
)


@cache
def teacher_of(kind):
    return KINDS[kind](LINES, 440)


def student_of(teacher, folder=None):
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, LINES[:1])}, 0.02)
    student = trim_tokenizer(teacher, token_map)
    if folder is None:
        return student, token_map
    student.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder), token_map


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_a_trimmed_tokenizer_that_was_saved_and_loaded_are_the_maps_but_for_the_unknown_token(kind, tmp_path):
    teacher = teacher_of(kind)
    student, token_map = student_of(teacher, tmp_path)
    new_ids = new_ids_where_kept(teacher, student, token_map)
    expected = np.full(len(teacher), -1)
    expected[token_map] = np.arange(len(token_map))
    assert expected[teacher.unk_token_id] >= 0
    expected[teacher.unk_token_id] = -1
    assert new_ids.tolist() == expected.tolist()
    assert len(token_map) < len(teacher)


def replaced(tokenizer, change):
    """A tokenizer with something else in its JSON."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    change(definition)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition)), unk_token=tokenizer.unk_token
    )


def another_normalizer(definition):
    definition["normalizer"] = json.loads(normalizers.Lowercase().__getstate__())


def another_pre_tokenizer(definition):
    definition["pre_tokenizer"] = None


def another_added_token(definition):
    definition["added_tokens"][-1]["lstrip"] ^= True


def another_score(definition):
    vocabulary = definition["model"]["vocab"]
    vocabulary[-2][1] = float(np.nextafter(vocabulary[-2][1], 0))


def one_merge_less(definition):
    definition["model"]["merges"].pop()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *((kind, another_normalizer) for kind in KINDS),
        *((kind, another_pre_tokenizer) for kind in KINDS if kind != "byte-level bpe"),
        *((kind, another_added_token) for kind in KINDS),
        ("unigram", another_score),
        ("deberta unigram", another_score),
        ("byte-level bpe", one_merge_less),
        ("byte-fallback bpe", one_merge_less),
    ],
)
def test_nothing_is_said_of_a_tokenizer_that_is_not_the_trimmed_one(kind, change):
    teacher = teacher_of(kind)
    student, token_map = student_of(teacher)
    assert new_ids_where_kept(teacher, replaced(student, lambda _: None), token_map) is not None
    assert new_ids_where_kept(teacher, replaced(student, change), token_map) is None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_where_special_tokens_in_text_are_read_otherwise_or_the_map_is_another(kind):
    teacher = teacher_of(kind)
    student, token_map = student_of(teacher)
    longer = torch.tensor(sorted({*token_map.tolist(), next(i for i in range(len(teacher)) if i not in token_map)}))
    assert new_ids_where_kept(teacher, student, longer) is None
    without_added = token_map[token_map != max(teacher.added_tokens_decoder)]
    assert new_ids_where_kept(teacher, student, without_added) is None
    student.backend_tokenizer.encode_special_tokens = True
    assert new_ids_where_kept(teacher, student, token_map) is None


def test_scores_of_more_digits_than_the_library_reads_exactly_do_not_hinder(tmp_path):
    # As sentencepiece trains them: 32-bit numbers, which have 17 digits as 64-bit ones.
    scores = (-np.random.default_rng(0).uniform(2, 18, 400)).astype(np.float32).astype(float).tolist()
    pieces = [("<unk>", 0.0), *((f"▁w{number}" if number % 2 else f"w{number}", s) for number, s in enumerate(scores))]
    pieces += [(character, -19.0) for character in "▁w0123456789"]
    backend = Tokenizer(models.Unigram(pieces, 0, byte_fallback=False))
    assert Tokenizer.from_str(backend.to_str()).to_str() != backend.to_str(), "some are read a unit off"
    teacher = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    student, token_map = student_of_words(teacher, tmp_path)
    assert (new_ids_where_kept(teacher, student, token_map) >= 0).sum() == len(token_map) - 1
    assert len(token_map) < len(teacher) - 100


def student_of_words(teacher, folder):
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, ["w0 w2 w4 w10 w12", "w6"])}, 1e-3)
    trim_tokenizer(teacher, token_map).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder), token_map
