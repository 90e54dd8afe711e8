"""The last stage: a pair laid out as it is scored and published, and what its card states."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoConfig

from ..cards.facts import CardFacts, LossCurve, ModelFacts
from ..evaluation.results import RESULTS_FILE, read_results
from ..evaluation.speed import SIZE_AND_SPEED_FILE, read_size_and_speed
from ..families import NEVER_RUN
from ..hub.repository import PairModel, package_pair, write_model
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta
from ..power_cuts import bring_to_disk
from ..recipe import Language, Recipe, TaskRecipe
from ..recipe_changes import facts_of_tasks
from ..sentence_encoders import carry_modules
from ..sources import LabelledSource
from ..teacher import load_tokenizer
from .manifest import WORK_FOLDER, StageRecord, versions
from .portable import public_name, published, shown_name
from .stage_files import DELTA_FILE, STUDENT_FILE
from .stage_folder import REPOSITORY_FOLDER


def package_run(recipe: Recipe, folder: Path, stages: Sequence[StageRecord], command: str) -> dict[str, Any]:
    """Package the pair as it was scored, with card, recipe and results.

    Tasks whose phase 2 is not among the stages are left out, and so are the scores of those not evaluated.

    Args:
        recipe: The recipe.
        folder: The stage's folder; the repository is `repository` in it.
        stages: Records of all earlier stages, in order.
        command: The command that reproduces the run, for the card.
    """
    done, described = {stage.name: stage for stage in stages}, published(recipe)
    student, taught = done["student"], done["phase 1"]
    deltas = {task.name: done[f"{task.name} phase 2"] for task in recipe.tasks if f"{task.name} phase 2" in done}
    files = {name: done[f"{name} evaluation"].folder / RESULTS_FILE for name in deltas if f"{name} evaluation" in done}
    pair = folder / WORK_FOLDER / "pair"
    lay_out(recipe, pair, taught.folder, {name: record.folder for name, record in deltas.items()})
    config = AutoConfig.from_pretrained(pair)
    results = tuple(result for _, file in sorted(files.items()) for result in read_results(file))
    measured = done["speed"].folder / SIZE_AND_SPEED_FILE if "speed" in done else None
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
            "stages": [training_row(stage) for stage in stages if stage is not taught or recipe.bilingual.steps],
            "machines": list(dict.fromkeys(stage.machine for stage in stages)),
            "language_deltas": {code: shown_name(name) for code, name in recipe.teacher.language_deltas.items()},
            "labelled": {
                task.name: labelled_row(task, recipe.target, deltas[task.name].facts)
                for task in recipe.tasks
                if task.name in deltas
            },
            "unverified": unverified_facts(recipe, deltas),
        },
        corpora=student.facts["corpora"],
        datasets=_hub_datasets(recipe),
        versions=versions(),
        recipe_sha256=described["sha256"],
        seed=recipe.seed,
        command=command,
        limits=recipe.limits,
        taught=recipe.bilingual.steps > 0,
        drawn=recipe.student.initialisation == "random",
        synthetic=recipe.synthetic,
        smoke=recipe.smoke,
        license_name=recipe.license_name,
        license_link=recipe.license_link,
        contributors=recipe.contributors,
        curves=_curves(taught, deltas),
        size_and_speed=None if measured is None else read_size_and_speed(measured),
    )
    package_pair(
        pair,
        folder / REPOSITORY_FOLDER,
        facts=facts,
        recipe=described,
        results=files,
        size_and_speed=measured,
    )
    return {}


def lay_out(recipe: Recipe, folder: Path, student: Path, deltas: Mapping[str, Path]) -> None:
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
                "min_token_probability": recipe.student.threshold,
            },
            teacher=teacher,
            teacher_revision=recipe.teacher.revision if teacher else None,
        ),
        load_file(student / BASE_FILE),
        load_tokenizer(str(student)),
        loaded,
        default_tasks={head: names[0] for head, names in by_head.items() if len(names) > 1},
    )
    carry_modules(str(student), unfinished)
    bring_to_disk(unfinished, [file for file in unfinished.rglob("*") if file.is_file()])
    unfinished.rename(folder)


def _curves(taught: StageRecord, deltas: Mapping[str, StageRecord]) -> tuple[LossCurve, ...]:
    curves = [LossCurve(name="phase 1", stages=(("", taught.facts["curve"]),))] if taught.facts["curve"] else []
    for name, record in sorted(deltas.items()):
        stages = (("dense", record.facts["dense_curve"]), ("sparse", record.facts["curve"]))
        curves.append(LossCurve(name=name, stages=tuple((stage, log) for stage, log in stages if log)))
    return tuple(curves)


def training_row(stage: StageRecord) -> dict[str, Any]:
    """What the card's table of stages says of one."""
    settings = dict(stage.facts.get("settings") or {})
    for field in ("model", "delta"):  # what lies on this machine is nobody else's
        if settings.get(field) is not None:
            settings[field] = shown_name(settings[field])
    loss, updates = stage.facts.get("loss"), stage.facts.get("loss_updates")
    return {
        "name": stage.name,
        "settings": ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None),
        "loss": "" if loss is None else f"{loss:.4g}",
        **({"loss_updates": updates} if updates else {}),
        "seconds": stage.seconds,
    }


def labelled_row(task: TaskRecipe, target: Language, learnt: Mapping[str, Any]) -> dict[str, str]:
    """What the card's table of labelled data says of a task: what it was learnt from and what chose the best pass.

    Args:
        task: The task.
        target: The target language, whose text phase 2 may have read.
        learnt: Facts of phase 2.
    """
    row = {role: _described(task.sources[role]) for role in ("train", "validation")}
    inputs = learnt.get("target_text_inputs")
    return row | ({"unlabelled": f"{inputs:,} inputs of {target.name} text, {target.text.name}"} if inputs else {})


def unverified_facts(recipe: Recipe, tasks: Collection[str]) -> list[str]:
    """What the card names as unverified: of what is packaged, and not that nobody has run the recipe, which is run."""
    return [fact for fact in facts_of_tasks(recipe.unverified, tasks) if fact != NEVER_RUN]


def _described(source: LabelledSource) -> str:
    return f"{source.name} ({source.subset})" if source.subset else source.name


def _hub_datasets(recipe: Recipe) -> tuple[str, ...]:
    sources: list[LabelledSource | Any] = [language.text for language in recipe.text_languages]
    for task in recipe.tasks:
        sources += task.sources.values()
    return tuple(sorted({source.dataset for source in sources if source.dataset}))
