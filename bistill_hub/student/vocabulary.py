"""Which of the teacher's tokens the student keeps, and the student's tokenizer.

A tokenizer is trimmed by editing its JSON. The promise, for text whose teacher pieces are all kept and none of them
unknown: the student splits it into exactly the same pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .token_counts import TokenCounts, backend_of, vocabulary_rows

_SETTINGS = (
    "model_max_length",
    "model_input_names",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "chat_template",
    # Said already in the JSON, and said again for those who load through the backbone's own tokenizer class, which
    # rebuilds its pipeline from these and would lower-case a cased model if they were missing.
    "add_prefix_space",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
)


@dataclass(frozen=True)
class _PieceModel:
    """What differs between the kinds of tokenizer models.

    Attributes:
        always_kept: From the model's JSON, the pieces that it cannot do without.
        single_character_pieces: From the tokenizer's JSON and a character, the pieces that stand for this character.
        trim: From the model's JSON and {old id: new id}, the trimmed model's JSON.
    """

    always_kept: Callable[[dict[str, Any]], Iterable[str]]
    single_character_pieces: Callable[[dict[str, Any], str], Iterable[str]]
    trim: Callable[[dict[str, Any], Mapping[int, int]], dict[str, Any]]


def _wordpiece_always_kept(model: dict[str, Any]) -> Iterable[str]:
    return (model["unk_token"],)


def _wordpiece_characters(definition: dict[str, Any], character: str) -> Iterable[str]:
    return (character, definition["model"]["continuing_subword_prefix"] + character)


def _trim_wordpiece(model: dict[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    kept = {piece: new_ids[old_id] for piece, old_id in model["vocab"].items() if old_id in new_ids}
    return {**model, "vocab": kept}


def _unigram_always_kept(model: dict[str, Any]) -> Iterable[str]:
    if model["unk_id"] is None:
        raise InputError(
            "this Unigram tokenizer has no unknown piece: trimmed, it would fail on the characters that it dropped",
            field="unk_id",
            value=None,
            remedy="choose a teacher whose tokenizer has one",
        )
    yield model["vocab"][model["unk_id"]][0]
    if model.get("byte_fallback"):
        yield from (f"<0x{byte:02X}>" for byte in range(256))


def _unigram_characters(definition: dict[str, Any], character: str) -> Iterable[str]:
    space = _metaspace(definition.get("pre_tokenizer"))
    return (character, space + character, space)


def _metaspace(pre_tokenizer: dict[str, Any] | None) -> str:
    """Find the sign for a space in a pre-tokenizer's JSON; SentencePiece's own where it names none."""
    for part in (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer or {}]):
        if "replacement" in part:
            return str(part["replacement"])
    return "▁"


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


_PIECE_MODELS: Mapping[str, _PieceModel] = MappingProxyType(
    {
        "WordPiece": _PieceModel(_wordpiece_always_kept, _wordpiece_characters, _trim_wordpiece),
        "Unigram": _PieceModel(_unigram_always_kept, _unigram_characters, _trim_unigram),
    }
)


def _definition(tokenizer: Any) -> tuple[dict[str, Any], _PieceModel]:
    definition = json.loads(backend_of(tokenizer).to_str())
    kind = definition["model"].get("type")
    if kind not in _PIECE_MODELS:
        raise InputError(
            "tokenizers of this kind cannot be trimmed",
            field="tokenizer model",
            value=kind,
            remedy=f"choose a teacher whose tokenizer is one of {sorted(_PIECE_MODELS)}",
        )
    return definition, _PIECE_MODELS[kind]


def _simple_post_processors(post_processor: dict[str, Any] | None) -> list[dict[str, Any]]:
    if post_processor is None:
        return []
    if post_processor["type"] == "Sequence":
        return [simple for part in post_processor["processors"] for simple in _simple_post_processors(part)]
    return [post_processor]


def _map_post_processor(post_processor: dict[str, Any] | None, new_id: Callable[[int, str], int]) -> None:
    """Put new ids into a post-processor's JSON, in place."""
    for part in _simple_post_processors(post_processor):
        if part["type"] == "TemplateProcessing":
            for special in part["special_tokens"].values():
                special["ids"] = [new_id(old, special["id"]) for old in special["ids"]]
        elif part["type"] in ("BertProcessing", "RobertaProcessing"):
            for role in ("cls", "sep"):
                token, old = part[role]
                part[role] = [token, new_id(old, token)]
        elif part["type"] != "ByteLevel":  # which holds no ids
            raise InputError(
                "a tokenizer with this post-processor cannot be trimmed",
                field="post_processor",
                value=part["type"],
                remedy="choose one of TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence",
            )


def _indispensable_ids(tokenizer: Any, definition: dict[str, Any], pieces: _PieceModel) -> set[int]:
    """Collect the ids of all special and added tokens, of the unknown piece, and of what the post-processor inserts."""
    ids = {token["id"] for token in definition["added_tokens"]}
    ids.update(identifier for identifier in tokenizer.all_special_ids if identifier is not None)

    def note(identifier: int, _: str) -> int:
        ids.add(identifier)
        return identifier

    _map_post_processor(definition["post_processor"], note)
    if definition["padding"] is not None:
        ids.add(definition["padding"]["pad_id"])
    vocabulary = backend_of(tokenizer).get_vocab(with_added_tokens=True)
    ids.update(vocabulary[piece] for piece in pieces.always_kept(definition["model"]) if piece in vocabulary)
    return ids


def select_tokens(
    tokenizer: Any, counts: Mapping[str, TokenCounts], min_token_probability: float = 1e-6
) -> torch.Tensor:
    """Choose the teacher's tokens that the student keeps (Ansell et al. 2023, section 3.1).

    A token stays when its relative frequency reaches `min_token_probability` in either corpus. All special and added
    tokens stay, and beyond the paper every single-character piece (word-initial and continuing) whose character was
    seen in either corpus, so that no text of the pair becomes unknown where the teacher knew it.

    Args:
        tokenizer: The teacher's tokenizer (fast; WordPiece or Unigram).
        counts: For each language what `count_tokens` found with this tokenizer.
        min_token_probability: The threshold, from 0 (keep everything) to 1.

    Returns:
        int64 [V_student], the teacher's id of each student id, strictly increasing.

    Raises:
        InputError: the threshold is not a probability, there are no counts or they are another tokenizer's, or the
            tokenizer is slow or of a kind that cannot be trimmed.
    """
    if not 0 <= min_token_probability <= 1:
        raise InputError(
            "not a probability",
            field="min_token_probability",
            value=min_token_probability,
            remedy="choose a number from 0 to 1, such as 1e-6",
        )
    if not counts:
        raise InputError("there are no token counts", field="counts", remedy="count the tokens of at least one corpus")
    definition, pieces = _definition(tokenizer)
    vocabulary = backend_of(tokenizer).get_vocab(with_added_tokens=True)
    rows = vocabulary_rows(tokenizer)
    kept = np.zeros(rows, dtype=bool)
    for language, counted in counts.items():
        if counted.counts.size != rows:
            raise InputError(
                f"these are counts of {counted.counts.size} tokens, the tokenizer has {rows}",
                field=f"counts[{language!r}]",
                remedy="count with the tokenizer that is trimmed",
            )
        kept |= counted.counts / max(counted.total, 1) >= min_token_probability
    exists = np.zeros(rows, dtype=bool)
    exists[list(vocabulary.values())] = True
    kept &= exists
    kept[list(_indispensable_ids(tokenizer, definition, pieces))] = True
    for character in frozenset[str]().union(*(counted.characters for counted in counts.values())):
        for piece in pieces.single_character_pieces(definition, character):
            if piece in vocabulary:
                kept[vocabulary[piece]] = True
    return torch.from_numpy(np.flatnonzero(kept).astype(np.int64))


def checked_token_map(token_map: torch.Tensor, rows: int) -> torch.Tensor:
    """Refuse a token map that is not a strictly increasing choice out of `rows` ids.

    Args:
        token_map: int64 [V_student], the teacher's id of each student id.
        rows: How many ids there are to choose from.

    Returns:
        The map itself, on the CPU.

    Raises:
        InputError: it is empty, not of integers, not in increasing order, or reaches beyond `rows`.
    """
    token_map = token_map.detach().cpu()
    if token_map.ndim != 1 or token_map.numel() == 0 or token_map.dtype != torch.int64:
        problem = "not a non-empty list of int64 ids"
    elif bool((token_map[1:] <= token_map[:-1]).any()):
        problem = "the ids are not in strictly increasing order"
    elif int(token_map[0]) < 0 or int(token_map[-1]) >= rows:
        problem = f"the ids run from {int(token_map[0])} to {int(token_map[-1])}, but there are {rows} entries"
    else:
        return token_map
    raise InputError(problem, field="token_map", remedy="use what select_tokens gives for this teacher's tokenizer")


def trim_tokenizer(tokenizer: Any, token_map: torch.Tensor) -> Any:
    """Make the student's tokenizer: the teacher's with the chosen tokens alone, renumbered in the old order.

    The result is a `PreTrainedTokenizerFast` (in transformers 5 an alias of `TokenizersBackend`), which, unlike the
    classes named after architectures, keeps the JSON as it is when loaded through `AutoTokenizer`. The teacher's
    special token roles, model inputs, lengths and sides are kept. Unigram scores are the teacher's to the last bit;
    saving and loading may move those of more than 15 digits by a unit in the last place, as with any such tokenizer.

    Args:
        tokenizer: The teacher's tokenizer (fast; WordPiece or Unigram).
        token_map: int64 [V_student], the teacher's id of each student id, as `select_tokens` gives it.

    Returns:
        A tokenizer of `len(token_map)` entries with ids from 0 on.

    Raises:
        InputError: the map leaves out an added or special token or names ids that do not exist, or the tokenizer is
            slow or of a kind that cannot be trimmed.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    definition, pieces = _definition(tokenizer)
    token_map = checked_token_map(token_map, vocabulary_rows(tokenizer))
    new_ids = {old: new for new, old in enumerate(token_map.tolist())}
    missing = sorted(_indispensable_ids(tokenizer, definition, pieces) - new_ids.keys())
    if missing:
        raise InputError(
            "the map leaves out tokens that the tokenizer cannot do without",
            field="token_map",
            value=[backend_of(tokenizer).id_to_token(old) for old in missing],
            remedy="use what select_tokens gives for this teacher's tokenizer",
        )
    definition["model"] = pieces.trim(definition["model"], new_ids)
    definition["added_tokens"] = [{**token, "id": new_ids[token["id"]]} for token in definition["added_tokens"]]
    _map_post_processor(definition["post_processor"], lambda old, _: new_ids[old])
    if definition["padding"] is not None:
        definition["padding"]["pad_id"] = new_ids[definition["padding"]["pad_id"]]
    trimmed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition, ensure_ascii=False)), **_settings(tokenizer)
    )
    if definition["model"]["type"] == "Unigram":
        _set_exact_scores(trimmed, definition["model"])
    _check_renumbering(tokenizer, trimmed, new_ids)
    return trimmed


def _set_exact_scores(tokenizer: Any, model: dict[str, Any]) -> None:
    """Give a Unigram tokenizer its scores to the last bit.

    The library reads numbers of more than 15 digits from JSON up to a unit in the last place off, and copies a
    tokenizer through JSON. Between splits of equal score ("..", "..." and "...", "..") that bit decides.
    """
    from tokenizers import models

    tokenizer.backend_tokenizer.model = models.Unigram(
        [(piece, score) for piece, score in model["vocab"]], model["unk_id"], model.get("byte_fallback", False)
    )


def _settings(tokenizer: Any) -> dict[str, Any]:
    """Collect the teacher tokenizer's settings outside its JSON, as keyword arguments of a new one."""
    settings = {name: getattr(tokenizer, name, tokenizer.init_kwargs.get(name)) for name in _SETTINGS}
    roles = {name: getattr(tokenizer, name) for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES}
    own_roles = set(roles) - set(type(tokenizer).SPECIAL_TOKENS_ATTRIBUTES)
    settings["model_specific_special_tokens"] = {name: roles.pop(name) for name in own_roles} or None
    settings["extra_special_tokens"] = list(tokenizer.extra_special_tokens) or None
    return {name: value for name, value in {**settings, **roles}.items() if value is not None}


def _check_renumbering(teacher: Any, trimmed: Any, new_ids: Mapping[int, int]) -> None:
    """Make sure that the library numbered the trimmed tokens as the map says (it assigns added tokens' ids itself)."""
    vocabulary = backend_of(teacher).get_vocab(with_added_tokens=True)
    expected = {piece: new_ids[old] for piece, old in vocabulary.items() if old in new_ids}
    found = trimmed.get_vocab()
    if found != expected or len(found) != len(new_ids):
        wrong = sorted(piece for piece in expected.keys() | found.keys() if expected.get(piece) != found.get(piece))
        raise InputError(
            f"{len(new_ids)} ids were chosen, but the trimmed tokenizer has {len(found)} tokens, {len(wrong)} of them "
            "not where the map puts them",
            field="token_map",
            value=wrong[:5],
            remedy="use what select_tokens gives, and a teacher's tokenizer whose added tokens come after its pieces",
        )
