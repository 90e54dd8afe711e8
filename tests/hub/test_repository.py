"""A repository holds what a pair is made of, nothing of this machine, and only results of its own weights."""

import json
import shutil

import pytest

from bistill_hub import InputError, package_pair
from bistill_hub.cards.facts import read_facts
from bistill_hub.hub.repository import check_files, check_results, files_of
from bistill_hub.model.auto import AUTO_MAP, TRAVELLING_FILES

BACKBONES = ("bert", "xlm-roberta")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_repository_has_the_documented_layout(runs, backbone):
    assert [file.as_posix() for file in files_of(runs[backbone].repository)] == sorted(
        [
            "README.md",
            "assets/losses.png",
            "assets/retention.png",
            "assets/vocabulary.png",
            "card.json",
            "config.json",
            "model.safetensors",
            "recipe.json",
            "size_and_speed.json",
            "tasks/ner/delta.safetensors",
            "tasks/ner/results.json",
            "tokenizer.json",
            "tokenizer_config.json",
            *TRAVELLING_FILES,
        ]
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_configuration_tells_all_five_heads_and_what_the_pair_is(runs, backbone):
    config = json.loads((runs[backbone].repository / "config.json").read_text())
    assert config["model_type"] == "bistill"
    assert config["backbone_type"] == backbone
    assert config["auto_map"] == AUTO_MAP
    assert len(config["auto_map"]) == 6
    assert (config["source_language"], config["target_language"]) == ("en", "sw")
    assert config["layer_map"] == [1, 3, 5]
    assert config["tasks"]["ner"]["labels"][0] == "O"
    assert config["vocabulary"]["size"] == config["vocab_size"] < config["vocabulary"]["teacher_size"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_nothing_in_it_tells_where_it_was_made(runs, backbone, small_recipes):
    folder = runs[backbone].repository
    teacher = small_recipes[backbone].teacher.model
    places = [str(folder.parent), teacher, str(small_recipes[backbone].source.text.file)]
    for file in files_of(folder):
        content = (folder / file).read_bytes()
        assert not any(place.encode() in content for place in places), file


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_tokenizer_carries_no_padding_or_truncation_of_its_last_call(runs, backbone):
    tokenizer = json.loads((runs[backbone].repository / "tokenizer.json").read_text())
    assert tokenizer["padding"] is None
    assert tokenizer["truncation"] is None


@pytest.mark.parametrize("name", ["pytorch_model.bin", "notes.txt", "tasks/ner/training_args.bin", "setup.py"])
def test_a_file_that_may_not_be_published_is_refused(runs, tmp_path, name):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match="may not be published"):
        check_files(folder)


def test_results_of_other_weights_are_refused(runs, tmp_path):
    folder = shutil.copytree(runs["bert"].repository, tmp_path / "copy")
    check_results(folder)
    file = folder / "tasks/ner/results.json"
    content = json.loads(file.read_text())
    for result in content["results"]:
        result["weights_sha256"] = "0" * 64
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the packaged weights have the hash"):
        check_results(folder)


def test_results_of_a_task_that_the_pair_lacks_are_refused(runs, tmp_path):
    pair = runs["bert"].repository
    results = {"nli": runs["bert"].repository / "tasks/ner/results.json"}
    with pytest.raises(InputError, match="the pair has no such task"):
        package_pair(pair, tmp_path / "out", facts=read_facts(pair), recipe={}, results=results)
    assert not (tmp_path / "out").exists()
