"""Cut the student out of the teacher: fewer layers, the pair's vocabulary, everything else copied."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch

from ..errors import InputError
from .backbones import Backbone, backbone_for
from .first_layer import absorb_norm
from .layers import LayerChoice, layer_map_for
from .token_counts import count_tokens, vocabulary_rows
from .vocabulary import checked_token_map, select_tokens, trim_tokenizer


class StudentParts(NamedTuple):
    """The student as it starts, and how it was cut.

    Attributes:
        model: A model of the teacher's class.
        tokenizer: Its tokenizer, a `PreTrainedTokenizerFast`.
        token_map: int64 [V_student], the teacher's id of each student id.
        layer_map: For each student layer the teacher layer it starts as, 0-based.
    """

    model: Any
    tokenizer: Any
    token_map: torch.Tensor
    layer_map: tuple[int, ...]


def build_student(
    teacher: Any,
    tokenizer: Any,
    corpora: Mapping[str, Iterable[str]],
    *,
    layer_reduction_factor: int = 2,
    layer_map: Sequence[int] | None = None,
    layers: int | None = None,
    layer_choice: LayerChoice = "spread",
    min_token_probability: float = 1e-6,
    vocabulary_size: int | None = None,
    vocabulary_multiple_of: int = 1,
    must_keep: Iterable[str] = (),
    progress: bool = False,
) -> StudentParts:
    """Cut a student out of a teacher (Ansell et al. 2023, section 3.1).

    The student is a model of the teacher's class, in the teacher's dtype, device and mode (train or eval), with
    dropout 0. It shares no storage with the teacher, which stays as it is. A layer reduction factor of 1 gives the
    teacher with its vocabulary trimmed: on text whose pieces are all kept its hidden states are the teacher's.

    Args:
        teacher: A transformers model of a supported architecture, with or without a head.
        tokenizer: The teacher's tokenizer (fast; WordPiece, Unigram or BPE).
        corpora: For each language of the pair its text, line by line; read once here, and re-iterable because
            distillation reads it again.
        layer_reduction_factor: Teacher layers for each student layer (LRF).
        layer_map: The teacher layers to keep, 0-based and increasing, whatever the other arguments say of layers.
        layers: How many layers to keep, instead of the number that the factor gives.
        layer_choice: Which ones: "spread", "bottom" or "top", see `layer_map_for`.
        min_token_probability: Relative frequency from which a token is kept, see `select_tokens`.
        vocabulary_size: How many tokens to keep, instead of the threshold.
        vocabulary_multiple_of: Round the number of tokens up to a multiple of this.
        must_keep: Tokens that stay however rare they are.
        progress: Show progress bars on a terminal.

    Raises:
        InputError: the architecture or tokenizer is not supported, a corpus is empty or can be read only once, the
            layers or tokens cannot be chosen so, or the tokenizer has ids that the teacher has no embedding for.
    """
    backbone = backbone_for(teacher.config)  # refuses an architecture that is not supported before any text is read
    kept_layers = layer_map_for(
        teacher.config.num_hidden_layers, layer_reduction_factor, layer_map, choice=layer_choice, kept=layers
    )
    _check_corpora(corpora)
    rows = teacher.get_input_embeddings().num_embeddings
    if vocabulary_rows(tokenizer) > rows:
        raise InputError(
            f"the tokenizer has ids up to {vocabulary_rows(tokenizer) - 1}, the teacher only {rows} embedding rows",
            field="tokenizer",
            remedy="load the tokenizer that belongs to this teacher, or resize the teacher's embeddings",
        )
    counts = {
        language: count_tokens(tokenizer, lines, language=language, progress=progress)
        for language, lines in corpora.items()
    }
    token_map = select_tokens(
        tokenizer,
        counts,
        min_token_probability,
        vocabulary_size=vocabulary_size,
        multiple_of=vocabulary_multiple_of,
        must_keep=must_keep,
    )
    read = backbone.model_inputs(teacher.config)
    names = [name for name in tokenizer.model_input_names if name in read]
    student_tokenizer = trim_tokenizer(tokenizer, token_map, model_input_names=names)
    model = cut_model(teacher, token_map, kept_layers, dropout=0.0)
    return StudentParts(model, student_tokenizer, token_map, kept_layers)


def _check_corpora(corpora: Mapping[str, Iterable[str]]) -> None:
    if not corpora:
        raise InputError("there is no corpus", field="corpora", remedy="give the text of both languages of the pair")
    for language, lines in corpora.items():
        if isinstance(lines, Iterator):
            raise InputError(
                "this corpus can be read only once",
                field=f"corpora[{language!r}]",
                remedy="pass a list, or an object whose __iter__ starts again from the first line",
            )


def trim_vocabulary(model: Any, token_map: torch.Tensor) -> Any:
    """Copy a model with its vocabulary trimmed and all its layers, so that a teacher reads the student's ids.

    Dropout probabilities stay as they are.

    Args:
        model: A transformers model of a supported architecture, with or without a head.
        token_map: int64 [V_student], the model's id of each student id.

    Raises:
        InputError: see `cut_model`.
    """
    return cut_model(model, token_map, None)


def cut_model(
    model: Any,
    token_map: torch.Tensor | None = None,
    layer_map: Sequence[int] | None = None,
    *,
    dropout: float | None = None,
) -> Any:
    """Copy a model with some of its vocabulary and layers.

    The copy is of the same class, dtype, device, attention implementation and mode (train or eval); its parameters
    require gradients. Weights that the model ties are tied in the copy. No storage is shared, no random number drawn.
    Every parameter of the copy is the model's, but where a later layer becomes the first of an architecture whose first
    layer lacks a norm: the layer's next linear module absorbs that norm, see `absorb_norm`.

    Args:
        model: A transformers model of a supported architecture, with or without a head.
        token_map: int64 [V_student], the model's id of each of the copy's ids; all of them if None.
        layer_map: For each layer of the copy the model's layer, 0-based; all of them if None.
        dropout: Every dropout probability of the copy; as they are if None.

    Raises:
        InputError: the architecture is not supported, a map reaches beyond the model, a special id of the config is
            not kept, tied weights differ, the copy would have missing, unexpected or misshapen parameters, or its first
            layer cannot absorb a norm.
    """
    from transformers.initialization import no_init_weights

    backbone = backbone_for(model.config)
    whole = model.state_dict()
    if layer_map is not None:
        layer_map = layer_map_for(model.config.num_hidden_layers, layer_map=layer_map)
        whole.update(absorb_norm(model, backbone, layer_map[0], token_map))
    state = cut_state_dict(whole, backbone, token_map, layer_map)
    config = cut_config(model.config, token_map, layer_map, dropout=dropout)
    options = (
        {"add_pooling_layer": model.pooler is not None} if backbone.has_pooler and model.base_model is model else {}
    )
    with no_init_weights():  # every value comes from the state dict, which is loaded strictly
        copied = type(model)(config, **options)
    _check_state(copied, state)
    copied.load_state_dict(state, strict=True, assign=True)  # assigned, so that each tensor keeps its dtype and device
    copied.tie_weights()
    return copied.to(model.device).train(model.training)  # the device of what is not in a state dict: position ids


def draw_model(auto_class: Any, config: Any, seed: int) -> Any:
    """Make a model with the weights that its class starts from, in float32 and in evaluation mode.

    Args:
        auto_class: One of transformers' Auto classes.
        config: The model's configuration.
        seed: Determines the weights; no other random number is drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return auto_class.from_config(copy.deepcopy(config), dtype=torch.float32).eval()


def _check_state(model: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Refuse a state dict that does not fit a model key by key, or holds different values for tied parameters."""
    expected = model.state_dict()
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "misshapen": sorted(
            name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape
        ),
        "tied to another but different from it": sorted(
            target
            for target, source in model.all_tied_weights_keys.items()
            if target in state and source in state and not torch.equal(state[target], state[source])
        ),
    }
    for problem, names in problems.items():
        if names:
            raise InputError(
                f"the copy would have parameters that are {problem}",
                field="model",
                value=names,
                remedy=f"use an unmodified {type(model).__name__} whose config describes its weights",
            )


def cut_state_dict(
    state_dict: Mapping[str, torch.Tensor],
    backbone: Backbone,
    token_map: torch.Tensor | None = None,
    layer_map: Sequence[int] | None = None,
) -> dict[str, torch.Tensor]:
    """Cut vocabulary and layers out of a state dict, of a base model or of one with a head.

    Args:
        state_dict: Parameters by name, with or without the base model's prefix.
        backbone: The architecture.
        token_map: int64 [V_student], the old id of each new id; all of them if None.
        layer_map: For each new layer the old one, 0-based; all of them if None.

    Returns:
        Copies on the same devices: vocabulary parameters of V_student rows, the chosen layers renumbered from 0, and
        everything else as it was. Where another layer becomes the first, what the architecture's first layer does
        without (`Backbone.first_layer`) is left out.

    Raises:
        InputError: a map is not increasing or reaches beyond the state dict.
    """
    new_layers: Mapping[int, int] | None = None
    if layer_map is not None:
        found = {layer for name in state_dict if (layer := backbone.layer_of(name)) is not None}
        chosen = layer_map_for(max(found, default=-1) + 1, layer_map=layer_map)
        new_layers = {old: new for new, old in enumerate(chosen)}
    cut: dict[str, torch.Tensor] = {}
    for name, tensor in state_dict.items():
        new_name = name
        layer = backbone.layer_of(name)
        if new_layers is not None and layer is not None:
            if layer not in new_layers:
                continue
            new_name = backbone.in_layer(name, new_layers[layer])
            if layer > 0 and new_layers[layer] == 0 and backbone.has_no_place_first(name):
                continue
        if token_map is not None and backbone.has_vocabulary_rows(name):
            rows = checked_token_map(token_map, tensor.shape[0]).to(tensor.device)
            cut[new_name] = tensor.detach().index_select(0, rows)
        else:
            cut[new_name] = tensor.detach().clone()
    return cut


def cut_config(
    config: Any,
    token_map: torch.Tensor | None = None,
    layer_map: Sequence[int] | None = None,
    *,
    dropout: float | None = None,
) -> Any:
    """Copy a config for a model that is cut so: sizes, kinds of layers, special token ids, dropout.

    Args:
        config: A transformers config of a supported architecture.
        token_map: int64 [V_student], the old id of each new id; all of them if None.
        layer_map: For each new layer the old one, 0-based; all of them if None.
        dropout: Every dropout probability; as they are if None.

    Raises:
        InputError: the architecture is not supported, a special id of the config is not among the kept ones, or the
            padding id would move where positions are counted from it.
    """
    backbone = backbone_for(config)
    cut = copy.deepcopy(config)
    if layer_map is not None:
        cut.num_hidden_layers = len(layer_map)
        for field in backbone.layer_fields:
            setattr(cut, field, [getattr(config, field)[layer] for layer in layer_map])
        for field in backbone.layer_rule_fields:
            cut.__dict__.pop(field, None)
    if token_map is not None:
        new_ids = {old: new for new, old in enumerate(token_map.tolist())}
        cut.vocab_size = len(new_ids)
        for field in backbone.token_id_fields:
            old = getattr(config, field, None)
            if isinstance(old, list):
                setattr(cut, field, [_new_id(field, each, new_ids) for each in old])
            elif old is not None:
                setattr(cut, field, _new_id(field, old, new_ids))
        if backbone.positions_start_at_padding and cut.pad_token_id != config.pad_token_id:
            raise InputError(
                f"the padding token would get id {cut.pad_token_id}, but {backbone.model_type} counts its positions "
                "from this id, so every position would move",
                field="pad_token_id",
                value=config.pad_token_id,
                remedy="choose a teacher whose special tokens have the first ids",
            )
    if dropout is not None:
        for field in backbone.dropout_fields:
            if hasattr(cut, field):
                setattr(cut, field, dropout)
    return cut


def config_of_size(
    config: Any, rows: int, layer_map: Sequence[int] | None = None, *, dropout: float | None = None
) -> Any:
    """Copy a config for a model of which it is known how many tokens it is going to keep, but not which.

    Args:
        config: A transformers config of a supported architecture.
        rows: How many tokens are kept, the special ones of the config among them.
        layer_map: For each new layer the old one, 0-based; all of them if None.
        dropout: Every dropout probability; as they are if None.

    Returns:
        The config with special token ids that lie within its vocabulary; the trimmed model's need not be these.

    Raises:
        InputError: see `cut_config`.
    """
    named = [getattr(config, field, None) for field in backbone_for(config).token_id_fields]
    listed = [one for ids in named for one in (ids if isinstance(ids, list) else [ids])]
    special = {one for one in listed if one is not None and 0 <= one < config.vocab_size}
    others = (one for one in range(config.vocab_size) if one not in special)
    token_map = sorted([*special, *islice(others, max(0, rows - len(special)))])
    return cut_config(config, torch.tensor(token_map), layer_map, dropout=dropout)


def _new_id(field: str, old: int, new_ids: Mapping[int, int]) -> int:
    if old < 0:  # some configs say "none" by a negative id
        return old
    if old not in new_ids:
        raise InputError(
            "the config names a special token that is not kept",
            field=field,
            value=old,
            remedy="make the teacher's config and tokenizer agree on the special tokens",
        )
    return new_ids[old]
