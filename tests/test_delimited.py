"""CSV and TSV, cell by cell."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.delimited import read_delimited
from bistill_hub.errors import InputError
from bistill_hub.sources import LabelledSource

# Quotes, words that readers take for missing values or numbers, and Unicode's own line separators.
CELLS = [
    '"',
    'say "so',
    '""',
    "n/a",
    "NA",
    "None",
    "null",
    "nan",
    "",
    "1",
    "-1",
    "True",
    " a ",
    "a\u2028b\x85",
    "'",
    "#",
]
CELL = st.one_of(st.sampled_from(CELLS), st.text(st.characters(exclude_characters="\t\r\n", codec="utf-8"), max_size=8))
ROWS = st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6)


def write(file, content):
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return file


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_every_cell_of_tsv_comes_back_as_it_is(tmp_path_factory, rows):
    text = "".join(f"{one}\t{other}\n" for one, other in [("a", "b"), *rows])
    dataset = read_delimited(write(tmp_path_factory.mktemp("tsv") / "data.tsv", text))
    assert list(zip(dataset["a"], dataset["b"], strict=True)) == rows


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_every_cell_of_csv_comes_back_as_it_is(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("csv") / "data.csv"
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("a", "b"), *rows])
    dataset = read_delimited(file)
    assert list(zip(dataset["a"], dataset["b"], strict=True)) == rows


def test_line_ends_blank_lines_and_a_byte_order_mark_are_no_text(tmp_path):
    for name, separator in (("data.tsv", "\t"), ("data.csv", ",")):
        text = "a,b\r\nx,y\r\n\r\nz,w".replace(",", separator)
        dataset = read_delimited(write(tmp_path / name, b"\xef\xbb\xbf" + text.encode()))
        assert dataset.to_dict() == {"a": ["x", "z"], "b": ["y", "w"]}


def test_a_cell_of_csv_may_hold_line_breaks(tmp_path):
    assert read_delimited(write(tmp_path / "data.csv", 'a,b\n"x\ny",z\n'))["a"][:] == ["x\ny"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.tsv", "a\tb\nx\ty\n\nx\n", r"line 4: 1 column\(s\) where the header has 2"),
        ("data.tsv", "a\tb\nx\ty\tz\n", r"line 2: 3 column\(s\) where the header has 2"),
        ("data.csv", 'a,b\n"x\ny",z\nx,y,z\n', r"line 4: 3 column\(s\) where the header has 2"),
        ("data.csv", 'a,b\nx,y\n"x,y\n', r"line 3: not CSV"),
        ("data.csv", 'a,b\n"x"y,z\n', r"line 2: not CSV"),
        ("data.tsv", "a\ta\nx\ty\n", r"line 1 = \['a', 'a'\]: the header must name each column, and no two alike"),
        ("data.tsv", "\n\n", r"line 1 = \[\]: the header must name each column"),
        ("data.tsv", b"a\tb\nx\t\xff\n", r"line 2: not UTF-8 text"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_delimited(write(tmp_path / name, content))
    assert caught.value.file == str(tmp_path / name)


def test_labelled_sources_are_read_in_this_way(tmp_path):
    source = LabelledSource(path=str(write(tmp_path / "data.tsv", 'a\tb\n"x\tn/a\ny\t1\n')), limit=1)
    assert source.table().to_dict() == {"a": ['"x'], "b": ["n/a"]}
