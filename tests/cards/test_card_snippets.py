"""Every snippet of a card does what it says, given a pair of the card's name."""

import os
import re
import shlex
from dataclasses import replace

from click.testing import CliRunner
from example_card import FACTS
from fresh import run_fresh

from bistill_hub import cli
from bistill_hub.cards.card import render_card

HEADS = {"ner": "token-classification", "nli": "sequence-classification", "qa": "question-answering"}
SAY = """
print(type(encoder).__name__, type(tag).__name__, label, repr(found))
"""


def test_the_snippets_of_all_heads_run(five_heads, tmp_path, monkeypatch):
    tasks = {task: {"head": head, "labels": [], "density": 0.1} for task, head in HEADS.items()}
    card = render_card(replace(FACTS, tasks=tasks))
    (tmp_path / FACTS.name).symlink_to(five_heads)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1 + len(HEADS)
    done = run_fresh("\n".join(blocks) + SAY, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    encoder, tag, label, found = done.stdout.strip().splitlines()[-1].split(maxsplit=3)
    assert (encoder, tag) == ("BertModel", "TokenClassificationPipeline")
    assert label in ("entailment", "neutral", "contradiction")
    assert found != "None"
    (command,) = re.findall(r"^```bash\n(bistill export .*?)\n```", card, re.MULTILINE)
    result = CliRunner().invoke(cli.main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plain-checkpoint" / "model.safetensors").is_file()
