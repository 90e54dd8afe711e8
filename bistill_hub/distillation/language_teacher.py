"""The teacher, speaking the batch's language: a sparse delta per language, put on and taken off exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from transformers import PreTrainedModel

from ..model.sparse_delta import SparseDelta


class LanguageTeacher:
    """One teacher and a language SFT for some languages; for each batch the right one is on the weights.

    Swapping writes back what was replaced instead of subtracting what was added, so the weights are bit for bit the
    base's again after any number of swaps, in any precision.

    Args:
        model: The teacher, with the student's vocabulary.
        deltas: Sparse delta by language code, sliced to that vocabulary; a language without one gets the bare teacher.
        languages: Language codes in the order of the `language` numbers that batches carry.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        deltas: Mapping[str, SparseDelta] | None = None,
        languages: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.deltas = dict(deltas or {})
        self.languages = tuple(languages)
        self._worn: str | None = None

    def speak(self, language: str | None) -> PreTrainedModel:
        """Return the teacher with that language's delta on it, or bare for None or a language without a delta."""
        wanted = language if language in self.deltas else None
        if wanted != self._worn:
            if self._worn is not None:
                self.deltas[self._worn].revert(self.model)
            if wanted is not None:
                # A delta made with a language-modelling head has entries for it that a headless teacher lacks.
                self.deltas[wanted].apply(self.model, strict=False)
            self._worn = wanted
        return self.model

    def for_batch(self, inputs: Mapping[str, Tensor]) -> PreTrainedModel:
        """Return the teacher for a batch of one language; `inputs["language"]` [batch] numbers it.

        Raises:
            ValueError: the batch mixes languages that have different deltas.
        """
        if not self.deltas or "language" not in inputs:
            return self.model if not self.deltas else self.speak(None)
        numbers = inputs["language"].unique().tolist()
        if len(numbers) != 1:
            raise ValueError(f"a batch must be of one language, not of {[self.languages[n] for n in numbers]}")
        return self.speak(self.languages[numbers[0]])
