"""Lays out a pair as a repository: native checkpoint, sparse task deltas, and the config that combines them.

Everything in the folder is safetensors, JSON, Markdown, PNG or one of the few Python files, and nothing in it depends
on the machine that wrote it: equal inputs give equal bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards.card import carry_written, write_card
from ..cards.facts import CardFacts
from ..errors import InputError
from ..evaluation.results import RESULTS_FILE, read_results
from ..evaluation.speed import SIZE_AND_SPEED_FILE
from ..model.auto import AUTO_MAP, TRAVELLING_FILES
from ..model.configuration_bistill import HEADS, BistillConfig
from ..model.modeling_bistill import BASE_FILE
from ..model.sparse_delta import SparseDelta, state_sha256
from ..sentence_encoders import MODULE_PATHS
from ..sources import file_sha256
from ..student.backbones import backbone_for
from ..tasks import get_task
from ..version import __version__

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

DELTA_FILE = "delta.safetensors"
TOKENIZER_FILE = "tokenizer.json"

_ALLOWED = (
    r"config\.json",
    r"model\.safetensors",
    r"tokenizer\.json",
    r"tokenizer_config\.json",
    r"recipe\.json",
    r"README\.md",
    r"card\.json",
    r"size_and_speed\.json",
    r"\.eval_results/[A-Za-z0-9._-]+\.yaml",
    r"tasks/[a-z0-9_-]+/(delta\.safetensors|results\.json)",
    r"assets/[a-z0-9_-]+\.png",
    *MODULE_PATHS,
    *(re.escape(name) for name in TRAVELLING_FILES),
)


@dataclass(frozen=True)
class PairModel:
    """What a pair's repository says of its model, beside the backbone's own configuration.

    Attributes:
        config: The student's native configuration.
        source_language: Code of the source language.
        target_language: Code of the target language.
        layer_map: For each student layer the teacher layer it was copied from.
        vocabulary: Provenance of the vocabulary.
        teacher: The teacher's Hub id; None if it has none.
        teacher_revision: Its commit.
    """

    config: PreTrainedConfig
    source_language: str
    target_language: str
    layer_map: tuple[int, ...]
    vocabulary: Mapping[str, Any]
    teacher: str | None = None
    teacher_revision: str | None = None


def write_model(
    folder: Path,
    pair: PairModel,
    state: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    deltas: Mapping[str, SparseDelta],
    *,
    default_tasks: Mapping[str, str] | None = None,
) -> BistillConfig:
    """Write what loading needs: weights, deltas, tokenizer, configuration and the files for remote code.

    Args:
        folder: An empty or new folder.
        pair: What the configuration says.
        state: The phase-1 student's parameters under the names of the backbone's head classes, without tied copies.
        tokenizer: The student's tokenizer.
        deltas: By task; each with `head` and `labels` in its metadata.
        default_tasks: For a head that several tasks share, the one that is loaded when none is named.

    Returns:
        The configuration that was written.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # A tokenizer writes down the padding and truncation of its last call; a published one has none.
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    for name in ("is_local", "local_files_only"):  # how it was loaded here is nothing that others should read
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)
    base = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    prefix = f"{backbone_for(pair.config).base_model_prefix}."
    config = BistillConfig.from_backbone(
        pair.config,
        source_language=pair.source_language,
        target_language=pair.target_language,
        teacher=pair.teacher,
        teacher_revision=pair.teacher_revision,
        layer_map=list(pair.layer_map),
        vocabulary={**pair.vocabulary, "tokenizer_sha256": file_sha256(folder / TOKENIZER_FILE)},
        tasks={
            name: {"head": delta.metadata["head"], "labels": list(delta.metadata["labels"])}
            for name, delta in sorted(deltas.items())
        },
        default_tasks=dict(default_tasks or {}),
        language_modelling_head=any(not name.startswith(prefix) for name in base),
        base_sha256=state_sha256(base),
        written_by=__version__,
        auto_map=AUTO_MAP,
        # No class of transformers has this name, so nothing falls back to a class that would ignore the deltas.
        architectures=["BistillModel"],
    )
    config.dtype = next(tensor.dtype for tensor in base.values() if tensor.is_floating_point())
    config.save_pretrained(folder)
    save_file(base, folder / BASE_FILE, metadata={"format": "pt"})
    for name, delta in deltas.items():
        place = folder / "tasks" / name
        place.mkdir(parents=True, exist_ok=True)
        described = {**delta.metadata, "task": name, "base_sha256": config.base_sha256}
        SparseDelta(delta.sparse, delta.dense, described).save(place / DELTA_FILE)
    home = Path(__file__).parent.parent / "model"
    for name in TRAVELLING_FILES:
        shutil.copyfile(home / name, folder / name)
    return config


def package_pair(
    folder: str | Path,
    output_dir: str | Path,
    *,
    facts: CardFacts,
    recipe: Mapping[str, Any],
    results: Mapping[str, Path],
    size_and_speed: Path | None = None,
) -> Path:
    """Make a repository out of a model folder: add card, recipe and results, and check that it is whole.

    Args:
        folder: What `write_model` wrote.
        output_dir: Where the repository goes; replaced if it is there.
        facts: What the card states. What people wrote in the card of this pair that is there already is carried over.
        recipe: The resolved recipe, JSON values.
        results: `results.json` by task.
        size_and_speed: `size_and_speed.json`, if it was measured.

    Returns:
        The repository's folder.

    Raises:
        InputError: something is in the folder that may not be published, results are of a task that the pair lacks, or
            were measured on other weights, or the card lacks what it must state, or the present one has wrong markers.
    """
    source, target = Path(folder), Path(output_dir)
    config = BistillConfig.from_pretrained(source)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished)
    for task, file in results.items():
        if task not in (config.tasks or {}):
            raise InputError(
                "the pair has no such task",
                file=file,
                field="task",
                value=task,
                remedy=f"give results of {sorted(config.tasks or {})}",
            )
        shutil.copyfile(file, unfinished / "tasks" / task / RESULTS_FILE)
    (unfinished / "recipe.json").write_text(
        json.dumps(recipe, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if size_and_speed is not None:
        shutil.copyfile(size_and_speed, unfinished / SIZE_AND_SPEED_FILE)
    write_card(unfinished, facts)
    carry_written(target, unfinished)
    check_files(unfinished)
    check_results(unfinished)
    if target.exists():
        shutil.rmtree(target)
    unfinished.rename(target)
    return target


def files_of(folder: Path) -> list[Path]:
    """All files of a repository, relative to it, sorted."""
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if not file.is_dir())


def is_allowed(path: str) -> bool:
    """Whether a file of this path, relative to the repository, is among what a pair is made of."""
    return any(re.fullmatch(pattern, path) for pattern in _ALLOWED)


def check_files(folder: Path) -> None:
    """Refuse a repository that holds anything but what a pair is made of.

    Raises:
        InputError: there is a file that is not on the list of what may be published.
    """
    for file in files_of(folder):
        if not is_allowed(file.as_posix()):
            raise InputError(
                "this may not be published",
                file=folder / file,
                remedy="keep to safetensors, JSON, Markdown, PNG and the files that this package copies",
            )


def check_results(folder: Path) -> None:
    """Refuse results that do not belong to the weights beside them: every delta is loaded and hashed.

    Raises:
        InputError: a student's score was measured on other weights.
    """
    from transformers.models.auto import modeling_auto

    for file in sorted(folder.glob(f"tasks/*/{RESULTS_FILE}")):
        task = get_task(file.parent.name)
        model = getattr(modeling_auto, HEADS[task.head]).from_pretrained(folder, task=task.name)
        packaged = state_sha256(model.state_dict())
        for result in read_results(file):
            if result.model == "student" and result.weights_sha256 != packaged:
                raise InputError(
                    f"the packaged weights have the hash {packaged}",
                    file=file,
                    field="weights_sha256",
                    value=result.weights_sha256,
                    remedy="evaluate the model that is packaged",
                )
