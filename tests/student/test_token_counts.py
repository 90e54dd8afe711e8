from types import SimpleNamespace

import numpy as np
import pytest

from bistill_hub.errors import InputError
from bistill_hub.student.token_counts import count_tokens


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
