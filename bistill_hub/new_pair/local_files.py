"""Looks at a contributor's own files before a recipe names them: of what form they are, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import InputError
from ..pipeline.held_out import check_held_out
from ..sources import LabelledSource, TextSource
from ..tasks import get_task
from ..tasks.ner import Ner
from ..tasks.task import Task, source_file
from ..tasks.token_classification import TokenClassification

_LOOKED_AT = 200
_FEWEST_WORDS = 5


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a file holds.

    Attributes:
        name: The file's name.
        form: Of what form it is, in a few words.
        count: Lines or examples.
        unit: What is counted.
        labels: Label names, of labelled data.
        renamed: Labels that training lacks, and what they are read as.
    """

    name: str
    form: str
    count: int
    unit: str
    labels: tuple[str, ...] = ()
    renamed: Mapping[str, str]

    def __str__(self) -> str:
        """Say it as one line."""
        parts = [f"{self.name}: {self.form}, {self.count:,} {self.unit}"]
        parts += [f"labels {', '.join(self.labels)}"] if self.labels else []
        parts += [f"{old} is read as {new}, for training has no such label" for old, new in self.renamed.items()]
        return "; ".join(parts)


def look_at_text(source: TextSource, field: str) -> Seen:
    """Count the lines of a text file.

    Args:
        source: The file.
        field: The option that names it, for errors.

    Raises:
        InputError: it is missing, empty or not readable, holds no text, or columns instead of text.
    """
    source.check(field)
    first = list(islice(source.lines(), _LOOKED_AT))
    if sum("\t" in line for line in first) * 2 > len(first):
        raise InputError(
            "most of its lines hold TABs: these are columns, not text",
            file=source.file,
            field=field,
            remedy="name plain text, a sentence or paragraph a line",
        )
    count = sum(1 for _ in source.lines())
    if not count:
        raise InputError("there is no text", file=source.file, field=field, remedy="name a file that holds text")
    form = f"a table with the column {source.column}" if source.is_table else "plain text"
    return Seen(name=source.name, form=form, count=count, unit="lines", renamed={})


def look_at_task(task: str, sources: Mapping[str, LabelledSource], fields: Mapping[str, str]) -> dict[str, Seen]:
    """Read a task's local files as a run reads them.

    Args:
        task: The task's name.
        sources: The sources by their field in a recipe, training data first.
        fields: The option that names each, for errors.

    Returns:
        What each local file holds, by the field in a recipe.

    Raises:
        InputError: there is no such task; a file is missing or malformed, or the training file again; labels occur
            that training lacks, and that are not types of names.
    """
    kind = get_task(task)
    for name, source in sources.items():
        source.check(fields[name])
    check_held_out(sources, fields)
    labels: tuple[str, ...] | None = None
    seen = {}
    for name, source in sources.items():
        if source.path is None:
            continue
        dataset = kind.read(source)
        own = kind.labels(dataset)
        renamed: dict[str, str] = {}
        if name == "train":
            labels = own
        elif labels is not None:
            renamed = _to_rename(kind, own, labels)
            if not renamed:
                kind.check_labels(dataset, labels, source_file(source))
        seen[name] = Seen(
            name=source.name,
            form=_form(kind, source),
            count=len(dataset),
            unit="examples",
            labels=own,
            renamed=renamed,
        )
    return seen


def count_in_text(task: str, test: LabelledSource, text: TextSource) -> int | None:
    """Count the sentences of a local test set that are lines of a text too, whatever the case and the spaces.

    Sentences of fewer than five words are left out, as different texts may well share them.

    Args:
        task: The task's name.
        test: The test set.
        text: The text, which has been looked at.

    Returns:
        The number of such sentences; None where the task is not one of labelled words.

    Raises:
        InputError: there is no such task, or the test set is malformed.
    """
    kind = get_task(task)
    if not isinstance(kind, TokenClassification):
        return None
    sentences = [_run_together("".join(words)) for words in kind.read(test)["tokens"] if len(words) >= _FEWEST_WORDS]
    wanted = set(sentences)
    found = {line for line in map(_run_together, text.lines()) if line in wanted}
    return sum(sentence in found for sentence in sentences)


def _run_together(text: str) -> str:
    return "".join(text.casefold().split())


def _to_rename(kind: Task, own: tuple[str, ...], labels: tuple[str, ...]) -> dict[str, str]:
    """Types of names that training lacks, which are read as no name."""
    if not isinstance(kind, Ner):
        return {}
    return dict.fromkeys(sorted({kind.map_key(label) for label in own if label not in labels}), kind.outside)


def _form(kind: Task, source: LabelledSource) -> str:
    """Name the form in which a file has been read."""
    file = source.file
    ending = file.suffix.lower()
    if ending == ".json" and kind.head == "question-answering" and _is_squad(file):
        return "SQuAD 1.1 JSON"
    if ending in (".json", ".jsonl", ".ndjson", ".parquet"):
        return f"a table ({ending})"
    if kind.head == "token-classification":
        return "CoNLL columns"
    with file.open(encoding="utf-8-sig") as lines:
        header = next(lines, "").strip()
    return f"{ending[1:].upper()} with the header {header.replace(chr(9), ', ')}"


def _is_squad(file: Path) -> bool:
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    return isinstance(content, dict) and "data" in content
