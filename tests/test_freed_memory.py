"""Memory that a training frees stays with its process until the training ends."""

import os
import resource
import subprocess
import sys

import pytest
import torch

from bistill_hub import freed_memory
from bistill_hub.freed_memory import VARIABLES, freed_memory_kept

MEGABYTES, NUMBERS = 40, 2**18
"""How large a tensor is, and numbers of four bytes in one of them: 10,240 pages of 4 KB."""

STEPS = 6
"""The heap grows with the first of them, and once more where something small comes to lie in a piece that was freed.
It grows with every one of them only if nothing is kept."""


def pages_of_a_step():
    """How many pages Linux hands out while tensors are made and freed as a step does."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        first = torch.ones(MEGABYTES * NUMBERS)
        second = first + 1
        del first
        third = second + 1
        del second, third
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def observe():
    """In a process of its own: pages of a step before, the fewest within and of one after, and the megabytes then."""
    pages_of_a_step()
    seen = [pages_of_a_step()]
    with freed_memory_kept():
        seen.append(min(pages_of_a_step() for _ in range(STEPS)))
        held = resident()
    freed = held - resident()  # before the next step, which may take from the heap what lies below its end
    seen += [pages_of_a_step(), freed]
    sys.stdout.write(" ".join(str(number) for number in seen))


def observed(**variables):
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_freed_memory as t; t.observe()"
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    output = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **variables}, capture_output=True, text=True, check=True
    )
    return [float(number) for number in output.stdout.split()]


def test_no_page_is_asked_for_twice_within_it_and_what_is_free_goes_back_after_it():
    before, within, after, freed = observed()
    assert within < 100 < 5_000 < min(before, after)
    assert freed > MEGABYTES


def test_what_the_user_says_holds():
    _, within, _, _ = observed(MALLOC_MMAP_THRESHOLD_="4000000")
    assert within > 5_000


@pytest.mark.parametrize("elsewhere", ["another C library", "an accelerator"])
def test_elsewhere_nothing_is_done(monkeypatch, elsewhere):
    def forbidden(*_):
        raise AssertionError("glibc was told something")

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(freed_memory, "tell", forbidden)
    if elsewhere == "an accelerator":
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    else:
        monkeypatch.setattr(freed_memory.platform, "libc_ver", lambda: ("", ""))
    with freed_memory_kept():
        pass
