"""`bistill pretrain`: a small masked language model from text files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InputError


@click.command("pretrain", short_help="Pre-train a small masked language model from text.")
@click.option(
    "--text",
    "texts",
    multiple=True,
    required=True,
    metavar="CODE=FILE",
    help="Text of one language, a sentence or paragraph a line, such as en=en.txt. May be repeated.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option(
    "--backbone",
    type=click.Choice(["bert", "xlm-roberta"]),
    default="xlm-roberta",
    show_default=True,
    help="Architecture.",
)
@click.option("--vocab-size", type=int, default=10_000, show_default=True, help="Pieces of the tokenizer.")
@click.option("--hidden-size", type=int, default=256, show_default=True, help="Width of the layers.")
@click.option("--layers", type=int, default=6, show_default=True, help="Number of layers.")
@click.option("--heads", type=int, default=4, show_default=True, help="Attention heads a layer.")
@click.option("--intermediate-size", type=int, default=1024, show_default=True, help="Width inside a layer.")
@click.option("--max-length", type=int, default=128, show_default=True, help="Tokens per block.")
@click.option("--steps", type=int, default=10_000, show_default=True, help="Updates; 0 leaves random weights.")
@click.option("--batch-size", type=int, default=32, show_default=True, help="Blocks per update.")
@click.option("--learning-rate", type=float, default=5e-4, show_default=True, help="Peak rate.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and order.")
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Updates from one checkpoint to the next.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def pretrain_command(
    texts: tuple[str, ...], output: Path, checkpoint_every: int, quiet: bool, layers: int, heads: int, **fields: Any
) -> None:
    """Pre-train a small masked language model from text files, with a tokenizer of its own.

    Makes teachers where none can be downloaded, and bilingual models from scratch to compare students with. The same
    command goes on where it was interrupted.
    """
    from pydantic import ValidationError

    from ..sources import TextSource

    sources = {}
    for word in texts:
        code, equals, file = word.partition("=")
        if not equals or not code or not file:
            raise InputError("not of the form CODE=FILE", field="--text", value=word, remedy="write it as en=en.txt")
        if code in sources:
            raise InputError("given twice", field="--text", value=code, remedy="name each language once")
        sources[code] = TextSource(path=file)

    from ..pretraining import PretrainingSettings, pretrain

    try:
        settings = PretrainingSettings(num_hidden_layers=layers, num_attention_heads=heads, **fields)
    except ValidationError as error:
        raise InputError.from_validation(error) from error
    folder = pretrain(sources, output, settings, checkpoint_every=checkpoint_every, progress=not quiet)
    click.echo(f"The model is in {folder}")
