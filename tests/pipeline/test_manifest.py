"""A stage's seconds are those of all processes that worked on it; what goes in decides whether one goes on."""

import json
import os
import time

import pytest

from bistill_hub.pipeline import manifest
from bistill_hub.pipeline.manifest import MANIFEST_FILE, STARTED_FILE, WORK_FOLDER, complete, finished, started

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
