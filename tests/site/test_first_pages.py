"""The snippets of the site's first pages and of the tutorial on loading do what they say."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from fresh import run_fresh
from pages import DOCS, ROOT, commands, given, snippets, understood

from bistill_hub import cli

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


def printed(code, place):
    environment = {**os.environ, "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1"}
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(variable, None)
    done = run_fresh(code, env=environment, cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("page", ["index.md", "quick_start.md"])
def test_the_setup_is_that_of_the_readme(page):
    language, code = snippets(page)[0]
    assert (language, code) == ("bash", SETUP)
    environment = "python3 -m venv --upgrade-deps .venv && .venv/bin/pip install -c constraints.txt ."
    assert " && ".join(SETUP.splitlines()[:2]) == environment
    assert environment in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_student_has_half_of_the_layers_and_is_saved(place):
    (_, (language, code)) = snippets("index.md")
    assert language == "python"
    assert "teacher layers (1, 3, 5), " in printed(code, place)
    assert (place / "student" / "model.safetensors").is_file()
    assert (place / "student" / "tokenizer.json").is_file()


def test_the_quick_start_loads_and_checks_what_the_demonstration_leaves(place):
    _, (_, demo), (language, load), (_, check) = snippets("quick_start.md")
    assert understood(commands(demo)[0])["output"] == place.joinpath("runs", "demo").relative_to(place)
    assert language == "python"
    for line in printed(load, place).splitlines():
        assert line.split()[0] in ("PER", "LOC", "ORG")
    assert "no findings" in given(commands(check)[0], "--quiet")


def test_the_tutorial_on_loading_does_what_it_says(place, five_heads):
    outputs, words = [], []
    for language, code in snippets("tutorials/load_and_use.md"):
        if language == "bash":
            words += commands(code)
            if words[-1][1] == "export":
                given(["bistill", "export", str(five_heads), *words[-1][3:]])
        else:
            outputs.append(printed(code, place))
    described, tagged, compared, answered, states, plain = outputs
    assert described.splitlines()[0] == "en sw"
    assert {line.split()[0] for line in described.splitlines()[1:]} == {"ner", "nli", "qa"}
    for line in tagged.splitlines():
        assert re.fullmatch(r"(PER|LOC|ORG) .+ [01]\.\d\d", line), line
    assert all(label in ("entailment", "neutral", "contradiction") for label in eval(compared))
    assert len(eval(compared)) == 2
    assert answered.startswith("[")
    assert "torch.Size([1, " in states
    assert plain.strip() == "BertForTokenClassification"
    assert [each[1] for each in words] == ["eval", "check", "export"]
    evaluate = words[0]
    assert "student" in given(["bistill", "eval", str(five_heads), *evaluate[3:]], "--quiet")
    assert understood(words[1])["pair"] == "org/bistill-en-sw"


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
