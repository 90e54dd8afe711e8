"""Reading questions on contexts: what is understood, and how the rest is refused."""

import copy
import json
import warnings

import pytest
from datasets import Dataset, Features, List, Value

from bistill_hub.errors import InputError
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task

QA = get_task("qa")
RIVER = "Mto Nile ni mto mrefu. Mto Kongo ni mto mpana."
CITY = "Dodoma ni mji mkuu wa Tanzania."


def question(identifier, text, *answers):
    return {
        "id": identifier,
        "question": text,
        "answers": [{"text": answer, "answer_start": start} for answer, start in answers],
    }


SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Mito",
            "paragraphs": [
                {
                    "context": RIVER,
                    "qas": [
                        question("sw-1", "Mto upi ni mrefu?", ("Nile", 4), ("Mto Nile", 0)),
                        question("sw-2", "Mto upi ni mpana?", ("Mto Kongo", 23)),
                    ],
                }
            ],
        },
        {
            "title": "Miji",
            "paragraphs": [{"context": CITY, "qas": [question("en-1", "Mji mkuu ni upi?", ("Dodoma", 0))]}],
        },
    ],
}
ROWS = [
    {
        "id": "sw-1",
        "question": "Mto upi ni mrefu?",
        "context": RIVER,
        "answers": {"text": ["Nile", "Mto Nile"], "answer_start": [4, 0]},
    },
    {
        "id": "sw-2",
        "question": "Mto upi ni mpana?",
        "context": RIVER,
        "answers": {"text": ["Mto Kongo"], "answer_start": [23]},
    },
    {
        "id": "en-1",
        "question": "Mji mkuu ni upi?",
        "context": CITY,
        "answers": {"text": ["Dodoma"], "answer_start": [0]},
    },
]


@pytest.fixture
def written(tmp_path):
    """Write text, bytes or something as JSON to a file and return a source of it."""

    def write(content, name="data.json", **fields):
        file = tmp_path / name
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode("utf-8")
        file.write_bytes(content)
        return LabelledSource(path=str(file), **fields)

    return write


def changed(path, value):
    """`SQUAD` with the element at `path` replaced, or deleted where `value` is `...`."""
    content = copy.deepcopy(SQUAD)
    element = content
    for step in path[:-1]:
        element = element[step]
    if value is ...:
        del element[path[-1]]
    else:
        element[path[-1]] = value
    return content


def test_the_nested_lists_of_squad_become_a_row_a_question(written):
    assert QA.read(written(SQUAD)).to_list() == ROWS
    assert QA.read(written(b"\xef\xbb\xbf" + json.dumps(SQUAD, indent=1).encode())).to_list() == ROWS
    assert QA.read(written(SQUAD, "upper.JSON")).to_list() == ROWS


def test_tables_with_the_same_columns_give_the_same_rows(written, tmp_path):
    titled = [{"title": "Mito", **row} for row in ROWS]
    lines = "".join(json.dumps(row) + "\n" for row in titled)
    assert QA.read(written(lines, "lines.jsonl")).to_list() == ROWS
    assert QA.read(written(lines, "lines.json")).to_list() == ROWS
    assert QA.read(written(titled, "array.json")).to_list() == ROWS
    Dataset.from_list(titled).to_parquet(str(tmp_path / "rows.parquet"))
    assert QA.read(LabelledSource(path=str(tmp_path / "rows.parquet"))).to_list() == ROWS
    records = [
        {**row, "answers": [{"text": text, "answer_start": start} for text, start in zip(*answers, strict=True)]}
        for row, answers in ((row, row["answers"].values()) for row in ROWS)
    ]
    assert QA.read(written("".join(json.dumps(row) + "\n" for row in records), "records.jsonl")).to_list() == ROWS


def test_hub_data_sets_of_squads_kind_are_read_by_language(monkeypatch):
    answers = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    text = Value("string")
    features = Features(id=text, title=text, context=text, question=text, answers=answers)
    table = Dataset.from_list([{"title": "", **row} for row in ROWS], features=features)
    monkeypatch.setattr("datasets.load_dataset", lambda *_args, **_kwargs: table)
    hub = {"dataset": "google-research-datasets/tydiqa", "config": "secondary_task", "split": "validation"}
    assert QA.read(LabelledSource(**hub)).to_list() == ROWS
    assert QA.read(LabelledSource(**hub, where={"id": "sw-*"})).to_list() == ROWS[:2]
    assert QA.read(LabelledSource(**hub, where={"id": "sw-*"}, limit=1)).to_list() == ROWS[:1]


def test_questions_of_a_squad_file_are_selected_and_counted_in_that_order(written):
    assert QA.read(written(SQUAD, where={"id": "sw-*", "question": "*mpana*"})).to_list() == ROWS[1:2]
    assert QA.read(written(SQUAD, where={"context": "Dodoma*"}, limit=1)).to_list() == ROWS[2:]
    assert QA.read(written(SQUAD, limit=2)).to_list() == ROWS[:2]
    with pytest.raises(InputError, match=r"where = 'title'.*the columns are context, id, question"):
        QA.read(written(SQUAD, where={"title": "Mito"}))
    with pytest.raises(InputError, match=r"data\.json: where\.id = 'yo-\*': no row fits"):
        QA.read(written(SQUAD, where={"id": "yo-*"}))


def test_columns_rename_those_of_a_table_and_numbers_may_be_ids(written):
    lines = json.dumps({"key": 7, "ask": "Nini?", "text": "Maji ni uhai", "gold": ROWS[2]["answers"] | {"text": ["M"]}})
    columns = {"id": "key", "question": "ask", "context": "text", "answers": "gold"}
    read = QA.read(written(lines, "renamed.jsonl", columns=columns))
    assert (read["id"][:], read["question"][:], read["context"][:]) == (["7"], ["Nini?"], ["Maji ni uhai"])
    with pytest.raises(
        InputError, match=r"columns\.answers = 'answers': there is no such column.*ask, gold, key, text"
    ):
        QA.read(written(lines, "renamed.jsonl", columns={**columns, "answers": "answers"}))
    with pytest.raises(InputError, match=r"columns = 'passage': the task reads no such column"):
        QA.read(written(lines, "renamed.jsonl", columns={"passage": "text"}))
    with pytest.raises(InputError, match=r"columns = .*: the fields of a SQuAD file have fixed names\. Leave it out"):
        QA.read(written(SQUAD, columns={"id": "key"}))


def test_an_answer_elsewhere_is_moved_to_its_nearest_occurrence_and_counted(written):
    # "mto" stands at 12 and 36. From 30 the second is nearer; from 24, between them, the first is taken.
    answers = [("mto", 12), ("mto", 30), ("mto", 24), ("mto", -5), ("mto", 9999)]
    content = changed(("data", 0, "paragraphs", 0, "qas", 0), question("sw-1", "Nini?", *answers))
    with pytest.warns(UserWarning, match=r"data\.json: 4 answers are not at their answer_start") as caught:
        read = QA.read(written(content))
    assert len(caught) == 1
    assert read[0]["answers"]["answer_start"] == [12, 36, 12, 12, 36]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        QA.read(written(SQUAD))


def test_offsets_count_characters_and_not_bytes_or_utf_16(written):
    content = {"data": [{"paragraphs": [{"context": "🦁 ñandú 的 simba", "qas": [question("1", "?", ("simba", 10))]}]}]}
    assert QA.read(written(content))[0]["answers"] == {"text": ["simba"], "answer_start": [10]}


QAS = ("data", 0, "paragraphs", 0, "qas")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("data",), {}, r"data = \{\}: of the wrong type"),
        (("data", 1), "x", r"data\[1\] = 'x': not an object"),
        (("data", 1, "paragraphs"), ..., r"data\[1\]\.paragraphs: it is missing"),
        (("data", 0, "paragraphs", 0), None, r"data\[0\]\.paragraphs\[0\] = None: not an object"),
        (("data", 0, "paragraphs", 0, "context"), 5, r"data\[0\]\.paragraphs\[0\]\.context = 5: of the wrong type"),
        (("data", 0, "paragraphs", 0, "qas"), ..., r"data\[0\]\.paragraphs\[0\]\.qas: it is missing"),
        ((*QAS, 1), [], r"paragraphs\[0\]\.qas\[1\] = \[\]: not an object"),
        ((*QAS, 1, "id"), ..., r"qas\[1\]\.id: it is missing"),
        ((*QAS, 1, "question"), None, r"qas\[1\]\.question = None: of the wrong type"),
        ((*QAS, 1, "answers"), {}, r"qas\[1\]\.answers = \{\}: of the wrong type"),
        ((*QAS, 0, "answers", 1), "Nile", r"qas\[0\]\.answers\[1\] = 'Nile': not an object"),
        ((*QAS, 0, "answers", 1, "text"), ..., r"qas\[0\]\.answers\[1\]\.text: it is missing"),
        ((*QAS, 0, "answers", 1, "answer_start"), "4", r"answers\[1\]\.answer_start = '4': of the wrong type"),
    ],
)
def test_a_malformed_squad_file_is_refused_with_the_path_of_the_element(written, path, value, message):
    with pytest.raises(InputError, match=message + r"\. Give the file the form of SQuAD 1\.1") as caught:
        QA.read(written(changed(path, value)))
    assert caught.value.file.endswith("data.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*QAS, 1, "id"), "sw-1", r"qas\[1\], id = 'sw-1': data\[0\]\.paragraphs\[0\]\.qas\[0\] has the same id"),
        ((*QAS, 1, "id"), True, r"qas\[1\], id = True: an id is text or a whole number"),
        ((*QAS, 1, "question"), " \n", r"qas\[1\], question of question 'sw-2' = ' \\n': no text"),
        ((*QAS, 1, "question"), "\ud800", r"question of question 'sw-2' = .*: no text"),
        (("data", 0, "paragraphs", 0, "context"), "", r"qas\[0\], context of question 'sw-1' = '': no text"),
        ((*QAS, 1, "answers"), [], r"answers of question 'sw-2' = .*as SQuAD 2\.0 has them\. Remove such questions"),
        ((*QAS, 1, "answers", 0, "text"), " ", r"answers\.text of question 'sw-2' = ' ': no text"),
        ((*QAS, 1, "answers", 0, "text"), "Tana", r"= 'Tana': the context does not contain this answer"),
        (
            (*QAS, 1, "answers", 0, "answer_start"),
            True,
            r"answers\.answer_start of question 'sw-2' = True: not a whole",
        ),
    ],
)
def test_a_question_that_cannot_be_used_is_refused_with_its_id(written, path, value, message):
    with pytest.raises(InputError, match=message):
        QA.read(written(changed(path, value)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "sw-1"}, r"row 1 \(counted from 0\), id = 'sw-1': row 0 \(counted from 0\) has the same id"),
        ({"context": None}, r"row 1 \(counted from 0\), context of question 'sw-2' = None: no text"),
        ({"answers": None}, r"row 1 \(counted from 0\), answers of question 'sw-2' = None: not answers"),
        ({"answers": {"text": [], "answer_start": []}}, r"'sw-2' = .*a question without an answer.*Remove such"),
        ({"answers": {"text": ["Mto"], "answer_start": [0, 23]}}, r"'sw-2' = .*not answers\. Give text and"),
        ({"answers": {"text": ["Mto"], "answer_start": [None]}}, r"answers\.answer_start of .* = None: not a whole"),
        ({"answers": {"text": [None], "answer_start": [0]}}, r"answers\.text of question 'sw-2' = None: no text"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_refused_with_its_number(written, change, message):
    rows = [ROWS[0], {**ROWS[1], **change}]
    with pytest.raises(InputError, match=message) as caught:
        QA.read(written("".join(json.dumps(row) + "\n" for row in rows), "rows.jsonl"))
    assert caught.value.file.endswith("rows.jsonl")


def test_answers_that_are_no_records_are_refused(written):
    with pytest.raises(InputError, match=r"row 0 .*answers of question '1' = 'x': not answers"):
        QA.read(written("id,question,context,answers\n1,a,b x,x\n", "rows.csv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n  {"paragraphs" []}]}', r"line 2, column 17: not JSON"),
        (b'{"data": ["\xff"]}', "not UTF-8 text"),
        ({"data": []}, "there is no question in it"),
    ],
)
def test_a_broken_file_is_refused_before_anything_else(written, content, message):
    with pytest.raises(InputError, match=message) as caught:
        QA.read(written(content))
    assert caught.value.file.endswith("data.json")
    assert caught.value.remedy


def test_a_label_map_is_refused(written):
    with pytest.raises(InputError, match=r"label_map = \{'a': 'b'\}: the task qa has no labels to rename"):
        QA.read(written(SQUAD, label_map={"a": "b"}))


def test_there_are_no_labels_and_none_is_refused(written):
    dataset = QA.read(written(SQUAD))
    assert QA.labels(dataset) == ()
    QA.check_labels(dataset, (), "data.json")
