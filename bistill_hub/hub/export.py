"""A pair, or one of its tasks, as a plain checkpoint: the backbone's own files, and a card that names the pair."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ..cards.card import CARD_FILE
from ..cards.exported import ExportedFacts, render_exported_card
from ..errors import BistillError, InputError, first_line
from ..folders import check_new_folder
from ..model.configuration_bistill import HEADS, BistillConfig
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta
from ..pair_loading import load_pair_config, loading
from ..sentence_encoders import carry_modules
from .exported_facts import check_publishable, exported_facts
from .repository import files_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from .remote import Published

__all__ = ["export_model", "load_pair_config", "published_tasks", "push_export"]

_WORK_FOLDER = ".unfinished"
_DELTA_FILE = "tasks/{}/delta.safetensors"
_HOW_IT_WAS_LOADED = ("is_local", "local_files_only")
"""What a tokenizer would write down of the machine that it was loaded on."""


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
    name: str | None = None,
) -> Path:
    """Write a plain checkpoint of the backbone's own architecture, with its tokenizer and a card that names the pair.

    It needs neither this package nor remote code to be loaded. Before it appears it is loaded back and has to compute,
    bit for bit, what the pair computes.

    Args:
        pair: Hub id or folder of a published or packaged pair.
        output_dir: A new or empty folder.
        task: The task whose head and delta to include; None for the encoder with its pooler, and with the
            masked-language-modelling head where the pair has one.
        revision: Branch, tag or commit of the pair on the Hub.
        name: The Hub id that the checkpoint will have, which the card's snippets load, and for which the card has to
            be in order; by default the name of the folder.

    Returns:
        The folder.

    Raises:
        InputError: the folder holds something or cannot be written, or the pair or the task cannot be had, or its card
            lacks what a published one must state.
        BistillError: what was written does not compute what the pair does.
    """
    from transformers.utils.hub import resolve_revision

    target = Path(output_dir)
    check_new_folder(target)
    revision = resolve_revision(pair, revision)  # one commit for all files, even if the repository moves meanwhile
    config = load_pair_config(pair, revision)
    existed = target.exists()
    work = target / _WORK_FOLDER
    try:
        with _writing(target):
            work.mkdir(parents=True)
        stated = name or target.resolve().name
        with loading(pair):
            head = _head_of(pair, config, task, revision)
            facts = exported_facts(pair, config, name=stated, task=task, head=head, revision=revision)
        if name is not None:
            check_publishable(render_exported_card(facts), facts)
        with loading(pair):
            models = _models(pair, head, task, revision)
            tokenizer = _load_tokenizer(pair, revision)
            base = None if task is not None else _base_file(pair, revision)
        with _writing(target):
            _write(work, models, tokenizer, base)
            if task is None:
                carry_modules(os.fspath(pair), work, revision=revision)
            _write_card(work, facts, next(iter(models.values())))
            _check_copy(work, models, tokenizer)
            # Last the file that makes a folder a model.
            for file in sorted(work.iterdir(), key=lambda file: file.name == "config.json"):
                file.rename(target / file.name)
            work.rmdir()
    except BaseException:
        shutil.rmtree(work if existed else target, ignore_errors=True)
        raise
    return target


def push_export(
    pair: str | os.PathLike[str],
    repo_id: str,
    *,
    output_dir: str | os.PathLike[str] | None = None,
    task: str | None = None,
    revision: str | None = None,
    private: bool = False,
    create_pr: bool = False,
    endpoint: str | None = None,
) -> Published:
    """Export a plain checkpoint and put it on the Hub, in one commit.

    After a failure nothing of the export is left in `output_dir`, so that the same call can be given again. An
    unchanged checkpoint makes no commit.

    Args:
        pair: Hub id or folder of a published or packaged pair.
        repo_id: Where to, as ORG/NAME; made if it is not there.
        output_dir: A new or empty folder to export to; by default one that is removed afterwards.
        task: The task whose head and delta to include; None for the encoder.
        revision: Branch, tag or commit of the pair on the Hub.
        private: Whether only its owners see the repository, if it is made.
        create_pr: Whether to open a pull request in any case.
        endpoint: Address of the server to push to; None for the one of HF_ENDPOINT, or the Hub itself.

    Raises:
        InputError: what `export_model` and `publish` refuse, or a pair is at that place.
        BistillError: the Hub did not answer as it should.
    """
    from .remote import check_destination, publish

    check_destination(repo_id, endpoint=endpoint)
    _check_no_pair(repo_id, endpoint)
    with TemporaryDirectory() as place:
        target = Path(place) / repo_id.rpartition("/")[2] if output_dir is None else Path(output_dir)
        existed = target.exists()
        export_model(pair, target, task=task, revision=revision, name=repo_id)
        try:
            return publish(
                repo_id,
                target,
                [file.as_posix() for file in files_of(target)],
                message=f"Export {task or 'the encoder'} of {_public_name(pair)}",
                description="A plain checkpoint that computes what the pair does; its card says where it is from.",
                private=private,
                create_pr=create_pr,
                endpoint=endpoint,
            )
        except BaseException:
            for file in target.iterdir():
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            if not existed:
                target.rmdir()
            raise


def _check_no_pair(repo_id: str, endpoint: str | None) -> None:
    """Refuse to put a checkpoint over a pair."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    from .refusals import explained

    with explained(repo_id):
        try:
            info = HfApi(endpoint=endpoint).model_info(repo_id)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return
    if (info.config or {}).get("model_type") == BistillConfig.model_type:
        raise InputError(
            "a pair is there, which the checkpoint would overwrite",
            field="repo_id",
            value=repo_id,
            remedy="name another repository, such as one with the task's name at its end",
        )


def _public_name(pair: str | os.PathLike[str]) -> str:
    """A pair's Hub id, or the name of its folder without where it is."""
    return Path(pair).resolve().name if os.path.isdir(pair) else os.fspath(pair)


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
    pair: str | os.PathLike[str], head: str | None, task: str | None, revision: str | None
) -> dict[str, PreTrainedModel]:
    """The models that the checkpoint has to equal, by Auto class; the first is the one that is written."""
    from transformers.models.auto import modeling_auto

    options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    if task is not None:
        name = HEADS[str(head)]
        return {name: getattr(modeling_auto, name).from_pretrained(pair, task=task, **options)}
    names = [HEADS[head]] if head else []
    return {name: getattr(modeling_auto, name).from_pretrained(pair, **options) for name in [*names, "AutoModel"]}


def _head_of(pair: str | os.PathLike[str], config: BistillConfig, task: str | None, revision: str | None) -> str | None:
    """The head of a task, which may have been added to the pair after it was packaged; without one, the encoder's."""
    from transformers.utils import cached_file

    if task is None:
        return "masked-lm" if config.language_modelling_head else None
    if task in (config.tasks or {}):
        return str(config.tasks[task]["head"])  # type: ignore[index]
    try:
        return str(SparseDelta.load(cached_file(pair, _DELTA_FILE.format(task), revision=revision)).metadata["head"])
    except OSError as error:
        if error.__cause__ is not None:  # no file that is missing, but a Hub that could not be asked
            raise
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

    return AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)


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


def _write_card(folder: Path, facts: ExportedFacts, model: PreTrainedModel) -> None:
    labels = tuple((model.config.id2label or {}).values())
    card = render_exported_card(replace(facts, architecture=type(model).__name__, labels=labels))
    (folder / CARD_FILE).write_text(card, encoding="utf-8", newline="")


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
