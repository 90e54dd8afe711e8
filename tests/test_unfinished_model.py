"""A model that is not finished is none: the same call goes on to the same bytes, and a failed write blocks nothing."""

from pathlib import Path

import pytest
from filelock import FileLock
from safetensors import SafetensorError
from transformers import BertForMaskedLM, PreTrainedTokenizerFast

from bistill_hub.distillation.exact_averaging import ExactAveragingTrainer
from bistill_hub.errors import BistillError, InputError
from bistill_hub.pretraining import RECORD_FILE, PretrainingSettings, pretrain, train_tokenizer
from bistill_hub.sources import TextSource
from bistill_hub.unfinished_model import WORK_FOLDER

SETTINGS = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_length": 32,
    "batch_size": 4,
    "steps": 30,
    "learning_rate": 1e-3,
}


def interrupted_at(monkeypatch, update):
    """Have the training end at an update as Ctrl-C ends it; returns the updates that are made."""
    step, made = ExactAveragingTrainer.training_step, []

    def training_step(self, *args, **kwargs):
        if self.state.global_step == update:
            raise KeyboardInterrupt
        made.append(self.state.global_step)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ExactAveragingTrainer, "training_step", training_step)
    return made


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def begin(text_files, world_lines):
    """Pre-train with dropout, and with masks and losses that go on across checkpoints."""
    lines = world_lines["en"] + world_lines["sw"]
    tokenizers = {name: train_tokenizer(lines, backbone=name, vocab_size=300) for name in ("bert", "xlm-roberta")}
    sources = {language: TextSource(path=str(file)) for language, file in text_files.items()}

    def pretrained(folder, backbone="bert", **changes):
        shape = PretrainingSettings(**{"backbone": backbone, **SETTINGS, **changes})
        tokenizer = tokenizers[backbone]
        return pretrain(sources, folder, shape, tokenizer=tokenizer, checkpoint_every=7, progress=False)

    return pretrained


@pytest.fixture(scope="module")
def whole(begin, tmp_path_factory):
    return contents(begin(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_it_goes_on_from_the_last_checkpoint_to_the_same_bytes(begin, whole, tmp_path, monkeypatch, backbone):
    expected = whole if backbone == "bert" else contents(begin(tmp_path / "whole", backbone))
    folder = tmp_path / "out"
    for update, since in ((5, range(5)), (16, range(16)), (22, range(14, 22)), (None, range(21, 30))):
        with monkeypatch.context() as patch:
            made = interrupted_at(patch, update)
            if update is None:
                begin(folder, backbone)
            else:
                with pytest.raises(KeyboardInterrupt):
                    begin(folder, backbone)
                assert {file.name for file in folder.iterdir()} == {WORK_FOLDER}
        assert made == list(since)
    assert contents(folder) == expected


def test_it_does_not_go_on_with_something_else(begin, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted_at(patch, 10)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path)
    with pytest.raises(InputError, match=f"begun with other settings.* remove {tmp_path / WORK_FOLDER}, or"):
        begin(tmp_path, seed=1)
    assert contents(begin(tmp_path)) == whole


WRITES = {
    "weights": (BertForMaskedLM, "save_pretrained", "model"),
    "tokenizer": (PreTrainedTokenizerFast, "save_pretrained", "model"),
    "record": (Path, "write_text", RECORD_FILE),
}
FULL = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(("owner", "method", "place"), WRITES.values(), ids=WRITES)
def test_a_model_that_could_not_be_written_blocks_nothing_and_is_not_trained_again(
    begin, whole, tmp_path, monkeypatch, owner, method, place
):
    write = getattr(owner, method)

    def fails(self, target, *args, **kwargs):
        if place in (Path(str(target)).name, getattr(self, "name", None)):
            raise FULL if owner is BertForMaskedLM else OSError(28, "No space left on device")
        return write(self, target, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fails)
        with pytest.raises(BistillError, match="the pre-training could not be written: no room is left") as told:
            begin(tmp_path)
    assert str(told.value).endswith("What is finished is kept: the same command goes on from there.")
    assert {file.name for file in tmp_path.iterdir()} == {WORK_FOLDER}
    made = interrupted_at(monkeypatch, None)
    assert contents(begin(tmp_path)) == whole
    assert made == []


def test_a_model_of_which_a_part_was_moved_is_moved_again(begin, whole, tmp_path, monkeypatch):
    move = Path.replace

    def all_but_the_last(self, target):
        if self.name == "config.json":
            raise KeyboardInterrupt
        return move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", all_but_the_last)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert not (tmp_path / "config.json").exists(), "nothing takes it for a model"
    made = interrupted_at(monkeypatch, None)
    assert contents(begin(tmp_path)) == whole
    assert made == []


def test_two_processes_do_not_train_in_one_folder(begin, tmp_path):
    (tmp_path / WORK_FOLDER).mkdir()
    with FileLock(tmp_path / WORK_FOLDER / ".running"), pytest.raises(InputError, match="another process"):
        begin(tmp_path)
