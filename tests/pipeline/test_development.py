"""A training that ends where the trivial baseline is says so, and what to change."""

from pathlib import Path

import pytest
import tiny_tasks
from compared import small_pair

from bistill_hub import run
from bistill_hub.pipeline.development import on_development_data
from bistill_hub.pipeline.preflight import read_task
from bistill_hub.tasks import get_task

ONE = {"epochs": 2, "batch_size": 4, "learning_rate": 3e-4}
TWO = {"dense_epochs": 1, "sparse_epochs": 3, "batch_size": 4, "learning_rate": 2e-4}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Four tasks of eight examples each."""
    home = tmp_path_factory.mktemp("development")
    tasks = [
        {"name": name, **sources, "max_length": 64, "teacher": ONE, "distillation": TWO}
        for name, sources in tiny_tasks.write_tasks(home / "tasks").items()
    ]
    return small_pair(home, tasks=tasks)


@pytest.fixture(scope="module")
def tasks(recipe):
    return {each.name: read_task(each, get_task(each.name)) for each in recipe.tasks}


def column(file, separator, field):
    return [line.split(separator)[field] for line in open(file, encoding="utf-8").read().splitlines() if line.strip()]


def share_of_commonest(training, development):
    """How often the training set's commonest label is the right one; of labels equally common any may be it."""
    counts = {label: training.count(label) for label in training}
    most = max(counts.values())
    return {development.count(label) / len(development) for label, count in counts.items() if count == most}


def test_the_baseline_is_the_tasks_own_on_development_data(tasks):
    found = {
        name: on_development_data(data, [], data.recipe.teacher, warn=True)["validation_trivial"]
        for name, data in tasks.items()
    }
    sources = {name: data.recipe for name, data in tasks.items()}
    nli = [column(sources["nli"].sources[part].path, "\t", 2)[1:] for part in ("train", "validation")]
    pos = [column(sources["pos"].sources[part].path, "\t", 1) for part in ("train", "validation")]
    assert found["ner"] == 0, "no word is an entity"
    assert found["nli"] in share_of_commonest(*nli)
    assert found["pos"] in share_of_commonest(*pos)
    assert 0 <= found["qa"] < 1
    assert len({found["nli"], found["pos"], 0.0}) == 3


@pytest.mark.parametrize("name", ["ner", "nli", "pos", "qa"])
@pytest.mark.parametrize("above", [-0.1, 0.0, 0.1])
def test_only_a_best_score_above_it_is_no_warning(tasks, name, above):
    data = tasks[name]
    metric = f"eval_{data.task.main_metric}"
    trivial = on_development_data(data, [], data.recipe.teacher, warn=True)["validation_trivial"]
    curve = [{"loss": 1.0, "step": 1}, {metric: trivial + above, "step": 2}, {metric: trivial - 0.2, "step": 4}]
    for settings in (data.recipe.teacher, data.recipe.distillation):
        told = on_development_data(data, curve, settings, warn=True)
        assert told["validation"] == pytest.approx(trivial + above)
        assert ("warning" in told) == (above <= 0)
        assert "warning" not in on_development_data(data, curve, settings, warn=False)


def test_it_is_told_in_percent_with_the_fields_to_change(tasks):
    data = tasks["nli"]
    trivial = on_development_data(data, [], data.recipe.teacher, warn=True)["validation_trivial"]
    curve = [{"eval_accuracy": 0.0}]
    told = on_development_data(data, curve, data.recipe.teacher, warn=True)
    assert told["reached"] == f"best accuracy on development data 0.0 %, trivial baseline {100 * trivial:.1f} %"
    assert told["warning"] == (
        "on development data it is not above the trivial baseline, so it has learnt nothing that a student could learn "
        "from it. Try another tasks.nli.teacher.learning_rate (0.0003 now), or more epochs (2 now)"
    )
    assert on_development_data(data, curve, data.recipe.distillation, warn=True)["warning"].endswith(
        "so it has learnt nothing of the task. "
        "Try another tasks.nli.distillation.learning_rate (0.0002 now), or more epochs (3 now)"
    )


def test_a_training_without_a_score_is_not_judged(tasks):
    told = on_development_data(tasks["pos"], [{"loss": 1.0, "step": 1}], tasks["pos"].recipe.teacher, warn=True)
    assert told["validation"] is None
    assert not {"reached", "warning"} & set(told)


@pytest.fixture
def hopeless(recipe, tmp_path):
    """A recipe whose baseline is right about every word of the development data, so that no training is above it."""
    sources = {task.name: task for task in recipe.tasks}["pos"].sources
    train = Path(sources["train"].path).read_text(encoding="utf-8")
    as_nouns = "\n".join(f"{word}\tNOUN" if (word := line.partition("\t")[0]) else "" for line in train.splitlines())
    (tmp_path / "train").write_text(f"{train}\n{as_nouns}\n", encoding="utf-8")
    (tmp_path / "validation").write_text(f"{as_nouns}\n", encoding="utf-8")
    changes = {f"tasks.pos.{part}.path": str(tmp_path / part) for part in ("train", "validation")}
    return recipe.replace(changes).only(["pos"])


def test_a_run_says_it_without_progress_and_again_when_it_goes_on(hopeless, tmp_path, capfd):
    for progress in (False, True):
        run(hopeless, tmp_path / "out", until="pos-teacher", progress=progress)
        said = capfd.readouterr().err
        assert "\npos teacher: on development data it is not above" in f"\n{said}"
        assert "tasks.pos.teacher.learning_rate (0.0003 now)" in said
        assert ("\npos teacher: best accuracy on development data" in said) == progress


def test_a_smoke_run_warns_of_nothing(hopeless, tmp_path, capfd):
    done = run(hopeless.replace({"smoke": True}), tmp_path / "out", until="pos-teacher", progress=False)
    facts = {stage.name: stage.facts for stage in done.stages}["pos teacher"]
    assert facts["validation"] <= facts["validation_trivial"] == 1
    assert "warning" not in facts
    assert "trivial" not in capfd.readouterr().err
