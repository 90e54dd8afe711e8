"""The `bistill` command: thin commands that parse, call the library and print.

Bad input ends with exit code 2 and one sentence on standard error, never with a traceback.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import BistillError, InputError
from .version import __version__

if TYPE_CHECKING:
    from .evaluation.results import Result
    from .pipeline.run import RunResult


class _Commands(click.Group):
    """A group whose commands turn this package's errors into exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BistillError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bistill")
def main() -> None:
    """Small, fast bilingual students of multilingual encoders.

    Distil a pair out of a teacher, fine-tune it sparsely for tasks, evaluate it, and package it for the Hub.
    """


@main.command("run")
@click.argument("recipe")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder for everything written.  [default: runs/NAME]"
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a field of the recipe, such as teacher.model=FOLDER or tasks.ner.train=FILE. May be repeated.",
)
@click.option(
    "--set-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file of fields to replace; environment variables in paths are expanded. --set goes on top of it.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def run_command(
    recipe: str, output: Path | None, assignments: tuple[str, ...], set_file: Path | None, quiet: bool
) -> None:
    r"""Distil a pair: student, phase 1, task teachers, phase 2, evaluation, package.

    RECIPE is a Python file that defines RECIPE, or the name of one that ships with the package (en_sw). A run that was
    interrupted goes on where it stopped when the same command is given again; finished stages are skipped.

    Example, with your own text and labels:

    \b
      bistill run en_sw -o runs/mine --set teacher.model=FOLDER \
        --set source.text=en.txt --set target.text=sw.txt \
        --set tasks.ner.train=train.conll --set tasks.ner.validation=dev.conll \
        --set tasks.ner.test_source=test.en.conll --set tasks.ner.test_target=test.sw.conll
    """
    import shlex

    from .recipe import load_recipe, parse_changes

    loaded = load_recipe(recipe)
    changes = {**(_changes_from(set_file) if set_file else {}), **parse_changes(assignments)}
    if changes:
        loaded = loaded.replace(changes)

    for fact in loaded.unverified:
        click.echo(f"Unverified: {fact}", err=True)

    from .pipeline.run import default_output, run

    shown = ["bistill", "run", Path(recipe).stem]
    if set_file:
        shown += ["--set-file", set_file.name]
    for word in assignments:
        shown += ["--set", _without_folder(word)]
    finished = run(loaded, output or default_output(loaded), progress=not quiet, command=shlex.join(shown))
    _print_run(finished)


@main.command("pretrain")
@click.option(
    "--text",
    "texts",
    multiple=True,
    required=True,
    metavar="CODE=FILE",
    help="Text of one language, a sentence or paragraph a line, such as en=en.txt. May be repeated.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option("--backbone", type=click.Choice(["bert", "xlm-roberta"]), default="xlm-roberta", show_default=True)
@click.option("--vocab-size", type=int, default=10_000, show_default=True, help="Pieces of the tokenizer.")
@click.option("--hidden-size", type=int, default=256, show_default=True)
@click.option("--layers", type=int, default=6, show_default=True)
@click.option("--heads", type=int, default=4, show_default=True)
@click.option("--intermediate-size", type=int, default=1024, show_default=True)
@click.option("--max-length", type=int, default=128, show_default=True, help="Tokens per block.")
@click.option("--steps", type=int, default=10_000, show_default=True, help="Updates; 0 leaves random weights.")
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option("--learning-rate", type=float, default=5e-4, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def pretrain_command(texts: tuple[str, ...], output: Path, quiet: bool, layers: int, heads: int, **fields: Any) -> None:
    """Pre-train a small masked language model from text files, with a tokenizer of its own.

    Makes teachers where none can be downloaded, and bilingual models from scratch to compare students with.
    """
    from pydantic import ValidationError

    from .sources import TextSource

    sources = {}
    for word in texts:
        code, equals, file = word.partition("=")
        if not equals or not code or not file:
            raise InputError("not of the form CODE=FILE", field="--text", value=word, remedy="write it as en=en.txt")
        if code in sources:
            raise InputError("given twice", field="--text", value=code, remedy="name each language once")
        sources[code] = TextSource(path=file)

    from .pretraining import PretrainingSettings, pretrain

    try:
        settings = PretrainingSettings(num_hidden_layers=layers, num_attention_heads=heads, **fields)
    except ValidationError as error:
        raise InputError.from_validation(error) from error
    click.echo(f"The model is in {pretrain(sources, output, settings, progress=not quiet)}")


_OPEN_MAPS = ("label_map", "columns", "language_deltas")


def _changes_from(file: Path) -> dict[str, Any]:
    """Read a TOML file of fields as dotted paths."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not TOML ({error})", file=file, remedy="correct the file") from error

    def flatten(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for key, value in table.items():
            path = f"{prefix}{key}"
            if isinstance(value, dict) and key not in _OPEN_MAPS:
                changes |= flatten(value, f"{path}.")
            else:
                changes[path] = _expanded(value, file, path) if isinstance(value, str) else value
        return changes

    return flatten(content, "")


def _expanded(value: str, file: Path, field: str) -> str:
    expanded = os.path.expandvars(value)
    if "$" in expanded:
        raise InputError(
            "an environment variable is not set", file=file, field=field, value=value, remedy="set it, or write it out"
        )
    return expanded


def _without_folder(assignment: str) -> str:
    """Show an assignment without the folder of a file, which is nobody's business but this machine's."""
    key, _, value = assignment.partition("=")
    return f"{key}={Path(value).name}" if "/" in value and Path(value).exists() else assignment


def _print_run(finished: RunResult) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    stages = Table(title="Stages")
    stages.add_column("stage")
    stages.add_column("minutes", justify="right")
    stages.add_column("")
    for stage in finished.stages:
        stages.add_row(stage.name, f"{stage.seconds / 60:.1f}", "finished before" if stage.skipped else "")
    console.print(stages)
    if finished.results:
        console.print(_score_table(finished.results))
    console.print(f"The pair is in {finished.repository}", soft_wrap=True)


def _score_table(results: tuple[Result, ...]) -> Any:
    from rich.table import Table

    from .evaluation.results import retention

    teachers = {(result.task, result.language): result for result in results if result.model == "teacher"}
    table = Table(title="Scores (%), 95 % bootstrap intervals over examples")
    for name in ("task", "language", "model", "metric", "score", "interval", "trivial", "retention"):
        table.add_column(name, justify="right" if name in ("score", "trivial", "retention") else "left")
    for result in results:
        teacher = teachers[result.task, result.language]
        kept = None if result.model == "teacher" else retention(result, teacher)
        missing = "" if result.model == "teacher" else "teacher not above trivial"
        table.add_row(
            result.task,
            f"{result.language} ({result.role})",
            result.model.replace("_", " "),
            result.metric,
            f"{100 * result.score:.1f}",
            f"{100 * result.low:.1f} to {100 * result.high:.1f}",
            f"{100 * result.trivial:.1f}",
            missing if kept is None else f"{100 * kept:.1f}",
        )
    return table
