"""An exported checkpoint is the backbone's own: it computes what the pair does and knows nothing of this package."""

import errno
import json
import os
import re
import shutil
import textwrap

import pytest
import torch
import yaml
from fresh import run_fresh
from hubserver import environment
from hubserver.visitor import nothing_changes, own, serving
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from bistill_hub.cards.exported import render_exported_card
from bistill_hub.cards.metadata_check import check_metadata
from bistill_hub.errors import BistillError, InputError
from bistill_hub.evaluation.results import read_results
from bistill_hub.hub import export
from bistill_hub.hub.export import export_model, push_export
from bistill_hub.hub.exported_facts import check_publishable, exported_facts
from bistill_hub.model.configuration_bistill import BistillConfig

BACKBONES = ("bert", "xlm-roberta")
NATIVE = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}
SENTENCES = ["Juma lives in Nairobi .", "Juma anaishi Nairobi .", "Asha"]
FILES = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]

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


def probe(folder, classes, tmp_path, snippet="", **environment):
    """What the classes compute on the sentences in a process without the package, and what it says of them."""
    names = {"FOLDER": str(folder), "CLASSES": classes, "SENTENCES": SENTENCES, "OUTPUT": str(tmp_path / "found")}
    code = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + textwrap.dedent(PROBE)
    code = code.replace("print(json", f"{snippet}\nprint(json")
    done = run_fresh(code, env={**os.environ, **environment})
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
def test_nothing_in_it_but_its_card_tells_of_this_package_and_nothing_of_this_machine(runs, backbone, task, tmp_path):
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
        assert b"bistill" not in content.lower() or file.name == "README.md", file
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
    export_model(runs["bert"].repository, tmp_path / "listed" / "out", task="ner")
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "listed" / "out" / name).read_bytes()


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


def test_a_task_that_could_not_be_looked_up_is_not_said_to_be_missing(hub, monkeypatch, tmp_path):
    AutoConfig.from_pretrained("lab/bistill-en-sw")  # which is all that the cache then has
    with pytest.raises(InputError, match="the pair has no such task"):
        export_model("lab/bistill-en-sw", tmp_path / "out", task="nli")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"the pair cannot be loaded \(We couldn't connect to"):
        export_model("lab/bistill-en-sw", tmp_path / "out", task="qa")


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


# The card.


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_of_a_task_has_the_scores_the_licence_and_the_limits_of_the_pair(runs, tmp_path):
    repository = runs["bert"].repository
    card = (export_model(repository, tmp_path / "mine", task="ner") / "README.md").read_text()
    assert metadata(card)["license"] == "apache-2.0"
    assert metadata(card)["pipeline_tag"] == "token-classification"
    assert check_metadata(card) == []
    assert "# mine\n" in card
    assert (
        "A plain `bert` checkpoint (`BertForTokenClassification`) of the task ner of the pair bistill-en-sw-bert"
        in card
    )
    assert "for English and Swahili: 3 layers" in card
    assert 'model="mine", aggregation_strategy="first"' in card
    assert "Made of a miniature world, for tests." in card
    shown = [result for result in read_results(repository / "tasks/ner/results.json") if result.model in MODELS]
    assert len(shown) == 4
    for result in shown:
        assert f"| {result.model} | {100 * result.score:.1f} | " in card


MODELS = ("student", "teacher")


def test_the_card_of_the_encoder_has_no_scores(runs, tmp_path):
    card = (export_model(runs["xlm-roberta"].repository, tmp_path / "mine") / "README.md").read_text()
    assert "A plain `xlm-roberta` checkpoint (`XLMRobertaForMaskedLM`) of the pair bistill-en-sw-xlm-roberta" in card
    assert metadata(card)["pipeline_tag"] == "fill-mask"
    assert "## Evaluation" not in card


@pytest.mark.parametrize("damaged", ["README.md", "recipe.json", "tasks/ner/results.json"])
@pytest.mark.parametrize("content", [None, b"\xff{", b"---\nlicense: [\n---\n"], ids=["missing", "no text", "damaged"])
def test_a_pair_that_says_little_of_itself_is_exported_all_the_same(runs, tmp_path, damaged, content):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    (folder / damaged).unlink() if content is None else (folder / damaged).write_bytes(content)
    card = (export_model(folder, tmp_path / "out", task="ner") / "README.md").read_text()
    missing = {
        "README.md": "The card of the pair names none.",
        "recipe.json": "of the pair copy, a small bilingual encoder for en and sw",
        "tasks/ner/results.json": "The pair holds no scores of this task that could be read.",
    }
    assert [name for name, text in missing.items() if text in card] == [damaged]


# The Hub.


@pytest.fixture
def hub(runs, monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home") as server:
        server.organization("lab", alice="write")
        server.create("lab/bistill-en-sw", runs["bert"].repository)
        monkeypatch.setenv("HF_TOKEN", server.user("alice").token)
        yield server


def test_a_pushed_checkpoint_is_loaded_by_its_id_from_a_cold_cache_where_the_package_is_absent(hub, runs, tmp_path):
    done = push_export("lab/bistill-en-sw", "lab/bistill-en-sw-ner", task="ner")
    newest = hub.commits("lab/bistill-en-sw-ner")[0]
    assert (done.commit, done.pull_request) == (newest.oid, None)
    assert newest.title == "Export ner of lab/bistill-en-sw"
    assert sorted(own(hub.files("lab/bistill-en-sw-ner"))) == FILES
    repository = runs["bert"].repository
    pair = AutoModelForTokenClassification.from_pretrained(repository, task="ner")
    card = hub.read("lab/bistill-en-sw-ner", "README.md").decode()
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    found, told = probe(
        "lab/bistill-en-sw-ner",
        ["AutoModelForTokenClassification"],
        tmp_path,
        snippet=snippet,
        **environment(hub, tmp_path / "cold"),
    )
    _, expected = computed(pair, repository)
    assert torch.equal(found["AutoModelForTokenClassification.logits"], expected.logits)
    assert told["AutoModelForTokenClassification"][:2] == ["BertForTokenClassification", []]
    assert 'model="lab/bistill-en-sw-ner"' in snippet
    assert metadata(card)["base_model"] == "lab/bistill-en-sw"
    commit = hub.commits("lab/bistill-en-sw")[0].oid
    assert f"[lab/bistill-en-sw]({hub.endpoint}/lab/bistill-en-sw) at commit `{commit}`" in card


@pytest.mark.parametrize("existed", [False, True], ids=["new folder", "empty folder"])
def test_a_push_that_failed_is_finished_by_the_same_call_and_a_third_one_changes_nothing(hub, tmp_path, existed):
    if existed:
        (tmp_path / "out").mkdir()
    options = {"output_dir": tmp_path / "out", "task": "ner"}
    hub.faults.answer("POST", "/commit/", 403, message="because of the test")
    hub.faults.answer("POST", "/commit/", 403, message="because of the test", nth=2)
    with pytest.raises(InputError, match="because of the test"):
        push_export("lab/bistill-en-sw", "lab/plain", **options)
    assert own(hub.files("lab/plain")) == {}
    assert (tmp_path / "out").exists() == existed
    assert not existed or not list((tmp_path / "out").iterdir())
    assert push_export("lab/bistill-en-sw", "lab/plain", **options).commit == hub.commits("lab/plain")[0].oid
    assert sorted(own(hub.files("lab/plain"))) == sorted(file.name for file in (tmp_path / "out").iterdir()) == FILES
    with nothing_changes(hub):
        assert push_export("lab/bistill-en-sw", "lab/plain", task="ner").commit is None


def test_a_pair_is_not_overwritten_by_a_checkpoint(hub, tmp_path):
    with nothing_changes(hub), pytest.raises(InputError, match="repo_id = 'lab/bistill-en-sw': a pair is there"):
        push_export("lab/bistill-en-sw", "lab/bistill-en-sw", output_dir=tmp_path / "out", task="ner")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("No metadata.", "license: the card of the pair names no licence. State it there"),
        ("---\nlicense: my-own\n---\n", "license = 'my-own': no licence identifier of the Hub"),
        ("---\nlicense: other\n---\n", "license_name: a licence that the Hub does not know has no name"),
    ],
)
def test_a_pair_without_a_licence_that_the_hub_takes_is_exported_and_not_pushed(hub, runs, tmp_path, card, message):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    (folder / "README.md").write_text(card)
    with nothing_changes(hub), pytest.raises(InputError) as refused:
        push_export(folder, "lab/plain", task="ner")
    assert message in str(refused.value)
    export_model(folder, tmp_path / "out", task="ner")


def test_the_text_of_a_licence_is_linked_where_the_pair_has_it(hub, runs, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: ours\nlicense_link: LICENSE\n---\n")
    hub.create("lab/ours", folder)
    push_export("lab/ours", "lab/plain", task="ner")
    told = metadata(hub.read("lab/plain", "README.md").decode())
    commit = hub.commits("lab/ours")[0].oid
    assert told["license_link"] == f"{hub.endpoint}/lab/ours/blob/{commit}/LICENSE"
    assert (told["license"], told["license_name"]) == ("other", "ours")


@pytest.mark.parametrize(
    ("link", "kept"), [("https://example.org/terms", "https://example.org/terms"), ("LICENSE", None)]
)
def test_of_a_folder_s_pair_the_text_of_a_licence_is_linked_where_it_has_an_address(tmp_path, link, kept):
    card = f"---\nlicense: other\nlicense_name: ours\nlicense_link: {link}\n---\n"
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    config = BistillConfig(backbone_type="bert", source_language="en", target_language="sw")
    facts = exported_facts(tmp_path, config, name="lab/plain")
    assert (facts.license, facts.license_name, facts.license_link) == ("other", "ours", kept)
    if kept:
        check_publishable(render_exported_card(facts), facts)
