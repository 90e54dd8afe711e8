"""`accelerate launch` takes a recipe to its package on two processes: the package is that of one process."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification
from untrained import untrained

from bistill_hub import SparseDelta, run
from bistill_hub.recipe import Recipe

LAUNCH = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", "0"),
)
"""Without GPUs the processes meet by gloo. The recipe asks for float32, whatever the launcher is told."""

MEASURED = {"README.md", "card.json", "size_and_speed.json", "assets/losses.png", "assets/retention.png"}
"""What holds times, or a picture of numbers that differ in their last digits."""

ROUNDED = {"model.safetensors", "config.json", "tasks/ner/delta.safetensors", "tasks/ner/results.json"}
"""Weights, what names their hash, and what is computed with them."""

RATE = 1e-3
SPLITS = {"train": "train", "validation": "dev", "test_source": "test"}


@pytest.fixture(scope="module")
def recipe(text_files, ner_files, tmp_path_factory):
    """Every stage on a teacher without dropout, which each process would draw for itself."""
    steady = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    source = {name: {"path": str(ner_files["en"][split]), "limit": 24} for name, split in SPLITS.items()}
    return Recipe.make(
        {
            "name": "bistill-en-sw",
            "source": {"code": "en", "name": "English", "text": {"path": str(text_files["en"]), "limit": 100}},
            "target": {"code": "sw", "name": "Swahili", "text": {"path": str(text_files["sw"]), "limit": 100}},
            "teacher": {"model": str(untrained("bert", tmp_path_factory.mktemp("steady") / "teacher", **steady))},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "bilingual": {"steps": 4, "batch_size": 4, "block_size": 32, "learning_rate": RATE, "evaluation_every": 2},
            "speed": {"seconds": 0, "length": 16, "batch_size": 2},
            "tasks": [
                {
                    "name": "ner",
                    **source,
                    "test_target": {"path": str(ner_files["sw"]["test"]), "limit": 24},
                    "max_length": 48,
                    "teacher": {"epochs": 1, "batch_size": 8, "learning_rate": RATE},
                    "distillation": {"dense_epochs": 1, "sparse_epochs": 1, "learning_rate": RATE},
                }
            ],
        }
    )


@pytest.fixture(scope="module")
def packages(recipe, tmp_path_factory):
    """The package of one process's run, that of two, and what the two printed."""
    place = tmp_path_factory.mktemp("launched")
    file = place / "en_sw.py"
    content = recipe.model_dump(mode="json")
    file.write_text(f"from bistill_hub.recipe import Recipe\n\nRECIPE = Recipe.make({content!r})\n", encoding="utf-8")
    words = ["-m", "bistill_hub", "run", str(file), "--output", str(place / "two"), "--quiet"]
    done = subprocess.run([sys.executable, *LAUNCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one = run(recipe, place / "one", progress=False, command="bistill run en_sw").repository
    return one, place / "two" / "package" / "repository", done.stdout


def content(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_package_has_the_files_of_one_process(packages):
    one, two, _ = packages
    ours, theirs = (
        {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} for folder in (one, two)
    )
    assert ours == theirs
    same = {name for name in ours if (one / name).read_bytes() == (two / name).read_bytes()}
    assert ours - same <= MEASURED | ROUNDED
    assert content(one, "recipe.json") == content(two, "recipe.json")
    one, two = ({**content(folder, "config.json"), "base_sha256": None} for folder in (one, two))
    assert one == two


def test_the_weights_are_those_of_one_process_but_for_rounding(packages):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in packages[:2])
    begun = load_file(packages[0].parents[1] / "student" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        # No output depends on a key's bias, whose gradient is all rounding; Adam turns that into whole steps.
        allowed = 4 * RATE if name.endswith("key.bias") else 1e-2 * RATE
        assert (weights - theirs[name]).abs().max() < allowed, name
    moved = [(ours[name] - weights).abs().max() for name, weights in begun.items() if name in ours]
    assert max(moved) > RATE, "phase 1 has taught nothing"


def test_the_delta_changes_the_same_entries(packages):
    ours, theirs = (SparseDelta.load(folder / "tasks" / "ner" / "delta.safetensors") for folder in packages[:2])
    assert ours.sparse.keys() == theirs.sparse.keys()
    chosen = [
        {(name, index) for name, update in delta.sparse.items() for index in update.indices.tolist()}
        for delta in (ours, theirs)
    ]
    # Entries at the threshold moved equally far but for the rounding.
    assert len(chosen[0] & chosen[1]) > 0.99 * ours.entries > 0


def test_the_task_answers_as_that_of_one_process(packages):
    logits = []
    for folder in packages[:2]:
        model = AutoModelForTokenClassification.from_pretrained(folder, task="ner").eval()
        ids = torch.randint(5, model.config.vocab_size, (4, 24), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            logits.append(model(ids).logits)
    assert (logits[0] - logits[1]).abs().max() < 1e-3
    assert logits[0].std() > 1e-2


def test_the_scores_are_of_the_same_models_and_examples(packages):
    ours, theirs = (content(folder, "tasks/ner/results.json")["results"] for folder in packages[:2])
    fields = ("model", "language", "n", "dataset", "revision")
    assert [[each[name] for name in fields] for each in ours] == [[each[name] for name in fields] for each in theirs]
    assert len(ours) == 4


def test_the_main_process_alone_speaks(packages):
    assert packages[2].count("The pair is in") == 1
