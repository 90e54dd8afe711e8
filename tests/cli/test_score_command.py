"""`bistill score` scores kept predictions as by hand, and answers bad input with one sentence and exit code 2."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bistill_hub import cli
from bistill_hub.evaluation.rescoring import score_predictions
from bistill_hub.sources import LabelledSource

GOLD = "Juma\tB-PER\nAli\tI-PER\nleo\tO\n\nDodoma\tB-LOC\n\nUNICEF\tB-ORG\nna\tO\nKenya\tB-LOC\n\nleo\tO\n\n"
STUDENT = [["B-PER", "I-PER", "O"], ["O"], ["B-ORG", "O", "B-PER"], ["O"]]
TEACHER = [["B-PER", "I-PER", "O"], ["B-LOC"], ["O", "O", "B-LOC"], ["O"]]
# True positives, false positives, false negatives.
COUNTS = {
    "student": [(1, 0, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)],
    "teacher": [(1, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 0)],
}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A test set with a student's and a teacher's predictions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "test.conll").write_text(GOLD)
    for name, predictions in (("student", STUDENT), ("teacher", TEACHER)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in predictions))
    return tmp_path


def score(*words):
    return CliRunner().invoke(cli.main, ["score", *words])


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    for part in parts:
        assert part in error, error


def f1(counts):
    true, false, missed = np.sum(counts, axis=0)
    return 2 * true / (2 * true + false + missed) if true + false + missed else 0.0


def intervals(seed=0, draws=1000):
    """Score, difference and retention intervals by drawing examples one by one."""
    numbers = np.random.default_rng(seed).multinomial(4, [1 / 4] * 4, size=draws)
    drawn = {
        name: np.array([f1(np.repeat(counts, times, axis=0)) if times.sum() else 0 for times in numbers])
        for name, counts in COUNTS.items()
    }
    return drawn, lambda values: tuple(np.quantile(values, [0.025, 0.975]))


def test_score_interval_difference_and_retention_are_those_by_hand(kept):
    found = score(
        "student.jsonl", "--task", "ner", "--test", "test.conll", "--against", "teacher.jsonl", "--json", "s.json"
    )
    assert found.exit_code == 0, found.output
    record = json.loads((kept / "s.json").read_text())
    student, teacher = record["scores"]
    drawn, ends = intervals()
    # Student: 2 of 4 entities, 1 wrong; teacher: 3 of 4, none wrong.
    assert student["score"]["score"] == pytest.approx(4 / 7)
    assert teacher["score"]["score"] == pytest.approx(6 / 7)
    for one, name in ((student, "student"), (teacher, "teacher")):
        assert (one["score"]["low"], one["score"]["high"]) == pytest.approx(ends(drawn[name]))
        assert (one["score"]["n"], one["score"]["trivial"], one["score"]["metric"]) == (4, 0.0, "f1")
        assert one["predictions"] == f"{name}.jsonl"
    paired = student["against_teacher"]
    assert paired["difference"] == pytest.approx(-2 / 7)
    assert (paired["difference_low"], paired["difference_high"]) == pytest.approx(
        ends(drawn["student"] - drawn["teacher"])
    )
    assert teacher["against_teacher"] is None
    assert (record["task"], record["test"], record["kept_scores_version"]) == ("ner", "test.conll", 1)
    for shown in ("57.1", "85.7", "-28.6", f"{100 * student['score']['low']:.1f} to", "retention"):
        assert shown in found.output


def test_retention_is_given_only_where_the_teacher_is_above_trivial_for_sure(kept):
    rows = ["premise\thypothesis\tlabel"] + [f"a\tb\t{'neutral' if n < 30 else 'entailment'}" for n in range(60)]
    (kept / "nli.tsv").write_text("\n".join(rows) + "\n")
    labels = ["neutral"] * 30 + ["entailment"] * 30
    good = labels[:27] + ["contradiction"] * 3 + labels[30:57] + ["neutral"] * 3  # 54 of 60
    half = labels[:30] + ["neutral"] * 12 + labels[42:]  # 48 of 60
    guess = ["neutral"] * 31 + ["contradiction"] * 28 + ["entailment"]  # 31 of 60: the interval holds 30
    for name, predictions in (("good", good), ("half", half), ("guess", guess)):
        (kept / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in predictions))
    test = LabelledSource(path="nli.tsv")
    first, _ = score_predictions("nli", test, "half.jsonl", against="good.jsonl")
    assert first.score.trivial == 0.5
    assert first.against_teacher.retention == pytest.approx((48 - 30) / (54 - 30))
    assert first.against_teacher.retention_low < 0.75 < first.against_teacher.retention_high
    weak, teacher = score_predictions("nli", test, "half.jsonl", against="guess.jsonl")
    assert teacher.score.score > teacher.score.trivial > teacher.score.low
    assert weak.against_teacher.retention is None
    found = score("half.jsonl", "--task", "nli", "--test", "nli.tsv", "--against", "guess.jsonl")
    assert "teacher not above trivial" in found.output


def test_the_trivial_baseline_is_fitted_on_the_training_set_that_is_given(kept):
    (kept / "test.tsv").write_text("premise\thypothesis\tlabel\n" + "a\tb\tneutral\n" * 3 + "a\tb\tentailment\n")
    (kept / "train.tsv").write_text("premise\thypothesis\tlabel\n" + "a\tb\tentailment\n" * 2 + "a\tb\tneutral\n")
    (kept / "nli.jsonl").write_text('"neutral"\n' * 4)
    words = ("nli.jsonl", "--task", "nli", "--test", '{"path": "test.tsv"}', "--json", "s.json")
    for further, trivial in (((), 0.75), (("--train", "train.tsv"), 0.25)):
        assert score(*words, *further).exit_code == 0
        assert json.loads((kept / "s.json").read_text())["scores"][0]["score"]["trivial"] == trivial


def test_without_a_teacher_there_is_nothing_to_compare_with(kept):
    found = score("student.jsonl", "--task", "ner", "--test", "test.conll")
    assert found.exit_code == 0
    assert "retention" not in found.output
    assert "57.1" in found.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('["O"]\n', ("jsonl: 1 predictions for 4 examples",)),
        ('["B-PER", "I-PER", "O"]\n["O"]\n["O"', ("jsonl: line 3", "not JSON")),
        ('["O", "O", "O"]\n["O"]\n"O"\n["O"]\n', ("line 3 = 'O'", "a prediction of this task is a list of tags")),
        ('["O", "O", "O"]\n["O", "O"]\n["O"]\n["O"]\n', ("line 2", "2 tags for 1 words")),
        ('["O", "O", "O"]\n[1]\n["O", "O", "O"]\n["O"]\n', ("line 2", "not text")),
        ('["O", "O", "O"]\n["X"]\n["O", "O", "O"]\n["O"]\n', ("line 2 = 'X'", "no such label", "task ner")),
        ('["O", "O", "O"]\n["S-PER"]\n["O", "O", "O"]\n["O"]\n', ("line 2 = 'S-PER'", "no such label")),
    ],
)
def test_predictions_of_something_else_are_refused(kept, content, said):
    (kept / "other.jsonl").write_text(content)
    refused(score("other.jsonl", "--task", "ner", "--test", "test.conll"), *said)
    refused(score("student.jsonl", "--task", "ner", "--test", "test.conll", "--against", "other.jsonl"), *said)


@pytest.mark.parametrize(
    ("task", "test", "right", "wrong"),
    [
        ("nli", "premise\thypothesis\tlabel\na\tb\tneutral\nc\td\tentailment\n", '"neutral"', '"LABEL_0"'),
        ("pos", "neno\tNOUN\n\nneno\tVERB\n", '["NOUN"]', '["B-PER"]'),
    ],
)
def test_predictions_of_another_task_are_no_answers_of_score_0(kept, task, test, right, wrong):
    file = kept / f"test.{'tsv' if task == 'nli' else 'conll'}"
    file.write_text(test)
    (kept / "right.jsonl").write_text(f"{right}\n{right}\n")
    (kept / "wrong.jsonl").write_text(f"{right}\n{wrong}\n")
    assert score("right.jsonl", "--task", task, "--test", file.name).exit_code == 0
    refused(score("wrong.jsonl", "--task", task, "--test", file.name), "wrong.jsonl: line 2", "no such label")


def test_what_is_not_there_is_refused(kept):
    right = ("student.jsonl", "--task", "ner", "--test", "test.conll")
    refused(score("absent.jsonl", *right[1:]), "absent.jsonl: there is no such file")
    refused(score(*right, "--against", "absent.jsonl"), "absent.jsonl: there is no such file")
    refused(score(*right[:-1], "absent.conll"), "--test = 'absent.conll': there is no such file")
    refused(score(*right, "--train", "absent.conll"), "--train = 'absent.conll'")
    refused(score(*right[:2], "haiku", *right[3:]), "task = 'haiku': there is no such task")
    refused(score(*right, "--json", "absent/s.json"), "--json", "there is no such folder")
    refused(score(*right[:-1], '{"path": "test.conll"'), "--test", "not JSON")
