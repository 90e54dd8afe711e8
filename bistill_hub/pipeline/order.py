"""Which stages a recipe has, what each is made of, and what it needs of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint_files import local_name
from ..distillation.task import check_some_term_has_a_weight
from ..errors import InputError
from ..recipe import Language, Recipe, TaskRecipe
from ..sentence_encoders import MODULES_FILE
from ..sources import TextSource, file_sha256
from .counted_text import ReadText, read_text
from .manifest import StageRecord
from .packaging import package_run
from .phase_0 import cut_student
from .phase_1 import TokensOf, distil_bilingually
from .preflight import TaskData
from .scoring import TaskFolders, evaluate_task, measure_run
from .task_training import distil_task, tune_teacher

STUDENT, PHASE_1, SPEED, PACKAGE = "student", "phase 1", "speed", "package"
RANDOM_TEACHER = "random teacher"

_TASK_STAGES = ("teacher", "phase 2", "phase 2 without phase 1", RANDOM_TEACHER, "evaluation")
_BASELINE_STAGES = {"phase 2 without phase 1": "no_phase_1", RANDOM_TEACHER: "random_teacher"}

_VOCABULARIES = ("vocab.txt", "merges.txt")
"""Text files of a model's folder that its tokenizer may be made of; others are notes."""

Records = Mapping[str, StageRecord]
"""Records of finished stages by name."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: Its name, such as "ner phase 2".
        needs: Names of the earlier stages whose output goes in.
        settings: JSON values that determine the output beside those stages: settings, hashes of data.
        work: Does it and returns its facts: `work(folder, done=records of earlier stages)`.
        trains: Whether it trains, which all processes of a run do together.
    """

    name: str
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    work: Callable[..., Mapping[str, Any]]
    trains: bool = False

    @property
    def slug(self) -> str:
        """Its folder's name, and its name on the command line."""
        return self.name.replace(" ", "-")

    def inputs(self, records: Records) -> dict[str, Any]:
        """Everything that determines the output: the settings, and the files that needed stages left."""
        after = {name: dict(records[name].outputs) for name in self.needs}
        return {"stage": self.name, **self.settings, **({"after": after} if after else {})}


def stages_of(
    recipe: Recipe,
    data: Sequence[TaskData],
    *,
    command: str,
    progress: bool,
    read: ReadText = read_text,
    tokens_of: TokensOf | None = None,
) -> tuple[Stage, ...]:
    """Return a recipe's stages in the order in which they are done; local data and models are hashed.

    Args:
        recipe: The recipe.
        data: Its tasks' data.
        command: The command that reproduces the run, for the card.
        progress: Show progress bars.
        read: Reads the languages' text for the student, or takes it from where it was kept.
        tokens_of: Tells where the teacher's tokens of a language's text are kept, for phase 1.
    """
    base = common_inputs(recipe)
    text = {language.code: _source(language.text) for language in recipe.text_languages}
    show = {"progress": progress}
    stages = [
        Stage(
            STUDENT,
            (),
            {**base, "text": text, "settings": recipe.student.model_dump(mode="json")},
            lambda place, done: cut_student(recipe, place, progress=progress, read=read),
        ),
        Stage(
            PHASE_1,
            (STUDENT,),
            {
                **base,
                "text": text,
                "deltas": {code: _model(name) for code, name in recipe.teacher.language_deltas.items()},
                "settings": recipe.bilingual.determining,
            },
            lambda place, done: distil_bilingually(recipe, place, done[STUDENT].folder, tokens_of=tokens_of, **show),
            trains=True,
        ),
    ]
    for task in data:
        stages += stages_of_task(recipe, task, base, progress=progress)
    stages.append(
        Stage(
            SPEED,
            (PHASE_1,),
            {**base, "settings": recipe.speed.model_dump()},
            lambda place, done: measure_run(recipe, place, done[PHASE_1].folder, **show),
        )
    )
    package_needs = tuple(stage.name for stage in stages)
    stages.append(
        Stage(
            PACKAGE,
            package_needs,
            {"recipe": recipe.sha256, "command": command},
            lambda place, done: package_run(recipe, place, [done[name] for name in package_needs], command),
        )
    )
    return tuple(stages)


def common_inputs(recipe: Recipe) -> dict[str, Any]:
    """What every stage depends on; a local teacher is hashed."""
    return {"seed": recipe.seed, "teacher": _model(recipe.teacher.model), "revision": recipe.teacher.revision}


def text_inputs(recipe: Recipe, language: Language) -> dict[str, Any]:
    """What counting the teacher's tokens in a language's text depends on."""
    return {
        "teacher": _model(recipe.teacher.model),
        "revision": recipe.teacher.revision,
        "text": _source(language.text),
    }


def stages_of_task(recipe: Recipe, task: TaskData, base: Mapping[str, Any], *, progress: bool) -> list[Stage]:
    """Return a task's stages in order: its teacher, phase 2, baselines, evaluation.

    Args:
        recipe: The recipe.
        task: The task's data.
        base: What `common_inputs` returned.
        progress: Show progress bars.

    Returns:
        Stages that need the output of `STUDENT` and `PHASE_1` and of each other.
    """
    name, settings, show = task.task.name, task.recipe, {"progress": progress}
    labelled = {
        **base,
        "task": [name, task.task.version],
        "train": _source(settings.train),
        "validation": _source(settings.validation),
        "max_length": settings.max_length,
    }
    tuning = {
        **labelled,
        "settings": settings.teacher.model_dump(),
        "tuned": [_model(place) for place in (settings.teacher.model, settings.teacher.delta) if place],
    }
    if tuning["tuned"]:
        tuning["labels"] = list(task.labels)  # the head's rows are put into their order
    worn = _deltas_on_teacher(recipe, settings)
    distilling = {**labelled, "settings": settings.distillation.determining}
    if settings.distillation.target_share:
        recipe.target.text.check("target.text")
        distilling["target_text"] = _source(recipe.target.text)
    taught = settings.distillation.learns_from == "teacher"
    if taught:
        given = settings.distillation
        weights = (given.attention_weight, given.hidden_weight, given.logits_weight)
        check_some_term_has_a_weight(*weights, field=f"tasks.{name}.distillation.")
    teacher, phase_2, without, random_teacher, evaluation = (f"{name} {part}" for part in _TASK_STAGES)

    def distil(place: Path, done: Records, start: str) -> Mapping[str, Any]:
        learnt_from = done[teacher].folder if taught else None
        return distil_task(recipe, place, task, done[start].folder, learnt_from, **show)

    stages = [
        Stage(
            teacher,
            (),
            {**tuning, **({"language_delta": worn[recipe.source.code]} if recipe.source.code in worn else {})},
            lambda place, done: tune_teacher(recipe, place, task, **show),
            trains=True,
        ),
        Stage(
            phase_2,
            (PHASE_1, teacher) if taught else (PHASE_1,),
            distilling,
            lambda place, done: distil(place, done, PHASE_1),
            trains=True,
        ),
    ]
    if "no_phase_1" in recipe.baselines:
        stages.append(
            Stage(
                without,
                (STUDENT, teacher) if taught else (STUDENT,),
                distilling,
                lambda place, done: distil(place, done, STUDENT),
                trains=True,
            )
        )
    if "random_teacher" in recipe.baselines:
        stages.append(
            Stage(
                random_teacher,
                (),
                {**tuning, "random_weights": True},
                lambda place, done: tune_teacher(recipe, place, task, random_weights=True, **show),
                trains=True,
            )
        )

    def evaluate(place: Path, done: Records) -> Mapping[str, Any]:
        folders = TaskFolders(
            student=done[PHASE_1].folder,
            teacher=done[teacher].folder,
            delta=done[phase_2].folder,
            uncut=done[STUDENT].folder,
            no_phase_1=done[without].folder if without in done else None,
            random_teacher=done[random_teacher].folder if random_teacher in done else None,
        )
        return evaluate_task(recipe, place, task, folders, **show)

    stages.append(
        Stage(
            evaluation,
            (STUDENT, PHASE_1, *(stage.name for stage in stages)),
            {
                **base,
                "tests": [_source(settings.test_source), _source(settings.test_target), settings.max_length],
                "baselines": list(recipe.baselines),
                "languages": [language.code for language in recipe.languages],
                **({"deltas": worn} if worn else {}),
            },
            evaluate,
        )
    )
    return stages


def find_stage(stages: Sequence[Stage], slug: str, field: str) -> Stage:
    """Return the stage of this name as the command line writes it.

    Raises:
        InputError: the recipe has no such stage.
    """
    for stage in stages:
        if slug in (stage.slug, stage.name):
            return stage
    raise InputError(
        "the recipe has no such stage",
        field=field,
        value=slug,
        remedy=f"choose one of {', '.join(stage.slug for stage in stages)}",
    )


def with_dependents(stages: Sequence[Stage], first: Stage) -> list[Stage]:
    """Return a stage and those that its output goes into, directly or not, in order."""
    found = {first.name}
    for stage in stages:
        if found.intersection(stage.needs):
            found.add(stage.name)
    return [stage for stage in stages if stage.name in found]


def up_to(stages: Sequence[Stage], last: Stage) -> tuple[Stage, ...]:
    """Return the stages that come before a stage, and itself."""
    return tuple(stages[: stages.index(last) + 1])


def stage_names_of_task(task: str, baselines: Sequence[str]) -> list[str]:
    """Names of a task's stages in order."""
    wanted = [part for part in _TASK_STAGES if part not in _BASELINE_STAGES or _BASELINE_STAGES[part] in baselines]
    return [f"{task} {part}" for part in wanted]


def consistent(records: Sequence[StageRecord]) -> list[StageRecord]:
    """Return the records whose inputs are the outputs of the others: what an earlier state of a run left is dropped."""
    kept: list[StageRecord] = []
    for record in records:
        done = by_name(kept)
        after = record.after
        if all(name in done and dict(done[name].outputs) == dict(files) for name, files in after.items()):
            kept.append(record)
    return kept


def by_name(records: Iterable[StageRecord]) -> dict[str, StageRecord]:
    """Index records by their stage's name."""
    return {record.name: record for record in records}


def _deltas_on_teacher(recipe: Recipe, settings: TaskRecipe) -> dict[str, Any]:
    """What a task's teacher depends on of the language deltas, by language; one tuned elsewhere carries none."""
    if settings.teacher.model is not None:
        return {}
    return {code: _model(name) for code, name in recipe.teacher.language_deltas.items()}


def _source(source: Any) -> dict[str, Any]:
    """What a stage depends on of a source: a local file's content, a Hub data set's place and revision."""
    fields: dict[str, Any] = source.model_dump(mode="json")
    if source.path is not None:
        fields["path"] = file_sha256(source.file)
        if isinstance(source, TextSource) and source.file.suffix.lower() != ".txt":
            fields["ending"] = source.file.suffix.lower()  # decides how it is read
    return fields


def _model(place: str) -> Any:
    """What a stage depends on of a model: a local folder's or file's content, or a Hub id."""
    local = Path(local_name(place.removeprefix("legacy:")))
    if local.is_file():
        return file_sha256(local)
    if local.is_dir():
        files = [file for file in sorted(local.iterdir()) if file.is_file() and _matters(file)]
        if (local / MODULES_FILE).is_file():  # a sentence encoder, whose modules have folders of their own
            files += [file for file in sorted(local.glob("*/*")) if file.is_file() and _matters(file)]
        return {file.relative_to(local).as_posix(): file_sha256(file) for file in files}
    return place


def _matters(file: Path) -> bool:
    if file.suffix == ".txt":
        return file.name in _VOCABULARIES
    return file.suffix in (".json", ".safetensors", ".bin", ".model") and not file.name.startswith(".")
