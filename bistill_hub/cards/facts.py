"""What a card states, as data: nothing here is prose, and no number comes from anywhere but a run's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..evaluation.results import Result


@dataclass(frozen=True)
class ModelFacts:
    """Size of a model.

    Attributes:
        parameters: Trainable numbers of the encoder.
        layers: Transformer layers.
        vocabulary: Tokens.
        megabytes: The encoder's weights in float32, 10^6 bytes.
    """

    parameters: int
    layers: int
    vocabulary: int

    @property
    def megabytes(self) -> float:
        """Size of the weights in float32, in 10^6 bytes."""
        return self.parameters * 4 / 1e6


@dataclass(frozen=True)
class CardFacts:
    """Everything that a pair's card states.

    Attributes:
        name: The pair's name.
        source: Source language: code and English name.
        target: Target language: code and English name.
        license: Licence identifier of the Hub.
        teacher: The teacher's Hub id; None if it has none.
        teacher_revision: Its revision on the Hub.
        teacher_size: Size of the teacher.
        student_size: Size of the student.
        layer_map: For each student layer the teacher layer it was copied from.
        language_modelling_head: Whether the repository holds one.
        tasks: By task: `head`, `labels`, `density` of the delta.
        results: Every score.
        vocabulary: The vocabulary report, JSON values.
        training: Hyperparameters, final losses and seconds by stage, JSON values.
        corpora: By language: name, lines and tokens of the text.
        datasets: Hub ids that were used.
        versions: Version by library.
        recipe_sha256: Hash of the recipe.
        seed: Seed of the run.
        command: The command that reproduces the run.
        limits: The contributor's own words on limits and biases.
        taught: Whether phase 1 trained the student.
        synthetic: Whether the data are made up, which the first line then says.
    """

    name: str
    source: tuple[str, str]
    target: tuple[str, str]
    license: str
    teacher: str | None
    teacher_revision: str | None
    teacher_size: ModelFacts
    student_size: ModelFacts
    layer_map: tuple[int, ...]
    language_modelling_head: bool
    tasks: Mapping[str, Mapping[str, Any]]
    results: tuple[Result, ...]
    vocabulary: Mapping[str, Any]
    training: Mapping[str, Any]
    corpora: Mapping[str, Mapping[str, Any]]
    datasets: tuple[str, ...]
    versions: Mapping[str, str]
    recipe_sha256: str
    seed: int
    command: str
    limits: str
    taught: bool = True
    synthetic: bool = field(default=False)
