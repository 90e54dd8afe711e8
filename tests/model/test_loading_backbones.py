"""A packaged pair of every architecture loads through all five Auto classes, and through the architecture's own."""

import json
import os

import pytest
import torch
import transformers
from fresh import run_fresh
from safetensors.torch import load_file
from tiny_models import CLASSES, HEADS, VARIANTS, class_of, padded_batch, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, PreTrainedTokenizerFast

from bistill_hub import SparseDelta
from bistill_hub.hub.repository import PairModel, write_model
from bistill_hub.student.backbones import backbone_for
from bistill_hub.student.build import cut_config, cut_model

LAYERS = (1, 3)
TASKS = {
    "ner": ("ForTokenClassification", "token-classification", ["O", "B-PER", "I-PER"]),
    "nli": ("ForSequenceClassification", "sequence-classification", ["no", "maybe", "yes", "unknown"]),
    "qa": ("ForQuestionAnswering", "question-answering", []),
}
TASK_OF = {head: name for name, (head, _, _) in TASKS.items()}

PROBE = """
import json, sys
sys.modules["bistill_hub"] = None  # not installed
import torch, transformers
from safetensors.torch import save_file
found = {}
for folder in FOLDERS:
    for head in HEADS:
        name = "AutoModel" if head == "Model" else "AutoModel" + head
        model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True)
        for parameter, tensor in model.state_dict().items():
            found[f"{folder}:{head}:{parameter}"] = tensor.contiguous().clone()
        with torch.no_grad():
            found[f"{folder}:{head}"] = model(input_ids=torch.arange(3, 20)[None])[0].contiguous().clone()
save_file(found, OUTPUT)
"""


def auto(head):
    return getattr(transformers, "AutoModel" if head == "Model" else f"AutoModel{head}")


def words(size):
    """A tokenizer of made-up words."""
    pipeline = Tokenizer(models.WordLevel({f"w{index}": index for index in range(size)}, unk_token="w3"))
    pipeline.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, pad_token="w1", unk_token="w3")


def student_of(variant, head, seed=0, **options):
    model_type, fields = VARIANTS[variant]
    teacher = tiny_model(class_of(model_type, head), seed=seed, **{**fields, **options})
    return cut_model(teacher, torch.arange(0, 60), LAYERS, dropout=0.0)


def make_pair(variant, folder):
    """Write a pair as packaging does; return by head the models whose weights it ought to give back."""
    language_model, encoder = student_of(variant, "ForMaskedLM"), student_of(variant, "Model", seed=1)
    encoder.load_state_dict(language_model.base_model.state_dict(), strict=False)  # a pooler keeps its own values
    prefix = f"{backbone_for(encoder.config).base_model_prefix}."
    state = {prefix + name: tensor for name, tensor in encoder.state_dict().items()}
    left_out = {*state, *language_model.all_tied_weights_keys}
    state |= {name: tensor for name, tensor in language_model.state_dict().items() if name not in left_out}
    expected, deltas = {"Model": encoder, "ForMaskedLM": language_model}, {}
    generator = torch.Generator().manual_seed(4)
    for task, (head, kind, labels) in TASKS.items():
        model = student_of(variant, head, seed=2, **({"id2label": dict(enumerate(labels))} if labels else {}))
        model.base_model.load_state_dict(encoder.state_dict(), strict=False)
        start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        tuned = {
            name: values + 0.5 * (torch.rand(values.shape, generator=generator) < 0.1) for name, values in start.items()
        }
        delta = SparseDelta.from_models(
            start,
            tuned,
            dense=[name for name in start if not name.startswith(prefix)],
            metadata={"head": kind, "labels": labels},
        )
        expected[head], deltas[task] = delta.apply(model), delta
    config = cut_config(language_model.config, dropout=0.0)
    write_model(folder, PairModel(config, "en", "sw", LAYERS, {}), state, words(60), deltas)
    return expected


@pytest.fixture(scope="module", params=[*CLASSES, "deberta-v2 with a convolution"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    return folder, make_pair(request.param, folder)


@pytest.mark.parametrize("head", HEADS)
def test_each_auto_class_gives_the_native_model_bit_for_bit(pair, head):
    folder, expected = pair
    model = auto(head).from_pretrained(folder)
    assert type(model) is type(expected[head])
    assert model.config.model_type == expected[head].config.model_type
    assert model.state_dict().keys() == expected[head].state_dict().keys()
    for name, tensor in expected[head].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    batch = padded_batch(60)
    with torch.no_grad():
        for one, other in zip(model(**batch).to_tuple(), expected[head](**batch).to_tuple(), strict=True):
            assert torch.equal(one, other)
    if head in TASK_OF and TASKS[TASK_OF[head]][2]:
        assert list(model.config.id2label.values()) == TASKS[TASK_OF[head]][2]


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
def test_the_architectures_own_class_gives_the_same(pair, head):
    folder, expected = pair
    model, report = type(expected[head]).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"], report
    assert not report["mismatched_keys"], report
    for name, tensor in expected[head].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    batch = padded_batch(60)
    with torch.no_grad():
        assert torch.equal(model(**batch)[0], expected[head](**batch)[0])


def test_what_is_saved_again_is_native_and_whole(pair, tmp_path):
    folder, expected = pair
    for head in HEADS[:3]:
        model = auto(head).from_pretrained(folder)
        model.save_pretrained(tmp_path / head)
        again, report = type(model).from_pretrained(tmp_path / head, output_loading_info=True)
        assert not any(report.values()), report
        assert json.loads((tmp_path / head / "config.json").read_text())["model_type"] == model.config.model_type
        with torch.no_grad():
            batch = padded_batch(60)
            assert torch.equal(again(**batch)[0], expected[head](**batch)[0])


def test_the_configuration_says_which_kind_each_layer_is(pair):
    folder, expected = pair
    config = AutoConfig.from_pretrained(folder)
    native = config.backbone_config()
    assert config.num_hidden_layers == native.num_hidden_layers == 2
    if native.model_type == "modernbert":
        assert native.layer_types == ["sliding_attention", "full_attention"]
    written = json.loads((folder / "config.json").read_text())
    own = expected["Model"].config.to_dict()
    for name in own.keys() & written.keys() - {"model_type", "architectures", "dtype", "transformers_version"}:
        assert written[name] == json.loads(json.dumps(own[name])), name


def test_without_the_package_the_files_that_travel_give_the_same(tmp_path):
    variants = ("distilbert", "deberta-v2", "modernbert")
    expected = {variant: make_pair(variant, tmp_path / variant) for variant in variants}
    folders = [str(tmp_path / variant) for variant in variants]
    names = f"FOLDERS, HEADS, OUTPUT = {folders!r}, {HEADS!r}, {str(tmp_path / 'found.safetensors')!r}\n"
    client = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = run_fresh(names + PROBE, env={**os.environ, **client})
    assert done.returncode == 0, done.stderr[-3000:]
    found = load_file(tmp_path / "found.safetensors")
    for variant in variants:
        for head, model in expected[variant].items():
            name = f"{tmp_path / variant}:{head}"
            state = {f"{name}:{parameter}": tensor for parameter, tensor in model.state_dict().items()}
            assert state.keys() == {each for each in found if each.startswith(f"{name}:")}
            assert all(torch.equal(found[parameter], tensor) for parameter, tensor in state.items()), head
            # Products of equal numbers may differ in the last bit where they lie otherwise in memory.
            with torch.no_grad():
                torch.testing.assert_close(found[name], model(torch.arange(3, 20)[None])[0], rtol=1e-5, atol=1e-5)
