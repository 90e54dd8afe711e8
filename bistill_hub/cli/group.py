"""The group that all commands belong to: it turns bad input into exit code 2 and one sentence, never a traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from types import FrameType
from typing import Any

import click

from ..errors import BistillError, InputError
from ..failed_writes import KEPT
from ..version import __version__
from .library_output import give_up_early_without_network, hold_back

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 and the signal's number."""

TERMINATED = 143
"""Exit code after SIGTERM, counted likewise."""

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


def _say(text: str, *, after_key: bool = False) -> None:
    """Print what ended a command on a line of its own.

    Args:
        text: What to print.
        after_key: Whether a key ended it, which a terminal shows as `^C` without ending the line.
    """
    if not _end_bars() and after_key and sys.stderr.isatty():
        click.echo(err=True)
    click.echo(text, err=True)


def _refuse_other_bytes(words: Sequence[str]) -> None:
    """Refuse words that are not UTF-8, such as an old file's name: they could be written into no record or card."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise InputError(
                "this is not UTF-8",
                field="argument",
                value=os.fsencode(word),
                remedy="give the file or folder a name in UTF-8, or check the terminal's encoding",
            ) from None


def _end_bars() -> bool:
    """Close the progress bars that whatever was interrupted has left open; tell whether there were any."""
    module = sys.modules.get("tqdm.std")  # which nobody draws a bar without
    bars = [] if module is None else [bar for bar in getattr(module.tqdm, "_instances", ()) if not bar.disable]
    for bar in sorted(bars, key=lambda bar: -abs(bar.pos)):  # from the lowest up: the topmost ends with a new line
        with suppress(OSError, ValueError):  # nobody reads it any more
            bar.close()
    return bool(bars)


class _Commands(click.Group):
    """A group whose commands turn this package's errors into exit code 2, and speak for themselves."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _refuse_other_bytes(args)
        name, command, words = super().resolve_command(ctx, args)
        hold_back(quiet="--quiet" in words)
        give_up_early_without_network()
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
                from .printing import printable

                _say("\n".join(map(printable, f"Error: {error}".split("\n"))))
            else:
                time.sleep(_HEAD_START)
            ctx.exit(2)
        except KeyboardInterrupt:
            if main:
                _say(f"Interrupted. {KEPT}", after_key=True)
            ctx.exit(INTERRUPTED)
        except click.Abort as abort:  # at a question, which comes before anything is done
            if not isinstance(abort.__context__, KeyboardInterrupt):
                raise
            _say("Interrupted. Nothing was done.", after_key=True)
            ctx.exit(INTERRUPTED)
        except _Terminated:
            _say(f"Ended by SIGTERM. {KEPT}")
            ctx.exit(TERMINATED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bistill")
def main() -> None:
    """Small, fast bilingual students of multilingual encoders.

    Distil a pair out of a teacher, fine-tune it sparsely for tasks, evaluate it, and package it for the Hub.
    """
