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

from pydantic import Field, ValidationError, field_validator, model_validator

from .errors import InputError, first_line
from .recipe_changes import LABELLED_SOURCES, field_at, revisions_left_behind, set_field, still_unverified
from .resources import resource_dir
from .sources import FrozenMap, LabelledSource, TextSource
from .stage_settings import (
    EVERY_FIELD,
    BilingualSettings,
    Precision,
    Settings,
    SparseSettings,
    SpeedSettings,
    StudentSettings,
    TaskTeacher,
)

__all__ = [
    "Baseline",
    "BilingualSettings",
    "Language",
    "Precision",
    "Recipe",
    "SparseSettings",
    "SpeedSettings",
    "StudentSettings",
    "TaskRecipe",
    "TaskTeacher",
    "Teacher",
    "load_recipe",
]

Baseline = Literal["trimmed_teacher", "no_phase_1", "random_teacher"]
"""Further models that a run can score beside teacher and student: the task teacher with the student's vocabulary, the
student without phase 1, the teacher's architecture with random weights."""


class Language(Settings):
    """One side of the pair."""

    code: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="language code, such as 'sw'")
    name: str = Field(min_length=1, description="the language's English name")
    text: TextSource = Field(description="its unlabelled text")


class Teacher(Settings):
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


class TaskRecipe(Settings):
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


class Recipe(Settings):
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
    seed: int = Field(0, ge=0, lt=2**32, description="of everything that is drawn at random")
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
        fields = self.model_dump(context=EVERY_FIELD)
        for path, value in changes.items():
            set_field(fields, path, value)
        for path in revisions_left_behind(self.model_dump(context=EVERY_FIELD), fields, changes):
            set_field(fields, path, None)
        made = type(self).make(fields)
        if "unverified" in changes:
            return made
        before, after = self.model_dump(context=EVERY_FIELD), made.model_dump(context=EVERY_FIELD)
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
