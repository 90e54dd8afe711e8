"""Checks of card.json against the other files: what it states is theirs, and scores were computed with what is here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ..cards.computed_with import configuration_sha256, labels_sha256
from ..cards.facts import FACTS_FILE, CardFacts
from ..evaluation.speed import SIZE_AND_SPEED_FILE
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta, read_description
from ..student.backbones import backbone_for
from .check_model import TOKENIZER_CONFIG_FILE
from .pair_folder import CONFIG_FILE, RECIPE_FILE, PairFolder, results_file
from .report import Findings

_PACKAGE_AGAIN = "package the run again"
_SIZES = ("parameters", "layers", "vocabulary")
_OF_RECIPE = ("seed", "synthetic", "smoke", "license", "license_name", "license_link")
_ROUNDING = 1e-9

Stated = tuple[str, Any, str, Any]
"""A field of card.json, what it states, another file, and what that says of the same."""


def check_facts(pair: PairFolder, facts: CardFacts, findings: Findings) -> None:
    """Compare what a card is rendered from with configuration, weights, deltas, recipe and measurements."""
    for of_files in (_of_configuration, _of_weights, _of_recipe):
        with findings.within(FACTS_FILE, "it cannot be compared with the other files", _PACKAGE_AGAIN):
            for field, stated, file, found in of_files(pair, facts):
                if stated != found:
                    findings.add(FACTS_FILE, f"{field} = {stated!r}: {file} has {found!r}", _PACKAGE_AGAIN)
    with findings.within(FACTS_FILE, "its tasks cannot be compared with the deltas", _PACKAGE_AGAIN):
        _check_tasks(pair, facts, findings)
    if facts.size_and_speed is None:
        return
    for model, measured, size in (
        ("teacher", facts.size_and_speed.teacher, facts.teacher_size),
        ("student", facts.size_and_speed.student, facts.student_size),
    ):
        for name in _SIZES:
            if (found := getattr(measured, name)) != (stated := getattr(size, name)):
                problem = f"{model}.{name} = {found!r}: {FACTS_FILE} has {stated!r}"
                findings.add(SIZE_AND_SPEED_FILE, problem, _PACKAGE_AGAIN)


def _of_configuration(pair: PairFolder, facts: CardFacts) -> Iterator[Stated]:
    config = pair.config
    if config is None:
        return
    native = config.backbone_config()
    for field, stated, found in (
        ("source", facts.source[0], config.source_language),
        ("target", facts.target[0], config.target_language),
        ("teacher", facts.teacher, config.teacher),
        ("teacher_revision", facts.teacher_revision, config.teacher_revision),
        ("layer_map", list(facts.layer_map), list(config.layer_map)),
        ("language_modelling_head", facts.language_modelling_head, config.language_modelling_head),
        ("student_size.layers", facts.student_size.layers, native.num_hidden_layers),
        ("student_size.vocabulary", facts.student_size.vocabulary, native.vocab_size),
    ):
        yield field, stated, CONFIG_FILE, found


def _of_weights(pair: PairFolder, facts: CardFacts) -> Iterator[Stated]:
    if pair.config is None or not pair.base_shapes:
        return
    prefix = f"{backbone_for(pair.config.backbone_config()).base_model_prefix}."
    parameters = sum(math.prod(shape) for name, shape in pair.base_shapes.items() if name.startswith(prefix))
    yield "student_size.parameters", facts.student_size.parameters, BASE_FILE, parameters


def _of_recipe(pair: PairFolder, facts: CardFacts) -> Iterator[Stated]:
    """What a recipe says too, as far as it does; older ones have fewer fields."""
    recipe = pair.read_json(RECIPE_FILE)
    stated = asdict(facts)
    for role in ("source", "target"):
        if isinstance(language := recipe.get(role), dict):
            yield role, list(stated[role]), RECIPE_FILE, [language.get("code"), language.get("name")]
    for field in (field for field in _OF_RECIPE if field in recipe):
        yield field, stated[field], RECIPE_FILE, recipe[field]
    if isinstance(steps := _field(recipe, "bilingual", "steps"), int):
        yield "taught", facts.taught, RECIPE_FILE, steps > 0
    if (initialisation := _field(recipe, "student", "initialisation")) is not None:
        yield "drawn", facts.drawn, RECIPE_FILE, initialisation == "random"


def _field(recipe: Mapping[str, Any], part: str, name: str) -> Any:
    fields = recipe.get(part)
    return fields.get(name) if isinstance(fields, dict) else None


def _check_tasks(pair: PairFolder, facts: CardFacts, findings: Findings) -> None:
    """The card tells of each task that has a delta, and of no other; what it tells is the delta's."""
    for task in sorted(set(facts.tasks) - {*pair.delta_files, *pair.listed_tasks}):  # of these `files` misses the delta
        findings.add(FACTS_FILE, f"it tells of the task {task}, of which there is no delta", "restore the task")
    for task, name in pair.delta_files.items():
        if task not in facts.tasks:
            remedy = "add the task with `bistill add-task`, or remove its folder"
            findings.add(name, f"{FACTS_FILE}, which the card is rendered from, does not tell of the task", remedy)
            continue
        told = facts.tasks[task]
        if pair.fields and task not in pair.listed_tasks and not told.get("added"):
            problem = f"tasks.{task} is missing, and {FACTS_FILE} does not say that the task was added later"
            findings.add(CONFIG_FILE, problem, "restore the packaged configuration")
        try:
            delta = SparseDelta.load(pair.models / name)
        except Exception:  # whatever is wrong with it: `hashes` says it
            continue
        for field in ("head", "labels"):
            if told.get(field) != (found := delta.metadata.get(field)):
                problem = f"tasks.{task}.{field} = {told.get(field)!r}: {name} has {found!r}"
                findings.add(FACTS_FILE, problem, _PACKAGE_AGAIN)
        density = told.get("density")
        if not (isinstance(density, int | float) and math.isclose(density, delta.density, abs_tol=_ROUNDING)):
            problem = f"tasks.{task}.density = {density!r}: {name} has {delta.density!r}"
            findings.add(FACTS_FILE, problem, _PACKAGE_AGAIN)


def check_computed_with(pair: PairFolder, findings: Findings) -> None:
    """See that the scores were computed with this configuration, and labels that stand in this order.

    The tokenizer's settings are looked at with the tokenizer.
    """
    recorded, scored = pair.computed_with, [task for task in pair.delta_files if results_file(task) in pair.files]
    if recorded is None:
        if scored:
            pair.notes.append(
                f"{FACTS_FILE} does not say what the scores were computed with beside the weights, as that of pairs "
                f"packaged earlier does not: {CONFIG_FILE}, {TOKENIZER_CONFIG_FILE} and the order of the labels could "
                "not be compared with it."
            )
        return
    found = configuration_sha256(pair.fields)
    if found != recorded.get("configuration"):
        problem = f"its backbone has the hash {found}, the scores were computed with {recorded.get('configuration')}"
        findings.add(CONFIG_FILE, problem, "restore the packaged configuration")
    labels = recorded.get("labels")
    known = labels if isinstance(labels, dict) else {}
    for task in (task for task in scored if task in known):
        for name, there in _labels(pair, task):
            if not isinstance(there, list) or labels_sha256(there) != known[task]:
                problem = f"labels of {task} = {there!r}: its scores were computed with others, or in another order"
                findings.add(name, problem, "restore the file that was packaged")
    if unknown := [task for task in scored if task not in known]:
        pair.notes.append(
            f"{FACTS_FILE} does not say in which order the labels of {', '.join(unknown)} stood when they were scored, "
            "so it could not be compared."
        )


def _labels(pair: PairFolder, task: str) -> Iterator[tuple[str, Any]]:
    """The labels of a task, in each file that has them."""
    name = pair.delta_files[task]
    with suppress(Exception):  # whatever is wrong with it: `hashes` says it
        yield name, read_description(str(pair.models / name)).get("labels")
    if task in pair.listed_tasks:
        yield CONFIG_FILE, pair.listed_tasks[task].get("labels")
    told = pair.read_json(FACTS_FILE).get("tasks")
    if isinstance(told, dict) and isinstance(told.get(task), dict):
        yield FACTS_FILE, told[task].get("labels")
