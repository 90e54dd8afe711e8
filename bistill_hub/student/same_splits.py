"""Which of the teacher's token ids can stand for the student's, so that a text need not be tokenised anew.

`vocabulary` promises that the student splits text into the teacher's pieces where all of them are kept and none of them
is unknown. The promise is one of trimming: here it is made sure that a tokenizer, which may have been saved and loaded
since, still is the teacher's trimmed one, down to the last bit of a score.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .piece_models import Definition, piece_model_for
from .token_counts import plain_backend, vocabulary_rows
from .vocabulary import checked_token_map

_UNTOUCHED = ("normalizer", "pre_tokenizer")


def new_ids_where_kept(teacher: Any, student: Any, token_map: torch.Tensor) -> NDArray[np.int64] | None:
    """Give the student's id of each of the teacher's tokens, for lines that both split alike.

    Both are compared as `plain_backend` copies them, which is what counts tokens and packs blocks.

    Args:
        teacher: The teacher's tokenizer (fast; WordPiece, Unigram or BPE).
        student: The student's.
        token_map: int64 [V_student], the teacher's id of each student id, as `select_tokens` gave it.

    Returns:
        int64 [V], -1 for tokens that the student has not and for the unknown token: a line without such ids is split
        into the same pieces by the student, and these are its ids there. None where the student's tokenizer is not the
        teacher's trimmed to these tokens, so that nothing is known of its splits.
    """
    rows = vocabulary_rows(teacher)
    kept = checked_token_map(token_map, rows).tolist()
    ours, theirs = plain_backend(teacher), plain_backend(student)
    definition, found = json.loads(ours.to_str()), json.loads(theirs.to_str())
    if ours.encode_special_tokens != theirs.encode_special_tokens:
        return None
    if not _is_trimmed(definition, found, {old: new for new, old in enumerate(kept)}):
        return None
    new_ids = np.full(rows, -1, dtype=np.int64)
    new_ids[kept] = np.arange(len(kept))
    for unknown in (_unknown_piece(definition["model"]), teacher.unk_token):
        identifier = None if unknown is None else ours.token_to_id(unknown)
        if identifier is not None:
            new_ids[identifier] = -1
    return new_ids


def _is_trimmed(teacher: Definition, student: Definition, new_ids: dict[int, int]) -> bool:
    """Whether a tokenizer's JSON is the teacher's with these ids alone, in all that decides how text is split."""
    if any(token["id"] not in new_ids for token in teacher["added_tokens"]):
        return False
    added = [{**token, "id": new_ids[token["id"]]} for token in teacher["added_tokens"]]
    return (
        all(teacher[part] == student[part] for part in _UNTOUCHED)
        and added == student["added_tokens"]
        and bool(piece_model_for(teacher).trim(teacher["model"], new_ids) == student["model"])
    )


def _unknown_piece(model: dict[str, Any]) -> str | None:
    """What a model makes of text that it has no pieces for; None where there is nothing of the kind."""
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])
    return model["unk_token"]  # type: ignore[no-any-return]
