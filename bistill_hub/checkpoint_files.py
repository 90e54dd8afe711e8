"""Which files a checkpoint consists of, in a folder or on the Hub, and whether its weights may be loaded.

Pickled weights are refused by their names, before one of them is downloaded or opened: unpickling can run code.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from .errors import InputError, first_line

PICKLED_WEIGHTS = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
"""Names of pickled weights, whole or in shards."""

_SAFE_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_FOREIGN_WEIGHTS = re.compile(r"(tf_model|flax_model|model\.ckpt).*")
_CONVERSION_SWITCH = "DISABLE_SAFETENSORS_CONVERSION"


def local_name(model: str) -> str:
    """Return a model's name as it is looked for here: a leading `~` is the home folder, as in the paths of text.

    Args:
        model: Hub id, file or folder, as a recipe or a command names it; what begins otherwise is returned as it is.
    """
    return os.path.expanduser(model)


def checkpoint_files(model: str, revision: str | None = None) -> tuple[str, ...] | None:
    """List the files of a checkpoint without downloading any.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.

    Returns:
        Paths relative to the checkpoint, sorted; of a folder down to its subfolders. Without the Hub, those in its
        cache. None where there is no such model, or it cannot be asked for.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    folder: Path | None = Path(local_name(model))
    if not Path(local_name(model)).is_dir():
        try:
            return tuple(sorted(file.rfilename for file in HfApi().model_info(model, revision=revision).siblings or []))
        except (GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError):
            return None
        except Exception:  # offline, or the Hub does not answer: the client has many ways of saying so
            folder = _cached_folder(model, revision)
    if folder is None:
        return None
    found = (file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.is_file())
    return tuple(sorted(file.relative_to(folder).as_posix() for file in found))


def may_be_folder(model: str) -> bool:
    """Whether a name reads like a folder's and not like a Hub id, whatever is there.

    A path begins at a root, the home or the working folder, or has more than one separator. So does a name whose first
    part is a folder here: `runs/teacher` beside `runs/`.

    Args:
        model: The name.
    """
    parts = model.split("/")
    return model.startswith(("/", ".", "~", os.sep)) or len(parts) > 2 or (len(parts) == 2 and Path(parts[0]).is_dir())


def taken_as_hub_id(model: str, found: bool | None) -> str:
    """Say what becomes of a teacher's name that no folder here has.

    Args:
        model: The name.
        found: Whether the Hub has a model of this name; None where it was not asked.

    Returns:
        What it is taken as; for a name of one part also the checkpoint's folder here that is spelt like it.
    """
    if found:
        return "there is no such folder here, so it is taken as a Hub id, which the Hub has"
    told = "which was not looked up" if found is None else "but the Hub shows no such model"
    near = _spelt_like(model)
    meant = f"; did you mean ./{near}?" if near is not None else ""
    return f"there is no such folder here, so it is taken as a Hub id, {told}{meant}"


def _spelt_like(model: str) -> str | None:
    """Name the checkpoint's folder in the working folder that is spelt most like a name of one part, if one is."""
    if "/" in model:
        return None
    here = [file.parent.name for file in Path().glob("*/config.json")]
    return next(iter(get_close_matches(model, here, n=1)), None)


def _cached_folder(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def checkpoint_file(model: str, name: str, revision: str | None = None) -> Path:
    """Return one of a checkpoint's files, fetched from the Hub for a Hub id.

    Args:
        model: Hub id or folder.
        name: Path relative to the checkpoint, as `checkpoint_files` lists it.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: it cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    folder = Path(local_name(model))
    if folder.is_dir():
        return folder / name
    try:
        return Path(hf_hub_download(model, name, revision=revision))
    except (OSError, HfHubHTTPError) as error:
        raise InputError(
            f"{name} cannot be had ({first_line(error)})",
            field="teacher.model",
            value=model,
            remedy="check the network, and give the same command again",
        ) from error


def pickled_files(files: Sequence[str]) -> list[str]:
    """The pickled weights among a checkpoint's files."""
    return [name for name in files if PICKLED_WEIGHTS.fullmatch(name)]


def check_weights(model: str, revision: str | None = None) -> None:
    """Refuse a model without safetensors weights, before anything of it is downloaded or loaded.

    What there is nothing to be said about (no such model, no weights at all) is left to the one who loads it.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: its weights are pickled, or of another framework.
    """
    files = checkpoint_files(model, revision)
    if files is None or any(_SAFE_WEIGHTS.fullmatch(name) for name in files):
        return
    if pickled := pickled_files(files):
        raise pickled_refused(model, revision, pickled)
    if foreign := [name for name in files if _FOREIGN_WEIGHTS.fullmatch(name)]:
        raise InputError(
            f"its weights are of TensorFlow or Flax alone ({_listed(foreign)}), which cannot be read",
            field="teacher.model",
            value=model,
            remedy="choose a teacher with model.safetensors, or save this one so where its framework is installed",
        )


def pickled_refused(model: str, revision: str | None, files: Sequence[str]) -> InputError:
    """Say that weights are pickled, and how they are converted.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the Hub.
        files: The pickled files.
    """
    command = ["bistill", "convert-teacher", model, "DIR", *(["--revision", revision] if revision else [])]
    return InputError(
        f"its weights are pickled ({_listed(files)}), and opening a pickle can run code that is in it",
        field="teacher.model",
        value=model,
        remedy=f"convert it by `{shlex.join(command)}`, which opens tensors alone, and name DIR instead",
    )


@contextmanager
def no_conversion_on_the_hub() -> Iterator[None]:
    """Keep transformers from asking a service on the Hub to convert pickled weights, with the user's token."""
    before = os.environ.get(_CONVERSION_SWITCH)
    os.environ[_CONVERSION_SWITCH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CONVERSION_SWITCH]
        else:
            os.environ[_CONVERSION_SWITCH] = before


def _listed(names: Sequence[str], shown: int = 3) -> str:
    listed = ", ".join(names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"
