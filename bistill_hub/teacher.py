"""Loads the multilingual teacher: encoder, language-modelling head where it has one, tokenizer; by Hub id or folder.

Weights are read from safetensors files alone. A pickled teacher is converted first, see `bistill_hub.conversion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint_files import check_weights, local_name, may_be_folder, no_conversion_on_the_hub
from .errors import InputError, first_line
from .model.sparse_delta import SparseDelta
from .student.backbones import backbone_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LEGACY_PREFIX = "legacy:"
"""Written before the name of an SFT in the authors' pickled format: asks for the reader of legacy files."""


@dataclass(frozen=True)
class DeltaPlace:
    """Where an SFT is.

    Attributes:
        place: A file or folder here, or a Hub id.
        revision: Branch, tag or commit on the Hub; None for the main branch, and for what is here.
        legacy: Whether it is in the authors' pickled format.
    """

    place: str
    revision: str | None
    legacy: bool

    @property
    def name(self) -> str:
        """The place with its revision."""
        return f"{self.place}@{self.revision}" if self.revision else self.place


def delta_place(name: str, field: str = "delta") -> DeltaPlace:
    """Tell where an SFT is: `ORG/NAME`, `ORG/NAME@REVISION`, a file or a folder, any of them with `legacy:` before it.

    What is here, or can be here alone, is taken as it is spelt: a folder's name may hold an `@`.

    Args:
        name: The SFT, as a recipe names it.
        field: Its place in the recipe, named in the error.

    Raises:
        InputError: there is an `@` with nothing before or behind it.
    """
    place = name.removeprefix(LEGACY_PREFIX)
    legacy = place != name
    file = Path(local_name(place))
    if (
        "@" not in place
        or place.startswith(("/", ".", "~"))
        or file.suffix in (".safetensors", ".bin")
        or file.exists()
    ):
        return DeltaPlace(place, None, legacy)
    repository, _, revision = place.partition("@")
    if not repository or not revision:
        raise InputError(
            "a revision stands behind the Hub id and an @",
            field=field,
            value=name,
            remedy="write ORG/NAME@REVISION with a branch, tag or commit, or ORG/NAME",
        )
    return DeltaPlace(repository, revision, legacy)


@contextmanager
def named_by(field: str) -> Iterator[None]:
    """Say of a model that cannot be loaded within it that this field names it, and not that of the recipe's teacher."""
    try:
        yield
    except InputError as error:
        if error.field != "teacher.model":
            raise
        raise error.at(field) from error.__cause__


def load_config(model: str, revision: str | None = None) -> Any:
    """Read a teacher's configuration.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: there is no such model, or its architecture is not supported.
    """
    from transformers import AutoConfig

    config = _load(AutoConfig, model, revision)
    backbone_for(config)
    return config


def load_tokenizer(model: str, revision: str | None = None) -> PreTrainedTokenizerFast:
    """Load a teacher's tokenizer.

    Raises:
        InputError: there is none, or it is not a fast one.
    """
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer, model, revision)
    if not tokenizer.is_fast:
        raise InputError(
            "the tokenizer is not a fast one",
            file=model,
            field="tokenizer",
            value=type(tokenizer).__name__,
            remedy="convert it to tokenizer.json, or choose another teacher",
        )
    return tokenizer


def load_encoder(model: str, revision: str | None = None) -> PreTrainedModel:
    """Load the headless encoder in float32.

    A pooler that the checkpoint lacks is initialised, always to the same values.

    Raises:
        InputError: there is no such model, it has no safetensors weights, or the encoder's are not all there.
    """
    return load_reported_encoder(model, revision)[0]


def load_reported_encoder(model: str, revision: str | None = None) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Load what `load_encoder` does, and tell which parameters the checkpoint lacks: a pooler's, or none.

    Raises:
        InputError: as `load_encoder`.
    """
    import torch
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, missing = _load_weights(AutoModel, model, revision)
    _check_whole(model, missing)
    return encoder, missing


def weights_folder(model: str, revision: str | None = None) -> Path:
    """Return the folder of a teacher's checkpoint, in the Hub's cache for a Hub id.

    Raises:
        InputError: there is no such model.
    """
    from transformers.utils import cached_file

    folder = Path(local_name(model))
    if folder.is_dir():
        return folder
    try:
        return Path(str(cached_file(model, "config.json", revision=revision))).parent
    except (OSError, ValueError) as error:
        raise InputError(
            f"the teacher cannot be loaded ({first_line(error)})",
            field="model",
            value=model,
            remedy="name a Hub id or a folder",
        ) from error


def load_language_model(model: str, revision: str | None = None) -> PreTrainedModel | None:
    """Load encoder and masked-language-modelling head in float32; None where the checkpoint has no such head.

    Raises:
        InputError: there is no such model, or it has no safetensors weights.
    """
    from transformers import AutoModelForMaskedLM

    found, missing = _load_weights(AutoModelForMaskedLM, model, revision)
    return None if missing else found


def load_task_model(
    head: str, model: str, revision: str | None = None, *, tuned_by: str | None = None, **kwargs: Any
) -> PreTrainedModel:
    """Load a model with a task head in float32; a head that the checkpoint lacks is initialised.

    Args:
        head: A key of `bistill_hub.model.configuration_bistill.HEADS`.
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.
        tuned_by: The checkpoint has to have the head; this is the field that names it, for messages.
        kwargs: Passed on, such as `id2label`.

    Raises:
        InputError: there is no such model, it has no safetensors weights, or the encoder's, or a tuned head's, are not
            all there.
    """
    from transformers.models.auto import modeling_auto

    from .model.configuration_bistill import HEADS

    with nullcontext() if tuned_by is None else named_by(tuned_by):
        found, missing = _load_weights(getattr(modeling_auto, HEADS[head]), model, revision, **kwargs)
        of_encoder = [name for name in missing if name.startswith(f"{found.base_model_prefix}.")]
        _check_whole(model, of_encoder)
    if tuned_by and (of_head := sorted(set(missing) - set(of_encoder))):
        raise InputError(
            f"the checkpoint lacks {of_head[0]}, so it was not tuned for a task with this head ({head})",
            field=tuned_by,
            value=model,
            remedy="name a model that was, or leave it out",
        )
    return found


def load_delta(name: str, revision: str | None = None) -> SparseDelta:
    """Load a language or task SFT.

    Args:
        name: A `delta.safetensors` file, a folder or Hub id (with `@REVISION` behind it or not) that holds one, or any
            of these in the authors' pickled format with `legacy:` before it.
        revision: Branch, tag or commit on the Hub, instead of the one in the name.

    Raises:
        InputError: there is no such delta, or it cannot be read.
    """
    from .model.legacy import LEGACY_FILE, from_legacy

    found = delta_place(name)
    file = Path(local_name(found.place))
    wanted = LEGACY_FILE if found.legacy else "delta.safetensors"
    if file.is_dir():
        file = file / wanted
    if not file.is_file():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            file = Path(hf_hub_download(found.place, wanted, revision=revision or found.revision))
        except (OSError, HfHubHTTPError, HFValidationError) as error:
            hint = "" if found.legacy else f"; if it is in the authors' format, write '{LEGACY_PREFIX}{name}'"
            raise InputError(
                f"no {wanted} was found there ({first_line(error)})",
                field="delta",
                value=name,
                remedy=f"name a folder or Hub id that holds {wanted}{hint}",
            ) from error
    if found.legacy:
        return from_legacy(file)
    try:
        return SparseDelta.load(file)
    except ValueError as error:
        raise InputError(
            str(error), field="delta", value=name, remedy="name a file that `SparseDelta.save` wrote"
        ) from error


def _load_weights(
    loader: Any, model: str, revision: str | None, **kwargs: Any
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Load a model in float32, and tell which of its parameters the checkpoint lacks."""
    import torch

    check_weights(model, revision)
    with no_conversion_on_the_hub():
        found, info = _load(
            loader, model, revision, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **kwargs
        )
    return found, tuple(sorted(info["missing_keys"]))


def _check_whole(model: str, missing: Iterable[str]) -> None:
    """Refuse an encoder parts of which would be random numbers; a pooler may be, since its own output is not used."""
    lacking = [name for name in missing if "pooler" not in name.split(".")]
    if lacking:
        raise InputError(
            f"the checkpoint lacks {len(lacking)} parameters of the encoder, such as {lacking[0]}",
            field="teacher.model",
            value=model,
            remedy="choose a checkpoint that is whole, and whose config.json describes it",
        )


def _load(loader: Any, model: str, revision: str | None, **kwargs: Any) -> Any:
    from safetensors import SafetensorError

    try:
        # Said outright: where it is left open, transformers asks the user for a yes on the terminal.
        return loader.from_pretrained(local_name(model), revision=revision, trust_remote_code=False, **kwargs)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        remedy = (
            "name a folder that holds config.json, model.safetensors and tokenizer.json"
            if Path(local_name(model)).exists() or may_be_folder(model)
            else "check the Hub id and revision, the network, and that the weights are safetensors"
            if "/" in model
            else f"write a Hub id as ORG/NAME, or name a folder: there is none called {model} here"
        )
        reason = first_line(error).rstrip(".")
        if model.startswith(("/", "~")) and not Path(local_name(model)).exists():
            reason = "there is no such folder"  # and not a Hub id of a wrong form
        if "ignore_mismatched_sizes" in reason:
            reason = "its weights are of other sizes than its configuration, or the number of labels, asks for"
            remedy = "choose a model that was tuned with these labels, or a checkpoint that is whole"
        raise InputError(
            f"the model cannot be loaded ({reason})", field="teacher.model", value=model, remedy=remedy
        ) from error
