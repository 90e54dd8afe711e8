"""The last two stages: score every model of the run by the same code, and package the pair with its scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto import modeling_auto

from ..cards.card import render_card
from ..cards.facts import CardFacts, ModelFacts
from ..evaluation.evaluate import TestSet, evaluate_model, labels_of, write_predictions
from ..evaluation.results import Result, read_results, write_results
from ..hub.repository import RESULTS_FILE, PairModel, package_pair, write_model
from ..model.configuration_bistill import HEADS
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta
from ..recipe import Recipe
from ..sources import LabelledSource, file_sha256
from ..student.build import trim_vocabulary
from ..teacher import load_task_model, load_tokenizer
from .manifest import WORK_FOLDER, StageRecord, versions
from .preflight import TaskData
from .stages import DELTA_FILE, STUDENT_FILE, TOKEN_MAP_FILE

REPOSITORY_FOLDER = "repository"
"""In the package's folder: the pair as it is published."""


@dataclass(frozen=True)
class TaskFolders:
    """Where the stages left what a task's evaluation loads.

    Attributes:
        student: The phase-1 student.
        teacher: The task teacher.
        delta: Phase 2.
        uncut: The student before phase 1.
        no_phase_1: Phase 2 on the student that phase 1 has not taught; None where this baseline is not asked for.
        random_teacher: The teacher's architecture from random weights; None where this baseline is not asked for.
    """

    student: Path
    teacher: Path
    delta: Path
    uncut: Path
    no_phase_1: Path | None = None
    random_teacher: Path | None = None


def evaluate_task(
    recipe: Recipe, folder: Path, task: TaskData, folders: TaskFolders, *, progress: bool
) -> dict[str, Any]:
    """Score student, teacher and baselines of a task on the source and the target language.

    The student is laid out as it will be packaged and loaded back from there before it is scored. A score that an
    interrupted run has finished is not computed again.

    Args:
        recipe: The recipe.
        folder: The stage's folder.
        task: The task's data.
        folders: What to score.
        progress: Show progress bars.
    """
    work = folder / WORK_FOLDER
    work.mkdir(exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results: list[Result] = []
    for role, language, source in (
        ("source", recipe.source, task.recipe.test_source),
        ("target", recipe.target, task.recipe.test_target),
    ):
        for model_name in ("teacher", "student", *recipe.baselines):
            scored = work / f"{model_name}.{language.code}.json"
            if not scored.is_file():
                model, tokenizer = _load(recipe, model_name, task, folders, work)
                result, predictions = evaluate_model(
                    model.to(device),
                    tokenizer,
                    task.task,
                    TestSet(language.code, role, source),
                    task.labels and labels_of(model),
                    name=model_name,
                    training=task.train,
                    max_length=task.recipe.max_length,
                    seed=recipe.seed,
                    progress=progress,
                )
                write_predictions(folder / f"{model_name}.{language.code}.jsonl", predictions)
                write_results(scored, [replace(result, synthetic=recipe.synthetic)], {})
            results += read_results(scored)
    write_results(folder / RESULTS_FILE, results, versions())
    return {}


def package_run(recipe: Recipe, folder: Path, stages: Sequence[StageRecord], command: str) -> dict[str, Any]:
    """Package the pair as it was scored, with card, recipe and results.

    Tasks whose phase 2 is not among the stages are left out, and so are the scores of those not evaluated.

    Args:
        recipe: The recipe.
        folder: The stage's folder; the repository is `repository` in it.
        stages: Records of all earlier stages, in order.
        command: The command that reproduces the run, for the card.
    """
    done = {stage.name: stage for stage in stages}
    student, taught = done["student"], done["phase 1"]
    deltas = {task.name: done[f"{task.name} phase 2"] for task in recipe.tasks if f"{task.name} phase 2" in done}
    files = {name: done[f"{name} evaluation"].folder / RESULTS_FILE for name in deltas if f"{name} evaluation" in done}
    pair = folder / WORK_FOLDER / "pair"
    _lay_out(recipe, pair, taught.folder, {name: record.folder for name, record in deltas.items()})
    config = AutoConfig.from_pretrained(pair)
    results = tuple(result for file in files.values() for result in read_results(file))
    facts = CardFacts(
        name=recipe.name,
        source=(recipe.source.code, recipe.source.name),
        target=(recipe.target.code, recipe.target.name),
        license=recipe.license,
        teacher=config.teacher,
        teacher_revision=config.teacher_revision,
        teacher_size=ModelFacts(**student.facts["teacher"]),
        student_size=ModelFacts(**student.facts["student"]),
        layer_map=tuple(config.layer_map),
        language_modelling_head=config.language_modelling_head,
        tasks={name: {**task, "density": deltas[name].facts["density"]} for name, task in config.tasks.items()},
        results=results,
        vocabulary=student.facts["vocabulary"],
        training={
            "stages": [_training_row(stage) for stage in stages if stage is not taught or recipe.bilingual.steps]
        },
        corpora=student.facts["corpora"],
        datasets=_hub_datasets(recipe),
        versions=versions(),
        recipe_sha256=recipe.sha256,
        seed=recipe.seed,
        command=command,
        limits=recipe.limits,
        taught=recipe.bilingual.steps > 0,
        synthetic=recipe.synthetic,
    )
    package_pair(
        pair,
        folder / REPOSITORY_FOLDER,
        card=render_card(facts),
        recipe={**portable(recipe), "sha256": recipe.sha256, "versions": versions()},
        results=files,
    )
    return {}


def portable(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it is published: local files by name and hash, never by where they lie on this machine."""
    fields: dict[str, Any] = recipe.model_dump(mode="json")
    fields["teacher"]["model"] = public_name(recipe.teacher.model) or Path(recipe.teacher.model).name
    for field, language in (("source", recipe.source), ("target", recipe.target)):
        fields[field]["text"] |= _portable_source(language.text)
    for task, written in zip(recipe.tasks, fields["tasks"], strict=True):
        for name, source in task.sources.items():
            written[name] |= _portable_source(source)
        for name in ("model", "delta"):
            if written["teacher"][name] is not None:
                written["teacher"][name] = public_name(written["teacher"][name]) or Path(written["teacher"][name]).name
    fields["teacher"]["language_deltas"] = {
        code: public_name(name) or Path(name).name for code, name in recipe.teacher.language_deltas.items()
    }
    return fields


def public_name(model: str) -> str | None:
    """A model's Hub id, or None if it is a folder or file here."""
    place = Path(model).expanduser()
    looks_local = place.exists() or place.is_absolute() or model.startswith((".", "~"))
    return None if looks_local else model


def _portable_source(source: Any) -> dict[str, Any]:
    if source.path is None:
        return {}
    return {"path": source.name, "sha256": file_sha256(source.file)}


def _lay_out(recipe: Recipe, folder: Path, student: Path, deltas: Mapping[str, Path]) -> None:
    """Write a pair's model, whole or not at all; one that an interrupted run has written is taken as it is."""
    if folder.exists():
        return
    facts = json.loads((student / STUDENT_FILE).read_text(encoding="utf-8"))
    teacher = public_name(recipe.teacher.model)
    vocabulary = facts["vocabulary"]
    loaded = {name: SparseDelta.load(place / DELTA_FILE) for name, place in deltas.items()}
    # Of several tasks with one head, the recipe's first is what loading without a task's name gives.
    by_head: dict[str, list[str]] = {}
    for name, delta in loaded.items():
        by_head.setdefault(delta.metadata["head"], []).append(name)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_model(
        unfinished,
        PairModel(
            config=AutoConfig.from_pretrained(student),
            source_language=recipe.source.code,
            target_language=recipe.target.code,
            layer_map=tuple(facts["layer_map"]),
            vocabulary={
                "teacher_size": vocabulary["tokens_before"],
                "size": vocabulary["tokens_after"],
                "min_token_probability": recipe.student.min_token_probability,
            },
            teacher=teacher,
            teacher_revision=recipe.teacher.revision if teacher else None,
        ),
        load_file(student / BASE_FILE),
        load_tokenizer(str(student)),
        loaded,
        default_tasks={head: names[0] for head, names in by_head.items() if len(names) > 1},
    )
    unfinished.rename(folder)


def _load(recipe: Recipe, name: str, task: TaskData, folders: TaskFolders, work: Path) -> tuple[Any, Any]:
    """Load a model that is to be scored, and its tokenizer."""
    head = task.task.head
    if name in ("teacher", "random_teacher"):
        place = folders.teacher if name == "teacher" else folders.random_teacher
        return load_task_model(head, str(place)), load_tokenizer(str(place))
    if name == "trimmed_teacher":
        token_map = load_file(folders.student / TOKEN_MAP_FILE)["token_map"]
        trimmed = trim_vocabulary(load_task_model(head, str(folders.teacher)), token_map)
        return trimmed, load_tokenizer(str(folders.student))
    pair = work / name
    if name == "student":
        _lay_out(recipe, pair, folders.student, {task.task.name: folders.delta})
    elif folders.no_phase_1 is not None:
        _lay_out(recipe, pair, folders.uncut, {task.task.name: folders.no_phase_1})
    auto = getattr(modeling_auto, HEADS[head])
    return auto.from_pretrained(pair, task=task.task.name), AutoTokenizer.from_pretrained(pair)


def _training_row(stage: StageRecord) -> dict[str, Any]:
    settings = dict(stage.facts.get("settings") or {})
    for field in ("model", "delta"):  # what lies on this machine is nobody else's
        if settings.get(field) is not None:
            settings[field] = public_name(settings[field]) or Path(settings[field]).name
    loss = stage.facts.get("loss")
    return {
        "name": stage.name,
        "settings": ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None),
        "loss": "" if loss is None else f"{loss:.4g}",
        "seconds": stage.seconds,
    }


def _hub_datasets(recipe: Recipe) -> tuple[str, ...]:
    sources: list[LabelledSource | Any] = [recipe.source.text, recipe.target.text]
    for task in recipe.tasks:
        sources += task.sources.values()
    return tuple(sorted({source.dataset for source in sources if source.dataset}))
