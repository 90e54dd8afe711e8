"""The paper's findings are read off the scores: by the whole interval, and by how many seeds have them alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bistill_hub.comparison.contenders import CONTENDERS
from bistill_hub.comparison.findings import (
    EXPECTED,
    expected_in_words,
    findings_of,
    found_in_words,
    in_words,
    seeds_in_words,
    verdict,
)
from bistill_hub.comparison.report import findings_table
from bistill_hub.comparison.table import Score
from bistill_hub.evaluation.paired import Paired
from bistill_hub.evaluation.size import Size

SIZE = Size(
    layers=6,
    vocabulary=9,
    parameters=1000,
    embedding_parameters=10,
    bytes=400,
    on_disk=False,
    flops_per_token=8.0,
    flops_length=128,
)


def paired(difference, kept=None, spread=0.01):
    ends = (None, None) if kept is None else (kept - spread, kept + spread)
    return Paired(difference, difference - spread, difference + spread, kept, *ends)


def scored(name, by_seed, layers=3, *, to_teacher=None, to_student=None, **other):
    mean = sum(by_seed) / len(by_seed)
    fields = {
        "contender": name,
        "task": "ner",
        "role": "target",
        "language": "sw",
        "dataset": "test.conll",
        "metric": "f1",
        "n": 50,
        "seeds": tuple(range(len(by_seed))),
        "by_seed": tuple(by_seed),
        "score": mean,
        "low": mean - 0.01,
        "high": mean + 0.01,
        "deviation": None,
        "trivial": 0.2,
        "to_teacher": to_teacher,
        "to_student": to_student,
        "size": replace(SIZE, layers=layers),
    }
    return Score(**{**fields, **other})


TEACHER = scored("teacher", [0.6, 0.5], 6, to_student=paired(0.05))


@pytest.mark.parametrize(
    ("layers", "kept", "expected", "said"),
    [
        (3, 0.99, 0.97, "yes"),
        (3, 0.97, 0.97, "open"),
        (3, 0.9, 0.97, "no"),
        (2, 0.96, 0.94, "yes"),
        (1, 0.99, None, ""),
    ],
)
def test_a_student_is_expected_to_keep_what_its_number_of_layers_lets_it(layers, kept, expected, said):
    ours = scored("student", [0.59, 0.4], layers, to_teacher=paired(-0.01, kept))
    (finding,) = findings_of([TEACHER, ours])
    assert (finding.kind, finding.expected, verdict(finding)) == ("kept", expected, said)
    assert (finding.value, finding.low, finding.high) == (kept, kept - 0.01, kept + 0.01)
    # above the trivial 0.2 the seeds keep 0.39 of 0.4 and 0.2 of 0.3
    assert finding.seeds_for == (None if expected is None else 1)
    assert seeds_in_words(finding) == ("2" if expected is None else "1 of 2")


def test_expectations_are_those_of_every_second_and_every_third_layer():
    assert dict(EXPECTED) == {2: 0.97, 3: 0.94}


@given(st.floats(-1, 1), st.floats(0, 1))
def test_ahead_is_said_of_no_interval_that_reaches_nothing(difference, width):
    student = scored("student", [0.5], to_teacher=paired(0, 0.9))
    other = scored("from_scratch", [0.5 - difference], to_student=paired(-difference, spread=width))
    (found,) = (finding for finding in findings_of([TEACHER, student, other]) if finding.kind == "ahead")
    assert (found.low, found.high) == (pytest.approx(difference - width), pytest.approx(difference + width))
    assert (found.holds is True) == (-other.to_student.difference_high > 0)
    assert (found.holds is False) == (-other.to_student.difference_low < 0)
    assert found.seeds_for == (0.5 - difference < 0.5)


def test_what_is_given_up_stands_beside_what_is_saved():
    student = scored(
        "student", [0.5, 0.4], to_teacher=paired(0, 0.9), size=replace(SIZE, parameters=600, flops_per_token=4.0)
    )
    trimmed = scored("trimmed_teacher", [0.55, 0.45], 6, to_teacher=paired(0, 1.0), to_student=paired(0.05))
    (found,) = (each for each in findings_of([TEACHER, trimmed, student]) if each.kind == "given_up")
    assert found_in_words(found) == "-5.0 [-6.0, -4.0] points for 60 % of parameters, 50 % of FLOPs"
    assert (verdict(found), expected_in_words(found), seeds_in_words(found)) == ("", "", "2")


def test_a_teacher_that_is_not_above_trivial_leaves_it_open():
    low = scored("teacher", [0.1, 0.3], 6)
    ours = scored("student", [0.5, 0.4], to_teacher=paired(0.2))
    (found,) = findings_of([low, ours])
    assert (found_in_words(found), verdict(found)) == ("teacher not above trivial", "open")
    assert seeds_in_words(found) == "1 of 2", "the one whose teacher is above it"


def test_retention_without_ends_is_open():
    ours = scored("student", [0.5], to_teacher=Paired(0, -0.1, 0.1, 1.2, None, None))
    (found,) = findings_of([TEACHER, ours])
    assert (found_in_words(found), verdict(found)) == ("120.0 %", "open")


def test_of_what_is_not_there_nothing_is_said():
    student = scored("student", [0.5, 0.4], to_teacher=paired(0, 0.99))
    without = scored("minilmv2_style", [0.5, 0.5, 0.5], to_teacher=paired(0, 0.99))  # a seed that the student lacks
    assert [(each.kind, each.contender) for each in findings_of([TEACHER, student, without])] == [("kept", "student")]
    assert findings_of([TEACHER]) == ()
    assert findings_of([replace(each, role="source") for each in (TEACHER, student)]) == ()
    assert [
        each.task for each in findings_of([TEACHER, student, *(replace(s, task="qa") for s in (TEACHER, student))])
    ] == [
        "ner",
        "qa",
    ]


def test_every_finding_has_its_line_and_says_whose_it_is():
    names = ["student", "lrf_2", "lrf_3", "student_fine_tuned", "target_text", "lrf_3_target_text", "trimmed_teacher"]
    behind = ["distilbert_style", "minilmv2_style", "distilmbert", "multilingual_minilmv2", "from_scratch"]
    scores = [scored(name, [0.6], to_teacher=paired(0, 0.99), to_student=paired(-0.1)) for name in (*names, *behind)]
    found = findings_of([TEACHER, *scores])
    assert [each.contender for each in found] == [*names[:-1], *behind, "trimmed_teacher"]
    lines = findings_table(found).splitlines()
    assert len(lines) == 2 + len(found)
    for line, each in zip(lines[2:], found, strict=True):
        assert CONTENDERS[each.contender].label in line
        assert in_words(each) in line
    assert [each.contender for each in found if not each.papers] == [*names[3:6], "trimmed_teacher"]
    (first, *_) = lines[2:]
    assert first.startswith("| ner, sw | bilingual student keeps its teacher's score | at least 97 % | ")
    assert first.endswith(" | 99.0 [98.0, 100.0] % | yes | 1 of 1 |")
