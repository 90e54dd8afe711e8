"""What is declared finished is on the disk by then, and so are its names: a power cut takes what is in memory alone."""

import json
import os
from types import SimpleNamespace

import pytest
import torch

from bistill_hub import train_language_delta
from bistill_hub.distillation.checkpoints import COMPLETE_FILE, mark_complete, read_progress
from bistill_hub.distillation.stage_records import TICKET_FILE, StageRecords
from bistill_hub.pipeline import language_delta, packaging
from bistill_hub.pipeline.language_delta import RECORD_FILE
from bistill_hub.pipeline.stage_files import STUDENT_FILE
from bistill_hub.sources import TextSource
from bistill_hub.unfinished_model import hand_over


def number(place):
    """What a file or folder is known by, whatever its name."""
    return place.stat().st_ino


@pytest.fixture
def synced(monkeypatch):
    """The files and folders that were waited for, in order."""
    found, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (found.append(os.fstat(handle).st_ino), real(handle)))
    return found


def test_a_checkpoint(tmp_path, synced):
    checkpoint = tmp_path / "checkpoint-6"
    weights = checkpoint / "deeper" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("weights")
    mark_complete(checkpoint, {"steps_at_last_log": 5})
    assert read_progress(checkpoint) == {"steps_at_last_log": 5}
    before = synced[: synced.index(number(checkpoint / COMPLETE_FILE))]
    assert {number(place) for place in (tmp_path, checkpoint, weights.parent, weights)} <= set(before)
    assert synced[-1] == number(checkpoint), "the name by which it counts"


def test_what_a_stage_of_sparse_fine_tuning_writes_down(tmp_path, synced):
    records = StageRecords(tmp_path, "0" * 64)
    records.write(TICKET_FILE, 1, {"weight": torch.tensor([1, 5])})
    assert synced == [number(tmp_path / TICKET_FILE), number(tmp_path), number(tmp_path)]
    assert records.read(TICKET_FILE, 1, 2)["weight"].tolist() == [1, 5]


def test_a_model_that_was_pre_trained(tmp_path, synced):
    written, folder = tmp_path / "out" / "work", tmp_path / "out"
    written.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (written / name).write_text(name)
    hand_over(written, folder)
    files = {number(folder / name) for name in ("config.json", "model.safetensors", "tokenizer.json")}
    assert files <= set(synced)
    assert synced[-1] == number(folder), "their names, before checkpoints are removed"


def test_a_language_delta(tmp_path, synced, monkeypatch):
    def trained(_teacher, _revision, _text, folder, *_):
        (folder / "delta.safetensors").write_text("delta")
        return {"corpus": {}}

    monkeypatch.setattr(language_delta, "_train", trained)
    monkeypatch.setattr(language_delta, "_check_teacher", lambda *_: None)
    (tmp_path / "sw.txt").write_text("Habari\n")
    folder = tmp_path / "sw"
    train_language_delta("org/teacher", TextSource(path=str(tmp_path / "sw.txt")), folder, language="sw")
    delta, record = (synced.index(number(folder / name)) for name in ("delta.safetensors", RECORD_FILE))
    assert delta < record


def test_a_pair_that_is_laid_out_for_scores(tmp_path, synced, monkeypatch):
    def write_model(folder, *_, **__):
        (folder / "ner").mkdir(parents=True)
        for name in ("model.safetensors", "ner/delta.safetensors"):
            (folder / name).write_text(name)

    student = SimpleNamespace(code="en", threshold=1e-6)
    recipe = SimpleNamespace(source=student, target=student, student=student, teacher=SimpleNamespace(model="org/a"))
    recipe.teacher.revision = None
    facts = {"layer_map": [0], "vocabulary": {"tokens_before": 9, "tokens_after": 8}}
    (tmp_path / STUDENT_FILE).write_text(json.dumps(facts))
    monkeypatch.setattr(packaging, "write_model", write_model)
    monkeypatch.setattr(packaging, "AutoConfig", SimpleNamespace(from_pretrained=str))
    for name in ("load_file", "load_tokenizer", "carry_modules"):
        monkeypatch.setattr(packaging, name, lambda *_: None)
    packaging.lay_out(recipe, tmp_path / "pair", tmp_path, {})
    names = ("pair", "pair/ner", "pair/model.safetensors", "pair/ner/delta.safetensors")
    assert {number(tmp_path / name) for name in names} <= set(synced)
