"""Runs a recipe again and again, each time until it kills itself with SIGKILL at a chosen moment, and once to the end.

A script, so that what is killed is a process of its own: `python killing.py PLAN.json`. The plan names a recipe, a
folder and the kills in order, each a place in the run's folder and a count: the process dies at that many-th event
there. Events are training steps, batches that are scored, and every file that is opened for writing, renamed or
removed. Prints one line of JSON: how each process ended.
"""

import gc
import json
import os
import signal
import sys
from pathlib import Path

from bistill_hub import Recipe, run
from bistill_hub.batches import PaddingCollator
from bistill_hub.distillation.exact_averaging import ExactAveragingTrainer

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.truncate")


def die_at(place, count):
    """Arrange that the process dies at the `count`-th event in a folder or below it."""
    place, left = str(place), [count]

    def event(path):
        if str(path).startswith(place):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(name, args):
        if name == "open" and isinstance(args[0], str) and isinstance(args[2], int):
            if args[2] & (os.O_WRONLY | os.O_RDWR):
                event(args[0])
        elif name in _CHANGES and isinstance(args[0], (str, os.PathLike)):
            event(os.fspath(args[0]))

    train, collate = ExactAveragingTrainer.training_step, PaddingCollator.__call__

    def training_step(self, *args, **kwargs):
        event(self.args.output_dir)
        return train(self, *args, **kwargs)

    def collating(self, rows):
        if place.endswith("-evaluation"):
            event(place)
        return collate(self, rows)

    ExactAveragingTrainer.training_step = training_step
    PaddingCollator.__call__ = collating
    sys.addaudithook(audit)


def attempt(recipe, folder, kill):
    """Run in a child process; return its exit status, negative for a signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if kill is not None:
            die_at(folder / kill[0], kill[1])
        try:
            run(recipe, folder, progress=False)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    plan = json.loads(Path(sys.argv[1]).read_text())
    gc.freeze()  # each training collects garbage, and what was imported is none
    recipe, folder = Recipe.make(plan["recipe"]), Path(plan["folder"])
    print(json.dumps([attempt(recipe, folder, kill) for kill in [*plan["kills"], None]]))  # noqa: T201


if __name__ == "__main__":
    main()
