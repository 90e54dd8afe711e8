"""A published pair is made again from its recipe.json: what the user has to name, what is compared, the verdict."""

import json
import shlex
import shutil
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from hubserver.visitor import nothing_changes, serving
from safetensors.torch import load_file, save_file

from bistill_hub import InputError, Recipe, SparseDelta, run
from bistill_hub.cards import card
from bistill_hub.cli.group import _Commands
from bistill_hub.cli.reproduced import run_published
from bistill_hub.distillation.exact_averaging import ExactAveragingTrainer
from bistill_hub.hub import reproduce as module
from bistill_hub.hub.reproduce import reproduce
from bistill_hub.hub.reproduced_files import distance
from bistill_hub.model.sparse_delta import SparseUpdate
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.pipeline.rebuild import read_published
from bistill_hub.recipe_changes import parse_changes
from bistill_hub.sources import file_sha256

REPO = "alice/bistill-en-sw"
FIELDS = {
    "source.text": "en.txt",
    "target.text": "sw.txt",
    "tasks.ner.train": "train.conll",
    "tasks.ner.validation": "dev.conll",
    "tasks.ner.test_source": "test.en.conll",
    "tasks.ner.test_target": "test.sw.conll",
    "teacher.model": "tiny-teacher",
}


@pytest.fixture(scope="module", autouse=True)
def sketches():
    """Spares the drawing of pictures, which has tests of its own."""

    def draw(*shown, **_):
        shown[-1].write_bytes(b"\x89PNG\r\n\x1a\n")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_coverage", "draw_losses", "draw_retention"):
            patch.setattr(card, name, draw)
        yield


@pytest.fixture(scope="module")
def publisher(text_files, ner_files, tiny_teacher_dirs, tmp_path_factory):
    """The files of somebody else's machine, by the field that names them."""
    folder = tmp_path_factory.mktemp("secret-folder")
    places = {
        "source.text": text_files["en"],
        "target.text": text_files["sw"],
        "tasks.ner.train": ner_files["en"]["train"],
        "tasks.ner.validation": ner_files["en"]["dev"],
        "tasks.ner.test_source": ner_files["en"]["test"],
        "tasks.ner.test_target": ner_files["sw"]["test"],
    }
    shutil.copytree(tiny_teacher_dirs["bert"], folder / "tiny-teacher")
    for name, place in places.items():
        shutil.copyfile(place, folder / FIELDS[name])
    return {name: folder / file for name, file in FIELDS.items()}


@pytest.fixture(scope="module")
def pair(publisher, sketches, tmp_path_factory):
    """A pair that its publisher has run, on files of that machine."""
    task = {
        "max_length": 48,
        "teacher": {"epochs": 2, "learning_rate": 5e-3},
        "distillation": {"dense_epochs": 0.5, "sparse_epochs": 0.5, "learning_rate": 5e-3},
    }
    sources = {name: {"path": str(publisher[f"tasks.ner.{name}"])} for name in ("train", "validation", "test_source")}
    recipe = Recipe.make(
        {
            "name": "bistill-en-sw",
            "source": {"code": "en", "name": "English", "text": {"path": str(publisher["source.text"]), "limit": 300}},
            "target": {"code": "sw", "name": "Swahili", "text": str(publisher["target.text"])},
            "teacher": {"model": str(publisher["teacher.model"])},
            "license": "apache-2.0",
            "limits": "Made of a miniature world, for tests.",
            "student": {"min_token_probability": 3e-3},
            "bilingual": {"steps": 2, "block_size": 48, "evaluation_every": 2},
            "speed": {"seconds": 0, "length": 8, "batch_size": 2},
            "tasks": [{"name": "ner", **task, **sources, "test_target": str(publisher["tasks.ner.test_target"])}],
            "unverified": ["the text's licence"],
        }
    )
    return run(recipe, tmp_path_factory.mktemp("published"), progress=False).repository


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def hub(pair, home):
    with pytest.MonkeyPatch.context() as patch, serving(patch, home) as server:
        patch.setenv("HF_TOKEN", server.user("bob").token)
        server.create(REPO, pair)
        with nothing_changes(server):
            yield server


@pytest.fixture(scope="module")
def ours(publisher, tmp_path_factory):
    """The same files on another machine, in other places and under other names."""
    folder = tmp_path_factory.mktemp("ours")
    shutil.copytree(publisher["teacher.model"], folder / "teacher")
    changes = {"teacher.model": str(folder / "teacher")}
    for number, (name, place) in enumerate(publisher.items()):
        if place.is_file():
            changes[name] = str(shutil.copyfile(place, folder / f"file-{number}{place.suffix}"))
    return changes


def written(folder):
    return json.loads((folder / "reproduction.json").read_text(encoding="utf-8"))


def states(found):
    return {file.path: file.state for file in found.files}


@pytest.fixture(scope="module")
def reproduced(hub, ours, tmp_path_factory):
    """From the Hub, interrupted in phase 2 and gone on with."""
    folder = tmp_path_factory.mktemp("reproduced")
    step, interrupted = ExactAveragingTrainer.training_step, []

    def training_step(self, *args, **kwargs):
        if (folder / "ner-teacher" / "manifest.json").exists() and not interrupted:
            interrupted.append((folder / "ner-teacher" / "manifest.json").stat().st_mtime_ns)
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExactAveragingTrainer, "training_step", training_step)
        with pytest.raises(KeyboardInterrupt):
            reproduce(REPO, folder, changes=ours, progress=False)
        unfinished = written(folder)
        found = reproduce(REPO, folder, changes=ours, progress=False)
    before = interrupted[0]
    assert (folder / "ner-teacher" / "manifest.json").stat().st_mtime_ns == before
    return SimpleNamespace(found=found, folder=folder, unfinished=unfinished)


def test_the_same_recipe_on_the_same_files_makes_an_identical_pair(reproduced, hub, pair):
    found = reproduced.found
    assert found.verdict == "identical"
    assert found.differences == found.changes == found.left_out == ()
    assert found.commit == hub.commits(REPO)[0].oid
    assert found.versions == {}
    for name in ("model.safetensors", "tokenizer.json", "config.json", "tasks/ner/delta.safetensors"):
        assert states(found)[name] == "identical"
        assert file_sha256(pair / name) == file_sha256(found.repository / name)
    assert states(found)["recipe.json"] == "same content"
    assert {(score.language, score.model) for score in found.scores} == {
        (code, model) for code in ("en", "sw") for model in ("student", "teacher")
    }
    for score in found.scores:
        assert score.holds
        assert score.same_weights
        assert score.difference == 0
        assert score.equal == score.n == 50


def test_an_interrupted_reproduction_says_so_until_the_same_call_finishes_it(reproduced):
    assert reproduced.unfinished == {"pair": REPO, "commit": reproduced.found.commit, "verdict": "unfinished"}
    assert written(reproduced.folder)["verdict"] == "identical"


def test_the_report_names_no_place_and_no_token(reproduced, hub, publisher, ours):
    report = (reproduced.folder / "reproduction.md").read_text(encoding="utf-8")
    both = report + (reproduced.folder / "reproduction.json").read_text(encoding="utf-8")
    assert report.startswith(f"# {REPO} at {reproduced.found.commit}: identical.\n")
    assert "Unverified in the recipe: the text's licence" in report
    assert f"bistill run {REPO} --set teacher.model=teacher --set source.text=file-0.txt" in both
    secrets = [str(reproduced.folder), str(publisher["source.text"].parent), hub.user("bob").token]
    assert [secret for secret in secrets if secret in both] == []


def test_only_small_files_are_fetched(reproduced, home):
    assert list(home.rglob("*.safetensors")) == []
    assert list(home.rglob("recipe.json"))


def test_everything_that_is_still_to_be_named_is_listed_at_once(hub, ours, tmp_path):
    with pytest.raises(InputError) as caught:
        reproduce(REPO, tmp_path / "out", changes={"target.text": ours["target.text"]}, progress=False)
    error = str(caught.value)
    assert error.startswith(f"{REPO}/recipe.json: ")
    for name, file in FIELDS.items():
        said = f"{name} ({file})" in error, f"--set {name}={file}" in error
        assert said == ((False, False) if name == "target.text" else (True, True))
    # The line goes on from what was given, so that it is the whole command.
    assert "bistill run alice/bistill-en-sw --set target.text=file-1.txt --set " in error
    assert not (tmp_path / "out").exists()


def test_tasks_that_are_left_out_need_no_files(hub, ours, tmp_path):
    given = {name: ours[name] for name in ("source.text", "teacher.model")}
    with pytest.raises(InputError) as caught:
        reproduce(REPO, tmp_path / "out", changes=given, tasks=[], progress=False)
    assert "target.text (sw.txt)" in str(caught.value)
    assert "tasks.ner" not in str(caught.value)


@pytest.fixture
def older(runs, small_recipes, tmp_path, monkeypatch):
    """A pair from before recipes named tokenizer classes, and what reproducing it would run."""
    folder = shutil.copytree(runs["xlm-roberta"].repository, tmp_path / "older")
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["teacher"].pop("tokenizer_not_by") == ["XLMRobertaTokenizer"]
    (folder / "recipe.json").write_text(json.dumps(recipe))
    made_of = small_recipes["xlm-roberta"]
    changes = {
        "teacher.model": made_of.teacher.model,
        "source.text": made_of.source.text.path,
        "target.text": made_of.target.text.path,
        **{f"tasks.ner.{name}": source.path for name, source in made_of.tasks[0].sources.items()},
    }
    started = []

    def start(recipe, output, **_):
        preflight(recipe, tmp_path / "checked")
        started.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr("bistill_hub.pipeline.run.run", start)

    def begin(**further):
        reproduce(folder, tmp_path / "out", changes={**changes, **further}, progress=False)

    return SimpleNamespace(folder=folder, begin=begin, started=started)


def test_classes_that_an_older_recipe_had_no_field_for_are_those_of_the_card(older):
    with pytest.raises(KeyboardInterrupt):
        older.begin()
    assert older.started[0].teacher.tokenizer_not_by == ("XLMRobertaTokenizer",)
    published = read_published(older.folder / "recipe.json")
    pair = SimpleNamespace(files=("card.json",), folder=older.folder)
    assert module._classes_of_the_card(pair, published) == ["XLMRobertaTokenizer"]
    (note,) = module._note_on_classes(["XLMRobertaTokenizer"])
    assert note.endswith("what the card names was taken: XLMRobertaTokenizer.")


@pytest.mark.parametrize("vocabulary", [{}, {"not_by": None}, []])
def test_where_no_card_names_them_the_refusal_has_the_words_that_do(older, vocabulary):
    facts = json.loads((older.folder / "card.json").read_text())
    (older.folder / "card.json").write_text(json.dumps({**facts, "vocabulary": vocabulary}))
    with pytest.raises(InputError) as caught:
        older.begin()
    words = "--set 'teacher.tokenizer_not_by=[\"XLMRobertaTokenizer\"]'"
    assert words in str(caught.value)
    with pytest.raises(KeyboardInterrupt):
        older.begin(**parse_changes(shlex.split(words)[1:]))


def test_a_file_with_another_hash_is_refused(hub, ours, publisher, tmp_path):
    other = tmp_path / "train.conll"
    other.write_text(publisher["tasks.ner.train"].read_text(encoding="utf-8") + "Juma\tB-PER\n\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        reproduce(REPO, tmp_path / "out", changes={**ours, "tasks.ner.train": other}, progress=False)
    error = str(caught.value)
    assert error.startswith(f"{other}: tasks.ner.train: its SHA-256 is {file_sha256(other)}")
    assert file_sha256(publisher["tasks.ner.train"]) in error
    assert error.endswith("Name the train.conll that the pair was made with.")
    assert not (tmp_path / "out").exists()


def test_another_teacher_is_refused(hub, ours, tiny_teacher_dirs, tmp_path):
    other = str(tiny_teacher_dirs["xlm-roberta"])
    with pytest.raises(InputError, match=r"model_type = 'xlm-roberta': this is not the pair's teacher"):
        reproduce(REPO, tmp_path / "out", changes={**ours, "teacher.model": other}, progress=False)


def test_a_run_that_reproduces_nothing_keeps_its_folder(hub, ours, pair):
    folder = pair.parent.parent
    with pytest.raises(InputError, match="the folder of a run that reproduces nothing"):
        reproduce(REPO, folder, changes=ours, progress=False)
    assert not (folder / "reproduction.json").exists()


@pytest.mark.parametrize(
    ("pair_name", "options", "problem"),
    [
        ("alice/nothing", {}, "there is no such repository"),
        (REPO, {"revision": "v9"}, "no such revision"),
        ("no name", {}, "not the name of a repository"),
        (REPO, {"tasks": ["pos"]}, "has no such task"),
        (REPO, {"changes": {"sead": 1}}, "no field 'sead'"),
    ],
)
def test_what_there_is_not_is_refused(hub, tmp_path, pair_name, options, problem):
    with pytest.raises(InputError, match=problem):
        reproduce(pair_name, tmp_path / "out", progress=False, **options)


def test_a_recipe_of_another_version_that_is_not_understood_names_the_version(pair, tmp_path):
    folder = shutil.copytree(pair, tmp_path / "copy")
    content = json.loads((folder / "recipe.json").read_text())
    content["versions"]["bistill_hub"] = "99.0"
    (folder / "recipe.json").write_text(json.dumps({**content, "novelty": 1}))
    with pytest.raises(InputError, match=r"bistill-hub 99\.0 wrote this recipe, .* Install bistill-hub 99\.0\."):
        reproduce(folder, tmp_path / "out", progress=False)


@pytest.fixture(scope="module")
def otherwise(hub, ours, pair, tmp_path_factory):
    """The command, with another seed, on a copy whose published scores nothing reaches."""
    copy = shutil.copytree(pair, tmp_path_factory.mktemp("copy") / "other-pair")
    file = copy / "tasks/ner/results.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for result in content["results"]:
        result.update({"score": 1.5, "low": 1.4, "high": 1.6} if result["model"] == "student" else {})
    file.write_text(json.dumps(content), encoding="utf-8")
    recipe = json.loads((copy / "recipe.json").read_text())
    recipe["versions"]["torch"] = "1.0"
    (copy / "recipe.json").write_text(json.dumps(recipe))
    folder = tmp_path_factory.mktemp("otherwise")
    words = [f"{name}={value}" for name, value in {**ours, "seed": 1}.items()]
    options = {"output": folder, "tasks": None, "set_file": None, "progress": False, "revision": None}
    group = _Commands("bistill")

    @group.command("go")
    def go():
        run_published(repo_id=str(copy), assignments=tuple(words), **options)

    return SimpleNamespace(result=CliRunner().invoke(group, ["go"], env={"COLUMNS": "200"}), folder=folder, copy=copy)


def test_scores_out_of_reach_give_exit_code_1_and_what_differs(otherwise):
    result, record = otherwise.result, written(otherwise.folder)
    assert result.exit_code == 1, (result.output, result.exception)
    assert result.output.splitlines()[-1] == "other-pair: not reproduced, with 1 change."
    assert record["verdict"] == "not reproduced"
    assert record["changes"] == [{"field": "seed", "published": 0, "now": 1}]
    of_students = [line for line in record["differences"] if line.startswith("ner, student on ")]
    beginnings = [line.partition(": reproduced it is ")[0] for line in of_students]
    assert beginnings == ["ner, student on en: f1 = 150.00", "ner, student on sw: f1 = 150.00"]
    for line in of_students:
        assert "differs by more than 0.2 points; it is outside the published 95 % interval" in line
        assert line in result.output
    assert "torch was 1.0, and is " in result.output


def test_differing_weights_are_told_with_how_far_they_are_apart(otherwise):
    repository = otherwise.folder / "package" / "repository"
    files = {file["path"]: file for file in written(otherwise.folder)["files"]}
    before, after = (load_file(folder / "model.safetensors") for folder in (otherwise.copy, repository))
    flat = [torch.cat([state[name].flatten() for name in sorted(state)]) for state in (before, after)]
    expected = float((flat[1] - flat[0]).norm() / flat[0].norm())
    assert files["model.safetensors"]["state"] == "differs"
    assert files["model.safetensors"]["distance"] == pytest.approx(expected, rel=1e-4)
    assert files["tokenizer.json"]["state"] == "identical"
    assert files["tasks/ner/results.json"]["state"] == "differs"
    assert files["recipe.json"]["state"] == "differs"


def test_the_distance_of_weights_is_that_of_hand_worked_ones(tmp_path):
    def weights(name, **tensors):
        save_file({key: torch.tensor(values) for key, values in tensors.items()}, tmp_path / name)
        return tmp_path / name

    one = weights("one", a=[3.0, 0.0], b=[0.0, 4.0])
    assert distance(one, one) == 0
    assert distance(one, weights("two", a=[3.0, 3.0], b=[4.0, 4.0])) == pytest.approx(1.0)
    assert distance(one, weights("three", a=[3.0, 0.0])) is None
    assert distance(one, weights("four", a=[3.0], b=[0.0, 4.0])) is None
    assert distance(weights("zero", a=[0.0]), weights("five", a=[1.0])) is None


@pytest.mark.parametrize("name", ["model.safetensors", "delta.safetensors"])
def test_published_weights_that_cannot_be_read_have_no_distance(tmp_path, name):
    (tmp_path / name).write_bytes(b"cut off")
    assert distance(tmp_path / name, tmp_path / "reproduced") is None


def test_the_distance_of_deltas_is_that_of_what_they_add(tmp_path):
    def delta(folder, indices, values):
        update = SparseUpdate((2, 3), torch.tensor(indices), torch.tensor(values))
        metadata = {"head": "token-classification", "labels": ["O"], "density": 0.5}
        (tmp_path / folder).mkdir()
        SparseDelta({"w": update}, {"head": torch.tensor([4.0])}, metadata).save(
            tmp_path / folder / "delta.safetensors"
        )
        return tmp_path / folder / "delta.safetensors"

    # (3, 0, ...) and 4 against (0, 3, ...) and 4: a difference of the square root of 18, of a norm of 5.
    assert distance(delta("a", [0], [3.0]), delta("b", [1], [3.0])) == pytest.approx(18**0.5 / 5)
