"""An exported checkpoint is the backbone's own: it computes what the pair does and knows nothing of this package."""

import errno
import json
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from bistill_hub.errors import BistillError, InputError
from bistill_hub.hub import export
from bistill_hub.hub.export import export_model

BACKBONES = ("bert", "xlm-roberta")
NATIVE = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}
SENTENCES = ["Juma lives in Nairobi .", "Juma anaishi Nairobi .", "Asha"]
FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]

# In an interpreter where this package cannot be imported, without remote code.
PROBE = """
import json, sys
sys.modules["bistill_hub"] = None
import torch, transformers
from safetensors.torch import save_file
transformers.set_seed(0)
tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
inputs = tokenizer(SENTENCES, return_tensors="pt", padding=True)
found, told = {"ids": inputs["input_ids"]}, {}
for name in CLASSES:
    model, loading = getattr(transformers, name).from_pretrained(FOLDER, output_loading_info=True)
    with torch.no_grad():
        for key, tensor in model(**inputs).items():
            found[f"{name}.{key}"] = tensor.contiguous()
    told[name] = [type(model).__name__, sorted(loading["missing_keys"]), model.config.id2label]
save_file(found, OUTPUT)
print(json.dumps(told))
"""


def probe(folder, classes, tmp_path):
    """What the classes compute on the sentences in a process without the package, and what it says of them."""
    names = {"FOLDER": str(folder), "CLASSES": classes, "SENTENCES": SENTENCES, "OUTPUT": str(tmp_path / "found")}
    code = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + textwrap.dedent(PROBE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(tmp_path / "found"), json.loads(done.stdout.splitlines()[-1])


def computed(model, repository):
    """What a model of the pair computes on the sentences."""
    inputs = AutoTokenizer.from_pretrained(repository)(SENTENCES, return_tensors="pt", padding=True)
    with torch.no_grad():
        return inputs["input_ids"], model.eval()(**inputs)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_task_computes_what_the_pair_does_where_the_package_is_absent(runs, backbone, tmp_path):
    repository = runs[backbone].repository
    folder = export_model(repository, tmp_path / "out", task="ner")
    assert folder == tmp_path / "out"
    assert sorted(file.name for file in folder.iterdir()) == FILES
    pair = AutoModelForTokenClassification.from_pretrained(repository, task="ner")
    own = f"{NATIVE[backbone]}ForTokenClassification"
    found, told = probe(folder, ["AutoModelForTokenClassification", own], tmp_path)
    ids, expected = computed(pair, repository)
    assert torch.equal(found["ids"], ids)
    for name in ("AutoModelForTokenClassification", own):
        assert torch.equal(found[f"{name}.logits"], expected.logits)
        labels = {str(index): label for index, label in pair.config.id2label.items()}
        assert told[name] == [own, [], labels]
    assert "B-PER" in labels.values()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_encoder_comes_with_its_pooler_and_its_language_model(runs, backbone, tmp_path):
    repository = runs[backbone].repository
    folder = export_model(repository, tmp_path / "out")
    assert sorted(file.name for file in folder.iterdir()) == FILES
    bare, head = NATIVE[backbone] + "Model", NATIVE[backbone] + "ForMaskedLM"
    found, told = probe(folder, ["AutoModel", bare, "AutoModelForMaskedLM", head], tmp_path)
    _, encoded = computed(AutoModel.from_pretrained(repository), repository)
    _, guessed = computed(AutoModelForMaskedLM.from_pretrained(repository), repository)
    for name in ("AutoModel", bare):
        assert torch.equal(found[f"{name}.last_hidden_state"], encoded.last_hidden_state)
        assert torch.equal(found[f"{name}.pooler_output"], encoded.pooler_output)
        assert told[name][:2] == [bare, []]
    for name in ("AutoModelForMaskedLM", head):
        assert torch.equal(found[f"{name}.logits"], guessed.logits)
        assert told[name][:2] == [head, []]


@pytest.mark.parametrize("task", [None, "ner"], ids=["encoder", "task"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_nothing_in_it_tells_of_this_package_or_this_machine(runs, backbone, task, tmp_path):
    repository = runs[backbone].repository
    folder = export_model(repository, tmp_path / "out", task=task)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == backbone
    head = "ForTokenClassification" if task else "ForMaskedLM"
    assert config["architectures"] == [NATIVE[backbone] + head]
    assert config["num_hidden_layers"] == 3
    ours = {"auto_map", "backbone_type", "source_language", "layer_map", "tasks", "base_sha256", "format_version"}
    assert not ours & set(config)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only", "name_or_path", "auto_map"} & set(tokenizer)
    for file in folder.iterdir():
        content = file.read_bytes()
        assert b"bistill" not in content.lower(), file
        assert str(repository.parent).encode() not in content, file


def test_a_pair_without_language_model_gives_the_encoder_alone(runs, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "language_modelling_head": False}))
    base = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in base.items() if name.startswith("bert.")}, folder / "model.safetensors")
    written = export_model(folder, tmp_path / "out")
    assert json.loads((written / "config.json").read_text())["architectures"] == ["BertModel"]
    found, told = probe(written, ["AutoModel"], tmp_path)
    _, expected = computed(AutoModel.from_pretrained(folder), folder)
    assert torch.equal(found["AutoModel.pooler_output"], expected.pooler_output)
    assert told["AutoModel"][:2] == ["BertModel", []]


def test_a_task_that_was_added_to_the_folder_later_is_found(runs, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tasks": {}}))
    with pytest.raises(InputError, match="Choose one of ner"):
        export_model(folder, tmp_path / "out", task="nli")
    export_model(folder, tmp_path / "out", task="ner")
    export_model(runs["bert"].repository, tmp_path / "listed", task="ner")
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "listed" / name).read_bytes()


def test_an_empty_folder_is_filled(runs, tmp_path):
    (tmp_path / "out").mkdir()
    assert export_model(runs["bert"].repository, tmp_path / "out", task="ner").joinpath("config.json").is_file()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"the folder is not empty\. Name a new or an empty folder"):
        export_model("/nowhere", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_its_place_is_left_alone(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="this is a file"):
        export_model("/nowhere", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_what_is_no_pair_is_refused(tiny_teacher_dirs, tmp_path):
    with pytest.raises(InputError, match=r"pair = .*model of the type 'bert', not a pair"):
        export_model(tiny_teacher_dirs["bert"], tmp_path / "out")
    with pytest.raises(InputError, match="the pair cannot be loaded"):
        export_model(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_task_that_the_pair_lacks_is_refused_with_those_that_it_has(runs, tmp_path):
    with pytest.raises(InputError) as refused:
        export_model(runs["bert"].repository, tmp_path / "out", task="nli")
    assert str(refused.value).endswith(
        "task = 'nli': the pair has no such task. Choose one of ner, or leave it out for the encoder."
    )
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused(runs, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="nothing can be written there"):
        export_model(runs["bert"].repository, tmp_path / "file" / "out", task="ner")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("existed", [False, True], ids=["new folder", "empty folder"])
def test_a_disk_that_fills_leaves_nothing_behind(runs, tmp_path, monkeypatch, existed):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if existed:
        (tmp_path / "out").mkdir()
    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
    with pytest.raises(InputError, match=r"nothing can be written there \(No space left on device\)"):
        export_model(runs["bert"].repository, tmp_path / "out", task="ner")
    assert (tmp_path / "out").exists() == existed
    assert not existed or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("task", [None, "ner"], ids=["encoder", "task"])
def test_a_checkpoint_that_does_not_compute_what_the_pair_does_never_appears(runs, tmp_path, monkeypatch, task):
    write = export._write

    def write_and_spoil(folder, *args):
        write(folder, *args)
        state = load_file(folder / "model.safetensors")
        name = next(name for name in state if name.endswith("layer.0.output.dense.bias"))
        state[name] += 1e-3
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(export, "_write", write_and_spoil)
    with pytest.raises(BistillError, match="does not compute what the pair does"):
        export_model(runs["bert"].repository, tmp_path / "out", task=task)
    assert not (tmp_path / "out").exists()
