"""The scripts of docs/studies, which are no modules of the package, and the real data that its tables are of."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import pytest

ROOT = Path(__file__).resolve().parents[1]
Test = TypeVar("Test", bound=Callable[..., Any])
FOLDER = ROOT / "docs" / "studies"
VARIABLE = "BISTILL_TEST_DATA"
DATA = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "data")


def on_real_data(test: Test) -> Test:
    """Mark a test that needs the studies' labels; without them it is skipped."""
    there = (DATA / "ner").is_dir()
    marked = pytest.mark.skipif(not there, reason=f"{VARIABLE} names no folder with ner/ in it")(test)
    return cast("Test", pytest.mark.real_data(marked))


def name_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that the studies' settings use; the teacher is not there."""
    monkeypatch.setenv("BISTILL_DATA", str(DATA))
    monkeypatch.setenv("BISTILL_TEACHER", "teacher")


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
