"""The sum of base and delta, kept for later loads, is the same model, and is made again where it is not to be had."""

import json
import os
import shutil
from functools import partial

import huggingface_hub
import pytest
import torch
from fresh import run_fresh
from huggingface_hub import cached_assets_path
from transformers import AutoModel, AutoModelForTokenClassification, pipeline

from bistill_hub import SparseDelta
from bistill_hub.model import modeling_bistill


@pytest.fixture(scope="module")
def repository(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "pair"
    shutil.copytree(runs["bert"].repository, folder)
    return folder


@pytest.fixture
def assets(tmp_path, monkeypatch):
    folder = tmp_path / "assets"
    monkeypatch.setattr(huggingface_hub, "cached_assets_path", partial(cached_assets_path, assets_dir=folder))
    return folder


def kept_in(assets):
    return sorted(assets.rglob("*.safetensors"))


def load(repository, **kwargs):
    return AutoModelForTokenClassification.from_pretrained(repository, cache_task_weights=True, **kwargs)


def assert_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


def test_a_later_load_is_the_same_model_without_reading_the_delta(repository, assets, monkeypatch):
    plain = AutoModelForTokenClassification.from_pretrained(repository)
    assert not assets.exists()
    assert_equal(load(repository), plain)
    (kept,) = kept_in(assets)
    monkeypatch.setattr(SparseDelta, "load", lambda path: pytest.fail("the delta was read"))
    again = load(repository)
    assert_equal(again, plain)
    assert again.config.id2label == plain.config.id2label
    assert_equal(load(repository, dtype=torch.bfloat16), plain.to(torch.bfloat16))
    assert kept_in(assets) == [kept]


def test_what_is_kept_is_not_changed_by_the_model_that_came_of_it(repository, assets):
    load(repository)
    before = kept_in(assets)[0].read_bytes()
    model = load(repository)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert kept_in(assets)[0].read_bytes() == before


def test_another_delta_in_its_place_is_noticed(repository, assets, tmp_path):
    folder = tmp_path / "pair"
    shutil.copytree(repository, folder)
    load(folder)
    file = folder / "tasks" / "ner" / "delta.safetensors"
    delta = SparseDelta.load(file)
    for update in delta.sparse.values():
        update.values.mul_(2)
    delta.save(file)
    assert_equal(load(folder), AutoModelForTokenClassification.from_pretrained(folder))
    assert len(kept_in(assets)) == 2


def test_a_delta_of_other_weights_is_refused_although_a_sum_was_kept(repository, assets, tmp_path):
    folder = tmp_path / "pair"
    shutil.copytree(repository, folder)
    load(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "base_sha256": "0" * 64}), encoding="utf-8")
    with pytest.raises(ValueError, match="other base weights"):
        load(folder)


@pytest.mark.parametrize("damage", ["cut off", "of another model"])
def test_a_kept_file_that_cannot_be_used_is_made_again(repository, assets, damage):
    plain = load(repository)
    (kept,) = kept_in(assets)
    content = kept.read_bytes()
    if damage == "cut off":
        kept.write_bytes(content[: len(content) // 2])
    else:
        shutil.copy(repository / "tasks" / "ner" / "delta.safetensors", kept)
    assert_equal(load(repository), plain)
    assert kept.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_told_and_the_model_loads(repository, assets):
    assets.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.warns(UserWarning, match="could not be kept for later loads"):
        model = load(repository)
    assert_equal(model, AutoModelForTokenClassification.from_pretrained(repository))


def test_a_full_disk_is_told_and_leaves_nothing_half_written(repository, assets, monkeypatch):
    def full(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(modeling_bistill, "save_file", full)
    with pytest.warns(UserWarning, match="No space left"):
        load(repository)
    assert [path for path in assets.rglob("*") if path.is_file()] == []


def test_without_a_task_nothing_is_kept(repository, assets):
    AutoModel.from_pretrained(repository, cache_task_weights=True)
    AutoModelForTokenClassification.from_pretrained(repository, task=None, num_labels=2, cache_task_weights=True)
    assert not assets.exists()


def test_a_pipeline_passes_it_on(repository, assets):
    tag = pipeline("token-classification", str(repository), model_kwargs={"cache_task_weights": True})
    assert len(kept_in(assets)) == 1
    assert_equal(tag.model, AutoModelForTokenClassification.from_pretrained(repository))


def test_the_repositorys_own_code_keeps_it_in_the_hubs_cache_of_assets(repository, tmp_path):
    code = f"""
import sys; sys.modules['bistill_hub'] = None  # not installed
from transformers import AutoModelForTokenClassification
options = dict(trust_remote_code=True, cache_task_weights=True)
for _ in range(2):
    AutoModelForTokenClassification.from_pretrained({str(repository)!r}, **options)
"""
    places = {"HF_ASSETS_CACHE": str(tmp_path / "assets"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    result = run_fresh(code, env={**os.environ, "HF_HUB_OFFLINE": "1", **places}, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    (kept,) = kept_in(tmp_path / "assets")
    assert kept.parent == tmp_path / "assets" / "bistill_hub" / "task-weights" / "pair"
