"""`bistill new-pair` writes a recipe that loads, plans and runs, out of flags or answers, and says what is missing."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hubserver import wire
from hubserver.visitor import own, serving

from bistill_hub import cli
from bistill_hub.cli import new_pair as module
from bistill_hub.errors import InputError
from bistill_hub.hub import push
from bistill_hub.hub.check_card import SMOKE_RUN
from bistill_hub.pipeline.plan import plan
from bistill_hub.pipeline.run import default_output
from bistill_hub.recipe import load_recipe

WIKIPEDIAS = ("en", "yo")
DATASETS = {"language:yo": ["masakhane/news", "some/yoruba"], "language:en": []}


def invoke(*words, **options):
    return CliRunner().invoke(cli.main, ["new-pair", *map(str, words)], **options)


@pytest.fixture
def place(text_files, ner_files, tmp_path, monkeypatch):
    """A working folder with a contributor's files; the words that name them are relative to it."""
    files = {"en.txt": text_files["en"], "yo.txt": text_files["sw"]}
    files |= {f"{split}.en.conll": ner_files["en"][split] for split in ("train", "dev", "test")}
    files["test.yo.conll"] = ner_files["sw"]["test"]
    for name, file in files.items():
        (tmp_path / name).write_bytes(Path(file).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


LABELS = (
    *("--train", "ner=train.en.conll", "--validation", "ner=dev.en.conll"),
    *("--test-source", "ner=test.en.conll", "--test-target", "ner=test.yo.conll"),
)
WORDS = ("en", "yo", "--source-text", "en.txt", "--target-text", "yo.txt", *LABELS, "--license", "apache-2.0")


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    for part in parts:
        assert part in result.stderr
    assert not os.path.exists("en_yo.py"), "nothing is written"


def test_the_recipe_is_short_loads_anywhere_and_names_files_relative_to_itself(place, monkeypatch):
    result = invoke(*WORDS, "--offline")
    assert result.exit_code == 0, result.output
    text = Path("en_yo.py").read_text()
    assert len([line for line in text.partition("RECIPE = ")[2].partition("\n)\n")[0].splitlines() if line]) <= 30
    monkeypatch.chdir("/")
    recipe = load_recipe(place / "en_yo.py")
    assert recipe.name == "bistill-en-yo-mine"
    assert recipe.license == "apache-2.0"
    assert [(each.code, each.name) for each in recipe.languages] == [("en", "English"), ("yo", "Yoruba")]
    for source in (recipe.source.text, recipe.target.text, *recipe.tasks[0].sources.values()):
        assert source.file.is_file()
        assert source.path.startswith(str(place))
    assert any(fact.startswith("license:") for fact in recipe.unverified)


def test_what_the_files_hold_and_what_comes_next_is_told(place):
    result = invoke(*WORDS, "--offline", "-o", "mine")
    for line in (
        "The Hub is not asked.",
        "source.text: en.txt: plain text, 400 lines",
        "tasks.ner.train: train.en.conll: CoNLL columns, 200 examples; labels O, B-LOC, I-LOC, ",
    ):
        assert line in result.stdout, result.stdout
    commands = [line.split("  #")[0].strip() for line in result.stdout.partition("Next:\n")[2].splitlines()]
    assert commands == [
        "bistill plan mine/en_yo.py",
        "bistill run mine/en_yo.py --smoke",
        "bistill run mine/en_yo.py",
        "bistill check runs/bistill-en-yo-mine/package/repository",
        "bistill push runs/bistill-en-yo-mine/package/repository ORG/bistill-en-yo-mine --create-pr",
    ]


def test_test_sentences_that_the_text_holds_are_told(place):
    words = ["Ọjọ́", "kan", "ni", "Ìbàdàn", "rí", "."]
    Path("test.yo.conll").write_text("".join(f"{word}\tO\n" for word in words) + "\nÓ\tO\ndára\tO\n.\tO\n")
    Path("yo.txt").write_text("Ó dára.\nỌjọ́ kan ni Ìbàdàn.\n")
    told = "tasks.ner.test_target: test.yo.conll: CoNLL columns, 2 examples; labels O; yo.txt holds "
    assert f"{told}none of them\n" in invoke(*WORDS, "--offline").stdout, "three words are common property"
    Path("yo.txt").write_text("Ó dára.\nỌJỌ́ KAN NI ÌBÀDÀN RÍ.\n")
    result = invoke(*WORDS, "--offline", "--overwrite")
    assert f"{told}1 of them: remove them there\n" in result.stdout, result.output
    assert result.exit_code == 0


def test_a_test_set_that_is_a_copy_of_the_training_file_is_refused_and_one_for_validation_and_test_is_not(place):
    Path("copy.conll").write_bytes(Path("train.en.conll").read_bytes())
    copied = [{"ner=test.yo.conll": "ner=copy.conll"}.get(word, word) for word in WORDS]
    refused(
        invoke(*copied, "--offline"),
        "--test-target ner = 'copy.conll': its content is that of the training file, train.en.conll",
    )
    shared = [{"ner=dev.en.conll": "ner=test.en.conll"}.get(word, word) for word in WORDS]
    assert invoke(*shared, "--offline").exit_code == 0


def test_a_pair_is_called_otherwise_than_a_shipped_recipe_unless_it_is_named(place):
    result = invoke(*WORDS, "--offline")
    said = "A recipe that ships with the package is called bistill-en-yo: this pair is called bistill-en-yo-mine\n"
    assert said in result.stdout, result.output
    assert default_output(load_recipe(Path("en_yo.py"))) != default_output(load_recipe("en_yo"))
    assert said not in invoke(*WORDS, "--offline", "--overwrite", "--name", "bistill-en-yo").stdout
    assert load_recipe(Path("en_yo.py")).name == "bistill-en-yo"
    assert invoke("en", "cy", *WORDS[2:], "--offline").exit_code == 0
    assert load_recipe(Path("en_cy.py")).name == "bistill-en-cy"


NO_FOLDER = "there is no such folder here, so it is taken as a Hub id, "


@pytest.mark.parametrize("asked", [False, True])
def test_a_mistyped_teacher_is_told_with_the_folder_that_is_spelt_like_it(place, tiny_teacher_dirs, monkeypatch, asked):
    shutil.copytree(tiny_teacher_dirs["bert"], "teacher")
    (place / "teach").mkdir()
    monkeypatch.setattr(module, "_on_terminal", lambda: asked)
    result = invoke(*WORDS, *([] if asked else ["--teacher", "teachr"]), "--offline", input="teachr\ny\n")
    assert result.exit_code == 0, "it may be a Hub id"
    said = f"Teacher: teachr: {NO_FOLDER}which was not looked up; did you mean ./teacher?\n"
    assert said in result.stdout, result.output
    planned = CliRunner().invoke(cli.main, ["plan", "en_yo.py", "--no-trial"])
    assert said in planned.stdout, planned.output
    right = invoke(*WORDS, "--teacher", "teacher", "--offline", "--overwrite", "--yes")
    assert "Teacher: " not in right.stdout


def test_absolute_paths_and_variables_stay_as_they_were_given(place, monkeypatch):
    monkeypatch.setenv("TEXTS", str(place))
    words = [str(place / "en.txt") if word == "en.txt" else word for word in WORDS]
    words = ["$TEXTS/yo.txt" if word == "yo.txt" else word for word in words]
    assert invoke(*words, "--offline").exit_code == 0
    recipe = load_recipe(Path("en_yo.py"))
    assert (recipe.source.text.path, recipe.target.text.path) == (str(place / "en.txt"), "$TEXTS/yo.txt")


def test_everything_that_is_missing_is_named_at_once(place):
    refused(
        invoke("en", "sr-Latn", "--tasks", "pos", "--offline"),
        "--target-name, --source-text, --target-text, --train pos=FILE, --validation pos=FILE, ",
        "--test-source pos=FILE, --test-target pos=FILE, --license",
    )


def test_without_a_network_it_says_so_and_goes_on(place):
    result = invoke(*WORDS)
    assert result.exit_code == 0
    assert "The Hub could not be asked (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)" in result.stdout


def test_files_that_are_there_are_not_overwritten(place):
    assert invoke(*WORDS, "--offline").exit_code == 0
    Path("en_yo.card.md").write_text("Read by nobody else.\n")
    again = invoke(*WORDS, "--offline", "--name", "other")
    assert again.exit_code == 2
    assert "en_yo.py: there is such a file already" in again.stderr
    assert invoke(*WORDS, "--offline", "--name", "other", "--overwrite").exit_code == 0
    recipe = load_recipe(Path("en_yo.py"))
    assert (recipe.name, recipe.limits) == ("other", "Read by nobody else.\n"), "what people wrote stays"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"en.txt": "train.en.conll"}, ("most of its lines hold TABs", "Name plain text")),
        ({"en.txt": "no.txt"}, ("--source-text = 'no.txt': there is no such file",)),
        ({"ner=train.en.conll": "ner=en.txt"}, ("en.txt", "column")),
        ({"ner=test.yo.conll": "ner=masakhanre"}, ("neither a file nor a benchmark", "masakhaner2")),
        ({"ner=test.yo.conll": "ner=xnli"}, ("xnli has no such language", "yo")),
        (
            {"ner=test.en.conll": "ner=./train.en.conll"},
            ("--test-source ner = './train.en.conll': this is",),
        ),
        ({"ner=test.yo.conll": "ner=train.en.conll"}, ("--test-target ner = ", "Name a held-out file")),
        ({"ner=dev.en.conll": "ner=train.en.conll"}, ("--validation ner = ", "Name a held-out file")),
        ({"ner=train.en.conll": "train.en.conll"}, ("--train = 'train.en.conll': not of the form TASK=FILE",)),
        ({"ner=train.en.conll": "nre=train.en.conll"}, ("there is no such task", "'nre'")),
        ({"apache-2.0": "apache"}, ("license = 'apache': no licence identifier of the Hub",)),
        ({"apache-2.0": "apache-2.0 --name a/b"}, ("--name = 'a/b': not the name of a pair",)),
        ({"yo": "en"}, ("TARGET = 'en': this is the source language",)),
        ({"yo": "Yoruba"}, ("TARGET = 'Yoruba': not a language code",)),
        ({"yo": "xx"}, ("target.code = 'xx': no ISO 639 code. Give one, such as yo",)),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_written(place, changes, said):
    words = [part for word in WORDS for part in changes.get(word, word).split(" ")]
    refused(invoke(*words, "--offline"), *said)


def test_types_of_names_that_training_lacks_are_read_as_none(place):
    file = Path("test.yo.conll")
    file.write_text(file.read_text() + "\nLagos\tB-LOC\n2020\tB-DATE\nApril\tI-DATE\n")
    result = invoke(*WORDS, "--offline")
    assert "DATE is read as O, for training has no such label" in result.stdout, result.output
    test = load_recipe(Path("en_yo.py")).tasks[0].test_target
    assert dict(test.label_map) == {"DATE": "O"}
    lost = "tasks.ner.test_target: DATE is read as O, for training has no such label"
    assert lost in load_recipe(Path("en_yo.py")).unverified, "who reads the plan learns of it too"
    assert test.file.is_file()


def test_on_a_terminal_it_asks_again_until_an_answer_is_right(place, monkeypatch):
    monkeypatch.setattr(module, "_on_terminal", lambda: True)
    labels = [word.partition("=")[2] for word in LABELS[1::2]]
    answers = ["", "no.txt", "en.txt", "yo.txt", "NER", "ner", *labels, "apache", "mit", "y"]
    result = invoke("en", "yo", "--offline", input="\n".join(answers) + "\n")
    assert result.exit_code == 0, result.output
    assert "Text in English: a file, wikipedia, or a Hub id as ORG/NAME:CONFIG" in result.output
    assert "Error: --source-text = 'no.txt': there is no such file" in result.output
    assert "'NER': there is no such task" in result.output
    assert "license = 'apache': no licence identifier of the Hub" in result.output
    recipe = load_recipe(Path("en_yo.py"))
    assert recipe.teacher.model == "google-bert/bert-base-multilingual-cased"
    assert recipe.license == "mit"
    assert recipe.tasks[0].train.name == "train.en.conll"


def test_nothing_is_written_where_the_last_answer_is_no(place, monkeypatch):
    monkeypatch.setattr(module, "_on_terminal", lambda: True)
    assert invoke(*WORDS, "--teacher", "some/teacher", "--offline", input="n\n").exit_code == 1
    assert not Path("en_yo.py").exists()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that has Wikipedias and data sets beside its models."""

    def tree(hub, request, namespace, name, revision):
        assert (namespace, name) == ("wikimedia", "wikipedia")
        assert len(revision) == 40
        entries = [{"type": "directory", "path": f"20231101.{code}", "oid": "0" * 40} for code in WIKIPEDIAS]
        return wire.Answer.json(entries)

    def listing(hub, request):
        found = DATASETS.get(request.value("filter"), [])
        return wire.Answer.json([{"_id": name, "id": name} for name in found])

    def unknown(hub, request, name):
        raise wire.Refusal(404, "Repository not found", code="RepoNotFound")

    added = [
        wire.Endpoint(method="GET", template=path, query=frozenset(query), takes_body=False, handler=handler)
        for path, query, handler in (
            ("/api/datasets/{namespace}/{name}/tree/{revision}", ("recursive", "expand"), tree),
            ("/api/models/{name}", (), unknown),
            ("/api/datasets", ("filter", "sort", "limit", "expand", "full"), listing),
        )
    ]
    monkeypatch.setattr(wire, "ENDPOINTS", [*wire.ENDPOINTS, *added])
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server


@pytest.mark.parametrize("tasks", ["none", "nli"])
def test_labels_of_a_task_that_is_not_chosen_are_refused_and_not_left_unread(place, tasks):
    refused(invoke(*WORDS, "--tasks", tasks, "--offline"), "--train = 'ner'", "--tasks does not name", "leave this out")


def test_a_wikipedia_that_the_hub_does_not_have_goes_into_no_recipe(place, hub):
    words = ("en", "bzd", "--source-text", "en.txt", "--target-text", "wikipedia", "--tasks", "none")
    result = invoke(*words, "--license", "mit")
    refused(result, "--target-text = 'wikipedia': wikimedia/wikipedia has no Wikipedia in bzd", "ORG/NAME:CONFIG")
    assert not os.path.exists("en_bzd.py")


def test_what_the_hub_has_is_told_and_goes_into_the_recipe(place, hub):
    for code in ("en", "yor"):
        hub.create(f"cambridgeltl/mbert-lang-sft-{code}-small", {"README.md": b"x"})
    hub.create("lab/en-yo", {"README.md": b"---\ntags: [bistill, pair:en-yo]\n---\n"})
    result = invoke("en", "yo", *LABELS, "--license", "apache-2.0")
    assert result.exit_code == 0, result.output
    for line in (
        "yo: wikimedia/wikipedia has a Wikipedia in this language",
        "yo: data sets on the Hub: masakhane/news, some/yoruba",
        "en: data sets on the Hub: none is tagged with this language",
        "yo: language SFT for this teacher: legacy:cambridgeltl/mbert-lang-sft-yor-small",
        "A pair of these languages is published: lab/en-yo",
        "ner: known test sets in yo: masakhaner2, masakhaner, wikiann",
    ):
        assert line in result.stdout, result.stdout
    recipe = load_recipe(Path("en_yo.py"))
    assert dict(recipe.teacher.language_deltas) == {
        "en": "legacy:cambridgeltl/mbert-lang-sft-en-small",
        "yo": "legacy:cambridgeltl/mbert-lang-sft-yor-small",
    }
    assert recipe.target.text.config == "20231101.yo"
    assert any(fact.startswith("teacher.language_deltas: listed on the Hub") for fact in recipe.unverified)


def test_the_hub_is_asked_for_a_teacher_that_no_folder_has(place, hub, tiny_teacher_dirs):
    hub.create("lab/teacher", {"README.md": b"x"})
    shutil.copytree(tiny_teacher_dirs["bert"], "teacher")
    told = {}
    for name in ("lab/teacher", "lab/techer", "teachr", "no model's name", "teacher"):
        result = invoke(*WORDS, "--teacher", name, "--overwrite")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        told[name] = [line for line in lines if line.startswith(("Teacher: ", "The Hub could not"))]
    assert told == {
        "lab/teacher": [f"Teacher: lab/teacher: {NO_FOLDER}which the Hub has"],
        "lab/techer": [f"Teacher: lab/techer: {NO_FOLDER}but the Hub shows no such model"],
        "teachr": [f"Teacher: teachr: {NO_FOLDER}but the Hub shows no such model; did you mean ./teacher?"],
        "no model's name": [f"Teacher: no model's name: {NO_FOLDER}but the Hub shows no such model"],
        "teacher": [],
    }


def test_a_language_that_the_hub_lacks_needs_text_of_ones_own(place, hub):
    result = invoke("en", "bzd", "--tasks", "none", "--license", "mit")
    refused(result, "--target-text: these options are needed")
    assert "bzd: wikimedia/wikipedia has no Wikipedia in this language" in result.stdout
    assert "bzd: language SFT for this teacher: none" in result.stdout


def test_benchmarks_stand_in_for_files_in_english(place):
    words = ("en", "yo", "--source-text", "wikipedia", "--target-text", "some/texts:yo", "--tasks", "ner,qa")
    refused(invoke(*words, "--license", "mit", "--offline"), "--test-target qa=FILE: these options")
    result = invoke(*words, "--test-target", "qa=qa.json", "--license", "mit", "--offline")
    refused(result, "--test-target qa=FILE = 'qa.json': there is no such file")
    result = invoke(*words[:-1], "ner", "--license", "mit", "--offline")
    assert result.exit_code == 0, result.output
    recipe = load_recipe(Path("en_yo.py"))
    (task,) = recipe.tasks
    assert [source.dataset for source in task.sources.values()] == [
        *["BramVanroy/universal_ner"] * 3,
        "masakhane/masakhaner2",
    ]
    assert recipe.target.text.dataset == "some/texts"
    assert recipe.target.text.config == "yo"
    unsure = [fact.partition(":")[0] for fact in recipe.unverified]
    assert {"source.text", "target.text", "tasks.ner.test_target"} <= set(unsure)


def test_a_local_teachers_tokenizer_is_looked_at_and_the_class_that_rebuilds_it_named(place, tiny_teacher_dirs):
    result = invoke(*WORDS, "--teacher", tiny_teacher_dirs["xlm-roberta"], "--offline")
    assert result.exit_code == 0, result.output
    assert "teacher.tokenizer_not_by: XLMRobertaTokenizer, given '" in result.stdout
    assert "normalizer NFKC, of which it makes none; the recipe names it\n" in result.stdout
    recipe = load_recipe(Path("en_yo.py"))
    assert recipe.teacher.tokenizer_not_by == ("XLMRobertaTokenizer",)
    plan(recipe, "out", trial=False)


def test_from_two_text_files_to_a_smoke_run_that_says_what_it_is(place, tiny_teacher_dirs, monkeypatch, tmp_path):
    result = invoke(*WORDS, "--teacher", tiny_teacher_dirs["bert"], "--offline")
    assert "tokenizer_not_by" not in result.stdout + Path("en_yo.py").read_text()
    assert result.exit_code == 0, result.output
    planned = CliRunner().invoke(cli.main, ["plan", "en_yo.py", "--no-trial", "--json"])
    assert planned.exit_code == 0, planned.output
    assert [stage["slug"] for stage in json.loads(planned.stdout)["stages"]][-1] == "package"
    ran = CliRunner().invoke(cli.main, ["run", "en_yo.py", "--smoke", "--quiet", "--set", "speed.seconds=0"])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    assert "Scores of a smoke run" in ran.stdout
    pair = Path("runs/bistill-en-yo-mine-smoke/package/repository")
    assert "**Smoke run: " in (pair / "README.md").read_text()
    assert "model-index" not in (pair / "README.md").read_text()
    scores = json.loads((pair / "tasks/ner/results.json").read_text())["results"]
    assert {(score["smoke"], score["n"], score["subset"]) for score in scores} == {(True, 50, "the first 100")}
    checked = CliRunner().invoke(cli.main, ["check", str(pair), "--quiet", "--json"])
    assert checked.exit_code == 1
    findings = json.loads(checked.stdout)["findings"]
    assert [finding["file"] for finding in findings] == ["recipe.json", "README.md"]
    assert findings[0]["problem"] == SMOKE_RUN.problem
    assert "4 places marked 'TODO:' are still to be filled in" in findings[1]["problem"]
    with serving(monkeypatch, tmp_path / "home") as hub:
        with pytest.raises(InputError, match=r"2 findings[^$]*smoke run"):
            push.plan_push(pair, "alice/pair")
        report = type("Report", (), {"findings": (SMOKE_RUN,)})
        monkeypatch.setattr(push, "check_pair", lambda folder: report)
        with pytest.raises(InputError, match="without --smoke"):
            push.plan_push(pair, "alice/pair")
        changes = push.plan_push(pair, "alice/pair", smoke=True)
        assert "model.safetensors" in own({change.path: change for change in changes})
        assert not hub.repositories
