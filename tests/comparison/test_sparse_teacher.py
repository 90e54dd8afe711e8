"""The teacher that is tuned sparsely speaks the language of its data, as the teacher that is tuned in full does."""

import csv
import json
import shutil

import pytest
import torch
from compared import small_pair
from safetensors.torch import load_file

from bistill_hub.comparison.compare import compare
from bistill_hub.comparison.cost import cost_of
from bistill_hub.evaluation.results import read_results
from bistill_hub.model.sparse_delta import SparseDelta, state_sha256
from bistill_hub.pipeline.stage_files import prefixed
from bistill_hub.teacher import load_encoder, load_task_model


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A pair whose recipe names a language SFT for either language; they share some entries."""
    home = tmp_path_factory.mktemp("speaking")
    recipe = small_pair(home)
    encoder = prefixed(load_encoder(recipe.teacher.model))
    files = {}
    for seed, code in enumerate(("en", "sw")):
        drawn = torch.Generator().manual_seed(seed)
        moved = {name: t + 0.01 * (torch.rand(t.shape, generator=drawn) > 0.7) for name, t in encoder.items()}
        files[code] = str(home / f"{code}.safetensors")
        SparseDelta.from_models(encoder, moved).save(files[code])
    return recipe.replace({"teacher.language_deltas": files})


@pytest.fixture(scope="module")
def compared(pair, tmp_path_factory):
    """What a comparison with the sparse teacher found, told before and done, and its folder."""
    folder = tmp_path_factory.mktemp("compared")
    before = cost_of(pair, ["teacher_sft"], folder, seeds=[0], progress=False)
    return before, compare(pair, ["teacher_sft"], folder, progress=False), folder


def stages(folder, name):
    """Of the finished stages of this name folders, what went in and what came out."""
    for file in sorted((folder / "stages").glob("*/manifest.json")):
        found = json.loads(file.read_text())
        if found["stage"] == name:
            yield file.parent, found["inputs"], found["outputs"]


def tuned_on_labels(folder):
    """The folder of the sparse teacher's phase 2, and what came out."""
    (found,) = (
        (place, made)
        for place, given, made in stages(folder, "ner phase 2")
        if given["settings"]["learns_from"] == "labels"
    )
    return found


def put_together(pair, folder, code):
    """Base, a language's SFT, and what the sparse teacher has learnt, by hand; code None leaves the SFT out."""
    delta = SparseDelta.load(tuned_on_labels(folder)[0] / "delta.safetensors")
    model = load_task_model("token-classification", pair.teacher.model, num_labels=len(delta.metadata["labels"]))
    if code is not None:
        SparseDelta.load(pair.teacher.language_deltas[code]).apply(model, strict=False)
    return delta.apply(model)


def test_its_model_is_base_and_the_languages_sft_and_its_task_delta_parameter_for_parameter(pair, compared):
    _, _, folder = compared
    expected = {
        role: state_sha256(put_together(pair, folder, code).state_dict())
        for role, code in (("source", "en"), ("target", "sw"), ("bare", None))
    }
    assert len(set(expected.values())) == 3
    made = tuned_on_labels(folder)[1]
    (scored,) = (place for place, given, _ in stages(folder, "ner scores") if given["after"].get("ner phase 2") == made)
    del expected["bare"]
    assert {result.role: result.weights_sha256 for result in read_results(scored / "results.json")} == expected


def test_it_wears_the_sources_sft_while_it_is_tuned(pair, compared):
    encoder = load_encoder(pair.teacher.model)
    SparseDelta.load(pair.teacher.language_deltas["en"]).apply(encoder)
    worn = prefixed(encoder)
    starts = [load_file(place / "model.safetensors") for place, _, _ in stages(compared[2], "phase 1")]
    (start,) = (each for each in starts if any(name.endswith("layer.1.output.dense.weight") for name in each))
    assert all(torch.equal(start[name], tensor) for name, tensor in worn.items())


def test_a_given_task_sft_is_called_so_and_the_teacher_tuned_in_full_stands_beside_it(pair, compared, tmp_path):
    _, before, done = compared
    folder = shutil.copytree(done, tmp_path / "out")
    given = pair.replace({"tasks.ner.teacher.delta": str(tuned_on_labels(folder)[0] / "delta.safetensors")})
    (told,) = (
        each
        for each in cost_of(given, ["teacher_full"], tmp_path / "new", seeds=[0], progress=False).contenders
        if each.contender == "teacher_full"
    )
    assert (told.to_do, told.unknown) == (2, ())
    assert told.seconds > 0
    found = compare(given, ["teacher_full"], folder, progress=False)
    assert not found.failed
    full = {score.role: score.score for score in found.scores if score.contender == "teacher_full"}
    assert full == {score.role: score.score for score in before.scores if score.contender == "teacher"}
    text = (folder / "comparison.md").read_text()
    assert text.count("| teacher, a given task SFT, delta.safetensors | 2 |") == 2
    assert text.count("| teacher, tuned in full | 2 |") == 2
    assert "| teacher | a given task SFT, delta.safetensors | the stages" in text
    assert "fine-tuned in full" not in text
    with (folder / "comparison.csv").open() as file:
        of_csv = {line["contender"]: line["task_teacher"] for line in csv.DictReader(file)}
    assert of_csv["teacher"] == of_csv["student"] == "a given task SFT, delta.safetensors"
    assert of_csv["teacher_full"] == "tuned in full here"
    contenders = {each["name"]: each for each in json.loads((folder / "comparison.json").read_text())["contenders"]}
    assert contenders["teacher"]["task_teacher"] == {"ner": "a given task SFT, delta.safetensors"}
    assert contenders["teacher_full"]["task_teacher"] == {"ner": "tuned in full here"}
    assert contenders["teacher_full"]["differs_from_student"] == {"tasks.ner.teacher.delta": None}


def test_the_table_says_which_language_sfts_each_model_has(compared):
    _, _, folder = compared
    text = (folder / "comparison.md").read_text()
    rows = {line.split(" | ")[0].lstrip("| "): line.strip("| ").split(" | ")[-2:] for line in text.splitlines()}
    assert rows["model"] == ["teacher's language SFTs in phase 1", "language SFTs at the test"]
    assert rows["teacher"] == rows["teacher, LT-SFT on labels"] == ["no phase 1", "SFTs of en, sw"]
    assert rows["bilingual student"] == ["SFTs of en, sw", "none"]
    worn = {"ner": {"en": "en.safetensors", "sw": "sw.safetensors"}}
    contenders = {each["name"]: each for each in json.loads((folder / "comparison.json").read_text())["contenders"]}
    assert contenders["teacher_sft"]["language_sfts_at_test"] == contenders["teacher"]["language_sfts_at_test"] == worn
    assert contenders["student"]["language_sfts_at_test"] == {"ner": {"en": None, "sw": None}}
    assert contenders["student"]["phase_1_teacher"] == {"ner": "SFTs of en, sw"}
