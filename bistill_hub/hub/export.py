"""A pair, or one of its tasks, as a plain checkpoint: the backbone's own files, with no trace of this package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ..errors import BistillError, InputError, first_line
from ..model.configuration_bistill import HEADS, BistillConfig
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_WORK_FOLDER = ".unfinished"
_DELTA_FILE = "tasks/{}/delta.safetensors"
_HOW_IT_WAS_LOADED = ("is_local", "local_files_only")
"""What a tokenizer would write down of the machine that it was loaded on."""


def load_pair_config(pair: str | os.PathLike[str], revision: str | None = None) -> BistillConfig:
    """Read the configuration of a published or packaged pair.

    Args:
        pair: Hub id or folder.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: there is no such pair, or it is another kind of model.
    """
    from transformers import AutoConfig

    from ..model import auto as _registered  # noqa: F401

    try:
        config = AutoConfig.from_pretrained(pair, revision=revision)
        if config.model_type != BistillConfig.model_type:
            raise ValueError(f"it is a model of the type {config.model_type!r}, not a pair")
    except (OSError, ValueError) as error:
        raise _not_loaded(pair, error) from error
    return config


def published_tasks(config: BistillConfig, pair: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of a pair's tasks, sorted; in a folder also of those that were added after it was packaged."""
    added = {file.parent.name for file in Path(pair).glob(_DELTA_FILE.format("*"))}
    return tuple(sorted({*(config.tasks or {}), *added}))


def export_model(
    pair: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    task: str | None = None,
    revision: str | None = None,
) -> Path:
    """Write a plain checkpoint of the backbone's own architecture, with its tokenizer.

    It needs neither this package nor remote code to be loaded. Before it appears it is loaded back and has to compute,
    bit for bit, what the pair computes.

    Args:
        pair: Hub id or folder of a published or packaged pair.
        output_dir: A new or empty folder.
        task: The task whose head and delta to include; None for the encoder with its pooler, and with the
            masked-language-modelling head where the pair has one.
        revision: Branch, tag or commit of the pair on the Hub.

    Returns:
        The folder.

    Raises:
        InputError: the folder holds something or cannot be written, or the pair or the task cannot be had.
        BistillError: what was written does not compute what the pair does.
    """
    from transformers.utils.hub import resolve_revision

    target = Path(output_dir)
    _check_target(target)
    revision = resolve_revision(pair, revision)  # one commit for all files, even if the repository moves meanwhile
    config = load_pair_config(pair, revision)
    existed = target.exists()
    work = target / _WORK_FOLDER
    try:
        with _writing(target):
            work.mkdir(parents=True)
        try:
            models = _models(pair, config, task, revision)
            tokenizer = _load_tokenizer(pair, revision)
            base = None if task is not None else _base_file(pair, revision)
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise _not_loaded(pair, error) from error
        with _writing(target):
            _write(work, models, tokenizer, base)
            _check_copy(work, models, tokenizer)
            # Last the file that makes a folder a model.
            for file in sorted(work.iterdir(), key=lambda file: file.name == "config.json"):
                file.rename(target / file.name)
            work.rmdir()
    except BaseException:
        shutil.rmtree(work if existed else target, ignore_errors=True)
        raise
    return target


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        problem = "this is a file"
    elif target.is_dir() and any(target.iterdir()):
        problem = "the folder is not empty"
    else:
        return
    raise InputError(problem, field="output_dir", value=str(target), remedy="name a new or an empty folder")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Say in the user's words why something cannot be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"nothing can be written there ({getattr(error, 'strerror', None) or first_line(error)})",
            field="output_dir",
            value=str(target),
            remedy="choose a folder of your own on a disk with room",
        ) from error


def _models(
    pair: str | os.PathLike[str], config: BistillConfig, task: str | None, revision: str | None
) -> dict[str, PreTrainedModel]:
    """The models that the checkpoint has to equal, by Auto class; the first is the one that is written."""
    from transformers.models.auto import modeling_auto

    options: dict[str, Any] = {"revision": revision}
    if task is not None:
        name = HEADS[_head_of(pair, config, task, revision)]
        return {name: getattr(modeling_auto, name).from_pretrained(pair, task=task, **options)}
    names = ["AutoModelForMaskedLM"] if config.language_modelling_head else []
    return {name: getattr(modeling_auto, name).from_pretrained(pair, **options) for name in [*names, "AutoModel"]}


def _head_of(pair: str | os.PathLike[str], config: BistillConfig, task: str, revision: str | None) -> str:
    """The head of a task, which may have been added to the pair after it was packaged."""
    from transformers.utils import cached_file

    if task in (config.tasks or {}):
        return str(config.tasks[task]["head"])  # type: ignore[index]
    try:
        return str(SparseDelta.load(cached_file(pair, _DELTA_FILE.format(task), revision=revision)).metadata["head"])
    except OSError as error:
        there = published_tasks(config, pair)
        raise InputError(
            "the pair has no such task",
            file=str(pair),
            field="task",
            value=task,
            remedy=(f"choose one of {', '.join(there)}, or leave" if there else "leave") + " it out for the encoder",
        ) from error


def _load_tokenizer(place: str | os.PathLike[str], revision: str | None = None) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place, revision=revision)


def _base_file(pair: str | os.PathLike[str], revision: str | None) -> Path:
    from transformers.utils import cached_file

    return Path(cached_file(pair, BASE_FILE, revision=revision))


def _write(
    folder: Path, models: dict[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase, base: Path | None
) -> None:
    """Write a checkpoint.

    Args:
        folder: Where to.
        models: The models; the first one's class and configuration are written.
        tokenizer: The tokenizer.
        base: Weights to copy as they are, because no single class has all of them (head and pooler).
    """
    model = next(iter(models.values()))
    if base is None:
        model.save_pretrained(folder)
    else:
        config: PreTrainedConfig = model.config
        config.architectures = [type(model).__name__]
        config.dtype = model.dtype
        config.save_pretrained(folder)
        shutil.copyfile(base, folder / BASE_FILE)
    for name in _HOW_IT_WAS_LOADED:
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)


def _check_copy(folder: Path, models: dict[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a checkpoint that does not give the pair's classes, pieces, outputs and labels.

    Raises:
        BistillError: it differs.
    """
    import torch
    from transformers.models.auto import modeling_auto

    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(len(tokenizer), (4, 24), generator=drawn)
    mask = torch.ones_like(ids)
    mask[1, 12:] = mask[3, 5:] = 0
    copied_tokenizer = _load_tokenizer(folder)
    lines = tokenizer.batch_decode(ids, skip_special_tokens=True)
    same = copied_tokenizer(lines)["input_ids"] == tokenizer(lines)["input_ids"]
    for name, model in models.items():
        copied = getattr(modeling_auto, name).from_pretrained(folder, dtype=model.dtype)
        with torch.inference_mode():
            expected, found = (each.eval()(ids, attention_mask=mask).to_tuple() for each in (model, copied))
        same = same and type(copied) is type(model) and copied.config.id2label == model.config.id2label
        same = same and len(found) == len(expected) and all(map(torch.equal, found, expected))
    if not same:
        raise BistillError(f"{folder.parent}: the exported checkpoint does not compute what the pair does.")


def _not_loaded(pair: str | os.PathLike[str], error: Exception) -> InputError:
    return InputError(
        f"the pair cannot be loaded ({first_line(error)})",
        field="pair",
        value=str(pair),
        remedy="name a folder that a run packaged, or a published pair's Hub id",
    )
