"""`bistill trim` makes a pair that computes what its teacher does; bad input gets one sentence and exit code 2."""

import json
import shlex

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from bistill_hub import BistillError, cli
from bistill_hub.pipeline import executor, run
from bistill_hub.teacher import load_encoder


@pytest.fixture
def trim(tiny_teacher_dirs, text_files, tmp_path):
    """Run the command with everything right but what is passed."""

    def call(*words, teacher=tiny_teacher_dirs["bert"], source="en", target="sw", corpora=None, output=None):
        if corpora is None:
            corpora = [f"{code}={file}" for code, file in text_files.items()]
        given = [str(teacher), "--source", source, "--target", target, *(f"--corpus={word}" for word in corpora)]
        given += ["-o", str(output or tmp_path / "out"), *map(str, words)]
        return CliRunner().invoke(cli.main, ["trim", *given, "--speed-seconds", "0", "--quiet"])

    return call


@pytest.fixture
def attempt(trim, monkeypatch):
    """The same with a licence; fails the test if any stage is begun."""

    def begun(*_args, **_kwargs):
        raise AssertionError("a stage was begun")

    monkeypatch.setattr(executor, "complete", begun)
    return lambda *words, **changes: trim(*words, *(() if "--license" in words else ("--license", "mit")), **changes)


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    (error,) = result.stderr.strip().splitlines()
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_the_pair_computes_what_the_teacher_does_on_its_text(
    trim, tiny_teacher_dirs, tiny_teachers_not_by, world_lines, tmp_path, backbone
):
    folder = tiny_teacher_dirs[backbone]
    not_by = [f"--tokenizer-not-by={name}" for name in tiny_teachers_not_by[backbone]]
    result = trim("--license", "mit", "--source-name", "English", "--target-name", "Swahili", *not_by, teacher=folder)
    assert result.exit_code == 0, result.output
    repository = tmp_path / "out" / "package" / "repository"
    assert result.stdout.splitlines()[-1] == f"The pair is in {repository}"

    lines = world_lines["en"][:5] + world_lines["sw"][:5]
    teacher, teacher_tokenizer = load_encoder(str(folder)), AutoTokenizer.from_pretrained(folder)
    pair, tokenizer = AutoModel.from_pretrained(repository), AutoTokenizer.from_pretrained(repository)
    assert len(tokenizer) < len(teacher_tokenizer)
    for found, expected in zip(states(pair, tokenizer, lines), states(teacher, teacher_tokenizer, lines), strict=True):
        torch.testing.assert_close(found, expected)
    assert AutoModelForMaskedLM.from_pretrained(repository).config.vocab_size == len(tokenizer)

    for model, words in ((teacher, teacher_tokenizer), (pair, tokenizer)):
        count = sum(parameter.numel() for parameter in model.parameters())
        (row,) = (line for line in result.stdout.splitlines() if f"{count:,}" in line)
        assert f"{len(words):,}" in row
    card = (repository / "README.md").read_text()
    assert "license: mit" in card
    assert "English" in card
    assert "Swahili" in card
    assert f"bistill trim {backbone} --source en --target sw --corpus en=en.txt" in card
    shown = [word for name in tiny_teachers_not_by[backbone] for word in ("--tokenizer-not-by", name)]
    assert " ".join(["--min-token-probability 1e-06", *shown]) + "\n" in card
    assert str(folder.parent) not in card


def test_a_class_that_builds_another_tokenizer_is_named_by_an_option(attempt, tiny_teacher_dirs):
    refused(
        attempt(teacher=tiny_teacher_dirs["xlm-roberta"]),
        "--tokenizer-not-by = []: XLMRobertaTokenizer",
        "Give --tokenizer-not-by XLMRobertaTokenizer, and",
    )


def states(model, tokenizer, lines):
    """Last hidden states of each line, and how many layers gave them."""
    with torch.no_grad():
        found = [model(**tokenizer(line, return_tensors="pt"), output_hidden_states=True) for line in lines]
    return [torch.stack(outputs.hidden_states) for outputs in found]


def test_the_recipe_says_that_nothing_was_trained(trim, tmp_path):
    result = trim("--license", "mit", "--limits", "For tests.", "--name", "mine", "--min-token-probability", 3e-3)
    assert result.exit_code == 0, result.output
    recipe = json.loads((tmp_path / "out/package/repository/recipe.json").read_text())
    assert recipe["student"]["layer_reduction_factor"] == 1
    assert recipe["student"]["min_token_probability"] == 3e-3
    assert recipe["bilingual"]["steps"] == 0
    assert recipe["tasks"] == []
    assert (recipe["name"], recipe["limits"]) == ("mine", "For tests.")
    assert (recipe["source"]["name"], recipe["target"]["name"]) == ("en", "sw")


def test_the_command_on_the_card_gives_the_pair_its_names_licence_and_limits(trim, monkeypatch):
    given = []

    def begun(recipe, output, *, progress, command):
        given.append((recipe, shlex.split(command)))
        raise BistillError("a run was begun")

    monkeypatch.setattr(run, "run", begun)
    terms = ["--license", "other", "--license-name", "our own", "--license-link", "https://example.org/terms"]
    words = ["--source-name", "English", "--name", "mine", *terms, "--limits", "For tests."]
    assert "a run was begun" in trim(*words).stderr
    ((recipe, command),) = given
    stated = (recipe.license, recipe.license_name, recipe.license_link)
    assert stated == ("other", "our own", "https://example.org/terms")
    assert " ".join(words) in " ".join(command)
    assert "--target-name" not in command


def test_everything_right_begins(attempt):
    assert str(attempt().exception) == "a stage was begun"


def test_the_licence_must_be_given(trim, tmp_path):
    result = trim()
    assert result.exit_code == 2
    assert "Missing option '--license'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_licence(attempt):
    refused(attempt("--license", " "), "bistill trim: license = ' '", "Correct the value")


@pytest.mark.parametrize("value", ["-0.5", "1.5", "nan"])
def test_a_threshold_that_is_no_probability(attempt, value):
    refused(attempt("--min-token-probability", value), f"student.min_token_probability = {value}")


def test_a_name_that_cannot_be_one(attempt):
    refused(attempt("--name", "a/b"), "name = 'a/b'", "Correct the value")


def test_a_missing_corpus(attempt, text_files):
    words = [f"en={text_files['en']}", "sw=/nowhere/sw.txt"]
    refused(attempt(corpora=words), "--corpus sw = '/nowhere/sw.txt'", "there is no such file", "Correct the path")


def test_a_corpus_of_another_language(attempt, text_files):
    words = [f"{code}={text_files['en']}" for code in ("en", "sw", "yo")]
    refused(attempt(corpora=words), "--corpus = 'yo'", "not a language of the pair en-sw")


def test_a_language_given_twice(attempt, text_files):
    word = f"en={text_files['en']}"
    refused(attempt(corpora=[word, word]), "--corpus = 'en': given twice")


def test_a_corpus_of_blank_lines(attempt, text_files, tmp_path):
    (tmp_path / "blank.txt").write_text("\n  \n\n")
    words = [f"en={text_files['en']}", f"sw={tmp_path / 'blank.txt'}"]
    refused(attempt(corpora=words), "blank.txt", "there is no text", "non-empty line")


def test_a_teacher_that_there_is_not(attempt, tmp_path):
    refused(attempt(teacher=tmp_path / "absent"), "teacher.model", "absent", "cannot be loaded")


def test_an_output_that_is_a_file(attempt, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(attempt(output=tmp_path / "file"), "output", "nothing can be written there", "Choose a folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_threshold_that_is_no_number(attempt):
    result = attempt("--min-token-probability", "small")
    assert result.exit_code == 2
    assert "--min-token-probability" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_size_is_kept_rounded_up_and_with_the_tokens_that_were_named(trim, tiny_teacher_dirs, tmp_path):
    teacher = AutoTokenizer.from_pretrained(tiny_teacher_dirs["bert"])
    rare = max(teacher.get_vocab().items(), key=lambda entry: entry[1])[0]
    named = tmp_path / "named.txt"
    named.write_text(f"{rare}\n\n", encoding="utf-8")
    words = ("--license", "mit", "--vocabulary-size", 153, "--multiple-of", 8, "--must-keep", named)
    result = trim(*words)
    assert result.exit_code == 0, result.output
    repository = tmp_path / "out" / "package" / "repository"
    tokenizer, config = AutoTokenizer.from_pretrained(repository), json.loads((repository / "config.json").read_text())
    assert len(tokenizer) == config["vocab_size"] == 160
    assert rare in tokenizer.get_vocab()
    assert (config["vocabulary"]["size"], config["vocabulary"]["min_token_probability"]) == (160, None)
    card = (repository / "README.md").read_text(encoding="utf-8")
    assert (
        "160 of 400: the 153 most frequent of either corpus, rounded up to a multiple of 8, and 1 that were named"
        in card
    )
    assert "--vocabulary-size 153 --multiple-of 8 --must-keep named.txt" in card
    assert str(tmp_path) not in card


def test_a_file_of_tokens_that_cannot_be_used(attempt, tmp_path):
    named = tmp_path / "named.txt"
    named.write_text("Nairobi\n☃\n", encoding="utf-8")
    refused(attempt("--must-keep", named), "named.txt", "line 2", "☃", "unknown token")
    refused(attempt("--must-keep", tmp_path / "absent"), "absent", "cannot be read")
