"""A task that somebody else adds to a published pair: trained on its base, and proposed with nothing but itself."""

import json
import shutil
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import miniature
import pytest
import torch
from click.testing import CliRunner
from hubserver.visitor import client, nothing_changes, serving
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification

from bistill_hub import BistillError, InputError
from bistill_hub.cards import card
from bistill_hub.cards.card import rename_pair, rendered_card
from bistill_hub.cards.facts import read_facts, write_facts
from bistill_hub.cli.add_task import add_task_command
from bistill_hub.cli.group import main
from bistill_hub.distillation.exact_averaging import ExactAveragingTrainer
from bistill_hub.evaluation.results import read_results
from bistill_hub.hub import check
from bistill_hub.hub.add_task import add_task
from bistill_hub.hub.check import check_pair
from bistill_hub.model.sparse_delta import SparseDelta, state_sha256
from bistill_hub.pipeline.portable import published_sha256
from bistill_hub.pipeline.rebuild import check_delta_of_language, check_teacher, published_recipe

REPO = "alice/bistill-en-sw"
TINY = {
    "teacher.epochs": 1,
    "teacher.learning_rate": 5e-3,
    "distillation.dense_epochs": 1,
    "distillation.sparse_epochs": 1,
    "distillation.learning_rate": 5e-3,
    "max_length": 48,
}
AS_IN_THE_RUN = {**TINY, "teacher.epochs": 6, "distillation.sparse_epochs": 2, "max_length": 64}
HUMAN = "Read *this* first.\n\nThen think."


def part_of_speech(token, tag):
    """Right enough for a tagger to learn something."""
    if tag != "O":
        return "PROPN"
    return "NOUN" if token.isalpha() and len(token) > 4 else "X" if token.isalpha() else "PUNCT"


def write_pos(file, language, count, seed):
    sentences = miniature.sentences(language, count, seed=seed)
    return miniature.write_conll(
        file, [[(token, part_of_speech(token, tag)) for token, tag in sentence] for sentence in sentences]
    )


@pytest.fixture(scope="module")
def pos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pos")
    return {
        "train": write_pos(folder / "train.conll", "en", 60, 2),
        "validation": write_pos(folder / "dev.conll", "en", 20, 3),
        "test_source": write_pos(folder / "test.en.conll", "en", 30, 4),
        "test_target": write_pos(folder / "test.sw.conll", "sw", 30, 5),
    }


@pytest.fixture(scope="module")
def ner(ner_files):
    names = {"train": ("en", "train"), "validation": ("en", "dev"), "test_source": ("en", "test")}
    return {name: ner_files[code][split] for name, (code, split) in {**names, "test_target": ("sw", "test")}.items()}


@pytest.fixture(scope="module")
def teacher(tiny_teacher_dirs):
    return str(tiny_teacher_dirs["bert"])


@pytest.fixture(scope="module", autouse=True)
def sketches(runs):
    """Spares the drawing of pictures, which has tests of its own: a file that differs when what it shows does."""

    def draw(*shown, **more):
        *shown, file = shown
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + repr((shown, more)).encode())

    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_coverage", "draw_losses", "draw_retention"):
            patch.setattr(card, name, draw)
        yield


@pytest.fixture(scope="module")
def pair(runs, sketches, tmp_path_factory):
    """The run's pair as it is published, with words of a person on its card, and without costly baselines."""
    folder = shutil.copytree(runs["bert"].repository, tmp_path_factory.mktemp("pair") / "pair")
    recipe = json.loads((folder / "recipe.json").read_text()) | {"baselines": ["trimmed_teacher", "no_phase_1"]}
    recipe["sha256"] = published_sha256(recipe)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    write_facts(folder, replace(read_facts(folder), recipe_sha256=recipe["sha256"]))
    text = rendered_card(folder)
    assert "Made of a miniature world, for tests." in text
    (folder / "README.md").write_text(text.replace("Made of a miniature world, for tests.", HUMAN))
    rename_pair(folder, REPO)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it tries again
        with serving(patch, tmp_path_factory.mktemp("home")) as server:
            patch.setenv("HF_TOKEN", server.user("bob").token)
            yield server
            for user in server.accounts.users.values():
                assert server.leaks(user.token) == []


def forbid_training(patch):
    def training_step(self, *args, **kwargs):
        raise AssertionError("it trains")

    patch.setattr(ExactAveragingTrainer, "training_step", training_step)


@pytest.fixture
def nothing_is_trained(monkeypatch):
    forbid_training(monkeypatch)


@pytest.fixture
def unchecked(monkeypatch):
    """Spares the checks of the pair, which have tests of their own."""
    monkeypatch.setattr(check, "check_pair", lambda folder: SimpleNamespace(findings=()))


@pytest.fixture(scope="module")
def added(hub, pair, pos, teacher, tmp_path_factory):
    """Bob's task, the commit that it was added to, and its output folder."""
    hub.create(REPO, pair)
    before = hub.commits(REPO)[0].oid
    output = tmp_path_factory.mktemp("added")
    options = {"output_dir": output, "teacher": teacher, "settings": TINY, "progress": False}
    hub.faults.answer("POST", "/commit/", 413)
    with nothing_changes(hub), pytest.raises(BistillError, match="more than the Hub takes"):
        add_task(REPO, "pos", pos, **options)
    with pytest.MonkeyPatch.context() as patch:
        forbid_training(patch)
        done = add_task(REPO, "pos", pos, **options)
    assert hub.commits(REPO)[0].oid == before
    return SimpleNamespace(done=done, before=before, output=output)


@pytest.fixture(scope="module")
def merged(hub, added):
    client(hub, "alice").merge_pull_request(REPO, 1)
    return hub


def test_the_pull_request_holds_the_task_and_the_card_and_nothing_else(hub, added, pair):
    before, after = hub.files(REPO, added.before), hub.files(REPO, "refs/pr/1")
    differing = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    own = {"tasks/pos/delta.safetensors", "tasks/pos/results.json"}
    assert differing == own | {"README.md", "card.json", "assets/losses.png", "assets/retention.png"}
    assert own.isdisjoint(before)
    assert {change.path for change in added.done.changes} == differing
    assert {path for path in before if path not in after} == set()
    for path in ("config.json", "model.safetensors", "recipe.json", "tasks/ner/delta.safetensors"):
        assert after[path] == (pair / path).read_bytes()


def test_the_pull_request_is_bobs_and_tells_scores_data_and_settings(hub, added, pos):
    request = hub.repositories[REPO].discussions[1]
    assert (request.title, request.author) == ("Add the task pos to en-sw", "bob")
    assert added.done.published.pull_request == f"{hub.endpoint}/{REPO}/discussions/1"
    assert added.done.published.commit == hub.commits(REPO, "refs/pr/1")[0].oid
    text = request.events[0]["data"]["latest"]["raw"]
    by_model = {(one.model, one.role): one for one in added.done.results}
    for role, name in (("source", "test.en.conll"), ("target", "test.sw.conll")):
        (row,) = [line for line in text.splitlines() if line.startswith("|") and name in line]
        for model in ("teacher", "student"):
            assert f"| {100 * by_model[model, role].score:.1f} (" in row
    for part in (
        "- train: train.conll\n",
        "pos phase 2",
        "density 0.08",
        "at most 48 sub-words",
        "torch ",
        "task='pos'",
    ):
        assert part in text, part
    assert str(pos["train"].parent) not in text
    assert str(added.output) not in text


def test_the_card_keeps_what_people_wrote_and_names_the_task_and_how_it_was_added(hub, added, teacher):
    text, before = hub.read(REPO, "README.md", "refs/pr/1").decode(), hub.read(REPO, "README.md", added.before).decode()
    assert f"\n{HUMAN}\n" in text
    assert 'task="pos"' in text
    assert 'task="pos"' not in before
    facts = read_facts(added.done.folder)
    assert [(r.task, r.model, r.role) for r in facts.results if r.task == "pos"] == [
        ("pos", model, role) for role in ("source", "target") for model in ("teacher", "student", "trimmed_teacher")
    ]
    names = [row["name"] for row in facts.training["stages"]]
    assert names[-3:] == ["pos teacher", "pos phase 2", "pos evaluation"]
    assert [curve.name for curve in facts.curves] == ["phase 1", "ner", "pos"]
    described = facts.tasks["pos"]["added"]
    assert described["recipe"]["max_length"] == 48
    assert described["recipe"]["train"]["path"] == "train.conll"
    assert described["command"].startswith(f"bistill add-task {REPO} --task pos --data train=train.conll")
    assert teacher not in json.dumps(described)


def test_after_the_merge_the_evaluated_model_is_loaded_by_its_name_from_a_cold_cache(merged, added, pair, tmp_path):
    model = AutoModelForTokenClassification.from_pretrained(REPO, task="pos", cache_dir=tmp_path / "cache")
    evaluated = {one.weights_sha256 for one in added.done.results if one.model == "student"}
    assert evaluated == {state_sha256(model.state_dict())}
    assert set(model.config.id2label.values()) == {"NOUN", "PROPN", "PUNCT", "X"}
    options = {"": {}, "ner": {"task": "ner"}}
    for task in options.values():
        found = AutoModelForTokenClassification.from_pretrained(REPO, cache_dir=tmp_path / "cache", **task)
        expected = AutoModelForTokenClassification.from_pretrained(pair, task="ner")
        assert state_sha256(found.state_dict()) == state_sha256(expected.state_dict())


def test_after_the_merge_the_pair_has_no_findings_and_the_task_is_not_added_twice(merged, pos, teacher, tmp_path):
    assert check_pair(REPO).findings == ()
    with nothing_changes(merged), pytest.raises(InputError, match=r"task = 'pos': the pair has this task already"):
        add_task(REPO, "pos", pos, output_dir=tmp_path, teacher=teacher)


def test_the_same_call_again_trains_nothing_and_finds_the_pull_request_or_makes_one_for_what_has_changed(
    hub, added, pos, teacher, nothing_is_trained, unchecked, monkeypatch
):
    options = {"output_dir": added.output, "teacher": teacher, "settings": TINY, "progress": False}
    monkeypatch.setattr(hub.repositories[REPO].discussions[1], "status", "open")
    monkeypatch.setitem(hub.repositories[REPO].refs, "refs/heads/main", added.before)  # as it was before the merge
    with nothing_changes(hub):
        again = add_task(REPO, "pos", pos, **options)
    assert (again.published.commit, again.published.pull_request) == (None, added.done.published.pull_request)
    assert again.results == added.done.results
    edited = hub.read(REPO, "README.md").decode().replace(HUMAN, "Somebody else's words.")
    hub.commit(REPO, {"README.md": edited.encode()})
    moved = add_task(REPO, "pos", pos, **options)
    ours = {path: hub.read(REPO, path, "refs/pr/1") for path in ("card.json", "tasks/pos/delta.safetensors")}
    request = moved.published.pull_request.rpartition("/")[2]
    assert request != "1"
    assert {path: hub.read(REPO, path, f"refs/pr/{request}") for path in ours} == ours
    expected = hub.read(REPO, "README.md", "refs/pr/1").decode().replace(HUMAN, "Somebody else's words.")
    assert hub.read(REPO, "README.md", f"refs/pr/{request}").decode() == expected
    assert hub.repositories[REPO].conflicts(hub.repositories[REPO].discussions[int(request)]) == []


def test_without_pushing_the_command_prints_what_would_be_sent(
    hub, added, pos, teacher, nothing_is_trained, unchecked, monkeypatch
):
    words = ["--no-push", "--quiet", "-o", added.output, "--revision", added.before, "--teacher", teacher]
    for name, file in pos.items():
        words += ["--data", f"{name}={file}"]
    for name, value in TINY.items():
        words += ["--set", f"{name}={value}"]
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HF_TOKEN")
    sent = len(hub.journal.exchanges)
    with nothing_changes(hub):
        result = invoke(REPO, "--task", "pos", *words)
    assert result.exit_code == 0, (result.output, result.exception)
    assert {exchange.method for exchange in hub.journal.exchanges[sent:]} <= {"GET", "HEAD"}
    for change in added.done.changes:
        assert f"  {change.kind} {change.path} (" in result.stdout
    student = next(one for one in added.done.results if (one.model, one.role) == ("student", "target"))
    assert any("sw (target)" in line and f"{100 * student.score:.1f}" in line for line in result.stdout.splitlines())
    assert result.stdout.splitlines()[-1] == "Nothing was published."


def invoke(*words):
    group = type(main)("bistill", commands=[add_task_command])
    return CliRunner().invoke(group, ["add-task", *map(str, words)])


@pytest.mark.parametrize("backbone", ["bert", "xlm-roberta"])
def test_the_tokens_of_a_pair_are_found_in_its_teacher_as_the_run_chose_them(backbone, runs, tiny_teacher_dirs, ner):
    pair = runs[backbone].repository
    task = {"name": "ner", **{name: str(file) for name, file in ner.items()}}
    recipe = published_recipe(pair, task, teacher=str(tiny_teacher_dirs[backbone]))
    found = check_teacher(pair, recipe, read_facts(pair))
    expected = load_file(pair.parent.parent / "phase-1" / "token_map.safetensors")["token_map"]
    assert torch.equal(found, expected)


def test_the_teacher_is_the_one_that_the_pair_names_unless_another_is_asked_for(pair, ner, tmp_path):
    copy = shutil.copytree(pair, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "teacher": "org/teacher", "teacher_revision": "v1"}))
    task = {"name": "ner", **{name: str(file) for name, file in ner.items()}}
    for name, expected in (
        (None, ("org/teacher", "v1")),
        ("org/teacher", ("org/teacher", "v1")),
        ("x/y", ("x/y", None)),
    ):
        teacher = published_recipe(copy, task, teacher=name).teacher
        assert (teacher.model, teacher.revision) == expected
    assert published_recipe(copy, task).baselines == ("trimmed_teacher",)


@pytest.mark.parametrize(
    ("language_deltas", "teacher", "refused"),
    [
        ({"en": "en.safetensors"}, {"delta": "org/delta"}, True),
        ({"en": "en.safetensors"}, {}, True),
        ({"en": "org/en-delta", "sw": "sw"}, {}, True),
        ({"en": "org/en-delta", "sw": "legacy:org/sw-delta"}, {"delta": "org/delta"}, False),
        ({"en": "en.safetensors"}, {"model": "org/tuned"}, False),
    ],
)
def test_a_teacher_with_an_unpublished_language_delta_is_refused(
    pair, ner, tmp_path, language_deltas, teacher, refused
):
    copy = shutil.copytree(pair, tmp_path / "copy")
    recipe = json.loads((copy / "recipe.json").read_text())
    recipe["teacher"]["language_deltas"] = language_deltas
    (copy / "recipe.json").write_text(json.dumps(recipe))
    task = {"name": "ner", "teacher": teacher, **{name: str(file) for name, file in ner.items()}}
    with pytest.raises(InputError, match="has no public name") if refused else nullcontext():
        check_delta_of_language(published_recipe(copy, task, teacher="x/y"))


def test_a_task_that_is_interrupted_and_replaced_is_the_one_that_a_run_trains(
    runs, pair, ner, teacher, tmp_path, unchecked, monkeypatch
):
    run, output = runs["bert"].repository.parent.parent, tmp_path / "output"
    step = ExactAveragingTrainer.training_step
    options = {"output_dir": output, "teacher": teacher, "settings": AS_IN_THE_RUN, "progress": False}
    for place, steps in (("ner-teacher", 20), ("ner-phase-2/training/sparse", 30)):
        left = [steps]

        def interrupted(self, *args, left=left, place=place, **kwargs):
            left[0] -= place in str(self.args.output_dir)
            if left[0] < 0:
                raise KeyboardInterrupt
            return step(self, *args, **kwargs)

        monkeypatch.setattr(ExactAveragingTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add_task(pair, "ner", ner, replace=True, **options)
    trained = []

    def counted(self, *args, **kwargs):
        trained.append(str(self.args.output_dir).removeprefix(f"{output}/"))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ExactAveragingTrainer, "training_step", counted)
    done = add_task(pair, "ner", ner, replace=True, **options)
    assert set(trained) == {"ner-phase-2/training/sparse"}
    assert len(trained) == 25  # the second of two passes over 200 examples
    assert done.published is None
    assert (done.folder / "tasks/ner/delta.safetensors").read_bytes() == (
        pair / "tasks/ner/delta.safetensors"
    ).read_bytes()
    assert (output / "ner-teacher/model.safetensors").read_bytes() == (
        run / "ner-teacher/model.safetensors"
    ).read_bytes()
    scored = [one for one in read_results(pair / "tasks/ner/results.json") if one.model in ("teacher", "student")]
    assert [one for one in done.results if one.model in ("teacher", "student")] == scored
    assert [curve.name for curve in read_facts(done.folder).curves] == ["phase 1", "ner"]
    names = [row["name"] for row in read_facts(done.folder).training["stages"]]
    assert len(names) == len(set(names))


def refusal(pair, task, data, folder, **options):
    with pytest.raises(InputError) as raised:
        add_task(pair, task, data, output_dir=folder / "output", progress=False, **options)
    return str(raised.value)


def test_bad_input_is_refused_before_anything_is_trained(
    pair, pos, teacher, tmp_path, tiny_teacher_dirs, nothing_is_trained, unchecked
):
    def said(data=pos, task="pos", place=pair, **options):
        return refusal(place, task, data, tmp_path, **{"teacher": teacher, "settings": TINY, **options})

    assert "there is no such task" in said(task="poetry")
    assert "data = 'test_target'" in said({name: file for name, file in pos.items() if name != "test_target"})
    assert "choose from train, validation" in said({**pos, "tests": "x"}).lower()
    assert "tasks.pos.train" in said({**pos, "train": tmp_path / "nowhere.conll"})
    without = {name: file for name, file in pos.items() if name != "train"}
    assert "tasks.pos.train.split" in said(without, settings={**TINY, "train.dataset": "org/tagged"})
    assert "tasks.pos.teacher.epochz" in said(settings={"teacher.epochz": 3})
    assert "tasks.pos.max_length = 5000" in said(settings={"max_length": 5000})
    assert "has this task already" in said(task="ner")
    assert "the pair does not have this task; it has ner" in said(replace=True)
    assert "the pair's teacher has no public name" in said(teacher=None)
    assert "model_type = 'xlm-roberta': this is not the pair's teacher" in said(
        teacher=str(tiny_teacher_dirs["xlm-roberta"])
    )
    assert "no pair that a task can be added to" in said(place=tmp_path)
    tags = miniature.write_conll(tmp_path / "tags.conll", [[("Juma", "PROPN"), ("runs", "VERB")]])
    assert "a label that the training data lack" in said({**pos, "test_target": tags})
    names = miniature.write_conll(tmp_path / "names.conll", [[("Juma", "B-PER"), ("runs", "O")]])
    assert "B-PER" in said({**pos, "validation": names})
    words = [[(word, "NOUN") for word in ["ሰላም", "ለዓለም", "ሁሉ", "ይሁን", "እንጂ", "ጊዜው", "አልፏል"]]]
    foreign = miniature.write_conll(tmp_path / "am.conll", words)
    text = said({**pos, "test_target": foreign})
    assert "am.conll: tasks.pos.test_target" in text
    assert text.endswith("Name data in Swahili.")


def test_text_of_the_target_language_is_looked_at_before_anything_is_trained(
    pair, pos, teacher, tmp_path, nothing_is_trained, unchecked
):
    def said(target_text, place=pair, **settings):
        options = {"teacher": teacher, "settings": {**TINY, **settings}, "target_text": target_text}
        return refusal(place, "pos", pos, tmp_path, **options)

    half = {"distillation.target_share": 0.5}
    foreign = tmp_path / "am.txt"
    foreign.write_text("ሰላም ለዓለም ሁሉ ይሁን እንጂ ጊዜው አልፏል\n", encoding="utf-8")
    assert "no share of this text would be read" in said(foreign)
    assert "target_text = 'sw.txt': the text that the pair was taught on is not here" in said(None, **half)
    assert "target_text = " in (text := said(tmp_path / "nowhere.txt", **half))
    assert "no such file" in text
    text = said(foreign, **half)
    assert "am.txt: target.text" in text
    assert text.endswith("Name data in Swahili.")
    copy = shutil.copytree(pair, tmp_path / "copy")
    recipe = json.loads((copy / "recipe.json").read_text())
    recipe["teacher"]["language_deltas"] = {"en": "org/en-delta", "sw": "org/sw-delta"}
    (copy / "recipe.json").write_text(json.dumps(recipe))
    assert "the task teacher wears the source language's SFT" in said(foreign, place=copy, **half)


def test_a_file_that_is_called_as_the_pair_s_text_is_read_only_if_it_is_that_text(
    pair, pos, teacher, text_files, tmp_path, monkeypatch, nothing_is_trained, unchecked
):
    monkeypatch.chdir(tmp_path)
    options = {"teacher": teacher, "settings": {**TINY, "distillation.target_share": 0.5}}
    Path("sw.txt").write_text("Habari yako, rafiki yangu.\n", encoding="utf-8")
    said = refusal(pair, "pos", pos, tmp_path, **options)
    assert "target_text = 'sw.txt': the text that the pair was taught on is not here" in said
    shutil.copyfile(text_files["sw"], "sw.txt")
    with pytest.raises(AssertionError, match="it trains"):
        add_task(pair, "pos", pos, output_dir=tmp_path / "out", progress=False, **options)


def test_a_task_is_added_that_was_learnt_on_text_of_the_target_language_too(pair, pos, teacher, tmp_path, unchecked):
    text = tmp_path / "sw.txt"
    lines = [" ".join(token for token, _ in sentence) for sentence in miniature.sentences("sw", 90, seed=6)]
    text.write_text("\n".join(lines), encoding="utf-8")
    settings = {**TINY, "distillation.target_share": 0.5}
    options = {"output_dir": tmp_path / "out", "teacher": teacher, "settings": settings, "progress": False}
    done = add_task(pair, "pos", pos, target_text=text, **options)
    facts = read_facts(done.folder)
    assert facts.training["labelled"]["pos"]["unlabelled"] == "60 inputs of Swahili text, sw.txt"
    command = facts.tasks["pos"]["added"]["command"]
    assert " --target-text sw.txt " in command
    assert " --set distillation.target_share=0.5" in command
    assert str(tmp_path) not in json.dumps(facts.tasks)


def test_other_labels_are_refused_for_a_task_that_the_configuration_lists(
    pair, teacher, tmp_path, nothing_is_trained, unchecked
):
    tagged = [[("Juma", "B-PER"), ("lives", "O"), ("here", "O")]]
    file = miniature.write_conll(tmp_path / "ner.conll", tagged)
    data = dict.fromkeys(("train", "validation", "test_source", "test_target"), file)
    assert "config.json lists the task with the labels" in refusal(
        pair, "ner", data, tmp_path, teacher=teacher, settings=TINY, replace=True
    )


def test_a_teacher_with_other_tokens_is_not_the_pairs(pair, pos, teacher, tmp_path, nothing_is_trained, unchecked):
    folder = shutil.copytree(teacher, tmp_path / "teacher")
    definition = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = definition["model"]["vocab"]
    kept = json.loads((pair / "tokenizer.json").read_text())["model"]["vocab"]
    one, other = [token for token in kept if token.isalpha()][:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    options = {"teacher": str(folder), "settings": TINY}
    assert "the pair's tokens in another order" in refusal(pair, "pos", pos, tmp_path, **options)
    vocabulary["unheard-of"] = vocabulary.pop(one)
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    assert f"tokenizer = {one!r}: this is not the pair's teacher: it lacks 1 of" in refusal(
        pair, "pos", pos, tmp_path, **options
    )


def test_a_pair_that_was_tampered_with_is_refused_with_its_findings(pair, pos, teacher, tmp_path, nothing_is_trained):
    copy = shutil.copytree(pair, tmp_path / "copy")
    state = load_file(copy / "model.safetensors")
    state[min(state)] += 1
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    text = refusal(copy, "pos", pos, tmp_path, teacher=teacher, settings=TINY)
    assert "the pair has to be mended before a task is added to it" in text
    assert "model.safetensors: its weights have the hash" in text


def test_the_delta_of_a_new_task_names_the_base_that_it_was_made_for(added, pair):
    delta = SparseDelta.load(added.done.folder / "tasks/pos/delta.safetensors")
    assert delta.metadata["task"] == "pos"
    assert delta.metadata["base_sha256"] == state_sha256(load_file(pair / "model.safetensors"))


def test_who_cannot_publish_is_told_before_the_pair_is_fetched(hub, pair, pos, tmp_path, monkeypatch):
    hub.create("alice/other", {"config.json": b"{}"})
    before = hub.state()
    assert "has none of this name" in refusal("alice/other", "pos", pos, tmp_path, revision="v9")
    assert "no pair that a task can be added to" in refusal("alice/other", "pos", pos, tmp_path)
    assert "no such repository" in refusal("alice/nowhere", "pos", pos, tmp_path)
    monkeypatch.delenv("HF_TOKEN")
    assert "log" in refusal("alice/other", "pos", pos, tmp_path).lower()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "offline mode" in refusal("alice/other", "pos", pos, tmp_path)
    assert hub.state() == before


def test_bad_input_ends_the_command_with_one_sentence(pair, tmp_path):
    for words, part in (
        (["--data", "train"], "--data = 'train'"),
        (["--data", "train=a", "--data", "train=b"], "given twice"),
        (["--set", "teacher.epochs"], "not an assignment"),
        (["--data", "train=a"], "data = 'validation'"),
    ):
        result = invoke(pair, "--task", "pos", "-o", tmp_path, *words)
        assert result.exit_code == 2, (result.output, result.exception)
        assert "Traceback" not in result.output
        assert part in result.stderr, result.stderr
