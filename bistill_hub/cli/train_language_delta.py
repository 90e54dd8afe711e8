"""`bistill train-language-delta`: a teacher's language SFT from text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..sources import TextSource

_EXAMPLE = """\b
Example, and a recipe that uses it:
  bistill train-language-delta FacebookAI/xlm-roberta-base --language sw \\
    --text sw.txt -o deltas/sw
  bistill run en_sw -o runs/mine --set teacher.language_deltas.sw=deltas/sw
"""


@click.command("train-language-delta", short_help="Fine-tune TEACHER sparsely on one language's text.", epilog=_EXAMPLE)
@click.argument("teacher")
@click.option("--language", required=True, metavar="CODE", help="The text's language, such as sw.")
@click.option(
    "--text",
    "source",
    required=True,
    metavar="FILE",
    help="Its text, a sentence or paragraph a line: a file, or a source's fields as JSON.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the delta.")
@click.option("--density", type=float, default=0.08, show_default=True, help="Share of the encoder that may change.")
@click.option("--dense-steps", type=int, default=50_000, show_default=True, help="Updates before the selection.")
@click.option("--sparse-steps", type=int, default=50_000, show_default=True, help="Updates after it.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Blocks a batch.")
@click.option("--accumulation", type=int, default=1, show_default=True, help="Batches per update.")
@click.option("--block-size", type=int, default=256, show_default=True, help="Tokens per block.")
@click.option("--learning-rate", type=float, default=5e-5, show_default=True, help="Peak rate of each stage.")
@click.option("--masked-share", type=float, default=0.15, show_default=True, help="Share of the tokens to guess.")
@click.option("--held-out-blocks", type=int, default=200, show_default=True, help="Blocks to measure the loss on.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="What is computed in.",
)
@click.option(
    "--delta-precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="What the delta's values are kept in.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of order, masks and dropout.")
@click.option("--revision", help="Branch, tag or commit of the teacher on the Hub.")
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Updates from one checkpoint to the next.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def train_language_delta_command(
    teacher: str,
    language: str,
    source: str,
    output: Path,
    revision: str | None,
    checkpoint_every: int,
    quiet: bool,
    **fields: Any,
) -> None:
    """Fine-tune TEACHER, a masked language model, sparsely on one language's text.

    TEACHER is a Hub id or a folder. What changes, a small share of the encoder, is written as a delta: with it the
    teacher knows the language better, and without it the teacher is what it was. The same command goes on where it was
    interrupted.
    """
    from pydantic import ValidationError

    text = _source(source)
    text.check("--text")

    from ..pipeline.language_delta import LanguageDeltaSettings, train_language_delta

    try:
        settings = LanguageDeltaSettings(**fields)
    except ValidationError as error:
        raise InputError.from_validation(error) from error
    record = train_language_delta(
        teacher,
        text,
        output,
        language=language,
        settings=settings,
        revision=revision,
        checkpoint_every=checkpoint_every,
        progress=not quiet,
    )
    _print(record, output)


def _source(value: str) -> TextSource:
    from pydantic import ValidationError

    from ..sources import TextSource

    fields: object = value
    if value.lstrip().startswith("{"):
        try:
            fields = json.loads(value)
        except json.JSONDecodeError as error:
            raise InputError(
                f"not JSON ({error})", field="--text", value=value, remedy="correct it, or name a file"
            ) from error
    try:
        return TextSource.model_validate(fields)
    except ValidationError as error:
        raise InputError.from_validation(error, within="--text") from error


def _print(record: dict[str, Any], output: Path) -> None:
    from ..pipeline.stage_files import DELTA_FILE
    from .printing import print_table
    from .tables import number_table

    file = output / DELTA_FILE
    table = number_table(f"Delta of {record['language']}", "", "before", "after")
    table.add_row("loss on held-out text", f"{record['loss_before']:.4f}", f"{record['loss_after']:.4f}")
    table.add_row("entries that changed", "", f"{record['entries']:,}")
    table.add_row("share of those that could", "", f"{100 * record['density']:.2f} %")
    table.add_row("MB in the file", "", f"{file.stat().st_size / 1e6:.1f}")
    print_table(table)
    click.echo(f"The delta is in {file}")
