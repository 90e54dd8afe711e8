"""Loading a published pair: each class gives back an ordinary model of the backbone's own architecture.

`from_pretrained` reads the base weights, adds a task's sparse delta where a head was asked for, and hands the sum to
the native class; there is no wrapper around the result. This file travels with every published repository and imports
nothing of the package it comes from.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel
from transformers.models.auto import modeling_auto
from transformers.utils import cached_file
from transformers.utils.hub import resolve_revision

from .configuration_bistill import HEADS, BistillConfig
from .sparse_delta import SparseDelta, read_description

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # importing it in earnest takes seconds

BASE_FILE = "model.safetensors"
"""The phase-1 student, under the backbone's native parameter names."""

_KEPT_AS = "bistill_kept_as"
"""In the metadata of a file of weights that were kept: its name, which tells what it was made of."""

_ANY_TASK = "the task that config.json makes the default"
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class _BistillLoader:
    """What the five loading classes share; they differ in the head that they ask for."""

    config_class = BistillConfig
    head: ClassVar[str | None] = None

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise OSError(f"{type(self).__name__} loads models: call {type(self).__name__}.from_pretrained(...)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        config: BistillConfig | None = None,
        task: str | None = _ANY_TASK,
        cache_task_weights: bool = False,
        **kwargs: Any,
    ) -> PreTrainedModel:
        """Load the student, with a task's delta and head where this class has a head.

        Args:
            pretrained_model_name_or_path: Hub id or folder of a published pair.
            model_args: Passed on to the native class.
            config: The pair's configuration; read from `config.json` if not given.
            task: Which published task to load, where the head has several. None asks for a fresh head on the student,
                to be fine-tuned, with `num_labels=` or `id2label=`.
            cache_task_weights: Keep the sum of base weights and delta in huggingface_hub's cache of assets
                (`HF_ASSETS_CACHE`), so that later loads map it like any checkpoint instead of adding again. Each task
                takes as much disk there as the base weights. Without a task there is nothing to keep.
            kwargs: `revision`, `token`, `cache_dir`, `local_files_only`, ... as everywhere in transformers; the rest
                (`dtype`, `device_map`, `attn_implementation`, ...) goes to the native class. A PEFT adapter that the
                Auto classes found is put on what was loaded.

        Returns:
            A model of the backbone's own class, in evaluation mode.

        Raises:
            ValueError: there is no such task, no delta for the head, several candidates and no default, a delta that
                was made for other base weights, or other labels are asked for than the task has. The message lists what
                there is.
            OSError: a file is missing or cannot be fetched.
        """
        hub = {name: kwargs.pop(name) for name in _HUB_ARGUMENTS if name in kwargs}
        for name in ("trust_remote_code", "_from_auto", "_from_pipeline", "code_revision"):
            kwargs.pop(name, None)
        adapter = {"adapter_name": kwargs.pop("adapter_name", "default"), **(kwargs.pop("adapter_kwargs", None) or {})}
        # One commit for all files of this load, even if the repository moves meanwhile.
        hub["revision"] = resolve_revision(
            pretrained_model_name_or_path,
            hub.get("revision"),
            **{name: hub[name] for name in ("token", "local_files_only", "cache_dir") if name in hub},
        )
        if config is None:
            dtype = kwargs.get("dtype")  # lands in the configuration, and must reach the native class all the same
            config, kwargs = BistillConfig.from_pretrained(
                pretrained_model_name_or_path, return_unused_kwargs=True, **hub, **kwargs
            )
            if dtype is not None:
                kwargs["dtype"] = dtype
        where = os.fspath(pretrained_model_name_or_path)

        def local(name: str) -> str:
            return str(cached_file(where, name, **hub))  # raises where the file is missing

        chosen = cls._task_to_load(config, task, where)
        labels = delta_file = None
        if chosen is not None:
            try:
                delta_file = local(f"tasks/{chosen}/delta.safetensors")
            except OSError as error:
                if chosen not in (config.tasks or {}):
                    _refuse_task(chosen, config, where, error)
                raise
            description = read_description(delta_file)
            _check_belongs(description, config, chosen, cls.head, where)
            labels = description.get("labels") or None
            _check_labels(config, labels or (), chosen, where)
        native_config = config.backbone_config(labels)
        native_class = _native_class(cls.head, native_config)
        files = local(BASE_FILE), delta_file
        kept = _kept_file(where, files, native_class, native_config) if cache_task_weights and delta_file else None
        state = _read_kept(kept) or _base_state(*files, native_class, native_config, where, cls.head, kept)
        if native_config._attn_implementation is not None:
            kwargs.setdefault("attn_implementation", native_config._attn_implementation)
        model = native_class.from_pretrained(None, *model_args, config=native_config, state_dict=state, **kwargs)
        loaded = model[0] if isinstance(model, tuple) else model  # output_loading_info=True returns a pair
        loaded.name_or_path = loaded.config.name_or_path = where
        _wear(loaded, **adapter)
        return model

    @classmethod
    def _from_config(cls, config: BistillConfig, **kwargs: Any) -> PreTrainedModel:
        """Build the native architecture with random weights (`AutoModel.from_config`)."""
        native_config = config.backbone_config()
        return _native_class(cls.head, native_config)._from_config(native_config, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoModel") -> None:
        """Do nothing: what is loaded is a native model, which is saved as one, without this code."""

    @classmethod
    def _task_to_load(cls, config: BistillConfig, task: str | None, where: str) -> str | None:
        """Choose the task whose delta is read; None for the bare student."""
        if cls.head is None or cls.head == "masked-lm":
            if task not in (None, _ANY_TASK):
                raise ValueError(f"{where}: {cls.__name__} has no task head, so task={task!r} means nothing to it.")
            if cls.head == "masked-lm" and not config.language_modelling_head:
                raise ValueError(f"{where}: no language-modelling head was published. {_what_there_is(config)}")
            return None
        if task is None:
            return None
        if task != _ANY_TASK:
            published = (config.tasks or {}).get(task)
            if published is not None and published["head"] != cls.head:
                raise ValueError(
                    f"{where}: task {task!r} has the head {published['head']!r}: load it through "
                    f"{HEADS[published['head']]}. {_what_there_is(config)}"
                )
            return task  # a task folder that was added later need not be listed in config.json
        candidates = config.tasks_of(cls.head)
        if not candidates:
            raise ValueError(
                f"{where}: no task with the head {cls.head!r} was published. {_what_there_is(config)} "
                "Pass task=None and num_labels to get a fresh head to fine-tune."
            )
        if len(candidates) == 1:
            return candidates[0]
        default = (config.default_tasks or {}).get(cls.head)
        if default is None:
            raise ValueError(f"{where}: several tasks share the head {cls.head!r}: pass task= one of {candidates}.")
        return default


class BistillModel(_BistillLoader):
    """Loads the student's encoder as the backbone's own base model; registered with `AutoModel`."""


class BistillForMaskedLM(_BistillLoader):
    """Loads the student with its language-modelling head; registered with `AutoModelForMaskedLM`."""

    head = "masked-lm"


class BistillForTokenClassification(_BistillLoader):
    """Loads the student with a tagging task; registered with `AutoModelForTokenClassification`."""

    head = "token-classification"


class BistillForSequenceClassification(_BistillLoader):
    """Loads the student with a classification task; registered with `AutoModelForSequenceClassification`."""

    head = "sequence-classification"


class BistillForQuestionAnswering(_BistillLoader):
    """Loads the student with a span-extraction task; registered with `AutoModelForQuestionAnswering`."""

    head = "question-answering"


def _wear(model: PreTrainedModel, *, _adapter_model_path: str | None = None, adapter_name: str, **kwargs: Any) -> None:
    """Put the PEFT adapter on, whose folder the Auto classes were given and which names the pair as its base."""
    if _adapter_model_path is not None:
        model.load_adapter(_adapter_model_path, adapter_name=adapter_name, adapter_kwargs=kwargs)


def _check_labels(config: BistillConfig, labels: Sequence[str], task: str, where: str) -> None:
    """Refuse labels that somebody asks for and the task does not have; a task without labels has two logits.

    Raises:
        ValueError: there are such.
    """
    asked_for, logits = config.labels_asked_for, len(labels) or 2
    # 2 is also what a configuration has of which nobody has asked for a number; label2id alone asks for none.
    allowed = (logits,) if {"num_labels", "id2label"} & {*asked_for} else (2, logits)
    if config.num_labels not in allowed:
        raise ValueError(
            f"{where}: task {task!r} has {len(labels)} labels, not {config.num_labels}. "
            "Pass task=None to get a fresh head with num_labels."
        )
    ids = {label: row for row, label in enumerate(labels)}
    rows = {str(row): label for row, label in (config.id2label or {}).items()}  # in JSON keys are text
    others = ("id2label" in asked_for and rows != {str(row): label for row, label in enumerate(labels)}) or (
        "label2id" in asked_for and config.label2id != ids
    )
    if labels and others:
        raise ValueError(
            f"{where}: task {task!r} has the labels {', '.join(labels)}, in this order. "
            "Pass task=None to get a fresh head with id2label and label2id, or leave them out."
        )


def _refuse_task(task: str, config: BistillConfig, where: str, error: OSError) -> NoReturn:
    """Say that a task was not published: of the error, only why the Hub could not be asked is worth telling.

    Raises:
        ValueError: always.
    """
    cause = error.__cause__
    missing = isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError)
    if cause is None or missing:
        raise ValueError(f"{where}: no task {task!r} was published. {_what_there_is(config)}") from None
    raise ValueError(
        f"{where}: config.json has no task {task!r}, and whether it was added later could not be looked up. "
        f"{_what_there_is(config)}"
    ) from error


def _native_class(head: str | None, config: Any) -> Any:
    auto = AutoModel if head is None else getattr(modeling_auto, HEADS[head])
    try:
        found = auto._model_mapping[type(config)]
    except KeyError:
        raise ValueError(f"transformers has no {config.model_type} model with the head {head!r}.") from None
    return found[0] if isinstance(found, (list, tuple)) else found


def _base_state(
    base_file: str,
    delta_file: str | None,
    native_class: Any,
    config: Any,
    where: str,
    head: str | None,
    kept: Path | None,
) -> dict[str, torch.Tensor]:
    """Choose the base's tensors that the native class has, under its names, add the delta, and keep the sum if asked.

    Raises:
        ValueError: the native class has a parameter that neither base nor delta holds.
    """
    base = load_file(base_file)
    delta = SparseDelta.load(delta_file) if delta_file else None
    with torch.device("meta"):
        empty = native_class(config)
    expected = set(empty.state_dict())
    encoder = {name for name in expected if name.startswith(f"{empty.base_model_prefix}.")}
    if not encoder:  # the base model itself: its own names have no prefix
        base = {name.removeprefix(f"{empty.base_model_prefix}."): tensor for name, tensor in base.items()}
    state = {name: tensor for name, tensor in base.items() if name in expected}
    if delta is not None:
        state = delta.applied_to(state)
    tied = set(empty.all_tied_weights_keys)
    fresh = expected - encoder if delta is None and head not in (None, "masked-lm") else set()
    if missing := sorted(expected - set(state) - tied - fresh):
        raise ValueError(f"{where}: {BASE_FILE} does not hold {missing}, which {native_class.__name__} needs.")
    if kept is not None:
        _keep(state, kept)
    return state


def _kept_file(where: str, made_of: Iterable[str | None], native_class: Any, config: Any) -> Path | None:
    """Name the file in which the sum of a base and a delta is kept: another one when anything that it hangs on is.

    The Hub's cache names files by their content and does not change them; others are told apart by size and time.
    """
    settings = {key: value for key, value in config.to_dict().items() if key != "dtype"}  # cast after it was mapped
    content = json.dumps([transformers.__version__, str(native_class), settings], sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode())
    for file in map(os.path.realpath, filter(None, made_of)):
        found = os.stat(file)
        digest.update(f"\0{file}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}".encode())
    try:
        folder = huggingface_hub.cached_assets_path("bistill_hub", "task-weights", Path(where).name or "pair")
    except (OSError, ValueError) as error:  # a ValueError where a file lies in the folder's place
        _warn_not_kept(error)
        return None
    return folder / f"{digest.hexdigest()}.safetensors"


def _read_kept(file: Path | None) -> dict[str, torch.Tensor] | None:
    """Map weights that were kept; None where there are none, or those of another file."""
    if file is None or not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as kept:
            if (kept.metadata() or {}).get(_KEPT_AS) != file.stem:
                return None
        return load_file(file)
    except (OSError, SafetensorError):
        return None


def _keep(state: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write weights whole or not at all; where that fails, the model is loaded all the same."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
    try:
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(tensors, unfinished, metadata={_KEPT_AS: file.stem})
        os.replace(unfinished, file)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        _warn_not_kept(error)


def _warn_not_kept(error: Exception) -> None:
    warnings.warn(f"the task's weights could not be kept for later loads: {error}", stacklevel=2)


def _check_belongs(
    description: Mapping[str, Any], config: BistillConfig, name: str, head: str | None, where: str
) -> None:
    file = f"{where}: tasks/{name}/delta.safetensors"
    if description.get("head") != head:
        raise ValueError(f"{file} is a delta for the head {description.get('head')!r}, not {head!r}.")
    if description.get("base_sha256") != config.base_sha256:
        raise ValueError(
            f"{file} was made for other base weights ({description.get('base_sha256')}) than config.json records "
            f"({config.base_sha256}). Load the revision that it was published with."
        )


def _what_there_is(config: BistillConfig) -> str:
    tasks = [f"{name} ({HEADS[task['head']]})" for name, task in sorted((config.tasks or {}).items())]
    there = ["the encoder (AutoModel)"]
    if config.language_modelling_head:
        there.append("the language model (AutoModelForMaskedLM)")
    return f"There is: {', '.join(there + tasks)}."
