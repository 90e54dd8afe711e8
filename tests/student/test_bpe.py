"""BPE: what its pieces are built from, and the promise of trimming over vocabularies that no training would give."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import BYTE_PIECES
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bistill_hub.errors import InputError
from bistill_hub.student.bpe import derivations, merges_of
from bistill_hub.student.token_counts import count_tokens
from bistill_hub.student.vocabulary import close_under_derivation, select_tokens, trim_tokenizer


def tokenizer_of(pieces, merges, **options):
    """A tokenizer without normalizer and pre-tokenizer: a text is one word."""
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(["<unk>", *pieces]))}
    options = {"unk_token": "<unk>", **options}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, **options))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", clean_up_tokenization_spaces=False)


def model_of(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())["model"]


def built_from(tokenizer, piece):
    return set(derivations(model_of(tokenizer))(piece))


def map_of(tokenizer, pieces):
    return torch.tensor(sorted(tokenizer.convert_tokens_to_ids(["<unk>", *pieces])))


def trimmed_to(tokenizer, pieces):
    return trim_tokenizer(tokenizer, close_under_derivation(tokenizer, map_of(tokenizer, pieces)))


# Derivation, by hand


def test_a_piece_is_built_from_what_arises_on_the_way_to_it():
    tokenizer = tokenizer_of(["a", "b", "c", "ab", "bc", "abc"], [("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c")])
    assert built_from(tokenizer, "abc") == {"a", "b", "c", "bc"}  # not by way of "ab", which is learned later
    assert built_from(tokenizer, "ab") == {"a", "b"}
    assert built_from(tokenizer, "a") == set()


def test_the_leftmost_of_equal_merges_comes_first():
    tokenizer = tokenizer_of(["a", "aa", "aaa"], [("a", "a"), ("aa", "a"), ("a", "aa")])
    assert built_from(tokenizer, "aaa") == {"a", "aa"}


def test_a_piece_that_its_characters_do_not_lead_to_needs_nothing():
    # "b" goes with "c" before "a" could take it.
    tokenizer = tokenizer_of(["a", "b", "c", "ab", "bc", "abc"], [("b", "c"), ("a", "b"), ("ab", "c")])
    assert tokenizer.tokenize("abc") == ["a", "bc"]
    assert built_from(tokenizer, "abc") == set()


def test_merges_may_be_written_as_strings():
    assert merges_of({"merges": ["a b", "ab c"]}) == merges_of({"merges": [["a", "b"], ["ab", "c"]]})


def test_pieces_marked_for_their_place_in_the_word_are_built_from_marked_pieces():
    pieces = ["a", "b", "##b", "##c</w>", "##bc</w>", "abc</w>", "ab"]
    merges = [("##b", "##c</w>"), ("a", "##bc</w>"), ("a", "##b")]
    options = {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"}
    tokenizer = tokenizer_of(pieces, merges, **options)
    assert tokenizer.tokenize("abc") == ["abc</w>"]
    assert built_from(tokenizer, "abc</w>") == {"a", "##b", "##c</w>", "##bc</w>"}
    trimmed = trimmed_to(tokenizer, ["abc</w>"])
    assert trimmed.tokenize("abc") == ["abc</w>"]
    assert "ab" not in trimmed.get_vocab()


def test_merged_bytes_are_built_from_bytes():
    pieces = [*BYTE_PIECES, "<0xC3><0xA9>", "a", "a<0xC3><0xA9>"]
    merges = [("<0xC3>", "<0xA9>"), ("a", "<0xC3><0xA9>")]
    tokenizer = tokenizer_of(pieces, merges, byte_fallback=True)
    assert tokenizer.tokenize("aé") == ["a<0xC3><0xA9>"]
    assert built_from(tokenizer, "a<0xC3><0xA9>") == {"a", "<0xC3><0xA9>", "<0xC3>", "<0xA9>"}
    assert trimmed_to(tokenizer, [*BYTE_PIECES, "a<0xC3><0xA9>"]).tokenize("aé") == ["a<0xC3><0xA9>"]


def test_merges_keep_their_order_and_go_with_their_parts_and_results():
    merges = [("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c"), ("c", "c")]
    tokenizer = tokenizer_of(["a", "b", "c", "ab", "bc", "abc", "cc"], merges)
    assert model_of(trimmed_to(tokenizer, ["abc", "cc"]))["merges"] == [["b", "c"], ["a", "bc"], ["c", "c"]]
    assert model_of(trimmed_to(tokenizer, ["abc", "ab"]))["merges"] == [list(merge) for merge in merges[:4]]


def test_a_map_that_is_not_closed_is_refused_by_the_piece_and_what_it_lacks():
    tokenizer = tokenizer_of(["a", "b", "c", "bc", "abc"], [("b", "c"), ("a", "bc")])
    with pytest.raises(InputError, match="'abc' without pieces") as caught:
        trim_tokenizer(tokenizer, map_of(tokenizer, ["a", "b", "c", "abc"]))
    assert "['bc']" in str(caught.value)


def test_a_word_that_is_a_piece_stays_one_where_merges_are_ignored():
    tokenizer = tokenizer_of(["a", "b", "c", "ab", "abc"], [("a", "b")], ignore_merges=True)
    trimmed = trimmed_to(tokenizer, ["abc"])
    assert trimmed.tokenize("abc") == tokenizer.tokenize("abc") == ["abc"]
    assert trimmed.get_vocab() == {"<unk>": 0, "abc": 1}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"unk_token": None}, "unk_token"),
        ({"unk_token": None, "byte_fallback": True}, "unk_token"),
        ({"unk_token": "[UNK]"}, "unk_token"),
    ],
)
def test_bpe_whose_splits_cannot_be_kept_is_refused(options, field):
    tokenizer = tokenizer_of(["a", "b", "<0x00>"], [], **options)
    with pytest.raises(InputError, match=field):
        trim_tokenizer(tokenizer, torch.arange(len(tokenizer)))


@pytest.mark.parametrize("way", ["bytes for unknown characters", "letters for bytes"])
def test_all_bytes_stay_and_stand_in_for_an_unknown_piece(way):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    if way == "letters for bytes":
        backend = Tokenizer(
            models.BPE(vocab={piece: number for number, piece in enumerate([*letters, "ab"])}, merges=[("a", "b")])
        )
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        pieces = [*BYTE_PIECES, "a", "b", "ab"]
        vocab = {piece: number for number, piece in enumerate(pieces)}
        backend = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")], byte_fallback=True))
    teacher = PreTrainedTokenizerFast(tokenizer_object=backend)
    trimmed = trim_tokenizer(teacher, select_tokens(teacher, {"en": count_tokens(teacher, ["aaa"])}))
    assert trimmed.get_vocab().keys() == teacher.get_vocab().keys() - (
        {"ab"} if way == "letters for bytes" else {"ab", "b"}
    )
    expected = ["a", "b"] if way == "letters for bytes" else ["a", "<0x62>"]
    assert trimmed.tokenize("ab") == expected
    assert trimmed.tokenize("☃") == teacher.tokenize("☃")


def test_ids_with_holes_become_contiguous():
    vocab = {"<unk>": 1, "a": 4, "b": 7, "ab": 9, "c": 20}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")], unk_token="<unk>"))
    teacher = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    counts = {"en": count_tokens(teacher, ["abc", "ab"])}
    token_map = select_tokens(teacher, counts)
    assert token_map.tolist() == [1, 4, 7, 9, 20]
    assert trim_tokenizer(teacher, token_map).get_vocab() == {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}
    assert select_tokens(teacher, counts, 0.0).tolist() == [1, 4, 7, 9, 20]


# Derivation and the promise, over random models


def split_by_definition(word, pieces, merges):
    """BPE over characters written down in the plainest way: the earliest merge that fits anywhere, leftmost first."""
    parts = [character if character in pieces else "<unk>" for character in word]
    made = []
    while True:
        for left, right in merges:
            places = [at for at in range(len(parts) - 1) if (parts[at], parts[at + 1]) == (left, right)]
            if places:
                parts[places[0] : places[0] + 2] = [left + right]
                made.append(left + right)
                break
        else:
            return parts, made


@st.composite
def random_models(draw):
    """Pieces and merges in an order that need not be that of their lengths, several merges to a piece among them."""
    pieces = list("abcd"[: draw(st.integers(2, 4))])
    merges = []
    for _ in range(draw(st.integers(0, 14))):
        merge = draw(st.sampled_from(pieces)), draw(st.sampled_from(pieces))
        if merge not in merges and len("".join(merge)) <= 8:
            merges.append(merge)
            pieces.append("".join(merge))
    return pieces, draw(st.permutations(merges))


WORDS = st.lists(st.text(alphabet="abcd", min_size=1, max_size=14), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(model=random_models(), words=WORDS)
def test_what_a_piece_is_built_from_is_what_arises_within_it_in_any_word(model, words):
    pieces, merges = model
    tokenizer = tokenizer_of(pieces, merges)
    for word in words:
        parts, _ = split_by_definition(word, pieces, merges)
        assert tokenizer.tokenize(word) == parts
        if "<unk>" not in parts:
            _, arisen_in_word = split_by_definition(word, pieces, merges)
            alone = [split_by_definition(piece, pieces, merges) for piece in parts]
            assert [split for split, _ in alone] == [[piece] for piece in parts]
            assert sorted(arisen_in_word) == sorted(made for _, each in alone for made in each)
            for piece, (_, made) in zip(parts, alone, strict=True):
                assert built_from(tokenizer, piece) == {*piece, *made} - {piece}


@settings(max_examples=80, deadline=None)
@given(
    model=random_models(),
    words=WORDS,
    share=st.sets(st.integers(0, 20)),
    fuse_unk=st.booleans(),
    byte_fallback=st.booleans(),
    ignore_merges=st.booleans(),
)
def test_over_random_models_words_of_kept_pieces_are_split_as_before(
    model, words, share, fuse_unk, byte_fallback, ignore_merges
):
    pieces, merges = model
    fallback = BYTE_PIECES if byte_fallback else ()
    tokenizer = tokenizer_of(
        [*pieces, *fallback], merges, fuse_unk=fuse_unk, byte_fallback=byte_fallback, ignore_merges=ignore_merges
    )
    assert_kept_words_are_split_as_before(tokenizer, words, {*fallback, *(pieces[at % len(pieces)] for at in share)})


@settings(max_examples=60, deadline=None)
@given(data=st.data(), words=WORDS, share=st.sets(st.integers(0, 40)))
def test_so_they_are_where_characters_are_marked_for_their_place_in_the_word(data, words, share):
    prefix = data.draw(st.sampled_from(["", "##", "a"]), label="prefix")
    suffix = data.draw(st.sampled_from(["", "</w>", "b"]), label="suffix")
    pieces = list(
        dict.fromkeys(first + letter + last for letter in "abc" for first in ("", prefix) for last in ("", suffix))
    )
    merges = []
    for _ in range(data.draw(st.integers(0, 14), label="merges")):
        left = data.draw(st.sampled_from(pieces), label="left")
        right = data.draw(st.sampled_from([piece for piece in pieces if piece.startswith(prefix)]), label="right")
        made = left + right[len(prefix) :]
        if (left, right) not in merges and len(made) <= 16:
            merges.append((left, right))
            pieces = list(dict.fromkeys([*pieces, made]))
    merges = data.draw(st.permutations(merges), label="order")
    options = {"continuing_subword_prefix": prefix, "end_of_word_suffix": suffix}
    tokenizer = tokenizer_of(pieces, merges, **options)
    assert_kept_words_are_split_as_before(tokenizer, words, {pieces[at % len(pieces)] for at in share})


def assert_kept_words_are_split_as_before(tokenizer, words, others):
    splits = {word: tokenizer.tokenize(word) for word in words}
    kept = set().union(*splits.values()) | others
    trimmed = trimmed_to(tokenizer, kept - {"<unk>"})
    for word, split in splits.items():
        if "<unk>" not in split:
            assert trimmed.tokenize(word) == split
