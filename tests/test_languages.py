"""Languages: two codes of one, and a name."""

from bistill_hub.evaluation.benchmarks import BENCHMARKS
from bistill_hub.languages import language_name, other_code


def test_codes_go_both_ways():
    assert (other_code("sw"), other_code("swa"), other_code("pcm")) == ("swa", "sw", None)
    # Two letters are paired with three throughout, and no code stands for two languages.
    pairs = {code: other_code(code) for entry in BENCHMARKS.values() for code in entry.languages if other_code(code)}
    assert all({len(code), len(other)} == {2, 3} and other_code(other) == code for code, other in pairs.items())


def test_a_code_of_three_letters_has_the_present_code_of_two():
    assert [other_code(code) for code in ("heb", "ind", "yid", "tgl", "jav")] == ["he", "id", "yi", "tl", "jv"]


def test_every_language_of_a_benchmark_has_a_name_of_its_own():
    codes = {code for entry in BENCHMARKS.values() for code in entry.languages if code.isalpha()}
    names = {code: language_name(code) for code in codes}
    assert None not in names.values()
    assert len(set(names.values())) == len({min(code, other_code(code) or code) for code in codes})


def test_both_codes_have_one_name_and_what_is_no_language_has_none():
    assert language_name("yor") == language_name("yo") == "Yoruba"
    assert [language_name(code) for code in ("qqq", "en-US", "x", "", "english language")] == [None] * 5
