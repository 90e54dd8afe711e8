"""A run leaves a folder a stage, skips what is done, redoes what changed, and its scores are of what it packaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer

from bistill_hub import InputError, SparseDelta, evaluate_pair, run
from bistill_hub.evaluation.results import read_results
from bistill_hub.model.sparse_delta import state_sha256
from bistill_hub.pipeline.order import stages_of
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.pipeline.scoring import language_change
from bistill_hub.sources import LabelledSource
from bistill_hub.teacher import load_encoder, load_task_model

BACKBONES = ("bert", "xlm-roberta")
STAGES = [
    "student",
    "phase 1",
    "ner teacher",
    "ner phase 2",
    "ner phase 2 without phase 1",
    "ner random teacher",
    "ner evaluation",
    "speed",
    "package",
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_stage_leaves_a_folder_with_a_manifest(runs, backbone):
    assert [stage.name for stage in runs[backbone].stages] == STAGES
    for stage in runs[backbone].stages:
        manifest = json.loads((stage.folder / "manifest.json").read_text())
        assert manifest["stage"] == stage.name
        assert manifest["inputs"]["versions"]["transformers"]
        assert manifest["inputs"].get("seed", 0) == 0
        assert manifest["seconds"] == stage.seconds
        assert all((stage.folder / file).is_file() for file in manifest["outputs"])
        assert not (stage.folder / "training").exists(), "checkpoints of a finished stage are removed"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_student_is_half_the_teacher_with_the_pairs_vocabulary(runs, backbone):
    facts = runs[backbone].stages[0].facts
    assert facts["layer_map"] == [1, 3, 5]
    assert facts["student"]["layers"] == 3
    assert facts["student"]["vocabulary"] < facts["teacher"]["vocabulary"]
    assert facts["language_modelling_head"]


@pytest.mark.parametrize(("backbone", "rebuilt_by"), [("bert", []), ("xlm-roberta", ["XLMRobertaTokenizer"])])
def test_the_card_names_the_classes_that_build_another_tokenizer(runs, backbone, rebuilt_by):
    assert runs[backbone].stages[0].facts["vocabulary"]["not_by"] == rebuilt_by
    card = (runs[backbone].repository / "README.md").read_text(encoding="utf-8")
    assert ("Load it with AutoTokenizer: XLMRobertaTokenizer would build another one" in card) == bool(rebuilt_by)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_card_names_the_labelled_data(runs, ner_files, backbone):
    card = (runs[backbone].repository / "README.md").read_text(encoding="utf-8")
    learnt, chosen = (ner_files["en"][split].name for split in ("train", "dev"))
    assert f"| ner | {learnt} | {chosen} |" in card


@pytest.mark.parametrize("backbone", BACKBONES)
def test_phase_1_changes_the_encoder_and_leaves_the_language_modelling_head(runs, backbone):
    before = load_file(runs[backbone].stages[0].folder / "model.safetensors")
    after = load_file(runs[backbone].stages[1].folder / "model.safetensors")
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".encoder.layer." in name for name in changed)
    assert all(".pooler." not in name and (".encoder." in name or ".embeddings." in name) for name in changed)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scores_cover_every_model_on_both_languages_with_intervals(runs, backbone):
    results = runs[backbone].results
    models = ["teacher", "student", "trimmed_teacher", "no_phase_1", "random_teacher"]
    assert [(r.role, r.model) for r in results] == [(role, m) for role in ("source", "target") for m in models]
    for result in results:
        assert 0 <= result.low <= result.score <= result.high <= 1
        assert result.n == 50
        assert result.trivial == 0
        assert result.revision.startswith("sha256:")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_tuned_teacher_learnt_the_task(runs, backbone):
    scores = {(r.model, r.role): r.score for r in runs[backbone].results}
    assert scores["teacher", "source"] > 0.5
    assert scores["trimmed_teacher", "source"] > 0.5


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_student_that_was_scored_is_the_one_that_was_packaged(runs, backbone, ner_files):
    repository = runs[backbone].repository
    student = [r for r in runs[backbone].results if r.model == "student"]
    model = AutoModelForTokenClassification.from_pretrained(repository, task="ner")
    assert {r.weights_sha256 for r in student} == {state_sha256(model.state_dict())}
    tests = {language: LabelledSource(path=ner_files[language]["test"]) for language in ("en", "sw")}
    again = evaluate_pair(repository, "ner", tests, max_length=64, progress=False)
    assert [r.scores for r in again] == [r.scores for r in student]
    assert read_results(repository / "tasks/ner/results.json") == list(runs[backbone].results)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_development_score_that_chose_the_checkpoint_is_that_of_the_model_that_was_kept(runs, backbone, ner_files):
    dev = {"en": LabelledSource(path=ner_files["en"]["dev"])}
    teacher_stage, delta_stage = runs[backbone].stages[2:4]
    student, teacher = evaluate_pair(
        runs[backbone].repository, "ner", dev, teacher=teacher_stage.folder, max_length=64, progress=False
    )
    assert teacher.score == pytest.approx(teacher_stage.facts["validation"], abs=1e-9)
    # The student is start + delta, a rounding away from the weights that training ended with.
    assert student.score == pytest.approx(delta_stage.facts["validation"], abs=0.01)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_published_delta_is_sparse_and_names_its_base(runs, backbone):
    repository = runs[backbone].repository
    delta = SparseDelta.load(repository / "tasks/ner/delta.safetensors")
    assert delta.density == pytest.approx(0.08, abs=1e-4)
    assert delta.metadata["base_sha256"] == state_sha256(load_file(repository / "model.safetensors"))
    assert delta.metadata["labels"][0] == "O"


def test_a_second_run_skips_everything_and_a_changed_setting_redoes_what_hangs_on_it(
    runs, small_recipes, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(runs["bert"].repository.parent.parent, folder)
    again = run(small_recipes["bert"], folder)
    assert all(stage.skipped for stage in again.stages)
    said = capsys.readouterr().err
    assert "will be made again" not in said
    begun = [f"Stage {number} of 9: {name}, finished before" for number, name in enumerate(STAGES, 1)]
    assert [line for line in said.splitlines() if line.startswith("Stage ")] == begun
    changed = small_recipes["bert"].replace({"tasks.ner.distillation.density": 0.02})
    redone = {stage.name for stage in run(changed, folder).stages if not stage.skipped}
    assert redone == {"ner phase 2", "ner phase 2 without phase 1", "ner evaluation", "package"}
    said = capsys.readouterr().err.splitlines()
    assert "Stage 3 of 9: ner teacher, finished before" in said
    assert "Stage 4 of 9: ner phase 2" in said
    told = [line for line in said if "will be made again" in line]
    assert sorted(told) == sorted(f"{name}: made of other inputs, will be made again" for name in redone)


@pytest.mark.whole  # test_killed.py compares all files of two runs too, of fewer baselines
def test_equal_runs_give_equal_packages_byte_for_byte(runs, small_recipes, tmp_path):
    other = run(small_recipes["xlm-roberta"], tmp_path / "again", progress=False).repository
    one = runs["xlm-roberta"].repository
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(other) for file in other.rglob("*") if file.is_file())
    # The card tells how long each stage took and how fast the student is; everything else is equal.
    timed = {"README.md", "card.json", "size_and_speed.json", "retention.png"}
    for file in files:
        if file.name not in timed:
            assert (one / file).read_bytes() == (other / file).read_bytes(), file


def test_two_runs_into_one_folder_are_refused(small_recipes, tmp_path):
    with FileLock(tmp_path / ".running"), pytest.raises(InputError, match="another run is writing there"):
        run(small_recipes["bert"], tmp_path, progress=False)


def test_a_recipe_without_tasks_gives_a_packaged_encoder(small_recipes, tmp_path):
    recipe = small_recipes["bert"].replace(
        {"tasks": [], "baselines": [], "student.layer_reduction_factor": 1, "bilingual.steps": 0}
    )
    result = run(recipe, tmp_path, progress=False)
    assert result.results == ()
    assert not (result.repository / "tasks").exists()
    config = json.loads((result.repository / "config.json").read_text())
    assert config["num_hidden_layers"] == 6
    assert len(AutoTokenizer.from_pretrained(result.repository)) == config["vocab_size"]


def test_a_task_sft_on_the_teacher_takes_the_place_of_fine_tuning_it(runs, small_recipes, tmp_path):
    tuned = load_file(runs["bert"].stages[2].folder / "model.safetensors")
    teacher = load_file(f"{small_recipes['bert'].teacher.model}/model.safetensors")
    encoder = {name: tensor for name, tensor in teacher.items() if name.startswith("bert.")}
    SparseDelta.from_models(encoder, tuned).save(tmp_path / "delta.safetensors")
    recipe = small_recipes["bert"].replace(
        {"tasks.ner.teacher.delta": str(tmp_path / "delta.safetensors"), "baselines": [], "bilingual.steps": 0}
    )
    result = run(recipe, tmp_path / "run", progress=False)
    assert result.stages[2].facts["curve"] == []
    scores = {r.role: r.score for r in result.results if r.model == "teacher"}
    assert scores == {r.role: pytest.approx(r.score, abs=0.01) for r in runs["bert"].results if r.model == "teacher"}


@pytest.fixture
def language_deltas(runs, tmp_path):
    """A delta of the bert teacher for each language; they share some entries."""
    teacher = load_file(runs["bert"].stages[0].folder.parent / "ner-teacher" / "model.safetensors")
    encoder = {name: tensor for name, tensor in teacher.items() if name.startswith("bert.")}
    files = {}
    for seed, language in enumerate(("en", "sw")):
        generator = torch.Generator().manual_seed(seed)
        moved = {n: t + 0.01 * (torch.rand(t.shape, generator=generator) > 0.9) for n, t in encoder.items()}
        files[language] = str(tmp_path / f"{language}.safetensors")
        SparseDelta.from_models(encoder, moved).save(files[language])
    return files


SHORT = {
    "baselines": ["trimmed_teacher"],
    "bilingual.steps": 4,
    "tasks.ner.teacher.epochs": 0.2,
    "tasks.ner.distillation.dense_epochs": 0.2,
    "tasks.ner.distillation.sparse_epochs": 0.2,
}


def test_the_teacher_carries_the_language_of_the_data_unless_it_was_tuned_elsewhere(
    runs, small_recipes, language_deltas, tmp_path
):
    recipe = small_recipes["bert"].replace({**SHORT, "teacher.language_deltas": language_deltas})
    tuned = recipe.replace({"tasks.ner.teacher.model": str(runs["bert"].stages[2].folder)})
    result = run(tuned, tmp_path / "run", progress=False)
    teacher = {r.role: r.score for r in result.results if r.model == "teacher"}
    assert teacher == {r.role: r.score for r in runs["bert"].results if r.model == "teacher"}
    assert {stage.name: stage.facts for stage in result.stages}["ner evaluation"] == {"teacher_language_deltas": {}}

    # Moved so little by the labels that what the teacher carries can be told from what it learnt.
    recipe = recipe.replace({"tasks.ner.teacher.learning_rate": 1e-12})
    result = run(recipe, tmp_path / "run", progress=False)
    stages = {stage.name: stage for stage in result.stages}
    assert {name for name, stage in stages.items() if stage.skipped} == {"student", "phase 1", "speed"}
    assert stages["ner teacher"].facts["language_delta"] == "en.safetensors"
    assert stages["ner evaluation"].facts == {
        "teacher_language_deltas": {"en": "en.safetensors", "sw": "sw.safetensors"}
    }
    saved = load_file(stages["ner teacher"].folder / "model.safetensors")
    base = load_file(f"{recipe.teacher.model}/model.safetensors")
    deltas = {code: SparseDelta.load(file).sparse for code, file in language_deltas.items()}
    model = load_task_model("token-classification", str(stages["ner teacher"].folder))
    hashes = {r.role: r.weights_sha256 for r in result.results if r.model == "teacher"}
    assert hashes["source"] == state_sha256(model.state_dict())
    language_change(recipe, "sw").apply(model, strict=False)
    assert hashes["target"] == state_sha256(model.state_dict())
    trimmed = {r.role: r.weights_sha256 for r in result.results if r.model == "trimmed_teacher"}
    assert trimmed["source"] != trimmed["target"]
    assert len({r.weights_sha256 for r in result.results if r.model == "student"}) == 1
    on_target = model.state_dict()
    for name in (name for name in saved if name in base):
        of_source, of_target = (deltas[code].get(name) for code in ("en", "sw"))
        added = {}
        for code, update in (("en", of_source), ("sw", of_target)):
            added[code] = torch.zeros(base[name].numel(), dtype=torch.float64)
            if update is not None:
                added[code][update.indices] = update.values.double()
        start = base[name].double().flatten()
        assert torch.allclose(saved[name].double().flatten(), start + added["en"], atol=1e-6, rtol=0)
        found = on_target[name].flatten()
        assert torch.allclose(found.double(), start + added["sw"], atol=1e-6, rtol=0)
        untouched = (added["en"] == 0) & (added["sw"] == 0)
        assert torch.equal(found[untouched], saved[name].flatten()[untouched])


def test_a_changed_language_delta_redoes_the_teachers_that_carry_it(runs, small_recipes, language_deltas):
    recipe = small_recipes["bert"].replace({"teacher.language_deltas": language_deltas})
    tuned = recipe.replace({"tasks.ner.teacher.model": str(runs["bert"].stages[2].folder)})

    def changed(recipe, code):
        """Names of the stages whose own inputs change with a delta's file."""
        inputs = []
        file = Path(language_deltas[code])
        kept, other = file.read_bytes(), SparseDelta.load(file)
        for said in ("once", "again"):
            other.metadata["said"] = said
            other.save(file)
            stages = stages_of(recipe, preflight(recipe, file.parent / "checked"), command="", progress=False)
            inputs.append({stage.name: stage.settings for stage in stages})
        file.write_bytes(kept)
        return {name for name in inputs[0] if inputs[0][name] != inputs[1][name]}

    assert changed(recipe, "en") == {"phase 1", "ner teacher", "ner evaluation"}
    assert changed(recipe, "sw") == {"phase 1", "ner evaluation"}
    assert changed(tuned, "sw") == {"phase 1"}


def test_a_language_without_a_delta_gets_a_teacher_without_the_sources(runs, small_recipes, language_deltas):
    source_only = small_recipes["bert"].replace({"teacher.language_deltas": {"en": language_deltas["en"]}})
    assert language_change(source_only, "en") is None
    encoder = load_encoder(source_only.teacher.model)
    bare = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
    SparseDelta.load(language_deltas["en"]).apply(encoder)
    language_change(source_only, "sw").apply(encoder)
    assert all(torch.allclose(bare[name], p, atol=1e-7, rtol=0) for name, p in encoder.named_parameters())
    assert language_change(small_recipes["bert"], "sw").entries == 0


def test_both_phases_train_in_bf16_and_leave_float32(runs, small_recipes, tmp_path):
    exact = {stage.name: stage for stage in runs["bert"].stages}
    for name in ("student", "ner teacher"):
        shutil.copytree(exact[name].folder, tmp_path / exact[name].folder.name)
    changes = {"bilingual.precision": "bf16", "tasks.ner.distillation.precision": "bf16", "baselines": []}
    changes |= {"tasks.ner.distillation.dense_epochs": 0.5, "tasks.ner.distillation.sparse_epochs": 0.5}
    done = run(small_recipes["bert"].replace(changes), tmp_path, until="ner-phase-2", progress=False)
    stages = {stage.name: stage for stage in done.stages}
    assert stages["ner teacher"].outputs == exact["ner teacher"].outputs
    delta = SparseDelta.load(stages["ner phase 2"].folder / "delta.safetensors")
    student = load_file(stages["phase 1"].folder / "model.safetensors")
    assert {tensor.dtype for tensor in (*student.values(), *delta.dense.values())} == {torch.float32}
    assert stages["phase 1"].facts["loss"] != exact["phase 1"].facts["loss"]
    assert stages["phase 1"].facts["loss"] == pytest.approx(exact["phase 1"].facts["loss"], rel=0.02)


def test_phase_1_teaches_the_language_modelling_head_where_its_logits_are_asked_for(runs, small_recipes, tmp_path):
    student = runs["bert"].stages[0].folder
    shutil.copytree(student, tmp_path / student.name)
    changes = {"bilingual.logits_weight": 1.0, "bilingual.masked_share": 0.3, "tasks": [], "baselines": []}
    done = run(small_recipes["bert"].replace(changes), tmp_path, progress=False)
    before = load_file(student / "model.safetensors")
    after = load_file(done.stages[1].folder / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "cls.predictions.bias" in changed
    assert "cls.predictions.transform.dense.weight" in changed
    curve = done.stages[1].facts["curve"]
    assert all(entry["logits_loss"] > 0 for entry in curve if "loss" in entry)
    model, info = AutoModelForMaskedLM.from_pretrained(done.repository, output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(model.state_dict()["cls.predictions.bias"], after["cls.predictions.bias"])


def test_logits_without_a_head_are_refused_before_any_text_is_counted(small_recipes, tmp_path):
    changes = {"bilingual.logits_weight": 1.0, "student.keep_language_modelling_head": False, "tasks": []}
    with pytest.raises(InputError, match=r"bilingual\.logits_weight = 1\.0: the student's .* head is not kept"):
        run(small_recipes["bert"].replace(changes), tmp_path, progress=False)
