"""Trains the language SFT of a teacher from text: what a recipe's `teacher.language_deltas` names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..checkpoint_files import local_name
from ..distillation.finite import NotFiniteError
from ..errors import InputError
from ..failed_writes import failed_writes_explained
from ..folders import check_writable
from ..fp32_products import faster_fp32_products
from ..freed_memory import freed_memory_kept
from ..gpus import SHOW_ONE, refuse_several_gpus
from ..power_cuts import bring_to_disk
from ..recipe import Precision
from ..sources import TextSource, file_sha256
from ..student.backbones import backbone_for
from ..teacher import load_config, load_language_model, load_tokenizer
from .executor import locked
from .manifest import WORK_FOLDER, versions, write_json
from .portable import shown_name
from .preflight import check_precision
from .processes import started_processes
from .stage_files import DELTA_FILE

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

RECORD_FILE = "language_delta.json"
"""The file beside the delta that says what it was made from."""

_INPUTS_FILE = "inputs.json"
"""In the work folder: what an interrupted training was begun with."""


class LanguageDeltaSettings(BaseModel):
    """Course of the training of a language SFT; the defaults are meant for a GPU and megabytes of text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    density: float = Field(0.08, gt=0, le=1, description="share of the encoder's entries that may change")
    dense_steps: int = Field(50_000, ge=1, description="updates with every entry free, to find those that move most")
    sparse_steps: int = Field(50_000, ge=1, description="updates from the start again, with the chosen entries free")
    batch_size: int = Field(8, ge=1, description="blocks a batch")
    accumulation: int = Field(1, ge=1, description="batches per update")
    block_size: int = Field(256, ge=8, description="tokens a block")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="peak rate of each stage, decaying linearly to 0")
    masked_share: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are to be guessed")
    held_out_blocks: int = Field(200, ge=1, description="blocks held out for evaluation, a tenth of all at most")
    freeze_layer_norms: bool = Field(True, description="keep LayerNorms out of what may change")
    precision: Precision = Field("fp32", description="what the mathematics is done in; weights stay in float32")
    delta_precision: Literal["fp32", "fp16"] = Field("fp32", description="what the delta's values are kept in")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order of blocks, the masks and dropout")


def train_language_delta(
    teacher: str,
    text: TextSource,
    output: str | os.PathLike[str],
    *,
    language: str,
    settings: LanguageDeltaSettings | None = None,
    revision: str | None = None,
    checkpoint_every: int = 1000,
    progress: bool = True,
) -> dict[str, Any]:
    """Fine-tune a masked language model sparsely on one language's text, and save what changed.

    The folder gets `delta.safetensors`, which a recipe names under `teacher.language_deltas`, and
    `language_delta.json`: settings, source, losses (nats a masked token) on held-out text before and after, versions.
    The same call goes on where it was interrupted and ends with the same bytes; a finished one trains nothing.

    Args:
        teacher: Hub id or folder of a masked language model.
        text: The language's text; its last blocks are held out.
        output: The folder.
        language: The language's code, for the record.
        settings: Course of the training; None for the defaults.
        revision: Branch, tag or commit of the teacher on the Hub.
        checkpoint_every: Updates between checkpoints.
        progress: Show progress bars.

    Returns:
        The record.

    Raises:
        InputError: the text cannot be had or is too little, the teacher has no language-modelling head or cannot read
            such blocks, the machine cannot train in this precision, or the folder holds something else. All but what
            only reading the text can tell is found before the teacher's weights are loaded. Or the training has come
            to values that are not finite.
        BistillError: no room is left; the same call goes on once there is.
    """
    settings = settings or LanguageDeltaSettings()
    folder = Path(output)
    text.check("text")
    _check_one_process()
    check_precision("precision", settings.precision)
    tokenizer = _check_teacher(teacher, revision, settings)
    if text.path is not None and next(text.lines(), None) is None:
        raise _no_text(text)
    digest = file_sha256(text.file) if text.path is not None else None
    inputs: dict[str, Any] = {
        "teacher": {"model": _identity(teacher), "revision": revision},
        "language": language,
        "text": {**text.model_dump(mode="json"), "path": digest},
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
    }
    check_writable(folder)
    with failed_writes_explained(folder, "the language delta"), locked(folder):
        if (folder / RECORD_FILE).is_file():
            finished = _finished(folder, inputs)
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
            return finished
        refuse_several_gpus("a language delta is trained on one GPU", SHOW_ONE)
        _begin(folder, inputs)
        try:
            facts = _train(teacher, revision, text, folder, settings, language, tokenizer, checkpoint_every, progress)
        except NotFiniteError:  # going on from a checkpoint would lead to the same values again
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
            raise
        record = {
            "fingerprint": _fingerprint(inputs),
            "teacher": {"model": shown_name(teacher), "revision": revision},
            "language": language,
            "text": {"name": text.name, "sha256": digest, **facts.pop("corpus")},
            "settings": inputs["settings"],
            "versions": inputs["versions"],
            **facts,
        }
        bring_to_disk(folder, [folder / DELTA_FILE])
        write_json(folder / RECORD_FILE, record)
        shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    return record


def _check_one_process() -> None:
    if (processes := started_processes()) > 1:
        raise InputError(
            "a language delta is trained by one process",
            field="WORLD_SIZE",
            value=processes,
            remedy="start it without `torchrun`, or use LanguageFineTuningTrainer in a script of your own",
        )


def _check_teacher(teacher: str, revision: str | None, settings: LanguageDeltaSettings) -> PreTrainedTokenizerFast:
    """Refuse a teacher that cannot read such blocks, or has no mask token, and return its tokenizer."""
    config = load_config(teacher, revision)
    room = backbone_for(config).longest_input(config)
    if settings.block_size > room:
        raise InputError(
            f"the teacher reads at most {room} tokens",
            field="block_size",
            value=settings.block_size,
            remedy=f"set it to {room} or less",
        )
    tokenizer = load_tokenizer(teacher, revision)
    if tokenizer.mask_token_id is None:
        raise InputError(
            "its tokenizer has no mask token",
            field="teacher",
            value=teacher,
            remedy="choose a masked language model",
        )
    return tokenizer


def _no_text(text: TextSource) -> InputError:
    return InputError(
        "there is no text in it", field="text", value=text.name, remedy="name a source with at least one non-empty line"
    )


def _identity(teacher: str) -> Any:
    """What the delta depends on of the teacher: a local folder's weights and tokenizer, or a Hub id."""
    folder = Path(local_name(teacher))
    if not folder.is_dir():
        return teacher
    files = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("tokenizer*.json"))]
    return {file.name: file_sha256(file) for file in files}


def _finished(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    if record.get("fingerprint") != _fingerprint(inputs) or not (folder / DELTA_FILE).is_file():
        raise InputError(
            "a delta that was made of something else is there",
            field="output",
            value=str(folder),
            remedy="choose another folder, or empty this one",
        )
    return record


def _fingerprint(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _begin(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Write down what the training is begun with, or see that the one to go on with was begun with the same."""
    if (folder / DELTA_FILE).exists() and not (folder / WORK_FOLDER).is_dir():
        raise InputError(
            f"there is a {DELTA_FILE} from elsewhere",
            field="output",
            value=str(folder),
            remedy="choose another folder",
        )
    file = folder / WORK_FOLDER / _INPUTS_FILE
    if not file.is_file():
        _refuse_others(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, inputs)
    elif json.loads(file.read_text(encoding="utf-8")) != inputs:
        raise InputError(
            "a training was interrupted there that was begun with other settings, text, teacher or versions",
            field="output",
            value=str(folder),
            remedy="give it what it was begun with, or choose another folder",
        )


def _refuse_others(file: Path) -> None:
    """Refuse a folder of the work folder's name that holds something else, such as somebody's data."""
    own = file.with_suffix(".unfinished")  # of a call that was killed as it began
    if file.parent.exists() and (not file.parent.is_dir() or any(found != own for found in file.parent.iterdir())):
        raise InputError(
            "this is from elsewhere, and its name is that of the folder for checkpoints",
            field="output",
            value=str(file.parent),
            remedy="choose another folder, or move it away",
        )


def _train(
    teacher: str,
    revision: str | None,
    text: TextSource,
    folder: Path,
    settings: LanguageDeltaSettings,
    language: str,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint_every: int,
    progress: bool,
) -> dict[str, Any]:
    """Train, save the delta, and return what the record says of it."""
    from ..corpora import write_blocks
    from ..distillation.recording import calm

    work = folder / WORK_FOLDER
    blocks = write_blocks(text, tokenizer, work / "blocks", block_size=settings.block_size)
    held_out = min(settings.held_out_blocks, max(1, len(blocks) // 10))
    if len(blocks) < 2:
        raise InputError(
            "too little text to hold any out for evaluation",
            field="text",
            value=f"{text.name}: {len(blocks)} block",
            remedy="give more text or a smaller block_size",
        )
    model = load_language_model(teacher, revision)
    if model is None:
        raise InputError(
            "it has no language-modelling head, so that nothing can be learnt from text",
            field="teacher",
            value=teacher,
            remedy="choose the checkpoint of a masked language model",
        )
    cut = len(blocks) - held_out
    trainer = _trainer(model, work, settings, checkpoint_every, progress)(
        processing_class=tokenizer,
        train_dataset=blocks.select(range(cut)),
        eval_dataset=blocks.select(range(cut, len(blocks))),
    )
    calm(trainer)
    before = trainer.held_out_loss()
    with freed_memory_kept(), faster_fp32_products():
        trainer.train(resume_from_checkpoint=True)
    delta = trainer.delta
    if delta is None:
        raise RuntimeError("training ended without a delta")
    delta.metadata |= {"language": language, "objective": "masked language modelling"}
    delta.save(folder / DELTA_FILE)
    return {
        "loss_before": before,
        "loss_after": trainer.held_out_loss(),
        "entries": delta.entries,
        "density": delta.density,
        "corpus": {**_size_of(blocks, tokenizer), "blocks": len(blocks), "held_out_blocks": held_out},
    }


def _trainer(
    model: PreTrainedModel, work: Path, settings: LanguageDeltaSettings, checkpoint_every: int, progress: bool
) -> Any:
    """Return what makes the trainer, once data and tokenizer are given."""
    from functools import partial

    import torch

    from ..distillation.language_modelling import LanguageFineTuningArguments, LanguageFineTuningTrainer

    args = LanguageFineTuningArguments(
        output_dir=str(work),
        max_steps=settings.sparse_steps,
        dense_max_steps=settings.dense_steps,
        density=settings.density,
        freeze_layer_norms=settings.freeze_layer_norms,
        delta_precision=settings.delta_precision,
        masked_share=settings.masked_share,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        save_strategy="steps",
        save_steps=checkpoint_every,
        save_total_limit=2,
        logging_steps=max(1, min(settings.dense_steps, settings.sparse_steps) // 50),
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        disable_tqdm=not progress,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    return partial(LanguageFineTuningTrainer, model, args)


def _size_of(blocks: datasets.Dataset, tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Count tokens, those between lines left out; where there are such, they tell the lines."""
    special = tokenizer.num_special_tokens_to_add()
    between = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    empty = tokenizer("")["input_ids"].count(between)
    tokens = separators = 0
    for some in blocks.with_format("numpy").iter(batch_size=1000):
        for ids in some["input_ids"]:
            tokens += len(ids) - special
            separators += int((ids == between).sum()) - empty
    return {"tokens": tokens - separators, **({} if between is None else {"lines": separators + 1})}
