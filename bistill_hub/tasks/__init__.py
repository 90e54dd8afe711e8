"""Tasks, one file each: reading labelled data, encoding, decoding, scoring, the trivial baseline.

To add a task, add a module to this package with a `TASK`, an instance of a subclass of `Task`; nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil

from ..errors import BistillError, InputError
from .task import Task

__all__ = ["Task", "available_tasks", "get_task"]


def available_tasks() -> tuple[str, ...]:
    """Return the names of the tasks that the package's modules define, in alphabetical order.

    Raises:
        BistillError: two modules define a task of the same name, or a module's `TASK` is not a `Task`.
    """
    return tuple(sorted(_find_tasks()))


def get_task(name: str) -> Task:
    """Return the task of this name.

    Raises:
        InputError: there is none.
        BistillError: as for `available_tasks`.
    """
    tasks = _find_tasks()
    if name not in tasks:
        raise InputError(
            "there is no such task", field="task", value=name, remedy=f"choose one of {', '.join(sorted(tasks))}"
        )
    return tasks[name]


def _find_tasks() -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    modules: dict[str, str] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        if not hasattr(module, "TASK"):
            continue
        task = module.TASK
        if not isinstance(task, Task):
            raise BistillError(f"{module.__name__}.TASK is not an instance of a subclass of {Task.__qualname__}.")
        if task.name in tasks:
            raise BistillError(f"{modules[task.name]} and {module.__name__} both define the task {task.name!r}.")
        tasks[task.name] = task
        modules[task.name] = module.__name__
    return tasks
