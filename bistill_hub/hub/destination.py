"""What is there where a pair is to be pushed: looked at, at one commit, before anything of it is overwritten."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..cards.facts import FACTS_FILE, CardFacts, read_facts
from ..errors import InputError
from ..evaluation.results import RESULTS_FILE, read_results
from ..model.configuration_bistill import BistillConfig
from .added_task import facts_with_published
from .pair_folder import RECIPE_FILE
from .refusals import explained
from .remote import Change, Plan
from .repository import DELTA_FILE

CONFIG_FILE = "config.json"
MODEL_FILES = (CONFIG_FILE, "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""What makes a repository the model that it is."""

_TASKS_FOLDER = "tasks"
_REPLACE = "(--replace, replace=True)"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A repository that a pair is to be pushed to, as it was when the push was planned.

    Attributes:
        repo_id: The repository.
        folder: The user's folder, named in messages.
        stage: The files that are to be pushed.
        place: A folder for what is fetched.
        plan: What the push does.
        revision: The branch, as the user named it.
        endpoint: The server's address; None for the one of HF_ENDPOINT, or the Hub itself.
    """

    repo_id: str
    folder: Path
    stage: Path
    place: Path
    plan: Plan
    revision: str | None
    endpoint: str | None

    def change(self, path: str) -> Change | None:
        """What the push does to a file."""
        return next((change for change in self.plan.changes if change.path == path), None)

    def fetch(self, path: str) -> Path | None:
        """The file as it is there, fetched once; None where there is none.

        Raises:
            BistillError: the Hub did not answer as it should.
        """
        change = self.change(path)
        if change is None or change.remote_size is None:
            return None
        file = self.place / path
        if file.is_file():
            return file
        if change.kind == "same":
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.stage / path, file)
            return file
        from huggingface_hub import HfApi

        with explained(self.repo_id):
            api = HfApi(endpoint=self.endpoint and self.endpoint.rstrip("/"))
            return Path(api.hf_hub_download(self.repo_id, path, revision=self.plan.commit, local_dir=self.place))

    def fetch_command(self, tasks: Iterable[str]) -> str:
        """The command that fetches tasks into the folder."""
        patterns = [word for task in tasks for word in ("--include", f"{_TASKS_FOLDER}/{task}/*")]
        revision = [] if self.revision is None else ["--revision", self.revision]
        server = [] if self.endpoint is None else ["env", f"HF_ENDPOINT={self.endpoint}"]
        words = ["hf", "download", self.repo_id, *patterns, *revision, "--local-dir", str(self.folder)]
        return shlex.join([*server, *words])


def task_of(path: str) -> str | None:
    """The task that a file of a repository belongs to; None for a file of no task."""
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 and parts[0] == _TASKS_FOLDER else None


def unlisted_tasks(folder: Path, files: Iterable[Path]) -> list[str]:
    """The tasks of which a pair has files and its `card.json` says nothing, sorted.

    Args:
        folder: The pair's folder.
        files: Its files, relative to it.
    """
    told = _json(folder / FACTS_FILE).get("tasks")
    known = set(told) if isinstance(told, dict) else None  # where it is damaged, the check says so
    found = {task for file in files if (task := task_of(file.as_posix()))}
    return [] if known is None else sorted(found - known)


def refuse_another_model(there: Destination) -> None:
    """Refuse to put a pair over a model that is none, or over a pair of other languages.

    Raises:
        InputError: such a one is there.
    """
    found = [name for name in MODEL_FILES if (change := there.change(name)) and change.kind == "change"]
    if not found:
        return
    theirs, ours = _json(there.fetch(CONFIG_FILE)), _json(there.stage / CONFIG_FILE)
    kind = theirs.get("model_type")
    if kind != BistillConfig.model_type:
        model = f"a model of the type {kind!r}" if isinstance(kind, str) else "a model that is no pair"
        problem = f"{model} is there, which the pair would overwrite"
    elif _languages(theirs) != _languages(ours):
        problem = f"the pair {_languages(theirs)} is there, which the pair {_languages(ours)} would overwrite"
    else:
        return
    raise InputError(
        problem,
        field="repo_id",
        value=there.repo_id,
        remedy=f"name another repository, or ask for what is there to be replaced {_REPLACE}",
    )


def refuse_lost_tasks(there: Destination) -> None:
    """Refuse to delete tasks, which others may have contributed, and to put other deltas in the place of theirs.

    Raises:
        InputError: the folder lacks a task that the repository has, or has another one than was added to it.
    """
    changed = [change for change in there.plan.changes if task_of(change.path) is not None]
    here = {task_of(change.path) for change in changed if change.kind != "delete"}
    gone = sorted({task_of(change.path) or "" for change in changed} - here)
    if gone:
        raise InputError(
            f"the repository has tasks that the folder lacks: {', '.join(gone)}",
            file=there.repo_id,
            field=_TASKS_FOLDER,
            remedy=f"bring them into {there.folder} with `{there.fetch_command(gone)}`, or ask for them to be deleted "
            f"{_REPLACE}",
        )
    told = _json(there.fetch(FACTS_FILE)).get("tasks")
    tasks = told.items() if isinstance(told, dict) else ()
    added = {name for name, task in tasks if isinstance(task, dict) and task.get("added")}
    deltas = [change for change in changed if change.kind == "change" and change.path.endswith(f"/{DELTA_FILE}")]
    if others := sorted(added & {task_of(change.path) for change in deltas}):
        raise InputError(
            f"the repository has tasks that were added to the pair, and the folder has other deltas of them: "
            f"{', '.join(others)}",
            file=there.repo_id,
            field=_TASKS_FOLDER,
            remedy="push a folder that has those, such as a copy of the repository with what you changed in it, or "
            f"ask for yours to replace them {_REPLACE}",
        )


def facts_with_unlisted(there: Destination, facts: CardFacts, tasks: Sequence[str]) -> CardFacts:
    """Complete what the card states by tasks that somebody brought into the folder from the repository.

    Args:
        there: The repository.
        facts: What the folder's card states.
        tasks: Tasks that the folder has, and of which they say nothing.

    Returns:
        The facts, with what the repository's card states of these tasks.

    Raises:
        InputError: a task is another one than the repository's, or its card says nothing of it either.
    """
    theirs = _facts(there.fetch(FACTS_FILE))
    known = [task for task in tasks if theirs is not None and task in theirs.tasks]
    for task in tasks:
        own = [change for change in there.plan.changes if task_of(change.path) == task]
        if theirs is None or task not in known or any(change.kind != "same" for change in own):
            place = f"{_TASKS_FOLDER}/{task}"
            raise InputError(
                f"{FACTS_FILE} says nothing of this task, so the card would not name it",
                file=there.folder,
                field=_TASKS_FOLDER,
                value=task,
                remedy=f"fetch it as it is in the repository with `{there.fetch_command([task])}`, or move {place} away"
                if task in known
                else f"move {place} away; a task comes into a pair with the run that is packaged, or by "
                "`bistill add-task`",
            )
        results = there.folder / _TASKS_FOLDER / task / RESULTS_FILE
        told = _as_added(there, theirs, task)
        facts = facts_with_published(facts, told, task, read_results(results) if results.is_file() else ())
    return facts


def _as_added(there: Destination, theirs: CardFacts, task: str) -> CardFacts:
    """What the repository's card states; a task of its recipe is added to a pair whose own has no such task."""
    described = theirs.tasks[task] if isinstance(theirs.tasks, dict) else None
    listed = _json(there.stage / CONFIG_FILE).get("tasks")
    if not isinstance(described, dict) or described.get("added") or (isinstance(listed, dict) and task in listed):
        return theirs
    recipes = _json(there.fetch(RECIPE_FILE)).get("tasks")
    found = [each for each in recipes if isinstance(each, dict)] if isinstance(recipes, list) else []
    recipe: dict[str, Any] = next((each for each in found if each.get("name") == task), {})
    added = {"recipe": recipe, "command": theirs.command}
    return replace(theirs, tasks={**theirs.tasks, task: {**described, "added": added}})


def _facts(file: Path | None) -> CardFacts | None:
    try:
        return None if file is None else read_facts(file.parent)
    except (InputError, RecursionError):
        return None


def _languages(config: dict[str, Any]) -> str:
    return f"{config.get('source_language')}-{config.get('target_language')}"


def _json(file: Path | None) -> dict[str, Any]:
    """A JSON object; an empty one where there is none that can be read."""
    try:
        content = {} if file is None else json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
