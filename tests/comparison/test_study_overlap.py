"""What of a test set stands in a text is counted word by word."""

import shlex
import subprocess
import sys

import pytest
from datasets import Dataset
from studies import FOLDER, ROOT, load_script, name_data, on_real_data

TEN = "one two three four five six seven eight nine ten"


@pytest.fixture(scope="module")
def script():
    return load_script("overlap")


def test_words_are_compared_without_case_punctuation_and_composition(script):
    assert script.words_of("\u1eb8 k\u00e1\u00e0b\u1ecd\u0300, 3!") == script.words_of(
        "e\u0323 ka\u0301a\u0300bo\u0323\u0300 3"
    )
    assert script.words_of("b\u1ecd\u0300 la") == ("b\u1ecd\u0300", "la")  # a mark is no end of a word
    assert script.words_of("...") == ()


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        (TEN.title() + ".", {"a line": 1, "within a line": 0, "eight words in a row": 1}),
        (f"zero {TEN} eleven", {"a line": 0, "within a line": 1, "eight words in a row": 1}),
        (f"zero {TEN.replace('one', 'a')}", {"a line": 0, "within a line": 0, "eight words in a row": 1}),
        (TEN.replace("five", "5"), {"a line": 0, "within a line": 0, "eight words in a row": 0}),
        (f"twenty{TEN}", {"a line": 0, "within a line": 0, "eight words in a row": 1}),
        ("", {"a line": 0, "within a line": 0, "eight words in a row": 0}),
    ],
)
def test_an_input_is_found_where_it_stands(script, line, counted):
    assert script.overlap([script.words_of(TEN)], script.Text.of(["other", line])) == {"inputs": 1, **counted}


def test_three_words_are_looked_for_as_a_line_alone(script):
    assert script.overlap([("a", "b", "c")], script.Text.of(["x a b c"]))["within a line"] == 0
    assert script.overlap([("a", "b", "c")], script.Text.of(["a b c"]))["a line"] == 1


def test_inputs_are_distinct_and_contexts_taken_by_the_sentence(script):
    data = Dataset.from_dict(
        {"question": ["Who?", "who", "?"], "context": ["He is. She was!", "He is.\nIt", "x"], "id": [1, 2, 3]}
    )
    assert script.inputs_of(data) == {
        "question": [("who",)],
        "context": [("he", "is"), ("she", "was"), ("it",), ("x",)],
    }
    assert script.inputs_of(Dataset.from_dict({"tokens": [["A", "b"]], "tags": [["O", "O"]]})) == {
        "tokens": [("a", "b")]
    }


@on_real_data
@pytest.mark.parametrize("page", ["en-sw", "en-yo"])
def test_the_pages_tables_are_what_their_commands_print(page, monkeypatch):
    name_data(monkeypatch)
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    (command,) = (line for line in text.splitlines() if line.startswith("python docs/studies/overlap.py "))
    _, *words = shlex.split(command)
    printed = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.count("\n") > 2
    assert f"\n\n{printed}\n" in text
