"""The benchmark of cutting a vocabulary runs from end to end, and its material is what it says."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

CHECKOUT = Path(__file__).resolve().parents[2]
SYLLABLES = ("ma", "to", "ki", "wa", "li", "ther", "ing", "tion", "é")
ROWS = (
    "machine",
    "threads of the tokenizer",
    "versions",
    "drawn from",
    "vocabulary, before and after",
    "the tokenizer alone",
    "count_tokens",
    "a loop, line by line",
    "time of count_tokens / tokenizer alone",
    "counting ids, a loop with a Counter",
    "counting ids, count_tokens",
    "time of counting, Counter / count_tokens",
    "select_tokens",
    "trim_tokenizer",
)


@pytest.fixture
def texts(tmp_path):
    paths = []
    for seed, name in enumerate(("one.txt", "two.txt")):
        chance = random.Random(seed)
        lines = [
            " ".join("".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(20)) for _ in range(200)
        ]
        paths.append(tmp_path / name)
        paths[-1].write_text("\n".join(lines), encoding="utf-8")
    return paths


@pytest.fixture(autouse=True)
def _from_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))


def test_a_small_cut_prints_all_rows_and_writes_all_measurements(texts, tmp_path):
    from benchmarks.vocabulary import main

    output = tmp_path / "measured.json"
    arguments = [argument for path in texts for argument in ("--text", str(path))]
    arguments += ["--megabytes", "0.3", "--tokens", "2000", "--kind", "wordpiece", "--output", str(output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    table = dict(map(str.strip, line.strip("|").split("|")) for line in result.output.splitlines())
    assert set(ROWS) <= table.keys()
    assert table["drawn from"] == "one.txt, two.txt"

    measured = json.loads(output.read_text(encoding="utf-8"))
    small, large = measured["cuts"]
    assert 300_000 <= large["bytes"] < 700_000
    assert small["bytes"] < large["bytes"]
    for each in (small, large):
        assert each["vocabulary"] == 2000
        assert 5 < each["vocabulary_kept"] < 2000
        assert each["megabytes_loaded"] <= each["megabytes_peak"]
        assert any("line_by_line" in sample for sample in each["samples"])
        assert all(sample["count_tokens"][0] > 0 and sample["alone"][0] > 0 for sample in each["samples"])


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "bpe"])
def test_made_tokenizers_have_their_size_and_know_their_text(texts, kind):
    from benchmarks.material import make_tokenizer

    made = make_tokenizer(kind, texts, 1500)
    assert sorted(made.get_vocab().values()) == list(range(1500))
    line = texts[0].read_text(encoding="utf-8").splitlines()[0]
    tokens = made.tokenize(line)
    assert made.unk_token not in tokens
    assert len(line.split()) <= len(tokens) < len(line) / 2
    made_again = make_tokenizer(kind, texts, 1500)
    assert made_again.get_vocab() == made.get_vocab()


def test_a_made_bpe_tokenizer_writes_what_it_does_not_know_in_bytes_and_can_be_cut(texts):
    from benchmarks.material import make_tokenizer

    made = make_tokenizer("bpe", texts, 1500)
    assert made.tokenize("☃") == ["<0xE2>", "<0x98>", "<0x83>"]
    pieces = set(made.get_vocab())
    merges = {tuple(merge) for merge in json.loads(made.backend_tokenizer.to_str())["model"]["merges"]}
    assert merges >= {("▁", "ma"), ("▁m", "a"), ("m", "a")}
    assert all({left, right, left + right} <= pieces for left, right in merges)

    lines = texts[0].read_text(encoding="utf-8").splitlines()
    counts = {"one": count_tokens(made, lines)}
    cut = trim_tokenizer(made, select_tokens(made, counts))
    assert 256 < len(cut) < 1500
    assert [cut.tokenize(line) for line in lines] == [made.tokenize(line) for line in lines]


def test_drawn_text_is_as_long_as_asked_and_alters_some_words(texts):
    from benchmarks.material import blocks

    drawn = list(blocks(texts[0], 0.2, lines=64, characters=10**6, seed=1))
    assert {len(block) for block in drawn} == {64}
    assert sum(len(line.encode()) + 1 for block in drawn[:-1] for line in block) < 0.2e6
    assert sum(len(line.encode()) + 1 for block in drawn for line in block) >= 0.2e6
    known = set(texts[0].read_text(encoding="utf-8").split())
    words = [word for block in drawn for line in block for word in line.split()]
    altered = sum(word not in known for word in words) / len(words)
    assert 0.01 < altered < 0.06  # shuffling gives some words back as they were
    assert list(blocks(texts[0], 0.2, lines=64, characters=10**6, seed=1)) == drawn
    assert all(len(block) < 64 for block in blocks(texts[0], 0.2, lines=64, characters=300, seed=1))
