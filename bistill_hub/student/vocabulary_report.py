"""What trimming the vocabulary costs, in numbers: coverage, unknown words, pieces a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .token_counts import TokenCounts, encode_in_batches, plain_backend, vocabulary_rows
from .vocabulary import checked_token_map

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class LanguageReport:
    """What trimming does to one language's text. Rates are fractions from 0 to 1.

    Attributes:
        corpus_tokens: How many teacher tokens were counted in the corpus.
        corpus_tokens_kept: The share of these tokens whose piece is kept.
        lines: How many lines, kept out of the counts, the following numbers were measured on.
        lines_with_dropped_pieces: The share of lines that hold a teacher piece that is not kept.
        unknown_before: Unknown pieces among the teacher's pieces.
        unknown_after: Unknown pieces among the student's pieces.
        fertility_before: Teacher pieces for each whitespace-separated word.
        fertility_after: Student pieces for each whitespace-separated word.
    """

    corpus_tokens: int
    corpus_tokens_kept: float
    lines: int
    lines_with_dropped_pieces: float
    unknown_before: float
    unknown_after: float
    fertility_before: float
    fertility_after: float


@dataclass(frozen=True)
class VocabularyReport:
    """What trimming does to the vocabulary and to each language's text.

    Attributes:
        tokens_before: Entries of the teacher's tokenizer.
        tokens_after: Entries of the student's tokenizer.
        languages: For each language its report.
    """

    tokens_before: int
    tokens_after: int
    languages: Mapping[str, LanguageReport]

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain dicts and numbers, ready for JSON."""
        return {
            "tokens_before": self.tokens_before,
            "tokens_after": self.tokens_after,
            "languages": {language: asdict(report) for language, report in self.languages.items()},
        }


def vocabulary_report(
    teacher_tokenizer: Any,
    student_tokenizer: Any,
    token_map: torch.Tensor,
    counts: Mapping[str, TokenCounts],
    lines: Mapping[str, Iterable[str]],
    *,
    batch_size: int = 1024,
) -> VocabularyReport:
    """Measure what trimming does.

    Args:
        teacher_tokenizer: The teacher's tokenizer.
        student_tokenizer: What `trim_tokenizer` made of it.
        token_map: int64 [V_student], the teacher's id of each student id.
        counts: For each language the teacher's token counts.
        lines: For each of these languages the text to measure on: lines that were not counted, see `HeldOut`.
        batch_size: Lines tokenised at a time.

    Raises:
        InputError: a language has counts and no lines, or lines and no counts, or its lines hold no words.
    """
    if counts.keys() != lines.keys():
        raise InputError(
            "the languages of counts and lines differ",
            field="lines",
            value=sorted(lines),
            remedy=f"give lines for {sorted(counts)}",
        )
    rows = vocabulary_rows(teacher_tokenizer)
    kept = np.zeros(rows, dtype=bool)
    kept[checked_token_map(token_map, rows).numpy()] = True
    languages = {
        language: _language_report(
            language, teacher_tokenizer, student_tokenizer, kept, counts[language], lines[language], batch_size
        )
        for language in counts
    }
    return VocabularyReport(len(teacher_tokenizer), len(student_tokenizer), languages)


def _language_report(
    language: str,
    teacher_tokenizer: Any,
    student_tokenizer: Any,
    kept: np.ndarray[Any, np.dtype[np.bool_]],
    counted: TokenCounts,
    lines: Iterable[str],
    batch_size: int,
) -> LanguageReport:
    teacher, student = plain_backend(teacher_tokenizer), plain_backend(student_tokenizer)
    words = line_count = lines_with_dropped = 0
    pieces, unknown = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    for batch, teacher_encodings in encode_in_batches(teacher, lines, batch_size):
        before, line_of_piece = _flat_ids(teacher_encodings)
        after, _ = _flat_ids(student.encode_batch(batch, add_special_tokens=False))
        words += sum(len(line.split()) for line in batch)
        line_count += len(batch)
        lines_with_dropped += np.unique(line_of_piece[~kept[before]]).size
        pieces += (before.size, after.size)
        unknown += (
            np.count_nonzero(before == teacher_tokenizer.unk_token_id),
            np.count_nonzero(after == student_tokenizer.unk_token_id),
        )
    if not words or not pieces.all():
        raise InputError("the lines hold no words", field=language, remedy="give lines with text of this language")
    return LanguageReport(
        corpus_tokens=counted.total,
        corpus_tokens_kept=float(counted.counts[kept].sum() / counted.total),
        lines=line_count,
        lines_with_dropped_pieces=lines_with_dropped / line_count,
        unknown_before=float(unknown[0] / pieces[0]),
        unknown_after=float(unknown[1] / pieces[1]),
        fertility_before=float(pieces[0] / words),
        fertility_after=float(pieces[1] / words),
    )


def _flat_ids(encodings: list[Any]) -> tuple[Ids, Ids]:
    """Join the ids of a batch; beside them, for each id, the line that it is from."""
    ids = [encoding.ids for encoding in encodings]
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    return np.fromiter(chain.from_iterable(ids), dtype=np.int64), np.repeat(np.arange(len(ids)), lengths)
