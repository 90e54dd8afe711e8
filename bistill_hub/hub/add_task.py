"""Adds a task to a published pair: trains its delta on the base as it is, scores it, and proposes it as a pull request.

Base, configuration and the other tasks are not touched. The folder of the new task comes into the repository, and the
card is rendered anew.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..failed_writes import failed_writes_explained
from ..sources import file_sha256
from ..tasks import get_task
from .added_task import TrainedTask, command_of, description_of, facts_with_task
from .fetched_pair import FetchedPair, fetch_pair
from .pair_folder import RECIPE_FILE
from .refusals import explained
from .remote import Change, Published, check_destination, plan_changes, publish
from .repository import DELTA_FILE, check_files, check_results, files_of, is_allowed

if TYPE_CHECKING:
    from ..evaluation.results import Result
    from ..pipeline.preflight import TaskData
    from ..recipe import Recipe

SOURCES = ("train", "validation", "test_source", "test_target")
"""The data that a task is added with."""

PAIR_FOLDER = "pair"
"""In the output: the pair as it was fetched."""

REPOSITORY_FOLDER = "repository"
"""In the output: the pair with the new task."""

_TOLD = ("README.md", "card.json")
_NECESSARY = ("config.json", "model.safetensors", "recipe.json", *_TOLD)
_RENDERED = ("assets/", ".eval_results/")


@dataclass(frozen=True, kw_only=True)
class AddedTask:
    """A task that was added to a pair.

    Attributes:
        folder: The pair with the task, ready to be loaded.
        results: The task's scores.
        changes: What the pull request changes in the repository; empty for a pair in a folder.
        published: The pull request; None where nothing was to be published.
    """

    folder: Path
    results: tuple[Result, ...]
    changes: tuple[Change, ...]
    published: Published | None


def add_task(
    pair: str | os.PathLike[str],
    task: str,
    data: Mapping[str, str | os.PathLike[str] | Mapping[str, Any]],
    *,
    output_dir: str | os.PathLike[str],
    teacher: str | None = None,
    target_text: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    revision: str | None = None,
    endpoint: str | None = None,
    replace: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> AddedTask:
    """Train a task on a published pair, score it, and open a pull request with it.

    Its stages are those of a run: the teacher is tuned for the task, the student learns it from that teacher as a
    sparse delta of the published base, both are scored. They leave their folders in `output_dir`; the same call goes on
    where it was interrupted, and trains nothing again where only the pair's card or other tasks have changed meanwhile.

    The pull request holds `tasks/TASK`, the card with its pictures and facts, and nothing else. `config.json` does not
    list the new task, so it is loaded by its name, `from_pretrained(pair, task=TASK)`, also where no other task has its
    head: without a name only the tasks that `config.json` lists are found.

    Args:
        pair: Hub id of a published pair; or the folder of a packaged one, from which nothing is published.
        task: Name of the task.
        data: By `train`, `validation`, `test_source` and `test_target` a file, or the fields of a `LabelledSource`.
        output_dir: Where everything is written; the pair with the task is `repository` in it.
        teacher: The multilingual teacher, Hub id or folder; needed where the pair names none.
        target_text: A file with text of the target language, for `distillation.target_share`; None for the pair's own.
        settings: Fields of a `TaskRecipe` to set, such as `{"teacher.epochs": 3, "distillation.density": 0.05}`.
        revision: Branch of the pair on the Hub; None for the main branch. With `dry_run` also a tag or commit.
        endpoint: The Hub's address; None for the one of HF_ENDPOINT, or the Hub itself.
        replace: Train the task anew if the pair has it, and propose it in place of the old one.
        dry_run: Do everything but the pull request.
        progress: Show progress bars and what is being done.

    Returns:
        The folder, the scores, and the pull request.

    Raises:
        InputError: something that is needed is missing or wrong: the pair is damaged or has the task, the teacher is
            not the pair's, data are malformed or of another language, nobody is logged in; raised before anything is
            trained.
        BistillError: the Hub did not answer as it should, or the disk is full; what is finished is kept.
    """
    from ..folders import check_writable
    from ..pipeline.executor import locked

    output = Path(output_dir)
    get_task(task)
    fields = _task_fields(task, data, settings or {})
    if not Path(pair).is_dir():
        check_destination(os.fspath(pair), create_pr=True, endpoint=endpoint)
    check_writable(output)
    with locked(output):
        if not Path(pair).is_dir() and not dry_run:
            _check_account(os.fspath(pair), revision, endpoint)
        fetched = fetch_pair(
            pair,
            revision,
            endpoint,
            necessary=_NECESSARY,
            use="a task can be added to",
            target=output / PAIR_FOLDER,
        )
        _check_task(fetched, task, replace)
        _refuse_findings(fetched.folder, fetched.name, "the pair has to be mended before a task is added to it")
        text = None if target_text is None else os.fspath(target_text)
        trained = _train(fetched, fields, teacher, text, output, progress)
        command = command_of(fetched.shown, task, data, settings or {}, teacher, text)
        with failed_writes_explained(output, "the pair with the task"):
            folder = _assemble(fetched, trained, output / REPOSITORY_FOLDER, command)
        return _propose(fetched, trained, folder, revision, endpoint, dry_run)


def _task_fields(task: str, data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nest what a task is described by, as the fields of a `TaskRecipe`."""
    if unknown := sorted(set(data) - set(SOURCES)):
        raise InputError(
            "a task has no such data", field="data", value=unknown[0], remedy=f"choose from {', '.join(SOURCES)}"
        )
    fields: dict[str, Any] = {"name": task}
    for name, source in data.items():
        fields[name] = dict(source) if isinstance(source, Mapping) else {"path": os.fspath(source)}
    for path, value in settings.items():
        *parents, last = path.split(".")
        place = fields
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(
                    "this field has no fields of its own", field="settings", value=path, remedy="correct its name"
                )
        if path == "name":
            raise InputError("the task is named already", field="settings", value=path, remedy="leave it out")
        place[last] = value
    if missing := [name for name in SOURCES if name not in fields]:
        raise InputError(
            "a task needs data to learn from, to choose by, and to be scored on in both languages",
            field="data",
            value=missing[0],
            remedy=f"name a file for {', '.join(missing)}, as in {missing[0]}=FILE",
        )
    return fields


def _check_account(repo_id: str, revision: str | None, endpoint: str | None) -> None:
    """Refuse what would fail at the end, after hours: nobody is logged in, or there is no such branch."""
    from huggingface_hub import HfApi

    with explained(repo_id):
        api = HfApi(endpoint=endpoint and endpoint.rstrip("/"))
        api.whoami()
        if revision is None:
            return
        branches = [branch.name for branch in api.list_repo_refs(repo_id).branches]
    if revision not in branches:
        raise InputError(
            "a pull request is opened against a branch, and the repository has none of this name",
            file=repo_id,
            field="revision",
            value=revision,
            remedy=f"choose one of {', '.join(sorted(branches))}, or leave out publishing (--no-push, dry_run=True)",
        )


def _check_task(pair: FetchedPair, task: str, replace: bool) -> None:
    """Refuse a task that is there already, and one to replace that is not.

    Raises:
        InputError: it is such a one.
    """
    from ..pair_loading import load_pair_config

    try:
        listed = set(load_pair_config(pair.folder).tasks or {})
    except InputError:
        listed = set()  # the check says what is wrong with it
    there = sorted({name.split("/")[1] for name in pair.files if name.startswith("tasks/")} | listed)
    if task in there and not replace:
        raise InputError(
            "the pair has this task already",
            file=pair.name,
            field="task",
            value=task,
            remedy="name another one, or ask for it to be replaced (--replace, replace=True)",
        )
    if task not in there and replace:
        raise InputError(
            f"the pair does not have this task; it has {', '.join(there) or 'none'}",
            file=pair.name,
            field="replace",
            value=task,
            remedy="leave this out to add it",
        )


def _refuse_findings(folder: Path, name: str, problem: str) -> None:
    from .check import check_pair

    if findings := check_pair(folder).findings:
        lines = [
            f"{finding.file + ': ' if finding.file else ''}{finding.problem}; {finding.remedy}" for finding in findings
        ]
        raise InputError(
            f"{problem}, {len(lines)} finding{'s' if len(lines) > 1 else ''}",
            file=name,
            remedy="\n  ".join(["see to them:", *lines]),
        )


def _train(
    pair: FetchedPair,
    fields: Mapping[str, Any],
    teacher: str | None,
    target_text: str | None,
    output: Path,
    progress: bool,
) -> TrainedTask:
    """Do the task's stages, after a look at everything that they need."""
    from ..cards.facts import read_facts
    from ..pipeline.executor import do_stages
    from ..pipeline.given_teacher import check_given_teacher
    from ..pipeline.order import PHASE_1, by_name, common_inputs, stages_of_task
    from ..pipeline.preflight import check_lengths, check_model_file, read_task
    from ..pipeline.rebuild import (
        check_delta_of_language,
        check_languages,
        check_teacher,
        published_recipe,
        read_published,
        student_stage,
    )
    from ..teacher import load_config, load_tokenizer

    recipe = published_recipe(pair.folder, fields, teacher=teacher, target_text=target_text)
    _check_target_text(recipe, target_text, read_published(pair.folder / RECIPE_FILE).hashes.get("target.text"))
    settings, task = recipe.tasks[0], get_task(recipe.tasks[0].name)
    for name, source in settings.sources.items():
        source.check(f"tasks.{task.name}.{name}")
    check_model_file(settings.teacher.delta, f"tasks.{task.name}.teacher.delta")
    check_delta_of_language(recipe)
    facts = read_facts(pair.folder)
    token_map = check_teacher(pair.folder, recipe, facts)
    config = load_config(recipe.teacher.model, recipe.teacher.revision)
    check_lengths(recipe, config)
    data = read_task(settings, task)
    tokenizer = load_tokenizer(recipe.teacher.model, recipe.teacher.revision)
    check_given_teacher(settings, task, data.labels, config, tokenizer)
    _check_head(pair, data)
    check_languages(recipe, data, token_map, facts)
    first = do_stages([student_stage(pair.folder, token_map)], output, progress=False)
    student = [*first, dataclasses.replace(first[0], name=PHASE_1)]  # published is what phase 1 left
    stages = stages_of_task(recipe, data, common_inputs(recipe), progress=progress)
    records = do_stages(stages, output, progress=progress, before=student)
    return TrainedTask(recipe=recipe, data=data, records=by_name(records[len(student) :]))


def _check_target_text(recipe: Recipe, given: str | None, sha256: str | None) -> None:
    """Refuse text that nobody reads, and the lack of text that somebody is to read.

    Args:
        recipe: The pair's recipe with the task.
        given: The file that was named; None for the pair's own text.
        sha256: Hash of the pair's own text, if it was a file: another file of that name is not it.

    Raises:
        InputError: it is so.
    """
    share, text = recipe.tasks[0].distillation.target_share, recipe.target.text
    if given is not None and not share:
        raise InputError(
            "no share of this text would be read",
            field="target_text",
            value=given,
            remedy="set distillation.target_share above 0, or leave the text out",
        )
    if given is not None:
        text.check("target_text")
    elif share and text.path is not None and not (text.file.is_file() and file_sha256(text.file) == sha256):
        raise InputError(
            "the text that the pair was taught on is not here",
            field="target_text",
            value=text.name,
            remedy=f"give a file of {recipe.target.name} text (--target-text FILE, target_text=...)",
        )


def _check_head(pair: FetchedPair, data: TaskData) -> None:
    """Refuse other labels for a task that `config.json` lists.

    Raises:
        InputError: it lists others.
    """
    from ..model.configuration_bistill import BistillConfig

    listed = (BistillConfig.from_pretrained(pair.folder).tasks or {}).get(data.task.name)
    if listed is not None and tuple(listed["labels"]) != data.labels:
        raise InputError(
            f"config.json lists the task with the labels {', '.join(listed['labels'])}",
            file=data.recipe.train.name,
            field=f"tasks.{data.task.name}.train",
            value=list(data.labels),
            remedy="train on data with these labels",
        )


def _assemble(pair: FetchedPair, trained: TrainedTask, target: Path, command: str) -> Path:
    """Put the pair and the new task together, and check all of it."""
    from ..cards.card import write_card
    from ..cards.facts import read_facts, write_facts
    from ..evaluation.results import RESULTS_FILE
    from ..model.configuration_bistill import BistillConfig
    from ..model.sparse_delta import SparseDelta

    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    place = unfinished / "tasks" / trained.task
    place.mkdir(parents=True)
    for name in pair.files:
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pair.folder / name, unfinished / name)
    delta = SparseDelta.load(trained.records[f"{trained.task} phase 2"].folder / DELTA_FILE)
    base = BistillConfig.from_pretrained(pair.folder).base_sha256
    described = {**delta.metadata, "task": trained.task, "base_sha256": base}
    SparseDelta(delta.sparse, delta.dense, described).save(place / DELTA_FILE)
    shutil.copyfile(trained.records[f"{trained.task} evaluation"].folder / RESULTS_FILE, place / RESULTS_FILE)
    write_facts(unfinished, facts_with_task(read_facts(pair.folder), trained, command))
    write_card(unfinished, read_facts(unfinished))
    check_files(unfinished)
    check_results(unfinished)
    _refuse_findings(unfinished, str(unfinished), "the pair with the task is not fit to be published")
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    return target


def _propose(
    pair: FetchedPair, trained: TrainedTask, folder: Path, revision: str | None, endpoint: str | None, dry_run: bool
) -> AddedTask:
    """Open the pull request, or tell what it would change."""
    from ..cards.facts import read_facts
    from ..evaluation.results import RESULTS_FILE, read_results

    results = tuple(read_results(folder / "tasks" / trained.task / RESULTS_FILE))
    if pair.commit is None:
        return AddedTask(folder=folder, results=results, changes=(), published=None)
    ours = partial(_is_ours, trained.task)
    files = [file for file in files_of(folder) if ours(file.as_posix())]
    plan = plan_changes(pair.name, folder, files, revision=pair.commit, deletable=ours, endpoint=endpoint)
    published = None
    if not dry_run:
        facts = read_facts(folder)
        known = any(name.startswith(f"tasks/{trained.task}/") for name in pair.files)
        published = publish(
            pair.name,
            folder,
            files,
            message=f"{'Replace' if known else 'Add'} the task {trained.task} "
            f"{'of' if known else 'to'} {facts.source[0]}-{facts.target[0]}",
            description=description_of(dataclasses.replace(facts, results=results), trained),
            create_pr=True,
            revision=revision,
            deletable=ours,
            endpoint=endpoint,
            parent_commit=pair.commit,
        )
    changes = tuple(change for change in plan.changes if change.kind != "same")
    return AddedTask(folder=folder, results=results, changes=changes, published=published)


def _is_ours(task: str, path: str) -> bool:
    """Whether a file is among those that adding a task may change."""
    return is_allowed(path) and (path in _TOLD or path.startswith((f"tasks/{task}/", *_RENDERED)))
