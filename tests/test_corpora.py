"""Text is read as it stands, packed without loss, and dealt out evenly between the languages."""

import csv
import gzip
import json
import pickle
from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bistill_hub import InputError, corpora
from bistill_hub.corpora import BilingualBlocks, OneLanguageBatches, pack_blocks, write_blocks
from bistill_hub.sources import LabelledSource, TextSource

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = [f"w{number}" for number in range(30)]


def make_tokenizer(before=("[CLS]",), after=("[SEP]",), **special):
    """A word-level tokenizer that puts given special tokens around a sequence."""
    vocabulary = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after], special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = special or {"sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", **special)


TOKENIZER = make_tokenizer()
CLS, SEP = 2, 3
LINES = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=40)


def ids_of(line):
    return TOKENIZER(line, add_special_tokens=False)["input_ids"]


def stream_of(lines, separator=(SEP,)):
    """All tokens of a text in one go: what the blocks hold together."""
    stream = []
    for ids in filter(None, map(ids_of, lines)):
        stream += [*(separator if stream else ()), *ids]
    return stream


@given(lines=LINES, block_size=st.integers(3, 20), lines_at_a_time=st.integers(1, 7))
@settings(PATIENT, max_examples=150)
def test_packing_loses_and_repeats_no_token_wherever_the_text_is_cut(monkeypatch, lines, block_size, lines_at_a_time):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", lines_at_a_time)
    blocks = [block["input_ids"] for block in pack_blocks(lines, TOKENIZER, block_size)]
    assert list(chain.from_iterable(block[1:-1] for block in blocks)) == stream_of(lines)
    assert all(block[0] == CLS and block[-1] == SEP for block in blocks)
    assert all(len(block) == block_size for block in blocks[:-1])
    assert all(3 <= len(block) <= block_size for block in blocks)


def test_the_special_tokens_of_the_tokenizer_stand_around_each_block():
    line = " ".join(WORDS[:7])
    for before, after in (([], ["[SEP]"]), (["[CLS]", "[SEP]"], []), (["[CLS]"], ["[SEP]", "[SEP]"]), ([], [])):
        tokenizer = make_tokenizer(before, after)
        size = 4 + len(before) + len(after)
        first, last = pack_blocks([line], tokenizer, size)
        for block, words in ((first, WORDS[:4]), (last, WORDS[4:7])):
            assert tokenizer.convert_ids_to_tokens(block["input_ids"]) == [*before, *words, *after]


def test_lines_are_separated_by_the_separator_or_the_end_token_where_there_is_one():
    for special, separator in (
        ({"sep_token": "[SEP]"}, [SEP]),
        ({"eos_token": "[SEP]"}, [SEP]),
        ({"cls_token": "[CLS]"}, []),
    ):
        tokenizer = make_tokenizer(**special)
        (block,) = pack_blocks(["w0 w1", "", "w2"], tokenizer, 20)
        assert block["input_ids"][1:-1] == stream_of(["w0 w1", "w2"], separator)


def test_a_text_without_a_token_has_no_block():
    assert list(pack_blocks([], TOKENIZER)) == []
    assert list(pack_blocks(["", "  "], TOKENIZER)) == []


def test_text_is_read_no_further_than_the_blocks_that_are_asked_for(monkeypatch):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", 10)
    read = []

    def endless():
        while True:
            read.append(1)
            yield "w1 w2 w3"

    blocks = pack_blocks(endless(), TOKENIZER, 8)
    for _ in range(10):
        next(blocks)
    assert len(read) <= 30


def test_a_block_without_room_for_text_is_refused():
    with pytest.raises(InputError, match=r"block_size = 2: there is no room .* Take at least 3"):
        list(pack_blocks(["w0"], TOKENIZER, 2))
    assert len(list(pack_blocks(["w0 w1"], TOKENIZER, 3))) == 2


def test_written_blocks_are_mapped_from_disk_not_held_in_memory(tmp_path):
    lines = [" ".join(WORDS[:7])] * 50
    dataset = write_blocks(iter(lines), TOKENIZER, tmp_path / "en-blocks", block_size=16)
    assert dataset.column_names == ["input_ids"]
    assert dataset.cache_files
    for entry in dataset.cache_files:
        assert Path(entry["filename"]).is_relative_to(tmp_path / "en-blocks")
    assert list(dataset) == list(pack_blocks(lines, TOKENIZER, 16))


def test_an_empty_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no text"):
        write_blocks(["", "   "], TOKENIZER, tmp_path / "en")


def rows(count, start=0):
    return [{"input_ids": [start + number]} for number in range(count)]


def test_blocks_know_their_language_by_number():
    blocks = BilingualBlocks({"en": rows(3), "sw": rows(2, start=10)})
    assert blocks.languages == ("en", "sw")
    assert blocks.sizes == (3, 2)
    assert [(row["input_ids"][0], row["language"]) for row in (blocks[i] for i in range(len(blocks)))] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (10, 1),
        (11, 1),
    ]
    for outside in (5, -1):
        with pytest.raises(IndexError):
            blocks[outside]


@given(sizes=st.lists(st.integers(2, 60), min_size=1, max_size=3), share=st.floats(0, 1))
@settings(PATIENT)
def test_a_split_sets_aside_the_end_of_each_language_and_leaves_something_on_both_sides(sizes, share):
    whole = {f"l{number}": rows(size, start=1000 * number) for number, size in enumerate(sizes)}
    train, held_out = BilingualBlocks(whole).split(share)
    assert train.languages == held_out.languages == tuple(whole)
    for (language, part), taught, kept in zip(whole.items(), train.parts, held_out.parts, strict=True):
        assert [*taught, *kept] == part, language
        assert 1 <= len(kept) < len(part)
        assert abs(len(kept) - share * len(part)) <= 1
    assert [row["input_ids"] for row in (held_out[i] for i in range(len(held_out)))] == [
        row["input_ids"] for part in held_out.parts for row in part
    ]


def test_a_language_that_cannot_be_split_is_refused_by_name():
    with pytest.raises(InputError, match="corpus of 'sw' = '1 block': too little text"):
        BilingualBlocks({"en": rows(5), "sw": rows(1)}).split(0.1)


SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=3)


def language_of(row, sizes):
    for number, size in enumerate(sizes):
        if row < size:
            return number
        row -= size
    raise AssertionError("no such row")


def epoch(sizes, batch_size, seed=0, number=0):
    sampler = OneLanguageBatches(sizes, batch_size, seed=seed)
    sampler.set_epoch(number)
    return list(sampler)


@given(sizes=SIZES, batch_size=st.integers(1, 9), seed=st.integers(0, 99), number=st.integers(0, 9))
@settings(PATIENT)
def test_balanced_batches_are_of_one_language_equally_many_and_repeat_no_row(sizes, batch_size, seed, number):
    batches = epoch(sizes, batch_size, seed, number)
    languages = [{language_of(row, sizes) for row in batch} for batch in batches]
    assert all(len(found) == 1 for found in languages)
    counts = [languages.count({language}) for language in range(len(sizes))]
    assert counts == [-(-min(sizes) // batch_size)] * len(sizes)
    assert len(OneLanguageBatches(sizes, batch_size)) == len(batches)
    dealt = list(chain.from_iterable(batches))
    assert len(set(dealt)) == len(dealt)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    smallest = sizes.index(min(sizes))
    assert sum(language_of(row, sizes) == smallest for row in dealt) == min(sizes), "all of the smallest language"
    assert batches == epoch(sizes, batch_size, seed, number), "the order depends on seed and epoch alone"


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    orders = [epoch([40, 60], 4, seed, number) for seed in range(3) for number in range(3)]
    assert len({str(order) for order in orders}) == len(orders)
    seen = {row for number in range(20) for batch in epoch([40, 60], 4, number=number) for row in batch}
    assert seen == set(range(100)), "of the larger language each epoch draws anew"


def test_the_order_of_an_epoch_does_not_depend_on_those_before_it():
    sampler = OneLanguageBatches([20, 30], 4, seed=7)
    list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == list(sampler) == epoch([20, 30], 4, seed=7, number=3)


def test_the_languages_take_turns_at_random_not_in_blocks():
    turns = [batch[0] < 400 for batch in epoch([400, 400], 4)]
    switches = sum(one != other for one, other in pairwise(turns))
    assert 60 < switches < 140, "about every second of 200"


@given(sizes=SIZES, batch_size=st.integers(1, 9))
@settings(PATIENT)
def test_unbalanced_batches_see_every_row_once_in_order(sizes, batch_size):
    sampler = OneLanguageBatches(sizes, batch_size, balanced=False)
    batches = list(sampler)
    assert list(chain.from_iterable(batches)) == list(range(sum(sizes)))
    assert all(len({language_of(row, sizes) for row in batch}) == 1 for batch in batches)
    assert len(sampler) == len(batches)


# Where text comes from.


def test_a_plain_file_gives_its_lines_stripped_and_without_empty_ones(tmp_path):
    file = tmp_path / "text.txt"
    file.write_bytes("\ufeffNjoo hapa.\r\n\n  \tKesho\u00a0\nmwisho".encode())
    source = TextSource(path=str(file))
    assert list(source) == list(source) == ["Njoo hapa.", "Kesho", "mwisho"]
    assert source.name == "text.txt"
    source.check("corpora.sw")


def test_a_packed_file_is_not_taken_for_text(tmp_path):
    file = tmp_path / "text.txt.gz"
    file.write_bytes(gzip.compress(b"maandishi\n" * 50))
    with pytest.raises(InputError, match=r"text\.txt\.gz: not UTF-8 text .*line 1\)\. Convert the file"):
        list(TextSource(path=str(file)))


def test_text_that_is_not_utf_8_is_refused_by_line(tmp_path):
    file = tmp_path / "latin1.txt"
    file.write_bytes(b"sawa\n" * 20_000 + "très\n".encode("latin-1") + b"sawa\n")
    source = TextSource(path=str(file))
    read = []
    with pytest.raises(InputError, match=r"latin1\.txt: not UTF-8 text \(.* in line 20001\)") as caught:
        read.extend(source)
    assert caught.value.file == str(file)
    assert list(TextSource(path=str(file), limit=10)) == ["sawa"] * 10


TABLE = [{"text": "moja\nmbili", "body": "one"}, {"text": None, "body": "two"}, {"text": " tatu ", "body": "three"}]


def write_table(file, table=TABLE):
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif file.suffix == ".json":
        file.write_text(json.dumps(table))
    else:
        with file.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, list(table[0]), delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(table)
    return file


TABLES = ("table.parquet", "table.jsonl", "table.json", "table.csv", "table.tsv")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_gives_the_lines_of_its_column(tmp_path, name):
    file = write_table(tmp_path / name)
    assert list(TextSource(path=str(file))) == ["moja", "mbili", "tatu"]
    assert list(TextSource(path=str(file), column="body")) == ["one", "two", "three"]
    assert list(TextSource(path=str(file), column="body", limit=2)) == ["one", "two"]


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path, name):
    file = write_table(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: column = 'txt': .*Choose one of \['body', 'text'\]"):
        list(TextSource(path=str(file), column="txt"))


def test_a_column_of_numbers_is_not_text(tmp_path):
    file = write_table(tmp_path / "table.jsonl", [{"text": 7}])
    with pytest.raises(InputError, match="holds values of type int, not text"):
        list(TextSource(path=str(file)))


def test_a_limit_counts_rows_not_lines(tmp_path):
    file = write_table(tmp_path / "table.jsonl")
    assert list(TextSource(path=str(file), limit=1)) == ["moja", "mbili"]
    with pytest.raises(ValidationError, match="limit"):
        TextSource(path=str(file), limit=0)


def test_environment_variables_and_the_home_folder_are_expanded(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("sawa\n")
    monkeypatch.setenv("BISTILL_TEST_CORPORA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("$BISTILL_TEST_CORPORA/text.txt", "${BISTILL_TEST_CORPORA}/text.txt", "~/text.txt"):
        source = TextSource(path=path)
        assert list(source) == ["sawa"]
        assert source.path == path, "a recipe keeps the path as it was written"
        source.check("corpora.sw")


def test_an_environment_variable_that_is_not_set_is_refused(monkeypatch):
    monkeypatch.delenv("BISTILL_TEST_CORPORA", raising=False)
    source = TextSource(path="$BISTILL_TEST_CORPORA/text.txt")
    for read in (lambda: list(source), lambda: source.check("corpora.sw"), lambda: source.file):
        with pytest.raises(InputError, match="environment variable in the path is not set"):
            read()


def test_a_source_is_checked_before_it_is_read(tmp_path):
    (tmp_path / "empty.txt").touch()
    for name, problem in (("nowhere.txt", "no such file"), ("empty.txt", "is empty"), (".", "not a file")):
        with pytest.raises(InputError, match=problem) as caught:
            TextSource(path=str(tmp_path / name)).check("corpora.sw")
        assert caught.value.field == "corpora.sw"


def test_a_source_is_one_place():
    with pytest.raises(ValidationError, match="exactly one of `path`"):
        TextSource()
    with pytest.raises(ValidationError, match="exactly one of `path`"):
        TextSource(path="text.txt", dataset="org/data", split="train")
    with pytest.raises(ValidationError, match="needs `split`"):
        TextSource(dataset="org/data")
    source = TextSource(dataset="org/data", config="sw", split="train", revision="abc")
    assert source.name == "org/data/sw/train@abc"


def test_a_path_alone_is_a_source(tmp_path):
    assert (
        TextSource.model_validate("text.txt")
        == TextSource.model_validate(Path("text.txt"))
        == TextSource(path="text.txt")
    )


def labelled(**changes):
    return LabelledSource(path="train.conll", columns={"tokens": "words"}, label_map={"B-DATE": "O"}, **changes)


def test_a_labelled_source_can_be_pickled_hashed_and_compared():
    source = labelled(limit=3)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert hash(copy) == hash(source)
    assert dict(copy.columns) == {"tokens": "words"}
    assert source != labelled(limit=4)
    assert LabelledSource.model_validate_json(source.model_dump_json()) == source
    assert source.model_dump()["label_map"] == {"B-DATE": "O"}


def test_a_labelled_source_cannot_be_changed():
    given_columns = {"tokens": "words"}
    source = LabelledSource(path="train.conll", columns=given_columns)
    with pytest.raises(ValidationError, match="frozen"):
        source.limit = 3
    with pytest.raises(TypeError):
        source.columns["tokens"] = "text"
    with pytest.raises(TypeError):
        LabelledSource(path="train.conll").label_map["B-DATE"] = "O"
    given_columns["tokens"] = "text"
    assert source.columns["tokens"] == "words"


@pytest.mark.parametrize("name", TABLES)
def test_a_labelled_table_is_read_as_it_is(tmp_path, name):
    file = write_table(tmp_path / name, [{"text": "moja", "label": "x"}, {"text": "mbili", "label": "y"}])
    assert list(LabelledSource(path=str(file), columns={"premise": "text"}).table()) == [
        {"text": "moja", "label": "x"},
        {"text": "mbili", "label": "y"},
    ]
    assert len(LabelledSource(path=str(file), limit=1).table()) == 1
    assert len(LabelledSource(path=str(file), limit=9).table()) == 2


def test_a_file_that_is_no_table_is_refused_as_one(tmp_path):
    with pytest.raises(InputError, match=r"train\.conll: not a table that can be read"):
        LabelledSource(path=str(tmp_path / "train.conll")).table()
