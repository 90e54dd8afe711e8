"""How BPE builds its pieces, and a BPE model cut down to some of them.

BPE splits a word into characters (or bytes) and joins neighbours, always by the merge that was learned first, the
leftmost of them first, until no merge fits. Let a word be split into pieces that are all kept. No merge reached across
the bounds of these pieces, so that within each of them the merges were those, in the same order, by which the piece is
built from its own characters when it stands alone. Where all that arises on this way is kept, all the merges that were
used are kept, the first of those that fit is the same at each step, and the word is split as before. A kept set that is
closed under each piece's own derivation is therefore enough; a piece that its own characters do not lead to is never
the result of merges and needs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

Merge = tuple[str, str]


def merges_of(model: Mapping[str, Any]) -> list[Merge]:
    """Give a BPE model's merges in the order of their ranks; older files write each as one string with a space."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in pairs]


def derivations(model: dict[str, Any]) -> Callable[[str], Iterable[str]]:
    """Tell which pieces the pieces of a BPE model are built from.

    Args:
        model: The model's JSON.

    Returns:
        A function that gives, for a piece, the other pieces that arise while it is built, its characters included;
        none for a piece that no merges lead to. What arises for one of these is among them too.
    """
    merges = merges_of(model)
    cut = len(model["continuing_subword_prefix"] or "")
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    results = {left + right[cut:] for left, right in merges}
    # A piece's spelling says what it is built from, unless characters were marked for their place in the word, or
    # bytes or unknown characters were merged. Then every merge that makes the piece is kept, whichever of them is used.
    marked = bool(cut or model["end_of_word_suffix"])
    nameless = [re.escape(model["unk_token"])] if model["unk_token"] else []
    nameless += ["<0x[0-9A-F]{2}>"] if model["byte_fallback"] else []
    nameless_within = re.compile("|".join(nameless)) if nameless else None
    made_from: dict[str, list[Merge]] = {}  # filled where it is asked for, which in most models it never is

    def made(piece: str) -> set[str]:
        if piece not in results:
            return set()
        if not marked and not (nameless_within and nameless_within.search(piece)):
            return _own_derivation(piece, ranks)
        if not made_from:
            for left, right in merges:
                made_from.setdefault(left + right[cut:], []).append((left, right))
        return _all_ancestors(piece, made_from)

    return made


def _all_ancestors(piece: str, made_from: Mapping[str, list[Merge]]) -> set[str]:
    ancestors: set[str] = set()
    waiting = [piece]
    while waiting:
        for merge in made_from.get(waiting.pop(), ()):
            waiting += set(merge) - ancestors
            ancestors.update(merge)
    return ancestors - {piece}


def _own_derivation(piece: str, ranks: Mapping[Merge, int]) -> set[str]:
    """Build a piece from its characters as BPE does, and collect what arises on the way."""
    parts = list(piece)
    arisen = set(parts)
    never = len(ranks)
    found = [ranks.get(pair, never) for pair in pairwise(parts)]
    while found:
        first = min(found)
        if first == never:
            return set()
        at = found.index(first)
        joined = parts[at] = parts[at] + parts.pop(at + 1)
        arisen.add(joined)
        del found[at]
        if at > 0:
            found[at - 1] = ranks.get((parts[at - 1], joined), never)
        if at < len(found):
            found[at] = ranks.get((joined, parts[at + 1]), never)
    return arisen - {piece}


def trim_bpe(model: dict[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """Cut a BPE model down to some of its pieces.

    Args:
        model: The model's JSON.
        new_ids: For the id of each kept piece its new one.

    Returns:
        The trimmed model's JSON; of its merges those whose two parts and result are kept, in the old order.
    """
    kept = {piece: new_ids[old_id] for piece, old_id in model["vocab"].items() if old_id in new_ids}
    cut = len(model["continuing_subword_prefix"] or "")
    merges = [
        [left, right]
        for left, right in merges_of(model)
        if left in kept and right in kept and left + right[cut:] in kept
    ]
    return {**model, "vocab": kept, "merges": merges}
