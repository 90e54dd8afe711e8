"""A run's folder is kept elsewhere as it is, comes back, and is never a state that the run has not been in."""

import logging
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.mirror import Mirror, mirrored


def written(folder):
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def write(folder, path, content, when):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(content)
    os.utime(folder / path, ns=(when, when))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "bucket" / "pair"


def test_the_copy_follows_what_is_written_changed_and_removed(folder, place):
    mirror = Mirror(folder, place)
    write(folder, "student/config.json", "{}", 1)
    write(folder, "recipe.json", "first", 2)
    assert mirror.update() == 2
    assert written(place) == {"student/config.json": "{}", "recipe.json": "first"}
    write(folder, "recipe.json", "other", 3)
    (folder / "student" / "config.json").unlink()
    assert mirror.update() == 1
    assert written(place) == {"recipe.json": "other"}
    assert mirror.update() == 0


def test_locks_and_half_written_files_stay_at_home(folder, place):
    for path in (".running", "phase-1/manifest.unfinished", "phase-1/training/checkpoint-3/complete.json.unfinished"):
        write(folder, path, "x", 1)
    assert Mirror(folder, place).update() == 0
    assert not place.exists()


def test_what_another_run_has_left_is_replaced(folder, place):
    write(place, "package/old", "old", 1)
    write(place, "recipe.json", "same", 2)
    write(folder, "recipe.json", "same", 2)
    Mirror(folder, place).update()
    assert written(place) == {"recipe.json": "same"}


def test_a_new_folder_begins_with_the_copy_and_the_copy_stays_if_nothing_changes(folder, place):
    write(folder, "phase-1/training/checkpoint-3/complete.json", "{}", 1)
    Mirror(folder, place).update()
    before = written(place)
    with mirrored(folder.with_name("new"), place, seconds=100) as new:
        assert written(new) == before
    assert written(place) == before


def test_a_folder_that_holds_something_is_not_overwritten(folder, place):
    write(place, "recipe.json", "kept", 1)
    write(folder, "recipe.json", "newer", 2)
    with mirrored(folder, place, seconds=100):
        assert written(folder) == {"recipe.json": "newer"}
    assert written(place) == {"recipe.json": "newer"}


def test_the_copy_is_updated_meanwhile_and_after_a_failure(folder, place):
    def fail():
        with mirrored(folder, place, seconds=0.01):
            write(folder, "a", "1", 1)
            while not (place / "a").is_file():
                time.sleep(0.01)
            write(folder, "b", "2", 2)
            raise SystemExit(3)

    with pytest.raises(SystemExit) as ended:
        fail()
    assert ended.value.code == 3
    assert written(place) == {"a": "1", "b": "2"}


def test_without_a_place_nothing_is_kept(folder):
    with mirrored(folder / "runs" / "pair", None) as made:
        assert made.is_dir()


def test_a_copy_that_cannot_be_written_is_logged_and_the_work_goes_on(folder, place, caplog):
    place.parent.write_text("a file where the bucket should be")
    with caplog.at_level(logging.WARNING), mirrored(folder, place, seconds=100):
        write(folder, "a", "1", 1)
    assert str(place) in caplog.text
    assert written(folder) == {"a": "1"}


class Broken(Exception):
    """The machine is gone."""


PATHS = ("data-1", "data-2", "data-3", "complete")


@settings(deadline=None)
@given(
    rounds=st.lists(st.lists(st.sampled_from(PATHS[:3]), unique=True), min_size=1, max_size=4),
    after=st.integers(0, 12),
)
def test_a_marker_in_the_copy_is_never_beside_data_that_are_not_its_own(tmp_path_factory, rounds, after):
    """The run removes its marker, rewrites data, and writes the marker with the data's content; copying breaks off."""
    base = tmp_path_factory.mktemp("broken")
    folder, place = base / "run", base / "copy"
    folder.mkdir()
    mirror, clock, left = Mirror(folder, place), 0, after
    real_copy, real_unlink = shutil.copyfile, Path.unlink

    def counted(real):
        def call(*words, **named):
            nonlocal left
            if left == 0:
                raise Broken
            left -= 1
            return real(*words, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "copyfile", counted(real_copy))
        try:
            for number, changed in enumerate(rounds):
                (folder / "complete").unlink(missing_ok=True)
                for path in changed:
                    clock += 1
                    write(folder, path, f"{path} of round {number}", clock)
                data = written(folder)
                clock += 1
                write(folder, "complete", repr(sorted(data.items())), clock)
                patch.setattr(Path, "unlink", counted(real_unlink))
                mirror.update()
                patch.setattr(Path, "unlink", real_unlink)
        except Broken:
            patch.setattr(Path, "unlink", real_unlink)
    kept = {path: content for path, content in (written(place) if place.is_dir() else {}).items() if path in PATHS}
    marker = kept.pop("complete", None)
    assert marker is None or marker == repr(sorted(kept.items()))
