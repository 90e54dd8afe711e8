"""What differs between the architectures that a student can be cut from: the names of things, one entry each.

A further architecture is one more entry of `BACKBONES`: everything else reads what it needs from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import InputError

_TOKEN_ID_FIELDS = (
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "cls_token_id",
    "sep_token_id",
    "mask_token_id",
    "unk_token_id",
    "decoder_start_token_id",
)


@dataclass(frozen=True)
class FirstLayer:
    """What the first layer does without, although every other one has it: a LayerNorm in front of a linear module.

    A later layer that becomes the student's first has no place for this norm. Its parameters are left out of the copy,
    and the linear module takes over what the norm did as far as a linear map can, see `absorb_norm`.

    Attributes:
        lacks: Name within a layer of the LayerNorm.
        absorbed_by: Name within a layer of the linear module that reads its output.
        reads: Name in the base model of the LayerNorm over the word embeddings whose output the first layer reads.
    """

    lacks: str
    absorbed_by: str
    reads: str


@dataclass(frozen=True)
class Backbone:
    """Where an architecture keeps what the method touches.

    Parameter names of the base model are written without `base_model_prefix`; names outside it (heads) in full.

    Attributes:
        model_type: The `model_type` of its config.
        base_model_prefix: The attribute under which a model with a head holds the base model.
        layer_prefix: What the names of layer parameters begin with in the base model, up to the layer's number.
        base_vocabulary_parameters: Parameters of the base model with one row for each vocabulary entry.
        head_vocabulary_parameters: The same for the language-modelling head; none of them for other heads.
        layer_norm_modules: Last component of the names of LayerNorm modules, in the base model and in the heads.
        projections: Names within a layer of the linear modules that make queries, keys and values: three, or one that
            makes all of them side by side.
        has_pooler: Whether the base model has a pooler and takes `add_pooling_layer=`.
        positions_start_at_padding: Whether positions are counted from the padding token's id, so that moving this id
            would move every position.
        token_id_fields: Config fields that hold token ids (one id, a list of ids, or nothing).
        dropout_fields: Config fields that hold dropout probabilities; a config need not have all of them.
        layer_fields: Config fields that list a value for each layer, such as its kind of attention.
        layer_rule_fields: Config fields that state the same as a rule. Where layers are dropped the rule does not hold,
            so they are dropped too.
        first_layer: What the first layer does without; None where all layers are alike.
        final_norm: Name of the base model's LayerNorm between its last layer and its output. The last hidden state is
            had behind it and every other one before any norm. None where the output is that of the last layer.
        attentions_under: The attention implementation whose models return attention probabilities, after softmax, for
            `output_attentions=True`; under others they return none without an error.
        has_attention_interface: Whether its attention is one of those that transformers lets others implement; if not,
            attentions can be had under `attentions_under` alone.
    """

    model_type: str
    base_model_prefix: str
    layer_prefix: str
    base_vocabulary_parameters: tuple[str, ...]
    head_vocabulary_parameters: tuple[str, ...]
    layer_norm_modules: tuple[str, ...]
    projections: tuple[str, ...]
    has_pooler: bool = False
    positions_start_at_padding: bool = False
    token_id_fields: tuple[str, ...] = _TOKEN_ID_FIELDS
    dropout_fields: tuple[str, ...] = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
    layer_fields: tuple[str, ...] = ()
    layer_rule_fields: tuple[str, ...] = ()
    first_layer: FirstLayer | None = None
    final_norm: str | None = None
    attentions_under: str = "eager"
    has_attention_interface: bool = True

    def base_name(self, name: str) -> str:
        """Take the base model's prefix, where there is one, off a parameter's name."""
        return name.removeprefix(f"{self.base_model_prefix}.")

    def longest_input(self, config: Any) -> int:
        """How many tokens a model of this configuration reads at most, special tokens included."""
        # Where positions are counted from the padding token's id on, the first of them are never used.
        unused = config.pad_token_id + 1 if self.positions_start_at_padding else 0
        return int(config.max_position_embeddings - unused)

    def model_inputs(self, config: Any) -> tuple[str, ...]:
        """What a model of this configuration reads of what a tokenizer gives."""
        # Where there is one type or none, those of a tokenizer would be an index too large, or read by nothing.
        types = ("token_type_ids",) if getattr(config, "type_vocab_size", 0) > 1 else ()
        return ("input_ids", *types, "attention_mask")

    def layer_of(self, name: str) -> int | None:
        """Tell a parameter's 0-based layer, or None outside the layers; with or without the base model's prefix."""
        base_name = self.base_name(name)
        if not base_name.startswith(self.layer_prefix):
            return None
        return int(base_name[len(self.layer_prefix) :].split(".", 1)[0])

    def in_layer(self, name: str, layer: int) -> str:
        """Rename a layer's parameter to the same parameter of another layer.

        Args:
            name: A name for which `layer_of` is not None.
            layer: The other layer, 0-based.
        """
        base_name = self.base_name(name)
        prefix = name[: len(name) - len(base_name)]
        rest = base_name[len(self.layer_prefix) :].split(".", 1)[1]
        return f"{prefix}{self.layer_prefix}{layer}.{rest}"

    def has_no_place_first(self, name: str) -> bool:
        """Tell whether a layer's parameter belongs to what the first layer does without.

        Args:
            name: A name for which `layer_of` is not None.
        """
        if self.first_layer is None:
            return False
        within = self.base_name(name)[len(self.layer_prefix) :].split(".", 1)[1]
        return within.startswith(f"{self.first_layer.lacks}.")

    def has_vocabulary_rows(self, name: str) -> bool:
        """Tell whether a parameter, with or without the base model's prefix, has one row for each vocabulary entry."""
        return self.base_name(name) in self.base_vocabulary_parameters or name in self.head_vocabulary_parameters

    def is_layer_norm(self, name: str) -> bool:
        """Tell whether a parameter belongs to a LayerNorm (frozen in some task distillations)."""
        module, _, _ = name.rpartition(".")
        return module.rpartition(".")[2] in self.layer_norm_modules


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        backbone.model_type: backbone
        for backbone in (
            Backbone(
                model_type="bert",
                base_model_prefix="bert",
                layer_prefix="encoder.layer.",
                base_vocabulary_parameters=("embeddings.word_embeddings.weight",),
                head_vocabulary_parameters=(
                    "cls.predictions.decoder.weight",
                    "cls.predictions.decoder.bias",
                    "cls.predictions.bias",
                ),
                layer_norm_modules=("LayerNorm",),
                projections=("attention.self.query", "attention.self.key", "attention.self.value"),
                has_pooler=True,
            ),
            Backbone(
                model_type="xlm-roberta",
                base_model_prefix="roberta",
                layer_prefix="encoder.layer.",
                base_vocabulary_parameters=("embeddings.word_embeddings.weight",),
                head_vocabulary_parameters=("lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"),
                layer_norm_modules=("LayerNorm", "layer_norm"),
                projections=("attention.self.query", "attention.self.key", "attention.self.value"),
                has_pooler=True,
                positions_start_at_padding=True,
            ),
            Backbone(
                model_type="distilbert",
                base_model_prefix="distilbert",
                layer_prefix="transformer.layer.",
                base_vocabulary_parameters=("embeddings.word_embeddings.weight",),
                head_vocabulary_parameters=("vocab_projector.weight", "vocab_projector.bias"),
                layer_norm_modules=("LayerNorm", "sa_layer_norm", "output_layer_norm", "vocab_layer_norm"),
                projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
                dropout_fields=("dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout"),
            ),
            # Relative positions (`encoder.rel_embeddings` with their LayerNorm) and, in some, a convolution over the
            # first layer's output belong to the encoder, not to a layer: they stay.
            Backbone(
                model_type="deberta-v2",
                base_model_prefix="deberta",
                layer_prefix="encoder.layer.",
                base_vocabulary_parameters=("embeddings.word_embeddings.weight",),
                head_vocabulary_parameters=(
                    "cls.predictions.decoder.weight",
                    "cls.predictions.decoder.bias",
                    "cls.predictions.bias",
                    "lm_predictions.lm_head.bias",
                ),
                layer_norm_modules=("LayerNorm",),
                projections=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
                dropout_fields=(
                    "hidden_dropout_prob",
                    "attention_probs_dropout_prob",
                    "pooler_dropout",
                    "cls_dropout",
                ),
                has_attention_interface=False,
            ),
            # Each layer is of a local or the global kind, with rotary positions of its own base.
            Backbone(
                model_type="modernbert",
                base_model_prefix="model",
                layer_prefix="layers.",
                base_vocabulary_parameters=("embeddings.tok_embeddings.weight",),
                head_vocabulary_parameters=("decoder.weight", "decoder.bias"),
                layer_norm_modules=("norm", "attn_norm", "mlp_norm", "final_norm"),
                projections=("attn.Wqkv",),
                dropout_fields=("embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout"),
                layer_fields=("layer_types",),
                layer_rule_fields=("global_attn_every_n_layers",),
                first_layer=FirstLayer(lacks="attn_norm", absorbed_by="attn.Wqkv", reads="embeddings.norm"),
                final_norm="final_norm",
            ),
        )
    }
)
"""The supported architectures by `model_type`."""


def backbone_for(config: Any) -> Backbone:
    """Look up the backbone of a model's config.

    Args:
        config: A transformers config.

    Raises:
        InputError: the architecture is not supported.
    """
    model_type = getattr(config, "model_type", None)
    if not isinstance(model_type, str) or model_type not in BACKBONES:
        raise InputError(
            "this architecture is not supported",
            file=getattr(config, "name_or_path", None) or None,
            field="model_type",
            value=model_type,
            remedy=f"choose a teacher of one of {sorted(BACKBONES)}",
        )
    return BACKBONES[model_type]
