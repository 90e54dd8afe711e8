"""Means over seeds and their intervals, against resamples that are drawn and scored one by one."""

from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.comparison.beside import each_beside_each
from bistill_hub.comparison.counted import CountedTest, counted_tests
from bistill_hub.comparison.table import RESAMPLES, averaged, compare_means, mean_interval, scores_of
from bistill_hub.evaluation.kept import write_predictions
from bistill_hub.evaluation.paired import paired_intervals
from bistill_hub.evaluation.size import Size
from bistill_hub.pipeline.manifest import StageRecord
from bistill_hub.pipeline.preflight import TaskData
from bistill_hub.recipe import Recipe
from bistill_hub.tasks import get_task


def f1(summed):
    """F1 of true positives, predicted and gold entities."""
    found = np.asarray(summed, float)
    total = found[..., 1] + found[..., 2]
    return np.divide(2 * found[..., 0], total, out=np.zeros(total.shape), where=total > 0)


def counts(rng, examples, quality):
    gold = rng.integers(1, 4, examples)
    hit = rng.binomial(gold, quality)
    return np.stack([hit, gold, gold], axis=1)


def one_by_one(models, examples):
    """Score resamples of example numbers: for each a list of each model's mean F1 over its seeds."""
    drawn = np.random.default_rng(0).multinomial(examples, np.full(examples, 1 / examples), size=RESAMPLES)
    scored = []
    for row in drawn:
        picked = [number for number, times in enumerate(row) for _ in range(times)]
        scored.append([fmean(float(f1(seed[picked].sum(axis=0))) for seed in seeds) for seeds in models])
    return np.array(scored)


def middle(values):
    ordered = np.sort(values)
    return tuple(float(np.interp(share * (len(ordered) - 1), range(len(ordered)), ordered)) for share in (0.025, 0.975))


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_are_those_of_resamples_drawn_one_by_one(seeds):
    rng = np.random.default_rng(5)
    teacher, student = ([counts(rng, 30, quality) for _ in range(seeds)] for quality in (0.8, 0.6))
    trivial = counts(rng, 30, 0.1)
    expected = one_by_one([student, teacher, [trivial]], 30)
    assert mean_interval(student, f1) == pytest.approx(middle(expected[:, 0]))
    found = compare_means(student, teacher, trivial, f1)
    ours, theirs, nothing = (fmean(float(f1(s.sum(axis=0))) for s in m) for m in (student, teacher, [trivial]))
    assert found.difference == pytest.approx(ours - theirs)
    assert (found.difference_low, found.difference_high) == pytest.approx(middle(expected[:, 0] - expected[:, 1]))
    assert found.retention == pytest.approx((ours - nothing) / (theirs - nothing))
    kept = (expected[:, 0] - expected[:, 2]) / (expected[:, 1] - expected[:, 2])
    assert (found.retention_low, found.retention_high) == pytest.approx(middle(kept))


def test_retention_is_left_out_where_the_teachers_mean_is_not_above_trivial():
    rng = np.random.default_rng(6)
    good, bad, trivial = counts(rng, 30, 0.9), counts(rng, 30, 0.0), counts(rng, 30, 0.5)
    assert compare_means([good, good], [bad, good], trivial, f1).retention is None
    assert compare_means([good, good], [good, good], trivial, f1).retention == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 3), st.integers(2, 12))
def test_one_seed_is_the_ordinary_comparison_and_seeds_have_no_order(seed, seeds, examples):
    rng = np.random.default_rng(seed)
    ours, theirs = ([counts(rng, examples, rng.random()) for _ in range(seeds)] for _ in range(2))
    trivial = counts(rng, examples, 0.1)
    assert compare_means(ours[:1], theirs[:1], trivial, f1) == paired_intervals(ours[0], theirs[0], trivial, f1)
    there = compare_means(ours, theirs, trivial, f1)
    back = compare_means(ours[::-1], theirs[::-1], trivial, f1)
    assert there.difference == pytest.approx(back.difference)
    assert there.difference_low == pytest.approx(back.difference_low)
    same = compare_means(ours, ours, trivial, f1)
    assert (same.difference, same.difference_low, same.difference_high) == (0, 0, 0)


def test_the_mean_of_a_metric_is_taken_after_it_is_computed():
    side_by_side = np.array([[1, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 1]])
    assert averaged(f1, 2)(side_by_side).tolist() == [0.5, 0.0]
    assert averaged(f1, 1)(np.array([1, 1, 3])) == 0.5


GOLD = [["B-PER", "O"], ["B-LOC", "O"], ["O", "B-PER"], ["O", "O"]]
WRONG = [["O", "O"], ["B-LOC", "O"], ["O", "B-LOC"], ["O", "O"]]
SIZE = {
    "layers": 1,
    "vocabulary": 9,
    "parameters": 100,
    "embedding_parameters": 10,
    "bytes": 400,
    "on_disk": False,
    "flops_per_token": 7.0,
    "flops_length": 128,
}


@pytest.fixture
def task(tmp_path):
    """Data of a task with `GOLD` as its tests, and a recipe for it."""
    lines = "".join("".join(f"w{n}\t{tag}\n" for n, tag in enumerate(tags)) + "\n" for tags in GOLD)
    files = {}
    for name in ("train", "validation", "test_source", "test_target"):
        file = tmp_path / f"{name}.conll"
        file.write_text(lines)
        files[name] = str(file)
    recipe = Recipe.make(
        {
            "name": "pair",
            "source": {"code": "en", "name": "English", "text": "en.txt"},
            "target": {"code": "sw", "name": "Swahili", "text": "sw.txt"},
            "teacher": {"model": "teacher"},
            "license": "mit",
            "limits": "none",
            "tasks": [{"name": "ner", **files}],
        }
    )
    kind = get_task("ner")
    train = kind.read(recipe.tasks[0].train)
    return recipe, TaskData(recipe.tasks[0], kind, kind.labels(train), train, train)


def record(folder, predictions):
    folder.mkdir()
    for code in ("en", "sw"):
        write_predictions(folder / f"{code}.jsonl", predictions)
    return StageRecord("ner scores", folder, "", {}, {}, {"size": SIZE}, 1.0, "", False)


def test_scores_are_computed_from_kept_predictions_and_compared_with_the_same_seeds(task, tmp_path):
    recipe, data = task
    right, half = record(tmp_path / "right", GOLD), record(tmp_path / "half", WRONG)
    found = scores_of(
        counted_tests(
            recipe, data, {"teacher": {0: right, 2: right}, "student": {0: half, 2: right}, "lrf_3": {1: half}}
        )
    )
    student = {score.role: score for score in found if score.contender == "student"}
    half_f1 = 2 * 1 / (2 + 3)  # of three entities one is found, one is of the wrong type, one is missed
    for role, code in (("source", "en"), ("target", "sw")):
        score = student[role]
        assert (score.language, score.n, score.metric, score.trivial) == (code, 4, "f1", 0)
        assert score.by_seed == pytest.approx((half_f1, 1))
        assert score.score == pytest.approx((half_f1 + 1) / 2)
        assert score.deviation == pytest.approx(stdev((half_f1, 1)))
        assert score.to_teacher.difference == pytest.approx((half_f1 - 1) / 2)
        assert score.to_student is None
        assert score.size == Size(**SIZE)
    teacher, other = (next(score for score in found if score.contender == name) for name in ("teacher", "lrf_3"))
    assert teacher.to_teacher is None
    assert teacher.to_student.difference == pytest.approx((1 - half_f1) / 2)
    assert (other.seeds, other.deviation, other.to_teacher, other.to_student) == ((1,), None, None, None)


def counted(by_contender):
    return CountedTest(
        task="ner",
        role="target",
        language="sw",
        dataset="test",
        n=30,
        metric="f1",
        main_score=f1,
        trivial=counts(np.random.default_rng(1), 30, 0.1),
        by_contender=by_contender,
        sizes=dict.fromkeys(by_contender, Size(**SIZE)),
    )


def test_each_beside_each_is_what_resamples_drawn_one_by_one_give_with_the_seeds_that_both_have():
    rng = np.random.default_rng(7)
    seeds = {"teacher": (0, 1, 2), "student": (0, 1, 2), "lrf_3": (2, 1), "from_scratch": (5,)}  # the last shares none
    of = {name: {seed: counts(rng, 30, 0.4 + 0.1 * seed) for seed in known} for name, known in seeds.items()}
    test = counted(of)
    found = {(each.contender, each.beside): each for each in each_beside_each([test])}
    assert list(found) == [("student", "teacher"), ("lrf_3", "teacher"), ("lrf_3", "student")], (
        "the last shares no seed"
    )
    third = found["lrf_3", "student"]
    assert (third.task, third.role, third.language, third.seeds) == ("ner", "target", "sw", (2, 1))
    models = [[of[name][seed] for seed in (1, 2)] for name in ("lrf_3", "student")]
    drawn = one_by_one(models, 30)
    assert (third.low, third.high) == pytest.approx(middle(drawn[:, 0] - drawn[:, 1]))
    ours, theirs = ([float(f1(each.sum(axis=0))) for each in model] for model in models)
    assert third.difference == pytest.approx(fmean(ours) - fmean(theirs))
    assert third.seeds_ahead == sum(one > other for one, other in zip(ours, theirs, strict=True))


def test_each_beside_each_says_what_the_columns_of_the_table_say():
    rng = np.random.default_rng(8)
    names = ("teacher", "student", "lrf_3")
    test = counted({name: {seed: counts(rng, 30, rng.random()) for seed in (0, 1)} for name in names})
    scores = {score.contender: score for score in scores_of([test])}
    found = {(each.contender, each.beside): each for each in each_beside_each([test])}
    for ours, theirs, column in (
        ("student", "teacher", "to_teacher"),
        ("lrf_3", "teacher", "to_teacher"),
        ("lrf_3", "student", "to_student"),
    ):
        one, paired = found[ours, theirs], getattr(scores[ours], column)
        assert (one.difference, one.low, one.high) == pytest.approx(
            (paired.difference, paired.difference_low, paired.difference_high)
        )


def test_predictions_of_another_test_set_are_refused(task, tmp_path):
    recipe, data = task
    with pytest.raises(ValueError, match="predictions for 2 sentences, gold tags for 4"):
        counted_tests(recipe, data, {"teacher": {0: record(tmp_path / "short", GOLD[:2])}})
