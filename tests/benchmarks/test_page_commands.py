"""The commands of docs/benchmarks.md measure, given word by word, with further words that make them small."""

import numpy as np
import pytest
from doc_pages import as_module, assigned

pytestmark = pytest.mark.whole

COMMANDS = [command for snippet in assigned(__name__) for command in snippet.commands]
SMALL = ("--small", "--rounds", "1")
TINY = ("--vocabulary", "60", "--layers", "2", "--width", "16", "--rounds", "2")
FURTHER = {
    "benchmarks.vocabulary": ("--megabytes", "0.3", "--tokens", "2000"),
    "benchmarks.distillation_step": (*SMALL, "--steps", "2", "--untimed", "1"),
    "benchmarks.freed_memory": ("--small", "--steps", "11"),
    "benchmarks.attention_parts": SMALL,
    "benchmarks.fp32_products": SMALL,
    "benchmarks.update_split": (*SMALL, "--steps", "2"),
    "benchmarks.selection": SMALL,
    "benchmarks.sparse_memory": SMALL,
    "benchmarks.corpora": ("--megabytes", "0.4", "--block-size", "32"),
    "benchmarks.deltas": TINY,
    "benchmarks.loading": TINY,
    "benchmarks.encoders": (*TINY, "--layers", "6", "--kept", "40", "--length", "12"),
}


@pytest.fixture
def place(tmp_path):
    """A folder with text and a tokenizer."""
    from benchmarks.material import make_tokenizer

    chance = np.random.default_rng(0)
    files = [tmp_path / "en.txt", tmp_path / "sw.txt"]
    for file in files:
        letters = chance.choice(list("aeioubdgklmnprstw"), size=(2000, 6))
        words = chance.choice(["".join(each[: 2 + place % 5]) for place, each in enumerate(letters)], size=(300, 12))
        file.write_text("\n".join(map(" ".join, words)) + "\n", encoding="utf-8")
    make_tokenizer("wordpiece", files, 500).save_pretrained(tmp_path / "TEACHER")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[2:]))
def test_the_command_prints_its_table(command, place):
    printed = as_module(command, *FURTHER[command[2]], place=place)
    rows = dict(map(str.strip, line.strip("|").split("|", 1)) for line in printed.splitlines() if line.startswith("|"))
    assert {"machine", "versions"} <= rows.keys()
    assert len(rows) > 5
    assert ("--output" in command) == (place / "measured.json").is_file()
