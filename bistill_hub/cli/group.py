"""The group that all commands belong to: it turns bad input into exit code 2 and one sentence, never a traceback."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from types import FrameType
from typing import Any

import click

from ..errors import BistillError
from ..version import __version__
from .library_output import hold_back

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 and the signal's number."""

TERMINATED = 143
"""Exit code after SIGTERM, counted likewise."""

_KEPT = "What is finished is kept: the same command goes on from there."

_HEAD_START = 5
"""Seconds that the main of several processes has to say what is wrong before another one ends."""


class _Terminated(BaseException):
    """SIGTERM has come; like KeyboardInterrupt, no error that somebody might catch on the way."""


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """Raise `_Terminated` at SIGTERM, so that what is open is closed, unless somebody else deals with the signal."""
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        if os.getpid() != process:  # a child that inherited this, such as one that reads data
            os.kill(os.getpid(), number)
        raise _Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
                else:
                    silence.enter_context(_ending_at_sigterm())
                return super().invoke(ctx)
        except BistillError as error:
            if main:
                click.echo(f"Error: {error}", err=True)
            else:
                time.sleep(_HEAD_START)
            ctx.exit(2)
        except KeyboardInterrupt:
            if main:
                click.echo(f"Interrupted. {_KEPT}", err=True)
            ctx.exit(INTERRUPTED)
        except _Terminated:
            click.echo(f"Ended by SIGTERM. {_KEPT}", err=True)
            ctx.exit(TERMINATED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bistill")
def main() -> None:
    """Small, fast bilingual students of multilingual encoders.

    Distil a pair out of a teacher, fine-tune it sparsely for tasks, evaluate it, and package it for the Hub.
    """
