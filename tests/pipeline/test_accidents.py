"""A full disk, a vanished file, Ctrl-C, SIGTERM: one sentence, and a folder that resumes with the same bytes."""

import errno
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from compared import small_pair
from fresh import run_fresh
from torch import nn

from bistill_hub import cli
from bistill_hub.evaluation.evaluate import score_examples
from bistill_hub.evaluation.results import Result
from bistill_hub.pipeline import phase_1, scoring
from bistill_hub.pipeline.preflight import read_task
from bistill_hub.tasks import get_task


@pytest.fixture
def script(small_recipes, text_files, tmp_path):
    """A recipe script whose texts are copies, to be made away with."""
    fields = small_recipes["bert"].model_dump(mode="json")
    for side, code in (("source", "en"), ("target", "sw")):
        fields[side]["text"]["path"] = str(shutil.copy(text_files[code], tmp_path))
    file = tmp_path / "small.py"
    file.write_text(
        "import json\nfrom bistill_hub import Recipe\n" + f"RECIPE = Recipe.make(json.loads({json.dumps(fields)!r}))\n"
    )
    return file


@pytest.fixture
def command(script, tmp_path):
    return ["run", str(script), "-o", str(tmp_path / "run"), "--until", "phase-1", "--quiet"]


def ends_like_one_without_accident(command, runs, folder):
    result = CliRunner().invoke(cli.main, command)
    assert result.exit_code == 0, result.output
    whole = runs["bert"].repository.parent.parent
    for name in ("phase-1/model.safetensors", "phase-1/student.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr, result.stderr


def test_a_file_that_is_gone_before_the_run_goes_on(command, script, runs, tmp_path):
    assert CliRunner().invoke(cli.main, [*command, "--until", "student"]).exit_code == 0
    text = (tmp_path / "sw.txt").rename(tmp_path / "away.txt")
    refused(CliRunner().invoke(cli.main, command), "target.text", "sw.txt", "no such file")
    text.rename(tmp_path / "sw.txt")
    ends_like_one_without_accident(command, runs, tmp_path / "run")


def test_a_file_that_vanishes_during_a_stage(command, runs, tmp_path, monkeypatch):
    real = phase_1.write_blocks

    def vanishing(source, *args, **kwargs):
        if source.name == "sw.txt":
            source.file.rename(tmp_path / "away.txt")
        return real(source, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(phase_1, "write_blocks", vanishing)
        refused(CliRunner().invoke(cli.main, command), "sw.txt", "vanished during stage phase-1", "goes on from there")
    (tmp_path / "away.txt").rename(tmp_path / "sw.txt")
    ends_like_one_without_accident(command, runs, tmp_path / "run")


COMMAND = """
from bistill_hub.cli import main
main(WORDS, prog_name="bistill")
"""

SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
"""

SIGNALLED = """
import os, signal, threading, time
from pathlib import Path

def press():
    while not list(Path(FOLDER).glob("checkpoint-*/complete.json")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGNAL)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would its child
threading.Thread(target=press, daemon=True).start()
"""


def test_no_room_for_the_students_weights(command, runs, tmp_path):
    done = run_fresh(f"{SMALL_FILES}\nWORDS = {command!r}\n{COMMAND}")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "stage student could not be written: no room is left" in done.stderr
    ends_like_one_without_accident(command, runs, tmp_path / "run")


def test_no_room_for_a_score_leaves_none_that_is_taken_for_finished(tmp_path, monkeypatch):
    recipe = small_pair(tmp_path / "pair")
    task = read_task(recipe.tasks[0], get_task("ner"))
    write, made = Path.write_text, []

    def scored(_model, _tokenizer, kind, test, labels, *, name, **_):
        """What a model that sees no entity would get."""
        made.append((name, test.language))
        dataset = kind.read(test.source)
        found = kind.trivial(dataset, labels)
        data = {"dataset": test.source.name, "dataset_config": None, "split": None, "revision": None}
        score = asdict(score_examples(kind, dataset, found, labels, None))
        return Result("ner", "1", name, "0" * 64, test.language, test.role, **data, **score, seed=0), found

    def half_of_one(self, text, **options):
        if not self.name.startswith("student.en."):
            return write(self, text, **options)
        write(self, text[:100], **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scoring, "load_scored", lambda *_, **__: (nn.Identity(), None))
    monkeypatch.setattr(scoring, "labels_of", lambda _model: task.labels)
    monkeypatch.setattr(scoring, "evaluate_model", scored)
    folder = tmp_path / "ner-evaluation"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half_of_one)
        with pytest.raises(OSError, match="No space left"):
            scoring.evaluate_task(recipe, folder, task, scoring.TaskFolders(), progress=False)
    scoring.evaluate_task(recipe, folder, task, scoring.TaskFolders(), progress=False)
    assert made == [("teacher", "en"), *[("student", "en")] * 2, ("teacher", "sw"), ("student", "sw")]


@pytest.mark.parametrize(
    ("sent", "code", "said"), [("SIGINT", 130, "Interrupted."), ("SIGTERM", 143, "Ended by SIGTERM.")]
)
def test_a_signal_in_the_middle_of_a_stage(command, runs, tmp_path, sent, code, said):
    folder = tmp_path / "run" / "phase-1" / "training"
    endless = [*command, "--set", "bilingual.steps=100000"]
    signalled = SIGNALLED.replace("SIGNAL)", f"{sent})")
    done = run_fresh(f"FOLDER = {str(folder)!r}\n{signalled}\nWORDS = {endless!r}\n{COMMAND}")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().endswith(f"{said} What is finished is kept: the same command goes on from there.")
    assert list(folder.glob("checkpoint-*/complete.json"))
    assert json.loads((folder.parent / "started.json").read_text())["seconds"] > 0
    ends_like_one_without_accident(command, runs, tmp_path / "run")
