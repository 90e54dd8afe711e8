"""Each pair of the paper has its recipe; those of a family differ in the pair alone; all are planned, and nothing more.

That loading one prints, writes and fetches nothing, and that its script metadata are right, is in tests/test_recipe.py.
"""

import ast
import json
import re
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bistill_hub import cli, families
from bistill_hub.errors import InputError
from bistill_hub.evaluation.benchmarks import BENCHMARKS
from bistill_hub.languages import other_code
from bistill_hub.pipeline.plan import plan
from bistill_hub.recipe import load_recipe
from bistill_hub.recipe_changes import parse_changes
from bistill_hub.resources import resource_dir
from bistill_hub.tasks import available_tasks

NAMES = sorted(file.stem for file in resource_dir("recipes").glob("[!_]*.py"))
RECIPES = {name: load_recipe(name) for name in NAMES}
every_recipe = pytest.mark.parametrize("name", NAMES)

# The paper's pairs by what its benchmarks call the target, and the recipe of each.
MASAKHANER = {
    "hau": "en_ha", "ibo": "en_ig", "kin": "en_rw", "lug": "en_lg", "luo": "en_luo", "pcm": "en_pcm",
    "swa": "en_sw_masakhaner", "wol": "en_wo", "yor": "en_yo",
}  # fmt: skip
AMERICAS_NLI = {
    "aym": "en_ay", "bzd": "en_bzd", "cni": "en_cni", "gn": "en_gn", "hch": "en_hch", "nah": "en_nah", "oto": "en_oto",
    "quy": "en_qu", "shp": "en_shp", "tar": "en_tar",
}  # fmt: skip
XNLI = {
    code: f"en_{code}_xnli"
    for code in ("ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
}
XQUAD = {code: f"en_{code}_xquad" for code in ("ar", "de", "el", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")}
MODERN = {code: f"en_{code}_mmbert" for code in ("ar", "de", "ha", "hi", "ig", "sw", "tr", "vi", "yo", "zh")}

FAMILIES = {
    "masakhaner": (list(MASAKHANER.values()), "google-bert/bert-base-multilingual-cased", "apache-2.0"),
    "xnli": ([*AMERICAS_NLI.values(), *XNLI.values()], "FacebookAI/xlm-roberta-base", "mit"),
    "xquad": (list(XQUAD.values()), "microsoft/mdeberta-v3-base", "mit"),
    "mmbert": (list(MODERN.values()), "jhu-clsp/mmBERT-base", "mit"),
}
WITHOUT_TEXT = ["en_bzd", "en_cni", "en_hch", "en_luo", "en_oto", "en_shp", "en_tar"]
TESTED = {**{name: ("masakhane/masakhaner", part) for part, name in MASAKHANER.items()},
          **{name: ("nala-cub/americas_nli", part) for part, name in AMERICAS_NLI.items()},
          **{name: ("facebook/xnli", part) for part, name in XNLI.items()},
          **{name: ("google/xquad", f"xquad.{part}") for part, name in XQUAD.items()}}  # fmt: skip

EPOCHS = {"ner": (3, 10), "nli": (5, 5), "qa": (2, 2)}
"""The paper's passes over the training data, dense and sparse."""


def script(name):
    return (resource_dir("recipes") / f"{name}.py").read_text(encoding="utf-8")


def test_every_pair_of_the_paper_and_of_the_modern_set_has_a_recipe_and_there_is_no_other():
    listed = [name for names, _, _ in FAMILIES.values() for name in names]
    assert sorted([*listed, "en_sw"]) == NAMES, "en_sw, with four tasks, is of no family"
    assert [len(names) for names, _, _ in FAMILIES.values()] == [9, 24, 11, 10]


@pytest.mark.parametrize("name", TESTED)
def test_it_is_tested_on_the_papers_benchmark_in_its_language(name):
    (task,) = RECIPES[name].tasks
    dataset, part = TESTED[name]
    assert (task.test_target.dataset, task.test_target.config or task.test_target.data_dir) == (dataset, part)


@every_recipe
def test_name_languages_text_and_sfts_are_of_one_pair(name):
    recipe = RECIPES[name]
    source, target = recipe.languages
    assert recipe.name == f"bistill-{name.replace('_', '-')}"
    assert name.split("_")[:2] == [source.code, target.code] == ["en", target.code]
    assert source.text.config == "20231101.en"
    assert (target.text.config or target.text.path) in (f"20231101.{target.code}", f"{target.code}.txt")
    codes = {target.code, other_code(target.code), *(["quy"] if target.code == "qu" else [])}
    deltas = dict(recipe.teacher.language_deltas)
    if deltas:
        kind = "xlmr" if "xlm" in recipe.teacher.model else "mbert"
        assert deltas.pop("en") == f"legacy:cambridgeltl/{kind}-lang-sft-en-small"
        assert deltas.pop(target.code) in {f"legacy:cambridgeltl/{kind}-lang-sft-{code}-small" for code in codes}
    assert deltas == {}
    for task in recipe.tasks:
        tested = task.test_target
        of_dataset = [each.languages for each in BENCHMARKS.values() if each.dataset == tested.dataset]
        parts = {part for each in of_dataset for code, part in each.items() if code in codes}
        part = tested.where.get("id", tested.data_dir or tested.config).rstrip("*")
        assert part in (parts or codes)  # tags of MasakhaPOS are no benchmark here


@every_recipe
def test_it_is_short_and_can_be_read_alone(name):
    text = script(name)
    body = text.split("# ///\n", 2)[1].partition('if __name__ == "__main__":')[0]
    assert len(body.strip().splitlines()) <= (90 if name == "en_sw" else 30), "four tasks take their room"
    assert f"`uv run recipes/{name}.py`" in body
    for stated in ("license=", "limits=", RECIPES[name].target.name, f'name="{RECIPES[name].name}"'):
        assert stated in body


@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_of_a_family_differ_in_the_pair_alone(family):
    names, teacher, license = FAMILIES[family]
    of_family = {}
    for name in names:
        values = RECIPES[name].model_dump()
        assert (values["teacher"]["model"], values["license"]) == (teacher, license)
        assert re.fullmatch(r"[0-9a-f]{40}", values["teacher"]["revision"])
        values["teacher"]["language_deltas"].pop(values["target"]["code"], None)
        for own in ("name", "target", "limits", "unverified"):
            values.pop(own)
        for task in values.pop("tasks"):
            task.pop("test_target")
            if family == "mmbert":
                task.pop("test_source")
            assert of_family.setdefault(task["name"], task) == task
        assert of_family.setdefault("", values) == values
    learnt = {"masakhaner": ["ner"], "xnli": ["nli"], "xquad": ["qa"], "mmbert": ["ner", "nli", "qa"]}
    assert sorted(of_family) == ["", *learnt[family]]


@pytest.mark.parametrize("name", MODERN.values())
def test_english_of_the_modern_set_is_tested_on_the_targets_benchmark_where_that_has_english(name):
    for task in RECIPES[name].tasks:
        target, english = task.test_target, task.test_source
        if task.name == "ner":
            assert (english.dataset, english.config, english.split) == ("BramVanroy/universal_ner", "en_ewt", "test")
        else:
            assert (english.dataset, english.split) == (target.dataset, target.split)
            assert (english.config, english.where.get("id")) in [
                ("en", None), ("xquad.en", None), ("secondary_task", "english-*"),
            ]  # fmt: skip


@every_recipe
def test_the_hyperparameters_are_the_papers(name):
    recipe = RECIPES[name]
    modern = name.endswith("_mmbert")
    assert recipe.student.layer_map_for(22 if modern else 12) == tuple(range(1, 22 if modern else 12, 2))
    assert recipe.student.min_token_probability == 1e-6
    phase_1 = recipe.bilingual
    assert (phase_1.steps, phase_1.batch_size, phase_1.block_size, phase_1.learning_rate) == (200_000, 8, 256, 1e-4)
    assert (phase_1.attention_weight, phase_1.hidden_weight, phase_1.evaluation_every) == (1, 1, 5_000)
    assert {phase_1.precision, phase_1.teacher_precision} == {"bf16" if modern else "fp32"}
    for task in recipe.tasks:
        phase_2 = task.distillation
        dense, sparse = EPOCHS["ner" if task.name == "pos" else task.name]
        assert (phase_2.density, phase_2.dense_epochs, phase_2.sparse_epochs) == (0.08, dense, sparse)
        assert (phase_2.batch_size, phase_2.learning_rate, phase_2.temperature) == (8, 5e-5, 2)
        assert phase_2.freeze_layer_norms == (task.name != "qa")


def test_the_pair_with_four_tasks_shares_what_its_family_declares():
    four, family = RECIPES["en_sw"], RECIPES["en_yo"]
    for name in ("source", "student", "bilingual"):
        assert getattr(four, name) == getattr(family, name)
    assert four.target == RECIPES["en_sw_masakhaner"].target
    assert (four.teacher.model, four.teacher.revision) == (family.teacher.model, family.teacher.revision)
    for name in ("train", "validation", "test_source", "distillation", "max_length"):
        assert getattr(four.tasks[0], name) == getattr(family.tasks[0], name)
    assert (four.tasks[2].distillation, four.tasks[2].max_length) == (
        families.NLI,
        RECIPES["en_sw_xnli"].tasks[0].max_length,
    )
    assert four.tasks[3].distillation == RECIPES["en_de_xquad"].tasks[0].distillation


def hub_ids(recipe):
    """All that a recipe names on the Hub, and the revision of each."""
    named = [(recipe.teacher.model, recipe.teacher.revision)]
    deltas = [*recipe.teacher.language_deltas.values(), *(task.teacher.delta or "" for task in recipe.tasks)]
    named += [delta.removeprefix("legacy:").partition("@")[::2] for delta in deltas]
    named += [(language.text.dataset, language.text.revision) for language in recipe.languages]
    for task in recipe.tasks:
        named += [(source.dataset, source.revision) for source in task.sources.values()]
        named.append((task.teacher.model, task.teacher.revision))
    return {(name, revision) for name, revision in named if name}


@every_recipe
def test_what_it_names_on_the_hub_is_pinned_by_a_commit_or_told_as_unverified(name):
    recipe = RECIPES[name]
    told = " ".join(recipe.unverified)
    loose = {place for place, revision in hub_ids(recipe) if not re.fullmatch(r"[0-9a-f]{40}", revision or "")}
    assert loose
    for place in loose:
        assert re.search(rf"(?<![\w/-]){re.escape(place)}(?![\w-])", told), place
    assert recipe.unverified[0] == families.NEVER_RUN
    assert len(set(recipe.unverified)) == len(recipe.unverified)


def test_a_commit_that_pins_a_data_set_is_not_told_as_lacking():
    recipe = RECIPES["en_ar_xquad"]

    def of_labels(tasks):
        facts = families.hub_facts(recipe.teacher, recipe.target, tasks)
        return [fact for fact in facts if fact.startswith("tasks.qa: ")]

    what = "layout, columns, labels and licence of rajpurkar/squad and google/xquad"
    told = f"tasks.qa: {what} were not looked at on the Hub"
    assert of_labels(recipe.tasks) == [f"{told}, and no commit pins them"]
    commits = {f"tasks.qa.{name}.revision": 40 * "a" for name in ("train", "validation")}
    assert of_labels(recipe.replace(commits).tasks) == [f"{told}, and no commit pins google/xquad"]
    commits |= {f"tasks.qa.{name}.revision": 40 * "b" for name in ("test_source", "test_target")}
    assert of_labels(recipe.replace(commits).tasks) == [told]


def test_the_task_sft_for_names_can_be_left_for_a_teacher_that_is_fine_tuned():
    changes = parse_changes(["tasks.ner.teacher.delta=null", "tasks.ner.teacher.delta_labels=[]"])
    (task,) = RECIPES["en_ha"].replace(changes).tasks
    assert (task.teacher.delta, task.teacher.delta_labels) == (None, ())


def test_a_commit_that_pins_an_sft_is_not_told_as_lacking():
    recipe = RECIPES["en_ha"]
    teacher = {
        "teacher.language_deltas.en": f"legacy:org/en@{40 * 'a'}",
        "tasks.ner.teacher.delta": f"legacy:org/ner@{40 * 'b'}",
    }
    pinned = recipe.replace(teacher)
    of_language, of_task = families.hub_facts(pinned.teacher, pinned.target, pinned.tasks)[3:6:2]
    assert of_language.startswith("teacher.language_deltas: org/en and cambridgeltl/mbert-lang-sft-hau-small, ")
    assert of_language.endswith("no licence is known, and no commit pins cambridgeltl/mbert-lang-sft-hau-small")
    assert of_task.startswith("tasks.ner.teacher.delta: org/ner, taken to order its labels ")
    assert " (B-LOC, B-ORG, B-PER, I-LOC, I-ORG, I-PER, O)" in of_task
    assert of_task.endswith("no licence is known")


TITLES = {
    "xnli": "XNLI",
    "americas_nli": "AmericasNLI",
    "masakhaner": "MasakhaNER",
    "masakhaner2": "MasakhaNER 2.0",
    "wikiann": "WikiANN",
    "universal_ner": "Universal NER",
    "universal_ner_test_only": "Universal NER (test sets)",
    "xquad": "XQuAD",
    "tydiqa": "TyDi QA",
    "mlqa": "MLQA",
}
"""What recipes call the benchmarks; the others are English."""


@every_recipe
def test_the_further_test_sets_that_it_names_are_those_that_the_catalogue_has_for_its_language(name):
    recipe = RECIPES[name]
    codes = {recipe.target.code, other_code(recipe.target.code), *(["quy"] if recipe.target.code == "qu" else [])}
    own = {task.test_target.dataset for task in recipe.tasks}
    known = [each for each in BENCHMARKS.values() if codes & set(each.languages)]
    further = [TITLES[each.name] for each in known if each.dataset not in own]
    text = " ".join(ast.get_docstring(ast.parse(script(name))).split())
    named = re.findall(r"Further test sets that this package knows: (.*)\.$", text)
    if further:
        *others, last = further
        assert named == [" and ".join(filter(None, (", ".join(others), last)))]
    else:
        assert named == []
        assert text.endswith(f"This package knows no further test set in {recipe.target.name}.")


@pytest.mark.parametrize("name", XQUAD.values())
def test_it_says_that_no_language_sft_is_to_be_had_for_its_teacher(name):
    told = "No language SFTs are published for mDeBERTa-v3, and the teacher carries none."
    assert told in " ".join(script(name).split())
    assert not RECIPES[name].teacher.language_deltas


# By the languages that the authors of mBERT and of XLM-R list.
PRETRAINED_ON = {"en_sw_masakhaner", "en_yo", *XNLI.values()}


@pytest.mark.parametrize("name", [*MASAKHANER.values(), *AMERICAS_NLI.values(), *XNLI.values()])
def test_its_limits_say_where_the_teacher_was_not_pre_trained_on_the_language(name):
    said = f"was not pre-trained on {RECIPES[name].target.name}:" in RECIPES[name].limits
    assert said == (name not in PRETRAINED_ON)


@pytest.fixture
def no_network(monkeypatch):
    def connect(*_args, **_kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


@every_recipe
def test_it_is_planned_and_its_unverified_facts_are_printed(name, no_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    recipe = RECIPES[name]
    changes = []
    if name in WITHOUT_TEXT:
        (tmp_path / "mine.txt").write_text("Ujumbe wa kwanza.\n", encoding="utf-8")
        changes = ["--set", "target.text=mine.txt"]
    before = sorted(tmp_path.rglob("*"))
    made = CliRunner().invoke(cli.main, ["plan", name, "--no-trial", "--json", *changes])
    assert made.exit_code == 0, made.output
    assert re.findall(r"^Unverified: (.*)$", made.stderr, re.MULTILINE) == [
        fact for fact in recipe.unverified if not (changes and fact.startswith("target.text:"))
    ], "of the text that was given the recipe says nothing"
    stages = [stage["name"] for stage in json.loads(made.stdout)["stages"]]
    of_tasks = [f"{task.name} {part}" for task in recipe.tasks for part in ("teacher", "phase 2", "evaluation")]
    assert stages == ["student", "phase 1", *of_tasks, "speed", "package"]
    assert {task.name for task in recipe.tasks} <= set(available_tasks())
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_text_file_a_pair_that_has_no_wikipedia_is_refused_with_the_field_to_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sorted(name for name, recipe in RECIPES.items() if recipe.target.text.path) == WITHOUT_TEXT
    for name in WITHOUT_TEXT:
        with pytest.raises(
            InputError, match=rf"target\.text = '{RECIPES[name].target.code}\.txt': there is no such file"
        ):
            plan(RECIPES[name], tmp_path / "run", trial=False)
        assert any("--set target.text=FILE" in fact for fact in RECIPES[name].unverified)


def test_loading_all_of_them_imports_nothing_heavy():
    code = (
        "import json, sys\n"
        "from bistill_hub.recipe_list import list_recipes\n"
        f"assert len(list_recipes()) == {len(NAMES)}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "datasets", "numpy", "huggingface_hub", "tokenizers", "pyarrow", "evaluate"}
    assert not heavy & set(json.loads(done.stdout))
