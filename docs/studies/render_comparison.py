"""Write a study's page from what `bistill compare` left: its tables and figures, the stages' times, and one's own words.

python docs/studies/render_comparison.py FOLDER PAGE.md --title TITLE --words WORDS.md --machine MACHINE [--more NAME=FOLDER]

The words are Markdown; they come first, and say the question, the commands and what was found. `--more` adds the tables
of a further comparison, such as one of other settings. Figures and raw tables are copied beside the page.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

_FIGURES = "figures"


def _body(folder: Path, below: str) -> str:
    """The tables of `comparison.md`, their headings one level down and told apart by what they are of."""
    text = (folder / "comparison.md").read_text(encoding="utf-8").split("\n", 1)[1].strip()
    return re.sub(r"^##+ (.*)$", rf"### \1{below}", text, flags=re.MULTILINE)


def _figures(raw: Path, name: str) -> list[str]:
    pictures = sorted((raw / name).glob("*.png"))
    return [f"![{picture.stem.replace('_', ' ')}]({raw.name}/{name}/{picture.name})" for picture in pictures]


def _stages(folder: Path) -> list[dict[str, Any]]:
    """What was done, in the order in which it was."""
    found = []
    for file in sorted(folder.glob("stages/*/manifest.json"), key=lambda file: file.stat().st_mtime):
        stage = json.loads(file.read_text(encoding="utf-8"))
        facts = stage["facts"]
        held_out = [entry["eval_loss"] for entry in facts.get("curve") or [] if "eval_loss" in entry]
        found.append(
            {
                "folder": file.parent.name,
                "minutes": round(stage["seconds"] / 60, 2),
                "held_out_loss": " ".join(f"{loss:.4f}" for loss in held_out) if stage["stage"] == "phase 1" else "",
                "development_score": facts.get("validation"),
            }
        )
    return found


def _stage_table(stages: list[dict[str, Any]]) -> list[str]:
    rows = []
    for stage in stages:
        score = stage["development_score"]
        shown = "" if score is None else f"{100 * score:.1f}"
        rows.append(f"| `{stage['folder']}` | {stage['minutes']:.1f} | {stage['held_out_loss']} | {shown} |")
    total = sum(stage["minutes"] for stage in stages)
    head = ["| stage | minutes | loss on held-out text | best on development data % |", "|---|---:|---|---:|"]
    return [*head, *rows, f"| all | {total:.1f} | | |"]


def main() -> None:
    """Read the arguments and write page, figures and raw tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--title", required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--more", action="append", default=[], metavar="NAME=FOLDER")
    args = parser.parse_args()

    raw = args.page.with_suffix("")
    shutil.rmtree(raw, ignore_errors=True)
    page = [f"# {args.title}", "", f"{datetime.date.today().isoformat()}; {args.machine}.", ""]
    page += [args.words.read_text(encoding="utf-8").strip(), "", "## Tables"]
    stages = []
    for name, folder in [
        ("", args.folder),
        *((name, Path(place)) for name, place in (m.split("=", 1) for m in args.more)),
    ]:
        own = raw / name
        own.mkdir(parents=True, exist_ok=True)
        for file in ("comparison.csv", "comparison.json"):
            shutil.copyfile(folder / file, own / file)
        shutil.copytree(folder / _FIGURES, own / _FIGURES, dirs_exist_ok=True)
        page += ["", *_figures(raw, f"{name}/{_FIGURES}".lstrip("/")), "", _body(folder, f" ({name})" if name else "")]
        stages += [{"comparison": name, **stage} for stage in _stages(folder)]
    with (raw / "stages.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(stages[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(stages)
    page += [
        "",
        "## Stages",
        "",
        "In the order in which they were done; a stage that contenders share is done once.",
        "",
    ]
    page += [*_stage_table(stages), "", f"Raw tables and figures are in [{raw.name}/]({raw.name}/).", ""]
    args.page.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
