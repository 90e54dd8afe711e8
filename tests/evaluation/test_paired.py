"""Paired intervals are those of a loop over the same draws, and say nothing where there is nothing to keep."""

import json
import math
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bistill_hub.evaluation.bootstrap import bootstrap_scores, interval
from bistill_hub.evaluation.paired import Paired, paired_intervals
from bistill_hub.tasks import get_task

F1 = get_task("ner").main_score


def accuracy(sums):
    """Of summed [right, all]."""
    return sums[..., 0] / sums[..., 1]


def plain_accuracy(sums):
    return sums[0] / sums[1]


def plain_f1(sums):
    return 2 * sums[0] / (2 * sums[0] + sums[1] + sums[2]) if sum(sums) else 0.0


def right(text):
    """Statistics of accuracy of a row of examples: + is a right one."""
    return np.array([[mark == "+", 1] for mark in text], dtype=np.int64)


def quantile(values, share):
    """The quantile by linear interpolation; None where a neighbour with a share in it is infinite."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    if math.isinf(ordered[below]) or math.isinf(ordered[above]):
        return None
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def by_loops(student, teacher, trivial, score, resamples, seed):
    """The same in plain Python: examples are repeated as often as they were drawn, and summed one by one."""
    count = len(student)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples).tolist()
    models = [model.tolist() for model in (student, teacher, trivial)]
    whole = [score([sum(column) for column in zip(*model, strict=True)]) for model in models]
    differences, lowest, greatest, teachers = [], [], [], []
    for times in draws:
        scores = []
        for model in models:
            rows = [row for row, number in zip(model, times, strict=True) for _ in range(number)]
            scores.append(score([sum(column) for column in zip(*rows, strict=True)]))
        differences.append(scores[0] - scores[1])
        teachers.append(scores[1])
        if scores[1] > scores[2]:
            lowest.append((scores[0] - scores[2]) / (scores[1] - scores[2]))
            greatest.append(lowest[-1])
        else:
            lowest.append(-math.inf)
            greatest.append(math.inf)
    retention, low, high = None, None, None
    if quantile(teachers, 0.025) > whole[2]:
        retention = (whole[0] - whole[2]) / (whole[1] - whole[2])
        low, high = quantile(lowest, 0.025), quantile(greatest, 0.975)
    return (whole[0] - whole[1], quantile(differences, 0.025), quantile(differences, 0.975), retention, low, high)


def near(expected):
    return tuple(None if value is None else pytest.approx(value, abs=1e-12) for value in expected)


def values(found):
    return tuple(asdict(found).values())


def random_models(seed, examples, chances):
    """Statistics of accuracy of models that are right with these chances, more often on the same easy examples."""
    rng = np.random.default_rng(seed)
    hard = rng.random(examples)
    marks = [(0.5 * hard + 0.5 * rng.random(examples)) < chance for chance in chances]
    return [np.stack([mark, np.ones(examples)], axis=1).astype(np.int64) for mark in marks]


class TestAgainstLoops:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("chances", [(0.6, 0.7, 0.3), (0.3, 0.6, 0.45), (0.8, 0.5, 0.5)])
    def test_accuracy(self, seed, chances):
        models = random_models(seed, 30, chances)
        found = paired_intervals(*models, accuracy, resamples=200, seed=seed)
        assert values(found) == near(by_loops(*models, plain_accuracy, 200, seed))

    @pytest.mark.parametrize("seed", range(4))
    def test_f1(self, seed):
        rng = np.random.default_rng(seed)
        teacher = np.stack([rng.integers(1, 4, 25), rng.integers(0, 2, 25), rng.integers(0, 2, 25)], axis=1)
        student = teacher + np.stack([-rng.integers(0, 2, 25), rng.integers(0, 2, 25), rng.integers(0, 2, 25)], axis=1)
        nothing = np.stack([np.zeros(25, dtype=int), np.zeros(25, dtype=int), teacher[:, 0] + teacher[:, 2]], axis=1)
        found = paired_intervals(student, teacher, nothing, F1, resamples=150, seed=seed)
        assert values(found) == near(by_loops(student, teacher, nothing, plain_f1, 150, seed))
        assert found.retention_low is not None

    def test_among_the_cases_are_all_three_kinds(self):
        kinds = set()
        for examples in (6, 12, 40):
            models = random_models(0, examples, (0.6, 0.75, 0.4))
            found = paired_intervals(*models, accuracy, resamples=200)
            assert values(found) == near(by_loops(*models, plain_accuracy, 200, 0))
            kinds.add((found.retention is None, found.retention_low is None))
        models = [right("+-++-+-+"), right("++++++-+"), right("---+--+-")]
        found = paired_intervals(*models, accuracy, resamples=400)
        assert values(found) == near(by_loops(*models, plain_accuracy, 400, 0))
        kinds.add((found.retention is None, found.retention_low is None))
        assert kinds == {(True, True), (False, True), (False, False)}


class TestByHand:
    def test_a_student_that_fails_where_the_teacher_is_right(self):
        found = paired_intervals(right("++-+"), right("++++"), right("----"), accuracy)
        # The teacher is always at 1 and the baseline at 0, so that all is about the student's own score.
        low, high = interval(bootstrap_scores(right("++-+"), accuracy))
        assert found == Paired(-0.25, low - 1, high - 1, 0.75, low, high)

    def test_one_example_has_intervals_of_no_width(self):
        found = paired_intervals(np.array([[3, 8]]), np.array([[6, 8]]), np.array([[2, 8]]), accuracy)
        assert found == Paired(-0.375, -0.375, -0.375, 0.25, 0.25, 0.25)

    def test_what_both_models_find_hard_cancels(self):
        teacher = right("+-" * 50)
        student = teacher.copy()
        student[0, 0] = 0
        found = paired_intervals(student, teacher, right("-" * 100), accuracy)
        one = interval(bootstrap_scores(teacher, accuracy))
        assert found.difference == pytest.approx(-0.01)
        assert found.difference_high == 0, "the student is nowhere better"
        assert found.difference_high - found.difference_low < 0.3 * (one[1] - one[0])

    def test_the_baseline_is_drawn_anew_with_the_models(self):
        # A third of the examples is easy for all: how many of them are drawn does not touch what is kept of the rest.
        trivial, teacher = right("+" * 20 + "-" * 40), right("+" * 60)
        student = right("+" * 20 + "+" * 20 + "-" * 20)
        found = paired_intervals(student, teacher, trivial, accuracy)
        draws = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=1000)
        kept = draws[:, 20:40].sum(axis=1) / draws[:, 20:].sum(axis=1)
        assert found.retention == pytest.approx(0.5)
        assert (found.retention_low, found.retention_high) == pytest.approx(interval(kept))


class TestNothingToKeep:
    @pytest.mark.parametrize("teacher", ["---+------", "++--------", "+---------"])
    def test_there_is_no_retention_where_the_teacher_s_interval_reaches_the_baseline(self, teacher):
        found = paired_intervals(right("++++------"), right(teacher), right("+---------"), accuracy)
        assert (found.retention, found.retention_low, found.retention_high) == (None, None, None)
        assert found.difference == pytest.approx(0.4 - teacher.count("+") / 10)
        assert found.difference_low < found.difference < found.difference_high

    def test_the_teacher_s_lower_end_alone_decides(self):
        """As for `results.retention`: the limit itself is not above."""
        teacher = right("++++++++--")
        low, _ = interval(bootstrap_scores(teacher, accuracy))
        assert low == 0.5
        at, below = right("+++++-----"), right("++++------")
        assert paired_intervals(teacher, teacher, at, accuracy).retention is None
        assert paired_intervals(teacher, teacher, below, accuracy).retention == 1

    @pytest.mark.parametrize(("undefined", "has_ends"), [(0, True), (24, True), (25, False), (300, False)])
    def test_ends_are_given_while_undefined_resamples_stay_beyond_them(self, undefined, has_ends):
        """Of 1000 resamples 24 lie wholly beyond either end; what is drawn is replaced by made-up scores."""
        rng = np.random.default_rng(0)
        teacher, trivial = np.full(1000, 0.75), np.full(1000, 0.25)
        trivial[:undefined] = rng.choice([0.75, 1.0], undefined)
        student = 0.25 + 0.5 * rng.random(1000)
        scores = iter([student, teacher, trivial])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bistill_hub.evaluation.paired.bootstrap_scores", lambda *_, **__: next(scores))
            found = paired_intervals(right("++--"), right("+++-"), right("+---"), accuracy)
        assert found.retention == 0.5
        assert ((found.retention_low is None), (found.retention_high is None)) == (not has_ends, not has_ends)
        if has_ends:
            kept = ((student - 0.25) / 0.5)[undefined:]
            as_worst = np.concatenate([np.full(undefined, kept.min()), kept])
            as_best = np.concatenate([np.full(undefined, kept.max()), kept])
            assert found.retention_low == pytest.approx(interval(as_worst)[0])
            assert found.retention_high == pytest.approx(interval(as_best)[1])

    def test_a_record_without_ends_is_json(self):
        found = paired_intervals(right("+-"), right("-+"), right("+-"), accuracy)
        assert json.loads(json.dumps(asdict(found), allow_nan=False)) == asdict(found)


MODELS = st.integers(2, 25).flatmap(
    lambda examples: st.tuples(*[st.lists(st.booleans(), min_size=examples, max_size=examples) for _ in range(3)])
)
SEEDS = st.integers(0, 3)


def statistics(marks):
    return np.array([[mark, 1] for mark in marks], dtype=np.int64)


class TestProperties:
    @settings(max_examples=40, deadline=None)
    @given(models=MODELS, seed=SEEDS)
    def test_any_models_give_what_loops_give(self, models, seed):
        models = [statistics(marks) for marks in models]
        found = paired_intervals(*models, accuracy, resamples=60, seed=seed)
        assert values(found) == near(by_loops(*models, plain_accuracy, 60, seed))

    @settings(max_examples=60, deadline=None)
    @given(models=MODELS, seed=SEEDS)
    def test_swapped_models_negate_the_difference(self, models, seed):
        one, other, trivial = (statistics(marks) for marks in models)
        there = paired_intervals(one, other, trivial, accuracy, seed=seed)
        back = paired_intervals(other, one, trivial, accuracy, seed=seed)
        assert there.difference == -back.difference
        assert there.difference_low == pytest.approx(-back.difference_high, abs=1e-12)
        assert there.difference_high == pytest.approx(-back.difference_low, abs=1e-12)

    @settings(max_examples=60, deadline=None)
    @given(models=MODELS, seed=SEEDS)
    def test_equal_models_differ_by_nothing_and_keep_everything(self, models, seed):
        model, _, trivial = (statistics(marks) for marks in models)
        found = paired_intervals(model, model, trivial, accuracy, seed=seed)
        assert (found.difference, found.difference_low, found.difference_high) == (0, 0, 0)
        assert found.retention in (1, None)
        assert (found.retention_low, found.retention_high) in ((1, 1), (None, None))

    @settings(max_examples=60, deadline=None)
    @given(models=MODELS, seed=SEEDS)
    def test_ends_are_in_order_and_of_retention_only_where_there_is_one(self, models, seed):
        found = paired_intervals(*(statistics(marks) for marks in models), accuracy, seed=seed)
        assert -1 <= found.difference_low <= found.difference_high <= 1
        assert (found.retention_low is None) == (found.retention_high is None)
        assert found.retention is not None or found.retention_low is None
        assert found.retention_low is None or found.retention_low <= found.retention_high

    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 10**6), student=st.floats(0.35, 0.7), teacher=st.floats(0.5, 0.7), draws=st.integers(0, 99)
    )
    def test_intervals_hold_the_estimates_in_ordinary_cases(self, seed, student, teacher, draws):
        models = random_models(seed, 300, (student, teacher, 0.2))
        assume((models[0] != models[1]).sum() > 10)
        found = paired_intervals(*models, accuracy, seed=draws)
        assert found.difference_low <= found.difference <= found.difference_high
        assert found.retention_low <= found.retention <= found.retention_high

    def test_the_interval_covers_the_truth_about_as_often_as_it_says(self):
        """Over many made-up test sets; their models' true difference and retention are known."""
        rng = np.random.default_rng(0)
        held = {"difference": 0, "retention": 0}
        worlds = 150
        for _ in range(worlds):
            luck = rng.random((100, 3))
            teacher = luck[:, 0] < 0.8
            student = np.where(luck[:, 1] < 0.875, teacher, False)
            trivial = luck[:, 2] < 0.2
            models = [statistics(marks) for marks in (student, teacher, trivial)]
            found = paired_intervals(*models, accuracy, resamples=300)
            held["difference"] += found.difference_low <= -0.1 <= found.difference_high
            held["retention"] += found.retention_low <= 5 / 6 <= found.retention_high
        for name, number in held.items():
            assert 0.90 <= number / worlds <= 0.99, name


class TestInput:
    @pytest.mark.parametrize(
        ("student", "teacher", "trivial"), [("+", "++", "++"), ("++", "+", "++"), ("++", "++", "+"), ("", "", "")]
    )
    def test_models_on_other_examples_are_refused(self, student, teacher, trivial):
        arrays = [right(marks).reshape(-1, 2) for marks in (student, teacher, trivial)]
        numbers = ", ".join(str(len(marks)) for marks in (student, teacher)) + f" and {len(trivial)} examples"
        with pytest.raises(ValueError, match=numbers):
            paired_intervals(*arrays, accuracy)

    def test_equal_seeds_give_equal_intervals_and_others_do_not(self):
        models = random_models(0, 50, (0.5, 0.6, 0.2))
        first, again, other = (paired_intervals(*models, accuracy, seed=seed) for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_values_are_plain_numbers_in_a_record_that_cannot_be_changed(self):
        found = paired_intervals(*random_models(0, 50, (0.5, 0.6, 0.2)), accuracy)
        assert {type(value) for value in values(found)} == {float}
        with pytest.raises(FrozenInstanceError):
            found.difference = 0.0
