"""The promises of trimming for every kind of tokenizer, over generated vocabularies, text and hostile strings."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import BYTE_PIECES, KINDS
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers

from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import close_under_derivation, select_tokens, trim_tokenizer

ENGLISH = (
    "The children walked to the river in the morning and came back before noon.",
    "She said that the new school would open next year, if the rains allowed it.",
    "It's a pity: the doctor's car broke down 12 km from the hospital!",
    "He bought 3 books, 2 pens and a map of East Africa for 450 shillings.",
)
SWAHILI = (
    "Watoto walitembea hadi mtoni asubuhi na kurudi kabla ya saa sita mchana.",
    "Alisema kwamba shule mpya itafunguliwa mwaka ujao, mvua ikiruhusu.",
    "Ni huzuni: gari la daktari liliharibika kilomita 12 kutoka hospitalini!",
    "Alinunua vitabu 3, kalamu 2 na ramani ya Afrika Mashariki kwa shilingi 450.",
)
OTHER = (
    "Les élèves écoutaient la maîtresse, malgré le bruit de la rue où passaient des camions.",
    "Дети утром пошли к реке и вернулись до полудня.",
    "孩子们早上走到河边，中午之前回来。",
    "ذهب الأطفال إلى النهر في الصباح وعادوا قبل الظهر.",
    "बच्चे सुबह नदी तक पैदल गए और दोपहर से पहले लौट आए।",
)
HOSTILE = {
    "combining marks": "Z̸̡͚a̷l̶g̴o ẹ̀kọ́ e\u0301e\u0301\u0301 o\u0308\u0323 \u0301alone",
    "emoji": "👍🏿👩‍👩‍👧‍👦🏳️‍🌈 🇰🇪🇹🇿 ☃️ 1️⃣",
    "right to left": "שלום \u202eolleh\u202c مرحبا\u200fabc\u2067x\u2069",
    "no width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg",
    "control characters": "a\x00b\x07c\x1bd\x7fe\x85f\u2028g\u2029h\x0b\x0c\r\n\t",
    "spaces": "  a   b\u00a0c\u2003d\u3000e \t\t f  ",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufffd\ue000",
    "signs of the tokenizers themselves": "▁a ##b Ġc <0x41> <unk> [UNK] <s> </s> [MASK] <mask> [unused1] ▁▁ <0x",
    "one word of 100 kB": "supercalifragilistic" * 5000,
    "one character over and over": "a" * 5000,
    "marks over and over": "e" + "\u0301" * 2000,
    "ideographs without spaces": "孩子们早上走到河边" * 300,
}


@cache
def trained(kind):
    return KINDS[kind]([*ENGLISH, *SWAHILI, *OTHER], 480)


def definition_of(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())


def necessary(tokenizer):
    """Special and added tokens, and the bytes of those that have them."""
    vocabulary = tokenizer.get_vocab()
    letters = pre_tokenizers.ByteLevel.alphabet() if "ByteLevel" in json.dumps(definition_of(tokenizer)) else ()
    return set(tokenizer.added_tokens_decoder) | {
        vocabulary[piece] for piece in (*BYTE_PIECES, *letters) if piece in vocabulary
    }


def assert_split_as_before(teacher, student, token_map, lines):
    """Every line whose pieces are all kept, and none unknown; returns how many there were."""
    kept = set(token_map.tolist()) - {teacher.unk_token_id}
    checked = 0
    for line in lines:
        before = teacher(line, verbose=False)
        if kept.issuperset(before["input_ids"]):
            after = student(line, verbose=False)
            assert token_map[torch.tensor(after["input_ids"])].tolist() == before["input_ids"], line[:200]
            assert {name: after[name] for name in after if name != "input_ids"} == {
                name: before[name] for name in before if name != "input_ids"
            }
            checked += 1
    return checked


WORD = st.sampled_from(sorted({word for line in (*ENGLISH, *SWAHILI, *OTHER) for word in line.split()}))
INVENTED = st.text(alphabet=sorted(set("".join((*ENGLISH, *SWAHILI, *OTHER)))), min_size=1, max_size=12)
ANYTHING = st.text(max_size=8)
LINE = st.lists(WORD | INVENTED | ANYTHING, min_size=1, max_size=8).map(" ".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(
    lines=st.lists(LINE, min_size=1, max_size=6),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_text_of_kept_pieces_is_split_as_before(kind, lines, share, seed):
    teacher = trained(kind)
    needed = [teacher(line)["input_ids"] for line in lines]
    at_random = np.flatnonzero(np.random.default_rng(seed).random(len(teacher)) < share).tolist()
    kept = necessary(teacher).union(at_random, *needed)
    token_map = close_under_derivation(teacher, torch.tensor(sorted(kept)))
    student = trim_tokenizer(teacher, token_map)
    known = sum(teacher.unk_token_id not in ids for ids in needed)
    assert assert_split_as_before(teacher, student, token_map, lines) == known


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_characters_of_the_pair_never_become_unknown(kind, data):
    teacher, student, normalize, characters = smallest_student(kind)
    line = data.draw(
        st.lists(st.text(alphabet=sorted(characters), max_size=12), max_size=6).map(" ".join), label="line"
    )
    if characters.issuperset(normalize(line)) and teacher.unk_token_id not in teacher(line)["input_ids"]:
        assert student.unk_token_id not in student(line)["input_ids"]


@cache
def smallest_student(kind):
    teacher = trained(kind)
    counts = {"en": count_tokens(teacher, ENGLISH), "sw": count_tokens(teacher, SWAHILI)}
    student = trim_tokenizer(teacher, select_tokens(teacher, counts, 1.0))
    characters = counts["en"].characters | counts["sw"].characters
    return teacher, student, teacher.backend_tokenizer.normalizer.normalize_str, characters


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_contiguous_in_the_old_order_and_everything_else_is_untouched(kind):
    teacher = trained(kind)
    counts = {"en": count_tokens(teacher, ENGLISH), "sw": count_tokens(teacher, SWAHILI)}
    token_map = select_tokens(teacher, counts)
    student = trim_tokenizer(teacher, token_map)
    assert len(student) == len(token_map) < len(teacher)
    assert student.convert_ids_to_tokens(range(len(student))) == teacher.convert_ids_to_tokens(token_map.tolist())
    assert sorted(student.get_vocab().values()) == list(range(len(student)))
    assert assert_split_as_before(teacher, student, token_map, [*ENGLISH, *SWAHILI]) == 8
    before, after = definition_of(teacher), definition_of(student)
    for part in ("normalizer", "pre_tokenizer", "decoder", "truncation", "padding", "version"):
        assert after[part] == before[part]
    for model in (before["model"], after["model"]):
        for name in ("vocab", "merges", "unk_id"):
            model.pop(name, None)
    assert after["model"] == before["model"]
    for added in (*before["added_tokens"], *after["added_tokens"]):
        del added["id"]
    assert after["added_tokens"] == before["added_tokens"]


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        ("wordpiece", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], []),
        ("unigram", ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]),
        ("deberta unigram", ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"]),
        ("byte-level bpe", [], ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[unused0]", "[unused1]"]),
        ("byte-fallback bpe", ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], []),
    ],
)
def test_special_tokens_are_where_the_backbone_expects_them(kind, first, last):
    _, student, _, _ = smallest_student(kind)
    pieces = student.convert_ids_to_tokens(range(len(student)))
    assert pieces[: len(first)] == first
    assert pieces[len(pieces) - len(last) :] == last
    assert {student.unk_token, student.mask_token, student.pad_token} <= set(pieces)


# Hostile strings


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_strings_are_split_as_before_where_their_pieces_are_kept(kind):
    teacher = trained(kind)
    counts = {"en": count_tokens(teacher, ENGLISH), "hostile": count_tokens(teacher, HOSTILE.values())}
    token_map = select_tokens(teacher, counts)
    student = trim_tokenizer(teacher, token_map)
    known = sum(teacher.unk_token_id not in teacher(text, verbose=False)["input_ids"] for text in HOSTILE.values())
    assert assert_split_as_before(teacher, student, token_map, HOSTILE.values()) == known
    assert known == len(HOSTILE) - 1 or "bpe" not in kind  # one of them names the unknown token


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_strings_do_not_break_a_student_that_never_saw_them(kind):
    _, student, _, _ = smallest_student(kind)
    for text in HOSTILE.values():
        ids = student(text, verbose=False)["input_ids"]
        assert max(ids) < len(student)
        assert len(ids) >= len(student("")["input_ids"])
        if "bpe" in kind:
            assert (
                student.unk_token_id not in student(text, add_special_tokens=False, verbose=False)["input_ids"]
                or student.unk_token in text
            )


def test_lone_surrogates_are_refused_by_the_library_before_and_after():
    for kind in KINDS:
        teacher, student, _, _ = smallest_student(kind)
        for tokenizer in (teacher, student):
            with pytest.raises(TypeError):
                tokenizer("a\ud800b")


# Pipelines


PIPELINES = {
    "prepended space": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "replaced spaces": (normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]), None),
    "stripped and lower case": (
        normalizers.Sequence(
            [normalizers.Strip(), normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
        ),
        None,
    ),
    "digits apart": (
        None,
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]),
    ),
    "regular expression": (normalizers.NFC(), pre_tokenizers.Split(Regex(r"\s+|\p{P}"), "isolated")),
    "metaspace": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "another sign for spaces": (None, pre_tokenizers.Metaspace(replacement="_", prepend_scheme="never")),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte-level bpe", "byte-fallback bpe"])
def test_other_pipelines_are_kept_to_the_letter(kind, name):
    teacher = KINDS[kind]([*ENGLISH, *SWAHILI], 420)
    normalizer, pre_tokenizer = PIPELINES[name]
    teacher.backend_tokenizer.normalizer = normalizer
    if pre_tokenizer is not None and kind != "byte-level bpe":
        teacher.backend_tokenizer.pre_tokenizer = pre_tokenizer
    teacher.backend_tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, ENGLISH)})
    student = trim_tokenizer(teacher, token_map)
    before, after = definition_of(teacher), definition_of(student)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        assert after[part] == before[part]
    lines = [*ENGLISH, *(f"  {line.upper()}  42 " for line in ENGLISH)]
    assert_split_as_before(teacher, student, token_map, lines)
    assert student.unk_token_id in student("☃")["input_ids"] or "bpe" in kind


@pytest.mark.parametrize("kind", KINDS)
def test_added_tokens_within_and_behind_the_vocabulary_are_found_in_text_as_before(kind):
    teacher = KINDS[kind]([*ENGLISH, *SWAHILI, *OTHER], 480)
    piece = max((piece for piece in teacher.get_vocab() if piece.isalpha() and piece.isascii()), key=len)
    teacher.add_tokens([piece, AddedToken("Nairobi", single_word=True), AddedToken("<br>", lstrip=True, rstrip=True)])
    teacher.add_special_tokens({"extra_special_tokens": ["<user>"]})
    texts = [f"to Nairobi and Nairobian <br> x<user>y {piece}{piece} a{piece}", f"the {piece} <br>"]
    token_map = select_tokens(teacher, {"en": count_tokens(teacher, [*ENGLISH, *texts])})
    student = trim_tokenizer(teacher, token_map)
    assert len(student) < len(teacher)
    assert student.convert_ids_to_tokens(range(len(student))) == teacher.convert_ids_to_tokens(token_map.tolist())
    assert token_map[-3:].tolist() == [len(teacher) - 3, len(teacher) - 2, len(teacher) - 1]
    for text in texts:
        assert student.tokenize(text) == teacher.tokenize(text)
        assert {student.convert_tokens_to_ids(token) for token in ("<br>", piece)} <= set(student(text)["input_ids"])
