"""A run removes what stages have left, nothing else: what is somebody's, what it reads, another pair is refused."""

import errno
import json
import os
import shutil

import pytest
from click.testing import CliRunner
from compared import small_pair

from bistill_hub import InputError, cli, run
from bistill_hub.pipeline import order
from bistill_hub.pipeline.manifest import finished
from bistill_hub.pipeline.order import STUDENT
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.run import package_finished
from bistill_hub.pipeline.several import run_several

STAGES = {
    "student": "cut_student",
    "phase-1": "distil_bilingually",
    "ner-teacher": "tune_teacher",
    "ner-phase-2": "distil_task",
}
UNTIL = {"until": "ner-phase-2", "progress": False}


@pytest.fixture
def recipe(tmp_path):
    return small_pair(tmp_path / "pair")


@pytest.fixture
def played(monkeypatch):
    """Stages that do nothing but leave a file: the names of those that were done."""
    done = []

    def play(name):
        def stage(recipe, folder, *_, **__):
            done.append(name)
            (folder / "made.txt").write_text(name)
            return {"student": {"vocabulary": 100}}

        return stage

    for name in STAGES.values():
        monkeypatch.setattr(order, name, play(name))
    return done


@pytest.fixture
def command(recipe, tmp_path):
    """The command that runs the pair."""
    file = tmp_path / "small.py"
    file.write_text(
        f"import json\nfrom bistill_hub import Recipe\nRECIPE = Recipe.make(json.loads({recipe.model_dump_json()!r}))\n"
    )
    return ["run", str(file), "--quiet"]


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr, result.stderr


# --- what is somebody's


def test_a_folder_of_somebody_is_refused_by_the_command_and_kept(command, played, tmp_path):
    thesis = tmp_path / "project" / "student" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("five years")
    refused(
        CliRunner().invoke(cli.main, [*command, "-o", str(tmp_path / "project"), "--until", "student"]),
        "project/student'",
        "holds what no run has left: thesis.txt. Choose another output folder",
    )
    assert thesis.read_text() == "five years"
    assert played == []


@pytest.mark.parametrize("slug", [*STAGES, "ner-evaluation", "speed", "package"])
@pytest.mark.parametrize("options", [{}, {"fresh": True}, {"from_stage": "student"}])
def test_it_is_refused_before_any_stage_is_begun_or_removed(recipe, played, tmp_path, slug, options):
    if slug != "student":
        run(recipe, tmp_path / "run", until="student", progress=False)
    (tmp_path / "run" / slug).mkdir(parents=True)
    (tmp_path / "run" / slug / "mine.txt").write_text("mine")
    played.clear()
    with pytest.raises(InputError, match=rf"run/{slug}': .* holds what no run has left: mine\.txt"):
        run(recipe, tmp_path / "run", progress=False, **options)
    assert played == []
    assert (tmp_path / "run" / slug / "mine.txt").read_text() == "mine"
    assert slug == "student" or finished(STUDENT, tmp_path / "run" / "student") is not None


def test_stages_that_the_run_is_not_to_do_are_not_looked_at(recipe, played, tmp_path):
    (tmp_path / "run" / "package").mkdir(parents=True)
    (tmp_path / "run" / "package" / "mine.txt").write_text("mine")
    run(recipe, tmp_path / "run", **UNTIL)
    assert len(played) == len(STAGES)


def test_a_plan_refuses_what_the_run_would_refuse(recipe, tmp_path):
    (tmp_path / "run" / "student").mkdir(parents=True)
    (tmp_path / "run" / "student" / "thesis.txt").write_text("five years")
    with pytest.raises(InputError, match=r"run/student': .* holds what no run has left: thesis\.txt"):
        plan(recipe, tmp_path / "run", trial=False)


def test_stages_that_are_emptied_for_a_later_run_are_looked_at_though_this_one_ends_before(recipe, played, tmp_path):
    run(recipe, tmp_path / "run", until="phase-1", progress=False)
    (tmp_path / "run" / "package").mkdir(parents=True)
    (tmp_path / "run" / "package" / "mine.txt").write_text("mine")
    played.clear()
    with pytest.raises(InputError, match=r"run/package': .* holds what no run has left: mine\.txt"):
        run(recipe, tmp_path / "run", from_stage="phase-1", until="phase-1", progress=False)
    assert played == []
    assert (tmp_path / "run" / "package" / "mine.txt").read_text() == "mine"


def test_of_several_recipes_none_is_begun(recipe, played, tmp_path):
    second = recipe.replace({"name": "second"})
    (tmp_path / "runs" / "second" / "phase-1").mkdir(parents=True)
    (tmp_path / "runs" / "second" / "phase-1" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"second: output = .* holds what no run has left: mine\.txt"):
        run_several([recipe, second], tmp_path / "runs", **UNTIL)
    assert played == []


# --- what it reads


def test_a_teacher_that_the_same_run_has_made_is_refused_and_kept(recipe, played, tmp_path, command):
    made = tmp_path / "run" / "ner-teacher"
    run(recipe, tmp_path / "run", until="ner-teacher", progress=False)
    shutil.copytree(recipe.teacher.model, made / "sub")
    played.clear()
    words = [*command, "-o", str(tmp_path / "run"), "--set", f"teacher.model={made / 'sub'}"]
    refused(
        CliRunner().invoke(cli.main, words),
        f"teacher.model = '{made / 'sub'}'",
        "it lies in the folder of the run's own stage ner-teacher",
        "Choose another output folder",
    )
    assert played == []
    assert (made / "sub" / "config.json").is_file()


@pytest.mark.parametrize(
    "field",
    ["source.text", "target.text", "tasks.ner.train", "tasks.ner.validation", "tasks.ner.test_source"],
)
@pytest.mark.parametrize("options", [{}, {"fresh": True}])
def test_a_file_in_a_folder_of_the_run_is_refused_and_kept(recipe, played, tmp_path, field, options):
    run(recipe, tmp_path / "run", until="phase-1", progress=False)
    value = recipe
    for name in field.split("."):
        value = {task.name: task for task in value}[name] if isinstance(value, tuple) else getattr(value, name)
    # By another way than the run's folder is named.
    (tmp_path / "way").symlink_to(tmp_path / "run" / "phase-1")
    shutil.copy(value.path, tmp_path / "way" / "input.txt")
    if field.startswith("tasks"):
        (tmp_path / "way" / "input.txt").rename(tmp_path / "way" / "input.conll")
    (named,) = (tmp_path / "way").glob("input.*")
    played.clear()
    with pytest.raises(InputError, match=rf"{field} = .*the run's own stage phase-1"):
        run(recipe.replace({field: str(named)}), tmp_path / "run", **UNTIL, **options)
    assert played == []
    assert named.is_file()


def test_what_another_run_has_made_may_be_read(recipe, played, tmp_path):
    run(recipe, tmp_path / "one", until="student", progress=False)
    shutil.copy(recipe.source.text.path, tmp_path / "one" / "student" / "en.txt")
    other = recipe.replace({"source.text": str(tmp_path / "one" / "student" / "en.txt")})
    assert len(run(other, tmp_path / "two", **UNTIL).stages) == len(STAGES)


# --- another pair


def test_a_run_of_another_pair_is_refused_and_kept(recipe, command, played, tmp_path):
    run(recipe, tmp_path / "run", **UNTIL)
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    played.clear()
    words = [
        *command,
        "-o",
        str(tmp_path / "run"),
        "--set",
        "name=another",
        "--set",
        "student.layer_reduction_factor=1",
    ]
    refused(
        CliRunner().invoke(cli.main, words),
        f"the run in this folder is of another pair, {recipe.name}, whose stages another would take the place of",
        "Choose another folder; or begin anew in this one with --fresh",
    )
    assert played == []
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == before


def test_trimming_into_the_folder_of_another_pair_is_refused(recipe, played, tmp_path):
    run(recipe, tmp_path / "run", **UNTIL)
    played.clear()
    words = ["trim", recipe.teacher.model, "--source", "en", "--target", "sw", "--license", "mit"]
    words += ["--corpus", f"en={recipe.source.text.path}", "--corpus", f"sw={recipe.target.text.path}"]
    refused(CliRunner().invoke(cli.main, [*words, "-o", str(tmp_path / "run")]), "of another pair", recipe.name)
    assert played == []
    assert finished(STUDENT, tmp_path / "run" / "student") is not None


def test_another_pair_takes_its_place_where_all_is_to_be_done_anew(recipe, played, tmp_path):
    run(recipe, tmp_path / "run", **UNTIL)
    played.clear()
    run(recipe.replace({"name": "another"}), tmp_path / "run", **UNTIL, fresh=True)
    assert played == list(STAGES.values())
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["name"] == "another"
    run(recipe.replace({"name": "another"}), tmp_path / "run", **UNTIL)
    assert played == list(STAGES.values()), "and is gone on with as any other"


def test_the_same_pair_by_a_new_name_keeps_its_stages_where_its_recipe_is_removed(recipe, played, tmp_path):
    run(recipe, tmp_path / "run", **UNTIL)
    played.clear()
    (tmp_path / "run" / "recipe.json").unlink()
    run(recipe.replace({"name": "another"}), tmp_path / "run", **UNTIL)
    assert played == []


def test_a_damaged_recipe_of_a_run_is_written_anew(recipe, played, tmp_path):
    run(recipe, tmp_path / "run", **UNTIL)
    (tmp_path / "run" / "recipe.json").write_text("")
    with pytest.raises(InputError, match=r"recipe\.json: the file is damaged"):
        package_finished(tmp_path / "run", tmp_path / "pair-again")
    played.clear()
    run(recipe, tmp_path / "run", **UNTIL)
    assert played == []
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["name"] == recipe.name


def test_a_recipe_that_no_run_has_left_is_not_written_over(recipe, played, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text('{"for": "a cake"}')
    with pytest.raises(InputError, match=r"recipe\.json': .* no run has left"):
        run(recipe, tmp_path / "run", **UNTIL)
    assert (tmp_path / "run" / "recipe.json").read_text() == '{"for": "a cake"}'


# --- power cuts, links and other users, by the command


@pytest.mark.parametrize("name", ["manifest.json", "started.json"])
def test_after_a_power_cut_the_same_command_does_the_stage_again(command, played, tmp_path, name):
    folder = tmp_path / "run"
    words = [*command, "-o", str(folder), "--until", "ner-teacher"]
    assert CliRunner().invoke(cli.main, words).exit_code == 0
    (folder / "phase-1" / "manifest.json").rename(folder / "phase-1" / name)
    (folder / "phase-1" / name).write_text("")
    result = CliRunner().invoke(cli.main, ["plan", *words[1:2], "-o", str(folder), "--no-trial"])
    assert result.exit_code == 0, result.output
    played.clear()
    assert CliRunner().invoke(cli.main, words).exit_code == 0
    assert played == ["distil_bilingually"]


def test_the_lock_of_another_user_is_told_of_in_a_sentence(command, tmp_path, monkeypatch):
    real = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(".running"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    refused(
        CliRunner().invoke(cli.main, [*command, "-o", str(tmp_path / "run")]),
        "/run/.running'",
        "cannot be written (Permission denied)",
    )
