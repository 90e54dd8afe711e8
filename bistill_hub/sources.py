"""Where text and labels come from: a local file or a Hub data set, described and checked before anything is read.

A source is a small immutable record inside a recipe. `check()` looks at what can be looked at without reading the data,
`TextSource.lines()` and `LabelledSource.table()` read it.
"""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from .delimited import DELIMITED, read_delimited
from .errors import InputError, first_line
from .hub_commits import check_commit, commit_now, commit_of, note_commit
from .json_lines import mostly_json

if TYPE_CHECKING:
    from datasets import Dataset


class _ReadOnlyMap(Mapping[str, str]):
    """A string mapping that cannot be changed, but (unlike `MappingProxyType`) can be copied, hashed and pickled."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, key: str) -> str:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(self._entries)

    def __hash__(self) -> int:
        return hash(frozenset(self._entries.items()))


FrozenMap = Annotated[
    Mapping[str, str], AfterValidator(_ReadOnlyMap), PlainSerializer(dict, return_type=dict[str, str])
]
"""A read-only string mapping, written to JSON as an object."""

_FORMATS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
}


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(None, description="a local file; environment variables and ~ are expanded")
    dataset: str | None = Field(None, description="a data set's Hub id, read when there is no path")
    config: str | None = Field(None, description="the data set's configuration, such as 'sw'")
    split: str | None = Field(None, description="the data set's split, in the slicing notation of `datasets`")
    revision: str | None = Field(None, description="branch, tag or commit of the data set")
    data_dir: str | None = Field(None, description="folder inside the data set's repository")

    @model_validator(mode="before")
    @classmethod
    def _path_replaces_dataset(cls, fields: Any) -> Any:
        if isinstance(fields, (str, os.PathLike)):
            fields = {"path": os.fspath(fields)}
        if isinstance(fields, Mapping) and isinstance(fields.get("path"), os.PathLike) and not fields.get("dataset"):
            return {**fields, "path": os.fspath(fields["path"])}
        return fields

    @model_validator(mode="after")
    def _one_place(self) -> _Source:
        if (self.path is None) == (self.dataset is None):
            raise InputError(
                "name exactly one of `path` (a local file) and `dataset` (a Hub id)",
                value={"path": self.path, "dataset": self.dataset},
                remedy="give one of them, and leave the other out",
            )
        if self.dataset is not None and self.split is None:
            raise InputError(
                "a Hub data set needs `split`, such as 'train'",
                field="split",
                value=self.split,
                remedy="name the split to read; where `dataset` is set anew, name it after that",
            )
        if self.path is not None and not _is_utf8(self.path):
            raise InputError(
                "the file's name is not UTF-8, and could be written into no record",
                field="path",
                value=os.fsencode(self.path),
                remedy="rename the file",
            )
        return self

    @property
    def name(self) -> str:
        """The source in a few words: a file name without its folder, or Hub id, configuration, split and revision."""
        if self.path is not None:
            return Path(self.path).name
        parts = [self.dataset, self.config, self.data_dir, self.split]
        return "/".join(part for part in parts if part) + (f"@{self.revision}" if self.revision else "")

    @property
    def file(self) -> Path:
        """The local file, with `~` and environment variables expanded.

        Raises:
            InputError: an environment variable in the path is not set.
        """
        if self.path is None:
            raise ValueError(f"{self.name} is not a local file")
        expanded = os.path.expanduser(os.path.expandvars(self.path))
        if "$" in expanded:
            raise InputError(
                "an environment variable in the path is not set",
                field="path",
                value=self.path,
                remedy="set the variable, or write the path out",
            )
        return Path(expanded)

    def check(self, field: str) -> None:
        """Refuse a local file that is missing, empty, not readable or not a file.

        Args:
            field: The source's place in the recipe, named in the error.
        """
        if self.path is None:
            return
        file = self.file
        if not file.exists():
            raise InputError("there is no such file", field=field, value=str(file), remedy="correct the path")
        if not file.is_file():
            raise InputError("this is not a file", field=field, value=str(file), remedy="name a single file")
        if not os.access(file, os.R_OK):
            raise InputError("the file cannot be read", field=field, value=str(file), remedy="change its permissions")
        if file.stat().st_size == 0:
            raise InputError("the file is empty", field=field, value=str(file), remedy="name a file that holds data")

    def _load_from_hub(self, *, streaming: bool = False, commit: str | None = None) -> Any:
        return _load_dataset(
            self.name,
            "check Hub id, configuration, split and revision, and the network",
            self.dataset,
            self.config,
            split=self.split,
            revision=commit or self.revision,
            data_dir=self.data_dir,
            streaming=streaming,
        )


class TextSource(_Source):
    """Unlabelled text of one language: a plain text file (a sentence or paragraph a line), a table or a data set."""

    column: str = Field("text", description="the column that holds the text, where the source is a table")
    streaming: bool = Field(True, description="read a Hub data set as a stream instead of downloading it first")
    limit: int | None = Field(None, gt=0, description="read at most this many rows")

    @property
    def is_table(self) -> bool:
        """Whether its rows may be whole documents, and not the lines of a plain text file."""
        return self.path is None or self.file.suffix.lower() in _FORMATS

    def check(self, field: str) -> None:
        """Refuse also a plain text file that is JSON under another name, which would be read as text.

        Args:
            field: The source's place in the recipe, named in the error.
        """
        super().check(field)
        if not self.is_table and mostly_json(self.file):
            raise InputError(
                "most of its first lines are JSON objects, and would be read as text",
                field=field,
                value=str(self.file),
                remedy=f"give it the ending .jsonl, and name the text's column by {field}.column if it is not text",
            )

    def lines(self) -> Iterator[str]:
        """Yield the non-empty lines, stripped, in order; a row of several lines yields each of them.

        Raises:
            InputError: the table has no such column, the column is not text, or a text file is not UTF-8.
        """
        for number, row in enumerate(self._rows()):
            if self.limit is not None and number >= self.limit:
                return
            for line in row.splitlines():
                if stripped := line.strip():
                    yield stripped

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return self.lines()

    def _rows(self) -> Iterator[str]:
        if not self.is_table:
            with self.file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        yield line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode("utf-8")
                    except UnicodeDecodeError as error:
                        raise InputError(
                            f"not UTF-8 text ({error.reason} in line {number})",
                            file=self.file,
                            remedy="convert the file to UTF-8",
                        ) from error
            return
        table = _read_table(self.file, streaming=True) if self.path else self._load_from_hub(streaming=self.streaming)
        for row in _rows_of(table, self.name):
            if self.column not in row:
                raise InputError(
                    "there is no such column",
                    file=self.name,
                    field="column",
                    value=self.column,
                    remedy=f"choose one of {sorted(row)}",
                )
            text = row[self.column]
            if text is not None and not isinstance(text, str):
                raise InputError(
                    f"this column holds values of type {type(text).__name__}, not text",
                    file=self.name,
                    field="column",
                    value=self.column,
                    remedy="name the column that holds the text",
                )
            yield text or ""


class LabelledSource(_Source):
    """Labelled examples of a task: a file whose format the task knows (CoNLL, SQuAD JSON), a table, or a data set."""

    columns: FrozenMap = Field(
        default_factory=dict,
        validate_default=True,
        description="the source's column for each column that the task reads, where they differ",
    )
    label_map: FrozenMap = Field(
        default_factory=dict, validate_default=True, description="labels to rename while reading, such as B-DATE to O"
    )
    where: FrozenMap = Field(
        default_factory=dict,
        validate_default=True,
        description="keep the rows whose column (as the source calls it) fits a pattern, such as id: 'swahili-*'; "
        "* stands for anything, ? for one character, [ab] for one of these",
    )
    limit: int | None = Field(None, gt=0, description="read at most this many examples, of those that `where` keeps")
    streaming: bool = Field(
        False, description="read a Hub data set as a stream, as far as `limit` asks, instead of downloading it first"
    )
    answer_language: str | None = Field(
        None, description="compare answers by MLQA's rules for this language, such as de, instead of by SQuAD's"
    )

    @property
    def subset(self) -> str | None:
        """What `where` and `limit` leave of the source, in a few words; None where they leave everything."""
        parts = [f"{column} like {pattern}" for column, pattern in self.where.items()]
        return ", ".join(parts + ([f"the first {self.limit}"] if self.limit is not None else [])) or None

    def table(self) -> Dataset:
        """Read a table file (Parquet, JSON, CSV, TSV) or the Hub data set, before any renaming: what `where` keeps.

        Of a Hub data set one commit is read, the one that the revision names at that time; `hub_commits.commits_read`
        tells it. Formats of a task's own (CoNLL, SQuAD) are read by the task from `file`. CSV and TSV files begin with
        a header, and their cells are all strings; in TSV, unlike in CSV, a quotation mark is a character as others are.

        Raises:
            InputError: the file's ending is not one of a table, the table is malformed, the cache holds another commit
                than the one that is asked for, or `where` cannot be applied or keeps nothing.
        """
        if self.path is None and self.streaming:
            return self._beginning()
        dataset = _read_table(self.file) if self.path is not None else self._load_labels()
        if self.where:
            return dataset.select(self.kept_rows({name: dataset[name] for name in dataset.column_names}))
        return dataset.select(range(min(self.limit, len(dataset)))) if self.limit is not None else dataset

    def _load_labels(self, *, streaming: bool = False) -> Any:
        """Read the Hub data set at the commit that its revision names now, and note the commit that was read."""
        dataset = str(self.dataset)
        # A relative folder of the Hub id's name is what `datasets` takes before it asks the Hub.
        commit = None if Path(dataset).exists() else commit_now(dataset, self.revision)
        table = self._load_from_hub(streaming=streaming, commit=commit)
        found = commit_of(table, dataset)
        check_commit(self.revision, found, self.name)
        note_commit(found or commit)
        return table

    def kept_rows(self, columns: Mapping[str, Sequence[Any]]) -> list[int]:
        """Return the rows that `where` keeps, in order, `limit` of them at most; all up to `limit` without a `where`.

        Patterns are those of a shell, and upper and lower case differ. Numbers fit as they are written, and a row
        without a value is not kept.

        Args:
            columns: The rows' values by column, all columns of one length.

        Raises:
            InputError: `where` names a column that is not there or that holds neither text nor numbers, or keeps
                nothing.
        """
        rows: Sequence[int] = range(len(next(iter(columns.values()), ())))
        for name, pattern in self.where.items():
            self._check_column(name, columns)
            values = list(columns[name])
            kept = [row for row in rows if _fits(values[row], pattern)]
            if rows and not kept:
                raise self._nothing_fits(name, values[rows[0]])
            rows = kept
        return list(rows)[: self.limit]

    def _beginning(self) -> Dataset:
        """Read a Hub data set as far as `limit` asks."""
        from datasets import Dataset

        table = self._load_labels(streaming=True)
        kept: list[dict[str, Any]] = []
        misfit: tuple[str, Any] | None = None
        for row in _rows_of(table, self.name):
            for name in self.where:
                self._check_column(name, {column: [value] for column, value in row.items()})
            missed = next((name for name, pattern in self.where.items() if not _fits(row[name], pattern)), None)
            if missed is None:
                kept.append(row)
            elif misfit is None:
                misfit = missed, row[missed]
            if len(kept) == self.limit:
                break
        if misfit is not None and not kept:
            raise self._nothing_fits(*misfit)
        return Dataset.from_list(kept, features=table.features)

    def _check_column(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Refuse a `where` of a column that is not there, or whose values no pattern fits."""
        if name not in columns:
            raise InputError(
                f"there is no such column; the columns are {', '.join(sorted(columns))}",
                file=self._place,
                field="where",
                value=name,
                remedy="name one of them",
            )
        unfit = next((value for value in columns[name] if not isinstance(value, str | int | float | None)), None)
        if unfit is not None:
            raise InputError(
                f"this column holds values of type {type(unfit).__name__}, which no pattern fits",
                file=self._place,
                field="where",
                value=name,
                remedy="choose a column of text or numbers",
            )

    def _nothing_fits(self, name: str, first: Any) -> InputError:
        return InputError(
            "no row fits this pattern",
            file=self._place,
            field=f"where.{name}",
            value=self.where[name],
            remedy=f"correct it; the first row that it was compared with has {first!r}",
        )

    @property
    def _place(self) -> Path | str:
        return self.file if self.path is not None else self.name

    def refuse_where(self, remedy: str) -> None:
        """Refuse a `where` for a file whose rows have no columns to select by, such as a CoNLL file.

        Args:
            remedy: What to do instead.

        Raises:
            InputError: there is a `where`.
        """
        if self.where:
            raise InputError(
                "rows of such a file cannot be selected by column",
                file=self._place,
                field="where",
                value=dict(self.where),
                remedy=remedy,
            )


def _is_utf8(text: str) -> bool:
    """Whether a name can be written as UTF-8; bytes of one that is not are kept as halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fits(value: Any, pattern: str) -> bool:
    return value is not None and fnmatchcase(str(value), pattern)


def file_sha256(file: Path) -> str:
    """Hash a file's bytes: 64 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_table(file: Path, *, streaming: bool = False) -> Any:
    ending = file.suffix.lower()
    if ending not in _FORMATS:
        raise InputError(
            "not a table that can be read",
            file=file,
            remedy=f"use one of the endings {', '.join(sorted(_FORMATS))}",
        )
    if ending in DELIMITED and not streaming:
        return read_delimited(file)
    options: dict[str, Any] = {"sep": "\t"} if ending == ".tsv" else {}
    if not streaming:
        options["cache_dir"] = _cache_of(file)
    return _load_dataset(
        file,
        "correct the file",
        _FORMATS[ending],
        data_files=str(file),
        split="train",
        streaming=streaming,
        **options,
    )


def _cache_of(file: Path) -> str:
    """Where `datasets` keeps what it made of a file: a place for its content; by itself it goes by path and time."""
    import datasets

    return str(Path(datasets.config.HF_DATASETS_CACHE, f"bistill_hub-{file_sha256(file)}"))


def _rows_of(table: Any, file: str) -> Iterator[dict[str, Any]]:
    """Iterate over a table that is read as it goes, and say in the user's words where that fails."""
    from datasets.exceptions import DatasetsError

    rows = iter(table)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except (DatasetsError, OSError, ValueError) as error:
            raise InputError(
                f"reading it failed ({first_line(error)})", file=file, remedy="correct the file, or check the network"
            ) from error
        yield row


def _load_dataset(file: Path | str, remedy: str, *args: Any, **kwargs: Any) -> Any:
    """Load a data set, and say in the user's words why it cannot be loaded."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(*args, **kwargs)
    except (DatasetsError, OSError, ValueError) as error:
        # The cause of a table that cannot be parsed is in the error behind the one that datasets raises.
        reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise InputError(f"the data cannot be loaded ({reason})", file=file, remedy=remedy) from error
