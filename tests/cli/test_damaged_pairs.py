"""A pair whose files are damaged ends no command in a traceback: one sentence, and exit code 2."""

import json
import shutil
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bistill_hub import InputError, cli
from bistill_hub.evaluation import evaluate
from bistill_hub.hub import check, export
from bistill_hub.hub.reproduce import reproduce
from bistill_hub.pair_loading import load_pair_config

CANNOT = "the pair cannot be loaded ("


def fields(**changed):
    def damage(folder):
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))

    return damage


def content(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def tokenizer_model(folder):
    file = folder / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model": {}}))


CONFIGURATIONS = {
    "layer_map": (fields(layer_map=5), "'int' object is not iterable"),
    "format_version": (fields(format_version="1"), "not supported between instances of 'str' and 'int'"),
    "no head": (fields(tasks={"ner": {}}), "config.json: tasks.ner: it names no head that there is)"),
    "no task": (fields(tasks={"ner": 5}), "config.json: tasks.ner: it names no head that there is)"),
    "labels": (
        fields(tasks={"ner": {"head": "token-classification", "labels": [1]}}),
        "config.json: tasks.ner: labels = [1]: not a list of names)",
    ),
    "language": (fields(source_language=["en"]), "config.json: source_language = ['en']: not the code of a language)"),
    "backbone": (fields(backbone_type=None), "something is missing: "),
    "vocab_size": (fields(vocab_size="x"), "'vocab_size': TypeError: Field 'vocab_size' expected int, got str"),
    "dtype": (fields(dtype="nope"), "module 'torch' has no attribute 'nope')"),
    "null": (content("config.json", "null"), "argument of type 'NoneType' is not"),
    "deep": (content("config.json", "[" * 100_000), "maximum recursion depth exceeded"),
    "other code": (fields(model_type="unheard-of"), "custom code"),
}
LATER = {
    "dtype of no kind": (fields(dtype=5), "'int' object has no attribute"),
    "positions": (fields(max_position_embeddings=5), "its weights are of other sizes than its configuration asks for)"),
    "activation": (fields(hidden_act="nope"), "something is missing: 'nope')"),
    "heads": (fields(num_attention_heads=0), "integer modulo by zero)"),
    "padding": (fields(pad_token_id=10**6), "Padding_idx must be within num_embeddings)"),
    "weights": (cut, "Error while deserializing header"),
    "no tokenizer": (content("tokenizer.json", "{}"), "something is missing: 'added_tokens')"),
    "tokenizer": (tokenizer_model, "data did not match any variant"),
    "tokenizer's settings": (content("tokenizer_config.json", "null"), "'NoneType' object has no attribute"),
}


def damaged(runs, tmp_path, damage):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "pair")
    damage(folder)
    return folder


@pytest.fixture
def call(tmp_path, ner_files):
    """Calls a command with a pair."""
    english, swahili = ner_files["en"], ner_files["sw"]
    files = {
        "train": english["train"],
        "validation": english["dev"],
        "test_source": english["test"],
        "test_target": swahili["test"],
    }
    data = [word for name, file in files.items() for word in ("--data", f"{name}={file}")]
    words = {
        "export": ["--to", tmp_path / "out", "--task", "ner"],
        "eval": ["--task", "ner", f"--test=sw={files['test_target']}", "--max-length", 5, "--quiet"],
        "add-task": ["--task", "ner", "--replace", "--output", tmp_path / "added", "--quiet", *data],
    }
    return lambda command, pair: CliRunner().invoke(cli.main, [command, *map(str, [pair, *words[command]])], input="")


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    error = result.stderr[result.stderr.index("Error: ") :]
    for part in parts:
        assert str(part) in error, error


@pytest.mark.parametrize("name", [*CONFIGURATIONS, *LATER])
def test_a_damaged_pair_is_not_exported(name, runs, call, tmp_path):
    damage, reason = {**CONFIGURATIONS, **LATER}[name]
    pair = damaged(runs, tmp_path, damage)
    refused(call("export", pair), f"pair = '{pair}': {CANNOT}", reason, "). Name a folder that a run packaged")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [*CONFIGURATIONS, *LATER])
def test_a_damaged_pair_is_not_evaluated(name, runs, call, tmp_path):
    damage, reason = {**CONFIGURATIONS, **LATER}[name]
    pair = damaged(runs, tmp_path, damage)
    refused(call("eval", pair), f"pair = '{pair}': {CANNOT}", reason, "). Name a folder that a run packaged")


@pytest.mark.parametrize("name", ["layer_map", "format_version", "vocab_size", "dtype", "null", "deep"])
def test_a_pair_with_a_damaged_configuration_is_not_reproduced(name, runs, tmp_path):
    damage, reason = CONFIGURATIONS[name]
    pair = damaged(runs, tmp_path, damage)
    with pytest.raises(InputError) as raised:
        reproduce(pair, tmp_path / "out")
    assert str(raised.value).startswith(f"pair = 'pair': {CANNOT}"), raised.value
    assert reason in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000], ids=["a list", "cut", "deep"])
def test_a_pair_with_a_damaged_recipe_is_not_evaluated(text, runs, call, tmp_path):
    refused(call("eval", damaged(runs, tmp_path, content("recipe.json", text))), CANNOT)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_of_a_damaged_pair_to_which_a_task_is_to_be_added_the_check_says_what_is_wrong(
    name, runs, call, tmp_path, monkeypatch
):
    finding = SimpleNamespace(file="config.json", problem="it cannot be read", remedy="package the run again")
    monkeypatch.setattr(check, "check_pair", lambda folder: SimpleNamespace(findings=(finding,)))
    pair = damaged(runs, tmp_path, CONFIGURATIONS[name][0])
    said = "the pair has to be mended before a task is added to it, 1 finding. See to them:"
    refused(call("add-task", pair), f"{pair}: {said}", "config.json: it cannot be read; package the run again")


def test_an_error_of_this_package_outside_loading_is_not_taken_for_a_damaged_pair(runs, call, monkeypatch):
    def wrong(*args, **kwargs):
        raise TypeError("a mistake in the code")

    monkeypatch.setattr(export, "_write", wrong)
    monkeypatch.setattr(evaluate, "evaluate_model", wrong)
    for command in ("export", "eval"):
        result = call(command, runs["bert"].repository)
        assert isinstance(result.exception, TypeError), result.output


def test_memory_that_runs_out_is_not_taken_for_a_damaged_pair(runs, monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", full)
    with pytest.raises(MemoryError):
        load_pair_config(runs["bert"].repository)
