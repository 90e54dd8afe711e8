"""A task's teacher may be tuned as sparsely as the student: by LT-SFT, with a delta of its own beside its weights."""

import json

import pytest
import torch
from safetensors.torch import load_file
from smallest import smallest_recipe

from bistill_hub import InputError, Recipe, SparseDelta, run
from bistill_hub.comparison.contenders import CONTENDERS, differences, own_recipe
from bistill_hub.comparison.origins import task_teacher
from bistill_hub.distillation.sparse_fine_tuning import SparseFineTuningTrainer
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.smoke import smoke_recipe
from bistill_hub.stage_settings import EVERY_FIELD, TaskTeacher
from bistill_hub.teacher import load_task_model

SPARSE = {"tasks.ner.teacher.density": 0.05, "tasks.ner.teacher.dense_epochs": 2, "tasks.ner.teacher.epochs": 3}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return smallest_recipe(tmp_path_factory.mktemp("sparse-teacher"))


@pytest.fixture(scope="module")
def recipe(full):
    return full.replace(SPARSE)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    return run(recipe, tmp_path_factory.mktemp("run"), until="ner-phase-2", progress=False)


def stage_of(finished, name="ner teacher"):
    return next(stage for stage in finished.stages if stage.name == name)


def test_what_it_has_learnt_is_a_delta_of_the_asked_density_beside_its_head(finished, recipe):
    stage = stage_of(finished)
    delta = SparseDelta.load(stage.folder / "delta.safetensors")
    assert delta.density == stage.facts["density"] == pytest.approx(0.05, abs=1e-3)
    assert set(delta.dense) == {"classifier.weight", "classifier.bias"}
    assert not any("LayerNorm" in name for name in delta.sparse)
    assert (delta.metadata["task"], delta.metadata["labels"][0]) == ("ner", "O")
    tuned = load_task_model("token-classification", str(stage.folder))
    start = load_task_model("token-classification", recipe.teacher.model, num_labels=tuned.config.num_labels)
    delta.apply(start)
    for name, tensor in tuned.state_dict().items():
        assert torch.equal(tensor, start.state_dict()[name]), name


def test_its_stages_are_told_with_their_passes(finished):
    facts = stage_of(finished).facts
    assert {entry["step"] for entry in facts["dense_curve"]} == {1, 2, 3, 4}
    assert [entry["step"] for entry in facts["curve"] if "loss" in entry] == [1, 2, 3, 4, 5, 6]
    assert facts["validation"] is not None
    assert (facts["settings"]["density"], facts["settings"]["dense_epochs"]) == (0.05, 2)


def test_the_student_learns_from_it(finished):
    assert stage_of(finished, "ner phase 2").facts["learns_from"] == "teacher"


def test_a_recipe_takes_the_delta_as_a_task_sft(finished, recipe, tmp_path):
    given = recipe.replace({"tasks.ner.teacher": {"delta": str(stage_of(finished).folder)}})
    again = stage_of(run(given, tmp_path, until="ner-teacher", progress=False))
    weights = [load_file(stage.folder / "model.safetensors") for stage in (stage_of(finished), again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_an_interrupted_tuning_ends_as_if_it_had_not_been(finished, recipe, tmp_path, monkeypatch):
    saved = recipe.replace({"checkpoint_every": 1})
    step, steps = SparseFineTuningTrainer.training_step, []

    def stopped(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 8:  # within the sparse stage
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(SparseFineTuningTrainer, "training_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(saved, tmp_path, until="ner-teacher", progress=False)
    again = stage_of(run(saved, tmp_path, until="ner-teacher", progress=False))
    for file in ("delta.safetensors", "model.safetensors"):
        assert (again.folder / file).read_bytes() == (stage_of(finished).folder / file).read_bytes()
    assert 8 <= len(steps) < 8 + 10, "it went on and did not begin anew"


def test_a_random_start_is_tuned_in_full(recipe, tmp_path):
    drawn = recipe.replace({"baselines": ["random_teacher"]})
    found = run(drawn, tmp_path, until="ner-random-teacher", progress=False)
    stage = stage_of(found, "ner random teacher")
    assert not (stage.folder / "delta.safetensors").exists()
    assert "dense_curve" not in stage.facts


def test_a_plan_counts_both_stages(full, recipe, tmp_path):
    def teacher(of):
        return next(stage for stage in plan(of, tmp_path, trial=False).stages if stage.name == "ner teacher")

    assert (teacher(full).updates, teacher(recipe).updates) == (2, 4 + 6)


def test_smoke_shortens_both_stages(recipe):
    long = recipe.replace({"tasks.ner.teacher.dense_epochs": 900, "tasks.ner.teacher.epochs": 900})
    made = smoke_recipe(long).tasks[0].teacher
    assert made.density == 0.05
    assert max(made.dense_epochs, made.epochs) < 900


class TestInRecipes:
    def test_where_every_entry_is_free_hashes_and_files_are_those_of_before(self, full, recipe):
        told = full.model_dump(mode="json")["tasks"][0]["teacher"]
        assert {"density", "dense_epochs"}.isdisjoint(told)
        assert {"density", "dense_epochs"} <= set(TaskTeacher().model_dump(context=EVERY_FIELD))
        assert full.replace({"tasks.ner.teacher.density": 1.0}).sha256 == full.sha256 != recipe.sha256
        assert Recipe.make(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
        for each in (full, full.replace({"tasks.ner.teacher.dense_epochs": 2})):
            assert Recipe.make(each.model_dump(mode="json")) == each

    @pytest.mark.parametrize("density", [0, -0.1, 1.1])
    def test_a_share_that_is_none_is_refused(self, full, density):
        with pytest.raises(InputError, match=r"tasks\.ner\.teacher\.density"):
            full.replace({"tasks.ner.teacher.density": density})

    def test_a_comparison_says_so_and_has_the_teacher_tuned_in_full_beside_it(self, full, recipe):
        assert task_teacher(full.tasks[0].teacher) == "tuned in full here"
        assert task_teacher(recipe.tasks[0].teacher) == "tuned here by LT-SFT"
        whole = CONTENDERS["teacher_full"].recipe(recipe)
        assert whole.tasks[0].teacher.density == 1
        assert set(differences(whole, own_recipe(recipe))) == {"tasks.ner.teacher.density"}
        with pytest.raises(InputError, match="would be the teacher itself"):
            CONTENDERS["teacher_full"].recipe(full)
