"""The tutorial on contributing a pair, step by step: from files to a checked package that could be sent."""

import re
import shutil

import pytest
from doc_pages import ROOT, changed, claimed, executed, given, in_bash, patched, snippets_of, written
from hubserver.visitor import serving

from bistill_hub.cards.sections import TO_FILL_IN
from bistill_hub.families import BILINGUAL
from bistill_hub.recipe import load_recipe

PAGE = ROOT / "docs" / "tutorials" / "new_pair.md"
SNIPPETS = claimed(__name__, "docs/tutorials/new_pair.md")
SMALL = ["--steps=2", "--vocab-size=300", "--hidden-size=16", "--layers=2", "--intermediate-size=16", "--quiet"]
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


def tokens_seen(settings):
    """Tokens of text that the student reads in phase 1."""
    return settings.steps * settings.batch_size * settings.accumulation * settings.block_size


def test_the_tutorials_steps_in_their_order(place, monkeypatch, capsys):
    setup, folder, pretrain, known, new, card, plan, steps, smoke, run, check, load, push = SNIPPETS
    assert setup.replace(" -e .", " .") == snippets_of("docs/quick_start.md")[0]
    (place / "checkout").mkdir()
    in_bash(folder, place=place / "checkout")
    assert (place / "en-yo").is_dir()
    shutil.move(place / "teacher", place / "kept")
    given(pretrain.commands[0], *SMALL)
    shutil.rmtree(place / "teacher")
    shutil.move(place / "kept", place / "teacher")
    assert "en_yo" in given(known.commands[0])

    told = given(new.commands[0], "--offline")
    for step in (plan, smoke, run, check):
        assert step.strip() in told, "what comes next is what the tutorial does next"
    script = place / "en_yo.py"
    patched(steps, script)
    small = load_recipe(script)
    assert [round(tokens_seen(settings) / 1e6) for settings in (small.bilingual, BILINGUAL)] == [1, 410]
    assert "it sees a million tokens of text where the paper's saw 410 million" in PAGE.read_text(encoding="utf-8")
    assert (small.bilingual.steps, small.tasks[0].train.limit) == (1000, 2000)
    assert [small.tasks[0].teacher.epochs, small.tasks[0].distillation.sparse_epochs] == [2, 2]
    assert "".join(small.unverified).count("limits: ") == 1, "the line that step 5 takes out"
    stub = (place / "en_yo.card.md").read_text(encoding="utf-8")
    assert stub.count(TO_FILL_IN) == 4
    titles = [re.findall(r"^\*\*.+?\*\*", each, re.MULTILINE) for each in (stub, card)]
    assert titles[0] == titles[1]
    written(card, place / "en_yo.card.md")

    assert "ner-phase-2" in given(plan.commands[0], "--no-trial", *QUICK)
    assert "Scores" in given(smoke.commands[0], "--quiet", *QUICK)
    tried = place / "runs" / "bistill-en-yo-mine-smoke"
    assert "runs/bistill-en-yo-mine-smoke" in PAGE.read_text(encoding="utf-8")
    words = [*check.commands[0][:2], str(tried / "package" / "repository")]
    assert "smoke run" in given(words, "--quiet", exit_code=1)
    assert "Scores" in given(run.commands[0], "--quiet", *QUICK)
    assert "no findings" in given(check.commands[0], "--quiet")
    executed(load)
    assert len(capsys.readouterr().out.splitlines()) == 5

    with serving(monkeypatch, place / "home") as hub:
        hub.organization("org")
        monkeypatch.setenv("HF_TOKEN", hub.user("alice").token)
        assert "README.md" in given(push.commands[0])
        for kind in ("model.safetensors", "tasks/ner/delta.safetensors"):
            assert kind in given(push.commands[0])


def test_the_anchors_that_the_tutorial_links_to_are_headings():
    headings = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").lower()
    for anchor in ("what-is-checked-by-whom", "contribute-a-pair"):
        assert f"CONTRIBUTING.md#{anchor}" in PAGE.read_text(encoding="utf-8")
        assert f"# {anchor.replace('-', ' ')}\n" in headings
