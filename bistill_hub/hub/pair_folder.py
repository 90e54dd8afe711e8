"""A pair whose files are looked at but not trusted: what a check reads of it, and models loaded without its code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards.facts import FACTS_FILE
from ..errors import InputError
from ..model.configuration_bistill import HEADS, BistillConfig
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta, state_sha256
from .repository import DELTA_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RECIPE_FILE = "recipe.json"
CONFIG_FILE = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
LEADS_ELSEWHERE = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "quantization_config",
    "custom_pipelines",
)
"""Fields of config.json through which transformers would fetch or run code from somewhere else."""

_MANIFEST_FILE = "manifest.json"
"""In the folder of a run's stage that is finished."""

_WITHIN = ("package/repository", "repository")
"""Where in the folder of a run, or of a further task, its pair is."""

_DELTA = re.compile(r"tasks/([a-z0-9_-]+)/delta\.safetensors")


@dataclass(eq=False)
class PairFolder:
    """A pair's files.

    Attributes:
        folder: Where they are.
        files: Their paths, relative to the repository, sorted. Those that no pair has need not be in the folder.
        models: A folder of links to what models and tokenizers are loaded from: no code, nothing that may not be there.
        weights: By task, the hash of its model; filled by `load_task`.
        notes: What the report has to say beside findings.
    """

    folder: Path
    files: tuple[str, ...]
    models: Path
    weights: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What stands in config.json; empty where it cannot be read."""
        return self.read_json(CONFIG_FILE)

    @cached_property
    def config(self) -> BistillConfig | None:
        """The configuration; None where there is none to load models by."""
        if not self.fields or any(name in self.fields for name in LEADS_ELSEWHERE):
            return None
        try:
            return BistillConfig.from_pretrained(self.models)
        except Exception:  # whatever the fields are: `hashes` says what is wrong with them
            return None

    @cached_property
    def base_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the base's parameters by name; empty where they cannot be read."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.models / BASE_FILE, "pt") as file:
                names = file.keys()
                return {name: tuple(file.get_slice(name).get_shape()) for name in names}
        except (OSError, SafetensorError):  # `hashes` says why
            return {}

    @cached_property
    def computed_with(self) -> dict[str, Any] | None:
        """What card.json says that the scores were computed with; None where it says nothing, as of older pairs."""
        recorded = self.read_json(FACTS_FILE).get("computed_with")
        return recorded if recorded is None or isinstance(recorded, dict) else {}

    @property
    def listed_tasks(self) -> dict[str, Any]:
        """The tasks that config.json lists."""
        tasks = self.fields.get("tasks")
        return {name: task for name, task in tasks.items() if isinstance(task, dict)} if isinstance(tasks, dict) else {}

    @property
    def delta_files(self) -> dict[str, str]:
        """Path of the delta by task, of those that are there."""
        return {found[1]: name for name in self.files if (found := _DELTA.fullmatch(name))}

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object; an empty one where there is none."""
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # the last where it is nested without end
            return {}
        return content if isinstance(content, dict) else {}

    def load_task(self, task: str) -> PreTrainedModel:
        """Load a task's model through transformers' Auto class, as users do.

        Raises:
            ValueError: the delta has no head that there is.
        """
        from transformers.models.auto import modeling_auto

        from ..model import auto as _registered  # noqa: F401

        head = SparseDelta.load(self.models / self.delta_files[task]).metadata.get("head")
        if head not in HEADS:
            raise ValueError(f"the delta's head is {head!r}")
        model: PreTrainedModel = getattr(modeling_auto, HEADS[head]).from_pretrained(
            self.models, task=task, trust_remote_code=False, local_files_only=True
        )
        self.weights.setdefault(task, state_sha256(model.state_dict()))
        return model

    def weights_sha256(self, task: str) -> str:
        """Hash of a task's model, delta and head included."""
        if task not in self.weights:
            self.load_task(task)
        return self.weights[task]


@contextmanager
def opened(folder: Path, files: tuple[str, ...]) -> Iterator[PairFolder]:
    """Look at a folder as at a pair.

    Args:
        folder: The folder.
        files: Paths of its files.

    Raises:
        InputError: it holds no pair.
    """
    if not {CONFIG_FILE, BASE_FILE} & set(files):
        raise InputError(
            f"there is neither {CONFIG_FILE} nor {BASE_FILE}",
            field="pair",
            value=str(folder),
            remedy=_where_the_pair_is(folder, files),
        )
    with tempfile.TemporaryDirectory(prefix="bistill-check-") as place:
        models = Path(place)
        for name in files:
            if name in (CONFIG_FILE, BASE_FILE, *TOKENIZER_FILES) or _DELTA.fullmatch(name):
                _link(folder / name, models / name)
        pair = PairFolder(folder, files, models)
        kind = pair.fields.get("model_type")
        if kind not in (None, BistillConfig.model_type):
            raise InputError(
                "this is another kind of model, not a pair",
                file=folder / CONFIG_FILE,
                field="model_type",
                value=kind,
                remedy="name a folder that a run packaged, or a published pair's Hub id",
            )
        yield pair


def _where_the_pair_is(folder: Path, files: tuple[str, ...]) -> str:
    """What to name in place of a folder that holds no pair itself, such as a run's."""
    for place in _WITHIN:
        if f"{place}/{CONFIG_FILE}" in files and f"{place}/{BASE_FILE}" in files:
            return f"the pair is in a folder below this one, name that: {folder / place}"
    if RECIPE_FILE in files and f"student/{_MANIFEST_FILE}" in files:
        return (
            "a run's folder holds a pair in package/repository once it is finished: give its `bistill run` command "
            f"again, or package what is finished with `bistill package {shlex.quote(str(folder))} --to FOLDER`"
        )
    return "name a folder that a run packaged, or a published pair's Hub id"


def results_file(task: str) -> str:
    """Path of a task's scores in a repository."""
    from ..evaluation.results import RESULTS_FILE

    return f"tasks/{task}/{RESULTS_FILE}"


def delta_file(task: str) -> str:
    """Path of a task's delta in a repository."""
    return f"tasks/{task}/{DELTA_FILE}"


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source.resolve(), target)
    except OSError:  # where links are a privilege
        shutil.copyfile(source, target)
