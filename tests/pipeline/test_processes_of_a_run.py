"""`torchrun` trains a recipe on two processes: the pair is that of one process, written once, by the main one.

The losses differ from those of one process by the order of additions, and Adam makes more of it than plain gradient
descent: it turns the rounding of a gradient that is zero (a key's bias) into whole steps, which no output depends on.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from doc_pages import claimed, launched, understood
from transformers import AutoModel, TrainerCallback

from bistill_hub import BistillError, SparseDelta, run
from bistill_hub.pipeline import processes
from bistill_hub.recipe import Recipe

sys.path.append(str(Path(__file__).parents[1] / "distillation"))
from processes import in_processes

ON_GPUS, ON_A_CPU = claimed(__name__, "docs/training.md#several-processes")
TRAINED = ("student", "phase-1", "ner-teacher", "ner-phase-2")
AFTERWARDS = ("ner-evaluation", "speed", "package")


@pytest.fixture(scope="module")
def recipe(small_recipes, tiny_teacher_dirs, tmp_path_factory):
    """Every stage, with a teacher without dropout: what is dropped is drawn by each process for itself."""
    teacher = tmp_path_factory.mktemp("steady") / "teacher"
    shutil.copytree(tiny_teacher_dirs["bert"], teacher)
    config = json.loads((teacher / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (teacher / "config.json").write_text(json.dumps(config))
    changes = {
        "teacher.model": str(teacher),
        "baselines": [],
        "bilingual.steps": 8,
        "bilingual.evaluation_every": 4,
        "checkpoint_every": 3,
        "tasks.ner.teacher.epochs": 1,
        "tasks.ner.distillation.sparse_epochs": 1,
        # Whole batches are dealt out here; elsewhere the processes share each batch.
        "tasks.ner.distillation.accumulation": 2,
    }
    return small_recipes["bert"].replace(changes)


class Die(TrainerCallback):
    """Kills the process at some update."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)


def run_until_killed(content, folder):
    """Run a recipe on processes the second of which is killed in phase 1."""
    from bistill_hub.distillation.recording import LogRecorder

    if os.environ["RANK"] == "1":
        LogRecorder.on_step_end = Die.on_step_end
    run(Recipe.make(content), folder, progress=False)


@pytest.fixture(scope="module")
def folders(recipe, tmp_path_factory):
    """The folder of one process's run, of one by two that were killed and started again, and what they printed."""
    place = tmp_path_factory.mktemp("processes")
    content = recipe.model_dump(mode="json")
    with pytest.raises(AssertionError):
        in_processes(2, run_until_killed, content, place / "two")
    assert (place / "two" / "phase-1" / "training" / "checkpoint-3" / "rng_state_1.pth").is_file()
    (place / "recipe.py").write_text(f"from bistill_hub import Recipe\n\nRECIPE = Recipe.make({content!r})\n")
    (command,) = ON_A_CPU.commands
    printed = launched(
        command,
        *("-o", str(place / "two"), "--quiet"),
        instead={"en_sw": str(place / "recipe.py")},
        OMP_NUM_THREADS="1",  # models this small only wait for each other on more
        ACCELERATE_MIXED_PRECISION="bf16",  # as `accelerate launch` sets it; the recipe asks for float32
    )
    run(recipe, place / "one", progress=False, until=TRAINED[-1])
    return place / "one", place / "two", printed


def test_the_guides_commands_are_understood():
    for command in (*ON_GPUS.commands, *ON_A_CPU.commands):
        assert understood(command)["recipes"] == ("en_sw",)


def record(folder, stage):
    return json.loads((folder / stage / "manifest.json").read_text())


def test_all_stages_are_finished_from_the_same_inputs(folders):
    one, two, _ = folders
    for stage in TRAINED:
        ours, theirs = (record(folder, stage) for folder in (one, two))
        # All but the hashes of files that earlier stages have written: of the rounding of their weights.
        assert {**ours["inputs"], "after": None} == {**theirs["inputs"], "after": None}
        assert set(ours["outputs"]) == set(theirs["outputs"])
        assert ours["facts"].get("settings") == theirs["facts"].get("settings")


def test_two_processes_leave_a_whole_pair_and_nothing_half_written(folders):
    two = folders[1]
    assert {place.name for place in two.iterdir() if place.is_dir()} == {*TRAINED, *AFTERWARDS}
    for stage in (*TRAINED, *AFTERWARDS):
        written = {place.relative_to(two / stage).as_posix() for place in (two / stage).rglob("*") if place.is_file()}
        assert written == {*record(two, stage)["outputs"], "manifest.json"}
    pair = two / "package" / "repository"
    assert AutoModel.from_pretrained(pair).config.num_hidden_layers == 3
    assert (pair / "README.md").is_file()


@pytest.mark.parametrize(
    ("stage", "curve"),
    [("phase-1", "curve"), ("ner-teacher", "curve"), ("ner-phase-2", "dense_curve"), ("ner-phase-2", "curve")],
)
def test_the_losses_are_those_of_one_process(folders, stage, curve):
    ours, theirs = (record(folder, stage)["facts"][curve] for folder in folders[:2])
    assert len(ours) == len(theirs) > 1
    for one, two in zip(ours, theirs, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            if name.endswith("loss"):
                assert one[name] == pytest.approx(two[name], rel=1e-3), (one, two)


def test_the_student_is_that_of_one_process(folders):
    models = [AutoModel.from_pretrained(folder / "phase-1").eval() for folder in folders[:2]]
    ids = torch.randint(5, models[0].config.vocab_size, (4, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (model(ids).last_hidden_state for model in models)
        start = AutoModel.from_pretrained(folders[0] / "student").eval()(ids).last_hidden_state
    assert (ours - theirs).abs().max() < 1e-3
    assert (ours - start).abs().max() > 0.05, "phase 1 has taught nothing"


def test_the_delta_chooses_the_same_entries(folders):
    ours, theirs = (SparseDelta.load(folder / "ner-phase-2" / "delta.safetensors") for folder in folders[:2])
    assert ours.entries == theirs.entries
    chosen = [
        {(name, index) for name, update in delta.sparse.items() for index in update.indices.tolist()}
        for delta in (ours, theirs)
    ]
    # Entries at the threshold moved equally far but for the rounding.
    assert len(chosen[0] & chosen[1]) > 0.98 * ours.entries


def test_the_main_process_alone_speaks(folders):
    printed = folders[2]
    assert printed.count("The pair is in") == 1
    assert printed.count("Stages") == 1


def attempted(content, folder, **options):
    """Run a recipe; return how it ended."""
    processes.HEAD_START = 0  # here nothing ends all processes as soon as one has failed
    try:
        run(Recipe.make(content), folder, progress=False, **options)
    except BistillError as error:
        return str(error)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"source.text": "nowhere.txt"}, {}, "source.text"),
        ({}, {"until": "nonsense"}, "until = 'nonsense': the recipe has no such stage."),
        (
            {"bilingual.batch_size": 1},
            {},
            "bilingual.batch_size = 1: 2 processes cannot share an update of 1 x 1 rows.",
        ),
    ],
)
def test_bad_input_ends_all_processes_and_is_said_once(recipe, tmp_path, changes, options, message):
    content = recipe.replace(changes).model_dump(mode="json")
    main, other = in_processes(2, attempted, content, tmp_path, **options)
    assert message in main
    assert other == 2
    assert not (tmp_path / "student").exists()


def attempted_sharded(content, folder):
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    return attempted(content, folder)


def test_sharded_processes_are_refused_before_they_meet_and_by_the_main_one_alone(recipe, tmp_path):
    main, other = in_processes(2, attempted_sharded, recipe.model_dump(mode="json"), tmp_path / "run")
    assert main.startswith("ACCELERATE_USE_DEEPSPEED = 'true': a run needs every parameter as a whole")
    assert other == processes.FAILED
    assert not (tmp_path / "run").exists()
