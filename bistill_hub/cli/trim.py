"""`bistill trim`: the teacher with a pair's vocabulary, as a pair, without any training."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .cut_options import languages_of, pair_name, pair_options, shown_teacher, tokens_to_keep

if TYPE_CHECKING:
    from ..pipeline.manifest import StageRecord

NOTHING_TRAINED = (
    "Nothing was trained or scored after the vocabulary was cut: the limits and biases of the teacher are those of "
    "this model, and text unlike the corpora that the tokens were counted in may be split into more pieces."
)
"""What a card says of a pair's limits where its maker says nothing."""


_TRIM_EXAMPLE = """\b
Example, for English and Swahili:
  bistill trim FacebookAI/xlm-roberta-base --source en --target sw \\
    --corpus en=en.txt --corpus sw=sw.txt --license mit -o runs/trimmed
"""


@click.command("trim", short_help="Cut TEACHER's vocabulary down to a pair's.", epilog=_TRIM_EXAMPLE)
@click.argument("teacher")
@pair_options
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for everything written; the repository is DIR/package/repository.",
)
@click.option("--license", required=True, metavar="ID", help="Licence of the result, a Hub identifier such as mit.")
@click.option("--license-name", help="Name of the licence, where --license is other.")
@click.option("--license-link", help="Address of its text, where --license is other.")
@click.option("--name", help="The pair's name.  [default: TEACHER-SOURCE-TARGET]")
@click.option("--source-name", help="The source language's English name.  [default: its code]")
@click.option("--target-name", help="The target language's English name.  [default: its code]")
@click.option(
    "--speed-seconds", default=20.0, show_default=True, type=click.FloatRange(min=0), help="Time to measure speed in."
)
@click.option(
    "--tokenizer-not-by",
    multiple=True,
    metavar="CLASS",
    help="Tokenizer class that builds another tokenizer of TEACHER's files; the card says so. May be repeated.",
)
@click.option("--limits", default=NOTHING_TRAINED, help="Limits and biases, for the card, in your own words.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def trim_command(
    teacher: str,
    source: str,
    target: str,
    corpora: tuple[str, ...],
    min_token_probability: float,
    vocabulary_size: int | None,
    multiple_of: int,
    must_keep: Path | None,
    revision: str | None,
    output: Path,
    license: str,
    license_name: str | None,
    license_link: str | None,
    name: str | None,
    source_name: str | None,
    target_name: str | None,
    speed_seconds: float,
    tokenizer_not_by: tuple[str, ...],
    limits: str,
    quiet: bool,
) -> None:
    """Cut the vocabulary of TEACHER down to a pair of languages and package the result, without any training.

    TEACHER is a Hub id or a folder. All its layers stay, so that on text of the pair the model computes what the
    teacher does: a bilingual model in minutes, to be loaded, evaluated and fine-tuned as any other pair.
    """
    languages = languages_of(source, target, corpora, (source_name, target_name))

    from ..recipe import Recipe

    recipe = Recipe.make(
        {
            "name": name or pair_name(teacher, source, target),
            "source": languages[0],
            "target": languages[1],
            "teacher": {"model": teacher, "revision": revision, "tokenizer_not_by": tokenizer_not_by},
            "license": license,
            "license_name": license_name,
            "license_link": license_link,
            "limits": limits,
            "student": {
                "layer_reduction_factor": 1,
                "min_token_probability": min_token_probability,
                "vocabulary_size": vocabulary_size,
                "vocabulary_multiple_of": multiple_of,
                "must_keep": tokens_to_keep(must_keep, teacher, revision),
            },
            # Phase 1 is left out, so that its blocks need not fit the teacher's positions.
            "bilingual": {"steps": 0},
            "speed": {"seconds": speed_seconds},
        },
        file="bistill trim",
    )

    from ..pipeline.run import run

    shown = ["bistill", "trim", shown_teacher(teacher), "--source", source, "--target", target]
    for language in languages:
        shown += ["--corpus", f"{language.code}={language.text.name}"]
    stated = {"--source-name": source_name, "--target-name": target_name, "--name": name}
    stated |= {"--license": license, "--license-name": license_name, "--license-link": license_link}
    stated |= {"--limits": None if limits == NOTHING_TRAINED else limits}
    shown += [word for option, value in stated.items() if value for word in (option, value)]
    if vocabulary_size is None:
        shown += ["--min-token-probability", f"{min_token_probability:g}"]
    else:
        shown += ["--vocabulary-size", str(vocabulary_size)]
    shown += ["--multiple-of", str(multiple_of)] if multiple_of > 1 else []
    shown += ["--must-keep", must_keep.name] if must_keep is not None else []
    shown += ["--revision", revision] if revision else []
    shown += _repeated("--tokenizer-not-by", tokenizer_not_by)
    try:
        finished = run(recipe, output, progress=not quiet, command=shlex.join(shown))
    except InputError as error:
        raise _by_option(error) from error
    _print_trimmed(finished.stages[0])
    click.echo(f"The pair is in {finished.repository}")


def _by_option(error: InputError) -> InputError:
    """Say by the command's option what a recipe would have a field for."""
    field, option = "teacher.tokenizer_not_by", "--tokenizer-not-by"
    if error.field != field:
        return error
    set_it = re.compile(rf"set {re.escape(field)} to (\[.*?\]) \(--set .*?\]'\)")
    remedy = set_it.sub(lambda found: f"give {shlex.join(_repeated(option, json.loads(found[1])))}", error.remedy)
    return InputError(error.problem, field=option, value=error.value, remedy=remedy)


def _repeated(option: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _print_trimmed(student: StageRecord) -> None:
    from .printing import print_table
    from .tables import number_table

    table = number_table("Encoder", "model", "tokens", "parameters", "MB in fp32")
    for name in ("teacher", "student"):
        size = student.facts[name]
        table.add_row(
            name, f"{size['vocabulary']:,}", f"{size['parameters']:,}", f"{size['parameters'] * 4 / 1e6:,.1f}"
        )
    print_table(table)
