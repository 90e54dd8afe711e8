"""`bistill inspect` prints and draws what a cut would give; bad input gets one sentence and exit code 2."""

import json
import re

import pytest
from click.testing import CliRunner

from bistill_hub import cli
from bistill_hub.student import inspection
from bistill_hub.student.inspection import inspect_cut

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def inspect(tiny_teacher_dirs, text_files, tmp_path, monkeypatch):
    """Run the command in a folder of its own, with everything right but what is passed."""
    monkeypatch.chdir(tmp_path)

    def call(*words, teacher=tiny_teacher_dirs["bert"], source="en", target="sw", corpora=None):
        if corpora is None:
            corpora = [f"{code}={file}" for code, file in text_files.items()]
        given = [str(teacher), "--source", source, "--target", target, *(f"--corpus={word}" for word in corpora)]
        return CliRunner().invoke(cli.main, ["inspect", *given, *map(str, words)])

    return call


@pytest.fixture
def attempt(inspect, monkeypatch):
    """The same; fails the test if any text is read."""

    def begun(*_args, **_kwargs):
        raise AssertionError("text was read")

    monkeypatch.setattr(inspection, "count_tokens", begun)
    return inspect


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    (error,) = result.stderr.strip().splitlines()
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


def numbers(report):
    """The report's numbers as the tables write them."""
    for size in (report.teacher_size, *report.cuts.values()):
        yield from (f"{size.tokens:,}", f"{size.parameters:,}", f"{100 * size.share_of(report.teacher_size):.1f}")
    for language in report.vocabulary.languages.values():
        yield from (f"{language.corpus_tokens:,}", f"{100 * language.corpus_tokens_kept:.3f}")
    for threshold in report.thresholds:
        yield from (f"{threshold.min_token_probability:g}", f"{threshold.tokens:,}")


def test_a_size_instead_of_a_threshold(inspect, tmp_path):
    named = tmp_path / "named.txt"
    named.write_text("Nairobi\n", encoding="utf-8")
    words = ("--vocabulary-size", 150, "--multiple-of", 64, "--must-keep", named)
    result = inspect(*words, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["vocabulary"]["tokens_after"], report["vocabulary_size"]) == (192, 150)
    assert report["min_token_probability"] is None
    shown = inspect(*words)
    assert "150 tokens asked for" in shown.stdout
    assert (tmp_path / "bert-en-sw.png").read_bytes().startswith(PNG)


def test_tables_and_picture_tell_what_the_library_finds(inspect, tiny_teacher_dirs, world_lines, tmp_path):
    result = inspect("--min-token-probability", 3e-3, "--factor", 2, "--factor", 6)
    assert result.exit_code == 0, result.output
    report = inspect_cut(
        tiny_teacher_dirs["bert"], world_lines, layer_reduction_factors=(2, 6), min_token_probability=3e-3
    )
    for number in numbers(report):
        assert number in result.stdout
    assert "…" not in result.stdout
    assert re.search("language *┃ *tokens *┃ *kept % *┃ *lines *┃ *cut lines % *┃ *unknown %", result.stdout)
    assert "LRF 6" in result.stdout
    assert "LRF 1 " not in result.stdout
    assert "The picture is in bert-en-sw.png" in result.stdout
    assert (tmp_path / "bert-en-sw.png").read_bytes().startswith(PNG)


def test_json_is_all_that_standard_output_holds(inspect, tiny_teacher_dirs, world_lines, tmp_path):
    result = inspect("--json", "--picture", tmp_path / "mine.png", teacher=tiny_teacher_dirs["xlm-roberta"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(
        json.dumps(inspect_cut(tiny_teacher_dirs["xlm-roberta"], world_lines).to_dict())
    )
    assert f"The picture is in {tmp_path / 'mine.png'}" in result.stderr
    assert (tmp_path / "mine.png").read_bytes().startswith(PNG)


def test_no_picture_leaves_no_file(inspect, tmp_path):
    result = inspect("--no-picture")
    assert result.exit_code == 0, result.output
    assert "picture" not in result.stdout
    assert not list(tmp_path.iterdir())


def test_everything_right_begins(attempt):
    assert str(attempt().exception) == "text was read"


@pytest.mark.parametrize("word", ["en.txt", "=en.txt", "en="])
def test_a_corpus_without_language_or_file(attempt, word):
    refused(attempt(corpora=[word]), f"--corpus = {word!r}", "CODE=FILE", "Write it as sw=sw.txt")


def test_a_language_given_twice(attempt, text_files):
    word = f"en={text_files['en']}"
    refused(attempt(corpora=[word, word]), "--corpus = 'en': given twice", "Name each language once")


def test_a_corpus_of_another_language(attempt, text_files):
    words = [f"{code}={text_files['en']}" for code in ("en", "sw", "yo")]
    refused(attempt(corpora=words), "--corpus = 'yo'", "not a language of the pair en-sw", "Give text of en and sw")


def test_a_language_without_a_corpus(attempt, text_files):
    words = [f"en={text_files['en']}"]
    refused(attempt(corpora=words), "--target = 'sw'", "no text of this language", "Add --corpus sw=FILE")


def test_a_pair_of_one_language(attempt):
    refused(attempt(target="en"), "--target = 'en'", "same language", "Choose another")


def test_what_is_no_language_code(attempt, text_files):
    words = [f"{code}={text_files['en']}" for code in ("English", "sw")]
    refused(attempt(source="English", corpora=words), "--source.code = 'English'", "pattern", "Correct the value")


def test_a_missing_corpus(attempt, text_files):
    words = [f"en={text_files['en']}", "sw=/nowhere/sw.txt"]
    refused(attempt(corpora=words), "--corpus sw = '/nowhere/sw.txt'", "there is no such file", "Correct the path")


def test_an_empty_corpus(attempt, text_files, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    words = [f"en={text_files['en']}", f"sw={tmp_path / 'empty.txt'}"]
    refused(attempt(corpora=words), "--corpus sw", "empty.txt", "the file is empty")


def test_a_factor_that_does_not_divide_the_layers(attempt):
    refused(attempt("--factor", 4), "layer_reduction_factor = 4", "6 layers", "Choose one of [1, 2, 3, 6]")
    refused(attempt("--factor", 0), "layer_reduction_factor = 0", "6 layers")


@pytest.mark.parametrize("value", ["-0.5", "1.5", "nan"])
def test_a_threshold_that_is_no_probability(attempt, value):
    refused(attempt("--min-token-probability", value), f"min_token_probability = {value}", "not a probability")


@pytest.mark.parametrize(
    "words",
    [["--factor", "two"], ["--min-token-probability", "small"], ["--no-such-option"]],
    ids=lambda words: words[0],
)
def test_words_that_are_no_values_are_refused_with_the_usage(attempt, words):
    result = attempt(*words)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert words[0] in result.stderr
    assert "Traceback" not in result.stderr


def test_a_teacher_that_there_is_not(attempt, tmp_path):
    refused(attempt(teacher=tmp_path), tmp_path, "cannot be loaded", "config.json")


def test_a_teacher_of_an_unsupported_architecture(attempt, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    refused(attempt(teacher=tmp_path), "model_type = 'gpt2'", "not supported", "bert")


def test_a_place_for_the_picture_that_cannot_be_written(attempt, tmp_path):
    refused(attempt("--picture", tmp_path / "a.txt"), "--picture", "a.txt", "PNG", "end in .png")
    refused(attempt("--picture", tmp_path / "absent" / "a.png"), "--picture", "there is no such folder")
    (tmp_path / "a.png").mkdir()
    refused(attempt("--picture", tmp_path / "a.png"), "--picture", "this is a folder")


def test_a_picture_and_none(attempt):
    refused(attempt("--picture", "a.png", "--no-picture"), "--picture = 'a.png'", "Leave out one of the two")
