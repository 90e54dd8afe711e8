"""The tutorial on contributing a pair, step by step: from files to a checked package that could be sent."""

import re
import shutil

import pytest
from hubserver.visitor import serving
from pages import DOCS, ROOT, changed, commands, given, snippets, understood

from bistill_hub.cards.sections import TO_FILL_IN
from bistill_hub.recipe import load_recipe

PAGE = "tutorials/new_pair.md"
QUICK = changed(
    bilingual__steps=2,
    bilingual__block_size=48,
    speed__seconds=0,
    tasks__ner__max_length=64,
    tasks__ner__teacher__epochs=1,
    tasks__ner__distillation__dense_epochs=1,
    tasks__ner__distillation__sparse_epochs=1,
    tasks__ner__train__limit=60,
)
"""Changes that make a run of the paper's settings one of seconds."""


@pytest.fixture
def place(tiny_teacher_dirs, text_files, ner_files, tmp_path, monkeypatch):
    """A working folder with the files of the tutorial; Swahili under the name of Yoruba."""
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "teacher")
    for name, code in (("en", "en"), ("yo", "sw")):
        shutil.copyfile(text_files[code], tmp_path / f"{name}.txt")
        shutil.copyfile(ner_files[code]["test"], tmp_path / f"test.{name}.conll")
    for split in ("train", "dev"):
        shutil.copyfile(ner_files["en"][split], tmp_path / f"{split}.en.conll")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_the_tutorials_steps_in_their_order(place, monkeypatch, capsys):
    codes = [code for _, code in snippets(PAGE)]
    setup, folder, pretrain, known, new, card, plan, steps, smoke, run, check, load, push = codes
    shown = next(code for _, code in snippets("quick_start.md"))
    assert setup.replace(" -e .", " .") == shown
    assert [words[0] for words in commands(folder)] == ["mkdir", "cd"]
    assert understood(commands(pretrain)[0])["output"].name == "teacher"
    assert "en_yo" in given(commands(known)[0])

    told = given(commands(new)[0], "--offline")
    for step in (plan, smoke, run, check):
        assert step.strip() in told, "what comes next is what the tutorial does next"
    script = place / "en_yo.py"
    text = script.read_text(encoding="utf-8")
    there, instead = ("".join(f"{line[1:]}\n" for line in steps.splitlines() if line[0] == sign) for sign in "-+")
    assert text.count(f"\n{there}") == 1
    script.write_text(text.replace(f"\n{there}", f"\n{instead}"), encoding="utf-8")
    small = load_recipe(script)
    assert small.bilingual.steps == 2000
    assert [small.tasks[0].teacher.epochs, small.tasks[0].distillation.sparse_epochs] == [1, 1]
    assert "".join(small.unverified).count("limits: ") == 1, "the line that step 5 takes out"
    stub = (place / "en_yo.card.md").read_text(encoding="utf-8")
    assert stub.count(TO_FILL_IN) == 4
    titles = [re.findall(r"^\*\*.+?\*\*", each, re.MULTILINE) for each in (stub, card)]
    assert titles[0] == titles[1]
    (place / "en_yo.card.md").write_text(card, encoding="utf-8")

    assert "ner-phase-2" in given(commands(plan)[0], "--no-trial", *QUICK)
    assert "Scores" in given(commands(smoke)[0], "--quiet", *QUICK)
    tried = place / "runs" / "bistill-en-yo-smoke"
    assert "runs/bistill-en-yo-smoke" in (DOCS / PAGE).read_text(encoding="utf-8")
    words = [*commands(check)[0][:2], str(tried / "package" / "repository")]
    assert "smoke run" in given(words, "--quiet", exit_code=1)
    assert "Scores" in given(commands(run)[0], "--quiet", *QUICK)
    assert "no findings" in given(commands(check)[0], "--quiet")
    exec(load, {})
    assert len(capsys.readouterr().out.splitlines()) == 5

    with serving(monkeypatch, place / "home") as hub:
        hub.organization("org")
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        assert "README.md" in given(commands(push)[0])
        for kind in ("model.safetensors", "tasks/ner/delta.safetensors"):
            assert kind in given(commands(push)[0])


def test_the_anchors_that_the_tutorial_links_to_are_headings():
    headings = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").lower()
    for anchor in ("what-is-checked-by-whom", "contribute-a-pair"):
        assert f"CONTRIBUTING.md#{anchor}" in (DOCS / PAGE).read_text(encoding="utf-8")
        assert f"# {anchor.replace('-', ' ')}\n" in headings
