"""The scripts of docs/studies, which are no modules of the package."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "docs" / "studies"


@cache
def load_script(name: str) -> ModuleType:
    """A script by its name: `pool` keeps what the rows of comparisons predicted, `overlap` looks for inputs in text."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its annotations
    spec.loader.exec_module(module)
    return module
