"""Phase 1 of a run: the student is distilled in two languages, or more, without labels.

All processes of the run train; the main one writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from transformers import AutoConfig, set_seed

from ..corpora import BilingualBlocks, write_blocks
from ..distillation.bilingual import (
    LOGITS,
    MASKED_LM,
    OBJECTIVE,
    BilingualDistillationArguments,
    BilingualDistillationTrainer,
    needs_teacher,
    weights_of,
)
from ..distillation.checkpoints import CheckpointEvery
from ..distillation.language_teacher import LanguageTeacher
from ..distillation.recording import LogRecorder, calm, read_log
from ..distillation.sampling import divided
from ..fp32_products import faster_fp32_products
from ..freed_memory import freed_memory_kept
from ..model.modeling_bistill import BASE_FILE
from ..recipe import Language, Recipe
from ..sentence_encoders import carry_modules
from ..student.backbones import backbone_for
from ..student.build import trim_vocabulary
from ..student.deltas import trim_delta
from ..teacher import (
    load_delta,
    load_encoder,
    load_language_model,
    load_tokenizer,
)
from ..tokenised_text import KnownTokens
from .manifest import WORK_FOLDER
from .preflight import no_head
from .processes import join

if TYPE_CHECKING:
    from transformers import PreTrainedModel
from .stage_files import STUDENT_FILE, TOKEN_MAP_FILE, prefixed, write_student
from .training import best_of, common_arguments, settings_at

TokensOf = Callable[[Language], Path | None]
"""Tells the file with the teacher's tokens of a language's text, where runs of several recipes share it."""


def distil_bilingually(
    recipe: Recipe, folder: Path, student: Path, *, progress: bool, tokens_of: TokensOf | None = None
) -> dict[str, Any]:
    """Phase 1. Leaves the student's folder again, with what the encoder has learnt.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        student: What phase 0 has left.
        progress: Show progress bars.
        tokens_of: Where the text's tokens are taken from, as far as they are known.
    """
    settings, together = recipe.bilingual, join()
    state = load_file(student / BASE_FILE)
    facts = json.loads((student / STUDENT_FILE).read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(str(student))
    curve: list[dict[str, float]] = []
    if settings.steps:
        set_seed(recipe.seed)
        encoder, teacher = _both_models(recipe, student)
        work = folder / WORK_FOLDER
        blocks = together.main_first(
            lambda: BilingualBlocks(
                {
                    language.code: write_blocks(
                        language.text,
                        tokenizer,
                        work / f"blocks_{language.code}",
                        block_size=settings.block_size,
                        known=tokens_of and partial(_known, recipe, language, student, tokenizer, tokens_of),
                    )
                    for language in recipe.text_languages
                }
            )
        )
        train, held_out = blocks.split(settings.evaluation_share)
        every = min(settings.evaluation_every, settings.steps)
        division = divided(settings.batch_size, settings.accumulation, together.count)
        args = BilingualDistillationArguments(
            output_dir=str(work),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size,
            gradient_accumulation_steps=division.accumulation,
            learning_rate=settings.learning_rate,
            masked_share=settings.masked_share,
            **{f"{term}_weight": getattr(settings, f"{term}_weight") for term in OBJECTIVE},
            temperature=settings.temperature,
            relation_heads=settings.relation_heads,
            teacher_precision=settings.teacher_precision,
            layer_map=facts["layer_map"],
            eval_strategy="steps",
            save_strategy="steps",
            eval_steps=every,
            save_steps=every,
            load_best_model_at_end=True,
            metric_for_best_model="loss",
            greater_is_better=False,
            **common_arguments(recipe, settings.precision, settings.steps, progress),
        )
        trainer = BilingualDistillationTrainer(
            encoder,
            args,
            teacher=teacher,
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=tokenizer,
            processes_per_batch=division.processes_per_batch,
            callbacks=[CheckpointEvery(recipe.checkpoint_every), LogRecorder()],
        )
        calm(trainer)
        with settings_at("bilingual"), freed_memory_kept(), faster_fp32_products():
            trainer.train(resume_from_checkpoint=True)
        learnt = prefixed(encoder.base_model) | (encoder.state_dict() if encoder.base_model is not encoder else {})
        state |= {name: tensor for name, tensor in learnt.items() if name in state}
        curve = read_log(work)
    if not together.main:
        return {}
    config = AutoConfig.from_pretrained(student)
    write_student(folder, state, config, tokenizer)
    carry_modules(str(student), folder)
    for name in (STUDENT_FILE, TOKEN_MAP_FILE):
        (folder / name).write_bytes((student / name).read_bytes())
    loss = best_of(curve, "eval_loss", min)
    reached = {} if loss is None else {"reached": f"least loss on held-out text {loss:.4f}"}
    return {"settings": settings.model_dump(), "curve": curve, "loss": loss, **reached}


def _known(
    recipe: Recipe, language: Language, student: Path, tokenizer: Any, tokens_of: TokensOf
) -> KnownTokens | None:
    """Open the file with the teacher's tokens of a language's text, where there is one, for the student's tokenizer."""
    tokens = tokens_of(language)
    if tokens is None:
        return None
    teacher = load_tokenizer(recipe.teacher.model, recipe.teacher.revision)
    return KnownTokens.of(tokens, teacher, tokenizer, load_file(student / TOKEN_MAP_FILE)["token_map"])


def _both_models(recipe: Recipe, student: Path) -> tuple[PreTrainedModel, LanguageTeacher | None]:
    """Load student and teacher for phase 1.

    They come with their language-modelling heads where a term reads them, the teacher with the student's vocabulary and
    its deltas; it is None where no term asks it.
    """
    wanted, model, revision = weights_of(recipe.bilingual), recipe.teacher.model, recipe.teacher.revision
    by_head = LOGITS in wanted or MASKED_LM in wanted
    ours = load_language_model(str(student)) if by_head else load_encoder(str(student))
    if ours is None:
        raise no_head(recipe, "the student has no language-modelling head")
    if not needs_teacher(wanted):
        return ours, None
    full = load_language_model(model, revision) if LOGITS in wanted else load_encoder(model, revision)
    if full is None:
        raise no_head(recipe, "the teacher has no language-modelling head")
    token_map = load_file(student / TOKEN_MAP_FILE)["token_map"]
    backbone = backbone_for(full.config)
    deltas = {
        language: trim_delta(load_delta(name), backbone, token_map)
        for language, name in recipe.teacher.language_deltas.items()
    }
    codes = [language.code for language in recipe.text_languages]
    return ours, LanguageTeacher(trim_vocabulary(full, token_map), deltas, codes)
