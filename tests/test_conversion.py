"""Pickled weights become safetensors bit for bit, and nothing in a pickle is run."""

import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer
from untrained import WIDTH, untrained

from bistill_hub import InputError
from bistill_hub.conversion import convert_teacher, read_pickled_tensors
from bistill_hub.sources import file_sha256
from bistill_hub.teacher import load_encoder, load_language_model, load_task_model

BACKBONES = ("bert", "xlm-roberta")
DECODER = {"bert": "cls.predictions.decoder.weight", "xlm-roberta": "lm_head.decoder.weight"}
EMBEDDINGS = {
    "bert": "bert.embeddings.word_embeddings.weight",
    "xlm-roberta": "roberta.embeddings.word_embeddings.weight",
}


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def safe(backbone, tmp_path_factory):
    """A checkpoint with safetensors weights."""
    return untrained(backbone, tmp_path_factory.mktemp("safe") / backbone)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return untrained("bert", tmp_path_factory.mktemp("bert") / "bert")


def pickled(safe, folder, state=None, *, file="pytorch_model.bin", **options):
    """The same checkpoint with its weights, or others, in a pickle."""
    shutil.copytree(safe, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.save(load_file(safe / "model.safetensors") if state is None else state, folder / file, **options)
    return folder


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


class _Command:
    """A pickle of this runs a command of the shell when it is opened."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


class TestWhatIsWritten:
    @pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
    def test_it_loads_as_the_checkpoint_that_was_pickled(self, safe, backbone, tmp_path, new_format):
        options = {"_use_new_zipfile_serialization": new_format}
        converted = convert_teacher(str(pickled(safe, tmp_path / "old", **options)), tmp_path / "new")
        assert converted.folder == tmp_path / "new"
        assert same(load_encoder(str(tmp_path / "new")), load_encoder(str(safe)))
        assert same(load_language_model(str(tmp_path / "new")), load_language_model(str(safe)))
        line = "Juma alisafiri kwenda Kigali."
        expected = AutoTokenizer.from_pretrained(safe)(line)["input_ids"]
        assert AutoTokenizer.from_pretrained(tmp_path / "new")(line)["input_ids"] == expected

    def test_nothing_but_safetensors_and_text_is_in_it(self, safe, tmp_path):
        old = pickled(safe, tmp_path / "old")
        (old / "modeling_own.py").write_text("raise SystemExit")
        (old / "optimizer.pt").write_bytes(b"pickle")
        config = json.loads((old / "config.json").read_text()) | {"auto_map": {"AutoModel": "modeling_own.Own"}}
        (old / "config.json").write_text(json.dumps(config))
        converted = convert_teacher(str(old), tmp_path / "new")
        names = {file.relative_to(tmp_path / "new").as_posix() for file in (tmp_path / "new").rglob("*")}
        assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
        assert "auto_map" not in json.loads((tmp_path / "new" / "config.json").read_text())
        assert converted.weights == {"model.safetensors": file_sha256(tmp_path / "new" / "model.safetensors")}
        assert not (tmp_path / "new.unfinished").exists()

    def test_the_same_checkpoint_gives_the_same_bytes(self, safe, backbone, tmp_path):
        old = pickled(safe, tmp_path / "old", tied(safe, backbone))
        first = convert_teacher(str(old), tmp_path / "first")
        assert first.weights == convert_teacher(str(old), tmp_path / "second").weights

    def test_a_tied_decoder_is_written_once_under_the_embeddings_name(self, safe, backbone, tmp_path):
        state = tied(safe, backbone)
        converted = convert_teacher(str(pickled(safe, tmp_path / "old", state)), tmp_path / "new")
        written = load_file(tmp_path / "new" / "model.safetensors")
        assert DECODER[backbone] not in written
        assert torch.equal(written[EMBEDDINGS[backbone]], state[EMBEDDINGS[backbone]])
        assert converted.tensors == len(state) == len(written) + 1
        head = load_language_model(str(tmp_path / "new"))
        assert torch.equal(head.get_output_embeddings().weight, state[EMBEDDINGS[backbone]])

    def test_a_head_that_is_not_tied_keeps_its_own_weights(self, safe, backbone, tmp_path):
        state = load_file(safe / "model.safetensors")
        state[DECODER[backbone]] = state[EMBEDDINGS[backbone]].clone()
        convert_teacher(str(pickled(safe, tmp_path / "old", state)), tmp_path / "new")
        assert load_file(tmp_path / "new" / "model.safetensors").keys() == state.keys()

    def test_views_of_one_storage_get_one_each(self, bert, tmp_path):
        state = load_file(bert / "model.safetensors")
        name = "bert.encoder.layer.0.attention.self.{}.weight"
        both = torch.cat([state[name.format("query")], state[name.format("key")]])
        state[name.format("query")], state[name.format("key")] = both[:WIDTH], both[WIDTH:]
        state[name.format("value")] = state[name.format("value")].t()
        convert_teacher(str(pickled(bert, tmp_path / "old", state)), tmp_path / "new")
        written = load_file(tmp_path / "new" / "model.safetensors")
        assert all(torch.equal(written[each], tensor) for each, tensor in state.items())

    def test_shards_become_one_checkpoint(self, safe, tmp_path):
        state = load_file(safe / "model.safetensors")
        folder = tmp_path / "old"
        shutil.copytree(safe, folder, ignore=shutil.ignore_patterns("model.safetensors"))
        names = sorted(state)
        shards = {f"pytorch_model-0000{part + 1}-of-00003.bin": names[part::3] for part in range(3)}
        for file, part in shards.items():
            torch.save({name: state[name] for name in part}, folder / file)
        index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        assert convert_teacher(str(folder), tmp_path / "new").tensors == len(state)
        assert same(load_encoder(str(tmp_path / "new")), load_encoder(str(safe)))

        (folder / "pytorch_model-00002-of-00003.bin").unlink()
        with pytest.raises(InputError, match=r"parameters that pytorch_model\.bin\.index\.json names are in no shard"):
            convert_teacher(str(folder), tmp_path / "lost")
        assert not (tmp_path / "lost").exists()

    def test_names_of_old_releases_are_read_by_transformers(self, bert, tmp_path):
        state = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in load_file(bert / "model.safetensors").items()
        }
        assert sum("gamma" in name for name in state) == 6
        convert_teacher(str(pickled(bert, tmp_path / "old", state)), tmp_path / "new")
        assert same(load_encoder(str(tmp_path / "new")), load_encoder(str(bert)))
        assert same(load_language_model(str(tmp_path / "new")), load_language_model(str(bert)))

    def test_precision_and_what_is_no_number_are_kept(self, bert, tmp_path):
        state = {name: tensor.bfloat16() for name, tensor in load_file(bert / "model.safetensors").items()}
        state["bert.embeddings.word_embeddings.weight"][7, 3] = float("nan")
        convert_teacher(str(pickled(bert, tmp_path / "old", state)), tmp_path / "new")
        with safe_open(tmp_path / "new" / "model.safetensors", "pt") as file:
            for name, tensor in state.items():
                found = file.get_tensor(name)
                assert found.dtype == torch.bfloat16
                assert torch.equal(found.view(torch.int16), tensor.view(torch.int16)), name

    def test_a_task_model_keeps_its_head(self, bert, tmp_path):
        labels = {0: "O", 1: "B-PER", 2: "I-PER"}
        tuned = load_task_model("token-classification", str(bert), id2label=labels)
        tuned.save_pretrained(tmp_path / "tuned")
        AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "tuned")
        convert_teacher(str(pickled(tmp_path / "tuned", tmp_path / "old")), tmp_path / "new")
        assert same(load_task_model("token-classification", str(tmp_path / "new")), tuned)

    def test_an_empty_folder_is_filled(self, bert, tmp_path):
        (tmp_path / "new").mkdir()
        convert_teacher(str(pickled(bert, tmp_path / "old")), tmp_path / "new")
        assert (tmp_path / "new" / "model.safetensors").is_file()


def tied(safe, backbone):
    """The checkpoint's tensors with the decoder's being the embeddings, as training code saves them."""
    state = load_file(safe / "model.safetensors")
    return {**state, DECODER[backbone]: state[EMBEDDINGS[backbone]]}


class TestWhatIsRefused:
    @pytest.mark.parametrize("form", ["plain", "zip"])
    def test_a_pickle_that_runs_a_command(self, bert, tmp_path, form):
        ran = tmp_path / "ran"
        old = pickled(bert, tmp_path / "old")
        content = pickle.dumps({"bert.pooler.dense.bias": _Command(ran)}, protocol=2)
        if form == "zip":
            torch.save({"a": torch.zeros(1)}, old / "pytorch_model.bin")
            rebuilt = io.BytesIO()
            with zipfile.ZipFile(old / "pytorch_model.bin") as source, zipfile.ZipFile(rebuilt, "w") as made:
                for name in source.namelist():
                    made.writestr(name, content if name.endswith("data.pkl") else source.read(name))
            content = rebuilt.getvalue()
        (old / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(
            InputError, match=r"pytorch_model\.bin: this holds more than tensors .*(system|loads)"
        ) as info:
            convert_teacher(str(old), tmp_path / "new")
        assert len(str(info.value).splitlines()) == 1
        assert not ran.exists()
        assert not (tmp_path / "new").exists()
        assert not (tmp_path / "new.unfinished").exists()
        # It would have run where it was opened in the ordinary way.
        torch.load(old / "pytorch_model.bin", weights_only=False) if form == "zip" else pickle.loads(content)
        assert ran.exists()

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ([torch.zeros(2)], "it holds a list"),
            ({"model": {"x": torch.zeros(2)}}, "'model' is a dict"),
            ({"x": torch.zeros(2), "epoch": 3}, "'epoch' is a int"),
            ({3: torch.zeros(2)}, "3 is a Tensor"),
            ({"x": torch.zeros(2, 2).to_sparse()}, "the entries of 'x' are not all stored"),
            ({"x": torch.zeros(1).expand(10**9)}, "the entries of 'x' are not all stored"),
        ],
        ids=["list", "nested", "number", "name", "sparse", "expanded"],
    )
    def test_what_is_no_tensor_by_name(self, tmp_path, content, said):
        torch.save(content, tmp_path / "file.bin")
        with pytest.raises(InputError, match=rf"file\.bin: .*\({said}.*nothing of it was run"):
            read_pickled_tensors(tmp_path / "file.bin")

    def test_a_damaged_file(self, bert, tmp_path):
        old = pickled(bert, tmp_path / "old")
        file = old / "pytorch_model.bin"
        file.write_bytes(file.read_bytes()[:3000])
        with pytest.raises(InputError, match=r"model\.bin: this holds more than tensors by name, or is damaged"):
            convert_teacher(str(old), tmp_path / "new")

    def test_what_is_safetensors_already(self, safe, tmp_path):
        with pytest.raises(InputError, match=r"there are no pickled weights to convert.*Use the model as it is"):
            convert_teacher(str(safe), tmp_path / "new")
        both = tmp_path / "both"
        shutil.copytree(safe, both)
        (both / "pytorch_model.bin").write_bytes(b"not looked at")
        with pytest.raises(InputError, match="there are no pickled weights to convert"):
            convert_teacher(str(both), tmp_path / "new")

    def test_weights_of_which_the_encoder_s_are_not_all_there(self, bert, tmp_path):
        state = load_file(bert / "model.safetensors")
        del state["bert.encoder.layer.1.output.dense.bias"]
        with pytest.raises(InputError, match="converted, it would not load: the checkpoint lacks 1 parameters"):
            convert_teacher(str(pickled(bert, tmp_path / "old", state)), tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_an_architecture_that_is_not_supported_before_any_weights_are_read(self, bert, tmp_path):
        old = pickled(bert, tmp_path / "old")
        (old / "pytorch_model.bin").write_bytes(b"")
        (old / "config.json").write_text(json.dumps({"model_type": "t5"}))
        with pytest.raises(InputError, match="model_type = 't5': this architecture is not supported"):
            convert_teacher(str(old), tmp_path / "new")

    @pytest.mark.parametrize("there", ["a file", "a full folder"])
    def test_a_place_that_is_taken(self, bert, tmp_path, there):
        taken = tmp_path / "taken"
        if there == "a file":
            taken.write_text("mine")
        else:
            taken.mkdir()
            (taken / "mine").write_text("mine")
        with pytest.raises(InputError, match=r"output_dir = .*taken': .*Name a new or an empty folder"):
            convert_teacher(str(bert), taken)
        assert Path(taken if there == "a file" else taken / "mine").read_text() == "mine"

    def test_a_model_that_there_is_not(self, tmp_path):
        with pytest.raises(InputError, match=r"absent': the model cannot be loaded"):
            convert_teacher(str(tmp_path / "absent"), tmp_path / "new")
