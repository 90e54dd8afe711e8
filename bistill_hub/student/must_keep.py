"""Tokens that the student keeps however rare they are, named by the user."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .token_counts import backend_of, plain_backend

_REMEDY = "name pieces as the teacher's vocabulary spells them, or words whose characters the teacher knows"


def read_tokens_file(path: str | Path, tokenizer: Any = None) -> tuple[str, ...]:
    """Read tokens to keep: UTF-8, one on each line; blank lines and white space around a token are left out.

    Args:
        path: The file.
        tokenizer: The teacher's tokenizer, if the tokens are to be looked up in it at once.

    Returns:
        The tokens in the file's order, each once.

    Raises:
        InputError: the file cannot be read, is not UTF-8 or names no token, or the teacher does not know a token. The
            error names the line.
    """
    path = Path(path)
    try:
        raw_lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", file=path, remedy="name a text file with one token on each line"
        ) from error
    line_of: dict[str, int] = {}
    for number, raw in enumerate(raw_lines, 1):
        try:
            token = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(
                f"not UTF-8 text ({error.reason})",
                file=path,
                field=f"line {number}",
                remedy="convert the file to UTF-8",
            ) from error
        if token:
            line_of.setdefault(token, number)
    if not line_of:
        raise InputError("names no token", file=path, remedy="write one token on each line, or leave the file out")
    if tokenizer is not None:
        for token, number in line_of.items():
            try:
                must_keep_ids(tokenizer, [token])
            except InputError as error:
                raise InputError(
                    error.problem, file=path, field=f"line {number}", value=token, remedy=error.remedy
                ) from error
    return tuple(line_of)


def must_keep_ids(tokenizer: Any, tokens: Iterable[str]) -> set[int]:
    """Look up tokens that must stay.

    What is a piece of the teacher (as its vocabulary spells it, such as "##ing" or "▁Nairobi") stays, and where it is
    also one piece as a word, at the beginning of a line or behind a space, that piece too. Anything else is a text: the
    pieces stay that the teacher splits it into in these two places.

    Args:
        tokenizer: The teacher's tokenizer (fast).
        tokens: Pieces or texts.

    Returns:
        The teacher's ids.

    Raises:
        InputError: a text holds something that the teacher does not know, or nothing at all, or the tokenizer is slow.
    """
    if isinstance(tokens, str):
        raise InputError(
            "these are several tokens, not one string", field="must_keep", value=tokens, remedy="pass a list of tokens"
        )
    vocabulary = backend_of(tokenizer).get_vocab(with_added_tokens=True)
    backend = None
    ids: set[int] = set()
    for token in tokens:
        backend = backend or plain_backend(tokenizer)
        splits = [backend.encode(text, add_special_tokens=False) for text in (token, f" {token}")]
        if token in vocabulary:
            ids.add(vocabulary[token])
            ids.update(split.ids[0] for split in splits if len(split.ids) == 1)
            ids.discard(tokenizer.unk_token_id)
            continue
        for split in splits:
            if not split.ids or tokenizer.unk_token_id in split.ids:
                raise InputError(
                    f"the teacher splits it into {split.tokens}, "
                    + ("of which one is its unknown token" if split.ids else "which is nothing"),
                    field="must_keep",
                    value=token,
                    remedy=_REMEDY,
                )
            ids.update(split.ids)
    return ids
