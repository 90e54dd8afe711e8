"""A student of a sentence encoder embeds as its teacher does, in sentence-transformers, and carries no code along."""

import json
import logging
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Normalize, Pooling, Transformer
from transformers import AutoModel, AutoTokenizer
from untrained import PROMPTS, WIDTH, untrained, untrained_sentence_encoder

from bistill_hub import InputError
from bistill_hub.conversion import convert_teacher
from bistill_hub.hub.repository import PairModel, write_model
from bistill_hub.pipeline.stage_files import prefixed
from bistill_hub.sentence_encoders import carry_modules, check_modules, is_sentence_encoder, prompts_of
from bistill_hub.student.backbones import BACKBONES
from bistill_hub.student.build import cut_model
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer
from bistill_hub.teacher import load_reported_encoder, load_tokenizer

KINDS = ("e5", "labse", "minilm")
OLD_POOLING = "sentence_transformers.models.Pooling"


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {kind: untrained_sentence_encoder(kind, folder / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def teacher(request, teachers):
    return teachers[request.param]


@pytest.fixture
def copied(teachers, tmp_path):
    """A copy of the LaBSE that a test may change."""
    return shutil.copytree(teachers["labse"], tmp_path / "copied")


@pytest.fixture(scope="module")
def lines(world_lines):
    """A few sentences of English and Swahili, all of whose pieces a student of them keeps."""
    return world_lines["en"][:20] + world_lines["sw"][:20]


def cut(teacher, folder, lines, layers=(0, 1), prompts=()):
    """A student in the folder: encoder and tokenizer, with no vocabulary but that of the lines."""
    encoder, tokenizer = load_reported_encoder(str(teacher))[0], load_tokenizer(str(teacher))
    token_map = select_tokens(tokenizer, {"both": count_tokens(tokenizer, lines)}, 0.001, must_keep=prompts)
    cut_model(encoder, token_map, layers, dropout=0.0).save_pretrained(folder)
    trim_tokenizer(tokenizer, token_map).save_pretrained(folder)
    return token_map


def embed(place, lines, **options):
    return SentenceTransformer(str(place), device="cpu").encode(lines, convert_to_tensor=True, **options)


def by_hand(kind, place, lines):
    """Embeddings from transformers alone, a line at a time."""
    encoder, tokenizer = AutoModel.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    found = []
    for line in lines:
        with torch.no_grad():
            states = encoder(**tokenizer(line, return_tensors="pt")).last_hidden_state[0]
        vector = states[0] if kind == "labse" else states.mean(0)
        if kind == "labse":
            dense = load_file(place / "2_Dense" / "model.safetensors")
            vector = torch.tanh(dense["linear.weight"] @ vector + dense["linear.bias"])
        found.append(vector if kind == "minilm" else vector / vector.norm())
    return torch.stack(found)


class TestWhatAStudentEmbeds:
    def test_with_all_its_layers_it_embeds_as_its_teacher(self, teacher, tmp_path, lines):
        token_map = cut(teacher, tmp_path / "student", lines)
        carry_modules(str(teacher), tmp_path / "student")
        assert len(token_map) < len(AutoTokenizer.from_pretrained(teacher))
        expected, found = embed(teacher, lines), embed(tmp_path / "student", lines)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(by_hand(teacher.name, tmp_path / "student", lines), expected, atol=1e-5, rtol=1e-4)
        assert float((expected[0] - expected[1]).abs().max()) > 1e-3

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_it_does_so_for_every_backbone(self, backbone, tmp_path, lines):
        untrained(backbone, tmp_path / "base")
        encoder = Transformer(str(tmp_path / "base"))
        model = SentenceTransformer(modules=[encoder, Pooling(WIDTH), Dense(WIDTH, 12), Normalize()], device="cpu")
        model.save(str(tmp_path / "teacher"))
        token_map = cut(tmp_path / "teacher", tmp_path / "student", lines)
        carry_modules(str(tmp_path / "teacher"), tmp_path / "student")
        assert len(token_map) < len(AutoTokenizer.from_pretrained(tmp_path / "teacher"))
        expected = model.encode(lines, convert_to_tensor=True)
        torch.testing.assert_close(embed(tmp_path / "student", lines), expected, atol=1e-5, rtol=1e-4)

    def test_with_fewer_layers_it_has_the_same_modules(self, teacher, tmp_path, lines):
        cut(teacher, tmp_path / "student", lines, layers=(1,))
        carry_modules(str(teacher), tmp_path / "student")
        found = embed(tmp_path / "student", lines)
        torch.testing.assert_close(by_hand(teacher.name, tmp_path / "student", lines), found, atol=1e-5, rtol=1e-4)
        assert float((found - embed(teacher, lines)).abs().max()) > 1e-3

    def test_prompts_are_told_and_keep_their_pieces(self, teachers, tmp_path, lines):
        assert prompts_of(str(teachers["e5"])) == ("passage: ", "query: ")
        assert prompts_of(str(teachers["labse"])) == ()
        cut(teachers["e5"], tmp_path / "student", lines, prompts=prompts_of(str(teachers["e5"])))
        carry_modules(str(teachers["e5"]), tmp_path / "student")
        model = SentenceTransformer(str(tmp_path / "student"), device="cpu")
        assert {name: text for name, text in model.prompts.items() if text} == PROMPTS
        for name in PROMPTS:
            expected = embed(teachers["e5"], lines, prompt_name=name)
            torch.testing.assert_close(model.encode(lines, prompt_name=name, convert_to_tensor=True), expected)
        assert not torch.allclose(embed(teachers["e5"], lines, prompt_name="query"), embed(teachers["e5"], lines))

    def test_a_packaged_pair_is_loaded_as_one(self, teacher, tmp_path, lines):
        """With its configuration of another type, by way of this package, which these tests have imported."""
        token_map = cut(teacher, tmp_path / "student", lines)
        encoder = AutoModel.from_pretrained(tmp_path / "student")
        pair = PairModel(encoder.config, "en", "sw", (0, 1), {"teacher_size": 300, "size": len(token_map)})
        write_model(tmp_path / "pair", pair, prefixed(encoder), load_tokenizer(str(tmp_path / "student")), {})
        carry_modules(str(teacher), tmp_path / "pair")
        torch.testing.assert_close(embed(tmp_path / "pair", lines), embed(teacher, lines), atol=1e-6, rtol=1e-5)

    def test_what_was_carried_once_can_be_carried_on(self, teacher, tmp_path, lines):
        cut(teacher, tmp_path / "first", lines)
        shutil.copytree(tmp_path / "first", tmp_path / "second")
        written = carry_modules(str(teacher), tmp_path / "first")
        assert carry_modules(str(tmp_path / "first"), tmp_path / "second") == written
        for name in written:
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()

    def test_the_longest_input_is_the_teacher_s(self, copied, tmp_path, lines):
        settings = copied / "sentence_bert_config.json"
        settings.write_text(json.dumps({"max_seq_length": 7, "do_lower_case": False}))
        cut(copied, tmp_path / "student", lines)
        carry_modules(str(copied), tmp_path / "student")
        assert SentenceTransformer(str(tmp_path / "student"), device="cpu").max_seq_length == 7
        torch.testing.assert_close(embed(tmp_path / "student", lines), embed(copied, lines), atol=1e-6, rtol=1e-5)

    def test_folders_of_older_releases(self, copied, tmp_path, lines):
        expected = embed(copied, lines)
        modules = json.loads((copied / "modules.json").read_text())
        for entry in modules[1:]:
            kind = entry["type"].rpartition(".")[2]
            entry["type"] = f"sentence_transformers.models.{kind}"
        (copied / "modules.json").write_text(json.dumps(modules))
        (copied / "1_Pooling" / "config.json").write_text(
            json.dumps(
                {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
            )
        )
        (copied / "sentence_bert_config.json").rename(copied / "sentence_roberta_config.json")
        shutil.rmtree(copied / "3_Normalize")
        (copied / "config_sentence_transformers.json").unlink()
        cut(copied, tmp_path / "student", lines)
        carry_modules(str(copied), tmp_path / "student")
        torch.testing.assert_close(embed(tmp_path / "student", lines), expected, atol=1e-6, rtol=1e-5)

    def test_a_pickled_teacher_is_converted_with_its_dense_layer(self, copied, tmp_path, lines):
        expected = embed(copied, lines)
        for place in (copied, copied / "2_Dense"):
            torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
            (place / "model.safetensors").unlink()
        converted = convert_teacher(str(copied), tmp_path / "converted")
        assert sorted(converted.weights) == ["2_Dense/model.safetensors", "model.safetensors"]
        assert not list((tmp_path / "converted").rglob("*.bin"))
        torch.testing.assert_close(embed(tmp_path / "converted", lines), expected)


class TestWhatIsCarried:
    def test_nothing_where_there_are_no_modules(self, teachers, tmp_path):
        base = teachers["e5"].with_name("e5-base")
        assert not is_sentence_encoder(str(base))
        assert is_sentence_encoder(str(teachers["e5"]))
        assert carry_modules(str(base), tmp_path) == ()
        assert prompts_of(str(base)) == ()
        assert not list(tmp_path.iterdir())

    def test_json_and_safetensors_alone(self, teachers, tmp_path, lines):
        cut(teachers["labse"], tmp_path / "student", lines)
        before = {file.name for file in (tmp_path / "student").iterdir()}
        written = carry_modules(str(teachers["labse"]), tmp_path / "student")
        assert written == (
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "3_Normalize/config.json",
            "config_sentence_transformers.json",
            "modules.json",
            "sentence_bert_config.json",
        )
        folder = tmp_path / "student"
        files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        assert files == {*before, *written}

    def test_no_pooler_passes_for_a_trained_one(self, teachers):
        """What sentence-transformers saves has one; what it was made of lacks it, and loading tells."""
        assert load_reported_encoder(str(teachers["e5"].with_name("e5-base")))[1] == (
            "pooler.dense.bias",
            "pooler.dense.weight",
        )
        assert load_reported_encoder(str(teachers["e5"]))[1] == ()


def edited(folder, name, **fields):
    file = folder / name
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **fields} if isinstance(content, dict) else content))


def retyped(folder, index, **fields):
    file = folder / "modules.json"
    modules = json.loads(file.read_text())
    modules[index] |= fields
    file.write_text(json.dumps(modules))


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                lambda f: retyped(f, 1, type="modeling_own.Own"),
                r"\[1\]\.type = 'modeling_own\.Own': modules of this kind",
            ),
            (lambda f: retyped(f, 1, type="sentence_transformers.models.Router"), "modules of this kind cannot be"),
            (lambda f: retyped(f, 1, type="sentence_transformers.util.http_get"), "modules of this kind cannot be"),
            (lambda f: retyped(f, 1, path="../1_Pooling"), "modules of this kind cannot be carried over"),
            (lambda f: retyped(f, 0, path="0_Transformer"), "this cannot be the first module"),
            (lambda f: retyped(f, 0, type=OLD_POOLING), "this cannot be the first module"),
            (lambda f: (f / "modules.json").write_text("{}"), "not a list of modules"),
            (lambda f: (f / "modules.json").write_text("[1"), "not JSON"),
            (lambda f: edited(f, "1_Pooling/config.json", own=1), r"fields that cannot be carried over: \['own'\]"),
            (lambda f: edited(f, "1_Pooling/config.json", embedding_dimension=8), "pools states of width 8"),
            (
                lambda f: edited(f, "2_Dense/config.json", activation_function="own.Activation"),
                "activation_function = 'own.Activation': this needs code of its own",
            ),
            (lambda f: edited(f, "2_Dense/config.json", out_features=13), r"config\.json asks for"),
            (lambda f: (f / "2_Dense/model.safetensors").write_bytes(b"?"), "damaged"),
            (lambda f: (f / "2_Dense/model.safetensors").unlink(), "there are no such weights"),
            (lambda f: edited(f, "sentence_bert_config.json", do_lower_case=True), "lower-cases its input before"),
            (lambda f: edited(f, "sentence_bert_config.json", model_args={"dtype": "x"}), r"over: \['model_args'\]"),
            (
                lambda f: edited(f, "sentence_bert_config.json", transformer_task="fill-mask"),
                "transformer_task = 'fill-mask': the encoder is not read",
            ),
            (
                lambda f: edited(
                    f, "sentence_bert_config.json", modality_config={"text": {"method": "save_pretrained"}}
                ),
                "modality_config = .*: the encoder is not read",
            ),
            (
                lambda f: edited(f, "config_sentence_transformers.json", model_type="CrossEncoder"),
                "model_type = 'CrossEncoder': not a sentence encoder",
            ),
        ],
    )
    def test_what_cannot_be_carried_over(self, copied, tmp_path, lines, change, said):
        student = tmp_path / "student"
        cut(copied, student, lines)
        before = sorted(student.iterdir())
        change(copied)
        with pytest.raises(InputError, match=said) as info:
            carry_modules(str(copied), student)
        assert len(str(info.value).splitlines()) == 1
        assert sorted(student.iterdir()) == before

    def test_a_pickled_dense_layer_is_not_opened(self, copied, tmp_path):
        ran = tmp_path / "ran"

        class Command:
            def __reduce__(self):
                return os.system, (f"touch {ran}",)

        (copied / "2_Dense" / "model.safetensors").unlink()
        (copied / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps({"linear.weight": Command()}, protocol=2))
        with pytest.raises(
            InputError, match=rf"pickled \(2_Dense/pytorch_model\.bin\).*`bistill convert-teacher {copied} DIR`"
        ):
            check_modules(str(copied))
        with pytest.raises(InputError, match=r"2_Dense/pytorch_model\.bin: this holds more than tensors"):
            convert_teacher(str(copied), tmp_path / "converted")
        assert not ran.exists()

    def test_a_module_that_sentence_transformers_has_but_a_student_cannot(self, teachers, tmp_path):
        base = teachers["e5"].with_name("e5-base")
        logging.disable(logging.WARNING)
        model = SentenceTransformer(modules=[Transformer(str(base)), Pooling(WIDTH), Dropout(0.1)], device="cpu")
        logging.disable(logging.NOTSET)
        model.save(str(tmp_path / "model"))
        with pytest.raises(
            InputError, match=r"Dropout': modules of this kind cannot be carried over.*Choose a sentence"
        ):
            check_modules(str(tmp_path / "model"))

    def test_a_dense_layer_without_bias_and_with_a_residual(self, teachers, tmp_path, lines):
        base = teachers["e5"].with_name("e5-base")
        torch.manual_seed(2)
        dense = Dense(WIDTH, 12, bias=False, activation_function=torch.nn.ReLU(), use_residual=True)
        model = SentenceTransformer(modules=[Transformer(str(base)), Pooling(WIDTH), dense], device="cpu")
        model.save(str(tmp_path / "model"))
        cut(tmp_path / "model", tmp_path / "student", lines)
        carry_modules(str(tmp_path / "model"), tmp_path / "student")
        expected = model.encode(lines, convert_to_tensor=True)
        torch.testing.assert_close(embed(tmp_path / "student", lines), expected, atol=1e-6, rtol=1e-5)
        weights = tmp_path / "model" / "2_Dense" / "model.safetensors"
        save_file({**load_file(weights), "own": torch.zeros(1)}, weights)
        with pytest.raises(InputError, match=r"holds .*own"):
            check_modules(str(tmp_path / "model"))
