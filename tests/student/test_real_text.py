"""The promises of trimming, on real text in all its languages and scripts: each eighth line, or all lines and kinds."""

import os
from pathlib import Path

import numpy as np
import pytest
from tokenizer_kinds import KINDS

from bistill_hub.student.token_counts import TokenCounts
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

pytestmark = pytest.mark.real_data

CHECKOUT = Path(__file__).resolve().parents[2]
PIECES = 8_000
QUICK_KINDS = ("wordpiece", "unigram", "deberta unigram", "byte-level bpe", "byte-fallback bpe")


@pytest.fixture(scope="module")
def lines():
    folder = Path(os.environ.get("BISTILL_TEST_DATA") or CHECKOUT.parent / "shared" / "data") / "text"
    files = sorted(folder.glob("*.txt"))
    if len(files) < 2:
        pytest.skip("set BISTILL_TEST_DATA to a folder with text/en.txt, text/sw.txt and other languages beside them")
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def counted(tokenizer, lines, encodings):
    """What `count_tokens` finds, from encodings that are at hand (reading all lines twice would take a minute more)."""
    counts = np.bincount(
        [identifier for encoding in encodings for identifier in encoding.ids], minlength=len(tokenizer)
    )
    return TokenCounts(
        counts,
        int(counts.sum()),
        frozenset().union(*map(tokenizer.backend_tokenizer.normalizer.normalize_str, lines)),
        len(lines),
    )


@pytest.mark.parametrize(
    ("kind", "every"),
    [(kind, 8) for kind in QUICK_KINDS] + [pytest.param(kind, 1, marks=pytest.mark.whole) for kind in KINDS],
)
def test_every_line_whose_pieces_are_all_kept_is_split_as_before(lines, kind, every, capsys):
    teacher = KINDS[kind](lines[::30], PIECES)
    lines = lines[::every]
    before = teacher.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    # Two corpora, which together are half of the lines. The threshold drops what is rare in both of them.
    counts = {name: counted(teacher, lines[at::4], before[at::4]) for at, name in enumerate(["first", "second"])}
    token_map = select_tokens(teacher, counts, 2e-5)
    student = trim_tokenizer(teacher, token_map)
    after = student.backend_tokenizer.encode_batch_fast(lines, add_special_tokens=False)

    new_ids = {old: new for new, old in enumerate(token_map.tolist())}
    characters = counts["first"].characters | counts["second"].characters
    unknown = new_ids.pop(teacher.unk_token_id)
    normalize = teacher.backend_tokenizer.normalizer.normalize_str
    checked = with_dropped = of_known_characters = 0
    for line, one, two in zip(lines, before, after, strict=True):
        expected = [new_ids.get(identifier) for identifier in one.ids]
        if None not in expected:
            checked += 1
            assert two.ids == expected, line
        elif teacher.unk_token_id not in one.ids:
            with_dropped += 1
            if characters.issuperset(normalize(line)):
                of_known_characters += 1
                assert unknown not in two.ids, line
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{kind}: {len(teacher)} pieces, {len(student)} kept; {len(lines)} lines, {checked} split as before, "
            f"{with_dropped / len(lines):.2%} with dropped pieces"
        )
    assert len(student) < len(teacher)
    assert checked > len(lines) / 2
    assert of_known_characters / len(lines) > 0.01
