"""Several recipes are run like each by itself, but what they share is done once; a failure stops no other recipe."""

import errno
import json
import os
import shutil
from collections import Counter

import miniature
import numpy as np
import pytest
from compared import small_pair
from untrained import tokenizer_for

from bistill_hub import BistillError, InputError, run
from bistill_hub.pipeline import executor, order, shared
from bistill_hub.pipeline.counted_text import CountedText, read_text
from bistill_hub.pipeline.manifest import complete, finished
from bistill_hub.pipeline.several import run_several
from bistill_hub.pipeline.shared import link_stage
from bistill_hub.recipe import Language
from bistill_hub.student.token_counts import TokenCounts
from bistill_hub.teacher import load_tokenizer

FIRST, SECOND = "bistill-en-sw", "bistill-en-rw"
TRAINED = ("student", "phase 1", "ner teacher", "ner phase 2")
OWN = ("student", "phase 1", "ner phase 2")


def two_recipes(home, **fields):
    """Two pairs of English that differ in the other language's text."""
    fields = {"bilingual": {"steps": 1, "batch_size": 2, "block_size": 32, "evaluation_every": 1}, **fields}
    first = small_pair(home, name=FIRST, speed={"seconds": 0, "length": 16, "batch_size": 2}, **fields)
    first = first.replace({"tasks.ner.teacher.epochs": 1, "tasks.ner.distillation.sparse_epochs": 1})
    lines = [miniature.text(sentence) for sentence in miniature.sentences("sw", 60, seed=2)]
    changes = {"code": "rw", "name": "Kinyarwanda", "text": str(miniature.write_lines(home / "rw.txt", lines))}
    return first, first.replace({"name": SECOND, **{f"target.{key}": value for key, value in changes.items()}})


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    return two_recipes(tmp_path_factory.mktemp("pairs"))


class Watched:
    """Notes which stages are really worked on, by the name of their run's folder."""

    def __init__(self, monkeypatch):
        self.done = []
        for module in (executor, shared):
            monkeypatch.setattr(module, "complete", self.complete)

    def complete(self, name, folder, inputs, work, **kwargs):
        def noted(place):
            self.done.append((folder.parent.name, name))
            return work(place)

        return complete(name, folder, inputs, noted, **kwargs)

    def take(self):
        """What has been worked on since it was asked last."""
        done, self.done = self.done, []
        return done


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


@pytest.fixture
def played(monkeypatch):
    """Stages that train nothing: each leaves a file, and those named in the returned mapping raise what it says."""
    raised = {}

    def play(name):
        def stage(recipe, folder, *rest, read=read_text, **_):
            for of in (recipe.name, None):
                if (name, of) in raised:
                    raise raised[name, of]
            if name == "cut_student":
                tokenizer = load_tokenizer(recipe.teacher.model)
                for language in recipe.text_languages:
                    counted = read(tokenizer, language, progress=False)
                    (folder / f"{language.code}.json").write_text(json.dumps(counted.counts.counts.tolist()))
            (folder / "deeper").mkdir()
            (folder / "deeper" / "made.txt").write_text(f"{name} for {recipe.name}")
            return {}

        return stage

    for name in ("cut_student", "distil_bilingually", "tune_teacher", "distil_task"):
        monkeypatch.setattr(order, name, play(name))
    return raised


def go(recipes, folder, **kwargs):
    """Run recipes to the end of training; return their outcomes."""
    return list(run_several(recipes, folder, **{"until": "ner-phase-2", "progress": False, **kwargs}))


def files_of(folder):
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


def kept(folder):
    """What is kept, by name without its hash."""
    return {place.name.rpartition("-")[0]: place for place in (folder / "shared").iterdir() if place.is_dir()}


# --- for real


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Both recipes with every stage, what was worked on, and the recipes."""
    recipes = two_recipes(tmp_path_factory.mktemp("whole"), baselines=["random_teacher"])
    folder = tmp_path_factory.mktemp("several") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch)
        outcomes = list(run_several(recipes, folder, progress=False))
        return folder, outcomes, watched.take(), recipes


def test_the_teachers_and_the_source_texts_counts_are_done_once_and_all_else_for_each_recipe(done):
    folder, outcomes, worked_on, recipes = done
    once = {"ner teacher", "ner random teacher", "en tokens"}
    times = Counter(name for _, name in worked_on)
    assert times == {**{name: 2 for name in times}, **dict.fromkeys(once, 1)}
    assert len(times) == 9
    assert set(kept(folder)) == {name.replace(" ", "-") for name in once}
    assert [outcome.error for outcome in outcomes] == [None, None]
    for outcome, recipe in zip(outcomes, recipes, strict=True):
        assert outcome.result.repository == folder / recipe.name / "package" / "repository"
        assert {result.model for result in outcome.result.results} == {"student", "teacher", "random_teacher"}


def test_the_packages_are_those_of_runs_by_themselves_byte_for_byte(done, tmp_path):
    _, outcomes, _, recipes = done
    alone = files_of(run(recipes[1], tmp_path / "alone", progress=False).repository)
    together = files_of(outcomes[1].result.repository)
    assert set(alone) == set(together)
    # The card tells how long each stage took and how fast the student is.
    timed = {"README.md", "card.json", "size_and_speed.json", "retention.png"}
    untimed = [name for name, file in alone.items() if file.name not in timed]
    assert {"model.safetensors", "tokenizer.json", "recipe.json", "tasks/ner/delta.safetensors"} <= set(untimed)
    for name in untimed:
        assert alone[name].read_bytes() == together[name].read_bytes(), name


def test_each_runs_folder_is_whole_without_the_others(done, tmp_path, watched):
    folder, _, _, recipes = done
    moved = shutil.copytree(folder / SECOND, tmp_path / "elsewhere")
    again = run(recipes[1], moved, progress=False)
    assert all(stage.skipped for stage in again.stages)
    assert again.repository.is_dir()
    assert not watched.take()
    # Its own record says how long the training took, not the linking.
    seconds = {
        json.loads((folder / name / "ner-teacher/manifest.json").read_text())["seconds"] for name in (FIRST, SECOND)
    }
    assert len(seconds) == 1


def test_what_is_shared_takes_no_room_twice(done):
    folder = done[0]
    for slug in ("ner-teacher", "ner-random-teacher"):
        trees = [files_of(place) for place in (folder / FIRST / slug, folder / SECOND / slug, kept(folder)[slug])]
        assert set(trees[0]) == set(trees[1]) == set(trees[2])
        for name, file in trees[0].items():
            assert {tree[name].stat().st_ino for tree in trees} == {file.stat().st_ino}


# --- what is shared, and when it is done again


def test_the_same_command_again_does_nothing_and_a_further_recipe_takes_what_is_there(
    recipes, tmp_path, played, watched
):
    go(recipes[:1], tmp_path)
    assert set(kept(tmp_path)) == {"en-tokens"}, "what one recipe alone needs is not kept for others"
    assert [name for _, name in watched.take()] == ["student", "en tokens", "phase 1", "ner teacher", "ner phase 2"]
    go(recipes, tmp_path)
    assert watched.take() == [(SECOND, name) for name in OWN]
    outcomes = go(recipes, tmp_path)
    assert not watched.take()
    assert all(stage.skipped for outcome in outcomes for stage in outcome.result.stages)


def test_a_stage_that_a_run_by_itself_has_finished_is_shared_whichever_recipe_comes_first(
    recipes, tmp_path, played, watched
):
    run(recipes[1], tmp_path / SECOND, until="ner-teacher", progress=False)
    watched.take()
    go(recipes, tmp_path)
    assert (FIRST, "ner teacher") not in watched.take()


def test_recipes_that_differ_in_what_a_teacher_is_made_of_share_none(recipes, tmp_path, played, watched):
    other = recipes[1].replace({"tasks.ner.teacher.epochs": 2})
    go([recipes[0], other], tmp_path)
    names = [name for _, name in watched.take()]
    assert names.count("ner teacher") == 2
    assert names.count("en tokens") == 1
    assert set(kept(tmp_path)) == {"en-tokens"}
    go([recipes[0], recipes[1].replace({"teacher.revision": "v2"})], tmp_path / "b")
    assert [name for _, name in watched.take()].count("en tokens") == 2


def test_recipes_of_one_pair_share_all_but_what_differs(recipes, tmp_path, played, watched):
    denser = recipes[0].replace({"name": "denser", "tasks.ner.distillation.density": 0.5})
    go([recipes[0], denser], tmp_path)
    assert [name for place, name in watched.take() if place == "denser"] == ["ner phase 2"]


@pytest.mark.parametrize(
    ("again", "worked_on"),
    [
        ({"fresh": True}, [(FIRST, name) for name in TRAINED] + [(SECOND, name) for name in OWN]),
        (
            {"from_stage": "ner-teacher"},
            [(FIRST, "ner teacher"), (FIRST, "ner phase 2"), (SECOND, "ner phase 2")],
        ),
        ({"from_stage": "ner-phase-2"}, [(FIRST, "ner phase 2"), (SECOND, "ner phase 2")]),
    ],
)
def test_what_is_to_be_done_again_is_done_again_once(recipes, tmp_path, played, watched, again, worked_on):
    go(recipes, tmp_path)
    before = (kept(tmp_path)["ner-teacher"] / "manifest.json").stat().st_ino
    watched.take()
    go(recipes, tmp_path, **again)
    done = watched.take()
    assert [each for each in done if each[0] != "shared"] == worked_on
    assert done.count(("shared", "en tokens")) == ("fresh" in again)
    manifests = [place / "manifest.json" for place in (tmp_path / FIRST / "ner-teacher", kept(tmp_path)["ner-teacher"])]
    assert len({manifest.stat().st_ino for manifest in manifests}) == 1
    assert (manifests[0].stat().st_ino == before) == (again == {"from_stage": "ner-phase-2"})


def test_a_shared_file_that_somebody_has_changed_is_not_taken(recipes, tmp_path, played, watched):
    go(recipes[:1], tmp_path)
    go(recipes, tmp_path)
    shutil.rmtree(tmp_path / SECOND)
    place = kept(tmp_path)["ner-teacher"] / "deeper" / "made.txt"
    another = place.read_text().upper()
    place.write_text(another)
    watched.take()
    go(recipes, tmp_path)
    assert (SECOND, "ner teacher") in watched.take()
    assert place.read_text() == (tmp_path / SECOND / "ner-teacher/deeper/made.txt").read_text() != another


def test_a_dot_file_that_an_older_version_took_for_an_output_is_not_missed(recipes, tmp_path, played, watched):
    go(recipes[:1], tmp_path)
    manifest = tmp_path / FIRST / "ner-teacher" / "manifest.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "outputs": {**record["outputs"], ".DS_Store": "0" * 64}}))
    watched.take()
    go(recipes, tmp_path)
    assert [name for _, name in watched.take()].count("ner teacher") == 0
    assert finished("ner teacher", tmp_path / SECOND / "ner-teacher") is not None


def test_a_lock_of_another_user_is_told_of_in_a_sentence(recipes, tmp_path, played, monkeypatch):
    go(recipes, tmp_path)
    real = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"shared/\..*\.lock.* cannot be written \(Permission denied\)"):
        go(recipes, tmp_path)


# --- failures


def test_a_recipe_that_fails_stops_no_other_and_is_tried_again_by_the_next_command(
    recipes, tmp_path, played, watched, capsys
):
    played["distil_bilingually", FIRST] = RuntimeError("the machine [is] out of\nmemory")
    outcomes = go(recipes, tmp_path, progress=True)
    assert [outcome.error for outcome in outcomes] == ["phase-1: RuntimeError: the machine [is] out of", None]
    assert outcomes[0].result is None
    assert "failed: phase-1: RuntimeError: the machine [is] out of" in capsys.readouterr().err
    assert (SECOND, "ner phase 2") in watched.take()
    played.clear()
    assert [outcome.error for outcome in go(recipes, tmp_path)] == [None, None]
    assert watched.take() == [(FIRST, "phase 1"), (FIRST, "ner phase 2")]


def test_a_shared_stage_that_failed_is_not_tried_again_for_another_recipe(recipes, tmp_path, played, watched):
    played["tune_teacher", None] = ValueError("no luck")
    assert [outcome.error for outcome in go(recipes, tmp_path)] == 2 * ["ner-teacher: ValueError: no luck"]
    assert [name for _, name in watched.take()].count("ner teacher") == 1


def test_text_that_cannot_be_counted_is_read_once(recipes, tmp_path, played, watched, monkeypatch):
    def unreadable(tokenizer, language, **_):
        raise InputError("cannot be read", field=language.code, remedy="mend it")

    monkeypatch.setattr(shared, "read_text", unreadable)
    outcomes = go(recipes, tmp_path)
    assert [outcome.error for outcome in outcomes] == 2 * ["student: en: cannot be read. Mend it."]
    assert [name for _, name in watched.take()].count("en tokens") == 1


def test_a_full_disk_ends_everything(recipes, tmp_path, played, watched):
    played["distil_bilingually", FIRST] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(BistillError, match="no room is left"):
        go(recipes, tmp_path)
    assert SECOND not in [place for place, _ in watched.take()]


def test_an_interrupted_command_goes_on_where_it_stopped(recipes, tmp_path, played, watched):
    played["distil_bilingually", SECOND] = KeyboardInterrupt()
    ended = []
    with pytest.raises(KeyboardInterrupt):
        ended.extend(run_several(recipes, tmp_path, until="ner-phase-2", progress=False))
    assert [outcome.recipe.name for outcome in ended] == [FIRST]
    played.clear()
    watched.take()
    go(recipes, tmp_path)
    assert watched.take() == [(SECOND, "phase 1"), (SECOND, "ner phase 2")]


@pytest.mark.parametrize("links", [1, 2, 3, 4])
def test_an_interruption_while_files_are_linked_leaves_nothing_that_counts_as_finished(
    recipes, tmp_path, played, watched, monkeypatch, links
):
    calls, real = [], os.link

    def link(*args):
        calls.append(args)
        if len(calls) == links:
            raise KeyboardInterrupt
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(KeyboardInterrupt):
            go(recipes, tmp_path)
    found = [finished("ner teacher", tmp_path / name / "ner-teacher") is not None for name in (FIRST, SECOND)]
    assert found == [True, False], "two links are made for the shared folder, and two for the second run"
    assert ("ner-teacher" in kept(tmp_path)) == (links > 2)
    watched.take()
    assert [outcome.error for outcome in go(recipes, tmp_path)] == [None, None]
    assert [name for _, name in watched.take()].count("ner teacher") == 0


# --- refusals


@pytest.mark.parametrize(
    ("changes", "options", "parts"),
    [
        ({"name": FIRST}, {}, ("name", FIRST)),
        ({"name": "shared"}, {}, ("name", "shared")),
        ({"source.text": "gone.txt"}, {}, (SECOND, "source.text", "gone.txt", "no such file")),
        ({"tasks": ()}, {"until": "ner-teacher"}, (SECOND, "until", "ner-teacher", "no such stage")),
        ({}, {"until": "phase-1", "from_stage": "ner-teacher"}, (FIRST, "from", "ner-teacher")),
    ],
)
def test_bad_input_in_any_recipe_is_refused_by_its_name_before_anything_begins(
    recipes, tmp_path, played, watched, changes, options, parts
):
    with pytest.raises(InputError) as caught:
        run_several([recipes[0], recipes[1].replace(changes)], tmp_path / "runs", progress=False, **options)
    for part in parts:
        assert part in str(caught.value)
    assert not watched.take()
    assert not (tmp_path / "runs" / FIRST / "recipe.json").exists()


def test_several_recipes_under_several_processes_are_refused(recipes, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="several recipes are run by one process"):
        run_several(recipes, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# --- its parts


def test_a_stage_is_copied_where_the_disk_knows_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    complete("stage", tmp_path / "one", {}, lambda place: (place / "a.txt").write_text("text") and {})
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "old.txt").write_text("old")
    monkeypatch.setattr(os, "link", refuse)
    link_stage(tmp_path / "one", tmp_path / "two")
    assert finished("stage", tmp_path / "two", {}).outputs == finished("stage", tmp_path / "one", {}).outputs
    assert set(files_of(tmp_path / "two")) == {"a.txt", "manifest.json"}
    assert (tmp_path / "two/a.txt").stat().st_ino != (tmp_path / "one/a.txt").stat().st_ino


def test_a_stage_that_is_linked_to_a_folder_elsewhere_is_taken_into_that_folder(tmp_path):
    complete("stage", tmp_path / "one", {}, lambda place: (place / "a.txt").write_text("text") and {})
    elsewhere = tmp_path / "large" / "disk"
    complete("stage", elsewhere, {"of": "others"}, lambda place: (place / "b.txt").write_text("old") and {})
    (tmp_path / "two").symlink_to(elsewhere)
    link_stage(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").is_symlink()
    assert set(files_of(elsewhere)) == {"a.txt", "manifest.json"}
    assert finished("stage", tmp_path / "two", {}) is not None


def test_a_text_comes_back_as_it_was_counted(tmp_path):
    lines = [miniature.text(sentence) for sentence in miniature.sentences("en", 120)] + ["Habari, Zoë 😀", "x\u00ady"]
    file = miniature.write_lines(tmp_path / "en.txt", lines)
    language = Language.model_validate({"code": "en", "name": "English", "text": str(file)})
    tokenizer = tokenizer_for("xlm-roberta")
    made = read_text(tokenizer, language, progress=False)
    made.save(tmp_path)
    back = CountedText.load(tmp_path)
    left = list((Counter(line for line in language.text) - Counter(back.held_out)).elements())
    expected = Counter(i for line in left for i in tokenizer(line, add_special_tokens=False)["input_ids"])
    assert {i: int(n) for i, n in enumerate(back.counts.counts) if n} == expected
    assert back.held_out[0] == lines[0]
    assert len(back.held_out) + back.counts.lines == len(lines) == 122
    assert (back.counts.total, back.counts.lines) == (made.counts.total, made.counts.lines)
    assert back.counts.characters == made.counts.characters
    assert back.held_out == made.held_out
    assert back.counts.counts.dtype == np.int64
    assert not back.counts.counts.flags.writeable


def test_half_a_surrogate_pair_in_a_line_is_kept(tmp_path):
    counts = TokenCounts(np.array([2, 0, 1]), 3, frozenset("a\ud800"), 2)
    CountedText(counts, ["\ud800 x"]).save(tmp_path)
    back = CountedText.load(tmp_path)
    assert back.held_out == ["\ud800 x"]
    assert back.counts.characters == {"a", "\ud800"}
    assert back.counts.counts.tolist() == [2, 0, 1]
