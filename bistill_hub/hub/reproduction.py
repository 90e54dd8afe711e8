"""What reproducing a pair found: scores, predictions and files beside the published ones, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..evaluation.digests import count_equal
from ..evaluation.results import Result, read_results
from .pair_folder import results_file
from .reproduced_files import ComparedFile, compare_files, is_of_model, with_distances
from .rerun import EQUAL, POINTS, differs

if TYPE_CHECKING:
    from ..pipeline.run import RunResult
    from .reproduce import Prepared

REPRODUCTION_FILE = "reproduction.json"
REPORT_FILE = "reproduction.md"

Verdict = Literal["identical", "reproduced", "not reproduced"]

_UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field in which the recipe that was run differs from the published one.

    Attributes:
        field: Dotted path.
        published: Its published value; None also where there is none.
        now: The value that was run.
    """

    field: str
    published: Any
    now: Any


@dataclass(frozen=True, kw_only=True)
class ComparedScore:
    """A published score and the reproduced one.

    Attributes:
        task: Name of the task.
        language: Code of the test set's language.
        role: "source" or "target".
        model: "student", "teacher", or the name of a baseline.
        metric: Name of the main metric.
        published: The published score, a fraction.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        n: Examples scored.
        reproduced: The score of the reproduction; None where there is none.
        equal: How many predictions are the same; None where one side has no record of them.
        same_weights: Whether the models that were scored are the same, bit for bit.
        holds: Whether the scores differ by at most `POINTS`, on as many examples.
        synthetic: Whether text and labels were generated.
    """

    task: str
    language: str
    role: str
    model: str
    metric: str
    published: float
    low: float
    high: float
    n: int
    reproduced: float | None
    equal: int | None
    same_weights: bool
    holds: bool
    synthetic: bool

    @property
    def difference(self) -> float | None:
        """Reproduced minus published, in points; None where nothing was reproduced."""
        return None if self.reproduced is None else 100 * (self.reproduced - self.published)


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What reproducing a pair found.

    Attributes:
        pair: Hub id, or the name of a folder.
        commit: Commit of the published pair; None for a folder.
        verdict: "identical" where all files that models are loaded from are the same and the scores hold, "reproduced"
            where the scores hold.
        differences: Where it is "not reproduced": why, a sentence each.
        scores: Published scores of the models that were scored again.
        files: Files that models are loaded from, and those that hold recipe and scores.
        changes: What was changed of the recipe.
        versions: By library, the published pair's version and this run's where they differ; None for one that is not
            recorded.
        left_out: Tasks of the recipe that were not done.
        notes: What else may make a difference.
        command: The command, without folders of this machine.
        repository: The reproduced pair.
        report: The report, Markdown; `reproduction.json` is beside it.
    """

    pair: str
    commit: str | None
    verdict: Verdict
    differences: tuple[str, ...]
    scores: tuple[ComparedScore, ...]
    files: tuple[ComparedFile, ...]
    changes: tuple[Change, ...]
    versions: Mapping[str, tuple[str | None, str | None]]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    command: str
    repository: Path
    report: Path


def write_unfinished(output: Path, pair: str, commit: str | None) -> None:
    """Mark a folder as a reproduction's, before anything is computed.

    Raises:
        InputError: the folder is another run's, whose finished stages would be taken for reproduced ones, or it cannot
            be written to.
    """
    from ..folders import check_writable
    from ..pipeline.manifest import write_json
    from ..pipeline.run import RECIPE_FILE

    check_writable(output)
    if (output / RECIPE_FILE).exists() and not (output / REPRODUCTION_FILE).exists():
        raise InputError(
            "this is the folder of a run that reproduces nothing, and its finished stages would not be done again",
            field="output",
            value=str(output),
            remedy="choose another folder",
        )
    write_json(output / REPRODUCTION_FILE, {"pair": pair, "commit": commit, "verdict": _UNFINISHED})
    (output / REPORT_FILE).unlink(missing_ok=True)


def compare(
    prepared: Prepared, finished: RunResult, *, endpoint: str | None, weights: bool, progress: bool
) -> Reproduction:
    """Compare a finished run with the published pair that it reproduces.

    Args:
        prepared: What was run.
        finished: What came out.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.
        weights: Fetch published weights that differ.
        progress: Say what is fetched.

    Raises:
        InputError, BistillError: the Hub did not answer as it should.
    """
    from ..pipeline.manifest import versions

    assert finished.repository is not None
    scores = _compare_scores(prepared, finished.results)
    files = compare_files(prepared, finished.repository, endpoint)
    files = with_distances(files, prepared, finished.repository, endpoint, weights, progress)
    before, now = prepared.published.versions, versions()
    verdict, differences = _judge(scores, files)
    return Reproduction(
        pair=prepared.pair.shown,
        commit=prepared.pair.commit,
        verdict=verdict,
        differences=differences,
        scores=scores,
        files=files,
        changes=prepared.changes,
        versions={
            name: (before.get(name), now.get(name))
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        },
        left_out=prepared.left_out,
        notes=prepared.notes,
        command=prepared.command,
        repository=finished.repository,
        report=prepared.output / REPORT_FILE,
    )


def _compare_scores(prepared: Prepared, results: Sequence[Result]) -> tuple[ComparedScore, ...]:
    """Put each published score of a model that the recipe scores beside the reproduced one."""
    scored = {"student", "teacher", *prepared.recipe.baselines}
    found = {(one.task, one.role, one.language, one.model, one.metric): one for one in results}
    compared = []
    for task in prepared.recipe.tasks:
        name = results_file(task.name)
        if name not in prepared.pair.files:
            continue
        for one in read_results(prepared.pair.folder / name):
            if one.model in scored:
                other = found.get((one.task, one.role, one.language, one.model, one.metric))
                compared.append(_compared_score(one, other))
    return tuple(compared)


def _compared_score(published: Result, found: Result | None) -> ComparedScore:
    equal = None
    if found is not None and published.prediction_digests and found.prediction_digests:
        try:
            equal = count_equal(published.prediction_digests, found.prediction_digests)
        except ValueError:  # not what this package writes
            equal = None
    return ComparedScore(
        **{
            name: getattr(published, name)
            for name in ("task", "language", "role", "model", "metric", "low", "high", "n", "synthetic")
        },
        published=published.score,
        reproduced=None if found is None else found.score,
        equal=equal,
        same_weights=found is not None and found.weights_sha256 == published.weights_sha256,
        holds=found is not None and found.n == published.n and not differs(published.score, found.score),
    )


def _judge(scores: Sequence[ComparedScore], files: Iterable[ComparedFile]) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict, and why it is "not reproduced"."""
    wrong = [_failure(score) for score in scores if not score.holds]
    differing = [
        file.path
        for file in files
        if is_of_model(file.path) and file.state not in ("identical", "same content", "left out")
    ]
    if not wrong and differing and not scores:
        wrong = [f"{', '.join(differing)}: not the published ones, and there is no score by which to compare them"]
    if wrong:
        return "not reproduced", tuple(wrong)
    return "reproduced" if differing else "identical", ()


def _failure(score: ComparedScore) -> str:
    where = f"{score.task}, {score.model} on {score.language}"
    if score.reproduced is None:
        return f"{where}: {score.metric} = {100 * score.published:.2f}: there is no such score of the reproduction"
    found = f"{where}: {score.metric} = {100 * score.published:.2f}: reproduced it is {100 * score.reproduced:.2f}"
    if not differs(score.published, score.reproduced):
        return f"{found}, on another number of examples than {score.n}"
    within = "inside" if score.low <= score.reproduced <= score.high else "outside"
    return f"{found}, which differs by more than {POINTS} points; it is {within} the published 95 % interval"


def write_reproduction(output: Path, reproduction: Reproduction) -> None:
    """Write `reproduction.json` and `reproduction.md`; neither says where anything lies on this machine.

    Args:
        output: The run's folder.
        reproduction: What to write.
    """
    from ..pipeline.manifest import write_json

    fields = asdict(reproduction)
    for name in ("repository", "report"):
        del fields[name]
    for score, row in zip(reproduction.scores, fields["scores"], strict=True):
        row["difference"] = score.difference
    (output / REPORT_FILE).write_text(_report(reproduction), encoding="utf-8")
    write_json(output / REPRODUCTION_FILE, fields)


SCORE_COLUMNS = (
    "task",
    "language",
    "model",
    "metric",
    "published",
    "reproduced",
    "difference",
    "equal predictions",
    "",
)
FILE_COLUMNS = ("file", "", "MB", "relative distance")
CHANGE_COLUMNS = ("field", "published", "now")


def score_rows(reproduction: Reproduction) -> list[tuple[str, ...]]:
    """Scores as the tables show them: in %, differences in points."""
    rows: list[tuple[str, ...]] = []
    for score in reproduction.scores:
        share = None if score.equal is None or not score.n else score.equal / score.n
        agreement = "" if share is None else f"{100 * share:.1f} %{'' if share >= EQUAL else f' (< {100 * EQUAL:g} %)'}"
        rows.append(
            (
                score.task,
                f"{score.language} ({score.role})",
                score.model.replace("_", " "),
                score.metric,
                f"{100 * score.published:.2f}",
                "" if score.reproduced is None else f"{100 * score.reproduced:.2f}",
                "" if score.difference is None else f"{score.difference:+.2f}",
                agreement,
                "same weights" if score.same_weights else "holds" if score.holds else "differs",
            )
        )
    return rows


def file_rows(reproduction: Reproduction) -> list[tuple[str, ...]]:
    """Files as the tables show them."""
    return [
        (
            file.path,
            file.state,
            "" if file.size is None else f"{file.size / 1e6:.2f}",
            "" if file.distance is None else f"{file.distance:.2g}",
        )
        for file in reproduction.files
    ]


def change_rows(reproduction: Reproduction) -> list[tuple[str, ...]]:
    """Changed fields as the tables show them, values as JSON."""
    return [
        (change.field, *(json.dumps(value, ensure_ascii=False) for value in (change.published, change.now)))
        for change in reproduction.changes
    ]


def score_title(reproduction: Reproduction) -> str:
    """What stands above the scores."""
    synthetic = any(score.synthetic for score in reproduction.scores)
    return f"Scores{' of a synthetic demonstration' if synthetic else ''} (%), which may differ by {POINTS} points"


def remarks(reproduction: Reproduction) -> list[str]:
    """What is to be said beside the tables, a sentence each."""
    said = [f"{name} was {then or 'not recorded'}, and is {now or 'not used'} now." for name, (then, now) in
            reproduction.versions.items()]  # fmt: skip
    if reproduction.left_out:
        said.append(f"Not done: {', '.join(reproduction.left_out)}.")
    unmeasured = [file for file in reproduction.files if file.state == "differs" and file.path.endswith(".safetensors")]
    if unmeasured := [file for file in unmeasured if file.distance is None]:
        size = sum(file.size or 0 for file in unmeasured) / 1e6
        files = f"{len(unmeasured)} file{'' if len(unmeasured) == 1 else 's'}"
        said.append(f"How far weights are apart was not measured of {files} ({size:,.1f} MB).")
    return said + list(reproduction.notes)


def headline(reproduction: Reproduction) -> str:
    """Pair, commit and verdict."""
    place = f"{reproduction.pair} at {reproduction.commit}" if reproduction.commit else reproduction.pair
    count = len(reproduction.changes)
    changed = f", with {count} change{'' if count == 1 else 's'}" if count else ""
    return f"{place}: {reproduction.verdict}{changed}."


def _report(reproduction: Reproduction) -> str:
    parts = [f"# {headline(reproduction)}", f"    {reproduction.command}"]
    if reproduction.differences:
        parts.append(_listed(reproduction.differences))
    for title, columns, rows in (
        ("Changed", CHANGE_COLUMNS, change_rows(reproduction)),
        (score_title(reproduction), SCORE_COLUMNS, score_rows(reproduction)),
        ("Files", FILE_COLUMNS, file_rows(reproduction)),
    ):
        if rows:
            parts += [f"## {title}", _table(columns, rows)]
    if said := remarks(reproduction):
        parts += ["## Remarks", _listed(said)]
    return "\n\n".join(parts) + "\n"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
