"""The teacher, speaking the batch's language: a sparse delta per language, put on and taken off exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..model.sparse_delta import SparseDelta, _match


@dataclass(frozen=True, eq=False)
class _Entries:
    """What a delta changes of one parameter, on the parameter's device.

    Attributes:
        parameter: The parameter.
        flat: A vector that shared its storage when this was prepared.
        indices: Positions [entries] in it, int64; None for all of it.
        bare: The base's values [entries], in the parameter's type.
        worn: The values [entries] with the delta on.
    """

    parameter: nn.Parameter
    flat: Tensor
    indices: Tensor | None
    bare: Tensor
    worn: Tensor

    @property
    def still_there(self) -> bool:
        """Whether the parameter lies where it lay, in the same type."""
        return self.parameter.dtype == self.flat.dtype and self.parameter.data_ptr() == self.flat.data_ptr()

    def write(self, values: Tensor) -> None:
        """Put values where the entries are; also into a parameter that was moved or cast since."""
        place = self.flat if self.still_there else _flat(self.parameter)
        values = values.to(place.device, place.dtype)
        if self.indices is None:
            place.copy_(values)
        else:
            place.index_copy_(0, self.indices.to(place.device), values)


class LanguageTeacher:
    """One teacher and a language SFT for some languages; for each batch the right one is on the weights.

    A batch says its language by a number, its entry `language`. One without that entry, as of a task's data, is taught
    in the language that `speak` was last asked for, and by the bare teacher where it never was.

    Swapping writes back what was replaced instead of subtracting what was added, so the weights are bit for bit the
    base's again after any number of swaps, in any precision. What is written either way is computed once, at the first
    swap: the sums in float32, rounded once to the parameter's type. For each changed entry it keeps its position and
    both values on the parameter's device: 16 bytes in float32, 12 in bf16 and fp16.

    The teacher may be cast, moved, or spread over several devices at any time, also after the first swap; what is
    written is then computed anew. Nobody else may change its values.

    Args:
        model: The teacher, with the student's vocabulary.
        deltas: Sparse delta by language code, sliced to that vocabulary; a language without one gets the bare teacher.
            Entries for a head that the teacher lacks are passed over.
        languages: Language codes in the order of the `language` numbers that batches carry. Where there are none, phase
            1 takes those of its training data; it numbers the languages of all its data by these codes.
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
        self._asked: str | None = None
        self._worn: str | None = None
        self._prepared: dict[str, list[_Entries]] = {}

    def speak(self, language: str | None) -> PreTrainedModel:
        """Return the teacher with that language's delta on it, or bare for None or a language without a delta.

        So are batches taught from now on that do not say their language.

        Raises:
            ValueError: a delta does not fit the teacher, which is bare then.
        """
        self._asked = language
        return self._wear(language)

    def _wear(self, language: str | None) -> PreTrainedModel:
        """Put a language's delta on in place of another one, or take that off."""
        wanted = language if language in self.deltas else None
        if wanted == self._worn:
            return self.model
        with torch.no_grad():
            if self._worn is not None:
                for entries in self._prepared[self._worn]:
                    entries.write(entries.bare)
                self._worn = None
            if wanted is not None:
                for entries in self._entries_of(wanted):
                    entries.write(entries.worn)
                self._worn = wanted
        return self.model

    def for_batch(self, inputs: Mapping[str, Tensor]) -> PreTrainedModel:
        """Return the teacher for a batch of one language; `inputs["language"]` [batch] numbers it.

        Without that entry it is the teacher as `speak` was last asked for it, whatever batches came in between.

        Raises:
            ValueError: the batch mixes languages that have different deltas or is of one that `languages` does not
                name, or a delta does not fit the teacher.
        """
        if not self.deltas:
            return self.model
        if "language" not in inputs:
            return self._wear(self._asked)
        numbers = inputs["language"].unique().tolist()
        if not all(0 <= number < len(self.languages) for number in numbers):
            raise ValueError(
                f"the batch is of language {numbers}, and the languages are {list(self.languages)}; pass languages= in "
                "the order of the numbers"
            )
        if len(numbers) != 1:
            raise ValueError(f"a batch must be of one language, not of {[self.languages[n] for n in numbers]}")
        return self._wear(self.languages[numbers[0]])

    def _entries_of(self, language: str) -> list[_Entries]:
        """Return what a delta changes of the bare teacher as it lies now."""
        found = self._prepared.get(language)
        if found is None or not all(entries.still_there for entries in found):
            found = self._prepared[language] = list(_prepare(self.model, self.deltas[language]))
        return found


def _prepare(model: PreTrainedModel, delta: SparseDelta) -> Iterable[_Entries]:
    """Look up what a delta changes of a model, and compute it.

    Raises:
        ValueError: a parameter is of another shape, not contiguous or not in memory, or two names of the delta mean the
            same one and change it differently.
    """
    taken: dict[int, str] = {}
    for name, parameter in _targets(model, delta):
        update = delta.sparse.get(name)
        shape = tuple(delta.dense[name].shape) if update is None else update.shape
        if tuple(parameter.shape) != shape:
            raise ValueError(f"{name}: the teacher's shape is {tuple(parameter.shape)}, the delta's {shape}")
        if (other := taken.setdefault(id(parameter), name)) != name:
            # The state of an untied copy names a tied parameter twice.
            if not delta.changes_alike(other, name):
                raise ValueError(f"{other} and {name} are one parameter of the teacher, and changed differently")
            continue
        if parameter.is_meta or not parameter.is_contiguous():
            raise ValueError(f"{name} cannot be changed in place: it is not in memory as a whole")
        flat = _flat(parameter)
        if update is None:
            dense = delta.dense[name].to(flat.device, flat.dtype).flatten()
            yield _Entries(parameter, flat, None, flat.clone(), dense)
            continue
        indices = update.indices.to(flat.device)
        bare = flat.index_select(0, indices)
        worn = (bare.float() + update.values.to(flat.device, torch.float32)).to(flat.dtype)
        yield _Entries(parameter, flat, indices, bare, worn)


def _targets(model: PreTrainedModel, delta: SparseDelta) -> Iterator[tuple[str, nn.Parameter]]:
    """Pair the delta's names with the model's parameters; names that the model lacks are left out."""
    parameters = dict(model.named_parameters(remove_duplicate=False))  # a tied parameter answers to each name
    for name in (*delta.dense, *(name for name in delta.sparse if name not in delta.dense)):
        target = _match(name, parameters)
        if target is not None:
            yield name, parameters[target]


def _flat(parameter: nn.Parameter) -> Tensor:
    return parameter.data.view(-1)
