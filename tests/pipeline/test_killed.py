"""A run that is killed at any moment and started again ends with the same bytes as one that was left alone."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bistill_hub import run

# Where, and up to how many events each process may live to see there; see killing.py.
PLACES = {
    "phase-1": 8,
    "ner-teacher": 8,
    "ner-phase-2/training/dense": 8,
    "ner-phase-2/training/sparse": 12,
    "ner-evaluation": 6,
    "package": 8,
}
KILLS = 5


@pytest.fixture(scope="module")
def recipe(small_recipes):
    """Long enough to be killed many times, with checkpoints every few updates, within epochs too."""
    changes = {"bilingual.steps": 30, "bilingual.evaluation_every": 10, "checkpoint_every": 4}
    return small_recipes["xlm-roberta"].replace({**changes, "baselines": ["trimmed_teacher"]})


@pytest.fixture(scope="module")
def folders(recipe, tmp_path_factory):
    """The folder of a run that was left alone, of one that was killed over and over, and how its processes ended."""
    folder = tmp_path_factory.mktemp("killed")
    moments = random.Random(0)
    kills = [(place, moments.randint(1, most)) for place, most in PLACES.items() for _ in range(KILLS)]
    plan = {"recipe": recipe.model_dump(mode="json"), "folder": str(folder / "killed"), "kills": kills}
    (folder / "plan.json").write_text(json.dumps(plan))
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "plan.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run(recipe, folder / "whole", progress=False)
    return folder / "whole", folder / "killed", json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_every_process_but_the_last_was_killed(folders):
    _, _, ends, errors = folders
    assert ends == [-9] * KILLS * len(PLACES) + [0], errors[-3000:]


def without_times(file):
    """A file's content less the wall times in it: seconds in manifests, minutes in the card's table of stages."""
    content = file.read_bytes()
    if file.name == "manifest.json":
        record = json.loads(content)
        del record["seconds"]
        # What was packaged has other minutes on its card.
        record["outputs"].pop("repository/README.md", None)
        return record
    if file.name == "README.md":
        return re.sub(rb"\| [\d.]+ \|$", b"|", content, flags=re.MULTILINE)
    return content


def test_all_files_are_those_of_the_run_that_was_left_alone(folders):
    whole, killed, _, _ = folders
    names = {place.relative_to(whole) for place in whole.rglob("*") if place.is_file()}
    assert {place.relative_to(killed) for place in killed.rglob("*") if place.is_file()} == names
    assert {"ner-phase-2/delta.safetensors", "ner-evaluation/results.json"} <= {name.as_posix() for name in names}
    for name in sorted(names):
        assert without_times(killed / name) == without_times(whole / name), name
