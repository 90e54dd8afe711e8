"""Phase 0 of a run: the student is cut out of its teacher, vocabulary and layers, or drawn at random in that shape.

Like every stage it takes a folder to fill and leaves ordinary files there, and returns the facts for its record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForMaskedLM

from ..recipe import Recipe
from ..sentence_encoders import carry_modules, prompts_of
from ..student.backbones import backbone_for
from ..student.build import cut_config, cut_model, draw_model
from ..student.token_counts import TokenCounts
from ..student.tokenizer_loading import check_ways_of_loading
from ..student.vocabulary import select_tokens, trim_tokenizer
from ..student.vocabulary_report import vocabulary_report
from ..teacher import (
    load_language_model,
    load_reported_encoder,
    load_tokenizer,
)
from .counted_text import ReadText, read_text
from .preflight import check_head
from .tokenizer_classes import named_and_rebuilding, student_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
from .stage_files import STUDENT_FILE, TOKEN_MAP_FILE, prefixed, size_of, write_student

COMPARED_LINES = 20
"""Held-out lines of each language that the ways of loading the tokenizer are compared on."""


def cut_student(recipe: Recipe, folder: Path, *, progress: bool, read: ReadText = read_text) -> dict[str, Any]:
    """Phase 0: count tokens, trim vocabulary and tokenizer, keep every n-th layer, or draw weights of that shape.

    Leaves a native checkpoint (encoder with pooler, and the language-modelling head where it is kept), tokenizer,
    `token_map.safetensors` and `student.json`.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        progress: Show progress bars.
        read: Reads a language's text, or takes what another recipe's run has counted in it.
    """
    teacher, untrained = load_reported_encoder(recipe.teacher.model, recipe.teacher.revision)
    tokenizer = load_tokenizer(recipe.teacher.model, recipe.teacher.revision)
    layers = recipe.student.layer_map_for(teacher.config.num_hidden_layers)
    language_model, random = None, recipe.student.initialisation == "random"
    if recipe.student.keep_language_modelling_head and not random:
        language_model = load_language_model(recipe.teacher.model, recipe.teacher.revision)
    check_head(recipe, random or language_model is not None)
    texts = {language.code: read(tokenizer, language, progress=progress) for language in recipe.text_languages}
    counts = {code: text.counts for code, text in texts.items()}
    token_map = _kept_tokens(recipe, tokenizer, counts)
    inputs = student_inputs(tokenizer, teacher.config)
    student_tokenizer = trim_tokenizer(tokenizer, token_map, model_input_names=inputs)
    held_out = {code: text.held_out for code, text in texts.items()}
    report = vocabulary_report(tokenizer, student_tokenizer, token_map, counts, held_out)
    config = cut_config(teacher.config, token_map, layers, dropout=0.0)
    head: Any = None
    if random:
        model = draw_model(AutoModel, config, recipe.seed)
        if recipe.student.keep_language_modelling_head:
            head = draw_model(AutoModelForMaskedLM, config, recipe.seed)
    else:
        model = cut_model(teacher, token_map, layers, dropout=0.0)
        if language_model is not None:
            head = cut_model(language_model, token_map, layers, dropout=0.0)
    state = prefixed(model)
    if head is not None:
        tied = set(head.all_tied_weights_keys)
        state |= {name: t for name, t in head.state_dict().items() if name not in state and name not in tied}
    config.architectures = [type(model if head is None else head).__name__]
    if not backbone_for(config).positions_start_at_padding:
        # Some encoders have another tokenizer's padding in their config: a row of the embeddings that is never trained.
        config.pad_token_id = student_tokenizer.pad_token_id
    write_student(folder, state, config, student_tokenizer)
    sample = [line for lines in held_out.values() for line in lines[:COMPARED_LINES]]
    # Ways that are none for the teacher either, as the recipe says; any other is refused below where it is wrong.
    rebuilt_by = named_and_rebuilding(recipe, tokenizer, student_tokenizer, config.model_type, sample)
    check_ways_of_loading(folder, sample, own_class=type(tokenizer).__name__, without=rebuilt_by)
    carry_modules(recipe.teacher.model, folder, revision=recipe.teacher.revision)
    save_file({"token_map": token_map}, folder / TOKEN_MAP_FILE)
    facts = {
        "layer_map": list(layers),
        "vocabulary": {**report.to_dict(), "chosen_by": recipe.student.vocabulary_rule, "not_by": list(rebuilt_by)},
        "corpora": {
            language.code: {
                "name": language.text.name,
                "lines": counts[language.code].lines + len(held_out[language.code]),
                "tokens": counts[language.code].total,
            }
            for language in recipe.text_languages
        },
        "teacher": size_of(teacher),
        "student": size_of(model),
        "language_modelling_head": head is not None,
        "untrained_parameters": list(untrained),
    }
    (folder / STUDENT_FILE).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return facts


def _kept_tokens(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, counts: Mapping[str, TokenCounts]) -> torch.Tensor:
    """Choose the student's tokens as the recipe says; the whole vocabulary is every id that has a token."""
    settings = recipe.student
    if settings.vocabulary == "whole":
        return select_tokens(tokenizer, counts, min_token_probability=0.0)
    return select_tokens(
        tokenizer,
        counts,
        settings.min_token_probability,
        vocabulary_size=settings.vocabulary_size,
        multiple_of=settings.vocabulary_multiple_of,
        must_keep=(*settings.must_keep, *prompts_of(recipe.teacher.model, recipe.teacher.revision)),
    )
