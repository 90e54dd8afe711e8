"""What a check of a pair found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, first_line
from .claims import Claim

_LONGEST = 600
"""Characters of a problem: what an altered file holds may be of any length."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a pair.

    Attributes:
        check: The check that found it.
        file: The file's path in the repository; None where it is about no single one.
        problem: What is wrong, as one clause.
        remedy: What to do about it, as one clause.
    """

    check: str
    file: str | None
    problem: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        pair: The folder or Hub id, as it was given.
        commit: The commit that was checked; None for a folder.
        findings: Everything that is wrong, in the order of the checks.
        checks: The checks that were done, in order. What cannot be looked at because of a finding is left out.
        notes: What was not compared, and why.
        to_read: What the pair says that no check can verify: a person has to read it. No findings.
    """

    pair: str
    commit: str | None
    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    to_read: tuple[Claim, ...] = ()


class Findings:
    """Collects what one check finds.

    Args:
        check: The check's name.
        place: A folder that nobody need know of; it is left out of what other libraries say.
    """

    def __init__(self, check: str, place: Path) -> None:
        self.check = check
        self.place = place
        self.found: list[Finding] = []

    def add(self, file: str | None, problem: str, remedy: str) -> None:
        """Note something that is wrong."""
        shown = problem if len(problem) <= _LONGEST else f"{problem[: _LONGEST - 3]}..."
        self.found.append(Finding(self.check, file, shown, remedy))

    @contextmanager
    def within(self, file: str | None, what: str, remedy: str) -> Iterator[None]:
        """Note it where something cannot be done with a file, for whatever reason, and go on.

        Args:
            file: The file.
            what: What is tried, such as "it cannot be read".
            remedy: What to do about it.
        """
        try:
            yield
        except MemoryError:
            raise
        except InputError as error:
            place = " ".join(part for part in (error.field, "" if error.value is None else repr(error.value)) if part)
            self.add(file, f"{place}: {error.problem}" if place else error.problem, error.remedy)
        except Exception as error:  # what a damaged file makes other libraries raise is anything
            said = first_line(error).replace(f"{self.place}{os.sep}", "").replace(str(self.place), "the pair")
            self.add(file, f"{what} ({said.rstrip('.')})", remedy)
