"""Recipes whose phase 2 learns from labels, or leaves terms out: the teacher is not looked at, and a plan knows it."""

import pytest
from smallest import smallest_recipe

from bistill_hub import InputError, SparseDelta, run
from bistill_hub.evaluation.results import RESULTS_FILE, read_results
from bistill_hub.model.sparse_delta import state_sha256
from bistill_hub.pipeline import order, task_training
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.pipeline.survey import look
from bistill_hub.pipeline.trial import Trial
from bistill_hub.teacher import load_task_model

LABELS = {"tasks.ner.distillation.learns_from": "labels"}
EVERY = {"tasks.ner.distillation.density": 1.0}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return smallest_recipe(tmp_path_factory.mktemp("labels"))


def made_of(finished):
    return {stage.name: stage for stage in finished.stages}


def test_labels_need_no_teacher_and_every_entry_no_dense_stage(recipe, tmp_path, monkeypatch):
    def nothing(_recipe, folder, _data, **_):
        (folder / "nothing.txt").write_text("no model")
        return {}

    monkeypatch.setattr(order, "tune_teacher", nothing)
    few = made_of(run(recipe.replace(LABELS), tmp_path, until="ner-phase-2-without-phase-1", progress=False))
    every = made_of(run(recipe.replace({**LABELS, **EVERY}), tmp_path, until="ner-phase-2", progress=False))
    assert every["ner teacher"].skipped
    for stage in (few["ner phase 2"], every["ner phase 2"]):
        curve = [entry for entry in stage.facts["curve"] if "loss" in entry]
        assert [entry["step"] for entry in curve] == [1, 2, 3, 4, 5, 6]
        assert all(entry["task_loss"] == entry["loss"] for entry in curve)
        assert stage.facts["learns_from"] == "labels"
    delta = SparseDelta.load(every["ner phase 2"].folder / "delta.safetensors")
    assert set(delta.dense) == {"classifier.weight", "classifier.bias"}
    assert delta.metadata["labels"][0] == "O"
    assert few["ner phase 2"].facts["density"] == pytest.approx(0.08, abs=1e-4)
    assert 0.3 < every["ner phase 2"].facts["density"] == delta.density <= 1, "words that no example has do not change"
    assert {entry["step"] for entry in few["ner phase 2"].facts["dense_curve"]} == {1, 2, 3, 4}
    assert every["ner phase 2"].facts["dense_curve"] == []
    # Without phase 1 the two start alike, and the same labels teach the same.
    one, other = (few[name].outputs for name in ("ner phase 2", "ner phase 2 without phase 1"))
    assert one == other
    with pytest.raises(InputError, match="Unrecognized model"):
        run(recipe, tmp_path, until="ner-phase-2", progress=False)


def test_only_what_is_taught_by_the_teacher_waits_for_it(recipe, tmp_path):
    for changes, waits in (({}, True), (LABELS, False)):
        changed = recipe.replace(changes)
        made = order.stages_of(changed, preflight(changed, tmp_path), command="", progress=False)
        needs = {stage.name: stage.needs for stage in made}
        assert needs["ner phase 2"] == (("phase 1", "ner teacher") if waits else ("phase 1",))
        assert needs["ner phase 2 without phase 1"] == (("student", "ner teacher") if waits else ("student",))
        assert {"ner teacher", "ner phase 2"} <= set(needs["ner evaluation"])
        again = {stage.name for stage in order.with_dependents(made, order.find_stage(made, "ner-teacher", "from"))}
        assert ("ner phase 2" in again) == waits


def test_the_fine_tuned_student_is_scored_with_its_delta(recipe, tmp_path):
    done = made_of(run(recipe.replace({**LABELS, **EVERY, "baselines": []}), tmp_path, until="ner-evaluation"))
    model = load_task_model("token-classification", str(done["phase 1"].folder), num_labels=7)
    SparseDelta.load(done["ner phase 2"].folder / "delta.safetensors").apply(model)
    scored = {
        result.model: result.weights_sha256 for result in read_results(done["ner evaluation"].folder / RESULTS_FILE)
    }
    assert set(scored) == {"teacher", "student"}
    assert scored["student"] == state_sha256(model.state_dict())


def test_the_recipes_weights_reach_phase_2(recipe, tmp_path, monkeypatch):
    changes = {"tasks.ner.distillation.attention_weight": 0.0, "tasks.ner.distillation.hidden_weight": 0.25}
    given = {}

    class Known(Exception):
        pass

    def trainer(_model, args, **kwargs):
        given.update(vars(args), teacher=kwargs["teacher"])
        raise Known

    monkeypatch.setattr(task_training, "SparseTaskDistillationTrainer", trainer)
    changes |= {"tasks.ner.distillation.logits_weight": 3.0, "baselines": []}
    with pytest.raises(Known):
        run(recipe.replace(changes), tmp_path, progress=False)
    assert [given[f"{name}_weight"] for name in ("attention", "hidden", "logits")] == [0, 0.25, 3]
    assert given["layer_map"] == [1]
    assert given["teacher"].config.num_hidden_layers == 2


def test_weights_that_are_all_zero_are_refused_before_any_stage(recipe, tmp_path):
    nothing = {f"tasks.ner.distillation.{name}_weight": 0.0 for name in ("attention", "hidden", "logits")}
    for doing in (run, plan):
        with pytest.raises(InputError, match=r"tasks\.ner\.distillation\.logits_weight = 0\.0: .*nothing to learn"):
            doing(recipe.replace(nothing), tmp_path, progress=False)
    assert not list(tmp_path.glob("*/manifest.json"))
    assert plan(recipe.replace({**nothing, **LABELS}), tmp_path, trial=False).stages, "labels need none of them"


def test_a_plan_counts_no_dense_stage_where_every_entry_may_change(recipe, tmp_path):
    def updates(changes):
        made = plan(recipe.replace(changes), tmp_path, trial=False)
        return next(stage.updates for stage in made.stages if stage.name == "ner phase 2")

    assert updates({}) == updates(LABELS) == 4 + 6
    assert updates(EVERY) == updates({**EVERY, **LABELS}) == 6
    assert updates({**EVERY, "tasks.ner.distillation.iterations": 2}) == 20


def test_a_plan_finds_where_every_entry_was_interrupted(recipe, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def work(_recipe, folder, *_args, **_kwargs):
        for update in (2, 4, 6):
            place = folder / "training" / "sparse" / f"checkpoint-{update}"
            place.mkdir(parents=True)
            if update < 6:
                (place / "complete.json").write_text("{}")
        (folder / "training" / "ticket.safetensors").write_bytes(b"")
        raise Killed

    monkeypatch.setattr(order, "tune_teacher", lambda *_args, **_kwargs: {})
    monkeypatch.setattr(order, "distil_task", work)
    changed = recipe.replace({**EVERY, "baselines": []})
    with pytest.raises(Killed):
        run(changed, tmp_path, progress=False)
    made = plan(changed, tmp_path, trial=False)
    stage = next(stage for stage in made.stages if stage.name == "ner phase 2")
    assert (stage.state, stage.done, stage.updates, stage.reason) == ("started", 4, 6, "goes on from update 4")


def test_a_trial_builds_no_teacher_for_labels_and_forms_no_term_without_weight(recipe, tmp_path, monkeypatch):
    built = []
    real = Trial._with_head

    def watched(self, task, config, **kwargs):
        built.append(config.num_hidden_layers)
        return real(self, task, config, **kwargs)

    monkeypatch.setattr(Trial, "_with_head", watched)

    def tried(**changes):
        built.clear()
        facts = look(recipe.replace({f"tasks.ner.distillation.{name}": value for name, value in changes.items()}))[0]
        trial = Trial(facts, progress=False)
        speed = trial._try_distillation(facts.tasks["ner"])
        assert min(speed.batch, speed.step, speed.scoring) > 0
        return sorted(built)

    assert tried(learns_from="labels") == [1]
    assert tried() == [1, 2]
    assert tried(attention_weight=0.0, hidden_weight=0.0) == [1, 2]
    assert tried(logits_weight=0.0) == [1, 2]
