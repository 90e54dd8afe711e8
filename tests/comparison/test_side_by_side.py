"""Several processes work through one comparison at once: a stage is one's, and the table is that of a single one."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest
from compared import bytes_of, small_pair
from filelock import FileLock

from bistill_hub.comparison import queue
from bistill_hub.comparison.compare import compare
from bistill_hub.pipeline import executor

AGAINST = ["no_phase_1"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def alone(pair, tmp_path_factory):
    """Folder of the comparison as one process makes it. Do not write into it."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    compare(pair, AGAINST, folder, progress=False)
    return folder


def worked_on(monkeypatch):
    """Note which stages are really worked on, and whether others are kept from them meanwhile."""
    done, real = [], executor.complete

    def complete(name, folder, inputs, work, **kwargs):
        def noted(place):
            done.append((name, queue._Places(place.parent.parent).in_other_hands(place)))
            return work(place)

        return real(name, folder, inputs, noted, **kwargs)

    monkeypatch.setattr(executor, "complete", complete)
    return done


@pytest.fixture
def others(alone, tmp_path, monkeypatch):
    """A folder in which another process trains the task's teacher; it is gone when somebody waits for it."""
    folder = tmp_path / "out"
    (teacher,) = (alone / "stages").glob("ner-teacher-*")
    (folder / queue.LOCKS_FOLDER).mkdir(parents=True)
    with ExitStack() as held:
        held.enter_context(FileLock(folder / queue.LOCKS_FOLDER / f"{teacher.name}.lock"))
        monkeypatch.setattr(queue.time, "sleep", lambda _seconds: held.close())
        yield folder


def test_rows_that_wait_for_anothers_stage_are_put_off_and_done_in_the_end(pair, alone, others, monkeypatch):
    done = worked_on(monkeypatch)
    compare(pair, AGAINST, others, progress=False)
    assert done == [
        (name, True)
        for name in (
            *("student", "phase 1", "phase 1"),  # the student's and that of no steps, up to the task's teacher
            *("ner teacher", "ner scores"),
            *(2 * ["ner phase 2", "ner scores"]),
        )
    ]
    assert bytes_of(others) == bytes_of(alone)


def test_what_another_process_has_finished_meanwhile_is_not_done_again(pair, alone, others, monkeypatch):
    released = queue.time.sleep

    def finish(seconds):
        for place in (alone / "stages").glob("ner-teacher-*"):
            shutil.copytree(place, others / "stages" / place.name)
        released(seconds)

    monkeypatch.setattr(queue.time, "sleep", finish)
    done = worked_on(monkeypatch)
    compare(pair, AGAINST, others, progress=False)
    assert "ner teacher" not in [name for name, _ in done]
    assert bytes_of(others) == bytes_of(alone)


def test_two_commands_at_once_end_in_the_table_of_one(pair, alone, tmp_path):
    recipe = tmp_path / "pair.py"
    recipe.write_text(
        f"from bistill_hub.recipe import Recipe\n\nRECIPE = Recipe.make({pair.model_dump(mode='json')!r})\n"
    )
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "bistill_hub", "compare", str(recipe), "--against", *AGAINST, "--yes"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([*command, "--output", str(folder)], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert {place.name for place in (folder / "stages").iterdir()} == {
        place.name for place in (alone / "stages").iterdir()
    }
    assert bytes_of(folder) == bytes_of(alone)
