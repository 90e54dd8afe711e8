"""Teachers load the same way twice, and what cannot be loaded is refused with what to do about it."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AutoModelForMaskedLM, AutoTokenizer, CanineTokenizer

from bistill_hub import InputError, SparseDelta
from bistill_hub.checkpoint_files import checkpoint_file, checkpoint_files
from bistill_hub.model.sparse_delta import SparseUpdate
from bistill_hub.teacher import (
    DeltaPlace,
    delta_place,
    load_config,
    load_delta,
    load_encoder,
    load_language_model,
    load_reported_encoder,
    load_task_model,
    load_tokenizer,
    weights_folder,
)

LEGACY = Path(__file__).parent / "reference" / "legacy_sft"
BACKBONES = ("bert", "xlm-roberta")
LABELS = {0: "O", 1: "B-PER", 2: "I-PER"}

LOADERS = {
    "config": load_config,
    "tokenizer": load_tokenizer,
    "encoder": load_encoder,
    "language model": load_language_model,
    "task model": lambda model: load_task_model("token-classification", model),
}
every_loader = pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
every_weight_loader = pytest.mark.parametrize("load", list(LOADERS.values())[2:], ids=list(LOADERS)[2:])


@pytest.fixture(params=BACKBONES)
def teacher(request, tiny_teacher_dirs):
    """A checkpoint with a language-modelling head and no pooler."""
    return tiny_teacher_dirs[request.param]


@pytest.fixture
def copied(tiny_teacher_dirs, tmp_path):
    """A copy of the tiny BERT that a test may damage."""
    return Path(shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "copied"))


@pytest.fixture
def delta(tmp_path):
    made = SparseDelta({"x": SparseUpdate((2, 3), torch.tensor([1, 4]), torch.tensor([0.5, -1.0]))})
    (tmp_path / "sft").mkdir()
    made.save(tmp_path / "sft" / "delta.safetensors")
    return made


class _Trap:
    """A pickle of this leaves a file behind when it is opened."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


class TestWhatIsThere:
    def test_configuration_and_tokenizer_are_the_checkpoint_s(self, teacher):
        assert load_config(str(teacher)).vocab_size == len(load_tokenizer(str(teacher)))
        text = "Juma alisafiri kwenda Kigali."
        assert (
            load_tokenizer(str(teacher))(text)["input_ids"] == AutoTokenizer.from_pretrained(teacher)(text)["input_ids"]
        )

    def test_the_encoder_has_the_checkpoint_s_weights_and_the_same_new_pooler_every_time(self, teacher):
        torch.manual_seed(1)
        first = load_encoder(str(teacher)).state_dict()
        torch.manual_seed(2)
        again = load_encoder(str(teacher)).state_dict()
        assert any(name.startswith("pooler.") for name in first)
        assert float(first["pooler.dense.weight"].std()) > 0
        assert first.keys() == again.keys()
        assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
        saved = {name.partition(".")[2]: t for name, t in load_file(teacher / "model.safetensors").items()}
        assert all(torch.equal(first[name], saved[name]) for name in first if not name.startswith("pooler."))

    def test_a_pooler_that_the_checkpoint_lacks_is_reported(self, teacher, tmp_path):
        encoder, missing = load_reported_encoder(str(teacher))
        assert missing == ("pooler.dense.bias", "pooler.dense.weight")
        encoder.save_pretrained(tmp_path / "whole")
        assert load_reported_encoder(str(tmp_path / "whole"))[1] == ()

    @every_weight_loader
    def test_weights_in_shards(self, teacher, tmp_path, load):
        AutoModelForMaskedLM.from_pretrained(teacher).save_pretrained(tmp_path, max_shard_size="20KB")
        assert not (tmp_path / "model.safetensors").exists()
        assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
        whole, sharded = load(str(teacher)).base_model, load(str(tmp_path)).base_model
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, sharded.state_dict()[name])

    @every_loader
    def test_a_tilde_is_the_home_folder(self, teacher, monkeypatch, load):
        monkeypatch.setenv("HOME", str(teacher.parent))
        home = f"~/{teacher.name}"
        assert load(home) is not None
        assert weights_folder(home) == teacher
        files = checkpoint_files(home)
        assert files is not None
        assert "config.json" in files
        assert checkpoint_file(home, "config.json") == teacher / "config.json"

    def test_loading_the_encoder_leaves_the_random_numbers_alone(self, teacher):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        load_encoder(str(teacher))
        assert torch.equal(torch.rand(3), expected)

    def test_the_language_model_comes_with_its_head(self, teacher):
        model = load_language_model(str(teacher))
        assert model.get_output_embeddings().weight.shape[0] == model.config.vocab_size

    def test_there_is_no_language_model_where_there_is_no_head(self, teacher, tmp_path):
        load_encoder(str(teacher)).save_pretrained(tmp_path / "headless")
        load_task_model("token-classification", str(teacher), id2label=LABELS).save_pretrained(tmp_path / "tagger")
        assert load_language_model(str(tmp_path / "headless")) is None
        assert load_language_model(str(tmp_path / "tagger")) is None

    def test_a_task_model_gets_a_head_with_the_labels(self, teacher):
        model = load_task_model("token-classification", str(teacher), id2label=LABELS)
        assert model.config.id2label == LABELS
        assert model.classifier.out_features == 3

    @every_weight_loader
    def test_weights_are_float32_whatever_the_file_holds(self, copied, load):
        file = copied / "model.safetensors"
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
        assert {parameter.dtype for parameter in load(str(copied)).parameters()} == {torch.float32}


class TestWhatIsRefused:
    @every_loader
    def test_a_folder_in_the_home_folder_that_is_not_there(self, tmp_path, monkeypatch, load):
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(InputError, match=r"teacher\.model = '~/absent': .*no such folder.* Name a folder"):
            load("~/absent")

    @every_loader
    def test_a_folder_that_is_not_there(self, tmp_path, load):
        place = str(tmp_path / "absent")
        with pytest.raises(InputError, match=rf"teacher\.model = '{place}': .* Name a folder that holds config\.json"):
            load(place)

    @every_loader
    def test_a_hub_id_that_cannot_be_had(self, load):
        with pytest.raises(InputError, match=r"teacher\.model = 'no/such-model': .* Check the Hub id and revision"):
            load("no/such-model")

    @every_loader
    def test_an_empty_folder(self, tmp_path, load):
        with pytest.raises(InputError, match="Name a folder that holds"):
            load(str(tmp_path))

    @every_weight_loader
    @pytest.mark.parametrize(
        ("files", "said"),
        [
            (["pytorch_model.bin"], r"pickled \(pytorch_model\.bin\)"),
            ([f"pytorch_model-0000{n}-of-00005.bin" for n in range(1, 6)], r"-00003-of-00005\.bin and 2 more\)"),
        ],
        ids=["one", "shards"],
    )
    def test_pickled_weights_are_not_opened(self, copied, tmp_path, load, files, said):
        (copied / "model.safetensors").unlink()
        trap = tmp_path / "opened"
        for file in files:
            (copied / file).write_bytes(pickle.dumps(_Trap(trap)))
        with pytest.raises(InputError, match=rf"{said}.* Convert it by `bistill convert-teacher {copied} DIR`"):
            load(str(copied))
        assert not trap.exists()

    @every_weight_loader
    def test_pickled_weights_beside_others_are_not_opened(self, copied, tmp_path, load):
        trap = tmp_path / "opened"
        (copied / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap(trap)))
        load(str(copied))
        assert not trap.exists()

    @every_weight_loader
    @pytest.mark.parametrize("file", ["tf_model.h5", "flax_model.msgpack", "model.ckpt.index"])
    def test_weights_of_other_frameworks(self, copied, load, file):
        (copied / "model.safetensors").unlink()
        (copied / file).write_bytes(b"weights")
        with pytest.raises(InputError, match=rf"of TensorFlow or Flax alone \({file}\).*Choose a teacher with model"):
            load(str(copied))

    @every_weight_loader
    def test_no_weights_at_all(self, copied, load):
        (copied / "model.safetensors").unlink()
        with pytest.raises(InputError, match=r"no file named model\.safetensors.* Name a folder that holds config"):
            load(str(copied))

    @pytest.mark.parametrize("head", ["encoder", "task model"])
    def test_an_encoder_parts_of_which_would_be_random(self, copied, head):
        file = copied / "model.safetensors"
        state = load_file(file)
        del state["bert.encoder.layer.3.output.dense.weight"], state["bert.embeddings.word_embeddings.weight"]
        save_file(state, file, metadata={"format": "pt"})
        with pytest.raises(InputError, match=r"the checkpoint lacks 2 parameters of the encoder, such as .*embeddings"):
            LOADERS[head](str(copied))

    def test_an_architecture_with_code_of_its_own_is_not_asked_about(self, tmp_path):
        config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (tmp_path / "own.py").write_text("raise SystemExit('this was run')")
        with pytest.raises(InputError, match=r"cannot be loaded"):
            load_config(str(tmp_path))

    @every_weight_loader
    def test_damaged_weights(self, copied, load):
        file = copied / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(InputError, match=r"cannot be loaded .*\. Name a folder that holds"):
            load(str(copied))

    def test_a_tuned_model_with_other_labels(self, teacher, tmp_path):
        load_task_model("token-classification", str(teacher), id2label=LABELS).save_pretrained(tmp_path / "tagger")
        with pytest.raises(InputError, match=r"the number of labels, asks for\)\. Choose a model that was tuned"):
            load_task_model("token-classification", str(tmp_path / "tagger"), id2label={0: "O", 1: "B-LOC"})

    def test_an_architecture_that_is_not_supported(self, tmp_path):
        AlbertConfig().save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"model_type = 'albert': .*\. Choose a teacher of one of \['bert'"):
            load_config(str(tmp_path))

    def test_an_architecture_that_nobody_knows(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "absent"}), encoding="utf-8")
        with pytest.raises(InputError, match=r"cannot be loaded .*absent"):
            load_config(str(tmp_path))

    def test_a_slow_tokenizer(self, tmp_path):
        CanineTokenizer().save_pretrained(tmp_path)
        with pytest.raises(
            InputError, match=r"tokenizer = 'CanineTokenizer': .*not a fast one\. Convert it to tokenizer"
        ):
            load_tokenizer(str(tmp_path))


class TestDelta:
    @pytest.mark.parametrize("place", ["sft", "sft/delta.safetensors"])
    def test_it_is_found_as_a_file_or_in_a_folder(self, delta, tmp_path, place):
        loaded = load_delta(str(tmp_path / place))
        assert torch.equal(loaded.sparse["x"].indices, delta.sparse["x"].indices)
        assert torch.equal(loaded.sparse["x"].values, delta.sparse["x"].values)

    @pytest.mark.parametrize("place", [LEGACY, LEGACY / "pytorch_diff.bin"], ids=["folder", "file"])
    def test_the_authors_format_is_read_where_it_is_asked_for(self, place):
        loaded = load_delta(f"legacy:{place}")
        names = {f"diff.{name}" for name in loaded.sparse} | {f"abs.{name}" for name in loaded.dense}
        assert names == set(load_file(LEGACY / "expected_dense.safetensors"))

    def test_the_authors_format_is_not_opened_unasked(self, tmp_path):
        trap = tmp_path / "opened"
        (tmp_path / "pytorch_diff.bin").write_bytes(pickle.dumps(_Trap(trap)))
        with pytest.raises(
            InputError, match=rf"delta = '{tmp_path}': .*in the authors' format, write 'legacy:{tmp_path}'"
        ):
            load_delta(str(tmp_path))
        with pytest.raises(InputError, match=r"not a sparse delta.*\. Name a file that `SparseDelta\.save` wrote"):
            load_delta(str(tmp_path / "pytorch_diff.bin"))
        assert not trap.exists()

    def test_a_pickle_of_anything_else_is_not_run_even_when_asked_for(self, tmp_path):
        trap = tmp_path / "opened"
        (tmp_path / "pytorch_diff.bin").write_bytes(pickle.dumps(_Trap(trap), protocol=2))
        with pytest.raises(InputError, match="no plain sparse fine-tuning"):
            load_delta(f"legacy:{tmp_path}")
        assert not trap.exists()

    @pytest.mark.parametrize("name", ["absent", "no/such-delta", "absent/delta.safetensors"])
    def test_one_that_is_not_there(self, name):
        with pytest.raises(
            InputError, match=rf"delta = '{name}': no delta\.safetensors was found.*write 'legacy:{name}'"
        ):
            load_delta(name)

    @pytest.mark.parametrize("name", ["legacy:absent", "legacy:/absent/folder"])
    def test_one_in_the_authors_format_that_is_not_there(self, name):
        with pytest.raises(InputError, match=rf"delta = '{name}': no pytorch_diff\.bin was found .*holds pytorch_diff"):
            load_delta(name)

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("org/sft", ("org/sft", None, False)),
            ("legacy:org/sft", ("org/sft", None, True)),
            ("org/sft@v1.0", ("org/sft", "v1.0", False)),
            ("legacy:org/sft@refs/pr/1", ("org/sft", "refs/pr/1", True)),
            (f"org/sft@{'ab' * 20}", ("org/sft", "ab" * 20, False)),
            ("./mine@home", ("./mine@home", None, False)),
            ("~/sft@2", ("~/sft@2", None, False)),
            ("legacy:/absent/sft@2", ("/absent/sft@2", None, True)),
            ("sft@2/delta.safetensors", ("sft@2/delta.safetensors", None, False)),
        ],
    )
    def test_a_revision_stands_behind_a_hub_id_alone(self, name, found):
        assert delta_place(name) == DeltaPlace(*found)
        assert delta_place(name).name == name.removeprefix("legacy:")

    @pytest.mark.parametrize("name", ["org/sft@", "@main", "legacy:org/sft@", "@"])
    def test_an_at_sign_without_a_revision_is_refused(self, name):
        with pytest.raises(InputError, match=rf"teacher\.delta = '{name}': a revision stands .*ORG/NAME@REVISION"):
            delta_place(name, "teacher.delta")

    @pytest.mark.parametrize("prefix", ["", "legacy:"])
    def test_a_folder_whose_name_holds_an_at_sign_is_a_folder(self, delta, tmp_path, monkeypatch, prefix):
        made = tmp_path / "org" / "sft@v1"
        if prefix:
            shutil.copytree(LEGACY, made)
        else:
            shutil.copytree(tmp_path / "sft", made)
        monkeypatch.chdir(tmp_path)
        assert delta_place(f"{prefix}org/sft@v1").revision is None
        names = set(load_delta(f"{prefix}org/sft@v1").sparse)
        assert names == (set(load_delta(f"legacy:{LEGACY}").sparse) if prefix else {"x"})

    def test_a_damaged_one(self, delta, tmp_path):
        file = tmp_path / "sft" / "delta.safetensors"
        file.write_bytes(file.read_bytes()[:40])
        with pytest.raises(InputError, match=r"delta = '.*sft': .*not a sparse delta"):
            load_delta(str(tmp_path / "sft"))
