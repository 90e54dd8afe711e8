"""The paper's findings, looked for in a comparison: each with what is expected, what came out, and whether that is so.

Ansell et al. 2023 say that a bilingual student loses little of its teacher's score in the target language, that it is
ahead of multilingual students, and far ahead of a model from scratch. What it gives up against trimming the vocabulary
alone (Abdaoui et al. 2020) is told beside them, with how much smaller it is for that. The same share of the teacher's
score is looked for in students that are taught in other ways; those are marked as not the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..evaluation.paired import Paired
from .contenders import CONTENDERS, STUDENT_NAME, TEACHER
from .table import Score

EXPECTED: Mapping[int, float] = {2: 0.97, 3: 0.94}
"""What share of its teacher's score above the trivial baseline a student is expected to keep, by how many of the
teacher's layers it has one. The paper has "minimal degradation" without a number; these are this project's."""

_PAPERS = (STUDENT_NAME, "lrf_2", "lrf_3")
_TAUGHT_OTHERWISE = ("student_fine_tuned", "student_sft", "student_relations", "target_text", "lrf_3_target_text")
_BEHIND = ("distilbert_style", "minilmv2_style", "distilmbert", "multilingual_minilmv2", "from_scratch")
_TRIMMED = "trimmed_teacher"

Kind = Literal["kept", "ahead", "given_up"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding on one task's test in the target language. All values are fractions.

    Attributes:
        task: Name of the task.
        language: Code of the target language.
        kind: "kept" is a share of the teacher's score above the trivial baseline; "ahead" the student's score minus
            another's; "given_up" the same against the trimmed teacher, of which nothing is expected.
        contender: Whose finding it is: for "kept" the student that is looked at, otherwise the one beside the student.
        papers: Whether it is about the paper's own method.
        expected: What the value should be at least ("kept") or be above ("ahead"); None where nothing is expected.
        value: What came out, a mean over seeds; None where the teacher is not above the trivial baseline.
        low: Lower end of its 95 % paired bootstrap interval over examples; None where it has no ends.
        high: Upper end.
        holds: True where the whole interval is on the expected side, False where none of it is, None otherwise.
        seeds: With which seeds it was looked at.
        seeds_for: With how many of them alone the value is on the expected side; None where nothing is expected.
        parameters: The student's parameters as a share of the trimmed teacher's; None but for "given_up".
        flops: The same of its FLOPs.
    """

    task: str
    language: str
    kind: Kind
    contender: str
    papers: bool
    expected: float | None
    value: float | None
    low: float | None
    high: float | None
    holds: bool | None
    seeds: tuple[int, ...]
    seeds_for: int | None
    parameters: float | None = None
    flops: float | None = None


def findings_of(scores: Sequence[Score]) -> tuple[Finding, ...]:
    """Look for the paper's findings in all scores of a comparison.

    Args:
        scores: As `scores_of` gives them, of any tasks.

    Returns:
        Task after task: what is kept, what the student is ahead of, what it gives up; none for a model that is not
        there, or that has a seed which the one beside it lacks.
    """
    found: list[Finding] = []
    for task in dict.fromkeys(score.task for score in scores):
        by_name = {score.contender: score for score in scores if (score.task, score.role) == (task, "target")}
        found += [*_kept(by_name), *_ahead(by_name), *_given_up(by_name)]
    return tuple(found)


def _kept(by_name: Mapping[str, Score]) -> Iterator[Finding]:
    teacher = by_name.get(TEACHER)
    for name in (*_PAPERS, *_TAUGHT_OTHERWISE):
        ours = by_name.get(name)
        if ours is None or teacher is None or ours.to_teacher is None:
            continue
        kept = ours.to_teacher
        expected = EXPECTED.get(round(teacher.size.layers / ours.size.layers))
        shares = [
            (score - ours.trivial) / (theirs - ours.trivial) if theirs > ours.trivial else None
            for score, theirs in _pairs(ours, teacher)
        ]
        yield Finding(
            task=ours.task,
            language=ours.language,
            kind="kept",
            contender=name,
            papers=name in _PAPERS,
            expected=expected,
            value=kept.retention,
            low=kept.retention_low,
            high=kept.retention_high,
            holds=None if expected is None else _side(kept.retention_low, kept.retention_high, expected, level=True),
            seeds=ours.seeds,
            seeds_for=None if expected is None else sum(share is not None and share >= expected for share in shares),
        )


def _ahead(by_name: Mapping[str, Score]) -> Iterator[Finding]:
    student = by_name.get(STUDENT_NAME)
    for name in _BEHIND:
        other = by_name.get(name)
        if student is None or other is None or other.to_student is None:
            continue
        seeds_for = sum(ours > theirs for theirs, ours in _pairs(other, student))
        yield _lead(other, other.to_student, "ahead", papers=True, expected=0.0, seeds_for=seeds_for)


def _given_up(by_name: Mapping[str, Score]) -> Iterator[Finding]:
    student, trimmed = by_name.get(STUDENT_NAME), by_name.get(_TRIMMED)
    if student is None or trimmed is None or trimmed.to_student is None:
        return
    ours, theirs = student.size, trimmed.size
    yield replace(
        _lead(trimmed, trimmed.to_student, "given_up", papers=False, expected=None, seeds_for=None),
        parameters=ours.parameters / theirs.parameters,
        flops=ours.flops_per_token / theirs.flops_per_token,
    )


def _lead(
    other: Score, to_student: Paired, kind: Kind, *, papers: bool, expected: float | None, seeds_for: int | None
) -> Finding:
    """What the student has more than another, whose difference to the student is turned round."""
    low, high = -to_student.difference_high, -to_student.difference_low
    return Finding(
        task=other.task,
        language=other.language,
        kind=kind,
        contender=other.contender,
        papers=papers,
        expected=expected,
        value=-to_student.difference,
        low=low,
        high=high,
        holds=None if expected is None else _side(low, high, expected, level=False),
        seeds=other.seeds,
        seeds_for=seeds_for,
    )


def _pairs(ours: Score, theirs: Score) -> list[tuple[float, float]]:
    """Both scores with each of our seeds, all of which the other has."""
    by_seed = dict(zip(theirs.seeds, theirs.by_seed, strict=True))
    return [(score, by_seed[seed]) for seed, score in zip(ours.seeds, ours.by_seed, strict=True)]


def _side(low: float | None, high: float | None, expected: float, *, level: bool) -> bool | None:
    """On which side of what is expected an interval lies; where being level is enough, its lower end may touch."""
    if low is None or high is None:
        return None
    if low > expected or (level and low == expected):
        return True
    return False if high < expected else None


COLUMNS = ("finding", "expected", "here", "so?", "seeds")
"""What tables of findings tell of each, behind the test."""


def cells(finding: Finding) -> tuple[str, ...]:
    """Say all that tables tell, in the order of `COLUMNS`."""
    return tuple(say(finding) for say in (in_words, expected_in_words, found_in_words, verdict, seeds_in_words))


def in_words(finding: Finding) -> str:
    """Say what was looked for."""
    label = CONTENDERS[finding.contender].label
    if finding.kind == "kept":
        return f"{label} keeps its teacher's score" + ("" if finding.papers else " (not the paper's)")
    if finding.kind == "ahead":
        return f"{CONTENDERS[STUDENT_NAME].label} is ahead of {label}"
    return f"{CONTENDERS[STUDENT_NAME].label} against {label}"


def expected_in_words(finding: Finding) -> str:
    """Say what was expected."""
    if finding.expected is None:
        return ""
    return f"at least {100 * finding.expected:.0f} %" if finding.kind == "kept" else "more than 0"


def found_in_words(finding: Finding) -> str:
    """Say what came out: retention in %, differences in points."""
    if finding.value is None:
        return "teacher not above trivial"
    sign, unit = ("", "%") if finding.kind == "kept" else ("+", "points")
    shown = f"{100 * finding.value:{sign}.1f}"
    if finding.low is not None and finding.high is not None:
        shown += f" [{100 * finding.low:{sign}.1f}, {100 * finding.high:{sign}.1f}]"
    shown += f" {unit}"
    if finding.parameters is not None and finding.flops is not None:
        shown += f" for {100 * finding.parameters:.0f} % of parameters, {100 * finding.flops:.0f} % of FLOPs"
    return shown


def verdict(finding: Finding) -> str:
    """Say whether it is so: yes, no, open where the examples do not tell, nothing where nothing is expected."""
    if finding.expected is None:
        return ""
    return {True: "yes", False: "no", None: "open"}[finding.holds]


def seeds_in_words(finding: Finding) -> str:
    """Say with how many seeds alone it is so."""
    return f"{len(finding.seeds)}" if finding.seeds_for is None else f"{finding.seeds_for} of {len(finding.seeds)}"
