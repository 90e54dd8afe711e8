import json

import pytest

from bistill_hub.errors import InputError
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer
from bistill_hub.student.vocabulary_report import vocabulary_report


def parts(tokenizer, corpora):
    counts = {language: count_tokens(tokenizer, lines) for language, lines in corpora.items()}
    token_map = select_tokens(tokenizer, counts)
    return counts, token_map, trim_tokenizer(tokenizer, token_map)


def test_on_the_counted_text_nothing_is_lost(tokenizer, text):
    corpora = {"en": text["en"], "sw": text["sw"]}
    counts, token_map, trimmed = parts(tokenizer, corpora)
    report = vocabulary_report(tokenizer, trimmed, token_map, counts, corpora)
    assert (report.tokens_before, report.tokens_after) == (len(tokenizer), len(token_map))
    for language in corpora:
        found = report.languages[language]
        assert found.corpus_tokens == counts[language].total
        assert (found.corpus_tokens_kept, found.lines_with_dropped_pieces) == (1.0, 0.0)
        assert (found.unknown_before, found.unknown_after) == (0.0, 0.0)
        assert found.fertility_before == found.fertility_after >= 1


def test_on_other_text_the_numbers_are_those_of_a_loop(tokenizer, text):
    counts, token_map, trimmed = parts(tokenizer, {"en": text["en"][:2]})
    lines = [*text["en"], *text["other"], "", "z ☃ z"]
    found = vocabulary_report(tokenizer, trimmed, token_map, counts, {"en": lines}, batch_size=3).languages["en"]
    before = [tokenizer(line, add_special_tokens=False)["input_ids"] for line in lines]
    after = [trimmed(line, add_special_tokens=False)["input_ids"] for line in lines]
    kept = set(token_map.tolist())
    words = sum(len(line.split()) for line in lines)
    assert found.lines == len(lines)
    assert found.lines_with_dropped_pieces == sum(not kept.issuperset(ids) for ids in before) / len(lines) > 0
    assert found.fertility_before == sum(map(len, before)) / words
    assert found.fertility_after == sum(map(len, after)) / words
    assert found.unknown_before == sum(ids.count(tokenizer.unk_token_id) for ids in before) / sum(map(len, before)) > 0
    assert found.unknown_after == sum(ids.count(trimmed.unk_token_id) for ids in after) / sum(map(len, after))
    assert found.unknown_after > found.unknown_before


def test_the_record_is_plain_json(tokenizer, text):
    counts, token_map, trimmed = parts(tokenizer, {"en": text["en"]})
    record = vocabulary_report(tokenizer, trimmed, token_map, counts, {"en": text["en"]}).to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["languages"]["en"]["lines"] == len(text["en"])


def test_languages_without_lines_and_lines_without_words_are_refused(tokenizer, text):
    counts, token_map, trimmed = parts(tokenizer, {"en": text["en"]})
    with pytest.raises(InputError, match="languages"):
        vocabulary_report(tokenizer, trimmed, token_map, counts, {"sw": text["sw"]})
    with pytest.raises(InputError, match="no words"):
        vocabulary_report(tokenizer, trimmed, token_map, counts, {"en": [" "]})
