"""A table leaves nothing out: on a narrow terminal it is folded, and into a file it is as wide as it is."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from example_card import RESULTS
from rich.console import Console
from rich.table import Table

from bistill_hub.cli.printing import print_table
from bistill_hub.cli.tables import number_table, score_table

NOTHING_KEPT = replace(RESULTS[3], model="random_teacher", metric="accuracy")
SCORES = (*RESULTS, replace(RESULTS[2], language="am", metric="accuracy", trivial=0.99), NOTHING_KEPT)


def encoder():
    table = number_table("Encoder", "model", "layers", "tokens", "parameters", "MB in fp32", "% of teacher")
    table.add_row("teacher", "12", "250,002", "277,453,056", "1,109.8", "100.0")
    table.add_row("student, LRF 12", "1", "250,002", "199,453,056", "797.8", "71.9")
    return table


def trimming():
    columns = ("language", "tokens", "kept %", "lines", "cut lines %", "unknown %", "pieces/word")
    table = number_table("Trimming the vocabulary, least token probability 1e-06", *columns)
    for code in ("en", "sw"):
        table.add_row(code, "1,076,788", "99.991", "29,416", "12.34", "0.01 to 0.02", "1.80 to 1.81")
    return table


def place():
    table = Table("file", "SHA-256")
    table.add_row("/home/somebody/a/long/way/down/to/the/repository/tasks/ner/results.json", "ab" * 32)
    return table


TABLES = {"scores": lambda: score_table(SCORES), "sizes": encoder, "trimming": trimming, "long words": place}


def printed(make, width, *, terminal):
    out = StringIO()
    print_table(make(), Console(file=out, width=width, force_terminal=terminal, color_system=None))
    return out.getvalue()


def letters(text):
    """All that is neither a line of a table nor space, whatever line it is on."""
    return sorted(re.sub(r"[\s\u2500-\u257f]", "", text))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", [100, 80, 60, 40])
def test_on_a_terminal_nothing_is_lost_and_no_line_is_longer(name, width):
    whole = printed(TABLES[name], 1000, terminal=True)
    shown = printed(TABLES[name], width, terminal=True)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert letters(shown) == letters(whole)


@pytest.mark.parametrize("name", ["scores", "sizes", "trimming"])
def test_at_80_columns_words_are_whole(name):
    words = set(re.sub(r"[\u2500-\u257f]", " ", printed(TABLES[name], 1000, terminal=True)).split())
    assert set(re.sub(r"[\u2500-\u257f]", " ", printed(TABLES[name], 80, terminal=True)).split()) == words


@pytest.mark.parametrize("name", TABLES)
def test_into_a_file_a_row_is_a_line(name):
    table = TABLES[name]()
    shown = printed(TABLES[name], 80, terminal=False)
    assert shown == printed(TABLES[name], 1000, terminal=True)
    assert sum(line.startswith("│") for line in shown.splitlines()) == table.row_count
