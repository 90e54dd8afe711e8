"""A disk that is full is told in one sentence, whichever library finds it out; nothing else is taken for it."""

import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from bistill_hub.errors import BistillError, InputError
from bistill_hub.failed_writes import KEPT, failed_writes_explained

WRITERS = {
    "safetensors": lambda file: save_file({"x": torch.zeros(9_000)}, file),
    "torch, with its zip file begun": lambda file: torch.save(torch.zeros(9_000), file),
    "torch, with many tensors": lambda file: torch.save({str(n): torch.zeros(9) for n in range(500)}, file),
    "tokenizers": lambda file: Tokenizer(models.WordLevel({str(n): n for n in range(9_000)}, "0")).save(str(file)),
    "Python": lambda file: file.write_text("x" * 9_000, encoding="utf-8"),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_a_library_says_of_a_failed_write_is_told_alike(tmp_path, write):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(BistillError) as told, failed_writes_explained(tmp_path, "the training"):
            write(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = str(told.value)
    assert said.startswith(f"{tmp_path}: the training could not be written: no room is left (")
    assert said.endswith(f" MB are free). {KEPT}")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyboardInterrupt(), InputError("no", remedy="yes")])
def test_what_has_other_reasons_is_left_as_it_is(tmp_path, error):
    with pytest.raises(type(error)) as raised, failed_writes_explained(tmp_path, "the training"):
        raise error
    assert raised.value is error


def gone(folder):
    Path(folder, "absent").read_bytes()


def refused(folder):
    folder.read_bytes()


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (gone, r"/absent: the file has vanished during the training\. Put it back\. What is finished is kept"),
        (refused, r": the training failed: .*Is a directory.*What is finished is kept"),
    ],
)
def test_a_file_that_is_gone_and_a_refusal_are_told_with_their_place(tmp_path, read, said):
    with pytest.raises(BistillError, match=f"{tmp_path}{said}"), failed_writes_explained(tmp_path, "the training"):
        read(tmp_path)
