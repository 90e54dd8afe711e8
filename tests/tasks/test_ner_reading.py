"""Reading sentences of named entities: what is understood, and how the rest is refused."""

import re

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from bistill_hub.errors import InputError
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task

NER = get_task("ner")
SWAHILI = "Rais\tO\nSamia\tB-PER\nSuluhu\tI-PER\nalikwenda\tO\nDodoma\tB-LOC\n.\tO\n"
ENGLISH = "Mary\tB-PER\nworks\tO\nfor\tO\nUNICEF\tB-ORG\n"


@pytest.fixture
def conll(tmp_path):
    """Write text to a CoNLL file and return a source of it."""

    def write(text, **fields):
        file = tmp_path / "data.conll"
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return LabelledSource(path=str(file), **fields)

    return write


@pytest.fixture
def parquet(tmp_path):
    """Write a data set to a Parquet file and return a source of it."""

    def write(dataset, **fields):
        file = tmp_path / "data.parquet"
        dataset.to_parquet(str(file))
        return LabelledSource(path=str(file), **fields)

    return write


def tags_of(source):
    return NER.read(source)["tags"][:]


def tokens_of(source):
    return NER.read(source)["tokens"][:]


def test_sentences_are_read_with_tabs_with_spaces_and_without_a_last_blank_line(conll):
    expected = [["B-PER", "O", "O", "B-ORG"], ["O", "B-PER", "I-PER", "O", "B-LOC", "O"]]
    text = f"{ENGLISH}\n\n{SWAHILI}"
    assert tags_of(conll(text)) == expected
    assert tags_of(conll(text.replace("\t", "  "))) == expected
    assert tags_of(conll(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())) == expected
    assert tokens_of(conll(b"\xef\xbb\xbf" + ENGLISH.encode()))[0][0] == "Mary"


def test_a_hash_is_a_token_where_it_has_a_tag_and_a_comment_where_it_has_none(conll):
    text = "# newdoc\n# text = Mary O\nMary\tB-PER\n#\tO\n#habari\tO\n#\tO\n"
    assert tokens_of(conll(text)) == [["Mary", "#", "#habari", "#"]]
    assert tokens_of(conll(text.replace("\t", " "))) == [["Mary", "#", "#habari", "#"]]
    assert tokens_of(conll("# text = a\tb\nMary\tB-PER\n")) == [["Mary"]]


def test_a_hash_with_a_malformed_tag_is_an_error_and_not_a_comment(conll):
    with pytest.raises(InputError, match=r"line 2 = 'X'"):
        NER.read(conll("Mary\tB-PER\n#\tX\n"))


def test_document_markers_end_a_sentence_and_are_in_none(conll):
    text = "-DOCSTART- -X- -X- O\n\nMary NNP B-NP B-PER\n-DOCSTART- -X- -X- O\nDodoma NNP B-NP B-LOC\n"
    assert tokens_of(conll(text)) == [["Mary"], ["Dodoma"]]
    assert tokens_of(conll("-DOCSTART-ed\tO\n")) == [["-DOCSTART-ed"]]


def test_odd_spaces_and_empty_tokens_stay_in_their_place(conll):
    text = "10\u00a0000\tO\n\u00a0\tO\n\u2028\tO\n\x85\tO\n\tO\nMary\tB-PER\n"
    assert tokens_of(conll(text)) == [["10\u00a0000", "\u00a0", "\u2028", "\x85", "", "Mary"]]


def test_other_columns_are_chosen_by_number(conll):
    text = "1\tMary\tB-PER\t_\n2\tworks\tO\t_\n"
    source = conll(text, columns={"tokens": "1", "tags": "2"})
    assert (tokens_of(source), tags_of(source)) == ([["Mary", "works"]], [["B-PER", "O"]])


def test_limit_counts_sentences(conll):
    assert len(NER.read(conll(f"{ENGLISH}\n{SWAHILI}\n{ENGLISH}", limit=2))) == 2


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", "B-PER I-PER B-PER O B-LOC B-ORG I-ORG I-ORG"),
        ("IOB1", "I-PER I-PER B-PER O I-LOC I-ORG I-ORG I-ORG"),
        ("IOE1", "I-PER E-PER I-PER O I-LOC I-ORG I-ORG I-ORG"),
        ("IOE2", "I-PER E-PER E-PER O E-LOC I-ORG I-ORG E-ORG"),
        ("IOBES", "B-PER E-PER S-PER O S-LOC B-ORG I-ORG E-ORG"),
        ("BILOU", "B-PER L-PER U-PER O U-LOC B-ORG I-ORG L-ORG"),
        ("BMES", "B-PER E-PER S-PER O S-LOC B-ORG M-ORG E-ORG"),
    ],
)
def test_every_common_scheme_is_rewritten_in_iob2(conll, scheme, tags):
    text = "".join(f"neno\t{tag}\n" for tag in tags.split())
    assert tags_of(conll(text)) == [["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-ORG", "I-ORG", "I-ORG"]]


def test_label_map_renames_tags_and_whole_types(conll):
    text = "leo\tB-DATE\nasubuhi\tI-DATE\nMary\tB-PERSON\nSue\tI-PERSON\nna\tB-O\n"
    found = tags_of(conll(text, label_map={"DATE": "O", "PERSON": "PER", "B-O": "O"}))
    assert found == [["O", "O", "B-PER", "I-PER", "O"]]


@pytest.mark.parametrize("scheme", ["I-GPE I-GPE I-LOC O I-LOC I-GPE", "I-GPE E-GPE I-LOC O I-LOC E-GPE"])
def test_where_two_types_become_one_their_entities_stay_two(conll, scheme):
    text = "".join(f"mji\t{tag}\n" for tag in scheme.split())
    apart, joined = tags_of(conll(text))[0], tags_of(conll(text, label_map={"GPE": "LOC"}))[0]
    assert joined == ["B-LOC", "I-LOC", "B-LOC", "O", "B-LOC", "B-LOC"]
    assert [tag[0] for tag in joined] == [tag[0] for tag in apart]


def test_a_label_map_that_renames_half_of_a_type_is_refused(conll):
    text = "leo\tB-DATE\nasubuhi\tI-DATE\n"
    with pytest.raises(InputError, match=r"B-DATE is renamed to O, but I-DATE is not.*Rename the type, DATE: O"):
        NER.read(conll(text, label_map={"B-DATE": "O"}))
    assert tags_of(conll(text, label_map={"B-DATE": "O", "I-DATE": "O"})) == [["O", "O"]]


@pytest.mark.parametrize("tag", ["B-O", "PER", "b-PER", "B-", "B--PER", "o", "_"])
def test_a_malformed_tag_is_refused_with_its_line_and_a_remedy(conll, tag):
    source = conll(f"{ENGLISH}\nMary\t{tag}\n")
    with pytest.raises(
        InputError, match=f"line 6 = {re.escape(repr(tag))}.*label_map, such as {re.escape(tag)}: O"
    ) as e:
        NER.read(source)
    assert e.value.file == str(source.file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{ENGLISH}\nMary\n", r"line 6: 1 column\(s\) where line 1 has 2"),
        (f"{ENGLISH}Sue\tNNP\tB-PER\n", r"line 5: 3 column\(s\) where line 1 has 2"),
        ("# maoni\nMary\nSue\n", r"line 2: one column, so that there is a token and no tag"),
        (ENGLISH.encode() + b"\n\xff\tO\n", r"line 6: not UTF-8 text"),
        ("# maoni tu\n\n", "there is no sentence in it"),
        ("Mary\t\n", r"line 1 = '': not a tag"),
    ],
)
def test_a_broken_file_is_refused_with_file_and_line(conll, text, message):
    source = conll(text)
    with pytest.raises(InputError, match=message) as caught:
        NER.read(source)
    assert caught.value.file == str(source.file)
    assert caught.value.remedy


def test_columns_of_a_conll_file_are_numbers_that_exist(conll):
    with pytest.raises(InputError, match=r"columns.tags = 'ner'.*have no names"):
        NER.read(conll(ENGLISH, columns={"tags": "ner"}))
    with pytest.raises(InputError, match=r"line 1: 2 columns, of which column 5"):
        NER.read(conll(ENGLISH, columns={"tags": "5"}))
    with pytest.raises(InputError, match=r"reads no such column.*tokens, tags"):
        NER.read(conll(ENGLISH, columns={"words": "0"}))


def test_class_labels_of_a_table_become_strings(parquet):
    names = ["O", "B-PER", "I-PER"]
    features = Features(tokens=List(Value("string")), ner_tags=List(ClassLabel(names=names)))
    dataset = Dataset.from_dict({"tokens": [["Mary", "Sue", "na"], []], "ner_tags": [[1, 2, 0], []]}, features=features)
    assert tags_of(parquet(dataset)) == [["B-PER", "I-PER", "O"], []]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.ndjson", "data.JSONL", "data.Parquet"])
def test_a_table_is_told_by_its_ending_however_that_is_written(name, tmp_path):
    dataset = Dataset.from_dict({"tokens": [["Mary", "na"]], "ner_tags": [["B-PER", "O"]]})
    write = dataset.to_parquet if name.lower().endswith(".parquet") else dataset.to_json
    write(str(tmp_path / name))
    assert tags_of(LabelledSource(path=str(tmp_path / name))) == [["B-PER", "O"]]


def test_columns_rename_those_of_a_table(parquet):
    dataset = Dataset.from_dict({"words": [["Mary"]], "labels": [["B-PER"]]})
    assert tags_of(parquet(dataset, columns={"tokens": "words", "tags": "labels"})) == [["B-PER"]]


def test_numbers_are_tags_only_where_label_map_names_them(parquet):
    dataset = Dataset.from_dict({"tokens": [["Mary", "na"]], "ner_tags": [[1, 0]]})
    with pytest.raises(InputError, match=r"ner_tags = 1: a tag without a name.*label_map, such as 0: O"):
        NER.read(parquet(dataset))
    assert tags_of(parquet(dataset, label_map={"0": "O", "1": "B-PER"})) == [["B-PER", "O"]]


def test_an_unlabelled_split_is_refused(parquet):
    features = Features(tokens=List(Value("string")), ner_tags=List(ClassLabel(names=["O"])))
    dataset = Dataset.from_dict({"tokens": [["Mary"]], "ner_tags": [[-1]]}, features=features)
    with pytest.raises(InputError, match="Use a split that is labelled"):
        NER.read(parquet(dataset.cast(features)))


def test_a_missing_column_is_refused_with_those_there_are(parquet):
    dataset = Dataset.from_dict({"tokens": [["Mary"]], "labels": [["B-PER"]]})
    with pytest.raises(InputError, match=r"columns.tags = 'ner_tags': .*the columns are labels, tokens") as caught:
        NER.read(parquet(dataset))
    assert caught.value.file.endswith("data.parquet")


def test_a_table_of_the_wrong_shape_is_refused(parquet):
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\): 2 tokens and 1 tags"):
        NER.read(parquet(Dataset.from_dict({"tokens": [["a"], ["a", "b"]], "ner_tags": [["O"], ["O"]]})))
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\): 1 tokens and no tags"):
        NER.read(parquet(Dataset.from_dict({"tokens": [["a"], ["b"]], "ner_tags": [["O"], None]})))
    with pytest.raises(InputError, match="ner_tags: each row must hold a list"):
        NER.read(parquet(Dataset.from_dict({"tokens": [["a"]], "ner_tags": ["O"]})))
    with pytest.raises(InputError, match="the tokens must be strings"):
        NER.read(parquet(Dataset.from_dict({"tokens": [[1]], "ner_tags": [["O"]]})))
    with pytest.raises(InputError, match=r"row 0, token 1 \(counted from 0\) = 'X': not a tag"):
        NER.read(parquet(Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [["O", "X"]]})))


def test_labels_have_both_prefixes_and_an_order_that_the_examples_do_not_change(conll):
    forth, back = NER.read(conll(f"{ENGLISH}\n{SWAHILI}")), NER.read(conll(f"{SWAHILI}\n{ENGLISH}"))
    assert NER.labels(forth) == NER.labels(back) == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")


def test_a_label_that_training_lacks_is_refused_before_training(conll):
    labels = NER.labels(NER.read(conll(ENGLISH)))
    test_set = NER.read(conll(SWAHILI))
    with pytest.raises(InputError, match=r"sw\.conll: tags = 'B-LOC'.*sentence 0.*label_map, such as LOC: O"):
        NER.check_labels(test_set, labels, "sw.conll")
    NER.check_labels(test_set, NER.labels(test_set), "sw.conll")


def test_where_is_refused_for_a_conll_file(conll):
    with pytest.raises(InputError, match=r"where = .*rows of such a file"):
        NER.read(conll(ENGLISH, where={"tokens": "M*"}))
