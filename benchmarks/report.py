"""What every benchmark shares: a fresh process to measure in, medians with their quartiles, the machine, the table."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from bistill_hub.processor import processor

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("tokenizers", "transformers", "numpy", "torch")


def machine(threads_named: str = "OMP_NUM_THREADS") -> dict[str, Any]:
    """Describe what is measured on.

    Args:
        threads_named: The variable that sets how many threads the measured library uses; all cores if unset.
    """
    found = processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else None
    return {
        "processor": str(found),
        "bf16_matrix_units": "amx_bf16" in found.flags,
        "cores": os.cpu_count(),
        "threads": int(os.environ.get(threads_named) or 0) or os.cpu_count(),
        "memory_gigabytes": memory,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def machine_rows(facts: dict[str, Any], threads_of: str = "torch") -> list[tuple[str, str]]:
    """Put `machine` into rows of a table.

    Args:
        facts: What it gave.
        threads_of: Whose threads they are.
    """
    memory = f", {facts['memory_gigabytes']:.0f} GB" if facts["memory_gigabytes"] else ""
    units = ", bf16 matrix units" if facts["bf16_matrix_units"] else ""
    return [
        ("machine", f"{facts['processor']}, {facts['cores']} cores{memory}{units}"),
        (f"threads of {threads_of}", str(facts["threads"])),
        ("versions", ", ".join(f"{name} {facts[name]}" for name in ("python", *PACKAGES))),
    ]


def peak_megabytes() -> float:
    """Give the most memory that this process had so far, in millions of bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Give the seconds that some work takes: on the clock, and of all processors together."""
    clock, processors = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processors


def in_fresh_process(module: str, *arguments: Any, variables: Mapping[str, str] | None = None) -> Any:
    """Run a module as a command and read the JSON that it writes to standard output.

    Args:
        module: Its name, such as `benchmarks.cut`.
        arguments: What it is given; each is turned into text.
        variables: What its environment has on top of this one's.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, **(variables or {})}
    finished = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(finished.stdout)


def quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Give the median and the quartiles around it."""
    low, middle, high = np.quantile(numbers, (0.25, 0.5, 0.75)).tolist()
    return middle, low, high


def spread(numbers: Sequence[float], digits: int = 2) -> str:
    """Put the median into words, with the quartiles in brackets; one number stands alone."""
    if len(numbers) == 1:
        return f"{numbers[0]:,.{digits}f}"
    return "{:,.{d}f} ({:,.{d}f} to {:,.{d}f})".format(*quartiles(numbers), d=digits)


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print rows of two columns as a Markdown table: of each, what it says and what was measured."""
    width = max(len(name) for name, _ in rows)
    click.echo(
        "\n".join(f"| {name:{width}} | {value} |" for name, value in [("what", "measured"), ("---", "---"), *rows])
    )
