"""The snippets of the site's first pages and of the tutorial on loading do what they say."""

import re
import shutil
import subprocess
import sys

import pytest
from doc_pages import DOCS, ROOT, claimed, given, printed, understood
from hubserver.visitor import serving

from bistill_hub import cli

INDEX = claimed(__name__, "docs/index.md")
QUICK_START = claimed(__name__, "docs/quick_start.md")
LOAD_AND_USE = claimed(__name__, "docs/tutorials/load_and_use.md")
SETUP = """\
python3 -m venv --upgrade-deps .venv
.venv/bin/pip install -c constraints.txt .
source .venv/bin/activate
"""


@pytest.fixture
def place(five_heads, runs, tiny_teacher_dirs, text_files, ner_files, tmp_path, monkeypatch):
    """A working folder with the files that the pages name, and a cache that holds `org/bistill-en-sw`."""
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "google-bert" / "bert-base-multilingual-cased")
    shutil.copytree(runs["bert"].repository, tmp_path / "runs" / "demo" / "package" / "repository")
    for language, file in text_files.items():
        shutil.copyfile(file, tmp_path / f"{language}.txt")
        shutil.copyfile(ner_files[language]["test"], tmp_path / f"test.{language}.conll")
    published = tmp_path / "home" / "hub" / "models--org--bistill-en-sw"
    shutil.copytree(five_heads, published / "snapshots" / ("a" * 40))
    (published / "refs").mkdir()
    (published / "refs" / "main").write_text("a" * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("setup", [INDEX[0], QUICK_START[0]], ids=lambda setup: setup.page)
def test_the_setup_is_that_of_the_readme(setup):
    assert (setup.language, setup) == ("bash", SETUP)
    environment = "python3 -m venv --upgrade-deps .venv && .venv/bin/pip install -c constraints.txt ."
    assert " && ".join(SETUP.splitlines()[:2]) == environment
    assert environment in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_student_has_half_of_the_layers_and_is_saved(place):
    _, code = INDEX
    assert "teacher layers (1, 3, 5), " in printed(code, place)
    assert (place / "student" / "model.safetensors").is_file()
    assert (place / "student" / "tokenizer.json").is_file()


def test_the_quick_start_loads_and_checks_what_the_demonstration_leaves(place):
    _, _, demo, load, check = QUICK_START
    assert understood(demo.commands[0])["output"] == place.joinpath("runs", "demo").relative_to(place)
    sentence = " Juma Bakari alisafiri Nairobi jana . "
    assert f'"{sentence.strip()}"' in load
    for line in printed(load, place).splitlines():
        kind, words = line.split(maxsplit=1)
        assert kind in ("PER", "LOC", "ORG")
        assert f" {words} " in sentence, "of whole words"
    assert "no findings" in given(check.commands[0], "--quiet")


def test_the_tutorial_on_loading_does_what_it_says(place, runs, monkeypatch):
    *uses, evaluate, check, keep, export, load = LOAD_AND_USE
    described, tagged, compared, answered, states = (printed(code, place) for code in uses)
    shutil.copytree(runs["bert"].repository, place / "mine")
    with serving(monkeypatch, place / "client") as hub:
        hub.organization("org", alice="write")
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        given(["bistill", "push", "mine", "org/bistill-en-sw"])
        assert "student" in given(evaluate.commands[0], "--quiet")
        assert "no findings" in given(check.commands[0], "--quiet")
        given(export.commands[0])
    assert printed(keep, place) == ""
    assert len(list((place / "home" / "assets" / "bistill_hub").rglob("*.safetensors"))) == 1
    plain = printed(load, place)
    assert described.splitlines()[0] == "en sw"
    assert {line.split()[0] for line in described.splitlines()[1:]} == {"ner", "nli", "qa"}
    for line in tagged.splitlines():
        assert re.fullmatch(r"(PER|LOC|ORG) .+ [01]\.\d\d", line), line
    assert all(label in ("entailment", "neutral", "contradiction") for label in eval(compared))
    assert len(eval(compared)) == 2
    assert answered.startswith("[")
    assert "torch.Size([1, " in states
    assert plain.strip() == "BertForTokenClassification"


def test_the_concepts_name_fields_and_names_that_there_are():
    import bistill_hub
    from bistill_hub.student.layers import layer_map_for

    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    for name in ("BilingualDistillationTrainer", "SparseTaskDistillationTrainer", "SparseDelta"):
        assert f"`{name}`" in text
        assert name in bistill_hub.__all__
    maps = re.search(r"twelve layers is ([\d,\s]+)\.", text)[1]
    assert tuple(map(int, maps.replace("\n", " ").split(","))) == layer_map_for(12, 2, None)


def test_the_pictures_are_those_that_the_script_draws(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copyfile(DOCS / "pictures" / "draw.py", folder / "draw.py")
    subprocess.run([sys.executable, folder / "draw.py"], check=True)
    drawn = {file.name for file in folder.glob("*.png")}
    assert drawn == {file.name for file in (DOCS / "pictures").glob("*.png")}
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("index.md", "concepts.md"))
    shown = re.findall(r"\]\(pictures/(\S+)\)", text)
    assert set(shown) == drawn


def test_every_command_that_a_page_mentions_is_one_of_the_command_line():
    first = [DOCS / name for name in ("index.md", "quick_start.md", "concepts.md", "faq.md")]
    for page in (*first, *DOCS.glob("tutorials/*.md")):
        text = page.read_text(encoding="utf-8")
        mentioned = set(re.findall(r"[`\n](?:\S+ )?bistill ([a-z-]+)", text))
        assert mentioned <= set(cli.main.commands), page.name
