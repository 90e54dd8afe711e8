"""The group that all commands belong to: it turns bad input into exit code 2 and one sentence, never a traceback."""

from __future__ import annotations

from typing import Any

import click

from ..errors import BistillError
from ..version import __version__

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 and the signal's number."""


class _Commands(click.Group):
    """A group whose commands turn this package's errors into exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BistillError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Interrupted. What is finished is kept: the same command goes on from there.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bistill")
def main() -> None:
    """Small, fast bilingual students of multilingual encoders.

    Distil a pair out of a teacher, fine-tune it sparsely for tasks, evaluate it, and package it for the Hub.
    """
