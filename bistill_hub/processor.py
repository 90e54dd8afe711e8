"""What Linux tells of the processor, for figures that hang on it and for choices that do."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: Its model's name, or what Python knows of it where Linux tells none.
        vendor: Who made it, such as "AuthenticAMD"; "" where nothing is told.
        family: The vendor's number of its family; None where nothing is told.
        model: The number of the model in that; None where nothing is told.
        flags: What it can do, such as "avx512_bf16".
    """

    name: str
    vendor: str = ""
    family: int | None = None
    model: int | None = None
    flags: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Its name; with the family where that is hidden, as clouds do: "AMD EPYC (family 26, model 2)"."""
        bare = not any(letter.isdigit() for letter in self.name)
        told = bare and self.family is not None and self.model is not None
        return f"{self.name} (family {self.family}, model {self.model})" if told else self.name


def processor(told: Path = CPUINFO) -> Processor:
    """Read what Linux tells of the first processor; elsewhere Python knows its name alone.

    Args:
        told: Linux's file about the processors.
    """
    facts: dict[str, str] = {}
    if told.is_file():
        for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    return Processor(
        name=facts.get("model name") or platform.processor() or platform.machine(),
        vendor=facts.get("vendor_id", ""),
        family=_number(facts.get("cpu family")),
        model=_number(facts.get("model")),
        flags=frozenset(facts.get("flags", "").split()),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
