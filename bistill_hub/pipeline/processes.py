"""A run by several processes, as `torchrun` and `accelerate launch` start them.

All of them train. Everything else is done by the main process alone, which writes the files and speaks to the user; the
others wait for it, however long it takes.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, NoReturn, TypeVar

from ..distillation.sharding import refuse_sharded_launch
from ..errors import BistillError, InputError

_Made = TypeVar("_Made")

FAILED = 2
"""Exit code of a process that ends because the main process could not go on."""

HEAD_START = 5.0
"""Seconds that the main process has to say what is wrong before another one ends."""

_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """The processes that were started together, seen from one of them.

    Attributes:
        index: This one's number; 0 is the main process.
        count: How many there are.
        group: torch's process group by which they wait for each other; None for a single one.
    """

    index: int = 0
    count: int = 1
    group: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.index == 0

    def on_main(self, work: Callable[[], _Made]) -> _Made:
        """Have the main process do something while the others wait.

        Args:
            work: What to do; it returns something that can be pickled.

        Returns:
            What it returned, on every process.

        Raises:
            SystemExit: on the other processes, where the main one could not do it.
        """
        if self.count == 1:
            return work()
        from torch.distributed import broadcast_object_list

        said: list[Any] = [False, None]
        if not self.main:
            broadcast_object_list(said, src=0, group=self.group)
            return said[1] if said[0] else self._leave()
        try:
            said = [True, work()]
        finally:
            with suppress(RuntimeError):  # what went wrong here matters more than that another process is gone
                broadcast_object_list(said, src=0, group=self.group)
        return said[1]  # type: ignore[no-any-return]

    def main_first(self, work: Callable[[], _Made], others: Callable[[], _Made] | None = None) -> _Made:
        """Have the main process do something, and then the others for themselves: nothing is sent from one to another.

        Args:
            work: What to do, such as to fill a cache.
            others: What the others do instead; None for the same.
        """
        made: list[_Made] = []
        self.on_main(lambda: made.append(work()))
        return made[0] if made else (others or work)()

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Leave it to the main process to say what is wrong, where every process finds it out."""
        try:
            yield
        except BistillError:
            if self.main:
                raise
            self._leave()

    def _leave(self) -> NoReturn:
        """End without a word, but after the main process: what started them ends all as soon as one has failed."""
        time.sleep(HEAD_START)
        raise SystemExit(FAILED)


ALONE = Processes()


def started_processes() -> int:
    """Return how many processes were started together with this one, itself included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def part() -> None:
    """End the groups while the interpreter is whole: their threads may abort a process that ends with them.

    What was trained is let go of before. A model that averages over the processes keeps its group alive, and the last
    one to let go of a group waits for the group's threads; such a model waits with the interpreter's lock in its hand,
    which a thread may need to let go of its last tensor, and then both wait for ever.
    """
    import torch

    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@cache
def join() -> Processes:
    """Meet the processes that were started together with this one: on GPUs by NCCL, on CPUs by gloo.

    Returns:
        This process's place among them, or `ALONE`.

    Raises:
        InputError: they were started for sharded training, or cannot compute together on this machine.
    """
    if started_processes() == 1:
        return ALONE
    with Processes(int(os.environ.get("RANK", "0")), started_processes()).one_voice():
        refuse_sharded_launch()
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=cpu, timeout=_PATIENCE)
    if state.num_processes == 1:
        raise InputError(
            "the processes cannot compute together on this machine's accelerator",
            field="WORLD_SIZE",
            value=started_processes(),
            remedy="start one process",
        )
    # Beside the group of the training: whoever waits here keeps no GPU busy.
    group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
    atexit.register(part)
    return Processes(state.process_index, state.num_processes, group)
