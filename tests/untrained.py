"""Checkpoints that nobody has trained, with tokenizers of their own: made at once, for tests of files and loading."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from miniature import LANGUAGES, sentences, text
from tiny_models import SHAPE, SPECIAL_IDS, class_of, tiny_model
from tokenizer_kinds import KINDS

WIDTH = SHAPE["hidden_size"]
LAYERS = 2
PROMPTS = {"query": "query: ", "passage": "passage: "}
TOKENIZERS = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "xlm-roberta": "unigram",
    "deberta-v2": "deberta unigram",
    "modernbert": "byte-fallback bpe",
}
"""The kind of tokenizer that each backbone's teachers have."""


@cache
def tokenizer_for(backbone: str) -> Any:
    """A tokenizer that knows the miniature world, `PROMPTS`, and as much that no pair of the world has a use for."""
    lines = [text(sentence) for language in LANGUAGES for sentence in sentences(language, 200)]
    lines += [line[::-1] for line in lines] + 20 * ["".join(PROMPTS.values())]
    return KINDS[TOKENIZERS[backbone]](lines, 600)


def untrained(backbone: str, folder: Path, tokenizer: Any = None, **fields: Any) -> Path:
    """Write a masked language model of random numbers with its tokenizer, and give its folder.

    Args:
        backbone: The architecture.
        folder: Where to.
        tokenizer: Instead of the one that the architecture's teachers have.
        fields: For its config.
    """
    tokenizer = tokenizer or tokenizer_for(backbone)
    special = {name: identifier for name in SPECIAL_IDS if (identifier := getattr(tokenizer, name)) is not None}
    model = tiny_model(class_of(backbone, "ForMaskedLM"), len(tokenizer), LAYERS, special_ids=special, **fields)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def untrained_sentence_encoder(kind: str, folder: Path) -> Path:
    """Write a sentence encoder in the folder format of sentence-transformers, and give its folder.

    Args:
        kind: "e5" (multilingual E5: XLM-R, mean, norm, prompts), "labse" (LaBSE: BERT, first token, dense layer, norm)
            or "minilm" (multilingual MiniLM: BERT with the tokenizer of XLM-R, mean).
        folder: Where to; its encoder as it was before is beside it, with "-base" after the name.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    # As published, MiniLM's config has the padding of BERT's tokenizer.
    with_pieces = {"tokenizer": tokenizer_for("xlm-roberta"), "pad_token_id": 0} if kind == "minilm" else {}
    backbone = "xlm-roberta" if kind == "e5" else "bert"
    base = untrained(backbone, folder.with_name(f"{folder.name}-base"), **with_pieces)
    torch.manual_seed(1)
    after = {
        "e5": lambda: [Pooling(WIDTH, "mean"), Normalize()],
        "labse": lambda: [Pooling(WIDTH, "cls"), Dense(WIDTH, 12), Normalize()],
        "minilm": lambda: [Pooling(WIDTH, "mean")],
    }
    modules = [Transformer(str(base)), *after[kind]()]
    model = SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS if kind == "e5" else None)
    model.save(str(folder))
    return folder
