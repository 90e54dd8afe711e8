"""Pre-training gives an ordinary checkpoint, the same each time, that has learnt; bad input is refused beforehand."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, XLMRobertaForMaskedLM

from bistill_hub import pretraining
from bistill_hub.errors import InputError
from bistill_hub.pretraining import RECORD_FILE, PretrainingSettings, pretrain, train_tokenizer
from bistill_hub.sources import TextSource

BACKBONES = ("bert", "xlm-roberta")
TINY = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_length": 32,
    "batch_size": 4,
}


def settings(backbone="bert", **changes):
    return PretrainingSettings(**{"backbone": backbone, "steps": 0, **TINY, **changes})


@pytest.fixture(scope="module")
def sources(text_files):
    return {language: TextSource(path=str(file)) for language, file in text_files.items()}


@pytest.fixture(scope="module")
def trained_tokenizers(world_lines):
    lines = world_lines["en"] + world_lines["sw"]
    return {backbone: train_tokenizer(lines, backbone=backbone, vocab_size=300) for backbone in BACKBONES}


class TestTokenizer:
    def test_wordpiece_has_bert_s_special_tokens_and_inputs(self, trained_tokenizers):
        tokenizer = trained_tokenizers["bert"]
        assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        assert tokenizer.model_input_names == ["input_ids", "token_type_ids", "attention_mask"]
        pair = tokenizer("Juma travelled", "Je ?")
        tokens = tokenizer.convert_ids_to_tokens(pair["input_ids"])
        assert (tokens[0], tokens[-1], tokens.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
        assert set(pair["token_type_ids"][tokens.index("[SEP]") + 1 :]) == {1}
        assert tokenizer.tokenize("Amina")[0][0] == "A", "the model is cased"

    def test_unigram_has_xlm_roberta_s_special_ids_and_inputs(self, trained_tokenizers):
        tokenizer = trained_tokenizers["xlm-roberta"]
        assert tokenizer.convert_ids_to_tokens(range(4)) == ["<s>", "<pad>", "</s>", "<unk>"]
        assert tokenizer.mask_token_id == len(tokenizer) - 1
        assert tokenizer.model_input_names == ["input_ids", "attention_mask"]
        tokens = tokenizer.convert_ids_to_tokens(tokenizer("Juma", "Je ?")["input_ids"])
        assert (tokens[0], tokens[-1], tokens.count("</s>")) == ("<s>", "</s>", 3)

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_no_character_of_the_text_is_unknown(self, trained_tokenizers, world_lines, backbone):
        tokenizer = trained_tokenizers[backbone]
        for line in world_lines["sw"]:
            assert tokenizer.unk_token not in tokenizer.tokenize(line)

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_only_the_special_tokens_are_special(self, trained_tokenizers, backbone):
        tokenizer = trained_tokenizers[backbone]
        assert set(tokenizer.get_added_vocab()) == set(tokenizer.all_special_tokens)
        assert len(tokenizer.all_special_tokens) == 5

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_vocabulary_is_no_larger_than_asked_for(self, trained_tokenizers, backbone):
        tokenizer = trained_tokenizers[backbone]
        assert 200 < len(tokenizer) <= 300
        assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))

    def test_every_process_trains_the_same_ones(self, trained_tokenizers, text_files):
        """Ties fall differently from process to process, unless something is done about it."""
        script = (
            "import json, sys\n"
            "from bistill_hub.pretraining import train_tokenizer\n"
            "lines = [line.strip() for name in sys.argv[3:] for line in open(name, encoding='utf-8')]\n"
            "trained = [train_tokenizer(iter(lines), backbone=name, vocab_size=300) for name in sys.argv[1:3]]\n"
            "print(json.dumps([tokenizer.backend_tokenizer.to_str() for tokenizer in trained]))\n"
        )
        command = [sys.executable, "-c", script, *BACKBONES, str(text_files["en"]), str(text_files["sw"])]
        root = Path(pretraining.__file__).parents[1]
        elsewhere = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=root).stdout)
        assert elsewhere == [trained_tokenizers[name].backend_tokenizer.to_str() for name in BACKBONES]

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_vocabulary_smaller_than_the_alphabet_is_refused(self, world_lines, backbone):
        with pytest.raises(InputError, match=r"vocab_size = 20: .* alone are"):
            train_tokenizer(world_lines["en"], backbone=backbone, vocab_size=20)

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_no_text_is_refused(self, backbone):
        with pytest.raises(InputError, match="no text"):
            train_tokenizer(["", " "], backbone=backbone, vocab_size=100)


class TestCheckpoint:
    @pytest.mark.parametrize(
        ("backbone", "native"), [("bert", BertForMaskedLM), ("xlm-roberta", XLMRobertaForMaskedLM)]
    )
    def test_auto_classes_load_it_without_a_missing_or_unexpected_weight(self, tiny_teacher_dirs, backbone, native):
        model, loading = AutoModelForMaskedLM.from_pretrained(tiny_teacher_dirs[backbone], output_loading_info=True)
        assert type(model) is native
        assert not any(loading.values())
        tokenizer = AutoTokenizer.from_pretrained(tiny_teacher_dirs[backbone])
        assert model.config.vocab_size == len(tokenizer)
        assert model.config.pad_token_id == tokenizer.pad_token_id
        inputs = tokenizer("Juma alisafiri kwenda Kigali. " * 50, truncation=True, return_tensors="pt")
        assert inputs["input_ids"].shape == (1, 128), "as long as the model takes"
        assert model(**inputs).logits.isfinite().all()

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_tokenizer_loads_back_as_it_was_trained(self, sources, tmp_path, trained_tokenizers, backbone):
        trained = trained_tokenizers[backbone]
        folder = pretrain(sources, tmp_path / "out", settings(backbone), tokenizer=trained, progress=False)
        loaded = AutoTokenizer.from_pretrained(folder)
        assert loaded.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()
        assert type(loaded) is type(trained)
        assert loaded.model_input_names == trained.model_input_names
        assert loaded.special_tokens_map == trained.special_tokens_map
        assert loaded.model_max_length == 32
        assert trained.model_max_length > 32, "the caller's tokenizer is left alone"

    def test_record_says_what_it_was_made_from(self, tiny_teacher_dirs, text_files):
        record = json.loads((tiny_teacher_dirs["bert"] / RECORD_FILE).read_text(encoding="utf-8"))
        assert PretrainingSettings(**record["settings"]).steps == 30
        assert record["settings"]["seed"] == 1
        for source in record["sources"]:
            file = text_files[source["language"]]
            assert source["name"] == file.name, "no path of a machine"
            assert source["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
            assert source["lines"] == len(file.read_text(encoding="utf-8").splitlines())
        assert record["versions"]["torch"] == torch.__version__
        assert record["losses"][-1]["step"] == 30

    def test_zero_steps_save_the_random_model_that_the_seed_gives(self, sources, tmp_path):
        first, again, other = (
            pretrain(sources, tmp_path / name, settings(seed=seed), progress=False)
            for name, seed in (("first", 1), ("again", 1), ("other", 2))
        )
        weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
        assert weights[0] == weights[1] != weights[2]
        assert json.loads((first / RECORD_FILE).read_text(encoding="utf-8"))["losses"] == []


class TestTraining:
    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_two_runs_write_the_same_bytes(self, sources, tmp_path, backbone):
        runs = [
            pretrain(sources, tmp_path / name, settings(backbone, steps=4), progress=False) for name in ("one", "two")
        ]
        for name in ("model.safetensors", "tokenizer.json", "config.json", RECORD_FILE):
            assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_loss_falls_clearly(self, tiny_teacher_dirs, backbone):
        record = json.loads((tiny_teacher_dirs[backbone] / RECORD_FILE).read_text(encoding="utf-8"))
        losses = [entry["loss"] for entry in record["losses"]]
        assert sum(losses[-5:]) / 5 < 0.9 * losses[0]

    def test_a_loss_that_is_not_finite_ends_it_before_a_model_is_written(self, sources, tmp_path, trained_tokenizers):
        wild = settings(steps=40, warmup_fraction=0.0).model_copy(update={"learning_rate": 1e30})
        with pytest.raises(
            InputError, match=r"learning_rate = 1e\+30: .*_loss is not finite at update [24]\b"
        ) as ended:
            pretrain(sources, tmp_path, wild, tokenizer=trained_tokenizers["bert"], checkpoint_every=1, progress=False)
        assert ended.value.file == str(tmp_path)
        assert not list(tmp_path.iterdir()), "nothing is left that a lower rate would be refused for"

    def test_a_batch_in_which_nothing_is_hidden_has_nothing_to_learn_and_ends_nothing(self, sources, tmp_path):
        few = settings(steps=20, batch_size=1, max_length=8)
        folder = pretrain(sources, tmp_path, few, progress=False)
        losses = [entry["loss"] for entry in json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["losses"]]
        assert len(losses) == 20
        assert 0.0 in losses
        assert max(losses) > 1

    def test_sources_of_unequal_size_give_the_same_number_of_blocks(self):
        short, long = [[1], [2]], [[index] for index in range(10, 20)]
        schedule = pretraining._Schedule([short, long], 20, seed=0)
        seen = [block[0] for block in schedule._blocks]
        assert sorted(seen[0::2]) == [1] * 5 + [2] * 5
        assert sorted(seen[1::2]) == list(range(10, 20))

    @pytest.mark.parametrize("lines", [1, 7, 2500])
    def test_packing_loses_no_token_and_fills_all_blocks_but_the_last(self, trained_tokenizers, lines):
        tokenizer = trained_tokenizers["bert"]
        text = [f"Juma alinunua nyumba {number} ." for number in range(lines)]
        blocks = pretraining._pack(text, tokenizer, 16)
        assert {len(block) for block in blocks[:-1]} <= {16}
        assert {(block[0], block[-1]) for block in blocks} == {(tokenizer.cls_token_id, tokenizer.sep_token_id)}
        packed = [token for block in blocks for token in block[1:-1]]
        assert packed == [token for line in text for token in tokenizer(line, add_special_tokens=False)["input_ids"]]


class TestRefusals:
    @pytest.fixture(autouse=True)
    def _nothing_expensive_may_start(self, monkeypatch):
        def started(*_args, **_options):
            pytest.fail("the work began before the input was checked")

        monkeypatch.setattr(pretraining, "train_tokenizer", started)
        monkeypatch.setattr(pretraining, "_new_model", started)

    def test_no_source(self, tmp_path):
        with pytest.raises(InputError, match="no text to train on"):
            pretrain({}, tmp_path / "out", settings())

    def test_several_processes(self, sources, tmp_path, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(InputError, match="WORLD_SIZE = 2: a model is pre-trained by one process"):
            pretrain(sources, tmp_path / "out", settings())

    def test_several_gpus(self, sources, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES = '2 GPUs': .* on one GPU. Show it a single one"):
            pretrain(sources, tmp_path / "out", settings(steps=1))
        assert not (tmp_path / "out").exists()

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"sources\.sw = .*no such file"):
            pretrain({"sw": TextSource(path=str(tmp_path / "absent.txt"))}, tmp_path / "out", settings())

    @pytest.mark.parametrize("content", ["", "\n \n\t\n"])
    def test_empty_text(self, sources, tmp_path, content):
        file = tmp_path / "empty.txt"
        file.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"sources\.sw.*(is empty|no text in it)"):
            pretrain({"en": sources["en"], "sw": TextSource(path=str(file))}, tmp_path / "out", settings())

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_folder_that_holds_a_model(self, sources, tmp_path, name):
        (tmp_path / name).write_text("{}", encoding="utf-8")
        with pytest.raises(InputError, match="already holds a model"):
            pretrain(sources, tmp_path, settings())

    def test_folder_that_cannot_be_written(self, sources, tmp_path):
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(InputError, match="nothing can be written there"):
            pretrain(sources, tmp_path / "file" / "out", settings())

    def test_tokenizer_without_a_mask(self, sources, tmp_path, world_lines):
        tokenizer = train_tokenizer(world_lines["en"], backbone="bert", vocab_size=300)
        tokenizer.mask_token = None
        with pytest.raises(InputError, match="tokenizer: it has no mask_token"):
            pretrain(sources, tmp_path / "out", settings(), tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 30),
        ("mask_probability", 0.0),
        ("warmup_fraction", 1.0),
        ("steps", -1),
        ("backbone", "gpt2"),
        ("learning_rate", float("nan")),
        ("depth", 3),
    ],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        PretrainingSettings(**{**TINY, "num_attention_heads": 4, field: value})
