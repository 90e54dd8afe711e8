"""The `bistill` command: thin commands that parse, call the library and print.

One module a command, or two of a kind. At import they need click alone: what a command does is loaded when it is run,
so that `--help` answers at once.
"""

import importlib
import pkgutil

from .group import main

__all__ = ["main"]

for _module in pkgutil.iter_modules(__path__):
    for _name, _value in vars(importlib.import_module(f"{__name__}.{_module.name}")).items():
        if _name.endswith("_command") and hasattr(_value, "callback"):
            main.add_command(_value)
