"""Contenders can be trained without a test set being scored; a comparison goes on from there."""

import pytest
from compared import small_pair

from bistill_hub.comparison.compare import compare
from bistill_hub.comparison.cost import cost_of
from bistill_hub.comparison.memory import ROWS_FILE
from bistill_hub.comparison.rows import Asked
from bistill_hub.comparison.trainings import train_contenders

NAME = "from_scratch_fine_tuned"
RATE = "bilingual.learning_rate"
SEEDS = (0, 1)
WORDS = {"alone": True, "progress": False}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def tried(pair, tmp_path_factory):
    """The folder in which a rate was tried, what it was said to cost, and what came of it."""
    folder, own = tmp_path_factory.mktemp("tried") / "out", {NAME: {RATE: 1e-3}}
    cost = cost_of(pair, [NAME], folder, seeds=SEEDS, own=own, train_only=True, **WORDS)
    return folder, cost, train_contenders(pair, [NAME], folder, seeds=SEEDS, own=own, **WORDS)


def stages_in(folder):
    return sorted(place.name.rpartition("-")[0] for place in (folder / "stages").iterdir())


def test_everything_is_trained_and_nothing_scored(tried):
    folder, cost, found = tried
    assert stages_in(folder) == sorted(["student", "phase-1", "ner-phase-2"] * len(SEEDS))
    assert cost.to_do == len(stages_in(folder))
    assert not found.failed
    assert not list(folder.glob("comparison*")), "there is nothing to make a table of"
    assert not (folder / ROWS_FILE).exists(), "no later table misses what was only tried"


def test_each_training_tells_what_it_reached(tried):
    folder, _, found = tried
    assert [(each.contender, each.seed, each.stage) for each in found.finished] == [
        (NAME, seed, stage) for seed in SEEDS for stage in ("phase 1", "ner phase 2")
    ]
    of_text, of_task = found.finished[:2]
    assert of_text.held_out_losses
    assert all(loss > 0 for loss in of_text.held_out_losses)
    assert (of_text.development_score, of_task.held_out_losses) == (None, ())
    assert 0 <= of_task.development_score <= 1
    assert of_task.trivial is not None
    assert all(each.folder.parent == folder / "stages" and each.seconds >= 0 for each in found.finished)


def test_another_value_leaves_its_stages_beside_the_first_and_the_chosen_one_is_only_scored(pair, tried):
    folder, _, before = tried
    other = train_contenders(pair, [NAME], folder, own={NAME: {RATE: 5e-4}}, **WORDS)
    trained = sorted(["student", "phase-1", "ner-phase-2"] * len(SEEDS) + ["phase-1", "ner-phase-2"])
    assert stages_in(folder) == trained
    assert {each.folder for each in other.finished}.isdisjoint(each.folder for each in before.finished)
    own = {NAME: {RATE: 1e-3}}
    cost = cost_of(pair, [NAME], folder, seeds=SEEDS, own=own, **WORDS)
    assert cost.to_do == len(SEEDS), "the scores"
    found = compare(pair, [NAME], folder, seeds=SEEDS, own=own, **WORDS)
    assert stages_in(folder) == sorted([*trained, *["ner-scores"] * len(SEEDS)])
    assert {score.contender for score in found.scores} == {NAME}
    assert not found.missing
    after = train_contenders(pair, [NAME], folder, seeds=SEEDS, own=own, **WORDS)
    assert after == before, "what was scored still tells how it was trained"


def test_what_fails_is_told(pair, tmp_path, monkeypatch):
    asked = Asked("no_phase_1", 0, "ner")

    def work_through(rows, folder, failed, *, progress):
        assert [(row.asked, row.stages[-1].name) for row in rows] == [(asked, "ner phase 2")]
        failed[asked] = "no luck"

    monkeypatch.setattr("bistill_hub.comparison.trainings.work_through", work_through)
    found = train_contenders(pair, ["no_phase_1"], tmp_path / "out", **WORDS)
    assert (found.finished, found.failed) == ((), {asked: "no luck"})
