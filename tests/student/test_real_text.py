"""The promise of trimming, on every line of real text: kept pieces are split as before."""

import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

pytestmark = pytest.mark.real_data

CHECKOUT = Path(__file__).resolve().parents[2]
PIECES = 32_000
PAIR = ("en", "sw")


@pytest.fixture(scope="module")
def text_by_language():
    folder = Path(os.environ.get("BISTILL_TEST_DATA") or CHECKOUT.parent / "shared" / "data") / "text"
    files = {language: folder / f"{language}.txt" for language in PAIR}
    if not all(file.is_file() for file in files.values()):
        pytest.skip("set BISTILL_TEST_DATA to a folder with text/en.txt, text/sw.txt and other languages beside them")
    return {file.stem: file.read_text(encoding="utf-8").splitlines() for file in sorted(folder.glob("*.txt"))}


@pytest.fixture(scope="module", params=["wordpiece", "unigram"])
def teacher_tokenizer(request, text_by_language, train_wordpiece, train_unigram):
    if request.param == "wordpiece":
        return train_wordpiece(chain.from_iterable(text_by_language.values()), PIECES)
    # Half of the lines of every language: training a Unigram model is most of this test's time.
    return train_unigram(chain.from_iterable(lines[::2] for lines in text_by_language.values()), PIECES)


def test_every_line_whose_pieces_are_all_kept_is_split_as_before(teacher_tokenizer, text_by_language, capsys):
    assert len(teacher_tokenizer) >= 30_000
    lines = {language: text_by_language[language] for language in PAIR}
    # Counted on the first four fifths, so that the rest holds pieces that were dropped; the default threshold is below
    # one occurrence in texts of this size, so that a piece is dropped when it was not seen at all.
    counts = {
        language: count_tokens(teacher_tokenizer, each[: len(each) * 4 // 5], language=language)
        for language, each in lines.items()
    }
    token_map = select_tokens(teacher_tokenizer, counts)
    trimmed = trim_tokenizer(teacher_tokenizer, token_map)
    kept = set(token_map.tolist()) - {teacher_tokenizer.unk_token_id}
    old_id = token_map.numpy()

    checked = with_dropped = 0
    for each in lines.values():
        before = teacher_tokenizer.backend_tokenizer.encode_batch_fast(each)
        after = trimmed.backend_tokenizer.encode_batch_fast(each)
        for line, one, two in zip(each, before, after, strict=True):
            if kept.issuperset(one.ids):
                checked += 1
                assert np.array_equal(old_id[two.ids], one.ids), line
            elif teacher_tokenizer.unk_token_id not in one.ids:
                with_dropped += 1
    total = sum(map(len, lines.values()))
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{type(teacher_tokenizer).__name__}: {len(teacher_tokenizer)} pieces, {len(trimmed)} kept; "
            f"{total} lines, {checked} split as before, {with_dropped / total:.2%} with dropped pieces"
        )
    assert checked > total / 2
    assert with_dropped / total > 0.01
