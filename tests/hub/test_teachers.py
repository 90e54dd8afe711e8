"""A teacher is had from the Hub by id and revision; one whose weights are pickled is refused before it is fetched."""

import os
import pickle
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hubserver.visitor import client, nothing_changes, serving
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, modeling_utils
from untrained import untrained

from bistill_hub import InputError, SparseDelta, cli
from bistill_hub.checkpoint_files import check_weights, checkpoint_files
from bistill_hub.model.sparse_delta import SparseUpdate
from bistill_hub.sources import file_sha256
from bistill_hub.teacher import load_delta, load_encoder, load_language_model, load_task_model, load_tokenizer

LEGACY = Path(__file__).parents[1] / "reference" / "legacy_sft"
LOADERS = {
    "encoder": load_encoder,
    "language model": load_language_model,
    "task model": lambda model, revision=None: load_task_model("token-classification", model, revision),
    "check": check_weights,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return untrained("bert", tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again

    asked = []
    monkeypatch.setattr(
        modeling_utils, "auto_conversion", lambda *words, **_: asked.append(words) or (None, None, False)
    )
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server
    assert not asked, "a service was asked to convert the weights"


@pytest.fixture
def publish(hub, tmp_path):
    """Put a folder on the Hub as org/teacher, in one commit, and give the commit's id."""
    api = client(hub, "alice")
    api.create_repo("alice/teacher")

    def put(folder):
        commit = api.upload_folder(repo_id="alice/teacher", folder_path=folder, delete_patterns="*")
        return commit.oid

    return put


@pytest.fixture
def pickled(bert, tmp_path):
    """The same checkpoint with pickled weights."""
    folder = tmp_path / "pickled"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((bert / name).read_bytes())
    torch.save(load_file(bert / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


def fetched(hub, name):
    return hub.journal.matching("GET", f"{name}$")


def test_a_revision_chooses_the_weights(hub, publish, bert, tmp_path):
    old = publish(bert)
    model = AutoModelForMaskedLM.from_pretrained(bert)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.add_(1)
    model.save_pretrained(tmp_path / "new")
    load_tokenizer(str(bert)).save_pretrained(tmp_path / "new")
    publish(tmp_path / "new")

    rows = {
        revision: load_encoder("alice/teacher", revision).embeddings.word_embeddings.weight
        for revision in (None, "main", old)
    }
    assert torch.equal(rows[None], model.bert.embeddings.word_embeddings.weight)
    assert torch.equal(rows["main"], rows[None])
    assert torch.equal(rows[old], load_encoder(str(bert)).embeddings.word_embeddings.weight)
    assert load_language_model("alice/teacher", old) is not None
    line = "Juma alisafiri."
    assert load_tokenizer("alice/teacher", old)(line) == load_tokenizer(str(bert))(line)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_pickled_weights_are_refused_before_they_are_fetched(hub, publish, pickled, load):
    commit = publish(pickled)
    with nothing_changes(hub):
        for revision, words in ((None, "DIR`"), (commit, f"DIR --revision {commit}`")):
            with pytest.raises(
                InputError,
                match=rf"pickled \(pytorch_model\.bin\).*`bistill convert-teacher alice/teacher {words}",
            ):
                load("alice/teacher", revision)
    assert not fetched(hub, r"\.bin")


def test_the_command_of_the_remedy_converts_it(hub, publish, pickled, bert, tmp_path):
    commit = publish(pickled)
    target = tmp_path / "converted"
    result = CliRunner().invoke(
        cli.main, ["convert-teacher", "alice/teacher", str(target), "--revision", commit], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    first, last = result.stdout.splitlines()
    assert first == f"model.safetensors  sha256 {file_sha256(target / 'model.safetensors')}"
    count = len(load_file(bert / "model.safetensors"))
    assert last == f"{count} tensors were converted; the teacher is in {target}"
    expected = load_encoder(str(bert)).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_encoder(str(target)).state_dict().items())


def test_a_hostile_pickle_gets_one_sentence(hub, publish, pickled, tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Command()}, protocol=2))
    publish(pickled)
    result = CliRunner().invoke(cli.main, ["convert-teacher", "alice/teacher", str(tmp_path / "new")])
    assert result.exit_code == 2
    (error,) = result.stderr.strip().splitlines()
    assert "this holds more than tensors by name" in error
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "new").exists()


def test_what_was_fetched_once_loads_without_the_hub(hub, publish, bert, monkeypatch):
    publish(bert)
    first = load_encoder("alice/teacher").state_dict()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    files = checkpoint_files("alice/teacher")
    assert {"config.json", "model.safetensors"} <= set(files)
    again = load_encoder("alice/teacher").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_where_the_hub_does_not_list_its_files_no_conversion_is_asked_for_either(hub, publish, pickled, monkeypatch):
    publish(pickled)

    def fails(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fails)
    with nothing_changes(hub), pytest.raises(InputError, match="cannot be loaded"):
        load_encoder("alice/teacher")
    assert not fetched(hub, r"\.bin")
    assert os.environ.get("DISABLE_SAFETENSORS_CONVERSION") is None


def test_a_delta_is_that_of_the_revision_behind_its_id(hub, tmp_path):
    api = client(hub, "alice")
    api.create_repo("alice/sft")
    commits = []
    for value in (0.5, 2.0):
        update = SparseUpdate((2, 3), torch.tensor([1, 4]), torch.tensor([value, -value]))
        SparseDelta({"x": update}).save(tmp_path / "delta.safetensors")
        done = api.upload_file(
            repo_id="alice/sft", path_or_fileobj=tmp_path / "delta.safetensors", path_in_repo="delta.safetensors"
        )
        commits.append(done.oid)
    api.create_tag("alice/sft", tag="v1.0", revision=commits[0])

    def first(name):
        return load_delta(name).sparse["x"].values[0].item()

    assert first("alice/sft") == first("alice/sft@main") == first(f"alice/sft@{commits[1]}") == 2.0
    assert first(f"alice/sft@{commits[0]}") == first("alice/sft@v1.0") == 0.5
    assert load_delta("alice/sft", revision=commits[0]).sparse["x"].values[0] == 0.5
    with pytest.raises(InputError, match=r"delta = 'alice/sft@v2': no delta\.safetensors was found there"):
        load_delta("alice/sft@v2")


def test_a_delta_in_the_authors_format_is_that_of_its_revision(hub):
    api = client(hub, "alice")
    api.create_repo("alice/sft")
    commit = api.upload_file(
        repo_id="alice/sft", path_or_fileobj=LEGACY / "pytorch_diff.bin", path_in_repo="pytorch_diff.bin"
    ).oid
    api.upload_file(repo_id="alice/sft", path_or_fileobj=b"no pickle", path_in_repo="pytorch_diff.bin")
    assert set(load_delta(f"legacy:alice/sft@{commit}").sparse) == set(load_delta(f"legacy:{LEGACY}").sparse)
    with pytest.raises(InputError):
        load_delta("legacy:alice/sft")
