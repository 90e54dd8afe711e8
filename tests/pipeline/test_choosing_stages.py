"""`from_stage`, `until`, `fresh`, and packaging what a run has finished."""

import shutil

import pytest
import torch
from transformers import AutoModel, AutoModelForTokenClassification

from bistill_hub import InputError, run
from bistill_hub.hub.repository import check_files
from bistill_hub.pipeline.run import package_finished


@pytest.fixture
def recipe(small_recipes):
    return small_recipes["bert"]


@pytest.fixture
def finished(runs, tmp_path):
    """A copy of a finished run's folder."""
    return shutil.copytree(runs["bert"].repository.parent.parent, tmp_path / "run")


def done(result):
    return [stage.name for stage in result.stages if not stage.skipped]


def test_until_ends_after_a_stage(recipe, finished):
    shutil.rmtree(finished / "ner-evaluation")
    result = run(recipe, finished, until="ner-phase-2", progress=False)
    assert [stage.name for stage in result.stages] == ["student", "phase 1", "ner teacher", "ner phase 2"]
    assert not done(result)
    assert result.repository is None
    assert result.results == ()
    assert not (finished / "ner-evaluation").exists()


def test_from_does_a_stage_and_what_hangs_on_it_again(recipe, finished):
    result = run(recipe, finished, from_stage="ner-evaluation", progress=False)
    assert done(result) == ["ner evaluation", "package"]


def test_from_and_until_together_do_what_lies_between(recipe, finished):
    result = run(recipe, finished, from_stage="student", until="student", progress=False)
    assert done(result) == ["student"]
    # Equal outputs: what hangs on it is not done again afterwards, except what was to be done again and was not.
    assert done(run(recipe, finished, until="ner-teacher", progress=False)) == ["phase 1"]


def test_from_leaves_independent_stages_alone(recipe, finished):
    result = run(recipe, finished, from_stage="phase-1", until="ner-teacher", progress=False)
    assert done(result) == ["phase 1"]


def test_fresh_does_every_stage_again(recipe, finished):
    result = run(recipe, finished, fresh=True, until="phase-1", progress=False)
    assert done(result) == ["student", "phase 1"]


@pytest.mark.parametrize(
    ("wanted", "field", "named"),
    [
        ({"until": "phase-3"}, "until", "phase-3"),
        ({"from_stage": "tuning"}, "from", "tuning"),
        ({"from_stage": "ner-evaluation", "until": "phase-1"}, "from", "ner-evaluation"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(recipe, finished, wanted, field, named):
    with pytest.raises(InputError) as error:
        run(recipe, finished, progress=False, **wanted)
    assert field in str(error.value)
    assert named in str(error.value)
    assert (finished / "package" / "manifest.json").is_file(), "nothing was forgotten"


def test_a_run_that_was_ended_early_is_packaged_without_tasks(finished, tmp_path):
    for place in finished.glob("ner-*"):
        shutil.rmtree(place)
    repository = package_finished(finished, tmp_path / "encoder")
    check_files(repository)
    assert not (repository / "tasks").exists()
    assert AutoModel.from_pretrained(repository).config.num_hidden_layers == 3
    assert "No task was evaluated" in (repository / "README.md").read_text()


def test_a_task_that_is_not_evaluated_yet_is_packaged_without_scores(finished, runs, tmp_path):
    shutil.rmtree(finished / "ner-evaluation")
    repository = package_finished(finished, tmp_path / "pair")
    assert not (repository / "tasks/ner/results.json").exists()
    theirs = runs["bert"].repository
    for name in ("model.safetensors", "tasks/ner/delta.safetensors", "config.json"):
        assert (repository / name).read_bytes() == (theirs / name).read_bytes(), name
    assert AutoModelForTokenClassification.from_pretrained(repository).config.id2label


def test_what_an_earlier_state_of_the_run_left_is_not_packaged(recipe, finished, tmp_path):
    # Another phase 1: the delta of before does not belong to it.
    run(recipe.replace({"bilingual.steps": 6}), finished, until="phase-1", progress=False)
    assert not (package_finished(finished, tmp_path / "pair") / "tasks").exists()


def test_where_one_process_sees_several_gpus_nothing_begins_that_would_wait_for_a_training(
    recipe, finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert done(run(recipe, finished, progress=False)) == []
    assert done(run(recipe.replace({"contributors": ["Asha"]}), finished, progress=False)) == ["package"]
    for changed, folder in ((recipe.replace({"bilingual.steps": 6}), finished), (recipe, tmp_path / "new")):
        with pytest.raises(InputError, match=r"CUDA_VISIBLE_DEVICES = '4 GPUs': .*one process per GPU with `torchrun`"):
            run(changed, folder, progress=False)
    assert (finished / "phase-1" / "manifest.json").is_file()
    assert not (tmp_path / "new" / "student").exists()


OWN = "<!-- bistill:keep thanks -->\nAsante sana.\n<!-- bistill:end thanks -->\n"


def with_text_of_ones_own(card, limits=None):
    """Write into a card a section of one's own, and other limits if wanted."""
    text = card.read_text(encoding="utf-8")
    if limits is not None:
        before, _, rest = text.partition("<!-- bistill:keep limits -->\n")
        text = (
            f"{before}<!-- bistill:keep limits -->\n{limits}\n<!-- bistill:end {rest.partition('<!-- bistill:end ')[2]}"
        )
    card.write_text(f"{text}\n{OWN}", encoding="utf-8")


@pytest.mark.parametrize("until", [None, "phase-1"], ids=["at once", "after a run that ended before it"])
def test_what_people_wrote_on_the_card_is_on_the_next_one(recipe, finished, until):
    card = finished / "package" / "repository" / "README.md"
    with_text_of_ones_own(card, limits="Only newspapers were read.")
    changed = recipe.replace({"contributors": ["Asha"], "limits": "Of the recipe, written later."})
    if until is not None:
        run(changed, finished, from_stage="phase-1", until=until, progress=False)
        assert sorted(file.name for file in card.parent.iterdir()) == ["README.md", "card.json"]
    result = run(changed, finished, progress=False)
    assert "package" in done(result)
    text = card.read_text(encoding="utf-8")
    assert "Asha" in text
    assert "Only newspapers were read." in text
    assert OWN in text
    assert "Of the recipe, written later." not in text
    assert not (finished / "package" / "started.json").exists()
    check_files(result.repository)
    assert done(run(changed, finished, progress=False)) == []


def test_limits_that_nobody_edited_are_those_of_the_recipe(recipe, finished):
    card = finished / "package" / "repository" / "README.md"
    with_text_of_ones_own(card)
    run(recipe.replace({"limits": "Of the recipe, written later."}), finished, progress=False)
    text = card.read_text(encoding="utf-8")
    assert "Of the recipe, written later." in text
    assert recipe.limits not in text
    assert OWN in text


def test_what_was_written_of_another_pair_is_not_on_the_card(recipe, finished):
    card = finished / "package" / "repository" / "README.md"
    with_text_of_ones_own(card)
    other = recipe.replace({"name": "another", "target.name": "Kiswahili"})
    run(other, finished, fresh=True, progress=False)
    assert OWN not in card.read_text(encoding="utf-8")


def test_a_card_whose_markers_are_wrong_is_named_and_nothing_of_it_is_lost(recipe, finished):
    card = finished / "package" / "repository" / "README.md"
    text = card.read_text(encoding="utf-8") + "<!-- bistill:keep thanks -->\nAsante.\n"
    card.write_text(text, encoding="utf-8")
    changed = recipe.replace({"contributors": ["Asha"]})
    with pytest.raises(InputError, match=r"package/repository/README\.md.*thanks"):
        run(changed, finished, progress=False)
    assert card.read_text(encoding="utf-8") == text
    card.write_text(f"{text}<!-- bistill:end thanks -->\n", encoding="utf-8")
    assert done(run(changed, finished, progress=False)) == ["package"]
    assert "Asante." in card.read_text(encoding="utf-8")


def test_packaging_refuses_what_is_no_run_and_a_folder_in_use(finished, tmp_path):
    with pytest.raises(InputError, match="no run in this folder"):
        package_finished(tmp_path, tmp_path / "pair")
    pair = package_finished(finished, tmp_path / "packaged")
    with pytest.raises(InputError, match=r"recipe.json: this file is no run's.*`bistill run` was given"):
        package_finished(pair, tmp_path / "pair")
    with pytest.raises(InputError, match="something already"):
        package_finished(finished, finished)
    shutil.rmtree(finished / "phase-1")
    with pytest.raises(InputError, match="has not finished phase 1"):
        package_finished(finished, tmp_path / "pair")
