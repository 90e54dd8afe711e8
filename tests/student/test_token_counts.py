from collections import Counter
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bistill_hub.errors import InputError
from bistill_hub.student import token_counts
from bistill_hub.student.token_counts import TokenCounter, count_tokens, encode_in_batches

WORDS = st.sampled_from(
    ["the", "school", "shule", "mpya", "rivière", "é", "e\u0301", "孩子", "ﬁ", "①", "\u0301", "👍🏽", "\t", ""]
)
LINES = st.lists(st.lists(WORDS, max_size=8).map(" ".join) | st.text(max_size=6) | WORDS.map(lambda word: word * 300))


def test_counts_are_those_of_a_loop_over_the_tokens(tokenizer, text):
    counted = count_tokens(tokenizer, text["sw"], batch_size=3)
    expected = np.zeros(len(tokenizer), dtype=np.int64)
    for line in text["sw"]:
        for identifier in tokenizer(line, add_special_tokens=False)["input_ids"]:
            expected[identifier] += 1
    assert counted.counts.dtype == np.int64
    np.testing.assert_array_equal(counted.counts, expected)
    assert counted.total == expected.sum()
    assert counted.lines == len(text["sw"])


def test_lines_may_come_from_a_generator_and_the_batch_size_does_not_matter(tokenizer, text):
    streamed = count_tokens(tokenizer, (line for line in text["en"]), batch_size=1)
    np.testing.assert_array_equal(streamed.counts, count_tokens(tokenizer, text["en"]).counts)


def test_characters_are_those_after_normalisation(wordpiece):
    # NUL and the soft hyphen do not outlive BERT's normaliser; the accent does in a cased model.
    counted = count_tokens(wordpiece, ["é\u0000a\u00adb"])
    assert counted.characters == frozenset("éab")


def test_truncation_and_padding_left_by_an_earlier_call_change_nothing(tokenizer, text):
    expected = count_tokens(tokenizer, text["en"])
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    try:
        np.testing.assert_array_equal(count_tokens(tokenizer, text["en"]).counts, expected.counts)
        assert tokenizer.backend_tokenizer.truncation["max_length"] == 4
    finally:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()


def test_counts_cannot_be_written_to(wordpiece, text):
    with pytest.raises(ValueError, match="read-only"):
        count_tokens(wordpiece, text["en"]).counts[0] = 1


@pytest.mark.parametrize("lines", [[], ["", " "]])
def test_an_empty_corpus_is_refused_by_the_name_of_its_language(wordpiece, lines):
    with pytest.raises(InputError, match="corpus of Kiswahili holds no token"):
        count_tokens(wordpiece, lines, language="Kiswahili")


def test_a_single_string_is_not_a_corpus(wordpiece):
    with pytest.raises(InputError, match="not one string"):
        count_tokens(wordpiece, "a sentence")


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(InputError, match="fast tokenizer"):
        count_tokens(SimpleNamespace(is_fast=False), ["a"])


def test_the_progress_bar_is_silent_unless_asked_for(wordpiece, text, capsys):
    count_tokens(wordpiece, text["en"])
    assert capsys.readouterr().err == ""


@given(lines=LINES, batch_size=st.integers(1, 5), batch_characters=st.sampled_from([1, 40, 10**6]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_lines_are_counted_as_a_counter_counts_them(tokenizer, monkeypatch, lines, batch_size, batch_characters):
    monkeypatch.setattr(token_counts, "BATCH_CHARACTERS", batch_characters)
    lines = ["a line that is never empty", *lines]
    counted = count_tokens(tokenizer, iter(lines), batch_size)
    backend = tokenizer.backend_tokenizer
    expected = Counter(chain.from_iterable(backend.encode(line, add_special_tokens=False).ids for line in lines))
    assert {int(token): int(counted.counts[token]) for token in np.flatnonzero(counted.counts)} == expected
    assert counted.total == expected.total()
    assert counted.lines == len(lines)
    normalized = (backend.normalizer.normalize_str(line) for line in lines)
    assert counted.characters == frozenset(chain.from_iterable(normalized))


def test_a_batch_ends_with_the_line_that_fills_it_and_reads_no_further(wordpiece, monkeypatch):
    monkeypatch.setattr(token_counts, "BATCH_CHARACTERS", 10)
    lines = ["aaaa", "bbbb", "cccc", "d" * 50, "", "e", "f", "g"]
    read = []

    def text():
        for line in lines:
            read.append(line)
            yield line

    batches = []
    for batch, encodings in encode_in_batches(wordpiece.backend_tokenizer, text(), batch_size=3):
        batches.append(batch)
        assert len(encodings) == len(batch)
        assert read == list(chain.from_iterable(batches))
    assert batches == [["aaaa", "bbbb", "cccc"], ["d" * 50], ["", "e", "f"], ["g"]]


@given(
    parts=st.lists(st.lists(st.lists(st.integers(0, 9), max_size=20), max_size=5), max_size=5),
    at_a_time=st.integers(1, 30),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_are_counted_however_many_wait_and_however_often_they_are_asked_for(monkeypatch, parts, at_a_time):
    monkeypatch.setattr(token_counts, "IDS_AT_A_TIME", at_a_time)
    counter, expected = TokenCounter(10), Counter()
    for part in parts:
        counter.add(iter(part))
        expected.update(chain.from_iterable(part))
        counts = counter.counts()
        assert counts.tolist() == [expected[token] for token in range(10)]
        assert not counts.flags.writeable


def test_ids_wait_to_be_counted_together_until_there_are_enough(monkeypatch):
    monkeypatch.setattr(token_counts, "IDS_AT_A_TIME", 3)
    times = []
    monkeypatch.setattr(token_counts.np, "add", SimpleNamespace(at=lambda counts, ids, one: times.append(ids.tolist())))
    counter = TokenCounter(10)
    for part in ([1], [2]), ([3], [4, 5]), ([6, 7],), ([0, 1, 2, 3], [8]), ([9],):
        counter.add(part)
    counter.counts()
    assert times == [[1, 2, 3], [4, 5], [6, 7], [0, 1, 2, 3], [8, 9]]
