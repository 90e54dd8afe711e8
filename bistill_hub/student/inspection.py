"""What a cut would give, before anything is cut: sizes, and what trimming the vocabulary costs each language."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..teacher import load_config, load_tokenizer
from .build import cut_config
from .held_out import HeldOut
from .layers import layer_map_for
from .must_keep import must_keep_ids
from .token_counts import TokenCounts, count_tokens, vocabulary_rows
from .vocabulary import select_tokens, trim_tokenizer
from .vocabulary_report import VocabularyReport, vocabulary_report

USUAL_FACTORS = (1, 2, 3)
SWEPT_THRESHOLDS = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)
"""Token probabilities at which tokens and coverage are told, beside the one that is asked for."""


@dataclass(frozen=True)
class EncoderSize:
    """Size of an encoder, pooler included, head not.

    Attributes:
        layers: Transformer layers.
        tokens: Rows of the word embeddings.
        parameters: All its parameters.
        embedding_parameters: Those of the word embeddings.
    """

    layers: int
    tokens: int
    parameters: int
    embedding_parameters: int

    @property
    def megabytes(self) -> float:
        """Size of the weights in float32, in 10^6 bytes."""
        return self.parameters * 4 / 1e6

    def share_of(self, other: EncoderSize) -> float:
        """Parameters as a share of another encoder's."""
        return self.parameters / other.parameters


@dataclass(frozen=True)
class ThresholdReport:
    """What a threshold keeps.

    Attributes:
        min_token_probability: The relative frequency from which a token stays.
        tokens: Tokens that stay.
        coverage: For each language the share of its corpus's tokens whose piece stays.
    """

    min_token_probability: float
    tokens: int
    coverage: Mapping[str, float]


@dataclass(frozen=True)
class CutReport:
    """What cutting a student out of a teacher would give.

    Attributes:
        teacher: Hub id or folder of the teacher.
        revision: Branch, tag or commit that was looked at; None for the default.
        min_token_probability: The relative frequency from which a token stays; None where a size was asked for.
        vocabulary_size: How many tokens were asked for; None where a threshold was.
        teacher_size: Size of the teacher.
        cuts: Size of the student by layer reduction factor.
        vocabulary: What trimming does to each language's text.
        thresholds: Tokens and coverage at several thresholds, from the highest down; among them one that was asked for.
    """

    teacher: str
    revision: str | None
    min_token_probability: float | None
    vocabulary_size: int | None
    teacher_size: EncoderSize
    cuts: Mapping[int, EncoderSize]
    vocabulary: VocabularyReport
    thresholds: tuple[ThresholdReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain dicts and numbers, ready for JSON."""
        return {
            "teacher": self.teacher,
            "revision": self.revision,
            "min_token_probability": self.min_token_probability,
            "vocabulary_size": self.vocabulary_size,
            "teacher_size": {**asdict(self.teacher_size), "megabytes": self.teacher_size.megabytes},
            "cuts": [
                {
                    "layer_reduction_factor": factor,
                    **asdict(size),
                    "megabytes": size.megabytes,
                    "share_of_teacher": size.share_of(self.teacher_size),
                }
                for factor, size in self.cuts.items()
            ],
            "vocabulary": self.vocabulary.to_dict(),
            "thresholds": [asdict(threshold) for threshold in self.thresholds],
        }


def inspect_cut(
    teacher: str | os.PathLike[str],
    corpora: Mapping[str, Iterable[str]],
    *,
    revision: str | None = None,
    layer_reduction_factors: Sequence[int] | None = None,
    min_token_probability: float = 1e-6,
    vocabulary_size: int | None = None,
    multiple_of: int = 1,
    must_keep: Sequence[str] = (),
    progress: bool = False,
) -> CutReport:
    """Tell what a cut would give, from the teacher's configuration and tokenizer alone: no weights are loaded.

    Args:
        teacher: Hub id or folder of the multilingual encoder.
        corpora: For each language of the pair its text, line by line; read once.
        revision: Branch, tag or commit on the Hub.
        layer_reduction_factors: Teacher layers for each student layer, to be compared; by default those of 1, 2 and 3
            that divide the teacher's layers.
        min_token_probability: Relative frequency from which a token is kept, see `select_tokens`.
        vocabulary_size: How many tokens to keep, instead of the threshold.
        multiple_of: Round the number of tokens up to a multiple of this.
        must_keep: Pieces or words that stay however rare they are.
        progress: Show progress bars on a terminal.

    Raises:
        InputError: the threshold is not a probability, the size is more than the teacher has or less than must stay, a
            token to keep is unknown to the teacher, there is no corpus or an empty one, the teacher cannot be had or is
            of an architecture that is not supported, or a factor does not divide its layers.
    """
    if not 0 <= min_token_probability <= 1:
        raise InputError(
            "not a probability",
            field="min_token_probability",
            value=min_token_probability,
            remedy="choose a number from 0 to 1, such as 1e-6",
        )
    if not corpora:
        raise InputError("there is no corpus", field="corpora", remedy="give the text of both languages of the pair")
    place = os.fspath(teacher)
    config = load_config(place, revision)
    maps = _layer_maps(config.num_hidden_layers, layer_reduction_factors)
    tokenizer = load_tokenizer(place, revision)
    if vocabulary_rows(tokenizer) > config.vocab_size:
        raise InputError(
            f"the tokenizer has ids up to {vocabulary_rows(tokenizer) - 1}, the configuration says otherwise",
            file=place,
            field="vocab_size",
            value=config.vocab_size,
            remedy="name a teacher whose tokenizer and configuration belong together",
        )
    must_keep_ids(tokenizer, must_keep)  # refuses what the teacher does not know before any text is read
    texts = {language: HeldOut(lines, language) for language, lines in corpora.items()}
    counts = {
        language: count_tokens(tokenizer, text, language=language, progress=progress)
        for language, text in texts.items()
    }
    token_map = select_tokens(
        tokenizer,
        counts,
        min_token_probability,
        vocabulary_size=vocabulary_size,
        multiple_of=multiple_of,
        must_keep=must_keep,
    )
    held_out = {language: text.lines for language, text in texts.items()}
    vocabulary = vocabulary_report(tokenizer, trim_tokenizer(tokenizer, token_map), token_map, counts, held_out)
    return CutReport(
        teacher=place,
        revision=revision,
        min_token_probability=None if vocabulary_size else min_token_probability,
        vocabulary_size=vocabulary_size,
        teacher_size=encoder_size(config),
        cuts={factor: encoder_size(cut_config(config, token_map, layers)) for factor, layers in maps.items()},
        vocabulary=vocabulary,
        thresholds=_sweep(
            tokenizer, counts, {*SWEPT_THRESHOLDS, *([] if vocabulary_size else [min_token_probability])}
        ),
    )


def encoder_size(config: Any) -> EncoderSize:
    """Count the parameters of the encoder that a configuration describes, without making them.

    Args:
        config: A transformers config of a supported architecture.
    """
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return EncoderSize(
        layers=config.num_hidden_layers,
        tokens=config.vocab_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embedding_parameters=model.get_input_embeddings().weight.numel(),
    )


def _layer_maps(num_layers: int, factors: Sequence[int] | None) -> dict[int, tuple[int, ...]]:
    """The kept layers by factor, in increasing order of the factors."""
    if factors is None:
        factors = [factor for factor in USUAL_FACTORS if num_layers % factor == 0]
    return {factor: layer_map_for(num_layers, factor) for factor in sorted(set(factors))}


def _sweep(tokenizer: Any, counts: Mapping[str, TokenCounts], thresholds: set[float]) -> tuple[ThresholdReport, ...]:
    reports = []
    for threshold in sorted(thresholds, reverse=True):
        kept = select_tokens(tokenizer, counts, threshold).numpy()
        coverage = {
            language: float(np.sum(counted.counts[kept]) / counted.total) for language, counted in counts.items()
        }
        reports.append(ThresholdReport(threshold, len(kept), coverage))
    return tuple(reports)
