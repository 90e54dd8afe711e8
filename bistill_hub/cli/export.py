"""`bistill export`: a pair, or one of its tasks, as a plain checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

_EXPORT_EXAMPLE = """\b
Example, for a tagger:
  bistill export runs/mine/package/repository --task ner --to exported
"""


@click.command("export", short_help="Write PAIR as a plain checkpoint.", epilog=_EXPORT_EXAMPLE)
@click.argument("pair")
@click.option("--to", "output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="An empty folder.")
@click.option("--task", help="The task to include, with its head.  [default: the encoder and its language model]")
@click.option("--revision", help="Branch, tag or commit of the pair on the Hub.")
def export_command(pair: str, output: Path, task: str | None, revision: str | None) -> None:
    """Write PAIR as a plain checkpoint of its backbone, for everything that does not know pairs.

    PAIR is a Hub id or a folder that a run packaged. What is written is loaded by transformers alone, without this
    package and without remote code, and by whatever reads such checkpoints (serving, ONNX). It is loaded back and
    compared with the pair before it appears.
    """
    from ..hub.export import export_model

    click.echo(f"The checkpoint is in {export_model(pair, output, task=task, revision=revision)}")
