"""Blocks out of the teacher's tokens are those of the student's tokenizer, byte for byte, and little is tokenised."""

import json
from functools import cache

import miniature
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS
from transformers import AutoTokenizer

from bistill_hub import corpora, tokenised_text
from bistill_hub.corpora import pack_blocks, write_blocks
from bistill_hub.sources import TextSource
from bistill_hub.student.token_counts import count_tokens, encode_in_batches, plain_backend
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer
from bistill_hub.tokenised_text import TOKENS_FILE, KnownTokens, writing_tokens

ENGLISH = (
    "The children walked to the river in the morning and came back before noon.",
    "It's a pity: the doctor's car broke down 12 km from the hospital!",
)
OTHER = (
    "Watoto walitembea hadi mtoni asubuhi na kurudi kabla ya saa sita mchana.",
    "Дети утром пошли к реке и вернулись до полудня.",
    "孩子们早上走到河边，中午之前回来。",
)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORD = st.sampled_from(sorted({word for line in (*ENGLISH, *OTHER) for word in line.split()}))
INVENTED = st.text(alphabet=sorted(set("".join((*ENGLISH, *OTHER)))), min_size=1, max_size=12)
ODD = st.sampled_from(["[UNK]", "<unk>", "[SEP]", "</s>", "é", "e\u0301", "ﬁ", "\u200b", "👩‍👩‍👧", "\x00", "....", "▁"])
LINE = st.lists(WORD | WORD | INVENTED | ODD | st.text(max_size=6), max_size=8).map(" ".join)


@cache
def trained(kind):
    return KINDS[kind]([*ENGLISH, *OTHER], 480)


def cut(teacher, folder, lines, share=1.0):
    """A student as phase 1 finds it: saved and loaded."""
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, lines)}, share)
    trim_tokenizer(teacher, token_map).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder), token_map


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """By kind a teacher, a student of it that lacks many pieces, and the map."""
    return {
        kind: (trained(kind), *cut(trained(kind), tmp_path_factory.mktemp("student"), ENGLISH, 0.01)) for kind in KINDS
    }


def write_tokens(file, tokenizer, lines, batch_size=1024):
    with writing_tokens(file, tokenizer, {"text": "of a test"}) as keep:
        for batch, encodings in encode_in_batches(plain_backend(tokenizer), lines, batch_size):
            keep(batch, encodings)


class Spy:
    """Notes which lines are tokenised where tokens could be known."""

    def __init__(self, monkeypatch):
        self.lines = []
        monkeypatch.setattr(tokenised_text, "encode_in_batches", self.encode)

    def encode(self, backend, lines, batch_size):
        for batch, encodings in encode_in_batches(backend, lines, batch_size):
            self.lines += batch
            yield batch, encodings


def packed(lines, tokenizer, block_size, known=None):
    return [block.tolist() for blocks in pack_blocks(lines, tokenizer, block_size, known=known) for block in blocks]


def must_be_tokenised(lines, teacher, token_map):
    """The lines with pieces that the student has not, or with what the teacher does not know."""
    kept = {*token_map.tolist()} - {teacher.unk_token_id}
    return [line for line in lines if not kept.issuperset(teacher(line, add_special_tokens=False)["input_ids"])]


@pytest.mark.parametrize("kind", KINDS)
@given(
    lines=st.lists(LINE, max_size=12),
    block_size=st.integers(4, 40),
    sizes=st.tuples(*2 * [st.integers(1, 5)]),
)
@settings(PATIENT, max_examples=40)
def test_blocks_are_those_of_the_students_tokenizer_whatever_the_lines(
    students, tmp_path, kind, lines, block_size, sizes
):
    teacher, student, token_map = students[kind]
    write_tokens(tmp_path / TOKENS_FILE, teacher, lines, sizes[0])
    known = KnownTokens.of(tmp_path / TOKENS_FILE, teacher, student, token_map)
    assert known is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "LINES_AT_A_TIME", sizes[1])
        spy = Spy(patch)
        found = packed(iter(lines), student, block_size, known)
        assert spy.lines == must_be_tokenised(lines, teacher, token_map)
        assert found == packed(lines, student, block_size)


@pytest.mark.parametrize("kind", KINDS)
def test_most_lines_of_a_text_that_the_student_was_cut_for_need_no_tokenizer(kind, tmp_path, monkeypatch):
    english = [miniature.text(sentence) for sentence in miniature.sentences("en", 300)]
    swahili = [miniature.text(sentence) for sentence in miniature.sentences("sw", 300)]
    teacher = KINDS[kind]([*english, *swahili, *OTHER], 700)
    student, token_map = cut(teacher, tmp_path, english, 2e-3)
    file = tmp_path / TOKENS_FILE
    text = TextSource(path=str(miniature.write_lines(tmp_path / "en.txt", [*english, *swahili[:20]])))
    write_tokens(file, teacher, text, 64)
    plain = write_blocks(text, student, tmp_path / "plain", block_size=32)
    spy = Spy(monkeypatch)
    known = write_blocks(
        text,
        student,
        tmp_path / "known",
        block_size=32,
        known=lambda: KnownTokens.of(file, teacher, student, token_map),
    )
    assert list(known) == list(plain)
    assert (tmp_path / "known/blocks.arrow").read_bytes() == (tmp_path / "plain/blocks.arrow").read_bytes()
    assert spy.lines == must_be_tokenised(text, teacher, token_map)
    assert 0 < len(spy.lines) < 160


def change_line(lines):
    lines[7] = "the doctor's river"


def insert_line(lines):
    lines.insert(5, "before noon")


def cut_short(lines):
    del lines[6:]


def move_the_end_of_a_line(lines):
    first, second = lines[4].split(" ", 1)
    lines[3:5] = [f"{lines[3]} {first}", second]


@pytest.mark.parametrize("change", [change_line, insert_line, cut_short, move_the_end_of_a_line, list.clear])
@pytest.mark.parametrize("kind", ["wordpiece", "byte-fallback bpe"])
def test_lines_that_have_changed_since_are_tokenised(students, tmp_path, kind, change):
    teacher, student, token_map = students[kind]
    lines = [f"{line} {word}" for line in ENGLISH for word in ("river", "noon", "car", "km", "mchana")]
    write_tokens(tmp_path / TOKENS_FILE, teacher, lines, 2)
    known = KnownTokens.of(tmp_path / TOKENS_FILE, teacher, student, token_map)
    change(lines)
    assert packed(lines, student, 16, known) == packed(lines, student, 16)
    more = [*lines, *OTHER]
    assert packed(more, student, 16, known) == packed(more, student, 16)


def test_tokens_of_another_tokenizer_are_not_known(students, tmp_path):
    teacher, student, token_map = students["wordpiece"]
    write_tokens(tmp_path / TOKENS_FILE, trained("uncased wordpiece"), ENGLISH)
    assert KnownTokens.of(tmp_path / TOKENS_FILE, teacher, student, token_map) is None
    write_tokens(tmp_path / TOKENS_FILE, teacher, ENGLISH)
    assert KnownTokens.of(tmp_path / TOKENS_FILE, teacher, student, token_map) is not None
    assert KnownTokens.of(tmp_path / TOKENS_FILE, teacher, students["unigram"][1], token_map) is None


@pytest.mark.parametrize(("rows", "width"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_the_file_says_what_it_is_made_of_and_holds_ids_in_as_few_bytes_as_fit(
    students, tmp_path, monkeypatch, rows, width
):
    monkeypatch.setattr(tokenised_text, "vocabulary_rows", lambda _: rows)
    teacher = students["unigram"][0]
    lines = [*ENGLISH, "", *OTHER]
    write_tokens(tmp_path / TOKENS_FILE, teacher, lines, 2)
    with pa.memory_map(str(tmp_path / TOKENS_FILE)) as source:
        table = pa.ipc.open_stream(source).read_all()
    assert str(table.schema.field("ids").type.value_type) == width
    assert table["ids"].to_pylist() == [teacher(line, add_special_tokens=False)["input_ids"] for line in lines]
    assert table["ids"].num_chunks == 3
    assert json.loads(table.schema.metadata[b"bistill_hub.made_of"]) == {"text": "of a test"}


def test_a_text_that_breaks_off_leaves_nothing(students, tmp_path):
    def lines():
        yield from ENGLISH
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_tokens(tmp_path / TOKENS_FILE, students["wordpiece"][0], lines(), 1)
    assert not list(tmp_path.iterdir())
    seen = []

    def watched():
        for line in ENGLISH:
            seen.append([file.name for file in tmp_path.iterdir()])
            yield line

    write_tokens(tmp_path / TOKENS_FILE, students["wordpiece"][0], watched(), 1)
    assert seen == 2 * [[f"{TOKENS_FILE}.unfinished"]]
    assert [file.name for file in tmp_path.iterdir()] == [TOKENS_FILE]


def test_memory_does_not_grow_with_the_text_that_is_known(students, tmp_path):
    teacher, student, token_map = students["wordpiece"]
    before = pa.total_allocated_bytes()
    write_tokens(tmp_path / TOKENS_FILE, teacher, (line for _ in range(3000) for line in ENGLISH), 16)
    known = KnownTokens.of(tmp_path / TOKENS_FILE, teacher, student, token_map)
    most = 0
    for _ in pack_blocks((line for _ in range(3000) for line in ENGLISH), student, 32, known=known):
        most = max(most, pa.total_allocated_bytes() - before)
    assert (tmp_path / TOKENS_FILE).stat().st_size > 250_000
    assert most < 50_000
