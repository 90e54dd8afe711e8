"""Calls a function in several processes that compute together (gloo, on the CPU), and returns what each one made.

The processes fork from a server that has imported the trainers once, so that another set of them costs no imports.
"""

import gc
import multiprocessing
import os
import tempfile
import traceback
from multiprocessing.connection import wait
from pathlib import Path

import torch

from bistill_hub.pipeline.processes import part

PATIENCE = 120
"""Seconds after which processes that wait for each other are taken to be stuck."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "pytest",
        "hypothesis",
        "datasets",
        "transformers.models.bert.modeling_bert",
        "bistill_hub.distillation.task",
        "bistill_hub.distillation.bilingual",
    ]
)


def in_processes(count, function, *arguments, **named):
    """Call a function in each of `count` processes of one group, as `torchrun` would start them.

    Args:
        count: How many processes.
        function: A function of a test module's top level; what it returns is kept by `torch.save`.
        arguments: For the function; they can be pickled.
        named: Likewise.

    Returns:
        What each process returned, in the order of their ranks.

    Raises:
        AssertionError: one of them failed; the message holds its traceback.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        started = [
            _context.Process(target=_member, args=(folder, rank, count, function, arguments, named))
            for rank in range(count)
        ]
        for process in started:
            process.start()
        try:
            _join(started)
        finally:
            for process in started:
                process.kill()
                process.join()
        failures = [file.read_text() for file in sorted(folder.glob("*.failure"))]
        assert not failures, "\n".join(failures)
        files = [folder / f"{rank}.pt" for rank in range(count)]
        ends = [process.exitcode for process in started]
        assert all(file.is_file() for file in files), f"exit codes {ends}"
        return [torch.load(file, weights_only=False) for file in files]


def _join(processes):
    """Wait until all have ended well, or one has not: the others would wait for it for ever."""
    left = list(processes)
    while left and not any(process.exitcode for process in processes):
        assert wait([process.sentinel for process in left], PATIENCE), "the processes are stuck"
        left = [process for process in left if process.is_alive()]


def _member(folder, rank, count, function, arguments, named):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count), OMP_NUM_THREADS="1"
    )
    torch.set_num_threads(1)
    gc.freeze()  # the trainer collects garbage often, and what was imported is none
    # Through a file: a port that is free now may be taken when the others come to it.
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    try:
        made = function(*arguments, **named)
        torch.save(made, folder / f"{rank}.unfinished")
        (folder / f"{rank}.unfinished").rename(folder / f"{rank}.pt")
        torch.distributed.barrier()
    except BaseException:
        (folder / f"{rank}.failure").write_text(traceback.format_exc())
        os._exit(1)
    part()
