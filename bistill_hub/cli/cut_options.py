"""What `bistill inspect` and `bistill trim` share: the pair, its text, and what is kept of the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .options import by_language

if TYPE_CHECKING:
    from ..recipe import Language


def pair_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a teacher's revision, the pair and its text."""
    options = (
        click.option("--source", required=True, metavar="CODE", help="Source language, such as en."),
        click.option("--target", required=True, metavar="CODE", help="Target language, such as sw."),
        click.option(
            "--corpus",
            "corpora",
            multiple=True,
            required=True,
            metavar="CODE=FILE",
            help="Text of one language, a sentence or paragraph a line, such as sw=sw.txt; one for each language.",
        ),
        click.option(
            "--min-token-probability",
            type=float,
            default=1e-6,
            show_default=True,
            help="Relative frequency, in either corpus, from which a token stays.",
        ),
        click.option(
            "--vocabulary-size",
            type=click.IntRange(min=1),
            metavar="N",
            help="Keep this many tokens, the most frequent ones, instead of a threshold.",
        ),
        click.option(
            "--multiple-of",
            type=click.IntRange(min=1),
            default=1,
            metavar="N",
            help="Round the number of tokens up to a multiple; 64 suits GPUs.",
        ),
        click.option(
            "--must-keep",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Tokens that stay however rare they are: pieces of the teacher, or words, one a line.",
        ),
        click.option("--revision", help="Branch, tag or commit of the teacher on the Hub."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def languages_of(
    source: str, target: str, words: Sequence[str], names: tuple[str | None, str | None] = (None, None)
) -> tuple[Language, Language]:
    """Source and target with their text, which is checked to be there.

    Raises:
        InputError: both are the same, a corpus is missing, of another language, given twice or cannot be read.
    """
    from pydantic import ValidationError

    from ..recipe import Language
    from ..sources import TextSource

    files = by_language("--corpus", words, example="sw=sw.txt")
    if source == target:
        raise InputError(
            "source and target are the same language: a pair is of two",
            field="--target",
            value=target,
            remedy="choose another source or target",
        )
    for code in files:
        if code not in (source, target):
            raise InputError(
                f"not a language of the pair {source}-{target}",
                field="--corpus",
                value=code,
                remedy=f"give text of {source} and {target}",
            )
    found = []
    for option, code, name in (("--source", source, names[0]), ("--target", target, names[1])):
        if code not in files:
            raise InputError(
                "there is no text of this language", field=option, value=code, remedy=f"add --corpus {code}=FILE"
            )
        try:
            language = Language(code=code, name=name or code, text=TextSource(path=files[code]))
        except ValidationError as error:
            raise InputError.from_validation(error, within=option) from error
        language.text.check(f"--corpus {code}")
        found.append(language)
    return found[0], found[1]


def tokens_to_keep(file: Path | None, teacher: str, revision: str | None) -> tuple[str, ...]:
    """Read the file of --must-keep, and refuse what the teacher does not know before anything is counted."""
    if file is None:
        return ()
    from ..student.must_keep import read_tokens_file
    from ..teacher import load_tokenizer

    return read_tokens_file(file, load_tokenizer(teacher, revision))


def shown_teacher(teacher: str) -> str:
    """A teacher's Hub id, or the last part of a folder's name."""
    from ..checkpoint_files import local_name

    place = Path(local_name(teacher))
    return place.resolve().name if place.exists() else teacher


def pair_name(teacher: str, source: str, target: str) -> str:
    """Name a pair, or its picture, after its teacher."""
    words = f"{shown_teacher(teacher).rpartition('/')[2]}-{source}-{target}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).lstrip("-._") or "pair"
