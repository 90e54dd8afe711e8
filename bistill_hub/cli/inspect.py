"""`bistill inspect`: what a cut would give, before anything is cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .cut_options import languages_of, pair_name, pair_options, tokens_to_keep
from .options import check_output_file, not_writable

if TYPE_CHECKING:
    from ..student.inspection import CutReport


_INSPECT_EXAMPLE = """\b
Example, for English and Swahili:
  bistill inspect FacebookAI/xlm-roberta-base --source en --target sw \\
    --corpus en=en.txt --corpus sw=sw.txt
"""


@click.command("inspect", short_help="Tell what a cut of TEACHER would give.", epilog=_INSPECT_EXAMPLE)
@click.argument("teacher")
@pair_options
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
    vocabulary_size: int | None,
    multiple_of: int,
    must_keep: Path | None,
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
    languages = languages_of(source, target, corpora)
    if picture is not None and no_picture:
        raise InputError(
            "a picture is asked for, and none", field="--picture", value=str(picture), remedy="leave out one of the two"
        )
    place = None if no_picture else picture or Path(f"{pair_name(teacher, source, target)}.png")
    if place is not None:
        _check_picture(place)

    from ..student.inspection import inspect_cut

    report = inspect_cut(
        teacher,
        {language.code: language.text for language in languages},
        revision=revision,
        layer_reduction_factors=factors or None,
        min_token_probability=min_token_probability,
        vocabulary_size=vocabulary_size,
        multiple_of=multiple_of,
        must_keep=tokens_to_keep(must_keep, teacher, revision),
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


def _check_picture(file: Path) -> None:
    """Refuse a place for the picture that nothing can be written to."""
    if file.suffix.lower() != ".png":
        raise InputError("the picture is a PNG", field="--picture", value=str(file), remedy="let its name end in .png")
    check_output_file("--picture", file)


def _print_report(report: CutReport) -> None:
    from .printing import print_table
    from .tables import number_table

    teacher = report.teacher_size
    sizes = number_table("Encoder", "model", "layers", "tokens", "parameters", "MB in fp32", "% of teacher")
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
    if report.min_token_probability is None:
        rule = f"{report.vocabulary_size:,} tokens asked for"
    else:
        rule = f"least token probability {report.min_token_probability:g}"
    trimmed = number_table(
        f"Trimming the vocabulary, {rule}",
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
    swept = number_table(
        "Other thresholds", "least token probability", "tokens", *(f"{c} kept %" for c in report.vocabulary.languages)
    )
    for each in report.thresholds:
        swept.add_row(
            f"{each.min_token_probability:g}",
            f"{each.tokens:,}",
            *(f"{100 * share:.3f}" for share in each.coverage.values()),
        )
    for table in (sizes, trimmed, swept):
        print_table(table)
    click.echo(
        "LRF: layer reduction factor. Lines: those that were held out of the count, on which what stands right of them "
        "was measured. Cut lines: lines with a piece that is dropped."
    )
