"""The answer metric against hand-worked cases and an implementation that shares nothing with it."""

import unicodedata

import evaluate
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bistill_hub.metrics import span_answers as module
from bistill_hub.metrics.span_answers import SpanAnswers

ASCII_PUNCTUATION = {chr(code) for code in range(33, 127) if not chr(code).isalnum()}
# Words that normalisation treats in a way of its own, and whatever Unicode has.
PIECES = st.sampled_from(
    ["a", "The", "an", "THE", "theatre", "anna", "Dodoma", "dodoma", "1,5", "U.S.", "the-end", "don't", "Ä", "«the»",
     "¿a?", "İ", "ß", "的", "the的", "\u00a0", "\u2028", "\t", " ", "...", "_the_", "a_b", "é", "e\u0301", "\u200b"]
)  # fmt: skip
ANSWERS = st.one_of(st.lists(PIECES, max_size=6).map(" ".join), st.lists(PIECES, max_size=6).map("".join), st.text())
ANSWERS = ANSWERS.filter(lambda text: not any(unicodedata.category(c) == "Cs" for c in text))


def score(predictions, references):
    return SpanAnswers(keep_in_memory=True).compute(predictions=predictions, references=references)


def is_word_character(character):
    return character == "_" or character.isalnum()


def words(answer):
    """Normalise letter by letter: lower case, no punctuation, then articles that no word character touches."""
    kept = "".join(c for c in answer.lower() if c not in ASCII_PUNCTUATION)
    out, place = [], 0
    while place < len(kept):
        end = place
        while end < len(kept) and is_word_character(kept[end]):
            end += 1
        if end == place:
            out.append(kept[place])
            place += 1
        else:
            out.append(" " if kept[place:end] in ("a", "an", "the") else kept[place:end])
            place = end
    return "".join(out).split()


def word_f1(predicted, gold):
    left = list(gold)
    same = 0
    for word in predicted:
        if word in left:
            left.remove(word)
            same += 1
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted), same / len(gold)
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3)), min_size=1, max_size=4))
@example([("the", ["a"]), ("", ["!"])])
def test_scores_agree_with_a_second_implementation_on_any_strings(rows):
    expected_f1, expected_match = [], []
    for predicted, answers in rows:
        expected_f1.append(max(word_f1(words(predicted), words(answer)) for answer in answers))
        expected_match.append(max(float(words(predicted) == words(answer)) for answer in answers))
        # Not through `compute`, which takes milliseconds a call to write its table.
        assert module.f1(predicted, answers) == pytest.approx(expected_f1[-1], abs=1e-12)
        assert module.exact_match(predicted, answers) == expected_match[-1]
    if len(rows) == 4:
        found = score([predicted for predicted, _ in rows], [answers for _, answers in rows])
        assert found["f1"] == pytest.approx(sum(expected_f1) / 4, abs=1e-12)
        assert found["exact_match"] == pytest.approx(sum(expected_match) / 4, abs=1e-12)
        assert found["number"] == 4.0
        assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The  Lake\tVictoria!", "lake victoria"),
        ("a U.S. plan", "us plan"),
        ("an an-other theatre", "another theatre"),
        ("The-end of 1,500 men's", "theend of 1500 mens"),
        ("“the” coast", "“ ” coast"),
        ("the", ""),
    ],
)
def test_answers_are_normalised_as_squad_does(answer, expected):
    assert module.normalised(answer) == expected


def test_words_count_as_often_as_both_have_them():
    # Prediction 4 words, gold 3, of which "ya" once and "jiji" in both: precision 2/4, recall 2/3.
    found = score(["jiji ya ya kale"], [["jiji ya Dodoma"]])
    assert found["f1"] == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert found["exact_match"] == 0.0


def test_the_best_gold_answer_counts_and_the_mean_is_over_questions():
    found = score(["Mount Kenya", "1963"], [["Kenya", "the Mount Kenya"], ["in 1964"]])
    assert found == {"f1": 0.5, "exact_match": 0.5, "number": 2.0}


def test_no_answer_scores_nought():
    assert score([""], [["Dodoma"]]) == {"f1": 0.0, "exact_match": 0.0, "number": 1.0}


def test_an_answer_of_articles_alone_matches_and_has_no_word_for_f1():
    assert score(["the"], [["a"]]) == {"f1": 0.0, "exact_match": 1.0, "number": 1.0}


def test_a_question_without_gold_answers_is_refused():
    with pytest.raises(ValueError, match="question 1 has no gold answer"):
        score(["a", "b"], [["a"], []])


def test_the_file_alone_loads_through_evaluate_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    metric = evaluate.load(module.__file__, cache_dir=str(tmp_path))
    assert metric.compute(predictions=["The coast"], references=[["coast."]])["f1"] == 1.0
    assert "SQuAD" in metric.description
    assert "rajpurkar" in metric.citation


def test_batches_may_be_added_one_by_one():
    metric = SpanAnswers(keep_in_memory=True)
    metric.add_batch(predictions=["Dodoma"], references=[["Dodoma"]])
    metric.add_batch(predictions=["Tanga"], references=[["Dodoma", "Arusha"]])
    assert metric.compute()["f1"] == 0.5


@pytest.mark.parametrize(
    ("language", "answer", "expected"),
    [
        # Articles go with what stands alone, punctuation with what it is attached to.
        ("en", "The “Lake” of a U.S.–plan", "lake of usplan"),
        ("es", "¿El Niño, la niña y unas leyes?", "niño niña y leyes"),
        ("es", "una unidad", "unidad"),
        ("de", "»Der Bau des Domes«, einer derer", "bau domes derer"),
        # The two letters of the article vanish inside words too: at the front, and in the middle of the third word.
        ("ar", "الكتاب، والقلم", "كتاب و قلم"),
        ("ar", "سؤال؟", "سؤ"),
        ("vi", "Những cái bàn là của tôi.", "bàn tôi"),
        ("vi", "Hà Nội", "hà nội"),
        ("hi", "भारत की राजधानी।", "भारत की राजधानी"),
        ("hi", "the 5%", "the 5"),
        ("zh", "北京，中国", "北 京 中 国"),
        ("zh", "在Windows 10上", "在 windows 10 上"),
        ("zh", "《红楼梦》 vol. 2", "红 楼 梦 vol 2"),
    ],
)
def test_answers_are_normalised_as_mlqa_does_in_their_language(language, answer, expected):
    assert module.normalised(answer, language) == expected


def test_the_language_changes_what_counts_as_a_word():
    # Characters: prediction 北 京 市, gold 北 京. Without the language each is one word, and they differ.
    found = SpanAnswers(keep_in_memory=True).compute(predictions=["北京市"], references=[["“北京”"]], language="zh")
    assert found == {"f1": pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1)), "exact_match": 0.0, "number": 1.0}
    assert score(["北京市"], [["“北京”"]])["f1"] == 0.0
    assert module.exact_match("dem Haus", ["das Haus!"], "de") == 1.0
    assert module.exact_match("dem Haus", ["das Haus!"]) == 0.0
    # English under MLQA differs from SQuAD in punctuation beyond ASCII alone.
    assert module.exact_match("the coast", ["“coast”"], "en") == 1.0
    assert module.exact_match("the coast", ["“coast”"]) == 0.0


def test_a_language_that_mlqa_lacks_is_refused():
    with pytest.raises(ValueError, match="'sw' is not a language of MLQA, which are ar, de, en, es, hi, vi, zh"):
        module.f1("jiji", ["jiji"], "sw")


def mlqa_words(answer, language):
    """Cut an answer into words letter by letter, in the order that MLQA's paper describes."""
    kept = []
    for character in answer.lower():
        if not (unicodedata.category(character)[0] == "P" or character in ASCII_PUNCTUATION):
            kept.append(character)
    articles = {"en": "a an the", "es": "un una unos unas el la los las", "zh": ""}[language].split()
    words, word = [], ""
    for character in [*kept, " "]:
        chinese = language == "zh" and 0x4E00 <= ord(character) <= 0x9FA5
        if chinese or not is_word_character(character):
            words += [word, character] if chinese or not character.isspace() else [word, " "]
            word = ""
        else:
            word += character
    joined = "".join((f" {w} " if len(w) == 1 and 0x4E00 <= ord(w) <= 0x9FA5 and language == "zh" else w)
                     if w not in articles else " " for w in words)  # fmt: skip
    return joined.split()


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.sampled_from(["en", "es", "zh"]))
@example("el的 1。2", "es")
@example("的a的", "zh")
def test_words_of_a_language_agree_with_a_second_implementation_on_any_strings(answer, language):
    assert module.normalised(answer, language).split() == mlqa_words(answer, language)
