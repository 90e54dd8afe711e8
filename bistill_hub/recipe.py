"""The typed description of a pair: what is distilled from what, on which text, for which tasks, and how.

A `Recipe` is immutable, complete and free of side effects: making one reads no file and no network. Its values are
checked when it is made; what it points to is checked by `bistill_hub.run` before anything expensive starts.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import InputError, first_line
from .recipe_changes import LABELLED_SOURCES, field_at, revisions_left_behind, set_field, still_unverified
from .resources import resource_dir
from .sources import FrozenMap, LabelledSource, TextSource
from .student.layers import LayerChoice, layer_map_for

Precision = Literal["fp32", "bf16", "fp16"]
Baseline = Literal["trimmed_teacher", "no_phase_1", "random_teacher"]
"""Further models that a run can score beside teacher and student: the task teacher with the student's vocabulary, the
student without phase 1, the teacher's architecture with random weights."""

_PRECISION = "what the mathematics is done in; weights and optimizer stay in float32"
_ADDED = ("temperature", "relation_heads")
"""Settings of phase 1 that came after the others: at their defaults they change nothing, so that a phase 1 that was
finished without them is not done again."""

_TEACHER_PRECISION = "what the teacher's weights are kept in while it teaches; bf16 halves its memory"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Language(_Settings):
    """One side of the pair."""

    code: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="language code, such as 'sw'")
    name: str = Field(min_length=1, description="the language's English name")
    text: TextSource = Field(description="its unlabelled text")


class Teacher(_Settings):
    """The multilingual encoder that the student is cut out of."""

    model: str = Field(min_length=1, description="Hub id, or a folder")
    revision: str | None = Field(None, description="branch, tag or commit on the Hub")
    language_deltas: FrozenMap = Field(
        default_factory=dict,
        validate_default=True,
        description="language code to its language SFT: a delta file, or a folder or Hub id that holds one; `legacy:` "
        "before it for the authors' format, `@REVISION` behind a Hub id",
    )
    tokenizer_not_by: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = Field(
        (),
        description="tokenizer classes that build another tokenizer of the teacher's files, such as "
        "'XLMRobertaTokenizer': its users load the pair by AutoTokenizer, and the card says so",
    )


class StudentSettings(_Settings):
    """Phase 0: how the student is cut."""

    layer_reduction_factor: int = Field(2, ge=1, description="teacher layers for each student layer (LRF)")
    layers: int | None = Field(None, ge=1, description="layers of the student, instead of the factor")
    layer_choice: LayerChoice = Field("spread", description="which of the teacher's layers: spread, bottom or top")
    layer_map: tuple[int, ...] | None = Field(None, description="teacher layers to keep, from 0, instead of a choice")
    min_token_probability: float = Field(1e-6, ge=0, le=1, description="relative frequency from which a token stays")
    vocabulary_size: int | None = Field(None, ge=1, description="tokens to keep, instead of the threshold")
    vocabulary_multiple_of: int = Field(1, ge=1, description="round the vocabulary up to a multiple; 64 suits GPUs")
    must_keep: tuple[str, ...] = Field((), description="pieces or words that stay however rare they are")
    vocabulary: Literal["pair", "whole"] = Field(
        "pair", description="the pieces of the languages, or the teacher's whole vocabulary (a multilingual student)"
    )
    initialisation: Literal["teacher", "random"] = Field(
        "teacher", description="the teacher's layers, or random weights (a student from scratch)"
    )
    keep_language_modelling_head: bool = Field(True, description="trim and ship the teacher's head, where it has one")

    @property
    def vocabulary_rule(self) -> str:
        """How the tokens are chosen, in words."""
        if self.vocabulary == "whole":
            return "all of the teacher's"
        if self.vocabulary_size is None:
            rule = f"those with a relative frequency of at least {self.min_token_probability:g} in either corpus"
        else:
            rule = f"the {self.vocabulary_size:,} most frequent of either corpus"
        if self.vocabulary_multiple_of > 1:
            rule += f", rounded up to a multiple of {self.vocabulary_multiple_of}"
        return f"{rule}, and {len(self.must_keep):,} that were named" if self.must_keep else rule

    @property
    def threshold(self) -> float | None:
        """The relative frequency that decided which tokens are kept; None where something else did."""
        return None if self.vocabulary == "whole" or self.vocabulary_size else self.min_token_probability

    def layer_map_for(self, num_layers: int) -> tuple[int, ...]:
        """Name the layers that the student keeps of a teacher of so many layers, see `student.layers.layer_map_for`.

        Raises:
            InputError: there are no such layers.
        """
        return layer_map_for(
            num_layers, self.layer_reduction_factor, self.layer_map, choice=self.layer_choice, kept=self.layers
        )


class BilingualSettings(_Settings):
    """Phase 1: general distillation on text."""

    steps: int = Field(200_000, ge=0, description="updates; 0 leaves phase 1 out")
    batch_size: int = Field(8, gt=0, description="blocks per batch, all of one language")
    accumulation: int = Field(1, gt=0, description="batches per update")
    block_size: int = Field(256, gt=2, description="tokens per block")
    learning_rate: float = Field(1e-4, gt=0, description="peak rate, decaying linearly to 0")
    evaluation_every: int = Field(5_000, gt=0, description="updates between evaluations and checkpoints")
    evaluation_share: float = Field(0.01, gt=0, lt=1, description="share of each corpus held out for evaluation")
    attention_weight: float = Field(1.0, ge=0, description="weight of the attention probabilities' loss")
    hidden_weight: float = Field(1.0, ge=0, description="weight of the hidden states' loss")
    logits_weight: float = Field(
        0.0, ge=0, description="weight of the language-modelling logits' loss; 0: without heads"
    )
    temperature: float = Field(2.0, gt=0, description="divides the language-modelling logits before the softmax")
    masked_share: float = Field(0.0, ge=0, lt=1, description="share of the tokens hidden from teacher and student")
    divergence_weight: float = Field(0.0, ge=0, description="weight of the attentions' Kullback-Leibler divergence")
    relations_weight: float = Field(0.0, ge=0, description="weight of MiniLMv2's relations of the last layers")
    relation_heads: int | None = Field(
        None, gt=0, description="heads of the relations, a divisor of the hidden size; none: the attention's"
    )
    masked_lm_weight: float = Field(
        0.0, ge=0, description="weight of the cross-entropy with the hidden tokens themselves; needs masked_share"
    )
    cosine_weight: float = Field(0.0, ge=0, description="weight of the cosine distance of the last hidden states")
    precision: Precision = Field("fp32", description=_PRECISION)
    teacher_precision: Precision = Field("fp32", description=_TEACHER_PRECISION)

    @model_validator(mode="after")
    def _hidden_tokens_are_there(self) -> BilingualSettings:
        if self.masked_lm_weight and not self.masked_share:
            raise InputError(
                "the cross-entropy with hidden tokens needs some that are hidden",
                field="masked_share",
                value=self.masked_share,
                remedy="hide some, 0.15 for example, or leave masked_lm_weight at 0",
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What the stage depends on: the settings, without those of `_ADDED` that are at their defaults."""
        fields = type(self).model_fields
        settings = self.model_dump()
        return {name: value for name, value in settings.items() if name not in _ADDED or value != fields[name].default}


class TaskTeacher(_Settings):
    """The teacher tuned for a task: fine-tuned here on the source language, or already tuned."""

    model: str | None = Field(None, description="Hub id or folder of a tuned model; None fine-tunes the teacher")
    revision: str | None = Field(None, description="branch, tag or commit of the tuned model")
    delta: str | None = Field(None, description="a task SFT to apply to the teacher instead of fine-tuning it")
    delta_labels: tuple[str, ...] = Field(
        (), description="the labels in the order of the task SFT's head; none: it is the task's own order"
    )
    epochs: float = Field(3.0, gt=0, description="passes over the training data, where the teacher is fine-tuned")
    batch_size: int = Field(16, gt=0, description="examples per update")
    learning_rate: float = Field(3e-5, gt=0, description="peak rate, decaying linearly to 0")
    precision: Precision = Field("fp32", description=_PRECISION)

    @model_validator(mode="after")
    def _one_way(self) -> TaskTeacher:
        if self.model is not None and self.delta is not None:
            raise InputError(
                "name a tuned `model` or a `delta` for the teacher, not both",
                value={"model": self.model, "delta": self.delta},
                remedy="leave one of them out",
            )
        return self

    @model_validator(mode="after")
    def _labels_of_a_delta(self) -> TaskTeacher:
        if self.delta_labels and self.delta is None:
            raise InputError(
                "there is no task SFT whose labels these could be",
                field="delta_labels",
                value=list(self.delta_labels),
                remedy="name the task SFT by `delta`, or leave its labels out",
            )
        return self


class SparseSettings(_Settings):
    """Phase 2: task distillation under Lottery-Ticket Sparse Fine-Tuning."""

    density: float = Field(
        0.08, gt=0, le=1, description="share of the encoder's entries that may change; 1: all, without a dense stage"
    )
    dense_epochs: float = Field(3.0, gt=0, description="passes with every entry free, to find those that move most")
    sparse_epochs: float = Field(10.0, gt=0, description="passes from the start again, with the chosen entries free")
    batch_size: int = Field(8, gt=0, description="examples per batch")
    accumulation: int = Field(1, gt=0, description="batches per update")
    learning_rate: float = Field(5e-5, gt=0, description="peak rate of each stage, decaying linearly to 0")
    temperature: float = Field(2.0, gt=0, description="divides the logits of student and teacher before the softmax")
    learns_from: Literal["teacher", "labels"] = Field(
        "teacher", description="the task teacher's states and logits, or the labels alone (fine-tuning)"
    )
    attention_weight: float = Field(1.0, ge=0, description="weight of the attention probabilities' loss")
    hidden_weight: float = Field(1.0, ge=0, description="weight of the hidden states' loss")
    logits_weight: float = Field(1.0, ge=0, description="weight of the logits' soft cross-entropy")
    target_share: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="share of an epoch's inputs that are unlabelled text of the target language, read by the task "
        "teacher too; they come on top of the labelled ones",
    )
    iterations: int = Field(1, ge=1, description="rounds of dense training, selection and sparse training")
    freeze_layer_norms: bool = Field(True, description="keep LayerNorms out of what may change")
    precision: Precision = Field("fp32", description=_PRECISION)
    teacher_precision: Precision = Field("fp32", description=_TEACHER_PRECISION)
    delta_precision: Literal["fp32", "fp16"] = Field("fp32", description="what the delta's values are kept in")

    @model_validator(mode="after")
    def _target_text_needs_a_teacher(self) -> SparseSettings:
        if self.target_share and self.learns_from == "labels":
            raise InputError(
                "text without labels teaches nothing where the labels alone are learnt from",
                field="target_share",
                value=self.target_share,
                remedy="set it to 0, or learn from the teacher",
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What the stage depends on: the settings, without a `target_share` of 0, which is as if there was none."""
        return self.model_dump(exclude=None if self.target_share else {"target_share"})

    def unlabelled(self, labelled: int) -> int:
        """How many inputs of target text an epoch has beside so many labelled ones."""
        return round(labelled * self.target_share / (1 - self.target_share))


class TaskRecipe(_Settings):
    """A task: its labels in the source language, the tests in both, and how it is learnt."""

    name: str = Field(min_length=1, description="a task of `bistill_hub.tasks`, such as 'ner'")
    train: LabelledSource = Field(description="source-language training data")
    validation: LabelledSource = Field(description="source-language development data; selects checkpoints")
    test_source: LabelledSource = Field(description="source-language test data")
    test_target: LabelledSource = Field(description="target-language test data; nothing is ever chosen by it")
    max_length: int = Field(256, gt=4, description="sub-words a model input may have")
    teacher: TaskTeacher = Field(TaskTeacher(), description="the teacher tuned for this task")
    distillation: SparseSettings = Field(SparseSettings(), description="phase 2")

    @property
    def sources(self) -> dict[str, LabelledSource]:
        """The four sources by field name."""
        return {name: getattr(self, name) for name in LABELLED_SOURCES}


class SpeedSettings(_Settings):
    """How the speed of teacher and student is measured; nothing that is trained depends on it."""

    seconds: float = Field(30, ge=0, description="time for all measurements together, at least two rounds of each")
    batch_size: int = Field(32, gt=0, description="texts in a batch for throughput; latency is that of one")
    length: int = Field(128, gt=0, description="tokens of a text, or as many as the model reads if that is less")


class Recipe(_Settings):
    """A pair, from its teacher to its package.

    A value that is missing, unknown or out of range is refused: called directly, the class raises pydantic's
    `ValidationError`, which lists all of them; `make`, `replace` and `load_recipe` raise an `InputError` for the first.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the pair's name, such as 'bistill-en-sw'")
    source: Language = Field(description="the language that has labels")
    target: Language = Field(description="the language that is transferred to")
    teacher: Teacher = Field(description="the multilingual encoder that the student is cut out of")
    license: str = Field(
        pattern=r"\S", description="licence of the published weights, a Hub identifier; never defaulted"
    )
    license_name: str | None = Field(None, pattern=r"\S", description="name of a licence that the Hub calls `other`")
    license_link: str | None = Field(None, pattern=r"\S", description="address of that licence's text")
    limits: str = Field(pattern=r"\S", description="the contributor's own words on limits and biases, for the card")
    further_languages: tuple[Language, ...] = Field(
        (), description="languages beside the pair's that phases 0 and 1 read, for a multilingual student"
    )
    student: StudentSettings = Field(StudentSettings(), description="phase 0")
    bilingual: BilingualSettings = Field(BilingualSettings(), description="phase 1")
    tasks: tuple[TaskRecipe, ...] = Field((), description="what the student is fine-tuned for, each task once")
    contributors: tuple[str, ...] = Field((), description="who made the pair, for the card")
    speed: SpeedSettings = Field(SpeedSettings(), description="how size and speed are measured")
    baselines: tuple[Baseline, ...] = Field((), description="further models to score beside teacher and student")
    seed: int = Field(0, ge=0, description="of everything that is drawn at random")
    checkpoint_every: int = Field(
        500, gt=0, description="updates between checkpoints, beside those after evaluations; changes no result"
    )
    synthetic: bool = Field(False, description="text and labels were generated; said wherever a score is shown")
    smoke: bool = Field(
        False, description="a smoke run, on a sample of the data and with few steps; said wherever a score is shown"
    )
    unverified: tuple[str, ...] = Field((), description="facts in this recipe that nobody has checked yet")

    @field_validator("tasks")
    @classmethod
    def _tasks_once(cls, tasks: tuple[TaskRecipe, ...]) -> tuple[TaskRecipe, ...]:
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            raise InputError(
                "each task may be named once", value=names, remedy="remove one of those with the same name"
            )
        return tasks

    @model_validator(mode="after")
    def _target_text_is_read_by_a_teacher_of_all_languages(self) -> Recipe:
        for task in self.tasks:
            if task.distillation.target_share and self.teacher.language_deltas and task.teacher.model is None:
                raise InputError(
                    "the task teacher wears the source language's SFT and would read the target's text with it",
                    field=f"tasks.{task.name}.distillation.target_share",
                    value=task.distillation.target_share,
                    remedy="set it to 0, or leave teacher.language_deltas out",
                )
        return self

    @model_validator(mode="after")
    def _two_languages(self) -> Recipe:
        if self.source.code == self.target.code:
            raise InputError(
                "source and target are the same language: a pair is of two",
                field="target.code",
                value=self.target.code,
                remedy="choose another source or target",
            )
        codes = (self.source.code, self.target.code)
        read = [language.code for language in self.text_languages]
        if len(set(read)) != len(read):
            raise InputError(
                "each language may be named once, and those of the pair are read anyway",
                field="further_languages",
                value=read[2:],
                remedy="remove the one that is named twice",
            )
        if unknown := sorted(set(self.teacher.language_deltas) - set(codes)):
            raise InputError(
                "names languages that are not of the pair",
                field="teacher.language_deltas",
                value=unknown,
                remedy=f"name deltas of {' and '.join(codes)} alone",
            )
        return self

    @property
    def languages(self) -> tuple[Language, Language]:
        """Source and target."""
        return self.source, self.target

    @property
    def text_languages(self) -> tuple[Language, ...]:
        """The languages whose text phases 0 and 1 read: source, target and further ones."""
        return (*self.languages, *self.further_languages)

    @property
    def sha256(self) -> str:
        """Hash of the whole description: 64 hexadecimal digits.

        `teacher.tokenizer_not_by` came later, and goes in only where it names a class.
        """
        later = None if self.teacher.tokenizer_not_by else {"teacher": {"tokenizer_not_by"}}
        fields = self.model_dump(mode="json", exclude=later)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @classmethod
    def make(cls, fields: Mapping[str, Any], *, file: str | Path | None = None) -> Recipe:
        """Make a recipe from plain values.

        Args:
            fields: The fields, nested as in the JSON form.
            file: Where they come from, named in errors.

        Raises:
            InputError: a value is missing, unknown or out of range; names the first such field, its value and a remedy.
        """
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            raise InputError.from_validation(error, file=file or cls.__name__, fields=fields) from error

    def only(self, tasks: Sequence[str]) -> Recipe:
        """Return a recipe with some of its tasks alone, in their old order.

        Raises:
            InputError: the recipe has no task of a name.
        """
        names = [task.name for task in self.tasks]
        for name in tasks:
            if name not in names:
                raise InputError(
                    f"the recipe {self.name} has no such task",
                    field="tasks",
                    value=name,
                    remedy=f"choose from {', '.join(names)}" if names else "leave the tasks out: it has none",
                )
        return self.model_copy(update={"tasks": tuple(task for task in self.tasks if task.name in tasks)})

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a recipe with some fields changed, and without the unverified facts that are of those fields alone.

        Args:
            changes: Dotted path to new value, such as `{"teacher.model": "folder", "tasks.ner.train": "train.conll"}`;
                tasks are addressed by name. A whole source may be given as a file name; setting a source's `path`
                removes its Hub id, and the other way round. Another `model` does not keep the revision of the one
                before it.

        Raises:
            InputError: there is no such field, or its new value is not valid.
        """
        fields = self.model_dump()
        for path, value in changes.items():
            set_field(fields, path, value)
        for path in revisions_left_behind(self.model_dump(), fields, changes):
            set_field(fields, path, None)
        made = type(self).make(fields)
        if "unverified" in changes:
            return made
        before, after = self.model_dump(), made.model_dump()
        changed = [path for path in changes if field_at(before, path) != field_at(after, path)]
        return made.model_copy(update={"unverified": still_unverified(self.unverified, changed)})


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Load a recipe script.

    Args:
        name_or_file: A Python file that defines `RECIPE`, or the name of one in the project's `recipes` folder. The
            file is executed, as any Python module that is imported.

    Raises:
        InputError: there is no such recipe, running the file fails, or it does not define a `Recipe` named `RECIPE`.
    """
    file = Path(name_or_file)
    shipped = resource_dir("recipes")
    if not file.suffix and not file.is_file():  # a folder of that name may be an earlier run's
        file = shipped / f"{name_or_file}.py"
    if not file.is_file() and Path(name_or_file).suffix:
        raise InputError(
            "there is no such file",
            field="RECIPE",
            value=str(name_or_file),
            remedy="correct the path, or name a recipe that ships with the package; `bistill recipes` lists them",
        )
    if not file.is_file():
        known = sorted(recipe.stem for recipe in shipped.glob("[!_]*.py"))
        raise InputError(
            "there is no such recipe",
            field="RECIPE",
            value=str(name_or_file),
            remedy=f"name a recipe file, or one of {', '.join(known)}",
        )
    if file.suffix != ".py":
        raise InputError("this is not a Python file", field="RECIPE", value=str(file), remedy="name a .py file")
    recipe = _run_script(file).get("RECIPE")
    if not isinstance(recipe, Recipe):
        raise InputError(
            "the file defines no Recipe under this name",
            file=file,
            field="RECIPE",
            value=recipe,
            remedy="define RECIPE = Recipe(...) at the top level of the file",
        )
    return recipe


def _run_script(file: Path) -> dict[str, Any]:
    """Run a recipe script and return what it defines; unlike an import, this leaves no bytecode beside the file."""
    try:
        return runpy.run_path(str(file), run_name=f"bistill_recipe_{file.stem}")
    except ValidationError as error:
        within = None if error.title == Recipe.__name__ else error.title
        raise InputError.from_validation(error, file=file, within=within) from error
    except InputError:
        raise
    except Exception as error:  # the script is somebody's own code and may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
        raise InputError(
            f"running the recipe fails ({type(error).__name__}: {first_line(error)})",
            file=file,
            field=f"line {line}" if line else None,
            remedy="correct the file",
        ) from error
