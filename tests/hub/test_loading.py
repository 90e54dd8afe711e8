"""Every way of loading a published pair, each in a process of its own, gives the same ordinary models."""

import json
import os
import shutil
import textwrap

import pytest
import torch
from fresh import run_fresh
from hubserver.client import environment
from hubserver.server import HubServer
from hubserver.visitor import serving
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)

import bistill_hub
from bistill_hub import BistillForTokenClassification, BistillModel, SparseDelta
from bistill_hub.model import modeling_bistill

BACKBONES = ("bert", "xlm-roberta")
NATIVE = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}
SENTENCES = ["Juma lives in Nairobi .", "Juma anaishi Nairobi .", "Asha"]

PROBE = """
import json, sys, torch
import transformers
from safetensors.torch import save_file
transformers.set_seed(0)
tokenizer = transformers.AutoTokenizer.from_pretrained(REPOSITORY, **OPTIONS)
inputs = tokenizer(SENTENCES, return_tensors="pt", padding=True)
found = {name: tensor for name, tensor in inputs.items()}
classes = {}
for name in CLASSES:
    model = getattr(transformers, name).from_pretrained(REPOSITORY, **OPTIONS)
    classes[name] = f"{type(model).__module__}.{type(model).__name__}"
    with torch.no_grad():
        outputs = model(**inputs)
    for field, tensor in outputs.items():
        found[name if field in ("logits", "last_hidden_state") else f"{name}.{field}"] = tensor.clone()
save_file({name: tensor.contiguous() for name, tensor in found.items()}, OUTPUT)
print(json.dumps({"classes": classes, "package": sys.modules.get("bistill_hub") is not None,
                  "model_type": model.config.model_type}))
"""


def own_class(auto, backbone):
    """The backbone's class behind an Auto class: AutoModelForMaskedLM is BertForMaskedLM, AutoModel is BertModel."""
    return NATIVE[backbone] + ("Model" if auto == "AutoModel" else auto.removeprefix("AutoModel"))


def fresh(code, tmp_path, *, package, environment=None, **names):
    """Run code in a new interpreter, which can or cannot import the package; return the JSON of its last line."""
    client = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1", **(environment or {})}
    start = "import bistill_hub" if package else "import sys; sys.modules['bistill_hub'] = None  # not installed"
    assignments = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    result = run_fresh(f"{start}\n{assignments}\n{textwrap.dedent(code)}", env={**os.environ, **client}, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module", params=BACKBONES)
def pair(request, runs):
    return request.param, runs[request.param].repository


AUTO = ["AutoModel", "AutoModelForMaskedLM", "AutoModelForTokenClassification"]


def test_with_and_without_the_package_the_same_native_models_bit_for_bit(pair, tmp_path):
    backbone, repository = pair
    tensors, said = {}, {}
    for name, package, options in (("package", True, {}), ("remote", False, {"trust_remote_code": True})):
        said[name] = fresh(
            PROBE,
            tmp_path,
            package=package,
            REPOSITORY=str(repository),
            OPTIONS=options,
            SENTENCES=SENTENCES,
            CLASSES=AUTO,
            OUTPUT=str(tmp_path / f"{name}.safetensors"),
        )
        tensors[name] = load_file(tmp_path / f"{name}.safetensors")
    assert said["package"]["package"]
    assert not said["remote"]["package"]
    for name in said:
        for auto, native in said[name]["classes"].items():
            assert native.startswith("transformers.models."), native
            assert native.endswith("." + own_class(auto, backbone)), native
        assert said[name]["model_type"] == backbone
    assert set(tensors["package"]) == set(tensors["remote"])
    assert set(AUTO) < set(tensors["package"])
    for name, tensor in tensors["package"].items():
        assert torch.equal(tensor, tensors["remote"][name]), name


def test_the_backbones_own_class_loads_the_phase_1_student_with_neither(pair, tmp_path):
    backbone, repository = pair
    fresh(
        PROBE,
        tmp_path,
        package=True,
        REPOSITORY=str(repository),
        OPTIONS={},
        SENTENCES=SENTENCES,
        CLASSES=["AutoModel", "AutoModelForMaskedLM"],
        OUTPUT=str(tmp_path / "auto.safetensors"),
    )
    code = """
    import json, torch, transformers
    from safetensors.torch import load_file
    expected = load_file(EXPECTED)
    inputs = {name: expected[name] for name in expected if name in ("input_ids", "attention_mask", "token_type_ids")}
    said = {}
    for auto in ("AutoModel", "AutoModelForMaskedLM"):
        own = getattr(transformers, OWN[auto])
        model, info = own.from_pretrained(REPOSITORY, output_loading_info=True)
        with torch.no_grad():
            outputs = model(**inputs)
        found = outputs.logits if "logits" in outputs else outputs.last_hidden_state
        said[auto] = {"equal": torch.equal(found, expected[auto]), "missing": sorted(info["missing_keys"])}
    print(json.dumps(said))
    """
    said = fresh(
        code,
        tmp_path,
        package=False,
        REPOSITORY=str(repository),
        OWN={auto: own_class(auto, backbone) for auto in ("AutoModel", "AutoModelForMaskedLM")},
        EXPECTED=str(tmp_path / "auto.safetensors"),
    )
    assert said == {auto: {"equal": True, "missing": []} for auto in ("AutoModel", "AutoModelForMaskedLM")}


@pytest.mark.parametrize("package", [True, False])
def test_the_ner_pipeline_answers_with_label_names(pair, tmp_path, package):
    code = """
    import json, transformers
    tag = transformers.pipeline("ner", REPOSITORY, **OPTIONS)
    # Whatever it finds, it is named; a threshold of training is no matter here.
    found = tag("Juma anaishi Nairobi .", ignore_labels=[])
    print(json.dumps({"labels": sorted({entity["entity"] for entity in found}), "class": type(tag.model).__name__,
                      "names": sorted(tag.model.config.label2id)}))
    """
    options = {} if package else {"trust_remote_code": True}
    said = fresh(code, tmp_path, package=package, REPOSITORY=str(pair[1]), OPTIONS=options)
    assert said["class"] == f"{NATIVE[pair[0]]}ForTokenClassification"
    assert said["names"] == sorted(["O", *(f"{p}-{t}" for t in ("LOC", "ORG", "PER") for p in "BI")])
    assert set(said["labels"]) <= set(said["names"])


def test_without_package_and_trust_no_code_of_the_repository_runs(pair, tmp_path):
    code = """
    import json, transformers
    try:
        transformers.AutoModel.from_pretrained(REPOSITORY, trust_remote_code=False)
    except ValueError as error:
        print(json.dumps(str(error)))
    """
    assert "trust_remote_code" in fresh(code, tmp_path, package=False, REPOSITORY=str(pair[1]))


def test_a_fresh_load_misses_nothing(pair):
    for auto in (AutoModel, AutoModelForMaskedLM, AutoModelForTokenClassification):
        _, info = auto.from_pretrained(pair[1], output_loading_info=True)
        assert not any(info.values()), (auto.__name__, info)


@pytest.mark.parametrize("auto", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering])
def test_a_head_without_a_delta_is_refused_with_what_there_is(pair, auto):
    with pytest.raises(ValueError, match=r"no task with the head .* There is: the encoder .*, ner ") as refusal:
        auto.from_pretrained(pair[1])
    assert "the language model (AutoModelForMaskedLM)" in str(refusal.value)


def test_a_task_that_was_not_published_is_refused_with_what_there_is(pair):
    with pytest.raises(ValueError, match=r"no task 'pos' was published\. There is: .*ner") as refusal:
        AutoModelForTokenClassification.from_pretrained(pair[1], task="pos")
    assert refusal.value.__suppress_context__, "which file was looked for says no more"
    with pytest.raises(ValueError, match="load it through AutoModelForTokenClassification"):
        AutoModelForSequenceClassification.from_pretrained(pair[1], task="ner")


def test_task_none_gives_a_fresh_head_on_the_student(pair):
    model = AutoModelForSequenceClassification.from_pretrained(pair[1], task=None, num_labels=5)
    assert model.config.num_labels == 5
    encoder = AutoModel.from_pretrained(pair[1])
    ours = dict(model.base_model.named_parameters())
    assert all(torch.equal(ours[name], p) for name, p in encoder.named_parameters() if name in ours)
    with pytest.raises(ValueError, match="Pass task=None"):
        AutoModelForTokenClassification.from_pretrained(pair[1], num_labels=3)


def copied(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "copy")


def change_config(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_labels_that_the_task_does_not_have_are_refused_however_they_are_asked_for(pair):
    labels = list(AutoConfig.from_pretrained(pair[1]).tasks["ner"]["labels"])
    ids = {label: row for row, label in enumerate(labels)}
    load = AutoModelForTokenClassification.from_pretrained
    for asked_for in (
        {"num_labels": 2},
        {"num_labels": 2, "task": "ner"},
        {"num_labels": len(labels) + 1, "task": "ner"},
        {"id2label": {0: "a", 1: "b"}},
        {"id2label": dict(enumerate(reversed(labels)))},
        {"label2id": {label: row + 1 for label, row in ids.items()}},
    ):
        with pytest.raises(ValueError, match=r"task 'ner' has .*task=None"):
            load(pair[1], **asked_for)
    for asked_for in ({}, {"num_labels": len(labels)}, {"id2label": dict(enumerate(labels)), "label2id": ids}):
        assert load(pair[1], **asked_for).config.label2id == ids
    fresh = load(pair[1], task=None, num_labels=2)
    assert (fresh.config.num_labels, fresh.classifier.out_features) == (2, 2)
    asked = AutoConfig.from_pretrained(pair[1], num_labels=2)
    assert "asked_for" not in json.dumps(asked.to_dict()), "which nobody needs to know of a file"


def test_labels_that_the_task_has_are_taken_however_they_are_asked_for(pair):
    labels = list(AutoConfig.from_pretrained(pair[1]).tasks["ner"]["labels"])
    ids = {label: row for row, label in enumerate(labels)}
    for asked_for in (
        {"label2id": ids},
        {"id2label": {str(row): label for row, label in enumerate(labels)}},  # as JSON has it
        {"id2label": dict(enumerate(labels)), "num_labels": len(labels)},
    ):
        model = AutoModelForTokenClassification.from_pretrained(pair[1], **asked_for)
        assert (model.config.label2id, model.config.id2label) == (ids, dict(enumerate(labels)))


def test_an_adapter_that_names_the_pair_as_its_base_is_put_on(pair, monkeypatch):
    """By the arguments that the Auto classes hand on where PEFT is installed and they were given an adapter."""
    worn = []
    monkeypatch.setattr(
        PreTrainedModel, "load_adapter", lambda model, *args, **kwargs: worn.append((model, args, kwargs))
    )
    found = {"_adapter_model_path": "mine/adapter", "revision": "abc", "token": "hf_x"}
    model = AutoModelForTokenClassification.from_pretrained(pair[1], adapter_kwargs=found, adapter_name="mine")
    ((wearer, (place,), options),) = worn
    assert (wearer, place) == (model, "mine/adapter")
    assert options == {"adapter_name": "mine", "adapter_kwargs": {"revision": "abc", "token": "hf_x"}}
    AutoModelForTokenClassification.from_pretrained(pair[1], adapter_kwargs={"revision": "abc"})
    assert len(worn) == 1, "there was none"


def test_two_tasks_that_share_a_head_need_a_name_or_a_default(pair, tmp_path):
    folder = copied(pair[1], tmp_path)
    delta = SparseDelta.load(folder / "tasks/ner/delta.safetensors")
    delta.dense["classifier.bias"] += 1
    (folder / "tasks/names").mkdir()
    delta.save(folder / "tasks/names/delta.safetensors")
    # A task folder that was added to a pair need not be listed in config.json to be asked for by name.
    named = AutoModelForTokenClassification.from_pretrained(folder, task="names")
    ner = AutoModelForTokenClassification.from_pretrained(folder)
    torch.testing.assert_close(named.classifier.bias, ner.classifier.bias + 1)
    tasks = json.loads((folder / "config.json").read_text())["tasks"]
    change_config(folder, tasks={**tasks, "names": tasks["ner"]})
    with pytest.raises(ValueError, match=r"pass task= one of \['names', 'ner'\]"):
        AutoModelForTokenClassification.from_pretrained(folder)
    change_config(folder, default_tasks={"token-classification": "names"})
    chosen = AutoModelForTokenClassification.from_pretrained(folder)
    assert torch.equal(chosen.classifier.bias, named.classifier.bias)


def test_a_delta_of_other_weights_is_refused(pair, tmp_path):
    folder = copied(pair[1], tmp_path)
    delta = SparseDelta.load(folder / "tasks/ner/delta.safetensors")
    delta.metadata["base_sha256"] = "0" * 64
    delta.save(folder / "tasks/ner/delta.safetensors")
    with pytest.raises(ValueError, match="made for other base weights"):
        AutoModelForTokenClassification.from_pretrained(folder)


def test_a_base_that_lacks_a_parameter_is_refused(pair, tmp_path):
    folder = copied(pair[1], tmp_path)
    state = load_file(folder / "model.safetensors")
    lost = next(name for name in state if name.endswith("encoder.layer.0.output.dense.weight"))
    del state[lost]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"does not hold .*layer\.0\.output\.dense\.weight"):
        AutoModel.from_pretrained(folder)


def test_without_a_language_modelling_head_masked_lm_is_refused(pair, tmp_path):
    folder = copied(pair[1], tmp_path)
    change_config(folder, language_modelling_head=False)
    with pytest.raises(ValueError, match="no language-modelling head was published"):
        AutoModelForMaskedLM.from_pretrained(folder)


def test_dtype_attention_and_placement_are_honoured(pair):
    model = AutoModelForTokenClassification.from_pretrained(
        pair[1], dtype=torch.bfloat16, attn_implementation="eager", device_map="cpu"
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    precise = AutoModelForTokenClassification.from_pretrained(pair[1])
    # Base and delta are summed in float32 and rounded once.
    for name, parameter in precise.named_parameters():
        assert torch.equal(parameter.to(torch.bfloat16), model.get_parameter(name)), name


def test_what_comes_out_saves_as_a_plain_checkpoint(pair, tmp_path):
    model = AutoModelForTokenClassification.from_pretrained(pair[1]).eval()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == pair[0]
    assert not {"auto_map", "tasks", "base_sha256", "backbone_type"} & set(config)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    inputs = AutoTokenizer.from_pretrained(pair[1])(SENTENCES, return_tensors="pt", padding=True)
    assert torch.equal(model(**inputs).logits, again(**inputs).logits)


def test_the_direct_classes_and_from_config_work_too(pair):
    direct = BistillForTokenClassification.from_pretrained(pair[1], task="ner")
    assert type(direct).__name__ == f"{NATIVE[pair[0]]}ForTokenClassification"
    config = AutoConfig.from_pretrained(pair[1])
    assert isinstance(config, bistill_hub.BistillConfig)
    assert type(AutoModel.from_config(config)).__name__ == f"{NATIVE[pair[0]]}Model"
    with pytest.raises(OSError, match=r"call BistillModel\.from_pretrained"):
        BistillModel(config)


def test_a_pair_loads_by_hub_id_and_revision_from_a_cache(pair, tmp_path):
    cache = tmp_path / "cache" / "models--org--bistill-en-sw"
    for commit, branch in (("a" * 40, "main"), ("b" * 40, "refs/pr/1")):
        shutil.copytree(pair[1], cache / "snapshots" / commit)
        (cache / "refs" / branch).parent.mkdir(parents=True, exist_ok=True)
        (cache / "refs" / branch).write_text(commit)
    changed = cache / "snapshots" / ("b" * 40) / "tasks/ner/delta.safetensors"
    delta = SparseDelta.load(changed)
    delta.dense["classifier.bias"] += 1
    delta.save(changed)
    options = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    main = AutoModelForTokenClassification.from_pretrained("org/bistill-en-sw", **options)
    request = AutoModelForTokenClassification.from_pretrained("org/bistill-en-sw", revision="refs/pr/1", **options)
    torch.testing.assert_close(request.classifier.bias, main.classifier.bias + 1)
    assert main.name_or_path == "org/bistill-en-sw"
    with pytest.raises(OSError, match="cached files"):
        AutoModel.from_pretrained("org/bistill-en-fr", **options)
    # What is not in the cache may be on the Hub all the same: the cause tells why that was not looked up.
    with pytest.raises(
        ValueError, match=r"no task 'qa', and whether .* could not be looked up\. There is: "
    ) as refusal:
        AutoModelForQuestionAnswering.from_pretrained("org/bistill-en-sw", task="qa", **options)
    assert isinstance(refusal.value.__cause__, OSError)


def test_of_a_task_that_the_hub_lacks_one_error_is_raised_and_no_chain(pair, tmp_path, monkeypatch):
    with serving(monkeypatch, tmp_path / "home") as hub:
        hub.create("org/bistill-en-sw", pair[1])
        with pytest.raises(ValueError, match=r"no task 'qa' was published\. There is: ") as refusal:
            AutoModelForQuestionAnswering.from_pretrained("org/bistill-en-sw", task="qa")
    assert refusal.value.__suppress_context__


FIVE = [*AUTO, "AutoModelForSequenceClassification", "AutoModelForQuestionAnswering"]


def test_all_five_heads_load_by_id_from_a_cold_cache_with_and_without_the_package(five_heads, tmp_path):
    tensors = {}
    probe = {"SENTENCES": SENTENCES, "CLASSES": FIVE}
    with HubServer() as hub:
        hub.create("org/bistill-en-sw", five_heads)
        for name, package, options in (("package", True, {}), ("remote", False, {"trust_remote_code": True})):
            said = fresh(
                PROBE,
                tmp_path,
                package=package,
                environment=environment(hub, tmp_path / f"home-{name}"),
                REPOSITORY="org/bistill-en-sw",
                OPTIONS=options,
                OUTPUT=str(tmp_path / f"{name}.safetensors"),
                **probe,
            )
            assert said["classes"] == {
                auto: f"transformers.models.bert.modeling_bert.{own_class(auto, 'bert')}" for auto in FIVE
            }
            tensors[name] = load_file(tmp_path / f"{name}.safetensors")
        assert not hub.unknown
    options = {"REPOSITORY": str(five_heads), "OPTIONS": {}, "OUTPUT": str(tmp_path / "folder.safetensors")}
    fresh(PROBE, tmp_path, package=True, **options, **probe)
    expected = load_file(tmp_path / "folder.safetensors")
    assert {"AutoModelForQuestionAnswering.start_logits", "AutoModelForSequenceClassification"} < set(expected)
    for found in tensors.values():
        assert set(found) == set(expected)
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


def test_the_hubs_arguments_reach_every_file(pair, monkeypatch):
    asked = {}
    real = modeling_bistill.cached_file

    def recording(where, name, **hub):
        asked[name] = hub
        return real(where, name, **{key: value for key, value in hub.items() if key != "token"})

    monkeypatch.setattr(modeling_bistill, "cached_file", recording)
    AutoModelForTokenClassification.from_pretrained(pair[1], token="hf_secret", revision="v1", local_files_only=True)
    assert set(asked) == {"model.safetensors", "tasks/ner/delta.safetensors"}
    for hub in asked.values():
        assert hub["token"] == "hf_secret"
        assert hub["revision"] == "v1"
        assert hub["local_files_only"] is True
