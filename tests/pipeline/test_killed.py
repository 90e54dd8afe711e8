"""A run that is killed at any moment and started again ends with the same bytes as one that was left alone."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from fresh import run_fresh

from bistill_hub import run
from bistill_hub.cards.card import rendered_card
from bistill_hub.cards.facts import read_facts

# Where, and up to how many events each process may live to see there; see killing.py.
PLACES = {
    "phase-1": 8,
    "ner-teacher": 8,
    "ner-phase-2/training/dense": 8,
    "ner-phase-2/training/sparse": 12,
    "ner-evaluation": 6,
    "package": 8,
}


@pytest.fixture(scope="module")
def recipe(small_recipes):
    """Long enough to be killed many times, with checkpoints every few updates, within epochs too."""
    changes = {"bilingual.steps": 30, "bilingual.evaluation_every": 10, "checkpoint_every": 4}
    return small_recipes["xlm-roberta"].replace({**changes, "baselines": ["trimmed_teacher"]})


@pytest.fixture(scope="module", params=[2, pytest.param(5, marks=pytest.mark.whole)])
def kills(request):
    """Where the processes are killed, so many at each place, and at which event."""
    moments = random.Random(0)
    return [(place, moments.randint(1, most)) for place, most in PLACES.items() for _ in range(request.param)]


@pytest.fixture(scope="module")
def folders(recipe, kills, tmp_path_factory):
    """The folder of a run that was left alone, of one that was killed over and over, and how its processes ended."""
    folder = tmp_path_factory.mktemp("killed")
    plan = {"recipe": recipe.model_dump(mode="json"), "folder": str(folder / "killed"), "kills": kills}
    (folder / "plan.json").write_text(json.dumps(plan))
    arguments = [str(Path(__file__).with_name("killing.py")), str(folder / "plan.json")]
    done = run_fresh(f"import runpy, sys; sys.argv = {arguments}; runpy.run_path(sys.argv[0], run_name='__main__')")
    assert done.returncode == 0, done.stderr[-3000:]
    run(recipe, folder / "whole", progress=False)
    return folder / "whole", folder / "killed", json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_every_process_but_the_last_was_killed(folders, kills):
    _, _, ends, errors = folders
    assert ends == [-9] * len(kills) + [0], errors[-3000:]


TIMED = ("README.md", "card.json", "size_and_speed.json", "assets/retention.png")
"""Files of a pair in which times stand. All but size and speed are made of its facts alone."""


def without_times(file):
    """A file's content less the times in it: how long stages took, how fast the models are, and hashes of those."""
    if file.name == "manifest.json":
        record = json.loads(file.read_bytes())
        del record["seconds"]
        for timed in TIMED:
            record["outputs"].pop(timed, None)
            record["outputs"].pop(f"repository/{timed}", None)
            for name in (timed, f"repository/{timed}"):
                record["sizes"].pop(name, None)
        if record["inputs"].get("after", {}).pop("speed", None):
            del record["fingerprint"]
        return record
    if file.name == "size_and_speed.json":
        found = json.loads(file.read_bytes())
        conditions = ("device", "threads", "batch", "length", "dtype", "hardware")
        return {**found, "speeds": [{name: speed[name] for name in conditions} for speed in found["speeds"]]}
    if file.name in TIMED or file.name == "retention.png":
        repository = file.parents[1] if file.parent.name == "assets" else file.parent
        assert (repository / "README.md").read_text() == rendered_card(repository)
        facts = read_facts(repository)
        stages = [{**stage, "seconds": 0.0} for stage in facts.training["stages"]]
        return replace(facts, training={**facts.training, "stages": stages}, size_and_speed=None)
    return file.read_bytes()


def test_all_files_are_those_of_the_run_that_was_left_alone(folders):
    whole, killed, _, _ = folders
    names = {place.relative_to(whole) for place in whole.rglob("*") if place.is_file()}
    assert {place.relative_to(killed) for place in killed.rglob("*") if place.is_file()} == names
    assert {"ner-phase-2/delta.safetensors", "ner-evaluation/results.json"} <= {name.as_posix() for name in names}
    for name in sorted(names):
        assert without_times(killed / name) == without_times(whole / name), name
