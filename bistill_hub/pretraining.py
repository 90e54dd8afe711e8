"""Pre-train a small masked language model, and its tokenizer, from text files.

It is what a pair's student is held against (the same text and size, but no teacher) and where the tests' teachers come
from. The outcome is an ordinary BERT or XLM-RoBERTa checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
import torch
import transformers
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from .distillation.recording import calm
from .errors import InputError
from .failed_writes import failed_writes_explained
from .fp32_products import faster_fp32_products
from .freed_memory import freed_memory_kept
from .gpus import SHOW_ONE, refuse_several_gpus
from .masked_training import MaskedTrainer, Masks
from .sources import TextSource
from .unfinished_model import hand_over, prepare_folder, work_in

Backbone = Literal["bert", "xlm-roberta"]
RECORD_FILE = "pretraining.json"
"""The file beside the weights that says what they were made from."""

_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_XLMR_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")

Block = NDArray[np.int32]


class PretrainingSettings(BaseModel):
    """Shape of the model and course of its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Backbone = Field("xlm-roberta", description="architecture, and with it the kind of tokenizer")
    vocab_size: int = Field(30_000, ge=16, le=1_000_000, description="pieces of the tokenizer, where one is trained")
    hidden_size: int = Field(768, ge=4, le=8192, description="width, a multiple of num_attention_heads")
    num_hidden_layers: int = Field(12, ge=1, le=96)
    num_attention_heads: int = Field(12, ge=1, le=128)
    intermediate_size: int = Field(3072, ge=4, le=65_536, description="width inside the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="of hidden states and attention probabilities")
    max_length: int = Field(256, ge=8, le=8192, description="tokens a block, and the longest input the model takes")
    steps: int = Field(100_000, ge=0, description="optimizer updates; 0 saves the randomly initialised model")
    batch_size: int = Field(32, ge=1, description="blocks a step")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="AdamW's peak; falls linearly to 0 after the warm-up")
    warmup_fraction: float = Field(0.06, ge=0, lt=1, description="share of the steps over which the rate rises from 0")
    weight_decay: float = Field(0.01, ge=0, lt=1)
    mask_probability: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are to be guessed")
    bf16: bool = Field(False, description="compute in bfloat16 under autocast; weights stay float32")
    seed: int = Field(0, ge=0, lt=2**32, description="of the weights, dropout, order of blocks and masks")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> PretrainingSettings:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


def pretrain(
    sources: Mapping[str, TextSource],
    output_dir: str | os.PathLike[str],
    settings: PretrainingSettings,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> Path:
    """Pre-train a masked language model on the text of one or more languages, and save it.

    Each source's lines are packed into blocks of `max_length` tokens. Every source gives the same number of blocks,
    whatever its size: blocks are taken from them in turn, and a source that is used up starts over in a new order.

    The same call goes on where it was interrupted, from its last checkpoint, and ends with the same bytes. The folder
    holds no part of the model before all of it is written.

    It gets the weights (safetensors, float32), the tokenizer, and `pretraining.json`: settings, sources with the
    SHA-256 of the lines read (UTF-8, stripped, a newline after each), library versions, and the training loss (nats a
    masked token, averaged since the entry before). Two runs on the same CPU with the same number of threads write the
    same bytes.

    Args:
        sources: Text by language or any other name. Each is read once and kept in memory.
        output_dir: Folder to create; it may exist, but not hold a model.
        settings: Shape and course.
        tokenizer: Used as it is in place of a newly trained one; `settings.vocab_size` plays no part then.
        checkpoint_every: Updates from one checkpoint to the next, each of which takes the place of the one before it.
        progress: Show a progress bar and the losses.

    Returns:
        The folder, which `AutoModelForMaskedLM` and `AutoTokenizer` load.

    Raises:
        InputError: no source, a missing or empty file, text without a line, a vocabulary too small for the text's
            characters, a tokenizer without a special token, several processes or GPUs, or a folder that holds a model,
            cannot be written, or holds an interrupted training that was begun with something else. All of it is found
            before the training. Or the training has come to values that are not finite.
        BistillError: no room is left; the same call goes on once there is.
    """
    output_dir = Path(output_dir)
    if not sources:
        raise InputError("there is no text to train on", field="sources", remedy="name at least one text source")
    for language, source in sources.items():
        source.check(f"sources.{language}")
    special = ("cls_token", "sep_token", "pad_token", "mask_token")
    if tokenizer is not None and (missing := [name for name in special if getattr(tokenizer, name) is None]):
        raise InputError(
            f"it has no {', '.join(missing)}", field="tokenizer", remedy="give one of a masked language model"
        )
    _check_one_process()
    if settings.steps:
        refuse_several_gpus("a model is pre-trained on one GPU", SHOW_ONE)
    prepare_folder(output_dir)
    texts = {language: list(source.lines()) for language, source in sources.items()}
    _refuse_empty(texts, sources)

    if tokenizer is None:
        every_line = list(chain.from_iterable(texts.values()))
        tokenizer = train_tokenizer(every_line, backbone=settings.backbone, vocab_size=settings.vocab_size)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = settings.max_length
    blocks = {language: _pack(lines, tokenizer, settings.max_length) for language, lines in texts.items()}
    _refuse_empty(blocks, sources)

    record = {
        "settings": settings.model_dump(),
        "sources": [
            {
                "language": language,
                "name": source.name,
                "sha256": hashlib.sha256("".join(f"{line}\n" for line in texts[language]).encode()).hexdigest(),
                "lines": len(texts[language]),
                "tokens": sum(len(block) - 2 for block in blocks[language]),
                "blocks": len(blocks[language]),
            }
            for language, source in sources.items()
        ],
        "vocabulary": len(tokenizer),
        "losses": [],
        "versions": {"python": platform.python_version()}
        | {library.__name__: str(library.__version__) for library in (np, tokenizers, torch, transformers)},
    }
    pieces = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    inputs = {**record, "tokenizer": pieces}
    with failed_writes_explained(output_dir, "the pre-training"), work_in(output_dir, inputs) as work:
        transformers.set_seed(settings.seed)
        model = _new_model(settings, tokenizer)
        schedule = _Schedule(list(blocks.values()), settings.steps * settings.batch_size, settings.seed)
        losses = _train(model, tokenizer, schedule, settings, work, checkpoint_every, progress)
        written = work / "model"
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        text = json.dumps({**record, "losses": losses}, indent=2, ensure_ascii=False)
        (written / RECORD_FILE).write_text(f"{text}\n", encoding="utf-8")
        hand_over(written, output_dir)
    return output_dir


def train_tokenizer(lines: Iterable[str], *, backbone: Backbone, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer with the pipeline, special tokens and special ids of a backbone.

    BERT: cased WordPiece with `[PAD] [UNK] [CLS] [SEP] [MASK]` at 0-4 and token type ids. XLM-RoBERTa: Unigram over
    NFKC text with `<s> <pad> </s> <unk>` at 0-3 and `<mask>` last. Every character of the text is a piece. The same
    text gives the same tokenizer, which the training library alone does not: hash tables order its ties.

    It is of the generic class, which `AutoTokenizer` loads back exactly as it was saved: `BertTokenizer` and
    `XLMRobertaTokenizer` would build the pipeline anew and lose the normalizer.

    Args:
        lines: Text, a sentence or paragraph each. An iterator is kept in memory, because the lines are read twice.
        backbone: Whose kind of tokenizer.
        vocab_size: Pieces, special tokens included. Little text may give fewer.

    Raises:
        InputError: there is no text, or `vocab_size` does not hold the special tokens and the text's characters.
    """
    if isinstance(lines, Iterator):
        lines = list(lines)
    return _train_wordpiece(lines, vocab_size) if backbone == "bert" else _train_unigram(lines, vocab_size)


def _train_wordpiece(lines: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    pipeline = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pipeline.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    initial, continuing = _characters(lines, pipeline)
    # Of equally frequent merges the one of the lower ids wins; naming each "##a" here keeps their ids from chance.
    first = [*_BERT_SPECIAL, *(f"##{character}" for character in sorted(continuing))]
    _check_size(vocab_size, needed=len(first) + len(initial | continuing))
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=first, show_progress=False)
    pipeline.train_from_iterator(lines, trainer)

    # A new object, because the trained one takes each "##a" for a special token.
    trained = Tokenizer(models.WordPiece(pipeline.get_vocab(), unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = pipeline.normalizer, pipeline.pre_tokenizer
    trained.decoder = decoders.WordPiece(prefix="##")
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, _BERT_SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        **{f"{token[1:-1].lower()}_token": token for token in _BERT_SPECIAL},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _train_unigram(lines: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    pipeline = Tokenizer(models.Unigram())
    pipeline.normalizer = normalizers.NFKC()
    pipeline.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    initial, continuing = _characters(lines, pipeline)
    _check_size(vocab_size, needed=len(_XLMR_SPECIAL) + 1 + len(initial | continuing))
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size - 1, special_tokens=list(_XLMR_SPECIAL), unk_token="<unk>", show_progress=False
    )
    pipeline.train_from_iterator(lines, trainer)
    pieces = json.loads(pipeline.to_str())["model"]["vocab"][len(_XLMR_SPECIAL) :]

    vocabulary = [*((token, 0.0) for token in _XLMR_SPECIAL), *_in_fixed_order(pieces), ("<mask>", 0.0)]
    trained = Tokenizer(models.Unigram(vocabulary, unk_id=_XLMR_SPECIAL.index("<unk>"), byte_fallback=False))
    trained.normalizer, trained.pre_tokenizer = pipeline.normalizer, pipeline.pre_tokenizer
    trained.decoder = decoders.Metaspace()
    trained.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, _XLMR_SPECIAL.index(token)) for token in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        **{"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"},
        **{"pad_token": "<pad>", "unk_token": "<unk>"},
        mask_token=AddedToken("<mask>", lstrip=True, special=True),  # as in XLM-R, it takes the space before it along
        model_input_names=["input_ids", "attention_mask"],
    )


def _characters(lines: Iterable[str], pipeline: Tokenizer) -> tuple[set[str], set[str]]:
    """Collect the characters that begin a word and those that continue one, after normalisation."""
    initial: set[str] = set()
    continuing: set[str] = set()
    for line in lines:
        for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(pipeline.normalizer.normalize_str(line)):
            initial.add(word[0])
            continuing.update(word[1:])
    if not initial:
        raise InputError("there is no text to train a tokenizer on", remedy="give at least one line of text")
    return initial, continuing


def _check_size(vocab_size: int, *, needed: int) -> None:
    if vocab_size < needed:
        raise InputError(
            f"the special tokens and the characters of the text alone are {needed} pieces",
            field="vocab_size",
            value=vocab_size,
            remedy=f"set it to more than {needed}, or remove rare characters from the text",
        )


def _in_fixed_order(pieces: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Even out what differs from run to run: last digits, ties, and the scores of characters that training dropped.

    The trainer puts those back with the lowest score, each 0.0001 above the one before, in the order of a hash table.
    """
    scored = dict(pieces)
    lowest = min(scored.values())
    dropped_below = lowest + 1e-4 * sum(len(piece) == 1 for piece in scored)
    for piece, score in scored.items():
        scored[piece] = round(lowest if len(piece) == 1 and score < dropped_below else score, 6)
    return sorted(scored.items(), key=lambda entry: (-entry[1], entry[0]))


def _check_one_process() -> None:
    if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise InputError(
            "a model is pre-trained by one process",
            field="WORLD_SIZE",
            value=processes,
            remedy="start it without torchrun or accelerate launch",
        )


def _refuse_empty(found: Mapping[str, Sequence[Any]], sources: Mapping[str, TextSource]) -> None:
    for language, source in sources.items():
        if not found[language]:
            place = {"field": f"sources.{language}", "value": source.name}
            raise InputError("there is no text in it", **place, remedy="name a source that holds text")


def _pack(lines: Sequence[str], tokenizer: PreTrainedTokenizerFast, max_length: int) -> list[Block]:
    """Put the lines' tokens one after the other and cut them into blocks, each between `[CLS]` and `[SEP]` (or theirs).

    The last block may be shorter than the others, so that little text gives a block too.
    """
    blocks, waiting, room = list[Block](), list[int](), max_length - 2
    for start in range(0, len(lines), 1000):
        encoded = tokenizer(lines[start : start + 1000], add_special_tokens=False, verbose=False)
        waiting.extend(chain.from_iterable(encoded["input_ids"]))
        full = len(waiting) // room * room if start + 1000 < len(lines) else len(waiting)
        for begin in range(0, full, room):
            body = waiting[begin : begin + room]
            blocks.append(np.array([tokenizer.cls_token_id, *body, tokenizer.sep_token_id], dtype=np.int32))
        del waiting[:full]
    return blocks


class _Schedule(torch.utils.data.Dataset[dict[str, Any]]):
    """The blocks of the whole training in the order in which they are read: from each source in turn."""

    def __init__(self, sources: Sequence[Sequence[Block]], count: int, seed: int) -> None:
        streams = [_reshuffled_forever(blocks, [seed, index]) for index, blocks in enumerate(sources)]
        self._blocks = [next(streams[index % len(streams)]) for index in range(count)]

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        block = self._blocks[index]
        return {"input_ids": block.tolist(), "special_tokens_mask": [1, *[0] * (len(block) - 2), 1]}


def _reshuffled_forever(blocks: Sequence[Block], seed: list[int]) -> Iterator[Block]:
    generator = np.random.default_rng(seed)
    while True:
        for index in generator.permutation(len(blocks)):
            yield blocks[index]


def _new_model(settings: PretrainingSettings, tokenizer: PreTrainedTokenizerFast) -> Any:
    same = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    shape = {
        **{name: getattr(settings, name) for name in same},
        "vocab_size": len(tokenizer),
        "hidden_dropout_prob": settings.dropout,
        "attention_probs_dropout_prob": settings.dropout,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if settings.backbone == "bert":
        config = transformers.BertConfig(**shape, max_position_embeddings=settings.max_length)
        return transformers.BertForMaskedLM(config)
    config = transformers.XLMRobertaConfig(
        **shape,
        max_position_embeddings=settings.max_length + tokenizer.pad_token_id + 1,  # positions count from there
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    return transformers.XLMRobertaForMaskedLM(config)


def _train(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    schedule: _Schedule,
    settings: PretrainingSettings,
    work: Path,
    checkpoint_every: int,
    progress: bool,
) -> list[dict[str, float]]:
    """Train the model in place; returns the mean loss of about twenty stretches, each with its last step."""
    if not settings.steps:
        return []
    has_accelerator = torch.accelerator.is_available()
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_fraction,
        weight_decay=settings.weight_decay,
        bf16=settings.bf16,
        seed=settings.seed,
        use_cpu=not has_accelerator,
        dataloader_pin_memory=has_accelerator,
        train_sampling_strategy="sequential",
        logging_steps=max(1, settings.steps // 20),
        save_strategy="steps",
        save_steps=checkpoint_every,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=not progress,
    )
    masks = Masks(tokenizer, probability=settings.mask_probability, seed=settings.seed)
    trainer = MaskedTrainer(model, arguments, data_collator=masks, train_dataset=schedule)
    calm(trainer)
    with freed_memory_kept(), faster_fp32_products():
        trainer.train(resume_from_checkpoint=True)
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in trainer.state.log_history if "loss" in entry]
