"""A choice of the teacher's tokens that is closed under derivation: no piece without those that it is built from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .piece_models import Definition, PieceModel, piece_model_for
from .token_counts import backend_of


def definition_of(tokenizer: Any) -> tuple[Definition, PieceModel]:
    """Give a fast tokenizer's JSON, and what is particular to its kind.

    Raises:
        InputError: the tokenizer is slow or of a kind that cannot be trimmed.
    """
    definition = json.loads(backend_of(tokenizer).to_str())
    return definition, piece_model_for(definition)


class Selection:
    """The ids that are kept so far, each with those of the pieces that it is built from.

    Args:
        tokenizer: The teacher's tokenizer (fast).
        definition: Its JSON.

    Attributes:
        ids: {piece: id}, added tokens included.
        pieces: {id: piece}; ids may have holes.
        kept: The chosen ids.
    """

    def __init__(self, tokenizer: Any, definition: Definition) -> None:
        self.ids: dict[str, int] = backend_of(tokenizer).get_vocab(with_added_tokens=True)
        self.pieces = {identifier: piece for piece, identifier in self.ids.items()}
        self.kept: set[int] = set()
        self._parts = piece_model_for(definition).derivations(definition["model"])

    def parts(self, identifier: int) -> set[int]:
        """Give the ids of what a piece is built from, itself left out (BPE; others need none)."""
        return {self.ids[part] for part in self._parts(self.pieces[identifier])}

    def added_with(self, identifier: int) -> set[int]:
        """Give the ids that this one would add, itself included; none where it is kept."""
        return set() if identifier in self.kept else {identifier, *self.parts(identifier)} - self.kept

    def keep(self, identifiers: Iterable[int]) -> None:
        """Keep ids and what their pieces are built from; ids that no token has are left out."""
        for identifier in identifiers:
            if identifier in self.pieces:
                self.kept |= self.added_with(identifier)

    def fill(self, ranking: Iterable[int], size: int) -> None:
        """Keep the first ids of a ranking of all ids until there are exactly `size`, no more than there are tokens.

        One that brings more pieces than there is room for is passed over. Another that needs no other can always be
        found: of the pieces that one is built from, the first to arise that is not kept needs none that is not.
        """
        ranking = [identifier for identifier in ranking if identifier in self.pieces]
        while len(self.kept) < size:
            for identifier in ranking:
                added = self.added_with(identifier)
                if len(self.kept) + len(added) <= size:
                    self.kept |= added
                if len(self.kept) == size:
                    break
