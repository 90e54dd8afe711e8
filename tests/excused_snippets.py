"""Snippets of the documentation that no test executes, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doc_pages import Snippet


@dataclass(frozen=True)
class Excuse:
    """Why snippets of a page are not executed.

    Attributes:
        page: The page, such as docs/faq.md.
        begins: What their code begins with, a regular expression.
        reason: Why.
    """

    page: str
    begins: str
    reason: str

    def fits(self, snippet: Snippet) -> bool:
        """Whether it is about this snippet."""
        return snippet.page == self.page and re.match(self.begins, snippet) is not None


_FETCHES = "fetches packages and makes an environment, as CI does; its words are compared with CI's or the README's"
_DEMO = "takes minutes; tests/demo gives the command and looks at all that it leaves"
_HOURS = "takes hours on data that the project does not ship; its settings are read and planned on small files"
_FILES = "a list of files, written by docs/studies/render.py from a run"
_FOUR = "needs four GPUs; its words are read, and tests/pipeline launches two processes"

EXCUSED = (
    Excuse("README.md", r"python3 -m venv", _FETCHES),
    Excuse("CONTRIBUTING.md", r"make setup", "makes environments and gives all tests; each target is looked up"),
    Excuse("docs/index.md", r"python3 -m venv", _FETCHES),
    Excuse("docs/quick_start.md", r"python3 -m venv", _FETCHES),
    Excuse("docs/quick_start.md", r"bistill demo$", _DEMO),
    Excuse("docs/tutorials/laptop.md", r"bistill demo$", _DEMO),
    Excuse("docs/tutorials/new_pair.md", r"python3 -m venv", _FETCHES),
    Excuse("docs/tutorials/gpus.md", r"torchrun --nproc-per-node 4", _FOUR),
    Excuse("docs/tutorials/gpus.md", r"accelerate launch --multi_gpu --num_processes 4", _FOUR),
    Excuse("docs/training.md", r"torchrun --nproc-per-node 4", _FOUR),
    Excuse("docs/publishing.md", r"hf auth login$", "a program of huggingface_hub, which asks for a token"),
    Excuse("docs/recipes.md", r"bistill convert-teacher jhu-clsp/", "needs the Hub; its words are read"),
    Excuse("docs/backbones.md", r"BISTILL_UPDATE_DOCS=1 ", "gives the tests that look at it; the file is there"),
    Excuse(
        "docs/benchmarks.md",
        r"python -m benchmarks\.",
        "takes minutes to hours; its words are read, and tests/benchmarks measures something small with each",
    ),
    Excuse("docs/language_deltas.md", r"bistill train-language-delta TEACHER", "as above on the page, on larger data"),
    Excuse("docs/studies/demo.md", r"bistill demo$", _DEMO),
    Excuse("docs/studies/demo.md", r" +[\d,]+  README\.md\n", _FILES),
    Excuse("docs/studies/demo.md", r"Synthetic demonstration: ", "what a command printed"),
    Excuse("docs/studies/en_sw_small.md", r"BISTILL_DATA=DATA BISTILL_TEACHER=TEACHER bistill run", _HOURS),
    Excuse("docs/studies/en_sw_small.md", r" +[\d,]+  README\.md\n", _FILES),
    Excuse("docs/studies/en_sw_four_tasks.md", r"BISTILL_DATA=DATA BISTILL_TEACHER=TEACHER bistill run", _HOURS),
    Excuse("docs/studies/en_sw_four_tasks.md", r" +[\d,]+  README\.md\n", _FILES),
    Excuse("docs/studies/en-sw.md", r"export BISTILL_DATA=DATA BISTILL_TEACHER=TEACHER", _HOURS),
)
