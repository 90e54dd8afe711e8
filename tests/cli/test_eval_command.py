"""`bistill eval` scores a pair as a run does, and answers bad input with one sentence and exit code 2."""

import json
import shutil
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from transformers import AutoModelForTokenClassification, AutoTokenizer

from bistill_hub import cli
from bistill_hub.evaluation import evaluate
from bistill_hub.evaluation.results import read_results


@pytest.fixture
def score():
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.main, ["eval", *map(str, words), "--quiet"])


@pytest.fixture
def attempt(score, runs, ner_files, monkeypatch):
    """Run the command with a right pair and task; fails the test if any weights are loaded."""

    def begun(*_args, **_kwargs):
        raise AssertionError("the pair was loaded")

    monkeypatch.setattr(evaluate, "evaluate_pair", begun)
    right = SimpleNamespace(en=f"en={ner_files['en']['test']}", sw=f"sw={ner_files['sw']['test']}")

    def call(*words, pair=runs["bert"].repository, task="ner", tests=(right.en, right.sw)):
        return score(pair, "--task", task, *(word for test in tests for word in ("--test", test)), *words)

    return call


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    # Reading a table shows a progress bar; the error is the last line.
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_scores_are_those_of_the_run(score, runs, ner_files, tmp_path, backbone):
    repository = runs[backbone].repository
    teacher = next(stage.folder for stage in runs[backbone].stages if stage.name == "ner teacher")
    words = [f"--test={code}={ner_files[code]['test']}" for code in ("en", "sw")]
    words += ["--teacher", teacher, "--max-length", 64, "--json", tmp_path / "scores.json"]
    result = score(repository, "--task", "ner", *words)
    assert result.exit_code == 0, result.output
    found = {(each.model, each.language): each for each in read_results(tmp_path / "scores.json")}
    expected = {(each.model, each.language): each for each in runs[backbone].results}
    assert list(found) == [("student", "en"), ("student", "sw"), ("teacher", "en"), ("teacher", "sw")]
    for key, each in found.items():
        assert (each.score, each.low, each.high, each.n) == pytest.approx(
            (expected[key].score, expected[key].low, expected[key].high, expected[key].n)
        )
        assert each.weights_sha256 == expected[key].weights_sha256
        assert f"{100 * each.score:.1f}" in result.stdout
    assert f"The scores are in {tmp_path / 'scores.json'}" in result.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["versions"]["transformers"]


def test_one_language_without_a_teacher_is_scored(score, runs, ner_files):
    result = score(runs["bert"].repository, "--task", "ner", f"--test=sw={ner_files['sw']['test']}")
    assert result.exit_code == 0, result.output
    student = next(each for each in runs["bert"].results if each.model == "student" and each.language == "sw")
    assert f"{100 * student.score:.1f}" in result.stdout
    assert "teacher" not in result.stdout


def test_a_source_may_be_given_as_json(score, runs, ner_files, tmp_path):
    source = json.dumps({"path": str(ner_files["sw"]["test"]), "label_map": {"B-ORG": "O", "I-ORG": "O"}})
    result = score(
        runs["bert"].repository, "--task", "ner", "--test", f"sw={source}", "--json", tmp_path / "scores.json"
    )
    assert result.exit_code == 0, result.output
    (found,) = read_results(tmp_path / "scores.json")
    assert found.n == 50
    assert not [name for name in found.scores if "ORG" in name and found.scores[name] > 0]


def test_everything_right_begins(attempt):
    assert str(attempt().exception) == "the pair was loaded"


@pytest.mark.parametrize("word", ["test.conll", "=test.conll", "sw="])
def test_a_test_set_without_language_or_file(attempt, word):
    refused(attempt(tests=[word]), f"--test = {word!r}", "CODE=FILE", "Write it as sw=test.conll")


def test_a_language_given_twice(attempt, ner_files):
    word = f"sw={ner_files['sw']['test']}"
    refused(attempt(tests=[word, word]), "--test = 'sw': given twice", "Name each language once")


def test_a_language_that_is_not_of_the_pair(attempt, ner_files):
    refused(attempt(tests=[f"yo={ner_files['sw']['test']}"]), "--test = 'yo'", "not a language", "Use en or sw")


def test_a_missing_file(attempt):
    refused(attempt(tests=["sw=/nowhere/sw.conll"]), "--test sw", "/nowhere/sw.conll", "no such file", "Correct")


def test_an_empty_file(attempt, tmp_path):
    (tmp_path / "empty.conll").write_text("")
    refused(attempt(tests=[f"sw={tmp_path / 'empty.conll'}"]), "empty.conll", "the file is empty")


def test_what_looks_like_json_and_is_not(attempt):
    refused(attempt(tests=['sw={"path": ']), "--test sw", "not JSON", "name a file")


def test_a_field_that_a_source_does_not_have(attempt):
    refused(attempt(tests=['sw={"path": "a", "colour": "red"}']), "--test sw.colour", "Remove it, or correct its name")


def test_a_data_set_without_a_split(attempt):
    refused(attempt(tests=['sw={"dataset": "org/data"}']), "--test sw.split", "needs `split`")


def test_a_test_set_that_is_malformed(attempt, tmp_path):
    (tmp_path / "bad.conll").write_text("Juma\tB-PER\nleo\tO-O\n\n")
    refused(attempt(tests=[f"sw={tmp_path / 'bad.conll'}"]), "bad.conll", "O-O")


def test_a_label_that_the_pair_does_not_know(attempt, tmp_path):
    (tmp_path / "more.conll").write_text("Juma\tB-PER\nleo\tB-DATE\n\n")
    refused(attempt(tests=[f"sw={tmp_path / 'more.conll'}"]), "more.conll", "DATE")


def test_a_task_that_the_pair_lacks(attempt):
    refused(attempt(task="haiku"), "--task = 'haiku'", "the pair has no such task", "Choose one of ner")


def test_a_pair_without_tasks(attempt, runs, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    shutil.rmtree(folder / "tasks")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tasks": {}}))
    refused(attempt(pair=folder), "--task = 'ner'", "the pair has no such task", "Fine-tune it")


def test_what_is_no_pair(attempt, tiny_teacher_dirs, tmp_path):
    refused(attempt(pair=tiny_teacher_dirs["bert"]), tiny_teacher_dirs["bert"], "not a pair", "packaged")
    refused(attempt(pair=tmp_path / "absent"), "absent", "the pair cannot be loaded")


def test_inputs_longer_than_the_pairs_positions(attempt, runs):
    refused(attempt("--max-length", 129), "--max-length = 129", "at most 128 tokens", "Set it to 128 or less")
    xlm_roberta = runs["xlm-roberta"].repository
    refused(attempt("--max-length", 129, pair=xlm_roberta), "--max-length = 129", "at most 128 tokens")
    assert isinstance(attempt("--max-length", 128, pair=xlm_roberta).exception, AssertionError)


def test_a_length_that_is_no_number(attempt):
    result = attempt("--max-length", "long")
    assert result.exit_code == 2
    assert "--max-length" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_place_for_the_scores_that_cannot_be_written(attempt, tmp_path):
    refused(attempt("--json", tmp_path), "--json", tmp_path, "this is a folder")
    refused(attempt("--json", tmp_path / "absent" / "a.json"), "--json", "there is no such folder")


def test_a_folder_for_the_predictions_that_cannot_be_made(attempt, tmp_path):
    (tmp_path / "kept").write_text("")
    refused(attempt("--predictions", tmp_path / "kept"), "--predictions", "nothing can be written there")
    assert isinstance(attempt("--predictions", tmp_path / "new" / "kept").exception, AssertionError)
    assert (tmp_path / "new" / "kept").is_dir()


def test_a_teacher_that_there_is_not(score, runs, ner_files, tmp_path):
    result = score(
        *(runs["bert"].repository, "--task", "ner", f"--test=sw={ner_files['sw']['test']}"),
        *("--teacher", tmp_path / "absent"),
    )
    refused(result, "teacher = ", "absent", "cannot be loaded")


def test_a_teacher_without_the_tasks_head(score, runs, ner_files, tiny_teacher_dirs, tmp_path):
    given = (runs["bert"].repository, "--task", "ner", f"--test=sw={ner_files['sw']['test']}")
    refused(score(*given, "--teacher", tiny_teacher_dirs["bert"]), "teacher = ", "lacks classifier", "Name a model")


def test_a_teacher_with_tags_of_another_scheme(score, runs, ner_files, tmp_path):
    teacher = next(stage.folder for stage in runs["bert"].stages if stage.name == "ner teacher")
    model = AutoModelForTokenClassification.from_pretrained(teacher)
    names = [*model.config.id2label.values(), "E-LOC", "S-LOC"]
    wider = {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}
    other = AutoModelForTokenClassification.from_pretrained(teacher, ignore_mismatched_sizes=True, **wider)
    other.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(teacher).save_pretrained(tmp_path)
    given = (runs["bert"].repository, "--task", "ner", f"--test=sw={ner_files['sw']['test']}")
    refused(score(*given, "--teacher", tmp_path), "teacher = ", "the label E-LOC", "O, B-TYPE and I-TYPE")
