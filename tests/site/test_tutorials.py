"""The tutorials' commands, given in their order, make pairs, add a task, and check what somebody contributes."""

import json
import re
import shutil
import sys
import time
from types import SimpleNamespace

import pytest
from doc_pages import DOCS, ROOT, changed, claimed, executed, given, in_python, understood, written
from hubserver.visitor import own, serving
from huggingface_hub import constants

from bistill_hub import jobs, tasks
from bistill_hub.hub.check import CHECKS
from bistill_hub.job_script import Push
from bistill_hub.pipeline.run import default_output
from bistill_hub.pipeline.smoke import smoke_recipe
from bistill_hub.recipe import load_recipe

LAPTOP = claimed(__name__, "docs/tutorials/laptop.md")
GPUS = claimed(__name__, "docs/tutorials/gpus.md")
ADD_A_TASK = claimed(__name__, "docs/tutorials/add_a_task.md")
CHECK = claimed(__name__, "docs/tutorials/check_a_contribution.md")
SMALL = ["--steps=2", "--vocab-size=300", "--hidden-size=16", "--layers=2", "--intermediate-size=16", "--quiet"]
REPO = "org/bistill-en-sw"
PROCESSES = {"torchrun": "--nproc-per-node", "accelerate": "--num_processes"}
"""How each launcher is told the number of processes."""


def quick(task):
    """Changes that make a run of a tutorial's recipe one of seconds."""
    fields = {
        "bilingual__steps": 2,
        "bilingual__block_size": 48,
        "speed__seconds": 0,
        f"tasks__{task}__max_length": 64,
        f"tasks__{task}__teacher__epochs": 1,
        f"tasks__{task}__distillation__dense_epochs": 1,
        f"tasks__{task}__distillation__sparse_epochs": 1,
        f"tasks__{task}__train__limit": 60,
    }
    return changed(**fields)


@pytest.fixture
def place(tiny_teacher_dirs, text_files, ner_files, tmp_path, monkeypatch):
    """A working folder with a teacher, text and labels; Swahili under the name of Yoruba too."""
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "teacher")
    for name, code in (("en", "en"), ("sw", "sw"), ("yo", "sw")):
        shutil.copyfile(text_files[code], tmp_path / f"{name}.txt")
        for split in ("train", "dev", "test"):
            shutil.copyfile(ner_files[code][split], tmp_path / f"{split}.{name}.conll")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_the_laptop_tutorial_goes_from_files_to_a_checked_pair(place, capsys):
    demo, pretrain, inspect, recipe, plan, sample, run, check, load = LAPTOP
    assert understood(demo.commands[0])["seed"] == 0
    given(pretrain.commands[0], *SMALL, instead={"teacher": "small"})
    assert (place / "small" / "model.safetensors").is_file()
    assert "yo" in given(inspect.commands[0], "--no-picture", "--quiet")

    written(recipe, place / "en_yo_small.py")
    assert "ner-phase-2" in given(plan.commands[0], "--no-trial", *quick("ner"))
    words = sample.commands[0]
    assert understood(words) | {"recipes": ("en_yo_small.py",), "smoke": True} == understood(words)
    sampled = smoke_recipe(load_recipe("en_yo_small.py"))
    assert sampled.bilingual.steps == 10
    text = (DOCS / "tutorials" / "laptop.md").read_text(encoding="utf-8")
    assert default_output(sampled).as_posix() in text
    assert "smoke" in given(words, "--quiet", *quick("ner"))
    output = given(run.commands[0], "--quiet", *quick("ner"))
    assert "phase 1" in output
    assert "Scores" in output
    assert "no findings" in given(check.commands[0], "--quiet")
    executed(load)
    assert capsys.readouterr().out.startswith("[")


def test_the_updates_of_the_tutorial_on_gpus_are_those_of_the_recipe():
    recipe = load_recipe("en_sw")
    update = recipe.bilingual.batch_size * recipe.bilingual.accumulation
    seen = []
    for words in (command for snippet in GPUS for command in snippet.commands):
        asked = understood(words)
        assert asked.get("recipe") == "en_sw" or asked["recipes"] == ("en_sw",)
        new = recipe.replace(dict(each.split("=") for each in asked.get("assignments", ())))
        assert new.bilingual.batch_size * new.bilingual.accumulation == update
        if words[0] in PROCESSES:
            assert new.bilingual.accumulation == int(words[words.index(PROCESSES[words[0]]) + 1])
            seen.append((words[0], new.bilingual.precision))
    assert seen == [("torchrun", "bf16"), ("accelerate", "bf16")]


def test_the_commands_for_one_gpu_plan_and_run(place):
    plan, run, _, _, until, _, _ = (snippet.commands[0] for snippet in GPUS)
    assert "phase-1" in given(plan, "--no-trial")
    files = changed(teacher__model="teacher", source__text="en.txt", target__text="sw.txt")
    small = ["--tasks=none", "--quiet", *files, *changed(bilingual__steps=2, bilingual__block_size=48)]
    given(until, *small, instead={"runs/en-sw": "runs/until"})
    assert {folder.name for folder in (place / "runs" / "until").iterdir() if folder.is_dir()} == {"student", "phase-1"}
    assert "phase 1" in given(run, *small, *changed(speed__seconds=0))
    content = json.loads((place / "runs" / "en-sw" / "package" / "repository" / "recipe.json").read_text())
    assert (content["bilingual"]["precision"], content["bilingual"]["teacher_precision"]) == ("bf16", "bf16")


def test_the_commands_for_jobs_tell_what_they_would_submit_and_submit_it(place, monkeypatch):
    *_, look, submit = (snippet.commands[0] for snippet in GPUS)
    assert "Nothing was submitted." in given(look)
    made = []
    owner = SimpleNamespace(name="my-org")
    started = SimpleNamespace(id="0123", url="https://hub/jobs/my-org/0123", owner=owner)
    monkeypatch.setattr(jobs, "submit", lambda job: made.append(job) or started)  # tests of jobs.py ask a server
    monkeypatch.setattr(jobs, "_hardware", lambda api, flavor: None)
    monkeypatch.setattr(jobs, "_user", lambda api, asked: "my-org")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "secret" * 6)
    given(submit, "--yes")
    (job,) = made
    assert (job.script.flavor, job.script.timeout) == ("a10g-largex4", "2d")
    assert job.script.push == Push(repo_id="my-org/bistill-en-sw", create_pr=True)
    assert job.script.recipe.bilingual.precision == "bf16"


@pytest.fixture
def topics_module(place, monkeypatch):
    """A folder for a task's file, which the package searches too; forgotten afterwards."""
    folder = place / "tasks"
    folder.mkdir()
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
    yield folder / "topics.py"
    sys.modules.pop("bistill_hub.tasks.topics", None)
    vars(tasks).pop("topics", None)


def test_the_task_of_the_tutorial_runs_from_its_file_to_a_checked_pair(place, topics_module, ner_files):
    task, found, recipe, run, check = ADD_A_TASK
    written(task, topics_module)
    assert "'topics'" in in_python(found.commands[0])

    for code in ("en", "sw"):
        for split in ("train", "dev", "test"):
            sentences = ner_files[code][split].read_text(encoding="utf-8").strip().split("\n\n")
            rows = ["text\tlabel"]
            for sentence in sentences[:60]:
                text = " ".join(line.split("\t")[0] for line in sentence.splitlines())
                rows.append(f"{text}\t{'business' if '-ORG' in sentence else 'people'}")
            (place / f"topics.{split}.{code}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    written(recipe, place / "en_sw_topics.py")
    output = given(run.commands[0], "--quiet", *quick("topics"))
    assert output.count("topics") > 3
    assert "no findings" in given(check.commands[0], "--quiet")


def test_the_task_of_the_tutorial_scores_and_refuses_as_it_says(place, topics_module):
    from bistill_hub import InputError
    from bistill_hub.sources import LabelledSource

    written(ADD_A_TASK[0], topics_module)
    topics = tasks.get_task("topics")
    (place / "few.csv").write_text("text,label\nA,x\nB,y\nC,x\nD,x\n")
    few = topics.read(LabelledSource(path="few.csv"))
    assert topics.labels(few) == ("x", "y")
    assert topics.trivial(few, ("x", "y")) == ["x"] * 4
    assert topics.score(few, ["x"] * 4)["accuracy"] == 0.75
    assert topics.main_score(topics.statistics(few, ["x"] * 4).sum(axis=0)) == 0.75
    with pytest.raises(InputError, match=r"few\.csv.*'y'"):
        topics.check_labels(few, ("x", "z"), "few.csv")
    (place / "gap.csv").write_text("text,label\nA,x\nB,\n")
    with pytest.raises(InputError, match=r"gap\.csv.*row 1"):
        topics.read(LabelledSource(path="gap.csv"))


def test_the_tutorial_on_contributions_checks_and_merges_a_pull_request(place, runs, monkeypatch):
    look, again, plan, merge, after = CHECK
    shutil.copytree(runs["bert"].repository, place / "mine")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with serving(monkeypatch, place / "home") as hub:
        hub.organization("org", alice="write")
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        given(["bistill", "push", "mine", REPO])
        card = place / "mine" / "README.md"
        text = card.read_text(encoding="utf-8")
        card.write_text(text.replace("Made of a miniature world", "Made of a very small world"), encoding="utf-8")
        monkeypatch.setenv("HF_TOKEN", hub.user("bob").token)
        given(["bistill", "push", "mine", REPO])
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        table = given(look.commands[0], "--quiet")
        assert "no findings" in table
        _, _, to_read = table.partition("To be read by a person")
        assert "license: " in to_read, "what section 3 of the page goes through"
        assert "limits: Made of a very small world" in to_read
        assert [line.split("│")[1].strip() for line in table.splitlines() if "nothing" in line] == list(CHECKS)
        assert "rerun" in given(again.commands[0], "--quiet")
        executed(merge)
        assert b"Made of a very small world" in own(hub.commits(REPO)[0].tree)["README.md"].content
        assert "no findings" in given(after.commands[0], "--quiet")
    monkeypatch.chdir(ROOT)
    assert "Unverified: " in given(plan.commands[0])


def test_the_tutorial_on_contributions_explains_every_check():
    text = (DOCS / "tutorials" / "check_a_contribution.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(CHECKS)
