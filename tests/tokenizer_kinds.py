"""Small real tokenizers of every kind that a teacher may have, trained on lines that a test gives.

Each function is given lines and a size and returns a fast transformers tokenizer whose pipeline (normalizer,
pre-tokenizer, model, post-processor, decoder) is that of the teachers which it stands for.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast, XLMRobertaTokenizer

BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
MAX_LENGTH = 128

LETTERS_BY_CASE_AND_DIGITS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How newer byte-level tokenizers (o200k) split text before the merges; the older way is in `ByteLevel` itself."""


def train_wordpiece(lines: Iterable[str], size: int, *, lowercase: bool = False) -> BertTokenizer:
    """BERT and DistilBERT, cased or uncased (which strips accents too)."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=lowercase, model_max_length=MAX_LENGTH)


def train_uncased_wordpiece(lines: Iterable[str], size: int) -> BertTokenizer:
    """BERT, uncased."""
    return train_wordpiece(lines, size, lowercase=True)


def _unigram_pieces(
    lines: Iterable[str], size: int, special: list[str], unk: str, normalizer: Any, pre_tokenizer: Any
) -> list[tuple[str, float]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=special,
        unk_token=unk,
        # One pass of EM between prunings, which is three times as fast and as good for a test.
        n_sub_iterations=1,
        shrinking_factor=0.5,
        max_piece_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    # Rounded, because the library reads longer numbers from JSON up to a unit in the last place off.
    return [(piece, round(score, 10)) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def train_unigram(lines: Iterable[str], size: int) -> XLMRobertaTokenizer:
    """XLM-RoBERTa: special tokens at 0 to 3, <mask> last, a normalizer of SentencePiece's tables."""
    tables = sentencepiece_tables(COMPATIBILITY_CHARACTERS)
    pieces = _unigram_pieces(
        lines,
        size - 1,
        ["<s>", "<pad>", "</s>", "<unk>"],
        "<unk>",
        normalizers.Precompiled(tables),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    )
    return XLMRobertaTokenizer(
        vocab=[*pieces, ("<mask>", 0.0)], _spm_precompiled_charsmap=tables, model_max_length=MAX_LENGTH
    )


def train_deberta(lines: Iterable[str], size: int) -> DebertaV2Tokenizer:
    """mDeBERTa-v3: [PAD], [CLS], [SEP], [UNK] at 0 to 3, [MASK] last, words joined by Metaspace alone."""
    empty = DebertaV2Tokenizer()
    pieces = _unigram_pieces(
        lines,
        size - 1,
        ["[PAD]", "[CLS]", "[SEP]", "[UNK]"],
        "[UNK]",
        empty.backend_tokenizer.normalizer,
        empty.backend_tokenizer.pre_tokenizer,
    )
    return DebertaV2Tokenizer(vocab=[*pieces, ("[MASK]", 0.0)], model_max_length=MAX_LENGTH)


def train_byte_level_bpe(
    lines: Iterable[str], size: int, *, splitting: str | None = None, ignore_merges: bool = False
) -> PreTrainedTokenizerFast:
    """ModernBERT: byte-level BPE between [CLS] and [SEP], special and unused tokens behind the vocabulary.

    Args:
        lines: The text.
        size: Entries, the special ones included.
        splitting: A regular expression that cuts text into words; GPT-2's where there is none.
        ignore_merges: Whether a word that is a piece is that piece, whatever the merges would give.
    """
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "[unused0]", "[unused1]"]
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splitting is None)
    tokenizer.pre_tokenizer = (
        byte_level
        if splitting is None
        else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(splitting), "isolated"), byte_level])
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_tokens([AddedToken(special[4], lstrip=True, special=True, normalized=False)])
    tokenizer.add_special_tokens(special)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="[CLS]:0 $A:0 [SEP]:0",
                pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
                special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=True,
        model_max_length=MAX_LENGTH,
    )


def train_newer_byte_level_bpe(lines: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE that splits words as o200k does and takes a word that is a piece as it is."""
    return train_byte_level_bpe(lines, size, splitting=LETTERS_BY_CASE_AND_DIGITS, ignore_merges=True)


def train_byte_fallback_bpe(
    lines: Iterable[str], size: int, *, every_merge: bool = True, ignore_merges: bool = False
) -> PreTrainedTokenizerFast:
    """mmBERT (Gemma's tokenizer): BPE over characters, and bytes for those that are no pieces.

    Args:
        lines: The text.
        size: Entries, the special ones and the 256 bytes included. All characters of the text that fit are pieces, but
            for the last tenth of them in the order of code points, so that some fall back on bytes.
        every_merge: Whether a piece has a merge for every two pieces that make it, as converted tokenizers have,
            or only the one that it was trained with.
        ignore_merges: Whether a word that is a piece is that piece, whatever the merges would give.
    """
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "<unused1>", "<start_of_turn>"]
    lines = list(lines)
    characters = sorted(set("".join(lines).replace(" ", "▁")))
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special) - 256 + 1,
        special_tokens=["<unk>"],
        limit_alphabet=max(1, len(characters) * 9 // 10),
        show_progress=False,
    )
    trained.train_from_iterator(lines, trainer)
    definition = json.loads(trained.to_str())["model"]
    learned = sorted(definition["vocab"], key=definition["vocab"].__getitem__)[1:]
    longer = [piece for piece in learned if len(piece) > 1]
    single = [piece for piece in learned if len(piece) == 1]
    # Gemma has its characters behind the longer pieces.
    vocab = {piece: number for number, piece in enumerate([*special, *BYTE_PIECES, *longer, *single])}
    merges = [tuple(merge) for merge in definition["merges"]]
    if every_merge:
        merges = [
            (piece[:cut], piece[cut:])
            for piece in longer
            for cut in range(1, len(piece))
            if piece[:cut] in vocab and piece[cut:] in vocab
        ]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
            ignore_merges=ignore_merges,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos>:0 $A:0 <eos>:0",
        pair="<bos>:0 $A:0 <eos>:0 $B:0 <eos>:0",
        special_tokens=[("<bos>", vocab["<bos>"]), ("<eos>", vocab["<eos>"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        cls_token="<bos>",
        sep_token="<eos>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
    )


KINDS: Mapping[str, Callable[[Iterable[str], int], Any]] = {
    "wordpiece": train_wordpiece,
    "uncased wordpiece": train_uncased_wordpiece,
    "unigram": train_unigram,
    "deberta unigram": train_deberta,
    "byte-level bpe": train_byte_level_bpe,
    "newer byte-level bpe": train_newer_byte_level_bpe,
    "byte-fallback bpe": train_byte_fallback_bpe,
}
"""A function for each kind, which trains a tokenizer of about so many entries on lines."""


COMPATIBILITY_CHARACTERS = {
    character: form
    for character in map(chr, [0xA0, *range(0x2000, 0x2100), *range(0x3000, 0x3001), *range(0xFB00, 0xFF60)])
    if (form := unicodedata.normalize("NFKC", character)) != character
}
"""What the tests' SentencePiece tables change: spaces, ligatures and full-width letters, to their NFKC forms."""


def sentencepiece_tables(replacements: Mapping[str, str]) -> bytes:
    """Write replacements of single characters as SentencePiece's precompiled tables.

    They are the size of a double-array trie in bytes, the trie, and the NUL-terminated replacements. A unit of the trie
    is 32 bits: a label (bits 0 to 7), whether a key ends here (bit 8) and the distance to the children (bits 10 on),
    each of which lies at the unit's place XOR the distance XOR its label; the end of a key lies at label 0 and holds,
    below bit 31, where the replacement begins.
    """
    texts, begins = bytearray(), {}
    trie: dict[int, Any] = {}
    for character, form in replacements.items():
        begins[character.encode()] = len(texts)
        texts += form.encode() + b"\0"
        node = trie
        for byte in character.encode():
            node = node.setdefault(byte, {})
        node[0] = begins[character.encode()]
    units, taken = {0: 0}, {0}

    def place(node: dict[int, Any], index: int) -> None:
        distance = 1
        while any(index ^ distance ^ label in taken for label in node):
            distance += 1
        taken.update(index ^ distance ^ label for label in node)
        units[index] |= distance << 10 | (0 in node) << 8
        for label, child in node.items():
            units[index ^ distance ^ label] = label if label else 1 << 31 | child
        for label, child in node.items():
            if label:
                place(child, index ^ distance ^ label)

    place(trie, 0)
    blob = b"".join(struct.pack("<I", units.get(index, 0)) for index in range((max(units) | 255) + 1))
    return struct.pack("<I", len(blob)) + blob + bytes(texts)
