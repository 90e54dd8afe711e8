"""`comparison.md`, `.csv` and `.json`: one table of all that is finished, and what is not; and `beside.csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..recipe import Recipe
from .beside import Beside
from .changes import TUNING
from .contenders import CONTENDERS, STUDENT_NAME, TEACHER, differences
from .findings import COLUMNS, Finding, cells, findings_of, verdict
from .memory import Remembered
from .origins import in_one, phase_1_teacher, task_teacher, worn_at_test, worn_in_words
from .rows import Asked
from .table import COVERAGE, RESAMPLES, Score

VERSION = 1
_SIZES = ("layers", "vocabulary", "parameters", "flops_per_token", "flops_length")
NAME = "comparison"
BESIDE_FILE = "beside.csv"
FINDINGS = "## What the paper found, and what is so here"
FINDINGS_NOTE = (
    "On the target language. *Yes* and *no* where the whole interval lies on one side of what is expected, *open* "
    "otherwise; *seeds*: with how many of them alone it is so. The interval is over examples and knows nothing of "
    "seeds: read both. The paper says that little is lost; how much may be is this project's number."
)
SYNTHETIC = "Synthetic: text and labels were generated, so these scores say nothing about real language."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison has found so far.

    Attributes:
        recipe: The pair's recipe, further languages left out.
        rows: What was ever asked for.
        scores: What is finished, averaged over seeds.
        beside: Each contender beside each other, as far as they are finished.
        missing: What is asked for, not finished, and has not failed.
        failed: What went wrong, by row.
    """

    recipe: Recipe
    rows: tuple[Remembered, ...]
    scores: tuple[Score, ...]
    beside: tuple[Beside, ...]
    missing: tuple[Asked, ...]
    failed: Mapping[Asked, str]

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names of teacher, student and the contenders that were asked for, in the order of tables."""
        asked = {row.contender for row in self.rows}
        return tuple(name for name in CONTENDERS if name in asked)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the paper found, and whether it is so here, as far as the models are there."""
        return findings_of(self.scores)

    def differences(self, contender: str) -> dict[str, Any]:
        """What a contender's recipe has otherwise than the student's, dotted path to value."""
        found: dict[str, Any] = {}
        for row in self._rows_of(contender):
            own = next(each.recipe for each in self._rows_of(STUDENT_NAME) if each.task == row.task)
            found |= differences(row.recipe, own)
        return found

    def task_teachers(self, contender: str) -> dict[str, str]:
        """By task where a contender's task teacher comes from."""
        return {row.task: task_teacher(row.recipe.tasks[0].teacher) for row in self._rows_of(contender)}

    def after(self, contender: str) -> str:
        """Say where a contender comes from: the idea's source, or for the teacher what the recipe says."""
        if contender == TEACHER:
            return in_one(self.task_teachers(contender))
        return CONTENDERS[contender].source

    def phase_1_teachers(self, contender: str) -> dict[str, str]:
        """By task what teaches a contender in phase 1, with which language SFTs."""
        scored = CONTENDERS[contender].scored
        return {row.task: phase_1_teacher(row.recipe, scored) for row in self._rows_of(contender)}

    def worn_at_test(self, contender: str) -> dict[str, dict[str, str | None]]:
        """By task and language of the test data the language SFT that a contender carries there."""
        scored = CONTENDERS[contender].scored
        return {row.task: worn_at_test(row.recipe, row.recipe.tasks[0], scored) for row in self._rows_of(contender)}

    def _rows_of(self, contender: str) -> list[Remembered]:
        return [row for row in self.rows if row.contender == contender]


def write_comparison(folder: Path, found: Comparison) -> None:
    """Write the four files: equal findings give equal bytes."""
    _write(folder / f"{NAME}.json", json.dumps(to_json(found), indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    _write(folder / f"{NAME}.csv", to_csv(found))
    _write(folder / BESIDE_FILE, beside_csv(found))
    _write(folder / f"{NAME}.md", to_markdown(found))


def to_json(found: Comparison) -> dict[str, Any]:
    """Give everything as plain values."""
    return {
        "comparison_version": VERSION,
        "name": found.recipe.name,
        "synthetic": found.recipe.synthetic,
        "resamples": RESAMPLES,
        "coverage": COVERAGE,
        "contenders": [
            {
                "name": name,
                "label": CONTENDERS[name].label,
                "group": CONTENDERS[name].group,
                "source": found.after(name),
                "unverified": CONTENDERS[name].unverified,
                "scored": CONTENDERS[name].scored,
                "differs_from_student": found.differences(name),
                "task_teacher": found.task_teachers(name),
                "phase_1_teacher": found.phase_1_teachers(name),
                "language_sfts_at_test": found.worn_at_test(name),
            }
            for name in found.contenders
        ],
        "budget": _budget_of(found),
        "not_run": [name for name in _not_run(found)],
        "findings": [{**asdict(finding), "verdict": verdict(finding)} for finding in found.findings],
        "scores": [asdict(score) for score in found.scores],
        "missing": [asdict(asked) for asked in found.missing],
        "failed": [{**asdict(asked), "error": error} for asked, error in found.failed.items()],
    }


def _budget_of(found: Comparison) -> dict[str, Any]:
    """What the student is given, which every other model gets too but for what is listed as different."""
    own, of_tasks = found.recipe, [row.recipe for row in found.rows if row.contender == STUDENT_NAME]
    return {
        "student": own.student.model_dump(mode="json", exclude={"must_keep"}),
        "bilingual": own.bilingual.model_dump(mode="json"),
        "tasks": {
            task.name: {
                "max_length": task.max_length,
                "teacher": task.teacher.model_dump(mode="json", include=TUNING),
                "distillation": task.distillation.model_dump(mode="json"),
            }
            for recipe in of_tasks
            for task in recipe.tasks
        },
    }


def to_csv(found: Comparison) -> str:
    """Give a line for each score, fractions unrounded; what is missing has no line."""
    lines = []
    for score in found.scores:
        fields = asdict(score)
        for name in ("to_teacher", "to_student"):
            paired = fields.pop(name) or {}
            lost = {f"{name}_{part}": paired.get(part) for part in ("difference", "difference_low", "difference_high")}
            fields |= lost
            if name == "to_teacher":
                fields |= {part: paired.get(part) for part in ("retention", "retention_low", "retention_high")}
        size = fields.pop("size")
        fields |= {
            part: size[part] for part in ("layers", "vocabulary", "parameters", "flops_per_token", "flops_length")
        }
        fields["seeds"] = " ".join(map(str, score.seeds))
        fields["by_seed"] = " ".join(map(str, score.by_seed))
        fields |= {"group": CONTENDERS[score.contender].group, "synthetic": found.recipe.synthetic}
        fields["task_teacher"] = found.task_teachers(score.contender)[score.task]
        lines.append(fields)
    return _lines(lines)


def beside_csv(found: Comparison) -> str:
    """Give a line for every two contenders on every test set, differences as fractions unrounded."""
    return _lines([{**asdict(each), "seeds": " ".join(map(str, each.seeds))} for each in found.beside])


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def to_markdown(found: Comparison) -> str:
    """Give a table for each task and test set, the contenders' recipes, and what is missing."""
    parts = [f"# {found.recipe.name}: the student beside its contenders"]
    if found.recipe.synthetic:
        parts.append(f"**{SYNTHETIC}**")
    parts.append(
        "Scores in %, zero-shot on the target language, means over seeds; in brackets 95 % bootstrap intervals over "
        f"examples ({RESAMPLES:,} resamples, the same for all models and seeds), ± the standard deviation over seeds. "
        "Differences are in points and paired. Retention is (model - trivial) / (teacher - trivial), given where the "
        "teacher's lower bound is above the trivial baseline. FLOPs are those of the encoder for one input."
    )
    if found.findings:
        parts += [FINDINGS, findings_table(found.findings), FINDINGS_NOTE]
    for task in dict.fromkeys(score.task for score in found.scores):
        for role in ("target", "source"):
            scores = [score for score in found.scores if (score.task, score.role) == (task, role)]
            parts += _score_section(found, task, role, scores)
    parts += ["## The student's budget", _budget(found), "## What differs from the student's recipe", _recipes(found)]
    for title, lines in (
        ("Missing", [str(asked) for asked in found.missing]),
        ("Failed", [f"{asked}: {_one_line(error)}" for asked, error in found.failed.items()]),
    ):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def findings_table(findings: Sequence[Finding]) -> str:
    """Give the findings as a Markdown table, one a line."""
    rows = [[f"{finding.task}, {finding.language}", *cells(finding)] for finding in findings]
    return _table(["test", *COLUMNS], rows)


def _score_section(found: Comparison, task: str, role: str, scores: Sequence[Score]) -> list[str]:
    first = scores[0]
    title = f"## {task}, {first.language} ({role})"
    note = f"{first.metric} on {first.dataset}, n = {first.n:,}, trivial baseline {100 * first.trivial:.1f}."
    header = [
        "model",
        "layers",
        "vocabulary",
        "parameters (M)",
        f"GFLOPs ({first.size.flops_length} tokens)",
        "seeds",
        "score",
        "± seeds",
        "to teacher",
        "retention",
        "to student",
    ]
    rows = [[_label(found, score.contender, task), *_cells(score)] for score in scores]
    there = {score.contender for score in scores}
    for name in found.contenders:
        if name not in there and any((row.contender, row.task) == (name, task) and row.seeds for row in found.rows):
            state = "failed" if any((a.contender, a.task) == (name, task) for a in found.failed) else "missing"
            rows.append([_label(found, name, task), *[""] * 5, state, *[""] * 4])
    rows += [[CONTENDERS[name].label, *[""] * 5, "not run, unverified", *[""] * 4] for name in _not_run(found)]
    return [title, note, _table(header, rows)]


def _label(found: Comparison, name: str, task: str) -> str:
    """A row's name; the teacher's says where it comes from."""
    if name == TEACHER:
        return f"{CONTENDERS[name].label}, {found.task_teachers(name)[task]}"
    return CONTENDERS[name].label + (", unverified" if CONTENDERS[name].unverified else "")


def _cells(score: Score) -> list[str]:
    size, kept = score.size, score.to_teacher
    retention = "" if kept is None else "teacher not above trivial"
    if kept is not None and kept.retention is not None:
        ends = (kept.retention_low, kept.retention_high)
        retention = f"{100 * kept.retention:.1f}" + (
            "" if ends[0] is None or ends[1] is None else f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
        )
    return [
        str(size.layers),
        f"{size.vocabulary:,}",
        f"{size.parameters / 1e6:.4g}",
        f"{size.flops_per_token * size.flops_length / 1e9:.4g}",
        " ".join(map(str, score.seeds)),
        f"{100 * score.score:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]",
        "" if score.deviation is None else f"{100 * score.deviation:.1f}",
        *(
            ""
            if paired is None
            else f"{100 * paired.difference:+.1f} "
            f"[{100 * paired.difference_low:+.1f}, {100 * paired.difference_high:+.1f}]"
            for paired in (score.to_teacher,)
        ),
        retention,
        ""
        if score.to_student is None
        else f"{100 * score.to_student.difference:+.1f} "
        f"[{100 * score.to_student.difference_low:+.1f}, {100 * score.to_student.difference_high:+.1f}]",
    ]


def _budget(found: Comparison) -> str:
    """The settings that all models share, a line for each part."""
    shared = _budget_of(found)
    parts = {"student": shared["student"], "bilingual": shared["bilingual"]}
    for name, task in shared["tasks"].items():
        parts |= {f"tasks.{name}.teacher": task["teacher"], f"tasks.{name}.distillation": task["distillation"]}
    rows = [[f"`{part}`", _settings(values)] for part, values in parts.items()]
    return _table(["part", "settings"], rows)


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items() if value is not None)


def _recipes(found: Comparison) -> str:
    speaking = bool(found.recipe.teacher.language_deltas)
    rows = []
    for name in found.contenders:
        contender = CONTENDERS[name]
        changed = ", ".join(f"`{path}` {_value(value)}" for path, value in found.differences(name).items())
        if contender.scored != "student" and not changed:
            changed = "the stages of the student's recipe"
        worn = {task: worn_in_words(languages) for task, languages in found.worn_at_test(name).items()}
        languages = [in_one(found.phase_1_teachers(name)), in_one(worn)] if speaking else []
        rows.append([contender.label, found.after(name), changed or "nothing", *languages])
    columns = ["teacher's language SFTs in phase 1", "language SFTs at the test"] if speaking else []
    return _table(["model", "after", "differs", *columns], rows)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).strip('"')


def _not_run(found: Comparison) -> list[str]:
    """Published models that nobody asked for."""
    asked = found.contenders
    return [name for name, contender in CONTENDERS.items() if contender.group == "published" and name not in asked]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(file: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
