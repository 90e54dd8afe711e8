"""`bistill run` with several recipes ends in one table; with one it does as ever; a published pair has its own way."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from compared import small_pair

from bistill_hub import InputError, cli
from bistill_hub.cli import run as command
from bistill_hub.cli.several_table import outcome_table
from bistill_hub.evaluation.results import Result
from bistill_hub.pipeline import run as pipeline
from bistill_hub.pipeline import several
from bistill_hub.pipeline.run import RunResult
from bistill_hub.pipeline.several import Outcome

SCRIPT = "import json\nfrom bistill_hub import Recipe\nRECIPE = Recipe.make(json.loads({!r}))\n"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return small_pair(tmp_path_factory.mktemp("pair"), name="first")


@pytest.fixture
def scripts(recipe, tmp_path, monkeypatch):
    """Three recipe scripts in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second", "third"):
        Path(f"{name}.py").write_text(SCRIPT.format(recipe.replace({"name": name}).model_dump_json()))
    return ["first.py", "second.py", "third.py"]


@pytest.fixture
def asked(monkeypatch):
    """What `run_several` was asked for; its outcomes are those that a test puts there."""
    found = SimpleNamespace(outcomes=lambda recipes: [outcome(each) for each in recipes], calls=[])

    def run_several(recipes, output, **options):
        found.calls.append((recipes, output, options))
        return iter(found.outcomes(recipes))

    monkeypatch.setattr(several, "run_several", run_several)
    return found


def score(model, value, role="target", low=0.5):
    return Result(
        task="ner",
        task_version="1",
        model=model,
        weights_sha256="0" * 64,
        language="sw" if role == "target" else "en",
        role=role,
        dataset="test",
        dataset_config=None,
        split=None,
        revision=None,
        n=9,
        metric="f1",
        score=value,
        low=low,
        high=1.0,
        trivial=0.2,
        scores={"f1": value},
        seed=0,
    )


def outcome(recipe, *results, skipped=(False,), error=None, seconds=90.0):
    """A recipe's outcome."""
    repository = Path("runs") / recipe.name / "package" / "repository"
    stages = tuple(SimpleNamespace(skipped=each) for each in skipped)
    result = None if error else RunResult(repository, results, stages, seconds)
    return Outcome(recipe, result, error, seconds)


def invoke(*words):
    return CliRunner().invoke(cli.main, ["run", *map(str, words)])


def cells_of(table):
    """By row its cells, as they are before anything is folded."""
    return list(zip(*(list(column.cells) for column in table.columns), strict=True))


def test_the_table_tells_scores_retention_state_minutes_and_place(recipe):
    recipes = [recipe.replace({"name": name}) for name in ("first", "second", "third", "fourth", "fifth")]
    scores = [
        score("teacher", 0.8),
        score("student", 0.65),
        score("student", 0.99, "source"),
        score("random_teacher", 0.1),
    ]
    table = outcome_table(
        recipes,
        [
            outcome(recipes[0], *scores),
            outcome(recipes[1], skipped=(True, True), seconds=6),
            outcome(recipes[2], error="phase-1: RuntimeError: [no] luck"),
            outcome(recipes[3], score("teacher", 0.8, low=0.2), score("student", 0.65), skipped=(True, False)),
        ],
    )
    names = [column.header for column in table.columns]
    assert names == ["recipe", "languages", "task", "student", "teacher", "retention", "state", "minutes", "pair"]
    # (0.65 - 0.2) / (0.8 - 0.2) = 0.75
    assert cells_of(table) == [
        ("first", "en-sw", "ner", "65.0", "80.0", "75.0", "finished", "1.5", "runs/first/package/repository"),
        ("second", "en-sw", "ner", "", "", "", "finished before", "0.1", "runs/second/package/repository"),
        ("third", "en-sw", "ner", "", "", "", r"failed: phase-1: RuntimeError: \[no] luck", "1.5", ""),
        (
            *("fourth", "en-sw", "ner", "65.0", "80.0", "teacher not above trivial", "finished", "1.5"),
            "runs/fourth/package/repository",
        ),
        ("fifth", "en-sw", "ner", "", "", "", "not finished", "", ""),
    ]
    assert "synthetic" in table.title


def test_a_recipe_of_two_tasks_has_two_lines_and_one_of_none_has_one(recipe):
    both = recipe.replace({"tasks": (recipe.tasks[0], recipe.tasks[0].model_copy(update={"name": "pos"}))})
    rows = cells_of(outcome_table([both, recipe.only([])], []))
    assert [row[:3] for row in rows] == [("first", "en-sw", "ner"), ("", "", "pos"), ("first", "en-sw", "")]


def test_all_options_hold_for_every_recipe_and_each_keeps_the_command_that_runs_it_by_itself(scripts, asked):
    words = ["--set", "seed=3", "--tasks", "none", "--from", "student", "--until", "phase-1", "--fresh", "--quiet"]
    result = invoke(*scripts[:2], *words)
    assert result.exit_code == 0, result.output
    ((recipes, output, options),) = asked.calls
    assert [(each.name, each.seed, each.tasks) for each in recipes] == [("first", 3, ()), ("second", 3, ())]
    assert output == Path("runs")
    commands = [f"bistill run {name}.py --tasks none --set seed=3" for name in ("first", "second")]
    assert options == {
        "from_stage": "student",
        "until": "phase-1",
        "fresh": True,
        "progress": False,
        "commands": commands,
    }
    assert "finished" in result.output
    assert "runs/second/package/repository" in result.output, "whole, however narrow the terminal would be"
    assert invoke(*scripts[:2], "-o", "elsewhere").exit_code == 0
    assert asked.calls[1][1] == Path("elsewhere")


def test_a_failure_is_in_the_table_and_in_the_exit_code(scripts, asked):
    asked.outcomes = lambda recipes: [outcome(recipes[0], error="student: no luck"), outcome(recipes[1])]
    result = invoke(*scripts[:2])
    assert result.exit_code == 1
    assert "failed: student: no luck" in result.output


def test_what_was_finished_is_told_after_an_interruption(scripts, asked):
    def outcomes(recipes):
        yield outcome(recipes[0])
        raise KeyboardInterrupt

    asked.outcomes = outcomes
    result = invoke(*scripts[:2])
    assert result.exit_code == 130
    assert "runs/first/package/repository" in result.output
    assert "not finished" in result.output
    assert "the same command goes on from there" in result.output


def test_bad_input_ends_with_one_sentence_that_names_the_recipe_and_no_table(scripts, tmp_path):
    for words, parts in (
        ([*scripts, "--set", "tasks.ner.train=gone.conll"], ("first: tasks.ner.train", "gone.conll")),
        ([*scripts, "--set", "colour=red"], ("first: --set", "colour")),
        ([scripts[0], scripts[0]], ("name = 'first'", "two recipes")),
        ([scripts[0], "en_xx"], ("RECIPE", "en_xx")),
    ):
        result = invoke(*words, "-o", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert all(part in result.stderr.splitlines()[-1] for part in parts), result.stderr
        assert "Pairs" not in result.output
        assert not list((tmp_path / "out").glob("*/recipe.json"))


def test_one_recipe_is_run_as_before(scripts, asked, monkeypatch):
    given = []

    def run(recipe, output, **options):
        given.append((recipe.name, output, options))
        return RunResult(None, (), (), 1.0)

    monkeypatch.setattr(pipeline, "run", run)
    result = invoke(scripts[1], "--until", "student", "--quiet")
    assert result.exit_code == 0, result.output
    assert "Stages" in result.output
    assert not asked.calls
    options = {
        "from_stage": None,
        "until": "student",
        "fresh": False,
        "progress": False,
        "command": "bistill run second.py",
    }
    assert given == [("second", Path("runs/second"), options)]


def test_a_smoke_run_is_of_smaller_recipes_and_says_so_in_its_command(scripts, asked, monkeypatch):
    module = SimpleNamespace(smoke_recipe=lambda recipe: recipe.replace({"name": f"{recipe.name}-smoke"}))
    monkeypatch.setitem(sys.modules, "bistill_hub.pipeline.smoke", module)
    assert invoke(*scripts[:2], "--smoke").exit_code == 0
    ((recipes, _, options),) = asked.calls
    assert [recipe.name for recipe in recipes] == ["first-smoke", "second-smoke"]
    assert options["commands"] == ["bistill run first.py --smoke", "bistill run second.py --smoke"]
    given = []
    monkeypatch.setattr(pipeline, "run", lambda *args, **_: given.append(args) or RunResult(None, (), (), 1.0))
    assert invoke(scripts[0], "--smoke").exit_code == 0
    assert [(recipe.name, output) for recipe, output in given] == [("first-smoke", Path("runs/first-smoke"))]


@pytest.fixture
def published(monkeypatch):
    """What the command for published pairs was asked for."""
    given = []
    module = SimpleNamespace(run_published=lambda **options: given.append(options))
    monkeypatch.setitem(sys.modules, "bistill_hub.cli.reproduced", module)
    return given


def test_a_pair_on_the_hub_is_run_again_by_a_command_of_its_own(scripts, published):
    result = invoke(
        "org/bistill-en-sw", "--revision", "v1", "--set", "seed=1", "-o", "out", "--tasks", "ner", "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert published == [
        {
            "repo_id": "org/bistill-en-sw",
            "output": Path("out"),
            "tasks": "ner",
            "assignments": ("seed=1",),
            "set_file": None,
            "progress": False,
            "revision": "v1",
        }
    ]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["org/pair", "first.py"], ("org/pair", "by itself")),
        (["org/pair", "--fresh"], ("--fresh", "as it was")),
        (["org/pair", "--until", "student"], ("--until = 'student'", "as it was")),
        (["org/pair", "--smoke"], ("--smoke", "as it was")),
        (["first.py", "--revision", "v1"], ("--revision = 'v1'", "only a published pair")),
    ],
)
def test_what_does_not_go_with_published_pairs_is_refused(scripts, published, words, parts):
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    assert all(part in result.stderr for part in parts), result.stderr
    assert not published


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("org/name", True),
        ("en_sw", False),
        ("folder/mine.py", False),
        ("./name", False),
        ("../name", False),
        ("~/name", False),
        ("/name", False),
        ("name/", False),
        ("a/b/c", False),
        ("here/there", False),
    ],
)
def test_a_published_pair_is_told_by_its_form_and_by_there_being_no_such_file(word, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "there").mkdir(parents=True)
    assert command.is_published(word) == expected


def test_several_recipes_really_run(scripts, monkeypatch):
    """The command and the library fit together: two recipes that fail at once, each for itself."""

    def fail(*_, **__):
        raise InputError("no luck", remedy="try again")

    monkeypatch.setattr("bistill_hub.pipeline.order.cut_student", fail)
    result = invoke(*scripts[:2])
    assert result.exit_code == 1, result.output
    assert result.stdout.count("failed: student: no luck. Try again.") == 2
    assert result.stderr.count("failed: student: no luck. Try again.") == 2
    assert Path("runs/second/recipe.json").is_file()
