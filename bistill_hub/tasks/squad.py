"""Read questions on contexts: from SQuAD 1.1's JSON, whose lists are nested, and from tables with its columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..sources import LabelledSource
from .task import find_columns, source_file

COLUMNS = ("id", "question", "context", "answers")
"""What a question consists of; `answers` holds two lists, `text` and `answer_start`."""

_Row = tuple[str, dict[str, Any]]
"""Where a question stands in its source, and its canonical columns, unchecked."""


def read_questions(source: LabelledSource) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each question's `COLUMNS`, and how many of its answers are not at their `answer_start` and were moved.

    Args:
        source: Where the questions are: a `.json` file with the nested lists of SQuAD, any other table, or a Hub data
            set.

    Raises:
        InputError: the file is malformed, a column is missing, an id comes twice, a question or context is empty, a
            question has no answer, or an answer is empty or not in the context. The error names place and id.
    """
    seen: dict[str, str] = {}
    for place, row in _rows(source):
        yield _check(row, place, source, seen)


def _rows(source: LabelledSource) -> Iterable[_Row]:
    content = _squad_content(source) if source.path is not None and source.file.suffix.lower() == ".json" else None
    if content is not None:
        if source.columns:
            raise InputError(
                "the fields of a SQuAD file have fixed names",
                file=source_file(source),
                field="columns",
                value=dict(source.columns),
                remedy="leave it out",
            )
        rows = list(_squad_rows(content, source_file(source)))
        visible = {name: [row[name] for _, row in rows] for name in COLUMNS[:-1]}
        return [rows[kept] for kept in source.kept_rows(visible)]
    table = source.table()
    chosen = find_columns(source, table.column_names, {name: name for name in COLUMNS})
    return (
        (f"row {number} (counted from 0)", {name: row[column] for name, column in chosen.items()})
        for number, row in enumerate(table.select_columns(sorted(set(chosen.values()))))
    )


def _squad_content(source: LabelledSource) -> dict[str, Any] | None:
    """Return a file's JSON object where it has the `data` of a SQuAD file, and None where it is some other table."""
    try:
        content = json.loads(source.file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text ({error.reason})", file=source_file(source), remedy="convert the file to UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # an object a line
            return None
        raise InputError(
            f"not JSON ({error.msg})",
            file=source_file(source),
            field=f"line {error.lineno}, column {error.colno}",
            remedy="correct the file",
        ) from error
    return content if isinstance(content, dict) and "data" in content else None


def _squad_rows(content: dict[str, Any], file: str) -> Iterator[_Row]:
    def elements(record: Any, name: str, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
        found = member(record, name, list, place)
        for number, element in enumerate(found):
            here = f"{place}.{name}[{number}]".removeprefix(".")
            if not isinstance(element, dict):
                raise InputError("not an object", file=file, field=here, value=element, remedy=_SQUAD_FORM)
            yield here, element

    def member(record: dict[str, Any], name: str, kind: type | tuple[type, ...], place: str) -> Any:
        here = f"{place}.{name}".removeprefix(".")
        if name not in record:
            raise InputError("it is missing", file=file, field=here, remedy=_SQUAD_FORM)
        if not isinstance(record[name], kind):
            raise InputError("of the wrong type", file=file, field=here, value=record[name], remedy=_SQUAD_FORM)
        return record[name]

    for article_place, article in elements(content, "data", ""):
        for paragraph_place, paragraph in elements(article, "paragraphs", article_place):
            context = member(paragraph, "context", str, paragraph_place)
            for place, question in elements(paragraph, "qas", paragraph_place):
                answers: dict[str, list[Any]] = {"text": [], "answer_start": []}
                for answer_place, answer in elements(question, "answers", place):
                    answers["text"].append(member(answer, "text", str, answer_place))
                    answers["answer_start"].append(member(answer, "answer_start", int, answer_place))
                yield (
                    place,
                    {
                        "id": member(question, "id", (str, int), place),
                        "question": member(question, "question", str, place),
                        "context": context,
                        "answers": answers,
                    },
                )


_SQUAD_FORM = (
    "give the file the form of SQuAD 1.1: data[].paragraphs[] with context (text) and qas[], each with id, question "
    "(text) and answers[], each with text and answer_start (a number)"
)


def _check(
    row: Mapping[str, Any], place: str, source: LabelledSource, seen: dict[str, str]
) -> tuple[dict[str, Any], int]:
    """Return a row's canonical columns and how many answers were not at their place.

    Args:
        row: The columns as the source has them.
        place: Where the row stands, for error messages.
        source: The source, for error messages.
        seen: The place of each id so far; this row's is added.
    """

    def refuse(problem: str, value: Any, remedy: str, name: str) -> InputError:
        field = f"{place}, {name}" + (f" of question {row['id']!r}" if name != "id" else "")
        return InputError(problem, file=source_file(source), field=field, value=value, remedy=remedy)

    identifier = str(row["id"])
    if isinstance(row["id"], bool) or not isinstance(row["id"], str | int) or not _is_unicode(identifier):
        raise refuse("an id is text or a whole number", row["id"], "give each question an id", "id")
    if identifier in seen:
        raise refuse(f"{seen[identifier]} has the same id", identifier, "give each question an id of its own", "id")
    seen[identifier] = place
    for name in ("question", "context"):
        if not isinstance(row[name], str) or not row[name].strip() or not _is_unicode(row[name]):
            raise refuse("no text", row[name], f"correct the {name}, or remove the row", name)
    texts, starts = _answer_lists(row["answers"])
    if len(texts) != len(starts):
        raise refuse(
            "not answers", row["answers"], "give text and answer_start for each answer, as SQuAD 1.1 does", "answers"
        )
    if not texts:
        raise refuse(
            "a question without an answer, as SQuAD 2.0 has them",
            row["answers"],
            "remove such questions, or use SQuAD 1.1 or another labelled data set in its form",
            "answers",
        )
    placed, moved = [], 0
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise refuse("no text", text, "correct the answer", "answers.text")
        if isinstance(start, bool) or not isinstance(start, int):
            raise refuse("not a whole number", start, "give the answer's first character", "answers.answer_start")
        found = _place(row["context"], text, start)
        if found is None:
            raise refuse("the context does not contain this answer", text, "correct answer or context", "answers.text")
        placed.append(found)
        moved += found != start
    columns = {"id": identifier, "question": row["question"], "context": row["context"]}
    return columns | {"answers": {"text": list(texts), "answer_start": placed}}, moved


def _answer_lists(answers: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return texts and starts of a row's answers, of different lengths where they are malformed."""
    if isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers):
        return [answer.get("text") for answer in answers], [answer.get("answer_start") for answer in answers]
    if isinstance(answers, dict):
        texts, starts = answers.get("text"), answers.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list):
            return texts, starts
    return (), (None,)


def _place(context: str, text: str, start: int) -> int | None:
    """Return where a text occurs in the context: at `start`, or else nearest to it, the first of two as near."""
    if start >= 0 and context.startswith(text, start):
        return start
    places = []
    place = context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    return min(places, key=lambda found: abs(found - start), default=None)


def _is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return re.search("[\ud800-\udfff]", text) is None
