"""Converts a teacher's pickled weights to safetensors, bit for bit and without running what a pickle may hold.

torch's weights-only unpickler builds tensors and plain containers and refuses everything else. What is written is a
checkpoint in a folder: safetensors, JSON and the tokenizer's files, no code.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint_files import checkpoint_file, checkpoint_files, pickled_files
from .errors import InputError, first_line
from .folders import check_new_folder
from .sources import file_sha256
from .teacher import load_config, load_reported_encoder, load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

_COPIED = re.compile(
    r"(config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|modules|config_sentence_transformers"
    r"|sentence_[a-z-]+_config)\.json|vocab\.txt|merges\.txt|(sentencepiece\.bpe|spm|tokenizer)\.model"
)
_INDEX = "pytorch_model.bin.index.json"


@dataclass(frozen=True)
class ConvertedTeacher:
    """What a conversion wrote.

    Attributes:
        folder: The checkpoint.
        weights: SHA-256 of each weight file, by its path in the folder.
        tensors: How many tensors were read, all of which are there again.
    """

    folder: Path
    weights: Mapping[str, str]
    tensors: int


def convert_teacher(model: str, output_dir: str | Path, *, revision: str | None = None) -> ConvertedTeacher:
    """Write a teacher with pickled weights as a checkpoint with safetensors weights.

    Tensors keep their names, values and precision; names of older releases (`LayerNorm.gamma`) are read by
    transformers as they always were. A tensor that several names share is written once, under the name that the
    others are tied to. The modules of a sentence encoder are converted along.

    Args:
        model: Hub id or folder.
        output_dir: A new or empty folder.
        revision: Branch, tag or commit on the Hub.

    Returns:
        What was written, after it was loaded back and compared.

    Raises:
        InputError: there is no such model, nothing of it is pickled, a file holds anything but tensors by name, the
            weights are not those that config.json describes, or the folder cannot be used.
    """
    from transformers.utils.hub import resolve_revision

    target = Path(output_dir)
    check_new_folder(target)
    revision = resolve_revision(model, revision)  # one commit for all files, even if the repository moves meanwhile
    config = load_config(model, revision)
    load_tokenizer(model, revision)
    files = checkpoint_files(model, revision) or ()
    places = _places(files)
    if not any(places.values()):
        raise InputError(
            "there are no pickled weights to convert, or they are there as safetensors as well",
            field="teacher.model",
            value=model,
            remedy="use the model as it is",
        )
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        count = 0
        for place, pickled in places.items():
            (unfinished / place).mkdir(parents=True, exist_ok=True)
            if pickled:
                state = _read([checkpoint_file(model, name, revision) for name in pickled])
                _check_index(model, revision, files, place, state)
                count += _write(state, unfinished / place, () if place else _tied_names(config))
            for name in _beside(files, place, everything=not pickled):
                _copy(checkpoint_file(model, name, revision), unfinished / name)
        _check_loads(unfinished, model)
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    written = sorted(file.relative_to(target).as_posix() for file in target.rglob("*.safetensors"))
    return ConvertedTeacher(target, {name: file_sha256(target / name) for name in written}, count)


def read_pickled_tensors(file: Path) -> dict[str, Tensor]:
    """Read a pickled checkpoint without running anything that is in it.

    Args:
        file: What `torch.save` wrote of a state dict.

    Returns:
        Tensors by name, on the CPU; mapped from the file where its format allows that.

    Raises:
        InputError: the file is damaged, or holds anything but tensors by name.
    """
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except PermissionError:
        raise
    except Exception as error:  # a damaged file can make the unpickler stumble over anything
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else first_line(error).rstrip(".")
        raise _not_plain(file, reason) from error
    if not isinstance(content, Mapping):
        raise _not_plain(file, f"it holds a {type(content).__name__}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise _not_plain(file, f"{name!r} is a {type(tensor).__name__}")
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise _not_plain(file, f"the entries of {name!r} are not all stored in it")
    return {name: tensor.detach() for name, tensor in content.items()}


def _not_plain(file: Path, reason: str) -> InputError:
    return InputError(
        f"this holds more than tensors by name, or is damaged ({reason}); nothing of it was run",
        file=file,
        remedy="choose a teacher whose weights are tensors alone, best as safetensors",
    )


def _places(files: Sequence[str]) -> dict[str, list[str]]:
    """The checkpoint itself ("") and the folders of its modules, each with the pickled weights to convert there.

    Where there are safetensors beside them, there are none to convert.
    """
    modules = {name.partition("/")[0] for name in files if re.fullmatch(r"\d+_\w+/[^/]+", name)}
    places = {}
    for place in ("", *sorted(modules)):
        prefix = f"{place}/" if place else ""
        there = [name.removeprefix(prefix) for name in files if name.startswith(prefix)]
        safe = any(name.endswith(".safetensors") and "/" not in name for name in there)
        places[place] = [] if safe else [prefix + name for name in pickled_files(there)]
    return places


def _beside(files: Sequence[str], place: str, *, everything: bool) -> list[str]:
    """What is copied into a folder of the result: configuration and tokenizer, and weights that are safe already."""
    found = []
    for path in files:
        folder, _, name = path.rpartition("/")
        weights = name.endswith(".safetensors") or name == "model.safetensors.index.json"
        if folder == place and (_COPIED.fullmatch(name) or (weights and everything)):
            found.append(path)
    return found


def _read(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of one or more shards."""
    state: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in read_pickled_tensors(file).items():
            if name in state:
                raise InputError(
                    "this parameter is in an earlier shard as well",
                    file=file,
                    field=name,
                    remedy="choose a teacher whose shards do not overlap",
                )
            state[name] = tensor
    return state


def _check_index(model: str, revision: str | None, files: Sequence[str], place: str, state: Mapping[str, Any]) -> None:
    """Refuse shards that are not all there."""
    index = f"{place}/{_INDEX}" if place else _INDEX
    if index not in files:
        return
    named = json.loads(checkpoint_file(model, index, revision).read_text(encoding="utf-8")).get("weight_map", {})
    if lost := sorted(set(named) - set(state)):
        raise InputError(
            f"{len(lost)} parameters that {index} names are in no shard, such as {lost[0]}",
            field="teacher.model",
            value=model,
            remedy="complete the folder, or choose a teacher that is whole",
        )


def _tied_names(config: Any) -> frozenset[str]:
    """The parameters of a language model that are the same as others, such as the decoder's weights."""
    import torch
    from transformers import AutoModelForMaskedLM

    with torch.device("meta"):
        return frozenset(AutoModelForMaskedLM.from_config(config).all_tied_weights_keys)


def _write(state: Mapping[str, Tensor], folder: Path, tied: Sequence[str] | frozenset[str]) -> int:
    """Write a state dict as safetensors, in shards where it is large, and compare what was written with it.

    Args:
        state: Tensors by name; some may share their storage.
        folder: Where to.
        tied: Names that give way where they share a tensor with another.

    Returns:
        How many tensors were compared.
    """
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors import safe_open
    from safetensors.torch import save_file

    written_as = _names_to_write(state, tied)
    kept = _each_with_storage_of_its_own({name: state[name] for name in sorted(set(written_as.values()))})
    split = split_torch_state_dict_into_shards(kept)
    for file, names in split.filename_to_tensors.items():
        save_file({name: kept[name] for name in names}, folder / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(
            json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
    for name, tensor in state.items():
        with safe_open(folder / split.tensor_to_filename[written_as[name]], framework="pt") as file:
            found = file.get_tensor(written_as[name])
        if found.dtype != tensor.dtype or not torch.equal(_bits(found), _bits(tensor)):
            raise RuntimeError(f"{folder}: {name} is not what was read")
    return len(state)


def _names_to_write(state: Mapping[str, Tensor], tied: Sequence[str] | frozenset[str]) -> dict[str, str]:
    """For each name the one that its tensor is written under: names of the very same entries share one."""
    written: dict[Any, str] = {}
    found = {}
    for name in sorted(state, key=lambda name: (name in tied, name)):
        tensor = state[name]
        # An empty tensor has no place of its own.
        same = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype) if tensor.numel() else name
        found[name] = written.setdefault(same, name)
    return found


def _each_with_storage_of_its_own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy what is part of another tensor's storage, or shares it: a safetensors file has no such thing."""
    own: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and tensor.numel() * tensor.element_size() == storage.nbytes()
        own[name] = tensor if whole and storage.data_ptr() not in taken else tensor.contiguous().clone()
        taken.add(storage.data_ptr())
    return own


def _bits(tensor: Tensor) -> Tensor:
    """A tensor's bytes and nothing else: a number that is none (NaN) equals itself."""
    import torch

    return tensor.contiguous().flatten().view(torch.uint8)


def _copy(file: Path, target: Path) -> None:
    """Copy a file; a configuration without what names code that does not travel."""
    if target.name in ("config.json", "tokenizer_config.json"):
        fields = json.loads(file.read_text(encoding="utf-8"))
        if fields.pop("auto_map", None) is not None:
            target.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return
    shutil.copyfile(file, target)


def _check_loads(folder: Path, model: str) -> None:
    """Refuse a result that is not the encoder that its config.json describes."""
    try:
        load_reported_encoder(str(folder))
    except InputError as error:
        raise InputError(
            f"converted, it would not load: {error.problem}", field="teacher.model", value=model, remedy=error.remedy
        ) from error
