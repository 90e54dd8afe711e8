"""Text is read as it stands, packed without loss, and dealt out evenly between the languages."""

import csv
import gzip
import json
import os
import pickle
import shutil
import tracemalloc
from collections import Counter
from itertools import chain, islice, pairwise
from pathlib import Path

import datasets
import numpy as np
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


def packed(lines, tokenizer=TOKENIZER, block_size=256):
    """The blocks as lists."""
    return [block.tolist() for blocks in pack_blocks(lines, tokenizer, block_size) for block in blocks]


@given(lines=LINES, block_size=st.integers(3, 20), lines_at_a_time=st.integers(1, 7))
@settings(PATIENT, max_examples=150)
def test_packing_loses_and_repeats_no_token_wherever_the_text_is_cut(monkeypatch, lines, block_size, lines_at_a_time):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", lines_at_a_time)
    blocks = packed(lines, TOKENIZER, block_size)
    assert list(chain.from_iterable(block[1:-1] for block in blocks)) == stream_of(lines)
    assert all(block[0] == CLS and block[-1] == SEP for block in blocks)
    assert all(len(block) == block_size for block in blocks[:-1])
    assert all(3 <= len(block) <= block_size for block in blocks)


def test_the_special_tokens_of_the_tokenizer_stand_around_each_block():
    line = " ".join(WORDS[:7])
    for before, after in (([], ["[SEP]"]), (["[CLS]", "[SEP]"], []), (["[CLS]"], ["[SEP]", "[SEP]"]), ([], [])):
        tokenizer = make_tokenizer(before, after)
        size = 4 + len(before) + len(after)
        first, last = packed([line], tokenizer, size)
        for block, words in ((first, WORDS[:4]), (last, WORDS[4:7])):
            assert tokenizer.convert_ids_to_tokens(block) == [*before, *words, *after]


def test_lines_are_separated_by_the_separator_or_the_end_token_where_there_is_one():
    for special, separator in (
        ({"sep_token": "[SEP]"}, [SEP]),
        ({"eos_token": "[SEP]"}, [SEP]),
        ({"cls_token": "[CLS]"}, []),
    ):
        tokenizer = make_tokenizer(**special)
        (block,) = packed(["w0 w1", "", "w2"], tokenizer, 20)
        assert block[1:-1] == stream_of(["w0 w1", "w2"], separator)


def test_a_text_without_a_token_has_no_block():
    assert packed([]) == []
    assert packed(["", "  "]) == []


def test_text_is_read_no_further_than_the_blocks_that_are_asked_for(monkeypatch):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", 10)
    read = []

    def endless():
        while True:
            read.append(1)
            yield "w1 w2 w3"

    assert len(list(islice(pack_blocks(endless(), TOKENIZER, 8), 3))) == 3
    assert len(read) == 30


def test_a_block_without_room_for_text_is_refused():
    with pytest.raises(InputError, match=r"block_size = 2: there is no room .* Take at least 3"):
        list(pack_blocks(["w0"], TOKENIZER, 2))
    assert packed(["w0 w1"], TOKENIZER, 3) == [[CLS, *ids_of("w0"), SEP], [CLS, *ids_of("w1"), SEP]]


def one_dict_a_block(lines, block_size, tokenizer=TOKENIZER):
    """Blocks as they are made in the plainest way: all tokens in one list, by transformers' own call."""
    room = block_size - 2
    stream = []
    for ids in tokenizer(lines, add_special_tokens=False)["input_ids"] if lines else []:
        stream += [*([SEP] if stream and ids else []), *ids]
    return [{"input_ids": [CLS, *stream[at : at + room], SEP]} for at in range(0, len(stream), room)]


@given(
    lines=st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=30),
    block_size=st.integers(3, 12),
    blocks_at_a_time=st.integers(1, 9),
)
@settings(PATIENT, max_examples=40)
def test_written_blocks_are_those_of_the_plainest_way(tmp_path, monkeypatch, lines, block_size, blocks_at_a_time):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", 3)
    monkeypatch.setattr(corpora, "BLOCKS_AT_A_TIME", blocks_at_a_time)
    lines = ["w0 [SEP] w1", *lines]  # what looks like a special token in the text is one, as it always was
    dataset = write_blocks(lines, TOKENIZER, tmp_path / "blocks", block_size=block_size)
    assert list(dataset) == one_dict_a_block(lines, block_size)
    assert dataset.features == datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))})


def test_written_blocks_are_mapped_from_disk_not_held_in_memory(tmp_path):
    lines = [" ".join(WORDS[:7])] * 50
    before = pa.total_allocated_bytes()
    dataset = write_blocks(iter(lines), TOKENIZER, tmp_path / "en-blocks", block_size=16)
    assert dataset.column_names == ["input_ids"]
    assert dataset.cache_files == [{"filename": str(tmp_path / "en-blocks" / "blocks.arrow")}]
    assert pa.total_allocated_bytes() - before < 1000
    assert list(dataset) == one_dict_a_block(lines, 16)
    again = pickle.loads(pickle.dumps(dataset))
    assert list(again) == list(dataset), "as it reaches a process that does not share this one's memory"


def test_an_empty_corpus_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="there is no text"):
        write_blocks(["", "   "], TOKENIZER, tmp_path / "en")
    assert os.listdir(tmp_path / "en") == []


def identity(folder):
    """Which file holds the blocks: another one even if it has the same content."""
    status = (folder / "blocks.arrow").stat()
    return status.st_ino, status.st_mtime_ns


def replace(file, content):
    """Change a file that may be mapped: those who have mapped it keep the old one."""
    file.unlink()
    file.write_bytes(content)


def test_the_blocks_of_the_same_corpus_are_taken_as_they_are_and_of_another_made_anew(tmp_path):
    file, folder = tmp_path / "sw.txt", tmp_path / "blocks"
    file.write_text("w0 w1 w2\nw3 w4\n")
    source = TextSource(path=str(file))
    write_blocks(source, TOKENIZER, folder, block_size=5)
    at_first = identity(folder)
    assert list(write_blocks(source, TOKENIZER, folder, block_size=5)) == one_dict_a_block(["w0 w1 w2", "w3 w4"], 5)
    assert identity(folder) == at_first
    blocks, new = folder / "blocks.arrow", ["w5 w6 w7", "w8 w9"]
    for change, lines, size in (
        (lambda: None, ["w0 w1 w2", "w3 w4"], 6),
        (lambda: file.write_text("w5 w6 w7\nw8 w9\n"), new, 6),
        (lambda: replace(blocks, blocks.read_bytes()[:100]), new, 6),
        (lambda: replace(blocks, b""), new, 6),
        (lambda: replace(blocks, blocks.read_bytes()[:-24]), new, 6),
    ):
        change()
        before = identity(folder)
        assert list(write_blocks(source, TOKENIZER, folder, block_size=size)) == one_dict_a_block(lines, size)
        assert identity(folder) != before
    before = identity(folder)
    limited = TextSource(path=str(file), limit=1)
    assert list(write_blocks(limited, TOKENIZER, folder, block_size=6)) == one_dict_a_block(["w5 w6 w7"], 6)
    other = make_tokenizer(["[CLS]"], ["[SEP]", "[SEP]"])
    assert list(write_blocks(limited, other, folder, block_size=6)) == [
        {"input_ids": [CLS, *ids_of("w5 w6 w7"), SEP, SEP]}
    ]
    assert identity(folder) != before
    assert os.listdir(folder) == ["blocks.arrow"]


def test_lines_that_do_not_say_where_they_come_from_are_packed_anew(tmp_path):
    write_blocks(["w0"], TOKENIZER, tmp_path)
    assert list(write_blocks(["w1"], TOKENIZER, tmp_path)) == one_dict_a_block(["w1"], 256)


def test_a_parquet_file_becomes_blocks(tmp_path):
    lines = [f"{WORDS[number % 30]} {WORDS[number % 7]}" for number in range(500)]
    table = [{"text": "unused", "body": "\n".join(lines[at : at + 3])} for at in range(0, 500, 3)]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "sw.parquet", row_group_size=20)
    source = TextSource(path=str(tmp_path / "sw.parquet"), column="body")
    dataset = write_blocks(source, TOKENIZER, tmp_path / "blocks", block_size=32)
    assert list(dataset) == one_dict_a_block(lines, 32)


def test_a_stream_that_breaks_off_leaves_nothing_that_is_taken_for_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", 10)
    monkeypatch.setattr(corpora, "BLOCKS_AT_A_TIME", 5)
    breaks = True

    def lines():
        for number in range(300):
            if breaks and number == 200:
                raise ConnectionError("Server Disconnected")
            yield {"text": f"{WORDS[number % 30]} w1 w2"}

    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return datasets.IterableDataset.from_generator(lines)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = TextSource(dataset="someone/texts", config="sw", split="train")
    folder = tmp_path / "blocks"
    with pytest.raises(InputError, match=r"someone/texts/sw/train: reading it failed \(Server Disconnected\)"):
        write_blocks(source, TOKENIZER, folder, block_size=8)
    assert asked[0][1]["streaming"]
    assert os.listdir(folder) == []
    breaks = False
    whole = [row["text"] for row in lines()]
    assert list(write_blocks(source, TOKENIZER, folder, block_size=8)) == one_dict_a_block(whole, 8)
    breaks, before = True, identity(folder)
    assert list(write_blocks(source, TOKENIZER, folder, block_size=8)) == one_dict_a_block(whole, 8)
    assert identity(folder) == before, "the stream is not opened again"
    with pytest.raises(InputError, match="reading it failed"):
        write_blocks(source, TOKENIZER, folder, block_size=9)
    assert os.listdir(folder) == ["blocks.arrow"]
    assert identity(folder) == before


def test_what_a_process_leaves_that_dies_while_it_packs_is_not_taken_for_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "LINES_AT_A_TIME", 10)
    monkeypatch.setattr(corpora, "BLOCKS_AT_A_TIME", 5)
    file, folder, left = tmp_path / "sw.txt", tmp_path / "blocks", tmp_path / "left"
    text = [f"{WORDS[number % 30]} w1 w2" for number in range(3000)]
    file.write_text("\n".join(text))
    source = TextSource(path=str(file))
    rows_of = TextSource._rows

    def copies_the_folder(self):
        for number, row in enumerate(rows_of(self)):
            if number == 2500:
                shutil.copytree(folder, left)
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(TextSource, "_rows", copies_the_folder)
        write_blocks(source, TOKENIZER, folder, block_size=8)
    (unfinished,) = left.iterdir()
    assert unfinished.suffix == ".unfinished"
    assert unfinished.stat().st_size > 10_000
    assert list(write_blocks(source, TOKENIZER, left, block_size=8)) == one_dict_a_block(text, 8)


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


def test_the_numbers_of_languages_may_be_given_and_stay_with_them():
    blocks = BilingualBlocks({"sw": rows(4), "en": rows(4, start=10)}, numbers=(2, 0))
    for part in (blocks, *blocks.split(0.5)):
        assert [part[index]["language"] for index in range(len(part))] == [
            *[2] * part.sizes[0],
            *[0] * part.sizes[1],
        ]


@pytest.mark.parametrize("sizes", [(4, 0), (0,), ()])
def test_balanced_batches_without_rows_of_some_language_are_refused_and_others_are_not(sizes):
    with pytest.raises(InputError, match=r"sizes = .*: balanced batches need rows of each language"):
        OneLanguageBatches(sizes, 2)
    assert len(list(OneLanguageBatches(sizes, 2, balanced=False))) == sum(sizes) // 2


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


def test_every_row_is_as_likely_in_every_place():
    epochs = 600
    for size in (3, 8):
        found = Counter()
        for number in range(epochs):
            found.update(enumerate(chain.from_iterable(epoch([size], 3, number=number))))
        mean = epochs / size
        # Squared deviations from the mean, summed, have about the distribution chi-squared with (size - 1)^2 degrees.
        statistic = sum((found[place, row] - mean) ** 2 / mean for place in range(size) for row in range(size))
        freedom = (size - 1) ** 2
        assert statistic < freedom + 5 * (2 * freedom) ** 0.5, size
    pairs = Counter(tuple(chain.from_iterable(epoch([4], 4, number=number))) for number in range(epochs))
    assert len(pairs) == 24, "odd and even permutations"
    assert max(pairs.values()) < 3 * epochs / 24


def test_an_order_needs_no_more_memory_for_a_larger_corpus():
    peaks = []
    for size in (10**4, 10**9):
        sampler = OneLanguageBatches([size, 2 * size], 8)
        tracemalloc.start()
        taken = list(chain.from_iterable(islice(sampler, 300)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(set(taken)) == 2400
        assert np.ptp(taken) > 2 * size
    assert peaks[1] < 1.5 * peaks[0] < 5e6


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
