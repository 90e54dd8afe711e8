"""A vocabulary of a given size, rounded up, with tokens that must stay."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS

from bistill_hub.errors import InputError
from bistill_hub.student.bpe import derivations
from bistill_hub.student.must_keep import must_keep_ids, read_tokens_file
from bistill_hub.student.token_counts import TokenCounts, count_tokens
from bistill_hub.student.vocabulary import select_tokens, trim_tokenizer

TEXT = (
    "The children walked to the river in the morning and came back before noon.",
    "Wakulima kijijini wanapanda mahindi, maharagwe na mihogo msimu huu.",
    "Alisema kwamba shule mpya itafunguliwa mwaka ujao, mvua ikiruhusu.",
    "Her grandmother told us stories about lions, hares and clever tortoises in Nairobi.",
    "Les élèves écoutaient la maîtresse, malgré le bruit des camions.",
)


@cache
def trained(kind):
    return KINDS[kind](TEXT, 420)


def random_counts(kind, seed):
    """Counts of two corpora: many pieces unseen, some equally frequent."""
    generator = np.random.default_rng(seed)
    counts = {}
    for language in ("en", "sw"):
        numbers = generator.integers(1, 30, len(trained(kind))) * (generator.random(len(trained(kind))) < 0.4)
        counts[language] = TokenCounts(numbers, int(numbers.sum()), frozenset("abé"), 1)
    return counts


def ranking(counts):
    """All ids, the most frequent first, at equal frequency the lower id first."""
    highest = [
        max(counted.counts[at] / counted.total for counted in counts.values()) for at in range(len(counts["en"].counts))
    ]
    return sorted(range(len(highest)), key=lambda at: (-highest[at], at))


@cache
def built_from(kind):
    """For each id those of the pieces that its piece is built from, and itself."""
    vocabulary = trained(kind).get_vocab()
    model = json.loads(trained(kind).backend_tokenizer.to_str())["model"]
    parts = derivations(model) if model["type"] == "BPE" else lambda piece: ()
    return {at: {at, *(vocabulary[part] for part in parts(piece))} for piece, at in vocabulary.items()}


def closed(kind, ids):
    return set().union(*(built_from(kind)[identifier] for identifier in ids))


def kept_by(kind, counts, **options):
    return set(select_tokens(trained(kind), counts, **options).tolist())


SEED = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(seed=SEED, share=st.floats(0, 1))
def test_the_size_is_met_exactly_by_the_most_frequent_pieces_and_what_they_are_built_from(kind, seed, share):
    counts = random_counts(kind, seed)
    necessary = kept_by(kind, counts, min_token_probability=1.0)
    size = round(len(necessary) + share * (len(trained(kind)) - len(necessary)))
    kept = kept_by(kind, counts, vocabulary_size=size)
    assert len(kept) == size
    assert kept == kept_by(kind, counts, vocabulary_size=size) == closed(kind, kept)
    expected = set(necessary)
    for identifier in ranking(counts):
        more = expected | built_from(kind)[identifier]
        if len(more) > size:
            break
        expected = more
    assert expected <= kept
    if "bpe" not in kind:  # nothing is built from anything, so that these are all
        assert expected == kept


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=SEED, threshold=st.sampled_from([1e-6, 3e-3, 6e-3]), multiple=st.integers(1, 70))
def test_the_number_is_rounded_up_with_the_next_most_frequent(kind, seed, threshold, multiple):
    counts = random_counts(kind, seed)
    before = kept_by(kind, counts, min_token_probability=threshold)
    rounded = -(-len(before) // multiple) * multiple
    if rounded > len(trained(kind)):
        with pytest.raises(InputError, match="multiple_of"):
            kept_by(kind, counts, min_token_probability=threshold, multiple_of=multiple)
        return
    kept = kept_by(kind, counts, min_token_probability=threshold, multiple_of=multiple)
    assert len(kept) == rounded
    assert before <= kept == closed(kind, kept)
    if "bpe" not in kind:
        further = [identifier for identifier in ranking(counts) if identifier not in before]
        assert kept == before | set(further[: rounded - len(before)])


def test_a_size_is_rounded_up_too():
    counts = {"en": count_tokens(trained("byte-level bpe"), TEXT)}
    assert len(kept_by("byte-level bpe", counts, vocabulary_size=330, multiple_of=64)) == 384


def test_what_a_piece_is_built_from_counts_too():
    kind = "byte-level bpe"
    vocabulary = trained(kind).get_vocab()
    longer = max(vocabulary.values(), key=lambda at: len(built_from(kind)[at]))
    numbers = np.zeros(len(vocabulary), np.int64)
    numbers[[longer, vocabulary["a"]]] = 1
    counts = {"en": TokenCounts(numbers, 2, frozenset(), 1)}
    always = kept_by(kind, counts, min_token_probability=1.0)
    needed = built_from(kind)[longer] - always
    assert len(needed) > 2
    assert kept_by(kind, counts, vocabulary_size=len(always) + len(needed)) == always | needed
    # One less, and there is no room for it: the first of the others take its place.
    assert longer not in kept_by(kind, counts, vocabulary_size=len(always) + len(needed) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_that_cannot_be_met_is_refused_with_one_that_can(kind):
    counts = {"en": count_tokens(trained(kind), TEXT[:1])}
    least = len(select_tokens(trained(kind), counts, 1.0))
    with pytest.raises(InputError, match=f"vocabulary_size = {least - 1}: {least} tokens must stay.* at least {least}"):
        kept_by(kind, counts, vocabulary_size=least - 1)
    assert len(kept_by(kind, counts, vocabulary_size=least)) == least
    all_tokens = len(trained(kind))
    with pytest.raises(InputError, match=f"{all_tokens + 1} tokens are wanted, and the teacher has {all_tokens}"):
        kept_by(kind, counts, vocabulary_size=all_tokens + 1)


@pytest.mark.parametrize("option", ["vocabulary_size", "multiple_of"])
def test_numbers_below_one_are_refused(option):
    counts = {"en": count_tokens(trained("wordpiece"), TEXT)}
    with pytest.raises(InputError, match=option):
        kept_by("wordpiece", counts, **{option: 0})


# Tokens that must stay


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_named_pieces_stay_and_named_words_are_split_as_before(kind, data):
    teacher = trained(kind)
    words = data.draw(st.lists(st.sampled_from(" ".join(TEXT).split()), max_size=3), label="words")
    pieces = data.draw(st.lists(st.sampled_from(sorted(teacher.get_vocab())), max_size=3), label="pieces")
    counts = {"en": TokenCounts(np.zeros(len(teacher), np.int64), 0, frozenset(), 1)}
    named = [*words, *pieces]
    token_map = select_tokens(teacher, counts, must_keep=named)
    student = trim_tokenizer(teacher, token_map)
    assert set(pieces) <= student.get_vocab().keys()
    for word in words:
        if word not in teacher.get_vocab():
            for text in (word, f" {word}"):
                assert student.tokenize(text) == teacher.tokenize(text)
    room = data.draw(st.integers(0, len(teacher) - len(token_map)), label="room")
    larger = set(select_tokens(teacher, counts, vocabulary_size=len(token_map) + room, must_keep=named).tolist())
    assert set(token_map.tolist()) <= larger
    assert len(larger) == len(token_map) + room


def test_a_word_that_is_a_piece_stays_at_the_beginning_of_a_line_and_behind_a_space():
    teacher = trained("byte-level bpe")
    both = {piece for piece in teacher.get_vocab() if f"Ġ{piece}" in teacher.get_vocab() and piece.isalpha()}
    piece = max(both, key=len)
    expected = {teacher.get_vocab()[piece], teacher.get_vocab()[f"Ġ{piece}"]}
    assert must_keep_ids(teacher, [piece]) == expected
    assert must_keep_ids(teacher, [f"Ġ{piece}"]) == {teacher.get_vocab()[f"Ġ{piece}"]}


def test_a_piece_with_a_mark_is_that_piece_alone():
    wordpiece, unigram = trained("wordpiece"), trained("unigram")
    continuing = next(piece for piece in wordpiece.get_vocab() if piece.startswith("##"))
    assert must_keep_ids(wordpiece, [continuing]) == {wordpiece.get_vocab()[continuing]}
    initial = next(piece for piece in unigram.get_vocab() if piece.startswith("▁") and len(piece) > 2)
    assert must_keep_ids(unigram, [initial]) == {unigram.get_vocab()[initial]}


def test_what_the_teacher_does_not_know_is_refused_with_its_pieces():
    with pytest.raises(InputError, match=r"must_keep = '☃x': the teacher splits it into \['\[UNK\]'\], of which one"):
        must_keep_ids(trained("wordpiece"), ["children", "☃x"])
    with pytest.raises(InputError, match="which is nothing"):
        must_keep_ids(trained("wordpiece"), ["\u200b"])
    with pytest.raises(InputError, match="not one string"):
        must_keep_ids(trained("wordpiece"), "children")


def test_tokens_are_read_from_a_file_one_on_a_line(tmp_path):
    file = tmp_path / "keep.txt"
    file.write_bytes("\ufeffchildren\r\n\n  ##ing \nmaîtresse\nchildren\n# no comment".encode())
    assert read_tokens_file(file) == ("children", "##ing", "maîtresse", "# no comment")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"fine\n\xff\xfe\n", r"keep\.txt: line 2: not UTF-8"),
        (b"\n \n", r"keep\.txt: names no token"),
        ("children\n\n☃\n".encode(), r"keep\.txt: line 3 = '☃': the teacher splits it into"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_line(tmp_path, content, says):
    file = tmp_path / "keep.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_tokens_file(file, trained("wordpiece"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_tokens_file(tmp_path / "none.txt")
