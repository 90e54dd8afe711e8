"""A plan tells what a run does: the same stages to do, the same updates, the same complaints; it touches nothing."""

import json
import math
import shutil
import socket
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from hubserver.visitor import client, serving
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM

from bistill_hub import InputError, run
from bistill_hub.pipeline import order
from bistill_hub.pipeline.held_out import check_held_out
from bistill_hub.pipeline.plan import plan, stage_megabytes, updates_of
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.pipeline.survey import look
from bistill_hub.pipeline.trial import Speed, Trial
from bistill_hub.student.inspection import encoder_size

SLUGS = [
    "student",
    "phase-1",
    "ner-teacher",
    "ner-phase-2",
    "ner-phase-2-without-phase-1",
    "ner-random-teacher",
    "ner-evaluation",
    "speed",
    "package",
]
TRAINED = SLUGS[1:6]
HUB_TEXT = {"dataset": "org/text", "split": "train"}
HUB_LABELS = {"dataset": "org/labels", "split": "train"}


def states_of(made):
    return {stage.slug: stage.state for stage in made.stages}


def stage_of(made, slug):
    return next(stage for stage in made.stages if stage.slug == slug)


def copied(runs, tmp_path):
    return shutil.copytree(runs["bert"].repository.parent.parent, tmp_path / "run")


@pytest.fixture
def no_network(monkeypatch):
    def connect(*_args, **_kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def test_all_is_to_do_in_a_new_folder_which_is_not_made(small_recipes, tmp_path):
    made = plan(small_recipes["bert"], tmp_path / "new" / "run", trial=False)
    assert states_of(made) == dict.fromkeys(SLUGS, "to do")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_updates_that_are_planned_are_those_that_a_run_makes(runs, small_recipes, tmp_path, backbone):
    made = plan(small_recipes[backbone], tmp_path, trial=False)
    for stage in runs[backbone].stages:
        planned = next(each.updates for each in made.stages if each.name == stage.name)
        manifest = json.loads((stage.folder / "manifest.json").read_text())
        curve = manifest["facts"].get("curve", [])
        done = max((entry["step"] for entry in curve), default=0)
        if "phase 2" in stage.name:
            # Its curve is of the sparse stage; the dense one has an epoch of as many updates, for one epoch.
            assert small_recipes[backbone].tasks[0].distillation.dense_epochs == 1
            done += next(entry["step"] for entry in curve if entry["epoch"] == 1)
        assert planned == done, stage.name
    assert sum(stage.updates > 0 for stage in made.stages) == len(TRAINED)


@pytest.mark.parametrize(
    ("changes", "times"),
    [({"density": 0.3, "dense_epochs": 2.0}, 3), ({"model": "org/tuned"}, 0)],
    ids=["tuned sparsely", "given"],
)
def test_a_teacher_of_random_weights_is_planned_as_it_is_tuned_in_full(small_recipes, tmp_path, changes, times):
    def planned(recipe):
        made = plan(recipe, tmp_path, trial=False)
        return stage_of(made, "ner-teacher").updates, stage_of(made, "ner-random-teacher").updates, made.disk_megabytes

    recipe = small_recipes["bert"].replace({"tasks.ner.teacher.epochs": 1.0})
    changed = recipe.replace({f"tasks.ner.teacher.{name}": value for name, value in changes.items()})
    teacher, random_teacher, disk = planned(recipe)
    assert teacher == random_teacher > 0
    assert planned(changed)[:2] == (times * teacher, random_teacher)
    if not times:
        assert planned(changed)[2] == disk, "the checkpoints of the one that is tuned are the same"


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 6), st.integers(1, 4))
def test_updates_are_those_of_batches_counted_one_by_one(features, batch_size, accumulation, epochs):
    updates = 0
    for _ in range(epochs):
        waiting = 0
        for start in range(0, features, batch_size):
            waiting += 1
            if waiting == accumulation or start + batch_size >= features:
                updates, waiting = updates + 1, 0
    assert updates_of(features, batch_size=batch_size, accumulation=accumulation, epochs=epochs) == updates


def test_part_of_an_epoch_is_rounded_up_to_whole_updates():
    assert updates_of(200, batch_size=8, epochs=0.5) == 13  # half of 25
    assert updates_of(200, batch_size=8, epochs=0.01) == 1


def test_a_finished_run_has_nothing_to_do_and_nothing_is_tried(runs, small_recipes):
    folder = runs["bert"].repository.parent.parent
    made = plan(small_recipes["bert"], folder)
    assert states_of(made) == dict.fromkeys(SLUGS, "finished")
    assert [stage.seconds for stage in made.stages] == [None] * len(SLUGS)
    assert (made.seconds, made.device, made.memory_megabytes, made.disk_megabytes) == (None, None, None, 0)


def test_a_changed_setting_has_done_again_what_hangs_on_it(runs, small_recipes):
    folder = runs["bert"].repository.parent.parent
    changed = small_recipes["bert"].replace({"tasks.ner.distillation.density": 0.02})
    made = plan(changed, folder, trial=False)
    again = {"ner-phase-2", "ner-phase-2-without-phase-1", "ner-evaluation", "package"}
    assert states_of(made) == {slug: "to do again" if slug in again else "finished" for slug in SLUGS}
    assert stage_of(made, "ner-phase-2").reason == "made of other inputs"
    assert stage_of(made, "ner-evaluation").reason == "ner phase 2 comes first"


def test_another_command_has_the_package_alone_done_again(runs, small_recipes):
    folder = runs["bert"].repository.parent.parent
    made = plan(small_recipes["bert"], folder, trial=False, command="bistill run other")
    assert [slug for slug, state in states_of(made).items() if state != "finished"] == ["package"]


def test_a_stage_that_lost_a_file_is_done_again(runs, small_recipes, tmp_path):
    folder = copied(runs, tmp_path)
    (folder / "ner-phase-2" / "delta.safetensors").unlink()
    stage = stage_of(plan(small_recipes["bert"], folder, trial=False), "ner-phase-2")
    assert (stage.state, stage.reason) == ("to do again", "files of it are missing or damaged")


class Killed(Exception):
    pass


def ending(*_args, **_kwargs):
    raise Killed


def told_of_stage(recipe, folder, capsys):
    """What a run says as it begins the stage in which it ends."""
    capsys.readouterr()
    with pytest.raises(Killed):
        run(recipe, folder)
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("Stage ")][-1]


def interrupting(*checkpoints, whole):
    """Make the work of a stage that leaves checkpoints, of which some are whole, and ends there."""

    def work(_recipe, folder, *_args, **_kwargs):
        for name in checkpoints:
            (folder / "training" / name).mkdir(parents=True)
            if name in whole:
                (folder / "training" / name / "complete.json").write_text("{}")
        if any(name.startswith("sparse") for name in checkpoints):
            (folder / "training" / "ticket.safetensors").write_bytes(b"")
        raise Killed

    return work


def test_an_interrupted_stage_goes_on_from_its_newest_whole_checkpoint(small_recipes, tmp_path, monkeypatch, capsys):
    names = [f"checkpoint-{update}" for update in (4, 9, 10)]
    monkeypatch.setattr(order, "distil_bilingually", interrupting(*names, whole=names[:2]))
    with pytest.raises(Killed):
        run(small_recipes["bert"], tmp_path, progress=False)
    made = plan(small_recipes["bert"], tmp_path, trial=False)
    stage = stage_of(made, "phase-1")
    assert (stage.state, stage.done, stage.updates) == ("started", 9, 12)
    assert stage.reason == "goes on from update 9"
    assert states_of(made)["student"] == "finished"
    assert (tmp_path / "phase-1" / "training" / "checkpoint-10").is_dir(), "a plan removes nothing"
    monkeypatch.setattr(order, "distil_bilingually", ending)
    told = told_of_stage(small_recipes["bert"], tmp_path, capsys)
    assert told == "Stage 2 of 9: phase 1, goes on from update 9"
    changed = small_recipes["bert"].replace({"bilingual.steps": 13})
    stage = stage_of(plan(changed, tmp_path, trial=False), "phase-1")
    assert (stage.state, stage.done) == ("to do again", 0)


@pytest.mark.parametrize(
    ("names", "done", "reason"),
    [
        (("dense/checkpoint-8",), 8, "goes on from update 8"),
        (("dense/checkpoint-25", "sparse/checkpoint-7"), 32, "goes on from update 7 of the sparse stage"),
    ],
)
def test_phase_2_goes_on_in_the_stage_that_was_interrupted(
    runs, small_recipes, tmp_path, monkeypatch, capsys, names, done, reason
):
    folder = copied(runs, tmp_path)
    changed = small_recipes["bert"].replace({"tasks.ner.distillation.density": 0.02})
    monkeypatch.setattr(order, "distil_task", interrupting(*names, whole=names))
    with pytest.raises(Killed):
        run(changed, folder, progress=False)
    stage = stage_of(plan(changed, folder, trial=False), "ner-phase-2")
    assert (stage.state, stage.done, stage.updates, stage.reason) == ("started", done, 75, reason)
    monkeypatch.setattr(order, "distil_task", ending)
    assert told_of_stage(changed, folder, capsys) == f"Stage 4 of 9: ner phase 2, {reason}"


def test_an_interrupted_evaluation_tells_which_scores_are_there(runs, small_recipes, tmp_path, monkeypatch, capsys):
    folder = copied(runs, tmp_path)
    changed = small_recipes["bert"].replace({"baselines": ["trimmed_teacher"]})

    def work(_recipe, place, *_args, **_kwargs):
        (place / "training").mkdir()
        (place / "training" / "teacher.en.json").write_text("[]")
        raise Killed

    monkeypatch.setattr(order, "evaluate_task", work)
    with pytest.raises(Killed):
        run(changed, folder, progress=False)
    stage = stage_of(plan(changed, folder, trial=False), "ner-evaluation")
    assert (stage.state, stage.reason) == ("started", "1 of 6 scores are there")
    monkeypatch.setattr(order, "evaluate_task", ending)
    assert told_of_stage(changed, folder, capsys) == "Stage 5 of 7: ner evaluation, begun before"


def test_sources_are_told_with_size_and_content(small_recipes, text_files, ner_files, tmp_path):
    made = plan(small_recipes["bert"], tmp_path, trial=False)
    found = {source.field: source for source in made.sources}
    text, train = found["source.text"], found["tasks.ner.train"]
    assert (text.name, text.kind, text.count, text.unit) == ("en.txt", "file", 400, "lines")
    assert text.megabytes == len(text_files["en"].read_bytes()) / 1e6
    assert (train.count, train.unit, found["tasks.ner.test_target"].count) == (200, "examples", 50)
    assert list(found)[2:] == [f"tasks.ner.{name}" for name in ("train", "validation", "test_source", "test_target")]


def test_the_teacher_is_told_with_its_size(runs, small_recipes, tmp_path):
    teacher = plan(small_recipes["bert"], tmp_path, trial=False).teacher
    measured = runs["bert"].stages[0].facts["teacher"]
    assert (teacher.place, teacher.width) == ("folder", 32)
    assert (teacher.layers, teacher.vocabulary, teacher.parameters) == tuple(
        measured[name] for name in ("layers", "vocabulary", "parameters")
    )


def test_every_stage_that_computes_gets_a_time(small_recipes, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    made = plan(small_recipes["xlm-roberta"], tmp_path / "run")
    assert torch.equal(torch.rand(1), expected), "the generator is left as it was"
    assert all(stage.seconds > 0 for stage in made.stages[:-1])
    assert made.stages[-1].seconds is None
    assert made.seconds == pytest.approx(sum(stage.seconds for stage in made.stages[:-1]))
    assert made.memory_megabytes > 100
    assert made.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert any("random weights" in note for note in made.notes)
    assert any("upper bound" in note for note in made.notes)
    assert "estimated from its first 200 training examples: from how many model inputs" in made.notes[0]
    assert json.loads(json.dumps(made.to_dict()))["stages"][0]["slug"] == "student"
    assert not (tmp_path / "run").exists()


def test_time_grows_with_the_updates(small_recipes, tmp_path):
    few = small_recipes["bert"].replace({"tasks": [], "baselines": []})
    many = few.replace({"bilingual.steps": 12_000, "bilingual.evaluation_every": 12_000})
    times = [stage_of(plan(recipe, tmp_path), "phase-1").seconds for recipe in (few, many)]
    assert times[1] > 50 * times[0]
    with_heads = plan(few.replace({"bilingual.logits_weight": 1.0}), tmp_path)
    assert stage_of(with_heads, "phase-1").seconds > 0


def test_the_evaluation_after_the_last_update_takes_its_time_too(small_recipes, tmp_path, monkeypatch):
    monkeypatch.setattr(Trial, "_try_bilingual", lambda _: Speed(0.0, 0.0, 1.0, 1))
    recipe = small_recipes["bert"].replace({"tasks": [], "baselines": [], "bilingual.steps": 12})
    times = [
        stage_of(plan(recipe.replace({"bilingual.evaluation_every": every}), tmp_path), "phase-1").seconds
        for every in (12, 6, 5)
    ]
    assert times == pytest.approx([times[0], 2 * times[0], 3 * times[0]], rel=0.1)


def test_a_trial_for_which_the_processor_has_no_memory_is_told_as_one(small_recipes, tmp_path, monkeypatch):
    monkeypatch.setattr(Trial, "_try_bilingual", lambda _: torch.empty(2**50))
    recipe = small_recipes["bert"].replace({"tasks": [], "baselines": []})
    stage = stage_of(plan(recipe, tmp_path), "phase-1")
    assert (stage.seconds, stage.note) == (None, "its trial does not fit into memory")


def test_a_teacher_that_is_stored_in_half_precision_is_tried_in_the_one_it_is_trained_in(small_recipes, tmp_path):
    recipe = small_recipes["xlm-roberta"]
    halved = shutil.copytree(recipe.teacher.model, tmp_path / "teacher")
    AutoModelForMaskedLM.from_pretrained(halved, dtype=torch.float16).save_pretrained(halved)
    assert json.loads((halved / "config.json").read_text())["dtype"] == "float16"
    changes = {"teacher.model": str(halved), "bilingual.precision": "bf16", "tasks.ner.distillation.precision": "bf16"}
    made = plan(recipe.replace({**changes, "baselines": []}), tmp_path / "run")
    assert all(stage.seconds > 0 for stage in made.stages[:-1])


def test_without_a_trial_there_is_no_time_and_no_memory(small_recipes, tmp_path):
    made = plan(small_recipes["bert"], tmp_path, trial=False)
    assert {stage.seconds for stage in made.stages} == {None}
    assert (made.seconds, made.device, made.memory_megabytes) == (None, None, None)


def test_the_disk_that_is_planned_holds_what_a_run_leaves(runs, small_recipes, tmp_path):
    planned = plan(small_recipes["bert"], tmp_path, trial=False).disk_megabytes
    weights = runs["bert"].repository.parent.parent.rglob("*.safetensors")
    left = sum(file.stat().st_size for file in weights) / 1e6
    assert left < planned < 20 * left


def test_every_iteration_leaves_checkpoints_until_the_last_has_ended(small_recipes, tmp_path):
    facts = look(small_recipes["bert"].replace({"tasks.ner.distillation.density": 0.1}))[0]
    student = encoder_size(facts.student_config).megabytes

    def needed(iterations):
        changed = facts.recipe.replace({"tasks.ner.distillation.iterations": iterations})
        tasks = list(look(changed)[0].tasks.values())
        stages = order.stages_of(changed, tasks, command="", progress=False)
        stage = next(stage for stage in stages if stage.slug == "ner-phase-2")
        return stage_megabytes(stage, look(changed)[0])[1]

    # Two checkpoints of each stage: weights and two moments, in a sparse one those of a tenth of the entries.
    assert needed(3) == pytest.approx(needed(1) + 2 * 2 * (3 + 1.2) * student)


def test_the_student_that_is_cut_gives_its_vocabulary(runs, small_recipes, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs["bert"].stages[0].folder, folder / "student")
    made = plan(small_recipes["bert"].replace({"tasks": [], "baselines": []}), folder)
    assert list(states_of(made).values()) == ["finished", "to do", "to do", "to do"]
    assert not any("upper bound" in note for note in made.notes)


def test_what_is_on_the_hub_is_not_looked_up(small_recipes, tmp_path, no_network):
    recipe = small_recipes["bert"].replace(
        {
            "target.text": HUB_TEXT,
            "tasks.ner.train": HUB_LABELS,
            "tasks.ner.teacher.model": "org/tuned",
        }
    )
    made = plan(recipe, tmp_path)
    found = {source.field: source for source in made.sources}
    for field in ("target.text", "tasks.ner.train"):
        assert (found[field].kind, found[field].count, found[field].note) == ("Hub", None, "not looked up")
    assert found["tasks.ner.validation"].count == 50
    assert found["tasks.ner.teacher.model"].note == "not in the cache"
    student, phase_1, teacher, phase_2 = made.stages[:4]
    assert (student.seconds, student.note) == (None, "target.text is on the Hub")
    assert phase_1.seconds > 0
    assert "target.text is on the Hub" in phase_1.note
    assert (teacher.updates, teacher.seconds, teacher.note) == (0, 0, "a tuned teacher is taken")
    assert (phase_2.updates, phase_2.seconds, phase_2.note) == (None, None, "tasks.ner.train is on the Hub")
    assert stage_of(plan(recipe, tmp_path, trial=False), "ner-phase-2").note == phase_2.note


def test_a_teacher_of_the_hub_is_known_from_the_cache_alone(
    small_recipes, tiny_teacher_dirs, tmp_path, no_network, monkeypatch
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    recipe = small_recipes["bert"].replace({"teacher.model": "org/teacher"})
    made = plan(recipe, tmp_path / "run")
    assert (made.teacher.place, made.teacher.layers, made.disk_megabytes) == ("not in the cache", None, None)
    assert {stage.seconds for stage in made.stages} == {None}
    assert len(made.notes) == 1
    assert "each training example is taken for one model input" in made.notes[0]
    assert made.teacher.note == "there is no such folder here, so it is taken as a Hub id, which was not looked up"
    assert made.stages[1].note == "the teacher is not in the cache"
    assert made.stages[2].updates == 78, "from the number of examples"

    cached = tmp_path / "cache" / "models--org--teacher"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tiny_teacher_dirs["bert"], cached / "snapshots" / ("0" * 40))
    made = plan(recipe, tmp_path / "run", trial=False)
    assert (made.teacher.place, made.teacher.layers, made.teacher.width) == ("in the cache", 6, 32)


def test_examples_beyond_the_sample_are_counted_as_those_in_it(small_recipes, ner_files, tmp_path):
    once = ner_files["en"]["train"].read_text(encoding="utf-8")
    (tmp_path / "long.conll").write_text(3 * once, encoding="utf-8")
    # Sentences of more than a few sub-words become several inputs each.
    changes = {"tasks.ner.train": str(ner_files["en"]["train"]), "tasks.ner.max_length": 8}
    few = plan(small_recipes["bert"].replace(changes), tmp_path / "run", trial=False).stages[2].updates
    many = plan(
        small_recipes["bert"].replace({**changes, "tasks.ner.train": str(tmp_path / "long.conll")}),
        tmp_path / "run",
        trial=False,
    ).stages[2]
    assert few > 6 * math.ceil(200 / 16)
    assert many.updates == pytest.approx(3 * few, rel=0.03)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("source.text", None),
        ("source.text", ""),
        ("target.text", "\n \n"),
        ("tasks.ner.test_target", None),
        ("tasks.ner.train", "Juma\tB-PER\nleo\tO-O\n\n"),
        ("tasks.ner.train", "habari\tO\n\n"),
        ("tasks.ner.validation", "Juma\tB-PER\nleo\tB-DATE\n\n"),
        ("tasks.ner.teacher.delta", None),
        ("teacher.language_deltas.sw", None),
        ("teacher.model", None),
        ("target.code", "xq"),
    ],
)
def test_what_a_run_refuses_is_refused_in_the_same_words(small_recipes, tmp_path, field, content):
    file = tmp_path / "given.txt"
    if content is not None:
        file.write_text(content)
    value = content if field == "target.code" else str(file)
    recipe = small_recipes["bert"].replace({field: value})
    with pytest.raises(InputError) as by_run:
        preflight(recipe, tmp_path / "run")
    with pytest.raises(InputError) as by_plan:
        plan(recipe, tmp_path / "run")
    assert str(by_plan.value) == str(by_run.value)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("field", ["validation", "test_source", "test_target"])
def test_data_that_are_the_training_file_are_refused_in_the_same_words(small_recipes, ner_files, tmp_path, field, copy):
    file = ner_files["en"]["train"]
    given = (
        shutil.copyfile(file, tmp_path / "other.conll") if copy else file.parent / ".." / file.parent.name / file.name
    )
    recipe = small_recipes["bert"].replace({f"tasks.ner.{field}": str(given)})
    problem = f"its content is that of the training file, {file.name}" if copy else "this is the training file"
    with pytest.raises(InputError) as by_run:
        preflight(recipe, tmp_path / "run")
    with pytest.raises(InputError) as by_plan:
        plan(recipe, tmp_path / "run")
    assert str(by_plan.value) == str(by_run.value)
    error = by_plan.value
    assert (error.problem, error.field, error.value) == (problem, f"tasks.ner.{field}", str(given))
    assert "held-out" in error.remedy


def test_rows_of_one_table_and_one_file_for_validation_and_test_are_allowed(small_recipes, ner_files, tmp_path):
    rows = [(split, ["Juma", "leo"], ["B-PER", "O"]) for split in ("train", "test")]
    lines = [json.dumps({"split": split, "tokens": tokens, "ner_tags": tags}) for split, tokens, tags in rows]
    (tmp_path / "all.jsonl").write_text("\n".join(lines) + "\n")
    parts = {"train": "train", "validation": "test", "test_source": "test"}
    changes = {
        f"tasks.ner.{name}": {"path": str(tmp_path / "all.jsonl"), "where": {"split": split}}
        for name, split in parts.items()
    }
    recipe = small_recipes["bert"].replace({**changes, "tasks.ner.test_target": str(ner_files["sw"]["test"])})
    fields = {name: name for name in recipe.tasks[0].sources}
    check_held_out(recipe.tasks[0].sources, fields)
    for name, where in (("test_source", {"split": "train"}), ("test_source", {}), ("train", {})):
        whole = recipe.replace({f"tasks.ner.{name}": {"path": str(tmp_path / "all.jsonl"), "where": where}})
        with pytest.raises(InputError, match="this is the training file"):
            check_held_out(whole.tasks[0].sources, fields)


@pytest.mark.parametrize("name", ["runs/techer", "runs/en-sw/techer", "./techer", "../techer", "~/techer", "/techer"])
def test_a_teacher_s_folder_that_is_mistyped_is_no_hub_id(small_recipes, tmp_path, monkeypatch, name):
    (tmp_path / "here" / "runs" / "teacher").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    recipe = small_recipes["bert"].replace({"teacher.model": name})
    with pytest.raises(
        InputError, match=rf"teacher\.model = '{name}'.*Name a folder that holds config\.json"
    ) as by_run:
        preflight(recipe, tmp_path / "run")
    with pytest.raises(InputError) as by_plan:
        plan(recipe, tmp_path / "run")
    assert str(by_plan.value) == str(by_run.value)


@pytest.mark.parametrize("field", ["tasks.ner.teacher.model", "tasks.ner.teacher.delta", "teacher.language_deltas.sw"])
def test_a_mistyped_folder_of_further_weights_is_no_hub_id_either(small_recipes, tmp_path, monkeypatch, field):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = small_recipes["bert"].replace({field: "runs/tuend"})
    with pytest.raises(InputError, match="= 'runs/tuend'") as by_run:
        preflight(recipe, tmp_path / "run")
    with pytest.raises(InputError) as by_plan:
        plan(recipe, tmp_path / "run")
    assert (by_plan.value.field, by_plan.value.remedy) == (by_run.value.field, by_run.value.remedy)


def test_a_hub_id_is_one_although_a_folder_here_has_its_owner_s_name(small_recipes, tmp_path, monkeypatch):
    (tmp_path / "alice").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = small_recipes["bert"].replace({"teacher.model": "alice/teacher"})
    with serving(monkeypatch, tmp_path / "home") as hub:
        client(hub, "alice").create_repo("alice/teacher")
        made = plan(recipe, tmp_path / "run", trial=False)
    assert (made.teacher.model, made.teacher.place) == ("alice/teacher", "not in the cache")
    assert made.teacher.note.endswith("taken as a Hub id, which the Hub has")


@pytest.mark.parametrize("field", ["teacher.language_deltas.sw", "tasks.ner.teacher.delta"])
def test_a_delta_without_the_revision_that_its_name_announces_is_refused_in_the_same_words(
    small_recipes, tmp_path, field
):
    recipe = small_recipes["bert"].replace({field: "legacy:org/sft@"})
    with pytest.raises(InputError, match=f"{field} = 'legacy:org/sft@': a revision stands behind") as by_run:
        preflight(recipe, tmp_path / "run")
    with pytest.raises(InputError) as by_plan:
        plan(recipe, tmp_path / "run")
    assert str(by_plan.value) == str(by_run.value)


def test_the_revision_of_a_delta_is_told_and_looked_for_in_the_cache(small_recipes, tmp_path, no_network, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    deltas = {"en": f"legacy:org/sft@{'1' * 40}", "sw": f"legacy:org/sft@{'2' * 40}"}
    snapshot = tmp_path / "cache" / "models--org--sft" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_diff.bin").write_bytes(b"is not opened")
    recipe = small_recipes["bert"].replace({"teacher.language_deltas": deltas})
    found = {source.field: source for source in plan(recipe, tmp_path / "run", trial=False).sources}
    english, swahili = (found[f"teacher.language_deltas.{code}"] for code in deltas)
    assert (english.name, english.kind, english.note) == (f"org/sft@{'1' * 40}", "Hub", "in the cache")
    assert (swahili.name, swahili.kind, swahili.note) == (f"org/sft@{'2' * 40}", "Hub", "not in the cache")


@pytest.mark.parametrize("changes", [{"student.layer_reduction_factor": 4}, {"bilingual.block_size": 500}])
def test_what_does_not_fit_the_teacher_is_refused_in_the_same_words(small_recipes, tmp_path, changes):
    recipe = small_recipes["bert"].replace(changes)
    with pytest.raises(InputError) as by_run:
        preflight(recipe, tmp_path / "run")
    with pytest.raises(InputError) as by_plan:
        plan(recipe, tmp_path / "run")
    assert str(by_plan.value) == str(by_run.value)


def test_an_output_that_is_a_file_is_refused(small_recipes, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="this is not a folder"):
        plan(small_recipes["bert"], tmp_path / "file")
    assert Path(tmp_path / "file").read_text() == "mine"
