"""A training's last loss is a mean over its end, whatever the log's steps, and is called what it is."""

import pytest

from bistill_hub.cards.tables import stage_loss
from bistill_hub.pipeline.manifest import StageRecord
from bistill_hub.pipeline.packaging import training_row
from bistill_hub.pipeline.training import last_loss


def log(losses, each=1):
    """A log with an entry every `each` updates, and an evaluation after each."""
    entries = []
    for number, loss in enumerate(losses, 1):
        entries += [{"step": number * each, "loss": loss}, {"step": number * each, "eval_f1": 0.5}]
    return entries


def saw(updates, tooth=50):
    """Losses that fall within stretches of batches, and on the whole not at all."""
    return [1 - (update % tooth) / tooth for update in range(updates)]


def test_it_does_not_fall_where_a_stretch_of_batches_happens_to_be():
    means = [last_loss(log(saw(updates))) for updates in range(100, 160)]
    assert {each["loss_updates"] for each in means} == {50}
    assert all(each["loss"] == pytest.approx(0.51) for each in means)
    assert saw(150)[-1] == pytest.approx(0.02)


def test_of_a_long_training_it_is_over_the_last_tenth():
    found = last_loss(log([9.0] * 900 + [2.0, 4.0] * 50))
    assert found == {"loss": 3.0, "loss_updates": 100}


def test_of_a_short_one_it_is_over_all_of_it():
    assert last_loss(log([1.0, 2.0, 6.0])) == {"loss": 3.0, "loss_updates": 3}


def test_an_entry_counts_by_the_updates_that_it_is_a_mean_over():
    assert last_loss([{"step": 10, "loss": 1.0}, {"step": 40, "loss": 5.0}]) == {"loss": 4.0, "loss_updates": 40}
    # 50 updates are wanted: those of three entries of 20, whole as they are.
    assert last_loss(log([9.0, 9.0, 1.0, 2.0, 3.0], each=20)) == {"loss": 2.0, "loss_updates": 60}


def test_a_log_without_a_loss_has_none():
    assert last_loss([]) == last_loss([{"step": 1, "eval_f1": 0.5}]) == {"loss": None, "loss_updates": 0}


def record(facts, name="ner phase 2"):
    return StageRecord(
        name=name,
        folder=None,
        fingerprint="",
        after={},
        outputs={},
        facts=facts,
        seconds=60.0,
        machine="",
        skipped=False,
    )


@pytest.mark.parametrize(
    ("name", "facts", "told"),
    [
        ("ner phase 2", {"loss": 0.51234, "loss_updates": 1250}, "0.5123 (mean of the last 1,250 updates)"),
        ("ner teacher", {"loss": 0.5, "loss_updates": 1}, "0.5 (last update)"),
        ("ner phase 2", {"loss": 0.5}, "0.5 (last one logged)"),
        ("phase 1", {"loss": 0.1234}, "0.1234 (lowest on held-out text)"),
        ("phase 1", {"loss": None}, ""),
        ("ner teacher", {"loss": None, "loss_updates": 0}, ""),
        ("student", {}, ""),
    ],
    ids=["mean", "one update", "older record", "phase 1", "phase 1 left out", "teacher taken", "no training"],
)
def test_a_table_says_what_the_loss_is(name, facts, told):
    assert stage_loss(training_row(record(facts, name))) == told
