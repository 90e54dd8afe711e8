"""`bistill plan` shows what the same words make `bistill run` do, and answers bad input with one sentence and a 2."""

import json

import pytest
from click.testing import CliRunner

from bistill_hub import cli
from bistill_hub.pipeline import order


def assigned(fields):
    return [word for key, value in fields.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def encoder_words(tiny_teacher_dirs, text_files):
    """A recipe without tasks, on text and a teacher that are here."""
    fields = {
        "teacher.model": tiny_teacher_dirs["bert"],
        "source.text": text_files["en"],
        "target.text": text_files["sw"],
        "bilingual.block_size": 48,
    }
    return ["en_sw", "--tasks", "none", *assigned(fields)]


@pytest.fixture
def words(encoder_words, ner_files):
    """The same with a task."""
    fields = {
        "tasks.ner.train": ner_files["en"]["train"],
        "tasks.ner.validation": ner_files["en"]["dev"],
        "tasks.ner.test_source": ner_files["en"]["test"],
        "tasks.ner.test_target": ner_files["sw"]["test"],
        "tasks.ner.max_length": 64,
    }
    return ["en_sw", "--tasks", "ner", *encoder_words[3:], *assigned(fields)]


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *given: runner.invoke(cli.main, list(map(str, given)))


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


def test_names_in_brackets_are_shown_as_they_are(call, encoder_words, text_files, tmp_path):
    text = tmp_path / "sw[old].txt"
    text.write_bytes(text_files["sw"].read_bytes())
    words = [f"target.text={text}" if word.startswith("target.text=") else word for word in encoder_words]
    result = call("plan", *words, "--output", "[red]runs", "--no-trial")
    assert result.exit_code == 0, result.output
    assert "sw[old].txt" in result.output
    assert "[red]runs" in result.output


def test_stages_sources_and_teacher_are_shown_and_nothing_is_written(call, words, tmp_path):
    result = call("plan", *words, "--no-trial")
    assert result.exit_code == 0, result.output
    for part in (
        "runs/bistill-en-sw",
        "phase-1",
        "200,000",
        "ner-phase-2",
        "ner-evaluation",
        "tasks.ner.test_target",
        "400 lines",
        "200 examples",
        "6 layers, width 32, 400 tokens",
        "MB free",
    ):
        assert part in result.stdout, part
    assert "Memory" not in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_json_holds_what_the_tables_show(call, words):
    result = call("plan", *words, "--no-trial", "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert [stage["slug"] for stage in made["stages"]][:3] == ["student", "phase-1", "ner-teacher"]
    assert {stage["state"] for stage in made["stages"]} == {"to do"}
    assert made["stages"][1]["updates"] == 200_000
    assert made["teacher"]["parameters"] > 0
    assert made["output"] == "runs/bistill-en-sw"


def test_times_are_shown_with_what_they_are_of(call, encoder_words):
    result = call("plan", *encoder_words, "--set", "bilingual.steps=7000000")
    assert result.exit_code == 0, result.output
    assert "Memory at its peak: about" in result.stdout
    assert "random weights" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "phase-1" in line)
    assert "7,000,000" in row
    assert " h " in row or " days " in row


def test_the_words_of_a_finished_run_find_it_finished(call, encoder_words, monkeypatch):
    def work(_recipe, folder, *_args, **_kwargs):
        (folder / "output").write_text(folder.name)
        return {"student": {"vocabulary": 300}}

    for name in ("cut_student", "distil_bilingually", "measure_run", "package_run"):
        monkeypatch.setattr(order, name, work)
    given = [*encoder_words, "-o", "done"]
    assert call("run", *given, "--quiet").exit_code == 0
    same, other = (
        [stage["state"] for stage in json.loads(call("plan", *given, *more, "--json").stdout)["stages"]]
        for more in ([], ["--set", "limits=others"])
    )
    assert same == ["finished"] * 4
    assert other == [*["finished"] * 3, "to do again"]


def test_facts_that_nobody_has_verified_are_printed(call, tmp_path, text_files, tiny_teacher_dirs):
    (tmp_path / "mine.py").write_text(
        "from bistill_hub.recipe import Recipe\n"
        "RECIPE = Recipe.make({'name': 'mine', 'license': 'mit', 'limits': 'few', 'unverified': ['the licence'],\n"
        f"  'teacher': {{'model': {str(tiny_teacher_dirs['bert'])!r}}}, 'bilingual': {{'block_size': 48}},\n"
        f"  'source': {{'code': 'en', 'name': 'English', 'text': {str(text_files['en'])!r}}},\n"
        f"  'target': {{'code': 'sw', 'name': 'Swahili', 'text': {str(text_files['sw'])!r}}}}})\n"
    )
    result = call("plan", tmp_path / "mine.py", "--no-trial")
    assert result.exit_code == 0, result.output
    assert "Unverified: the licence" in result.stderr


def test_a_missing_file_is_refused(call, words):
    refused(call("plan", *words, "--set", "source.text=/nowhere/en.txt"), "source.text", "/nowhere/en.txt")


def test_a_recipe_that_there_is_not_is_refused(call):
    refused(call("plan", "en_xx"), "RECIPE", "en_xx", "en_sw")


def test_an_unknown_field_is_refused(call, words):
    refused(call("plan", *words, "--set", "bilingual.step=3"), "bilingual.step", "steps")


def test_a_word_that_is_no_assignment_is_refused(call, words):
    refused(call("plan", *words, "--set", "bilingual.steps"), "--set", "key=value")
