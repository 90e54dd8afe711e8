"""What differs between the kinds of tokenizer models when a vocabulary is trimmed: WordPiece, Unigram, BPE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import InputError
from .bpe import derivations, trim_bpe

Definition = dict[str, Any]
"""A tokenizer's JSON, as the tokenizers library writes it."""

BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""What a model with byte fallback makes of characters that are no pieces."""

_METASPACE = "▁"


@dataclass(frozen=True)
class PieceModel:
    """What differs between the kinds of tokenizer models.

    Attributes:
        always_kept: From the tokenizer's JSON, the pieces that the model cannot do without.
        single_character_pieces: From the tokenizer's JSON and a character, the pieces that stand for this character.
        derivations: From the model's JSON, a function that gives, for a piece, the other pieces that it is made from
            and that must be kept with it.
        trim: From the model's JSON and {old id: new id}, the trimmed model's JSON.
    """

    always_kept: Callable[[Definition], Iterable[str]]
    single_character_pieces: Callable[[Definition, str], Iterable[str]]
    derivations: Callable[[dict[str, Any]], Callable[[str], Iterable[str]]]
    trim: Callable[[dict[str, Any], Mapping[int, int]], dict[str, Any]]


def piece_model_for(definition: Definition) -> PieceModel:
    """Look up the kind of a tokenizer's model.

    Raises:
        InputError: tokenizers of this kind cannot be trimmed.
    """
    kind = definition["model"].get("type")
    if kind not in _PIECE_MODELS:
        raise InputError(
            "tokenizers of this kind cannot be trimmed",
            field="tokenizer model",
            value=kind,
            remedy=f"choose a teacher whose tokenizer is one of {sorted(_PIECE_MODELS)}",
        )
    return _PIECE_MODELS[kind]


def is_byte_level(definition: Definition) -> bool:
    """Tell whether a tokenizer writes text as letters for bytes before its model reads it."""
    return any(
        part["type"] == "ByteLevel"
        for component in ("normalizer", "pre_tokenizer")
        for part in simple_parts(definition[component])
    )


def simple_parts(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Give the JSON of a normalizer, pre-tokenizer or post-processor, a Sequence's one part after the other."""
    if component is None:
        return
    if component["type"] != "Sequence":
        yield component
        return
    for name in ("normalizers", "pretokenizers", "processors"):
        for part in component.get(name, ()):
            yield from simple_parts(part)


def _byte_letters(definition: Definition) -> Iterator[str]:
    from tokenizers import pre_tokenizers

    if is_byte_level(definition):
        for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
            yield from _PIECE_MODELS[definition["model"]["type"]].single_character_pieces(definition, letter)


def _nothing(_: dict[str, Any]) -> Callable[[str], Iterable[str]]:
    return lambda piece: ()


def _wordpiece_always_kept(definition: Definition) -> Iterator[str]:
    yield definition["model"]["unk_token"]
    yield from _byte_letters(definition)


def _wordpiece_characters(definition: Definition, character: str) -> Iterable[str]:
    return (character, definition["model"]["continuing_subword_prefix"] + character)


def _trim_wordpiece(model: dict[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    kept = {piece: new_ids[old_id] for piece, old_id in model["vocab"].items() if old_id in new_ids}
    return {**model, "vocab": kept}


def _unigram_always_kept(definition: Definition) -> Iterator[str]:
    model = definition["model"]
    if model["unk_id"] is None:
        raise InputError(
            "this Unigram tokenizer has no unknown piece: trimmed, it would fail on the characters that it dropped",
            field="unk_id",
            value=None,
            remedy="choose a teacher whose tokenizer has one",
        )
    yield model["vocab"][model["unk_id"]][0]
    if model.get("byte_fallback"):
        yield from BYTE_PIECES
    yield from _byte_letters(definition)


def _sentence_characters(definition: Definition, character: str) -> Iterable[str]:
    space = _metaspace(definition)
    return (character, space + character, space)


def _metaspace(definition: Definition) -> str:
    """Find the sign for a space in a pre-tokenizer's JSON; SentencePiece's own where it names none."""
    for part in simple_parts(definition["pre_tokenizer"]):
        if "replacement" in part:
            return str(part["replacement"])
    return _METASPACE


def _trim_unigram(model: dict[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    # An unknown character scores the lowest piece score minus 10. Were the lowest piece dropped, unknown characters
    # would gain and could win against pieces of the teacher's split; the unknown piece keeps that score in the model.
    lowest = min(score for _, score in model["vocab"])
    kept = [
        [piece, lowest if old_id == model["unk_id"] else score]
        for old_id, (piece, score) in enumerate(model["vocab"])
        if old_id in new_ids
    ]
    return {**model, "vocab": kept, "unk_id": new_ids[model["unk_id"]]}


def _bpe_always_kept(definition: Definition) -> Iterator[str]:
    model = definition["model"]
    if model.get("dropout"):
        raise InputError(
            "this BPE tokenizer leaves out merges at random, so that there is no split that trimming could keep",
            field="dropout",
            value=model["dropout"],
            remedy="set the model's dropout to null in its tokenizer.json",
        )
    if model["unk_token"] in model["vocab"]:
        yield model["unk_token"]
    elif not is_byte_level(definition) and not (model["byte_fallback"] and model["vocab"].keys() >= set(BYTE_PIECES)):
        raise InputError(
            "this BPE tokenizer has neither an unknown piece nor pieces for all bytes: trimmed, it would silently lose "
            "the characters that it dropped",
            field="unk_token",
            value=model["unk_token"],
            remedy="choose a teacher whose tokenizer has one or the other",
        )
    if model["byte_fallback"]:
        yield from BYTE_PIECES
    yield from _byte_letters(definition)


def _bpe_characters(definition: Definition, character: str) -> Iterable[str]:
    model = definition["model"]
    prefix, suffix = model["continuing_subword_prefix"] or "", model["end_of_word_suffix"] or ""
    forms = {
        prefix_ + sign + suffix_
        for sign in _sentence_characters(definition, character)
        for prefix_ in ("", prefix)
        for suffix_ in ("", suffix)
    }
    return sorted(forms)


_PIECE_MODELS: Mapping[str, PieceModel] = MappingProxyType(
    {
        "WordPiece": PieceModel(_wordpiece_always_kept, _wordpiece_characters, _nothing, _trim_wordpiece),
        "Unigram": PieceModel(_unigram_always_kept, _sentence_characters, _nothing, _trim_unigram),
        "BPE": PieceModel(_bpe_always_kept, _bpe_characters, derivations, trim_bpe),
    }
)
