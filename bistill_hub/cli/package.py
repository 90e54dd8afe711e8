"""`bistill package`: a repository out of what a run has finished."""

from __future__ import annotations

from pathlib import Path

import click

_EXAMPLE = """\b
Example:
  bistill run en_sw -o runs/mine --until phase-1
  bistill package runs/mine --to bistill-en-sw
"""


@click.command("package", epilog=_EXAMPLE)
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="New folder for the repository.")
def package_command(run_dir: Path, target: Path) -> None:
    """Package what a run has finished, without training anything.

    RUN is the folder that `bistill run` was given as --output. A run packages its pair by itself when it ends; this is
    for one that was ended early with --until, or that has not finished all its tasks: the repository holds the encoder
    after phase 1, and every task whose phase 2 is finished, with scores where it was evaluated.
    """
    from ..pipeline.run import package_finished

    click.echo(f"The pair is in {package_finished(run_dir, target)}")
