"""Keep what the rows of a comparison predicted, and make one table of all that was ever kept.

python docs/studies/pool.py keep POOL FOLDER RECIPE --set-file SETTINGS.toml --words "when, and what on"
python docs/studies/pool.py table POOL OUTPUT RECIPE --set-file SETTINGS.toml [--page PAGE.md]

A comparison's folder belongs to one machine and one set of library versions. Its predictions do not: a study whose seeds
are trained weeks apart keeps them in a pool, from which all scores and intervals are computed anew. A row is kept with
the recipe that it was trained by and the hashes of the weights that it began with, and the table takes none of another
recipe or of other weights (rows of before 2026-12-01 have no hashes). The precision of phases 1 and 2 alone may differ,
since not every machine has bf16: it stands beside each stage, and above the scores where rows of one table differ in it.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bistill_hub.cli.recipe_options import load_compared
from bistill_hub.comparison.beside import Beside, each_beside_each
from bistill_hub.comparison.beside_figure import draw_beside
from bistill_hub.comparison.contenders import ALWAYS, CONTENDERS, own_recipe
from bistill_hub.comparison.counted import Finished, counted_tests
from bistill_hub.comparison.derived import derived_recipes
from bistill_hub.comparison.figure import FIGURES_FOLDER, draw_comparison
from bistill_hub.comparison.memory import Remembered, read_rows
from bistill_hub.comparison.report import FINDINGS, NAME, Comparison, write_comparison
from bistill_hub.comparison.rows import Row, finished_stages, rows_of, score_name
from bistill_hub.comparison.scoring import predictions_file, tests_of
from bistill_hub.comparison.table import Score, scores_of
from bistill_hub.errors import InputError
from bistill_hub.evaluation.kept import read_predictions
from bistill_hub.pipeline.manifest import StageRecord, versions
from bistill_hub.pipeline.order import PHASE_1
from bistill_hub.pipeline.portable import portable, public_name
from bistill_hub.pipeline.preflight import TaskData, read_task
from bistill_hub.recipe import Recipe
from bistill_hub.sources import file_sha256
from bistill_hub.tasks import get_task
from bistill_hub.teacher import LEGACY_PREFIX

METRICS_FILE = "metrics.csv"
_COUNT = "number"
"""What a task calls a metric that counts the labelled data's own, the same in each row."""

BEGIN, END = "<!-- tables: written by docs/studies/pool.py -->", "<!-- end of tables -->"
"""In a page: what stands between them is replaced by the tables and the figures."""

BEGIN_FINDINGS, END_FINDINGS = "<!-- findings: written by docs/studies/pool.py -->", "<!-- end of findings -->"
"""In a page that has them: what stands between them is replaced by the findings, which the tables then leave out."""

_SUFFIX = ".json.xz"
_NOT_OF_THE_MODEL = ("unverified", "limits", "checkpoint_every", "speed", "contributors")
"""What a recipe says beside how its models are made."""

_PRECISION = ("precision", "teacher_precision")


@dataclass(frozen=True)
class Kept:
    """A row: its recipe, how its stages went, and what its model predicted.

    Attributes:
        file: Where it is kept.
        content: As `keep` wrote it.
    """

    file: Path
    content: dict[str, Any]

    @property
    def contender(self) -> str:
        """The contender's name."""
        return str(self.content["contender"])

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return int(self.content["seed"])

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.content["task"])

    def precision(self, stage: str) -> str:
        """The precision that a stage was trained in: phase 1, the task's teacher, or its phase 2."""
        recipe = self.content["recipe"]
        (task,) = (each for each in recipe["tasks"] if each["name"] == self.task)
        settings = {PHASE_1: recipe["bilingual"], f"{self.task} teacher": task["teacher"]}
        own = settings.get(stage, task["distillation"])
        teachers = own.get("teacher_precision", own["precision"])
        return str(own["precision"] if teachers == own["precision"] else f"{own['precision']}, teacher in {teachers}")

    def record(self, folder: Path) -> StageRecord:
        """Write the predictions where a comparison would have them; the record of the stage that made them."""
        folder.mkdir(parents=True)
        for language, lines in self.content["predictions"].items():
            predictions_file(folder, language).write_text(lines, encoding="utf-8")
        facts = {"size": self.content["size"]}
        return StageRecord(score_name(self.task), folder, "", {}, {}, facts, 0.0, self.content["machine"], True)


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What a row is kept with: all that its model depends on, without the machine's folders and the seed."""
    fields = portable(recipe)
    fields["teacher"].pop("tokenizer_not_by")  # says how others load a tokenizer; remembered rows have none
    for task in fields["tasks"]:
        if not task["distillation"]["target_share"]:
            del task["distillation"]["target_share"]  # rows that were kept before there was one have none
    return {name: value for name, value in fields.items() if name not in (*_NOT_OF_THE_MODEL, "seed")}


def _weights(recipe: Recipe) -> dict[str, str]:
    """Hashes of the weights here that a recipe begins with, by field; what is on the Hub has a revision."""
    places = {"teacher.model": recipe.teacher.model}
    places |= {f"teacher.language_deltas.{code}": place for code, place in recipe.teacher.language_deltas.items()}
    for task in recipe.tasks:
        given = {"model": task.teacher.model, "delta": task.teacher.delta}
        places |= {f"tasks.{task.name}.teacher.{name}": place for name, place in given.items() if place}
    found = {}
    for field, place in places.items():
        if public_name(place) is None:
            path = Path(place.removeprefix(LEGACY_PREFIX)).expanduser()
            files = [path] if path.is_file() else sorted([*path.glob("*.safetensors"), *path.glob("*.bin")])
            found[field] = " ".join(file_sha256(file) for file in files)
    return found


def _without_precision(identity: dict[str, Any]) -> dict[str, Any]:
    """The same, whatever precision its phases were trained in."""
    fields: dict[str, Any] = json.loads(json.dumps(identity))
    for settings in (fields["bilingual"], *(task["distillation"] for task in fields["tasks"])):
        for name in _PRECISION:
            settings.pop(name, None)
    return fields


def _data_of(recipe: Recipe) -> dict[str, TaskData]:
    return {task.name: read_task(task, get_task(task.name)) for task in recipe.tasks}


def _finished(folder: Path, recipe: Recipe, data: dict[str, TaskData]) -> Iterator[tuple[Row, dict[str, StageRecord]]]:
    for asked in read_rows(folder, recipe):
        if asked.task not in data:
            continue
        for row in rows_of(CONTENDERS[asked.contender], asked.recipe, asked.seeds, data, progress=False):
            records = finished_stages(row, folder)
            if score_name(asked.task) in records:
                yield row, records


def keep(pool: Path, folder: Path, recipe: Recipe, words: str) -> list[Path]:
    """Add the finished rows of a comparison's folder to a pool.

    Args:
        pool: The pool's folder, made if it is missing.
        folder: The comparison's.
        recipe: The pair's recipe.
        words: When and on what they were made.

    Returns:
        The files, one a row.

    Raises:
        InputError: the folder has no finished row of this recipe.
    """
    data = _data_of(recipe)
    written = []
    for row, records in _finished(folder, recipe, data):
        scored = records[score_name(row.asked.task)]
        content = {
            "contender": row.asked.contender,
            "seed": row.asked.seed,
            "task": row.asked.task,
            "recipe": _identity(row.recipe),
            "weights": _weights(row.recipe),
            "made": words,
            "machine": scored.machine,
            "versions": versions(),
            "size": scored.facts["size"],
            "stages": [_stage(record) for record in records.values()],
            "predictions": {
                language.code: predictions_file(scored.folder, language.code).read_text(encoding="utf-8")
                for language in recipe.languages
            },
        }
        file = pool / row.asked.task / f"{row.asked.contender}-{row.asked.seed}{_SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lzma.compress(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()))
        written.append(file)
    if not written:
        raise InputError(
            "no finished row of this recipe",
            file=folder,
            field="tasks",
            value=", ".join(data),
            remedy="give the settings that the comparison was given, precision included",
        )
    return written


def _stage(record: StageRecord) -> dict[str, Any]:
    curve = record.facts.get("curve") or []
    return {
        "name": record.name,
        "folder": record.folder.name,
        "seconds": record.seconds,
        "machine": record.machine,
        "held_out_losses": [entry["eval_loss"] for entry in curve if "eval_loss" in entry],
        "development_score": record.facts.get("validation"),
    }


def read_pool(pool: Path) -> list[Kept]:
    """All rows of a pool, by task, contender in the order of tables, and seed."""
    rows = [Kept(file, json.loads(lzma.decompress(file.read_bytes()))) for file in pool.glob(f"*/*{_SUFFIX}")]
    order = list(CONTENDERS)
    return sorted(rows, key=lambda row: (row.task, order.index(row.contender), row.seed))


def table(pool: Path, output: Path, recipe: Recipe, own: dict[str, dict[str, Any]]) -> Comparison:
    """Write `comparison.md`, `.csv`, `.json`, `beside.csv`, the figures and `metrics.csv` of all rows of a pool.

    Args:
        pool: The pool.
        output: Folder for them, made if it is missing.
        recipe: The pair's recipe.
        own: By contender's name, fields of its recipe that are its own.

    Raises:
        InputError: a row was trained by another recipe.
    """
    kept = read_pool(pool)
    scores: list[Score] = []
    beside: list[Beside] = []
    remembered: list[Remembered] = []
    metrics: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for name, data in _data_of(recipe).items():
            done: dict[str, dict[int, StageRecord]] = {}
            of_task = [row for row in kept if row.task == name]
            names = {*ALWAYS, *(row.contender for row in of_task)}
            contenders = [each for each in CONTENDERS.values() if each.name in names]
            recipes = derived_recipes(contenders, recipe.only([name]), own)
            for row in of_task:
                _check(row, recipes[row.contender])
                record = row.record(Path(place, name, f"{row.contender}-{row.seed}"))
                done.setdefault(row.contender, {})[row.seed] = record
            for each in recipes:
                remembered.append(Remembered(each, name, recipes[each], tuple(done.get(each, {})), {}))
            tests = counted_tests(own_recipe(recipe), data, done)
            scores += scores_of(tests)
            beside += each_beside_each(tests)
            metrics += _metrics_of(own_recipe(recipe), data, done)
    found = Comparison(
        recipe=own_recipe(recipe),
        rows=tuple(remembered),
        scores=tuple(scores),
        beside=tuple(beside),
        missing=(),
        failed={},
    )
    output.mkdir(parents=True, exist_ok=True)
    write_comparison(output, found)
    draw_comparison(found.scores, output / FIGURES_FOLDER, synthetic=recipe.synthetic)
    draw_beside(found.beside, output / FIGURES_FOLDER, synthetic=recipe.synthetic)
    with (output / METRICS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["task", "language", "contender", "seed", "metric", "value"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics)
    return found


def _metrics_of(recipe: Recipe, data: TaskData, done: Finished) -> Iterator[dict[str, Any]]:
    """All metrics of each row, as fractions, beside the main one."""
    for _, language, source in tests_of(recipe, data):
        dataset = data.task.read(source)
        for contender, by_seed in done.items():
            for seed, record in by_seed.items():
                predictions = read_predictions(predictions_file(record.folder, language.code))
                for metric, value in data.task.score(dataset, predictions).items():
                    if metric.rpartition(".")[2] == _COUNT:
                        continue
                    yield {
                        "task": data.recipe.name,
                        "language": language.code,
                        "contender": contender,
                        "seed": seed,
                        "metric": metric,
                        "value": value,
                    }


def onto_page(page: Path, output: Path, pool: Path) -> None:
    """Put the tables, the figures, and what each row took, between the page's two marks.

    Args:
        page: The page, Markdown.
        output: Where `table` wrote; a folder beside the page or below.
        pool: The pool.

    Raises:
        InputError: the page lacks a mark.
    """
    text = page.read_text(encoding="utf-8")
    pictures = sorted((output / FIGURES_FOLDER).glob("*.png"), key=lambda picture: picture.stem)
    shown = [f"![{picture.stem}]({picture.relative_to(page.parent).as_posix()})" for picture in pictures]
    tables = (output / f"{NAME}.md").read_text(encoding="utf-8").split("\n", 1)[1].strip()
    if BEGIN_FINDINGS in text and (section := _FINDINGS_SECTION.search(tables)):
        tables = tables.replace(section[0], "")
        text = _between(text, BEGIN_FINDINGS, END_FINDINGS, section[1], page)
    lowered = re.sub(r"^##+ ", "### ", tables, flags=re.MULTILINE)
    further = _metrics_table(output / METRICS_FILE)
    rows = read_pool(pool)
    precisions = _in_which_precision(rows)
    parts = ["", *shown, "", *precisions, lowered, "", *further, "", *_what_rows_took(rows), ""]
    page.write_text(_between(text, BEGIN, END, "\n".join(parts), page), encoding="utf-8")


_FINDINGS_SECTION = re.compile(rf"^{re.escape(FINDINGS)}\n(.*?)(?=^## )", flags=re.MULTILINE | re.DOTALL)


def _between(text: str, begin: str, end: str, content: str, page: Path) -> str:
    """A page's text with other content, from a line's begin, between two marks."""
    before, begun, rest = text.partition(f"{begin}\n")
    _, ended, after = rest.partition(f"{end}\n")
    if not begun or not ended:
        raise InputError("the page lacks the marks", file=page, field=begin, remedy=f"write {begin} and {end} into it")
    return before + begun + content + ended + after


def _metrics_table(file: Path) -> list[str]:
    """A table of all metrics, a row and a language a line; a label that a row never gave, where it is none, has none."""
    with file.open(encoding="utf-8", newline="") as rows:
        entries = list(csv.DictReader(rows))
    lines = ["### All metrics", ""]
    for task in dict.fromkeys(entry["task"] for entry in entries):
        of_task = [entry for entry in entries if entry["task"] == task]
        names = list(dict.fromkeys(entry["metric"] for entry in of_task))
        lines += [f"| {task}, in % | seed | language | {' | '.join(names)} |", f"|---|---|---|{len(names) * '---:|'}"]
        values: dict[tuple[str, str, str], dict[str, float]] = {}
        for entry in of_task:
            place = entry["contender"], entry["seed"], entry["language"]
            values.setdefault(place, {})[entry["metric"]] = float(entry["value"])
        for (contender, seed, language), found in values.items():
            shown = " | ".join(f"{100 * found[name]:.1f}" if name in found else "" for name in names)
            lines.append(f"| {CONTENDERS[contender].label} | {seed} | {language} | {shown} |")
    return lines


def _what_rows_took(rows: list[Kept]) -> list[str]:
    """A table of the stages that were trained; one that rows share is told once."""
    heads = ["stage", "of", "precision", "minutes", "losses on held-out text", "best on development data %", "made"]
    lines = ["### Stages", "", f"| {' | '.join(heads)} |", "|---|---|---|---:|---|---:|---|"]
    told = set()
    for row in rows:
        for stage in row.content["stages"]:
            losses, score = stage["held_out_losses"], stage["development_score"]
            if stage["folder"] in told or not (losses or score is not None):
                continue
            told.add(stage["folder"])
            of_text = " ".join(map(_loss, losses)) if stage["name"] == "phase 1" else ""
            shown = "" if score is None else f"{100 * score:.1f}"
            minutes = f"{stage['seconds'] / 60:.1f}"
            cells = [stage["name"], f"{row.contender}, seed {row.seed}", row.precision(stage["name"]), minutes]
            lines.append(f"| {' | '.join([*cells, of_text, shown, row.content['made']])} |")
    return lines


def _loss(loss: float) -> str:
    """Four places, or three digits where these would be noughts."""
    return f"{loss:.4f}" if loss >= 1e-3 else f"{loss:.2e}"


def _in_which_precision(rows: list[Kept]) -> list[str]:
    """A line above the scores that tells which rows were trained in which precision."""
    found: dict[str, dict[str, dict[int, None]]] = {}
    for row in rows:
        for stage in row.content["stages"]:
            if stage["name"] in (PHASE_1, f"{row.task} phase 2"):
                of_task = found.setdefault(row.precision(stage["name"]), {})
                of_task.setdefault(row.task, {})[row.seed] = None
    told = [
        f"{precision}: " + ", ".join(f"{task} ({_seeds(seeds)})" for task, seeds in of_task.items())
        for precision, of_task in found.items()
    ]
    return [f"Phases trained in {'; in '.join(told)}.", ""] if told else []


def _seeds(seeds: Iterable[int]) -> str:
    ordered = sorted(seeds)
    return f"seed{'s' if len(ordered) > 1 else ''} {', '.join(map(str, ordered))}"


def _check(row: Kept, recipe: Recipe) -> None:
    """Refuse a row of another recipe, or of other weights, than its contender has now."""
    then, now = _without_precision(row.content["recipe"]), _without_precision(_identity(recipe))
    kept, here = row.content.get("weights", {}), _weights(recipe)
    both = kept.keys() & here.keys()  # a table can be made where the teacher is not
    then["weights"], now["weights"] = ({field: of[field] for field in sorted(both)} for of in (kept, here))
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            raise InputError(
                f"this row was trained by another recipe, whose {name} is {json.dumps(then.get(name))}",
                file=row.file,
                field=name,
                value=now.get(name),
                remedy="give the settings that it was trained by, or keep it in a pool of its own",
            )


def main() -> None:
    """Read the arguments, and keep rows or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["keep", "table"])
    parser.add_argument("pool", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("--set-file", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--tasks")
    parser.add_argument("--words", default="")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    try:
        recipe, own = load_compared(args.recipe, args.tasks, args.assignments, args.set_file)
        if args.what == "keep":
            for file in keep(args.pool, args.folder, recipe, args.words):
                print(file)  # noqa: T201
        else:
            table(args.pool, args.folder, recipe, own)
            tables = args.folder / f"{NAME}.md"
            print(tables.read_text(encoding="utf-8"))  # noqa: T201
            if args.page:
                onto_page(args.page, args.folder, args.pool)
                tables.unlink()  # they are on the page
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
