"""`bistill convert-teacher`: pickled weights as safetensors, read without running what a pickle may hold."""

from __future__ import annotations

from pathlib import Path

import click

_EXAMPLE = """\b
Example:
  bistill convert-teacher org/old-encoder teachers/old-encoder
  bistill trim teachers/old-encoder --source en --target sw \\
    --corpus en=en.txt --corpus sw=sw.txt --license mit -o runs/trimmed
"""


@click.command("convert-teacher", short_help="Write MODEL's pickled weights as safetensors.", epilog=_EXAMPLE)
@click.argument("model")
@click.argument("output", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--revision", help="Branch, tag or commit of the model on the Hub.")
def convert_teacher_command(model: str, output: Path, revision: str | None) -> None:
    """Write a teacher whose weights are pickled as a checkpoint with safetensors, which the other commands read.

    MODEL is a Hub id or a folder, DIR a new or empty folder. Tensors are all that is read: a file that asks for
    anything else is refused, and nothing in it is run. Configuration and tokenizer are copied, the modules of a
    sentence encoder too, no code. What was written is loaded back and compared bit for bit.
    """
    from ..conversion import convert_teacher

    converted = convert_teacher(model, output, revision=revision)
    for name, digest in converted.weights.items():
        click.echo(f"{name}  sha256 {digest}")
    click.echo(f"{converted.tensors} tensors were converted; the teacher is in {converted.folder}")
