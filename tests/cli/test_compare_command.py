"""`bistill compare`: tells the cost first, does nothing on a dry run, and says what failed by its exit code."""

import json

import pytest
from click.testing import CliRunner
from compared import small_pair

from bistill_hub import InputError, cli
from bistill_hub.cli.recipe_options import load, load_compared
from bistill_hub.comparison import compare, trainings
from bistill_hub.comparison.rows import Asked


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A recipe script."""
    home = tmp_path_factory.mktemp("pair")
    fields = json.dumps(small_pair(home).model_dump(mode="json"))
    file = home / "small.py"
    file.write_text(f"import json\nfrom bistill_hub import Recipe\nRECIPE = Recipe.make(json.loads({fields!r}))\n")
    return file


def invoke(script, folder, *words):
    return CliRunner().invoke(cli.main, ["compare", str(script), "-o", str(folder), "--quiet", *words])


def all_fail(rows, folder, failed, *, progress):
    failed |= {row.asked: "no luck" for row in rows}


def test_a_dry_run_tells_the_cost_and_writes_nothing(script, tmp_path):
    result = invoke(script, tmp_path / "out", "--against", "trimmed_teacher,ablations", "--seeds", "0,1", "--dry-run")
    assert result.exit_code == 0, result.output
    rows = [line.strip("│ ").split("│") for line in result.output.splitlines() if line.startswith("│")]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert cells["teacher"][:4] == ["2", "0", "0", "4"]
    assert cells["trimmed_teacher"][:4] == ["2", "0", "2", "4"]
    assert cells["dense_phase_2"][:4] == ["2", "0", "6", "4"]
    assert "lrf_3" not in cells
    total = sum(int(each[3]) for each in cells.values())
    assert f"To do: {total} stages, about" in result.output
    assert "h on cpu" in result.output
    assert "Disk still needed" in result.output
    assert not (tmp_path / "out").exists()


def test_failures_are_told_at_the_end_and_by_the_exit_code(script, tmp_path, monkeypatch):
    done = []

    def some_fail(rows, folder, failed, *, progress):
        done.extend(row.asked for row in rows)
        failed[Asked("lrf_2", 0, "ner")] = "phase-1: RuntimeError: no luck"

    monkeypatch.setattr(compare, "work_through", some_fail)
    script_of_all = ["--against", "lrf_2", "--set", "student.layers=2", "--yes"]
    result = invoke(script, tmp_path / "out", *script_of_all)
    assert result.exit_code == 1, result.output
    assert "Failed: lrf_2, ner, seed 0: phase-1: RuntimeError: no luck" in result.output
    assert "comparison.md" in result.output
    assert done == [Asked(name, 0, "ner") for name in ("teacher", "student", "lrf_2")]
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [each["contender"] for each in content["missing"]] == ["teacher", "student"]
    assert [each["error"] for each in content["failed"]] == ["phase-1: RuntimeError: no luck"]
    assert content["scores"] == []


def test_what_is_named_can_be_asked_for_alone(script, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(compare, "work_through", lambda rows, *_args, **_kwargs: done.extend(row.asked for row in rows))
    result = invoke(script, tmp_path / "out", "--against", "no_phase_1", "--alone", "--yes")
    assert result.exit_code == 0, result.output
    assert done == [Asked("no_phase_1", 0, "ner")]
    assert "│ student" not in result.output, "nor does it cost anything"


def test_what_was_reached_is_told_where_no_test_set_is_to_be_read(script, tmp_path, monkeypatch):
    words = ["--against", "no_phase_1", "--alone", "--train-only", "--yes"]
    result = invoke(script, tmp_path / "out", *words)
    assert result.exit_code == 0, result.output
    rows = [
        [cell.strip() for cell in line.strip("│ ").split("│")] for line in result.output.splitlines() if "│" in line
    ]
    assert ["no_phase_1", "0", "ner phase 2"] in [row[:3] for row in rows]
    assert "No test set was scored" in result.output
    assert not list((tmp_path / "out").glob("comparison*"))
    monkeypatch.setattr(trainings, "work_through", all_fail)
    result = invoke(script, tmp_path / "new", *words)
    assert result.exit_code == 1
    assert "Failed: no_phase_1, ner, seed 0: no luck" in result.output


def test_what_the_paper_found_is_printed_under_the_scores(script, tmp_path):
    result = invoke(script, tmp_path / "out", "--against", "trimmed_teacher", "--yes")
    assert result.exit_code == 0, result.output
    _, told, findings = result.output.partition("What the paper found, and what is so here (synthetic)")
    assert told
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in findings.splitlines() if "│" in line]
    of_json = json.loads((tmp_path / "out" / "comparison.json").read_text())["findings"]
    assert [(row[0], row[4]) for row in rows] == [(each["task"], each["verdict"]) for each in of_json]
    assert [each["kind"] for each in of_json] == ["kept", "given_up"]


def test_settings_of_a_contenders_own_come_from_the_file_and_an_option_goes_on_top(script, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        "[bilingual]\nsteps = 3\n[contenders.lrf_2]\nbilingual.learning_rate = 2e-3\nseed = 4\n"
        "[contenders.dense_phase_2]\nseed = 5\n"
    )
    words = ["contenders.lrf_2.bilingual.learning_rate=5e-4", "bilingual.block_size=32"]
    recipe, own = load_compared(str(script), None, words, file)
    assert (recipe.bilingual.steps, recipe.bilingual.block_size) == (3, 32)
    assert own == {"lrf_2": {"bilingual.learning_rate": 5e-4, "seed": 4}, "dense_phase_2": {"seed": 5}}
    assert load(str(script), None, [], file).bilingual.steps == 3, "to other commands the file's contenders are nothing"
    with pytest.raises(InputError, match="contenders"):
        load(str(script), None, words[:1], None)


@pytest.mark.parametrize(("answer", "begun"), [("n\n", False), ("y\n", True)])
def test_on_a_terminal_it_asks_before_it_begins(script, tmp_path, monkeypatch, answer, begun):
    from bistill_hub.cli import compare as command

    monkeypatch.setattr(command, "on_a_terminal", lambda: True)
    monkeypatch.setattr(compare, "work_through", all_fail)
    args = ["compare", str(script), "-o", str(tmp_path / "out"), "--quiet"]
    result = CliRunner().invoke(cli.main, args, input=answer)
    assert "Begin?" in result.output
    assert (tmp_path / "out").exists() == begun
    assert result.exit_code == begun


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--against", "tortoise"], ["against = 'tortoise'", "trimmed_teacher"]),
        (["--against", "baselines"], ["further_languages", "--set-file", "code, name and text"]),
        (["--alone"], ["against", "done alone", "trimmed_teacher"]),
        (["--against", "lrf_3"], ["layer_reduction_factor = 3"]),
        (["--seeds", "0,one"], ["seeds = '0,one'", "0,1,2"]),
        (["--seeds", "-1"], ["seeds", "whole numbers from 0"]),
        (["--tasks", "none"], ["tasks", "no task to compare"]),
        (["--tasks", "qa"], ["tasks = 'qa'", "ner"]),
        (["--set", "bilingual.stebs=3"], ["bilingual.stebs"]),
        (["--set", "tasks.ner.train=nowhere.conll"], ["tasks.ner.train", "nowhere.conll"]),
        (["--set", "contenders.hare.seed=3"], ["contenders = 'hare'", "no_phase_1"]),
        (["--set", "contenders.teacher.seed=3"], ["contenders.teacher", "no settings of its own"]),
        (
            ["--against", "no_phase_1", "--set", "contenders.no_phase_1.stebs=3"],
            ["contenders.no_phase_1", "stebs"],
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(script, tmp_path, words, parts):
    result = invoke(script, tmp_path / "out", *words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()
