"""The commands and snippets of docs/language_deltas.md do what it says."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from miniature import write_lines
from untrained import untrained

from bistill_hub import LanguageDeltaSettings, SparseDelta, cli
from bistill_hub.cli.recipe_options import load
from bistill_hub.teacher import load_delta

GUIDE = (Path(__file__).parent.parent / "docs" / "language_deltas.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(bash|python)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
QUICK = ["--dense-steps=1", "--sparse-steps=1", "--batch-size=2", "--block-size=32", "--quiet"]


@pytest.fixture
def place(world_lines, tmp_path, monkeypatch):
    untrained("xlm-roberta", tmp_path / "FacebookAI" / "xlm-roberta-base")
    write_lines(tmp_path / "sw.txt", world_lines["sw"])
    monkeypatch.chdir(tmp_path)


def test_the_guide_trains_a_delta_that_its_recipe_and_its_snippet_take(place, capsys):
    recipes = []
    for language, code in SNIPPETS:
        words = shlex.split(code)
        if language == "python":
            exec(code, {})
        elif words[1] == "train-language-delta":
            result = CliRunner().invoke(cli.main, [*words[1:], *QUICK])
            assert result.exit_code == 0, result.output
        else:
            assert words[:3] == ["bistill", "run", "en_sw"]
            recipes.append(load("en_sw", None, [words[words.index("--set") + 1].strip()], None))
    (recipe,) = recipes
    delta = load_delta(recipe.teacher.language_deltas["sw"])
    assert isinstance(delta, SparseDelta)
    assert f"{delta.entries:,} entries, 8.0 %" in capsys.readouterr().out


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
