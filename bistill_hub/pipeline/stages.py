"""The stages of a run, one function each: a folder to fill and what came before in, facts for the record out.

Every stage reads the folders of earlier stages from disk and leaves ordinary checkpoints behind, so that any of them
can be looked at, repeated or skipped. Those that train do so on all processes of the run, and write on the main one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, TrainingArguments, set_seed
from transformers.trainer_utils import EvalPrediction

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
from ..distillation.fine_tuning import TaskFineTuningTrainer
from ..distillation.language_teacher import LanguageTeacher
from ..distillation.recording import LogRecorder, calm, read_log
from ..distillation.sampling import divided
from ..distillation.sparse_fine_tuning import SparseFineTuningArguments
from ..distillation.stage_records import of_iteration
from ..distillation.task import (
    SparseTaskDistillationArguments,
    SparseTaskDistillationTrainer,
    SparseTaskFineTuningTrainer,
    SparseTaskTrainer,
)
from ..model.modeling_bistill import BASE_FILE
from ..recipe import Precision, Recipe
from ..sentence_encoders import carry_modules, prompts_of
from ..student.backbones import backbone_for
from ..student.build import cut_config, cut_model, draw_model, trim_vocabulary
from ..student.deltas import trim_delta
from ..student.held_out import HeldOut
from ..student.token_counts import TokenCounts, count_tokens
from ..student.tokenizer_loading import check_ways_of_loading, classes_that_rebuild
from ..student.vocabulary import select_tokens, trim_tokenizer
from ..student.vocabulary_report import vocabulary_report
from ..teacher import (
    load_delta,
    load_encoder,
    load_language_model,
    load_reported_encoder,
    load_task_model,
    load_tokenizer,
)
from .manifest import WORK_FOLDER
from .portable import shown_name
from .preflight import TaskData, check_head, no_head
from .processes import join

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

STUDENT_FILE = "student.json"
TOKEN_MAP_FILE = "token_map.safetensors"
DELTA_FILE = "delta.safetensors"
COMPARED_LINES = 20
"""Held-out lines of each language that the ways of loading the tokenizer are compared on."""


def cut_student(recipe: Recipe, folder: Path, *, progress: bool) -> dict[str, Any]:
    """Phase 0: count tokens, trim vocabulary and tokenizer, keep every n-th layer, or draw weights of that shape.

    Leaves a native checkpoint (encoder with pooler, and the language-modelling head where it is kept), tokenizer,
    `token_map.safetensors` and `student.json`.
    """
    teacher, untrained = load_reported_encoder(recipe.teacher.model, recipe.teacher.revision)
    tokenizer = load_tokenizer(recipe.teacher.model, recipe.teacher.revision)
    layers = recipe.student.layer_map_for(teacher.config.num_hidden_layers)
    language_model, random = None, recipe.student.initialisation == "random"
    if recipe.student.keep_language_modelling_head and not random:
        language_model = load_language_model(recipe.teacher.model, recipe.teacher.revision)
    check_head(recipe, random or language_model is not None)
    texts = {language.code: HeldOut(language.text, language.code) for language in recipe.text_languages}
    counts = {code: count_tokens(tokenizer, text, language=code, progress=progress) for code, text in texts.items()}
    token_map = _kept_tokens(recipe, tokenizer, counts)
    read = backbone_for(teacher.config).model_inputs(teacher.config)
    inputs = [name for name in tokenizer.model_input_names if name in read]
    student_tokenizer = trim_tokenizer(tokenizer, token_map, model_input_names=inputs)
    held_out = {code: text.lines for code, text in texts.items()}
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
    # Ways that were none for the teacher either; one that was is refused below.
    rebuilt_by = set.intersection(
        *(set(classes_that_rebuild(each, config.model_type)) for each in (tokenizer, student_tokenizer))
    )
    sample = [line for lines in held_out.values() for line in lines[:COMPARED_LINES]]
    check_ways_of_loading(folder, sample, own_class=type(tokenizer).__name__, without=rebuilt_by)
    carry_modules(recipe.teacher.model, folder, revision=recipe.teacher.revision)
    save_file({"token_map": token_map}, folder / TOKEN_MAP_FILE)
    facts = {
        "layer_map": list(layers),
        "vocabulary": {**report.to_dict(), "chosen_by": recipe.student.vocabulary_rule, "not_by": sorted(rebuilt_by)},
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


def distil_bilingually(recipe: Recipe, folder: Path, student: Path, *, progress: bool) -> dict[str, Any]:
    """Phase 1. Leaves the student's folder again, with what the encoder has learnt."""
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
                        language.text, tokenizer, work / f"blocks_{language.code}", block_size=settings.block_size
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
            teacher_precision=settings.teacher_precision,
            layer_map=facts["layer_map"],
            eval_strategy="steps",
            save_strategy="steps",
            eval_steps=every,
            save_steps=every,
            load_best_model_at_end=True,
            metric_for_best_model="loss",
            greater_is_better=False,
            **_common(recipe, settings.precision, settings.steps, progress),
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
    return {"settings": settings.model_dump(), "curve": curve, "loss": _best(curve, "eval_loss", min)}


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


def tune_teacher(
    recipe: Recipe, folder: Path, data: TaskData, *, progress: bool, random_weights: bool = False
) -> dict[str, Any]:
    """Make the task teacher: fine-tune the teacher on source-language labels, or take a tuned one.

    Leaves an ordinary checkpoint of the backbone's head class, with its tokenizer. A teacher that is made here carries
    the source language's delta, where the recipe has one, before it is fine-tuned or a task SFT comes on top; one that
    was tuned elsewhere is taken as it is, without.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        data: The task's data.
        progress: Show progress bars.
        random_weights: Start from the teacher's architecture with random weights instead (a baseline).
    """
    settings, task, together = data.recipe.teacher, data.task, join()
    place = settings.model or recipe.teacher.model
    revision = settings.revision if settings.model else recipe.teacher.revision
    tokenizer = load_tokenizer(place, revision)
    set_seed(recipe.seed)
    model = load_task_model(task.head, place, revision, **_label_fields(data.labels))
    language = {}
    if random_weights:
        model = type(model)(model.config)
    elif settings.model is None and (worn := recipe.teacher.language_deltas.get(recipe.source.code)):
        load_delta(worn).apply(model, strict=False)
        language = {"language_delta": shown_name(worn)}
    if not random_weights and (settings.model or settings.delta):
        if settings.delta is not None:
            load_delta(settings.delta).apply(model)
        if not together.main:
            return {}
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"curve": [], "settings": settings.model_dump(), "loss": None, **language}
    work = folder / WORK_FOLDER
    features = task.encode(data.train, tokenizer, data.labels, data.recipe.max_length)
    steps = max(1, round(len(features) / settings.batch_size * settings.epochs))
    division = divided(settings.batch_size, 1, together.count)
    args = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=4 * settings.batch_size,
        learning_rate=settings.learning_rate,
        **_of_task(task.main_metric),
        **_common(recipe, settings.precision, steps, progress),
    )
    trainer = TaskFineTuningTrainer(
        model,
        args,
        train_dataset=features,
        processes_per_batch=division.processes_per_batch,
        **_watched(recipe, data, tokenizer),
    )
    calm(trainer)
    trainer.train(resume_from_checkpoint=True)
    if not together.main:
        return {}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    curve = read_log(work)
    metric = f"eval_{task.main_metric}"
    return {
        "curve": curve,
        "settings": settings.model_dump(),
        "loss": next((entry["loss"] for entry in reversed(curve) if "loss" in entry), None),
        "validation": _best(curve, metric, max),
        **language,
    }


def distil_task(
    recipe: Recipe, folder: Path, data: TaskData, student: Path, teacher: Path | None, *, progress: bool
) -> dict[str, Any]:
    """Phase 2, or the same stages on the labels alone. Leaves the task's sparse delta.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        data: The task's data.
        student: Folder of the student to start from.
        teacher: Folder of the task teacher, with its full vocabulary; not looked at where the labels are learnt from.
        progress: Show progress bars.
    """
    settings, task, together = data.recipe.distillation, data.task, join()
    tokenizer = load_tokenizer(str(student))
    taught_by: dict[str, Any] = {}
    if settings.learns_from == "teacher":
        token_map = load_file(student / TOKEN_MAP_FILE)["token_map"]
        taught_by["teacher"] = trim_vocabulary(load_task_model(task.head, str(teacher)), token_map)
    set_seed(recipe.seed)
    model = load_task_model(task.head, str(student), **_label_fields(data.labels))
    features = task.encode(data.train, tokenizer, data.labels, data.recipe.max_length)
    work = folder / WORK_FOLDER
    steps = max(1, round(len(features) / settings.batch_size / settings.accumulation * settings.sparse_epochs))
    division = divided(settings.batch_size, settings.accumulation, together.count)
    common: dict[str, Any] = {
        "output_dir": str(work),
        "num_train_epochs": settings.sparse_epochs,
        "dense_epochs": settings.dense_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": 4 * settings.batch_size,
        "gradient_accumulation_steps": division.accumulation,
        "learning_rate": settings.learning_rate,
        "density": settings.density,
        "iterations": settings.iterations,
        "delta_precision": settings.delta_precision,
        "freeze_layer_norms": settings.freeze_layer_norms,
        **_of_task(task.main_metric),
        **_common(recipe, settings.precision, steps, progress),
    }
    make: type[SparseTaskTrainer]
    if taught_by:
        make = SparseTaskDistillationTrainer
        args: SparseFineTuningArguments = SparseTaskDistillationArguments(
            **common,
            attention_weight=settings.attention_weight,
            hidden_weight=settings.hidden_weight,
            logits_weight=settings.logits_weight,
            temperature=settings.temperature,
            teacher_precision=settings.teacher_precision,
            layer_map=json.loads((student / STUDENT_FILE).read_text(encoding="utf-8"))["layer_map"],
        )
    else:
        make, args = SparseTaskFineTuningTrainer, SparseFineTuningArguments(**common)
    trainer = make(
        model,
        args,
        train_dataset=features,
        processes_per_batch=division.processes_per_batch,
        **taught_by,
        **_watched(recipe, data, tokenizer),
    )
    calm(trainer)
    trainer.train(resume_from_checkpoint=True)
    delta = trainer.delta
    if delta is None:
        raise RuntimeError("phase 2 ended without a delta")
    if not together.main:
        return {}
    delta.metadata |= {"task": task.name, "labels": list(data.labels)}
    delta.save(folder / DELTA_FILE)
    curve = read_log(work / of_iteration("sparse", settings.iterations))
    return {
        "curve": curve,
        "dense_curve": read_log(work / of_iteration("dense", settings.iterations)),
        "settings": settings.model_dump(),
        "learns_from": settings.learns_from,
        "density": delta.density,
        "entries": delta.entries,
        "loss": next((entry["loss"] for entry in reversed(curve) if "loss" in entry), None),
        "validation": _best(curve, f"eval_{task.main_metric}", max),
    }


def prefixed(encoder: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A headless encoder's parameters under the names that the head classes give them."""
    return {f"{encoder.base_model_prefix}.{name}": tensor for name, tensor in encoder.state_dict().items()}


def write_student(
    folder: Path, state: Mapping[str, torch.Tensor], config: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write a native checkpoint: weights, configuration, tokenizer."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        folder / BASE_FILE,
        metadata={"format": "pt"},
    )
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def size_of(model: PreTrainedModel) -> dict[str, int]:
    """Parameters, layers and vocabulary of an encoder."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": model.config.num_hidden_layers,
        "vocabulary": model.config.vocab_size,
    }


def _common(recipe: Recipe, precision: Precision, steps: int, progress: bool) -> dict[str, Any]:
    """Training arguments that every stage shares."""
    return {
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "logging_steps": max(1, steps // 200),
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": not progress,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        # Without an accelerator transformers takes the CPU anyway, but neither computes in bf16 nor joins several
        # processes unless it is told so.
        "use_cpu": not torch.accelerator.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def _of_task(metric: str) -> dict[str, Any]:
    """Training arguments of labelled data: the epoch with the best development score is kept.

    Sentences of similar length share a batch, so that little of it is padding.
    """
    return {
        "train_sampling_strategy": "group_by_length",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": True,
    }


def _watched(recipe: Recipe, data: TaskData, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The Trainer's arguments for scoring the development set, and for checkpoints within an epoch."""
    task, dataset = data.task, data.validation
    features = task.encode(dataset, tokenizer, data.labels, data.recipe.max_length)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions
        if isinstance(logits, tuple):  # start and end of spans
            logits = np.stack(logits, axis=-1)
        found = task.decode(features, list(logits), dataset, data.labels)
        # From the statistics: the same number as `score`, without the per-type table that takes seconds.
        return {task.main_metric: float(task.main_score(task.statistics(dataset, found).sum(axis=0)))}

    return {
        "eval_dataset": features,
        "compute_metrics": compute_metrics,
        "callbacks": [CheckpointEvery(recipe.checkpoint_every), LogRecorder()],
    }


def _label_fields(labels: tuple[str, ...]) -> dict[str, Any]:
    if not labels:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def _best(curve: list[dict[str, float]], name: str, choose: Any) -> float | None:
    found = [entry[name] for entry in curve if name in entry]
    return float(choose(found)) if found else None
