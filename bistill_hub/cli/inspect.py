"""`bistill inspect` and `bistill trim`: what a cut would give, and the cut alone as a pair, without any training."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from .options import by_language, check_output_file, not_writable

if TYPE_CHECKING:
    from ..pipeline.manifest import StageRecord
    from ..recipe import Language
    from ..student.inspection import CutReport

NOTHING_TRAINED = (
    "Nothing was trained or scored after the vocabulary was cut: the limits and biases of the teacher are those of "
    "this model, and text unlike the corpora that the tokens were counted in may be split into more pieces."
)
"""What a card says of a pair's limits where its maker says nothing."""


def _pair_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a teacher's revision, the pair and its text."""
    options = (
        click.option("--source", required=True, metavar="CODE", help="Source language, such as en."),
        click.option("--target", required=True, metavar="CODE", help="Target language, such as sw."),
        click.option(
            "--corpus",
            "corpora",
            multiple=True,
            required=True,
            metavar="CODE=FILE",
            help="Text of one language, a sentence or paragraph a line, such as sw=sw.txt; one for each language.",
        ),
        click.option(
            "--min-token-probability",
            type=float,
            default=1e-6,
            show_default=True,
            help="Relative frequency, in either corpus, from which a token stays.",
        ),
        click.option("--revision", help="Branch, tag or commit of the teacher on the Hub."),
    )
    for option in reversed(options):
        command = option(command)
    return command


_INSPECT_EXAMPLE = """\b
Example, for English and Swahili:
  bistill inspect FacebookAI/xlm-roberta-base --source en --target sw \\
    --corpus en=en.txt --corpus sw=sw.txt
"""


@click.command("inspect", short_help="Tell what a cut of TEACHER would give.", epilog=_INSPECT_EXAMPLE)
@click.argument("teacher")
@_pair_options
@click.option(
    "--factor",
    "factors",
    type=int,
    multiple=True,
    metavar="N",
    help="Teacher layers for each student layer. May be repeated.  [default: 1, 2, 3 where they divide the layers]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the picture goes, a .png file.  [default: TEACHER-SOURCE-TARGET.png]",
)
@click.option("--no-picture", is_flag=True, help="Draw no picture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def inspect_command(
    teacher: str,
    source: str,
    target: str,
    corpora: tuple[str, ...],
    min_token_probability: float,
    revision: str | None,
    factors: tuple[int, ...],
    picture: Path | None,
    no_picture: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Tell what a student cut out of TEACHER would be like, without training and without loading weights.

    TEACHER is a Hub id or a folder. Prints the encoder's size for several layer reduction factors, what trimming the
    vocabulary costs each language, and how both change with the threshold; draws a picture of it.
    """
    languages = _languages(source, target, corpora)
    if picture is not None and no_picture:
        raise InputError(
            "a picture is asked for, and none", field="--picture", value=str(picture), remedy="leave out one of the two"
        )
    place = None if no_picture else picture or Path(f"{_name(teacher, source, target)}.png")
    if place is not None:
        _check_picture(place)

    from ..student.inspection import inspect_cut

    report = inspect_cut(
        teacher,
        {language.code: language.text for language in languages},
        revision=revision,
        layer_reduction_factors=factors or None,
        min_token_probability=min_token_probability,
        progress=not quiet,
    )
    if as_json:
        import json

        click.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print_report(report)
    if place is not None:
        from ..student.figures import draw_cut

        try:
            draw_cut(report, place)
        except OSError as error:
            raise not_writable("--picture", place, error) from error
        click.echo(f"The picture is in {place}", err=as_json)


_TRIM_EXAMPLE = """\b
Example, for English and Swahili:
  bistill trim FacebookAI/xlm-roberta-base --source en --target sw \\
    --corpus en=en.txt --corpus sw=sw.txt --license mit -o runs/trimmed
"""


@click.command("trim", short_help="Cut TEACHER's vocabulary down to a pair's.", epilog=_TRIM_EXAMPLE)
@click.argument("teacher")
@_pair_options
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for everything written; the repository is DIR/package/repository.",
)
@click.option("--license", required=True, metavar="ID", help="Licence of the result, a Hub identifier such as mit.")
@click.option("--name", help="The pair's name.  [default: TEACHER-SOURCE-TARGET]")
@click.option("--source-name", help="The source language's English name.  [default: its code]")
@click.option("--target-name", help="The target language's English name.  [default: its code]")
@click.option(
    "--speed-seconds", default=20.0, show_default=True, type=click.FloatRange(min=0), help="Time to measure speed in."
)
@click.option("--limits", default=NOTHING_TRAINED, help="Limits and biases, for the card, in your own words.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def trim_command(
    teacher: str,
    source: str,
    target: str,
    corpora: tuple[str, ...],
    min_token_probability: float,
    revision: str | None,
    output: Path,
    license: str,
    name: str | None,
    source_name: str | None,
    target_name: str | None,
    speed_seconds: float,
    limits: str,
    quiet: bool,
) -> None:
    """Cut the vocabulary of TEACHER down to a pair of languages and package the result, without any training.

    TEACHER is a Hub id or a folder. All its layers stay, so that on text of the pair the model computes what the
    teacher does: a bilingual model in minutes, to be loaded, evaluated and fine-tuned as any other pair.
    """
    languages = _languages(source, target, corpora, (source_name, target_name))

    from ..recipe import Recipe

    recipe = Recipe.make(
        {
            "name": name or _name(teacher, source, target),
            "source": languages[0],
            "target": languages[1],
            "teacher": {"model": teacher, "revision": revision},
            "license": license,
            "limits": limits,
            "student": {"layer_reduction_factor": 1, "min_token_probability": min_token_probability},
            # Phase 1 is left out, so that its blocks need not fit the teacher's positions.
            "bilingual": {"steps": 0},
            "speed": {"seconds": speed_seconds},
        },
        file="bistill trim",
    )

    from ..pipeline.run import run

    shown = ["bistill", "trim", _shown(teacher), "--source", source, "--target", target]
    for language in languages:
        shown += ["--corpus", f"{language.code}={language.text.name}"]
    shown += ["--license", license, "--min-token-probability", f"{min_token_probability:g}"]
    shown += ["--revision", revision] if revision else []
    finished = run(recipe, output, progress=not quiet, command=shlex.join(shown))
    _print_trimmed(finished.stages[0])
    click.echo(f"The pair is in {finished.repository}")


def _languages(
    source: str, target: str, words: Sequence[str], names: tuple[str | None, str | None] = (None, None)
) -> tuple[Language, Language]:
    """Source and target with their text, which is checked to be there.

    Raises:
        InputError: both are the same, a corpus is missing, of another language, given twice or cannot be read.
    """
    from pydantic import ValidationError

    from ..recipe import Language
    from ..sources import TextSource

    files = by_language("--corpus", words, example="sw=sw.txt")
    if source == target:
        raise InputError(
            "source and target are the same language: a pair is of two",
            field="--target",
            value=target,
            remedy="choose another source or target",
        )
    for code in files:
        if code not in (source, target):
            raise InputError(
                f"not a language of the pair {source}-{target}",
                field="--corpus",
                value=code,
                remedy=f"give text of {source} and {target}",
            )
    found = []
    for option, code, name in (("--source", source, names[0]), ("--target", target, names[1])):
        if code not in files:
            raise InputError(
                "there is no text of this language", field=option, value=code, remedy=f"add --corpus {code}=FILE"
            )
        try:
            language = Language(code=code, name=name or code, text=TextSource(path=files[code]))
        except ValidationError as error:
            raise InputError.from_validation(error, within=option) from error
        language.text.check(f"--corpus {code}")
        found.append(language)
    return found[0], found[1]


def _check_picture(file: Path) -> None:
    """Refuse a place for the picture that nothing can be written to."""
    if file.suffix.lower() != ".png":
        raise InputError("the picture is a PNG", field="--picture", value=str(file), remedy="let its name end in .png")
    check_output_file("--picture", file)


def _shown(teacher: str) -> str:
    """A teacher's Hub id, or the last part of a folder's name."""
    place = Path(teacher).expanduser()
    return place.resolve().name if place.exists() else teacher


def _name(teacher: str, source: str, target: str) -> str:
    """Name a pair, or its picture, after its teacher."""
    words = f"{_shown(teacher).rpartition('/')[2]}-{source}-{target}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).lstrip("-._") or "pair"


def _table(title: str, *columns: str) -> Any:
    """A table whose first column is text and whose others are numbers."""
    from rich.table import Table

    table = Table(title=title)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table


def _print_report(report: CutReport) -> None:
    from rich.console import Console

    teacher = report.teacher_size
    sizes = _table("Encoder", "model", "layers", "tokens", "parameters", "MB in fp32", "% of teacher")
    students = [(f"student, LRF {factor}", size) for factor, size in report.cuts.items()]
    for name, size in [("teacher", teacher), *students]:
        sizes.add_row(
            name,
            str(size.layers),
            f"{size.tokens:,}",
            f"{size.parameters:,}",
            f"{size.megabytes:,.1f}",
            f"{100 * size.share_of(teacher):.1f}",
        )
    threshold = f"least token probability {report.min_token_probability:g}"
    trimmed = _table(
        f"Trimming the vocabulary, {threshold}",
        "language",
        "tokens",
        "kept %",
        "lines",
        "cut lines %",
        "unknown %",
        "pieces/word",
    )
    for code, language in report.vocabulary.languages.items():
        trimmed.add_row(
            code,
            f"{language.corpus_tokens:,}",
            f"{100 * language.corpus_tokens_kept:.3f}",
            f"{language.lines:,}",
            f"{100 * language.lines_with_dropped_pieces:.2f}",
            f"{100 * language.unknown_before:.2f} to {100 * language.unknown_after:.2f}",
            f"{language.fertility_before:.2f} to {language.fertility_after:.2f}",
        )
    swept = _table(
        "Other thresholds", "least token probability", "tokens", *(f"{c} kept %" for c in report.vocabulary.languages)
    )
    for each in report.thresholds:
        swept.add_row(
            f"{each.min_token_probability:g}",
            f"{each.tokens:,}",
            *(f"{100 * share:.3f}" for share in each.coverage.values()),
        )
    console = Console()
    for table in (sizes, trimmed, swept):
        console.print(table)
    click.echo(
        "LRF: layer reduction factor. Lines: those that were held out of the count, on which what stands right of them "
        "was measured. Cut lines: lines with a piece that is dropped."
    )


def _print_trimmed(student: StageRecord) -> None:
    from rich.console import Console

    table = _table("Encoder", "model", "tokens", "parameters", "MB in fp32")
    for name in ("teacher", "student"):
        size = student.facts[name]
        table.add_row(
            name, f"{size['vocabulary']:,}", f"{size['parameters']:,}", f"{size['parameters'] * 4 / 1e6:,.1f}"
        )
    Console().print(table)
