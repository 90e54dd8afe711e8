"""A disk that is full is told in one sentence, whichever library finds it out; nothing else is taken for it."""

import errno
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from bistill_hub.errors import BistillError, InputError
from bistill_hub.failed_writes import KEPT, NoRoomError, failed_writes_explained
from bistill_hub.hub import add_task

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


def test_a_disk_that_is_full_when_a_trained_task_is_put_together_is_told_in_one_sentence(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pair, file = tmp_path / "pair", tmp_path / "labels.conll"
    pair.mkdir()
    for name in add_task._NECESSARY:
        (pair / name).write_text("{}", encoding="utf-8")
    file.write_text("Juma\tB-PER\n", encoding="utf-8")
    for name in ("_check_task", "_refuse_findings"):
        monkeypatch.setattr(add_task, name, lambda *_args: None)
    monkeypatch.setattr(add_task, "_train", lambda *_args: SimpleNamespace(task="ner"))
    monkeypatch.setattr(add_task.shutil, "copyfile", full)
    with pytest.raises(NoRoomError, match="the pair with the task could not be written: no room is left"):
        add_task.add_task(pair, "ner", dict.fromkeys(add_task.SOURCES, file), output_dir=tmp_path / "out")
