"""The characters of normalised text, against normalising every line."""

from itertools import chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizer_kinds import COMPATIBILITY_CHARACTERS, sentencepiece_tables
from tokenizers import Regex, normalizers

from bistill_hub.student.normalized_characters import NormalizedCharacters

PRECOMPILED = normalizers.Precompiled(sentencepiece_tables(COMPATIBILITY_CHARACTERS))
RUNS = normalizers.Replace(Regex(" {2,}"), "▁")
NORMALIZERS = {
    "none": None,
    "BERT": normalizers.BertNormalizer(lowercase=False),
    "uncased BERT": normalizers.BertNormalizer(lowercase=True),
    "NFC": normalizers.NFC(),
    "NFD": normalizers.NFD(),
    "NFKC": normalizers.NFKC(),
    "NFKD": normalizers.NFKD(),
    "Nmt": normalizers.Nmt(),
    "lower case, then NFC": normalizers.Sequence([normalizers.Lowercase(), normalizers.NFC()]),
    "no accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "bytes": normalizers.ByteLevel(),
    "SentencePiece": PRECOMPILED,
    "SentencePiece, runs": normalizers.Sequence([PRECOMPILED, normalizers.Strip(left=False), RUNS]),
    "NFKC, runs": normalizers.Sequence([normalizers.NFKC(), RUNS, normalizers.Strip()]),
    "spaces": normalizers.Replace(" ", "▁"),
    "prepended": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    "BERT, runs": normalizers.Sequence([normalizers.BertNormalizer(), RUNS]),
    "a letter into a space, runs": normalizers.Sequence([normalizers.Replace("x", " "), RUNS]),
    "a letter into a space, runs, other spaces": normalizers.Sequence(
        [normalizers.Replace("x", " "), RUNS, normalizers.Replace(" ", "_")]
    ),
    "a letter into a mark": normalizers.Sequence([normalizers.Replace("x", "\u0301"), normalizers.NFC()]),
    "two letters": normalizers.Replace("ab", "c"),
    "a pattern": normalizers.Replace(Regex("^a|e$"), "c"),
    "a space into a mark": normalizers.Sequence([normalizers.Replace(" ", "\u0301"), normalizers.NFC()]),
    "bytes, runs": normalizers.Sequence([normalizers.ByteLevel(), RUNS]),
}

# Letters, marks that compose with them, jamo, a half-width voiced sound, spaces of every kind, joiners, pictures.
ALPHABET = (
    "abexEI ßéİσΣς09.!^`´¨_▁孩子がカｶ\uff9e\u3099가\u1100\u1161\u11a8ㅏقُ\u0644\u0627\u0653कि\u094d\u200dำก"
    "\u0301\u0308\u0327\u0338\u00ad\u200b\u00a0\u3000\t\r\n\u0000\u0001\ufeff\ufdfaﬁ½²№™👍🏽🇰🇪\u0600\u2017"
)
LINE = st.text(st.sampled_from(ALPHABET), max_size=8) | st.text(st.sampled_from("abe x孩é"), max_size=8) | st.text()


def characters(normalizer, lines):
    normalized = map(normalizer.normalize_str, lines) if normalizer is not None else lines
    return set(chain.from_iterable(normalized))


@pytest.mark.parametrize("normalizer", NORMALIZERS.values(), ids=NORMALIZERS)
@given(batches=st.lists(st.lists(LINE, max_size=6), max_size=3))
@settings(max_examples=60, deadline=None)
@example([["e", "\u0301", "e\u0301"]])
@example([["カ", "\uff9e", "カ\uff9e", "ｶ", "ｶ\uff9e"]])
@example([["a b", "a", "b", "a  b", " a", "b "]])
@example([["x", "a x", "axxb", "xa"]])
@example([["孩 ab", "孩", "子", "孩子"]])
@example([["a", "b", "ab", "e", "ae", "ea"]])
@example([["\u1100", "\u1161", "\u1100\u1161", "ㅏ", "\u1100ㅏ"]])
@example([["", " ", "  "], ["e \u0301", "e "]])
def test_characters_are_those_of_every_line_normalised(normalizer, batches):
    found = NormalizedCharacters(normalizer)
    for batch in batches:
        found.add(batch)
    assert found.characters == characters(normalizer, chain.from_iterable(batches))


class Counted:
    """A normaliser that counts what it normalises."""

    def __init__(self, normalizer):
        self.normalizer, self.lines = normalizer, 0

    def __getstate__(self):
        return self.normalizer.__getstate__()

    def normalize_str(self, line):
        self.lines += " " in line  # not the single characters that are tried
        return self.normalizer.normalize_str(line)


@pytest.mark.parametrize("name", ["uncased BERT", "NFC", "SentencePiece, runs", "spaces"])
def test_lines_of_known_plain_characters_are_not_normalised_again(name, text):
    normalizer = Counted(NORMALIZERS[name])
    found = NormalizedCharacters(normalizer)
    lines = text["en"] + text["sw"]
    found.add(lines)
    once = normalizer.lines
    found.add(lines[::-1])
    assert normalizer.lines == once
    assert found.characters == characters(NORMALIZERS[name], lines)
    found.add(["e\u0301 a", "e\u0301 a"])
    assert normalizer.lines == once + 2
