"""Rows of a table are selected by patterns on its columns, before they are counted."""

import json

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from bistill_hub.errors import InputError
from bistill_hub.sources import LabelledSource

ROWS = {
    "id": ["swahili-1", "english-1", "swahili-2", "Swahili-3", None, "swahili-4"],
    "year": [2001, 2002, 2001, None, 2001, 2002],
    "tokens": [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]],
}


@pytest.fixture
def source(tmp_path):
    """A source of `ROWS` in a Parquet file."""
    file = tmp_path / "rows.parquet"
    Dataset.from_dict(ROWS).to_parquet(str(file))

    def make(**fields):
        return LabelledSource(path=str(file), **fields)

    return make


def test_rows_that_fit_are_kept_in_order(source):
    assert source(where={"id": "swahili-*"}).table()["id"][:] == ["swahili-1", "swahili-2", "swahili-4"]
    assert source(where={"id": "?wahili-[13]"}).table()["id"][:] == ["swahili-1", "Swahili-3"]


def test_every_pattern_must_fit_and_numbers_fit_as_they_are_written(source):
    assert source(where={"id": "swahili-*", "year": "2001"}).table()["id"][:] == ["swahili-1", "swahili-2"]
    assert source(where={"year": "2001"}).table()["id"][:] == ["swahili-1", "swahili-2", None]


def test_limit_counts_the_rows_that_are_kept(source):
    assert source(where={"id": "swahili-*"}, limit=2).table()["id"][:] == ["swahili-1", "swahili-2"]
    assert source(where={"id": "swahili-*"}, limit=9).table().num_rows == 3
    assert source(limit=2).table()["id"][:] == ["swahili-1", "english-1"]


def test_nothing_is_selected_without_patterns(source):
    assert source().table().num_rows == 6
    assert source().where == {}


def test_a_hub_data_set_is_selected_from_in_the_same_way(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda *_args, **_kwargs: Dataset.from_dict(ROWS))
    source = LabelledSource(dataset="someone/rows", split="train", where={"id": "english-*"})
    assert source.table()["tokens"][:] == [["b"]]
    with pytest.raises(InputError, match=r"someone/rows/train: where = 'name': there is no such column"):
        source.model_copy(update={"where": {"name": "x"}}).table()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"language": "sw"}, r"where = 'language': there is no such column; the columns are id, tokens, year\. Name"),
        ({"id": "yoruba-*"}, r"where\.id = 'yoruba-\*': no row fits.*compared with has 'swahili-1'"),
        ({"id": "english-*", "year": "2001"}, r"where\.year = '2001': no row fits.*compared with has 2002"),
        ({"tokens": "a"}, r"where = 'tokens': this column holds values of type list.*Choose a column of text"),
    ],
)
def test_what_cannot_be_selected_is_refused_with_the_file(source, where, message):
    with pytest.raises(InputError, match=message) as caught:
        source(where=where).table()
    assert caught.value.file.endswith("rows.parquet")


def test_files_without_columns_refuse_a_selection_in_one_sentence(tmp_path):
    file = str(tmp_path / "data.conll")
    LabelledSource(path=file).refuse_where("make it a table")
    with pytest.raises(InputError, match=r"data\.conll: where = \{'id': 'a'\}: rows of such a file.*Make it a table\."):
        LabelledSource(path=file, where={"id": "a"}).refuse_where("make it a table")


def test_the_selection_is_part_of_the_source_as_json_and_cannot_be_changed(source):
    made = source(where={"id": "swahili-*"})
    assert json.loads(made.model_dump_json())["where"] == {"id": "swahili-*"}
    assert LabelledSource.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(TypeError):
        made.where["id"] = "*"


def fits(value, pattern):
    """Match letter by letter: `*` takes nothing, or one character and itself again."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return fits(value, pattern[1:]) or (bool(value) and fits(value[1:], pattern))
    return bool(value) and pattern[0] in ("?", value[0]) and fits(value[1:], pattern[1:])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("ab-", max_size=3), max_size=8),
    st.text("ab-*?", max_size=3),
    st.none() | st.integers(1, 4),
)
def test_selection_and_limit_are_those_of_a_second_matcher(values, pattern, limit):
    source = LabelledSource(path="rows.csv", where={"id": pattern}, limit=limit)
    expected = [row for row, value in enumerate(values) if fits(value, pattern)]
    if values and not expected:
        with pytest.raises(InputError, match="no row fits"):
            source.kept_rows({"id": values})
    else:
        assert source.kept_rows({"id": values}) == expected[:limit]
