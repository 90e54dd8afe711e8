"""Write a study's page from what a run left: scores, times, training curves, the package's listing.

python docs/studies/render.py RUN_FOLDER PAGE.md --title TITLE --command COMMAND --machine MACHINE [--notes NOTES.md]
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
from pathlib import Path

from bistill_hub.cards.tables import stage_loss
from bistill_hub.evaluation.results import Result, read_results, retention
from bistill_hub.pipeline.training import last_loss

_BESIDE = {"f1": ("precision", "recall", "exact_match")}
"""Other metrics that are shown beside a main one, where a task has them."""


def _scores(results: list[Result]) -> list[str]:
    teachers = {(r.task, r.language): r for r in results if r.model == "teacher"}
    lines = [
        "| task | language | model | metric | score % | 95 % interval | trivial % | retention % | n | also % |",
        "|---|---|---|---|---:|---|---:|---|---:|---|",
    ]
    for r in results:
        kept = None if r.model == "teacher" else retention(r, teachers[r.task, r.language])
        shown = "" if r.model == "teacher" else "teacher not above trivial" if kept is None else f"{100 * kept:.1f}"
        also = [
            f"{name.replace('_', ' ')} {100 * r.scores[name]:.1f}"
            for name in _BESIDE.get(r.metric, ())
            if name in r.scores
        ]
        lines.append(
            f"| {r.task} | {r.language} ({r.role}) | {r.model.replace('_', ' ')} | {r.metric} | {100 * r.score:.1f} | "
            f"{100 * r.low:.1f} to {100 * r.high:.1f} | {100 * r.trivial:.1f} | {shown} | {r.n:,} | {', '.join(also)} |"
        )
    return lines


def _by_label(results: list[Result]) -> list[str]:
    """A table a task: F1 of each entity type, tag or class, of teacher and student."""
    lines = []
    for task in dict.fromkeys(r.task for r in results):
        rows = [r for r in results if r.task == task and r.model in ("teacher", "student")]
        labels = sorted({name[: -len(".f1")] for r in rows for name in r.scores if name.endswith(".f1")})
        if not labels:
            continue
        lines += [
            f"F1 % of {task} by label, with the number of gold ones:",
            "",
            "| language | model | " + " | ".join(labels) + " |",
            "|---|---|" + "---:|" * len(labels),
        ]
        for r in rows:
            cells = [
                f"{100 * r.scores[f'{label}.f1']:.1f} ({r.scores[f'{label}.number']:.0f})"
                if f"{label}.f1" in r.scores
                else ""
                for label in labels
            ]
            lines.append(f"| {r.language} | {r.model} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _stages(stages: list[dict[str, object]]) -> list[str]:
    lines = ["| stage | minutes | loss | best on development data | settings |", "|---|---:|---:|---:|---|"]
    for stage in stages:
        facts = stage["facts"]
        settings = ", ".join(f"{k} {v}" for k, v in (facts.get("settings") or {}).items() if v is not None)
        best = facts.get("validation")
        lines.append(
            f"| {stage['stage']} | {stage['seconds'] / 60:.1f} | {_loss(stage)} | "
            f"{'' if best is None else f'{100 * best:.1f}'} | {settings} |"
        )
    total = sum(stage["seconds"] for stage in stages) / 60
    return [*lines, f"| all | {total:.1f} | | | |"]


def _loss(stage: dict[str, object]) -> str:
    """The stage's loss; of a training on labels its end, read off its curve, for older records hold the last value."""
    facts = stage["facts"]
    if stage["stage"] != "phase 1" and facts.get("curve"):
        facts = last_loss(facts["curve"])
    loss = facts.get("loss")
    row = {"name": stage["stage"], "loss": "" if loss is None else f"{loss:.4g}"}
    return stage_loss({**row, "loss_updates": facts.get("loss_updates")})


def _curve(stage: dict[str, object]) -> list[str]:
    rows = [entry for entry in stage["facts"]["curve"] if "eval_loss" in entry]
    return ["| step | loss on held-out text |", "|---:|---:|"] + [
        f"| {row['step']:,} | {row['eval_loss']:.4f} |" for row in rows
    ]


def _listing(folder: Path) -> list[str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    rows = (f"| `{file.relative_to(folder)}` | {file.stat().st_size:,} |" for file in files)
    return ["| file | bytes |", "|---|---:|", *rows]


def _printed(file: Path) -> list[str]:
    """What a command printed, as a block that is no snippet: nothing in it is there to be given."""
    lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    return [f"    {line}".rstrip() for line in lines]


def main() -> None:
    """Read the arguments and write page and raw figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("page", type=Path)
    for name in ("title", "command", "machine"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--notes", type=Path, help="Markdown in one's own words, put after the scores")
    parser.add_argument("--output", type=Path, help="what the command printed, put at the end")
    args = parser.parse_args()

    manifests = sorted(args.run.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime)
    stages = [json.loads(file.read_text(encoding="utf-8")) for file in manifests]
    repository = args.run / "package" / "repository"
    raw = args.page.with_suffix("")
    raw.mkdir(exist_ok=True)
    results: list[Result] = []
    for file in sorted(repository.glob("tasks/*/results.json")):
        results += read_results(file)
        shutil.copyfile(file, raw / f"{file.parent.name}.results.json")
    (raw / "stages.json").write_text(
        json.dumps(
            [
                {
                    "stage": stage["stage"],
                    "seconds": stage["seconds"],
                    "fingerprint": stage["fingerprint"],
                    "facts": {name: value for name, value in stage["facts"].items() if name != "model"},
                }
                for stage in stages
            ],
            indent=1,
            sort_keys=True,
        )
        + "\n"
    )
    shutil.copyfile(repository / "recipe.json", raw / "recipe.json")

    synthetic = any(result.synthetic for result in results)
    student = next(stage["facts"] for stage in stages if stage["stage"] == "student")
    phase_1 = next(stage for stage in stages if stage["stage"] == "phase 1")
    languages = student["vocabulary"]["languages"]
    page = [
        f"# {args.title}",
        "",
        f"{datetime.date.today().isoformat()}; {args.machine}. Made by",
        "",
        "```bash",
        args.command,
        "```",
        "",
        f"This page was written by `docs/studies/render.py` from the run's files; the raw figures are in [{raw.name}/]({raw.name}/).",
        "",
        "## Scores",
        "",
        *(
            ["**Synthetic: text and labels were generated; these scores say nothing about real language.**", ""]
            if synthetic
            else []
        ),
        "One seed. Intervals are 95 % percentile bootstrap intervals over test examples (1,000 resamples). The student is the",
        "packaged, reloaded model. Retention is counted above the trivial baseline, and given where the lower end of the teacher's",
        "interval is above it.",
        "",
        *_scores(results),
        "",
        *_by_label(results),
        *([args.notes.read_text(encoding="utf-8").strip(), ""] if args.notes else []),
        "## The student",
        "",
        "| | teacher | student |",
        "|---|---:|---:|",
        *(
            f"| {name} | {student['teacher'][name]:,} | {student['student'][name]:,} |"
            for name in ("parameters", "layers", "vocabulary")
        ),
        "",
        f"Student layers are copies of teacher layers {', '.join(map(str, student['layer_map']))} (from 0).",
        "",
        "| language | lines | tokens | tokens kept % | lines with a dropped piece % | pieces a word, teacher | student |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {code} | {student['corpora'][code]['lines']:,} | {student['corpora'][code]['tokens']:,} | "
            f"{100 * report['corpus_tokens_kept']:.2f} | {100 * report['lines_with_dropped_pieces']:.2f} | "
            f"{report['fertility_before']:.3f} | {report['fertility_after']:.3f} |"
            for code, report in sorted(languages.items())
        ),
        "",
        "## Times and settings",
        "",
        *_stages(stages),
        "",
        "Phase 1, attention and hidden-state loss together:",
        "",
        *_curve(phase_1),
        "",
        "## The packaged folder",
        "",
        *_listing(repository),
        *(["", "## What the command printed", "", *_printed(args.output)] if args.output else []),
    ]
    args.page.write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
