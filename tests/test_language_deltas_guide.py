"""The commands and snippets of docs/language_deltas.md do what it says."""

import json
import re

import pytest
from doc_pages import ROOT, changed, claimed, executed, given, understood
from miniature import write_lines
from untrained import untrained

from bistill_hub import LanguageDeltaSettings, SparseDelta, cli
from bistill_hub.teacher import load_delta

GUIDE = (ROOT / "docs" / "language_deltas.md").read_text(encoding="utf-8")
SNIPPETS = claimed(__name__, "docs/language_deltas.md")
RUN = changed(
    teacher__model="FacebookAI/xlm-roberta-base",
    source__text="en.txt",
    target__text="sw.txt",
    bilingual__steps=2,
    bilingual__block_size=32,
    speed__seconds=0,
)
QUICK = ["--dense-steps=1", "--sparse-steps=1", "--batch-size=2", "--block-size=32", "--quiet"]


@pytest.fixture
def place(world_lines, tmp_path, monkeypatch):
    untrained("xlm-roberta", tmp_path / "FacebookAI" / "xlm-roberta-base")
    for code, lines in world_lines.items():
        write_lines(tmp_path / f"{code}.txt", lines)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guide_trains_a_delta_that_its_run_and_its_snippet_take(place, capsys):
    train, run, use, larger = SNIPPETS
    given(train.commands[0], *QUICK)
    assert "phase 1" in given(run.commands[0], *RUN, "--tasks=none", "--quiet")
    content = json.loads((place / "runs" / "mine" / "package" / "repository" / "recipe.json").read_text())
    assert set(content["teacher"]["language_deltas"]) == {"sw"}
    delta = load_delta("deltas/sw")
    assert isinstance(delta, SparseDelta)
    executed(use)
    assert f"{delta.entries:,} entries, 8.0 %" in capsys.readouterr().out
    assert understood(larger.commands[0])["dense_steps"] == 150
    given(larger.commands[0], *QUICK, instead={"TEACHER": "FacebookAI/xlm-roberta-base", "deltas/sw": "deltas/larger"})
    assert load_delta("deltas/larger").entries


def test_the_guide_names_every_option_that_it_speaks_of_as_the_command_does():
    options = {name for one in cli.main.commands["train-language-delta"].params for name in one.opts}
    spoken = set(re.findall(r"`(--[a-z-]+)", GUIDE.partition("## Use it")[0]))
    assert {"--density", "--dense-steps", "--text"} <= spoken <= options
    defaults = {one.name: one.default for one in cli.main.commands["train-language-delta"].params}
    assert "8 blocks of 256 tokens, a peak rate of 5e-5, 50,000 updates" in GUIDE
    assert (defaults["batch_size"], defaults["block_size"], defaults["learning_rate"]) == (8, 256, 5e-5)
    assert defaults["dense_steps"] == defaults["sparse_steps"] == 50_000
    settings = LanguageDeltaSettings().model_dump()
    assert {name: defaults[name] for name in settings if name in defaults} == {
        name: value for name, value in settings.items() if name != "freeze_layer_norms"
    }
