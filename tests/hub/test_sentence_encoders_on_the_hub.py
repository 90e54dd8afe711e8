"""A sentence encoder goes from one repository of the Hub to others, and loads by their ids in sentence-transformers."""

import json
import time

import pytest
import torch
from click.testing import CliRunner
from hubserver.visitor import client, own, serving
from sentence_transformers import SentenceTransformer
from untrained import untrained_sentence_encoder

from bistill_hub import InputError, cli
from bistill_hub.hub.export import push_export
from bistill_hub.sentence_encoders import carry_modules, is_sentence_encoder

MODULES = {
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
    "3_Normalize/config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
    with serving(monkeypatch, tmp_path / "home") as server:
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server


def upload(hub, name, folder):
    api = client(hub, "alice")
    api.create_repo(name, exist_ok=True)
    return api.upload_folder(repo_id=name, folder_path=folder).oid


def test_from_a_teacher_s_repository_to_those_of_its_students(hub, text_files, world_lines, tmp_path):
    teacher = untrained_sentence_encoder("labse", tmp_path / "teacher")
    commit = upload(hub, "alice/teacher", teacher)
    assert is_sentence_encoder("alice/teacher", commit)
    words = ["trim", "alice/teacher", "--revision", commit, "--source", "en", "--target", "sw", "--license", "mit"]
    words += [f"--corpus={code}={file}" for code, file in text_files.items()]
    words += ["--source-name", "English", "--target-name", "Swahili", "--speed-seconds", "0", "--quiet"]
    result = CliRunner().invoke(cli.main, [*words, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    pair = tmp_path / "out" / "package" / "repository"
    result = CliRunner().invoke(cli.main, ["check", str(pair)])
    assert result.exit_code == 0, result.output

    upload(hub, "alice/pair", pair)
    push_export(pair, "alice/plain")
    lines = world_lines["en"][:5] + world_lines["sw"][:5]
    expected = SentenceTransformer(str(teacher), device="cpu").encode(lines, convert_to_tensor=True)
    for name in ("alice/pair", "alice/plain"):
        assert set(own(hub.commits(name)[0].tree)) >= MODULES
        found = SentenceTransformer(name, device="cpu").encode(lines, convert_to_tensor=True)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)

    modules = json.loads((pair / "modules.json").read_text())
    modules[1]["type"] = "modeling_own.Own"
    (pair / "modules.json").write_text(json.dumps(modules))
    result = CliRunner().invoke(cli.main, ["check", str(pair)])
    assert result.exit_code == 1, result.output
    assert "modules of this kind cannot be carried over" in result.output.replace("\n", " ")


def test_a_pickled_dense_layer_on_the_hub_is_not_fetched(hub, tmp_path):
    teacher = untrained_sentence_encoder("labse", tmp_path / "teacher")
    (teacher / "2_Dense" / "model.safetensors").rename(teacher / "2_Dense" / "pytorch_model.bin")
    upload(hub, "alice/teacher", teacher)
    with pytest.raises(
        InputError, match=r"pickled \(2_Dense/pytorch_model\.bin\).*`bistill convert-teacher alice/teacher DIR`"
    ):
        carry_modules("alice/teacher", tmp_path)
    assert not hub.journal.matching("GET", r"\.bin$")
