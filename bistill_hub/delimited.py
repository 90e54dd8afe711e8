"""Read labelled examples from CSV and TSV, each cell as the text that it is.

The reader of `datasets` takes cells such as "n/a" for missing values, fills up short lines, and an unbalanced quotation
mark makes one cell of many lines.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

DELIMITED = (".csv", ".tsv")


def read_delimited(file: Path) -> Dataset:
    """Read a file with a header line; every column is one of strings.

    In a TSV file a quotation mark is a character like any other, and each line that is not blank is a row. CSV files
    may quote cells, and quoted cells may hold line breaks.

    Args:
        file: The file, UTF-8 with or without a byte order mark; one that ends in .tsv is TSV, others are CSV.

    Raises:
        InputError: the header is missing or names two columns alike, or a row is malformed or of another number of
            columns. The error names the line.
    """
    from datasets import Dataset, Features, Value

    rows = _tsv_rows(file) if file.suffix.lower() == ".tsv" else _csv_rows(file)
    first, header = next(rows, (1, []))
    if not header or len(set(header)) < len(header):
        raise InputError(
            "the header must name each column, and no two alike",
            file=file,
            field=f"line {first}",
            value=header,
            remedy="begin the file with a line of column names",
        )
    columns: dict[str, list[str]] = {name: [] for name in header}
    for line, cells in rows:
        if len(cells) != len(header):
            raise InputError(
                f"{len(cells)} column(s) where the header has {len(header)}",
                file=file,
                field=f"line {line}",
                remedy="correct the line; a cell that holds TABs or line breaks needs CSV, JSON or Parquet",
            )
        for name, cell in zip(header, cells, strict=True):
            columns[name].append(cell)
    return Dataset.from_dict(columns, features=Features(dict.fromkeys(header, Value("string"))))


def _tsv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows, each with its line, counted from 1."""
    for number, line in enumerate(_lines(file), start=1):
        if row := line.rstrip("\r\n"):
            yield number, row.split("\t")


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows, each with the line on which it begins, counted from 1."""
    reader = csv.reader(_lines(file), strict=True)
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"not CSV ({error})", file=file, field=f"line {begins}", remedy="correct the row that begins there"
        ) from error


def _lines(file: Path) -> Iterator[str]:
    # Bytes, cut at line feeds alone: the line of a decoding error is known, and the line separators of Unicode, which
    # occur inside scraped text, do not end a line.
    with file.open("rb") as raw_lines:
        for number, raw in enumerate(raw_lines, start=1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"not UTF-8 text ({error.reason})",
                    file=file,
                    field=f"line {number}",
                    remedy="convert the file to UTF-8",
                ) from error
