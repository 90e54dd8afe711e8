"""Which of the teacher's tokens the student keeps, and the student's tokenizer.

A tokenizer is trimmed by editing its JSON. The promise, for text whose teacher pieces are all kept and none of them
unknown: the student splits it into exactly the same pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .must_keep import must_keep_ids
from .piece_models import Definition, PieceModel, simple_parts
from .selection import Selection, definition_of
from .token_counts import TokenCounts, vocabulary_rows

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
    "split_by_punct",
)


def _map_post_processor(post_processor: dict[str, Any] | None, new_id: Callable[[int, str], int]) -> None:
    """Put new ids into a post-processor's JSON, in place."""
    for part in simple_parts(post_processor):
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


def _indispensable_ids(
    tokenizer: Any, definition: Definition, pieces: PieceModel, vocabulary: Mapping[str, int]
) -> set[int]:
    """Collect the ids of all special and added tokens, of the unknown piece, and of what the post-processor inserts."""
    ids = {token["id"] for token in definition["added_tokens"]}
    ids.update(identifier for identifier in tokenizer.all_special_ids if identifier is not None)

    def note(identifier: int, _: str) -> int:
        ids.add(identifier)
        return identifier

    _map_post_processor(definition["post_processor"], note)
    if definition["padding"] is not None:
        ids.add(definition["padding"]["pad_id"])
    ids.update(vocabulary[piece] for piece in pieces.always_kept(definition) if piece in vocabulary)
    return ids


def select_tokens(
    tokenizer: Any,
    counts: Mapping[str, TokenCounts],
    min_token_probability: float = 1e-6,
    *,
    vocabulary_size: int | None = None,
    multiple_of: int = 1,
    must_keep: Iterable[str] = (),
) -> torch.Tensor:
    """Choose the teacher's tokens that the student keeps (Ansell et al. 2023, section 3.1).

    A token stays when its relative frequency reaches `min_token_probability` in either corpus. All special and added
    tokens stay, and beyond the paper every single-character piece (word-initial and continuing) whose character was
    seen in either corpus, so that no text of the pair becomes unknown where the teacher knew it; of BPE also all bytes,
    and what the kept pieces are built from.

    Args:
        tokenizer: The teacher's tokenizer (fast; WordPiece, Unigram or BPE).
        counts: For each language what `count_tokens` found with this tokenizer.
        min_token_probability: The threshold, from 0 (keep everything) to 1. Not read where there is a
            `vocabulary_size`.
        vocabulary_size: How many tokens to keep, all that must stay among them, instead of the threshold: the most
            frequent by the higher of their relative frequencies, at equal frequency those with the lower id.
        multiple_of: Round the number of kept tokens up to a multiple of this, with the next most frequent ones.
        must_keep: Tokens that stay however rare they are: pieces as the vocabulary spells them, or texts, whose
            pieces stay; see `must_keep_ids`.

    Returns:
        int64 [V_student], the teacher's id of each student id, strictly increasing.

    Raises:
        InputError: the threshold is not a probability, the size is too small for what must stay or larger than the
            teacher's vocabulary, a token to keep is unknown to the teacher, there are no counts or they are another
            tokenizer's, or the tokenizer is slow or of a kind that cannot be trimmed.
    """
    if not 0 <= min_token_probability <= 1:
        raise InputError(
            "not a probability",
            field="min_token_probability",
            value=min_token_probability,
            remedy="choose a number from 0 to 1, such as 1e-6",
        )
    for field, number in (("vocabulary_size", vocabulary_size), ("multiple_of", multiple_of)):
        if number is not None and number < 1:
            raise InputError("not a positive number", field=field, value=number, remedy="choose a whole number from 1")
    frequencies = _highest_frequencies(tokenizer, counts)
    definition, pieces = definition_of(tokenizer)
    selection = Selection(tokenizer, definition)
    selection.keep(_indispensable_ids(tokenizer, definition, pieces, selection.ids))
    if must_keep != ():
        selection.keep(must_keep_ids(tokenizer, must_keep))
    for character in frozenset[str]().union(*(counted.characters for counted in counts.values())):
        of_character = pieces.single_character_pieces(definition, character)
        selection.keep(selection.ids[piece] for piece in of_character if piece in selection.ids)
    if vocabulary_size is None:
        selection.keep(np.flatnonzero(frequencies >= min_token_probability).tolist())
    size = -(-(vocabulary_size or len(selection.kept)) // multiple_of) * multiple_of
    if len(selection.kept) > size:
        raise InputError(
            f"{len(selection.kept)} tokens must stay: special tokens, single characters of the text, tokens named in "
            "must_keep, and what these are built from",
            field="vocabulary_size",
            value=vocabulary_size,
            remedy=f"choose at least {len(selection.kept)}",
        )
    if size > len(selection.pieces):
        raise InputError(
            f"{size} tokens are wanted, and the teacher has {len(selection.pieces)}",
            field="multiple_of" if vocabulary_size is None else "vocabulary_size",
            value=multiple_of if vocabulary_size is None else vocabulary_size,
            remedy=f"choose a smaller one, so that no more than {len(selection.pieces)} are wanted",
        )
    selection.fill(np.lexsort((np.arange(frequencies.size), -frequencies)).tolist(), size)
    return torch.tensor(sorted(selection.kept), dtype=torch.int64)


def _highest_frequencies(tokenizer: Any, counts: Mapping[str, TokenCounts]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Give for each token id the highest of its relative frequencies in the corpora, [V]."""
    if not counts:
        raise InputError("there are no token counts", field="counts", remedy="count the tokens of at least one corpus")
    rows = vocabulary_rows(tokenizer)
    highest = np.zeros(rows)
    for language, counted in counts.items():
        if counted.counts.size != rows:
            raise InputError(
                f"these are counts of {counted.counts.size} tokens, the tokenizer has {rows}",
                field=f"counts[{language!r}]",
                remedy="count with the tokenizer that is trimmed",
            )
        highest = np.maximum(highest, counted.counts / max(counted.total, 1))
    return highest


def close_under_derivation(tokenizer: Any, token_map: torch.Tensor) -> torch.Tensor:
    """Add to a choice of tokens the pieces that its pieces are built from (BPE; others need none).

    Args:
        tokenizer: The teacher's tokenizer (fast; WordPiece, Unigram or BPE).
        token_map: int64 [V_student], the teacher's id of each student id, strictly increasing.

    Returns:
        int64 [V_closed], strictly increasing.

    Raises:
        InputError: the map is no increasing choice of the tokenizer's ids.
    """
    definition, _ = definition_of(tokenizer)
    selection = Selection(tokenizer, definition)
    selection.keep(checked_token_map(token_map, vocabulary_rows(tokenizer)).tolist())
    return torch.tensor(sorted(selection.kept), dtype=torch.int64)


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


def trim_tokenizer(tokenizer: Any, token_map: torch.Tensor, *, model_input_names: Sequence[str] | None = None) -> Any:
    """Make the student's tokenizer: the teacher's with the chosen tokens alone, renumbered in the old order.

    The result is a `PreTrainedTokenizerFast` (in transformers 5 an alias of `TokenizersBackend`), which, unlike the
    classes named after architectures, keeps the JSON as it is when loaded through `AutoTokenizer`. The teacher's
    special token roles, model inputs, lengths and sides are kept. Unigram scores are the teacher's to the last bit;
    saving and loading may move those of more than 15 digits by a unit in the last place, as with any such tokenizer.

    Args:
        tokenizer: The teacher's tokenizer (fast; WordPiece, Unigram or BPE).
        token_map: int64 [V_student], the teacher's id of each student id, as `select_tokens` gives it.
        model_input_names: What the student's model reads, where the teacher's tokenizer says otherwise (DistilBERT
            reads no token_type_ids, which the tokenizer class that transformers gives it writes).

    Returns:
        A tokenizer of `len(token_map)` entries with ids from 0 on.

    Raises:
        InputError: the map leaves out an added or special token or what a kept piece is built from, or names ids that
            do not exist, or the tokenizer is slow or of a kind that cannot be trimmed.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    definition, pieces = definition_of(tokenizer)
    selection = Selection(tokenizer, definition)
    token_map = checked_token_map(token_map, max(selection.pieces) + 1)
    new_ids = {old: new for new, old in enumerate(token_map.tolist())}
    missing = sorted(_indispensable_ids(tokenizer, definition, pieces, selection.ids) - new_ids.keys())
    if missing:
        raise InputError(
            "the map leaves out tokens that the tokenizer cannot do without",
            field="token_map",
            value=[selection.pieces.get(old) for old in missing],
            remedy="use what select_tokens gives for this teacher's tokenizer",
        )
    _check_closed(selection, new_ids)
    definition["model"] = pieces.trim(definition["model"], new_ids)
    definition["added_tokens"] = [{**token, "id": new_ids[token["id"]]} for token in definition["added_tokens"]]
    _map_post_processor(definition["post_processor"], lambda old, _: new_ids[old])
    if definition["padding"] is not None:
        definition["padding"]["pad_id"] = new_ids[definition["padding"]["pad_id"]]
    settings = {**_settings(tokenizer), **_said_again(definition)}
    if model_input_names is not None:
        settings["model_input_names"] = list(model_input_names)
    if definition["model"]["type"] == "Unigram":
        # DeBERTa's own class looks for an unknown piece of score 0, and where there is none takes this id.
        settings["unk_id"] = definition["model"]["unk_id"]
    trimmed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition, ensure_ascii=False)), **settings
    )
    if definition["model"]["type"] == "Unigram":
        _set_exact_scores(trimmed, definition["model"])
    _check_renumbering(selection.ids, trimmed, new_ids)
    return trimmed


def _check_closed(selection: Selection, new_ids: Mapping[int, int]) -> None:
    for identifier in new_ids:
        parts = selection.parts(identifier) if identifier in selection.pieces else ()
        missing = sorted(part for part in parts if part not in new_ids)
        if missing:
            raise InputError(
                f"the map keeps {selection.pieces[identifier]!r} without pieces that it is built from",
                field="token_map",
                value=[selection.pieces[part] for part in missing],
                remedy="use what select_tokens or close_under_derivation gives for this teacher's tokenizer",
            )


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


def _said_again(definition: Definition) -> dict[str, Any]:
    """What BERT's own class would build its normalizer from, as the tokenizer's JSON has it."""
    normalizer = definition["normalizer"]
    if normalizer is None or normalizer["type"] != "BertNormalizer":
        return {}
    return {
        "do_lower_case": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
    }


def _check_renumbering(vocabulary: Mapping[str, int], trimmed: Any, new_ids: Mapping[int, int]) -> None:
    """Make sure that the library numbered the trimmed tokens as the map says (it assigns added tokens' ids itself)."""
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
