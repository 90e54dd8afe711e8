"""The group that all commands belong to: it turns bad input into exit code 2 and one sentence, never a traceback."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import Any

import click

from ..errors import BistillError
from ..version import __version__
from .library_output import hold_back

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 and the signal's number."""

_HEAD_START = 5
"""Seconds that the main of several processes has to say what is wrong before another one ends."""


class _Commands(click.Group):
    """A group whose commands turn this package's errors into exit code 2, and speak for themselves."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, words = super().resolve_command(ctx, args)
        hold_back(quiet="--quiet" in words)
        return name, command, words

    def invoke(self, ctx: click.Context) -> Any:
        main = os.environ.get("RANK", "0") == "0"  # torchrun and accelerate number the processes that they start
        try:
            with ExitStack() as silence:
                if not main:
                    nowhere = silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
                    silence.enter_context(redirect_stdout(nowhere))
                    silence.enter_context(redirect_stderr(nowhere))
                return super().invoke(ctx)
        except BistillError as error:
            if main:
                click.echo(f"Error: {error}", err=True)
            else:
                time.sleep(_HEAD_START)
            ctx.exit(2)
        except KeyboardInterrupt:
            if main:
                click.echo("Interrupted. What is finished is kept: the same command goes on from there.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bistill")
def main() -> None:
    """Small, fast bilingual students of multilingual encoders.

    Distil a pair out of a teacher, fine-tune it sparsely for tasks, evaluate it, and package it for the Hub.
    """
