"""A stage's seconds are those of all processes that worked on it; what goes in decides whether one goes on.

What is not whole counts as not finished, and nothing is removed that no stage has left.
"""

import errno
import json
import math
import os
import shutil
import time
from pathlib import Path

import pytest

from bistill_hub import InputError
from bistill_hub.pipeline import manifest
from bistill_hub.pipeline.manifest import (
    MANIFEST_FILE,
    STARTED_FILE,
    WORK_FOLDER,
    complete,
    finished,
    started,
    why_again,
)

INPUTS = {"settings": 1}


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when it is told to."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def passing(clock, seconds, error=None):
    """Work that takes so long, and ends with an error or not."""

    def work(folder):
        clock[0] += seconds
        if error is not None:
            raise error
        (folder / "output").write_text("made")
        return {}

    return work


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), OSError(28, "no room"), RuntimeError()])
def test_the_seconds_of_a_process_that_was_interrupted_are_counted(tmp_path, clock, error):
    folder = tmp_path / "stage"
    for seconds in (20, 3):
        with pytest.raises(type(error)):
            complete("stage", folder, INPUTS, passing(clock, seconds, error))
        clock[0] += 1000  # nothing works on it
    record = complete("stage", folder, INPUTS, passing(clock, 4))
    assert record.seconds == 27
    assert json.loads((folder / MANIFEST_FILE).read_text())["seconds"] == 27
    assert finished("stage", folder, INPUTS).seconds == 27
    assert not (folder / STARTED_FILE).exists()


def killed_after(folder, seconds, *, name="training/checkpoint-4/complete.json"):
    """Make a stage look as if the process that began it had written a file so much later, and then been killed."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    begun = (folder / STARTED_FILE).stat().st_mtime
    for place in (file, *file.parents):
        if place.is_relative_to(folder):
            os.utime(place, (begun, begun + seconds))


def test_of_a_process_that_was_killed_the_seconds_up_to_its_last_checkpoint_are_counted(tmp_path, clock):
    folder = tmp_path / "stage"
    with pytest.raises(KeyboardInterrupt):
        complete("stage", folder, INPUTS, passing(clock, 5, KeyboardInterrupt()))
    killed_after(folder, 60)
    killed_after(folder, 5000, name="training/.DS_Store")
    assert complete("stage", folder, INPUTS, passing(clock, 4)).seconds == pytest.approx(69, abs=0.2)


def test_what_an_earlier_process_left_is_not_counted_again(tmp_path, clock):
    folder = tmp_path / "stage"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            complete("stage", folder, INPUTS, passing(clock, 5, KeyboardInterrupt()))
    killed_after(folder, -60)
    assert complete("stage", folder, INPUTS, passing(clock, 4)).seconds == 19


def test_seconds_spent_with_other_inputs_are_not_counted(tmp_path, clock):
    folder = tmp_path / "stage"
    with pytest.raises(KeyboardInterrupt):
        complete("stage", folder, {"settings": 2}, passing(clock, 5, KeyboardInterrupt()))
    (folder / WORK_FOLDER).mkdir()
    assert not started(folder, INPUTS)
    assert complete("stage", folder, INPUTS, passing(clock, 4)).seconds == 4


def test_a_stage_that_was_begun_before_seconds_were_kept_goes_on(tmp_path, clock):
    folder = tmp_path / "stage"
    with pytest.raises(KeyboardInterrupt):
        complete("stage", folder, INPUTS, passing(clock, 5, KeyboardInterrupt()))
    begun = json.loads((folder / STARTED_FILE).read_text())
    (folder / STARTED_FILE).write_text(json.dumps(begun["fingerprint"]))
    assert started(folder, INPUTS)
    (folder / "kept").write_text("by the stage's earlier process")
    record = complete("stage", folder, INPUTS, passing(clock, 4))
    assert record.seconds == 4
    assert set(record.outputs) == {"kept", "output"}


def test_a_disk_that_is_full_at_the_end_hides_no_reason(tmp_path, clock, monkeypatch):
    folder = tmp_path / "stage"
    real = manifest.write_json

    def full(file, content):
        if file.name == STARTED_FILE and file.exists():
            raise OSError(28, "No space left on device")
        real(file, content)

    monkeypatch.setattr(manifest, "write_json", full)
    with pytest.raises(RuntimeError, match="the reason"):
        complete("stage", folder, INPUTS, passing(clock, 5, RuntimeError("the reason")))
    assert started(folder, INPUTS)


# --- whether it is finished


def writing(**files):
    """Work that leaves files with this content, called by their names with an underscore for the dot."""

    def work(folder):
        for name, content in files.items():
            (folder / name.replace("_", ".", 1)).write_text(content)
        return {}

    return work


WEIGHTS = {"model_safetensors": "weights", "config_json": "{}", "notes_txt": ""}


@pytest.fixture
def whole(tmp_path):
    """The folder of a finished stage."""
    complete("stage", tmp_path / "stage", INPUTS, writing(**WEIGHTS))
    return tmp_path / "stage"


def change(folder, **parts):
    """Write a finished stage's manifest with other parts; None leaves one out."""
    file = folder / MANIFEST_FILE
    record = {**json.loads(file.read_text()), **parts}
    file.write_text(json.dumps({name: part for name, part in record.items() if part is not None}))


@pytest.mark.parametrize("left", [b"", b'{"stage": "st', b"\x00" * 400, b"\xff\xfe", b"[]", b"{}", b'"text"', b"null"])
def test_a_manifest_that_is_not_whole_is_of_a_stage_that_is_not_finished(whole, left):
    (whole / MANIFEST_FILE).write_bytes(left)
    assert finished("stage", whole, INPUTS) is None
    assert not started(whole, INPUTS)
    if left != b"null":
        assert why_again(whole, INPUTS) == "its manifest is damaged"


@pytest.mark.parametrize("left", [b"", b'{"finger', b"\x00" * 40])
def test_a_stage_whose_manifest_a_power_cut_has_left_is_done_again(whole, left):
    (whole / MANIFEST_FILE).write_bytes(left)
    record = complete("stage", whole, INPUTS, writing(**WEIGHTS))
    assert not record.skipped
    assert finished("stage", whole, INPUTS).outputs == record.outputs


@pytest.mark.parametrize(
    "left", [b"", b'{"fingerprint": "a', b"{}", b"[]", b"null", b'{"fingerprint": "a", "seconds": []}']
)
def test_a_stage_begun_before_a_power_cut_begins_anew_where_its_file_is_not_whole(tmp_path, left):
    folder = tmp_path / "stage"
    (folder / WORK_FOLDER).mkdir(parents=True)
    (folder / STARTED_FILE).write_bytes(left)
    (folder / WORK_FOLDER / "checkpoint").write_text("of whom?")
    assert not started(folder, INPUTS)
    if left == b"null":
        (folder / STARTED_FILE).write_bytes(b"")

    def work(place):
        assert not (place / WORK_FOLDER).exists()
        return {}

    assert complete("stage", folder, INPUTS, work).outputs == {}


@pytest.mark.parametrize(
    ("name", "content"), [("model.safetensors", "weight"), ("config.json", ""), ("notes.txt", "a")]
)
def test_a_file_of_another_size_is_of_a_stage_that_is_not_finished(whole, name, content):
    (whole / name).write_text(content)
    assert finished("stage", whole, INPUTS) is None
    assert finished("stage", whole, INPUTS, files=False) is not None
    assert why_again(whole, INPUTS) == "files of it are missing or damaged"
    assert not complete("stage", whole, INPUTS, writing(**WEIGHTS)).skipped


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_without_sizes_what_an_older_version_finished_counts_unless_it_is_empty(whole, name):
    change(whole, sizes=None)
    (whole / name).write_text("other")
    assert finished("stage", whole, INPUTS) is not None
    (whole / name).write_text("")
    assert finished("stage", whole, INPUTS) is None


def test_the_card_of_a_finished_package_may_be_edited(tmp_path):
    folder = tmp_path / "package"
    complete("package", folder, INPUTS, writing(README_md="limits", card_json="{}", losses_png="x"))
    for name in ("README.md", "card.json", "losses.png"):
        (folder / name).write_text("written by somebody who knows the language")
    assert complete("package", folder, INPUTS, writing()).skipped


def test_a_dot_file_that_appears_meanwhile_is_no_output(tmp_path):
    folder = tmp_path / "stage"

    def work(place):
        (place / "deeper").mkdir()
        for name in (".DS_Store", "deeper/.DS_Store", "deeper/output"):
            (place / name).write_text("made")
        return {}

    assert set(complete("stage", folder, INPUTS, work).outputs) == {"deeper/output"}
    (folder / ".DS_Store").unlink()
    assert finished("stage", folder, INPUTS) is not None


def test_a_dot_file_that_an_older_version_took_for_an_output_may_go(whole):
    change(whole, outputs={**json.loads((whole / MANIFEST_FILE).read_text())["outputs"], "deeper/.DS_Store": "0"})
    assert finished("stage", whole, INPUTS) is not None


EVALUATED = {"eval_f1": 0.5, "epoch": 1.0, "step": 4}
DIVERGED = [{**EVALUATED, "eval_loss": math.nan}, {**EVALUATED, "eval_f1": 0.1, "eval_loss": 1.0}]


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        ({"loss": 0.5, "curve": [{"eval_loss": 0.5, "step": 2}]}, True),
        ({"loss": None, "curve": []}, True),
        ({"loss": math.nan, "curve": [{"eval_loss": math.nan, "step": 2}]}, False),
        ({"loss": math.inf}, False),
        ({"loss": 0.5, "curve": [{"eval_loss": 0.5, "step": 2}, {"eval_loss": math.nan, "step": 4}]}, True),
        ({"loss": 0.1, "validation": 0.5, "curve": DIVERGED}, False),
        ({"loss": 0.1, "validation": 0.1, "curve": DIVERGED}, True),
    ],
    ids=["finite", "untrained", "phase 1", "infinite", "best kept", "teacher", "teacher kept"],
)
def test_a_training_whose_loss_is_not_finite_is_not_finished(whole, facts, counts):
    change(whole, facts=facts)
    assert (finished("stage", whole, INPUTS) is not None) == counts
    assert why_again(whole, INPUTS) == ("" if counts else "its loss is not finite")
    assert complete("stage", whole, INPUTS, writing(**WEIGHTS)).skipped == counts


def test_all_that_a_stage_has_left_is_on_the_disk_before_its_manifest(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_ino), real(handle)))

    def work(place):
        (place / "deeper").mkdir()
        (place / "deeper" / "model.safetensors").write_text("weights")
        return {}

    folder = tmp_path / "stage"
    complete("stage", folder, INPUTS, work)
    order = [
        synced.index((folder / name).stat().st_ino) for name in ("deeper/model.safetensors", "deeper", MANIFEST_FILE)
    ]
    assert order == sorted(order)
    assert synced[-1] == folder.stat().st_ino, "its new name, before checkpoints are removed"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_disk_that_cannot_be_waited_for_is_not_waited_for(tmp_path, monkeypatch, code):
    def refuse(_handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    assert complete("stage", tmp_path / "stage", INPUTS, writing(**WEIGHTS)).outputs


def test_a_disk_that_turns_out_to_be_full_leaves_the_stage_unfinished(tmp_path, monkeypatch):
    folder, real = tmp_path / "stage", os.fsync

    def refuse(handle):
        if os.fstat(handle).st_ino == (folder / "model.safetensors").stat().st_ino:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(handle)

    def work(place):
        made = writing(**WEIGHTS)(place)
        monkeypatch.setattr(os, "fsync", refuse)
        return made

    with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
        complete("stage", folder, INPUTS, work)
    assert not (folder / MANIFEST_FILE).exists()


@pytest.mark.parametrize("look", [finished, lambda _, *rest: started(*rest), lambda _, *rest: why_again(*rest)])
def test_a_folder_that_is_another_users_is_told_of_in_a_sentence(whole, monkeypatch, look):
    def refuse(real):
        def call(self, *args, **kwargs):
            if self.parent == whole:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
            return real(self, *args, **kwargs)

        return call

    for name in ("stat", "open", "read_text"):
        monkeypatch.setattr(Path, name, refuse(getattr(Path, name)))
    with pytest.raises(InputError, match=r"stage': this stage's folder cannot be looked at \(Permission denied\)"):
        look("stage", whole, INPUTS)


# --- what is removed


def test_what_no_stage_has_left_is_not_removed(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "thesis.txt").write_text("five years")
    with pytest.raises(InputError, match=r"holds what no run has left: thesis\.txt"):
        complete("student", folder, INPUTS, writing(**WEIGHTS))
    assert (folder / "thesis.txt").read_text() == "five years"


def test_of_a_link_to_a_folder_elsewhere_the_content_is_removed_and_the_link_stays(tmp_path):
    elsewhere, folder = tmp_path / "large" / "disk", tmp_path / "phase-1"
    elsewhere.mkdir(parents=True)
    folder.symlink_to(elsewhere)

    def stopped(place):
        (place / WORK_FOLDER / "checkpoint-2").mkdir(parents=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete("phase 1", folder, {"settings": 2}, stopped)

    def work(place):
        assert not (place / WORK_FOLDER).exists(), "checkpoints of other settings"
        return writing(**WEIGHTS)(place)

    complete("phase 1", folder, INPUTS, work)
    complete("phase 1", folder, {"settings": 3}, writing(model_safetensors="others"))
    assert folder.is_symlink()
    assert {file.name for file in elsewhere.iterdir()} == {"model.safetensors", MANIFEST_FILE}


def test_a_link_inside_is_removed_and_what_it_leads_to_stays(whole, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("mine")
    (whole / "link").symlink_to(tmp_path / "mine")
    complete("stage", whole, {"settings": 2}, writing())
    assert not (whole / "link").is_symlink()
    assert (tmp_path / "mine" / "text").read_text() == "mine"


def test_a_folder_of_which_something_is_left_is_not_gone_on_in(whole, monkeypatch):
    (whole / WORK_FOLDER / "checkpoint-2").mkdir(parents=True)

    def refuse(place, *_args, **_kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=r"not all of its folder can be removed \(.*training: Permission denied\)"):
            complete("stage", whole, {"settings": 2}, writing())
    for inputs in (INPUTS, {"settings": 2}):
        assert finished("stage", whole, inputs) is None
        assert not started(whole, inputs)


@pytest.mark.parametrize("removals", range(1, 9))
def test_a_process_that_is_killed_while_it_removes_leaves_a_folder_that_is_begun_anew(whole, monkeypatch, removals):
    (whole / WORK_FOLDER).mkdir()
    (whole / WORK_FOLDER / "checkpoint").write_text("of the finished stage")
    left = [removals]

    def dying(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir", "replace"):
            patch.setattr(os, name, dying(getattr(os, name)))
        with pytest.raises(KeyboardInterrupt):
            complete("stage", whole, {"settings": 2}, writing())
    assert not started(whole, INPUTS)
    if removals > 1:
        assert finished("stage", whole, INPUTS) is None
    complete("stage", whole, INPUTS, writing(**WEIGHTS))
    assert {file.name for file in whole.iterdir()} == {"model.safetensors", "config.json", "notes.txt", MANIFEST_FILE}
