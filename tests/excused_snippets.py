"""Snippets of the documentation that the module which claims their page does not execute: others do, or none can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doc_pages import Snippet


@dataclass(frozen=True)
class _Named:
    """Snippets of a page by their beginning.

    Attributes:
        page: The page, such as docs/faq.md.
        begins: What their code begins with, a regular expression.
    """

    page: str
    begins: str

    def fits(self, snippet: Snippet) -> bool:
        """Whether it is about this snippet."""
        return snippet.page == self.page and re.match(self.begins, snippet) is not None


@dataclass(frozen=True)
class Assigned(_Named):
    """Snippets that are left to a module of their own.

    Attributes:
        module: The test module that executes them, as it is imported.
    """

    module: str


@dataclass(frozen=True)
class Excuse(_Named):
    """Why snippets of a page are not executed.

    Attributes:
        reason: Why.
    """

    reason: str


_SETUP, _LAUNCHED, _STUDIES = "test_setup_commands", "test_four_processes", "test_study_commands"

ASSIGNED = (
    Assigned("README.md", r"python3 -m venv", _SETUP),
    Assigned("CONTRIBUTING.md", r"make setup", _SETUP),
    Assigned("docs/index.md", r"python3 -m venv", _SETUP),
    Assigned("docs/quick_start.md", r"python3 -m venv", _SETUP),
    Assigned("docs/quick_start.md", r"\.venv/bin/pip install uv", _SETUP),
    Assigned("docs/quick_start.md", r"bistill demo$", _SETUP),
    Assigned("docs/tutorials/laptop.md", r"bistill demo$", _SETUP),
    Assigned("docs/tutorials/new_pair.md", r"python3 -m venv", _SETUP),
    Assigned("docs/studies/demo.md", r"bistill demo$", _SETUP),
    Assigned("docs/backbones.md", r"BISTILL_UPDATE_DOCS=1 ", _SETUP),
    Assigned("docs/tutorials/gpus.md", r"torchrun --nproc-per-node 4", _LAUNCHED),
    Assigned("docs/tutorials/gpus.md", r"accelerate launch --multi_gpu --num_processes 4", _LAUNCHED),
    Assigned("docs/training.md", r"torchrun --nproc-per-node 4", _LAUNCHED),
    Assigned("docs/recipes.md", r"bistill convert-teacher jhu-clsp/", "test_every_recipe_runs"),
    Assigned("docs/benchmarks.md", r"python -m benchmarks\.", "test_page_commands"),
    Assigned("docs/studies/en_sw_small.md", r"BISTILL_DATA=DATA BISTILL_TEACHER=TEACHER bistill run", _STUDIES),
    Assigned("docs/studies/en_sw_four_tasks.md", r"BISTILL_DATA=DATA BISTILL_TEACHER=TEACHER bistill run", _STUDIES),
    Assigned("docs/studies/en-sw.md", r"(?s).*bistill compare ", _STUDIES),
    Assigned("docs/studies/en-sw-sparse-teacher.md", r"(?s).*bistill compare ", _STUDIES),
    Assigned("docs/studies/en-sw-ablations.md", r"(?s).*bistill compare ", _STUDIES),
    Assigned("docs/studies/en-yo.md", r"(?s).*bistill compare ", _STUDIES),
)
"""All of these take minutes, and only `make whole` gives the tests of these modules."""

EXCUSED: tuple[Excuse, ...] = ()
"""Those that no test executes, each with its reason."""
