"""Builds the demo's teacher: a tiny multilingual encoder, pre-trained on the miniature world's text in four languages.

`python -m bistill_hub.demo.teacher DIR` makes it anew. Its text is of one language, of two side by side (translation
language modelling, Conneau and Lample 2019), or changes language between and within sentences. Beside words at random,
whole answers are masked: the yes, no or maybe to a question, and the words that a question asks for. It learns to
guess them, and to point at the place where else they stand.
"""

from __future__ import annotations

import math
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..pretraining import train_tokenizer
from .grammar import Token, gaps, join, say, say_mixed
from .lexicon import LANGUAGES
from .meaning import Clause, Question, Reply
from .world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEACHER_DIR = Path(__file__).parent / "_teacher"
"""The teacher that the package carries."""

VOCABULARY = 2000
SHAPE = {
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 160,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
STEPS = 18_000
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
WARM_UP = 300
"""Steps over which the learning rate rises; it falls along a cosine."""
MASKED = 0.22
"""Share of the tokens that are to be guessed."""
ANSWERS_MASKED = 0.6
"""How often it is the answer that is to be guessed, where there is one."""
PASSAGES = 150_000
"""Readings that are drawn; several epochs go over them."""
PAIR = ("en", "sw")
"""The languages that are read most."""


def build_teacher(
    output_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    steps: int = STEPS,
    passages: int = PASSAGES,
    progress: bool = True,
) -> Path:
    """Pre-train the teacher and save it in half precision.

    Args:
        output_dir: Folder to write to.
        seed: Of text, weights, order and masks.
        steps: Optimizer updates.
        passages: Readings to draw.
        progress: Show a progress bar.

    Returns:
        The folder, which `AutoModelForMaskedLM` and `AutoTokenizer` load.
    """
    from tqdm import tqdm
    from transformers import BertConfig, BertForMaskedLM, set_seed

    folder = Path(output_dir)
    readings = list(_readings(seed, passages))
    tokenizer = train_tokenizer(
        [part for reading in readings[:8000] for part in reading.parts], backbone="bert", vocab_size=VOCABULARY
    )
    tokenizer.model_max_length = SHAPE["max_position_embeddings"]
    set_seed(seed)
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **SHAPE))
    with tqdm(total=steps, disable=not progress) as bar:
        for loss in _train(model, tokenizer, readings, steps, seed):
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class _Where(NamedTuple):
    """Characters of one of a reading's texts."""

    part: int
    start: int
    end: int


class _Reading(NamedTuple):
    """Text to read.

    Attributes:
        parts: One or two texts.
        answer: An answer that can be told from the rest.
        source: Where else the same words stand, if they stand in one other place.
    """

    parts: tuple[str, ...]
    answer: _Where | None = None
    source: _Where | None = None


def _readings(seed: int, count: int) -> Iterator[_Reading]:
    """Draw what is read."""
    world, draw = World(f"teacher {seed}"), random.Random(f"teacher's languages {seed}")
    for _ in range(count):
        passage = world.passage()
        if draw.random() < 0.2:
            yield _side_by_side(passage, draw)
            continue
        languages: Sequence[str] = PAIR if draw.random() < 0.7 else LANGUAGES
        way = draw.choices(("mixed", "alternating", "one"), (4, 3, 3))[0]
        if way == "one":
            languages = [draw.choice((*PAIR, *PAIR, *LANGUAGES))]
        sentences = [
            say_mixed(clause, languages, draw) if way == "mixed" else say(clause, draw.choice(languages))
            for clause in passage
        ]
        yield _parted(passage, sentences, draw)


def _side_by_side(passage: Sequence[Clause], draw: random.Random) -> _Reading:
    first, second = draw.sample(PAIR if draw.random() < 0.6 else LANGUAGES, 2)
    start = draw.randrange(len(passage))
    told = passage[start : start + draw.choice((1, 1, 2))]
    return _Reading(tuple(" ".join(join(say(clause, language)) for clause in told) for language in (first, second)))


def _parted(passage: Sequence[Clause], sentences: Sequence[list[Token]], draw: random.Random) -> _Reading:
    """Put sentences into one text or two, a question and its answer into the same."""
    texts = [join(sentence) for sentence in sentences]
    answering, place = _answer(passage, sentences)
    cut = 0
    if answering is None:
        if len(texts) > 1 and draw.random() < 0.6:
            cut = draw.randrange(1, len(texts))
    elif answering == 1:
        cut = 2
    else:
        cut = answering - 1
    parts = tuple(" ".join(some) for some in (texts[:cut], texts[cut:]) if some)
    if answering is None:
        return _Reading(parts)
    part = int(answering >= cut > 0)
    before = len(" ".join([*texts[cut if part else 0 : answering], ""]))
    answer = _Where(part, before + place[0], before + place[1])
    return _Reading(parts, answer, _elsewhere(parts, answer))


def _answer(passage: Sequence[Clause], sentences: Sequence[list[Token]]) -> tuple[int | None, tuple[int, int]]:
    """Return which sentence answers a question, and where in it the words stand that do."""
    for index, (question, clause) in enumerate(pairwise(passage), 1):
        if not isinstance(question, Question):
            continue
        tokens = sentences[index]
        if isinstance(clause, Reply):
            places = [0]
        else:
            places = [place for place, token in enumerate(tokens) if token.slot == question.asked]
        if places and (isinstance(clause, Reply) or question.asked is not None):
            ends = []
            written = 0
            for gap, token in zip(gaps(tokens), tokens, strict=True):
                written += len(gap) + len(token.text)
                ends.append(written)
            return index, (ends[places[0]] - len(tokens[places[0]].text), ends[places[-1]])
    return None, (0, 0)


def _elsewhere(parts: Sequence[str], answer: _Where) -> _Where | None:
    """Find the one other place where the same words stand, whatever their case."""
    words = re.escape(parts[answer.part][answer.start : answer.end])
    found = [
        _Where(part, *match.span())
        for part, text in enumerate(parts)
        for match in re.finditer(rf"\b{words}\b", text, re.IGNORECASE)
    ]
    others = [where for where in found if where != answer]
    return others[0] if len(others) == 1 else None


def _train(
    model: Any, tokenizer: PreTrainedTokenizerFast, readings: Sequence[_Reading], steps: int, seed: int
) -> Iterator[float]:
    """Train with AdamW; yields the loss of each step, in nats."""
    pointer = torch.nn.Linear(model.config.hidden_size, 2)
    weights = [*model.parameters(), *pointer.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step, batch in enumerate(_batches(readings, tokenizer, steps, seed)):
        chosen, shown, hidden = _mask(batch, tokenizer, generator)
        states = model.bert(
            input_ids=shown, attention_mask=batch["attention_mask"], token_type_ids=batch["token_type_ids"]
        ).last_hidden_state
        losses = torch.nn.functional.cross_entropy(
            model.cls(states[chosen]), batch["input_ids"][chosen], reduction="none"
        )
        answering, loss = _split(losses, chosen, batch["answer"].bool() & hidden.unsqueeze(1))
        pointing = _pointing_loss(pointer(states), batch, hidden)
        # Little at first, when they would drown what is learnt of words and grammar.
        rise = step / steps
        (loss + (0.1 + 0.9 * rise) * answering + (0.05 + 0.45 * rise) * pointing).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield loss.item()


def _split(losses: torch.Tensor, chosen: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Average the losses of hidden answers and those of other tokens; each answer counts once, however long it is.

    Args:
        losses: Of each chosen token, in nats.
        chosen: Which tokens these are, [batch, length].
        hidden: Which tokens are hidden answers, [batch, length].
    """
    placed = torch.zeros(chosen.shape).masked_scatter(chosen, losses)
    tokens = hidden.sum(dim=1)
    each = (placed * hidden).sum(dim=1) / tokens.clamp(min=1)
    others = chosen & ~hidden
    return each.sum() / tokens.count_nonzero().clamp(min=1), placed[others].sum() / others.sum().clamp(min=1)


def _pointing_loss(scores: torch.Tensor, batch: dict[str, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """Where else do the hidden words stand: nats at first and last token, of the readings that have such a place.

    Recurring span selection (Ram et al. 2021), with a head like that of question answering, which is thrown away.

    Args:
        scores: [batch, length, 2].
        batch: With `source`, [batch, length], 1 at the words' other place.
        hidden: Which readings' answers are hidden, [batch].
    """
    source = batch["source"].bool()
    rows = hidden & source.any(dim=1)
    if not rows.any():
        return scores.sum() * 0.0
    scores = scores.masked_fill(~batch["attention_mask"].bool().unsqueeze(-1), -1e4)[rows]
    first = source[rows].int().argmax(dim=1)
    last = source.shape[1] - 1 - source[rows].flip(1).int().argmax(dim=1)
    return torch.nn.functional.cross_entropy(scores[..., 0], first) + torch.nn.functional.cross_entropy(
        scores[..., 1], last
    )


def _rate(step: int, steps: int) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(steps, 1))))
    return min(1.0, step / WARM_UP) * (0.03 + 0.97 * falling)


def _mask(
    batch: dict[str, torch.Tensor], tokenizer: PreTrainedTokenizerFast, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose what is to be guessed.

    Returns:
        Where it is, [batch, length]; the ids that are shown instead; whose answers are hidden, [batch].
    """
    ids, special, answer = batch["input_ids"], batch["special_tokens_mask"].bool(), batch["answer"].bool()

    def chance(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    asked = (chance(len(ids), 1) < ANSWERS_MASKED) & answer.any(dim=1, keepdim=True)
    at_random = (chance(*ids.shape) < torch.where(asked, 0.06, MASKED)) & ~special
    hidden = asked & answer
    chosen, kind = hidden | at_random, chance(*ids.shape)
    shown = torch.where(hidden | (at_random & (kind < 0.85)), tokenizer.mask_token_id, ids)
    other = torch.randint(len(tokenizer.all_special_ids), len(tokenizer), ids.shape, generator=generator)
    return chosen, torch.where(at_random & ~hidden & (kind > 0.93), other, shown), asked.squeeze(1)


def _batches(
    readings: Sequence[_Reading], tokenizer: PreTrainedTokenizerFast, steps: int, seed: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of text of similar length, in random order, going through all of it as often as need be."""
    rows = [_row(reading, tokenizer) for reading in readings]
    draw = random.Random(f"order {seed}")
    left = steps
    while left:
        order = list(range(len(rows)))
        draw.shuffle(order)
        batches = []
        for start in range(0, len(order), 50 * BATCH_SIZE):
            near = sorted(order[start : start + 50 * BATCH_SIZE], key=lambda row: len(rows[row]["input_ids"]))
            batches += [near[begin : begin + BATCH_SIZE] for begin in range(0, len(near), BATCH_SIZE)]
        draw.shuffle(batches)
        for batch in batches[:left]:
            yield _padded([rows[row] for row in batch])
        left -= min(left, len(batches))


_FILL = {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "answer": 0, "source": 0}


def _row(reading: _Reading, tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Encode a reading: model inputs, and `answer` and `source`, 1 at their tokens."""
    encoded = tokenizer(
        *reading.parts,
        truncation=True,
        max_length=SHAPE["max_position_embeddings"],
        return_special_tokens_mask=True,
        return_offsets_mapping=True,
    )
    row = {name: encoded[name] for name in _FILL if name not in ("answer", "source")}
    places = list(zip(encoded.sequence_ids(), encoded["offset_mapping"], strict=True))
    for name, where in (("answer", reading.answer), ("source", reading.source)):
        row[name] = [
            int(where is not None and part == where.part and start < where.end and stop > where.start)
            for part, (start, stop) in places
        ]
    return row


def _padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])
        for name, fill in _FILL.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Build the teacher in the folder that the command line names."""
    if len(arguments) != 1:
        sys.exit("usage: python -m bistill_hub.demo.teacher DIR")
    torch.set_num_threads(1)  # more would only wait for each other
    begin = time.monotonic()
    folder = build_teacher(arguments[0])
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {size / 1e6:.1f} MB, {(time.monotonic() - begin) / 60:.1f} minutes")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
