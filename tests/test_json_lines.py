"""JSON is read as JSON however its file's name is spelt, and refused as text."""

import json

import pytest

from bistill_hub.errors import InputError
from bistill_hub.json_lines import mostly_json
from bistill_hub.sources import LabelledSource, TextSource

ROWS = "".join(json.dumps({"text": word}) + "\n" for word in ("Habari", "Jambo", "Karibu"))


@pytest.mark.parametrize("name", ["sw.jsonl", "sw.JSONL", "sw.ndjson", "sw.Json"])
def test_a_table_is_known_by_its_ending_in_upper_and_lower_case(tmp_path, name):
    (tmp_path / name).write_text(ROWS, encoding="utf-8")
    source = TextSource(path=str(tmp_path / name))
    source.check("target.text")
    assert source.is_table
    assert list(source) == ["Habari", "Jambo", "Karibu"]


@pytest.mark.parametrize(("name", "separator"), [("sw.TSV", "\t"), ("sw.CSV", ",")])
def test_so_is_one_with_columns(tmp_path, name, separator):
    (tmp_path / name).write_text(f"id{separator}text\n1{separator}Habari\n", encoding="utf-8")
    assert list(TextSource(path=str(tmp_path / name))) == ["Habari"]
    assert LabelledSource(path=str(tmp_path / name)).table()["text"][:] == ["Habari"]


@pytest.mark.parametrize("name", ["sw.txt", "sw.jsonlines", "sw"])
def test_json_under_another_name_is_refused_as_text_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_text("\ufeff\n" + ROWS, encoding="utf-8")
    with pytest.raises(InputError, match=r"target\.text = .*most of its first lines are JSON objects") as refused:
        TextSource(path=str(tmp_path / name)).check("target.text")
    assert "ending .jsonl" in refused.value.remedy
    assert "target.text.column" in refused.value.remedy


@pytest.mark.parametrize(
    "text",
    ["Habari\nJambo\n", 'Andika hivi:\n{"text": "Habari"}\n', '12\n[1]\n"neno"\n', "\n", "[" * 9_000, "{\n}\n"],
)
def test_text_is_text(tmp_path, text):
    (tmp_path / "sw.txt").write_text(text, encoding="utf-8")
    TextSource(path=str(tmp_path / "sw.txt")).check("target.text")


def test_a_long_file_is_told_by_its_beginning(tmp_path):
    (tmp_path / "long").write_text(ROWS * 3_000, encoding="utf-8")
    assert mostly_json(tmp_path / "long")
    (tmp_path / "long").write_text("Habari\n" * 20_000 + ROWS * 30_000, encoding="utf-8")
    assert not mostly_json(tmp_path / "long")
