"""What a recipe starts from, as far as it is on this machine: checked as a run checks it, and measured.

Nothing is downloaded: of the Hub, only what the local cache holds is known. Whether it has a model is asked for names
alone that read like a folder's, see `_here`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from ..cards.metadata_check import check_identity
from ..checkpoint_files import check_weights, checkpoint_files, local_name, may_be_folder, taken_as_hub_id
from ..errors import InputError
from ..model.legacy import LEGACY_FILE
from ..recipe import Recipe, TaskRecipe
from ..sources import LabelledSource, TextSource
from ..student.build import config_of_size
from ..student.inspection import encoder_size
from ..tasks import get_task
from ..tasks.task import Task, source_file
from ..teacher import delta_place, load_config, load_delta, load_tokenizer, named_by
from .given_teacher import check_delta_labels, check_given_teacher, check_tuned_model
from .held_out import check_held_out
from .preflight import (
    TaskData,
    check_bilingual,
    check_lengths,
    check_model_file,
    check_relation_heads,
    delta_fields,
    read_task,
    text_fields,
)
from .stage_files import DELTA_FILE
from .tokenizer_classes import check_tokenizer_classes

SAMPLED_EXAMPLES = 200
"""Examples of each labelled source that are encoded, to learn how long they are and how many inputs they become."""


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """A source of text, of labels or of weights beside the teacher's.

    Attributes:
        field: Its place in the recipe.
        name: A file name, or Hub id, configuration, split and revision.
        kind: Where it is.
        megabytes: Its size in 10^6 bytes; None on the Hub.
        count: Lines or examples; None on the Hub, and for weights.
        unit: What is counted.
        note: What is to be known of it.
    """

    field: str
    name: str
    kind: Literal["file", "folder", "Hub"]
    megabytes: float | None
    count: int | None
    unit: Literal["lines", "examples", ""]
    note: str


@dataclass(frozen=True, kw_only=True)
class TeacherPlan:
    """The teacher's size.

    Attributes:
        model: Hub id or folder, as the recipe has it.
        place: Where its configuration was looked for and found.
        layers: Transformer layers; None, as all sizes are, where it is not in the cache.
        width: Components of its hidden states.
        vocabulary: Rows of its word embeddings.
        parameters: All parameters of the encoder.
        note: What its name was taken as, where it is neither a folder nor in the cache.
    """

    model: str
    place: Literal["folder", "in the cache", "not in the cache"]
    layers: int | None = None
    width: int | None = None
    vocabulary: int | None = None
    parameters: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Features:
    """Model inputs of a labelled source: how many, and their mean length in sub-words (None where it is not known)."""

    count: int
    length: float | None


@dataclass(frozen=True)
class Facts:
    """What the estimates start from.

    Attributes:
        recipe: The recipe.
        config: The teacher's configuration; None where it is not in the cache.
        tokenizer: Its tokenizer, or None.
        vocabulary: Rows of the student's embeddings; the teacher's where the student is not cut yet.
        lines: Lines of each language's text by its field; None on the Hub.
        tasks: The tasks' data by name; those on the Hub are empty.
        features: By task and source.
    """

    recipe: Recipe
    config: Any
    tokenizer: Any
    vocabulary: int
    lines: Mapping[str, int | None]
    tasks: Mapping[str, TaskData]
    features: Mapping[tuple[str, str], Features]

    @property
    def layer_map(self) -> tuple[int, ...]:
        """The teacher layers that the student keeps."""
        student = self.recipe.student
        return student.layer_map_for(self.config.num_hidden_layers)

    @property
    def student_config(self) -> Any:
        """The student's configuration, as far as sizes and dropout go."""
        return config_of_size(self.config, self.vocabulary, self.layer_map, dropout=0.0)

    @property
    def trimmed_teacher_config(self) -> Any:
        """The teacher's configuration with the student's vocabulary."""
        return config_of_size(self.config, self.vocabulary)

    def part_of(self, stage: str) -> tuple[TaskData | None, str]:
        """Split a stage's name into its task and the rest; no task for the stages that belong to none."""
        for name, task in self.tasks.items():
            if stage.startswith(f"{name} "):
                return task, stage.removeprefix(f"{name} ")
        return None, stage


def look(recipe: Recipe) -> tuple[Facts, TeacherPlan, list[SourcePlan]]:
    """Check what is here in the order of `preflight`, without the Hub, and measure it on the way."""
    codes = (recipe.source.code, recipe.target.code)
    check_identity(recipe.name, codes, recipe.license, recipe.license_name, recipe.license_link)
    texts = text_fields(recipe)
    for field, text in texts.items():
        text.check(field)
    tasks = [(settings, get_task(settings.name)) for settings in recipe.tasks]
    models: dict[str, tuple[str, str | None]] = {}
    for settings, _ in tasks:
        prefix = f"tasks.{settings.name}"
        for name, source in settings.sources.items():
            source.check(f"{prefix}.{name}")
        check_held_out(settings.sources, {name: f"{prefix}.{name}" for name in settings.sources})
        if settings.teacher.model is not None:
            models[f"{prefix}.teacher.model"] = (settings.teacher.model, settings.teacher.revision)
    for field, (model, _) in models.items():
        check_model_file(model, field)
    _check_weights_here(
        {"teacher.model": recipe.teacher.model} | {field: model for field, (model, _) in models.items()}
    )
    deltas = delta_fields(recipe)
    for field, delta in deltas.items():
        check_model_file(delta, field)
        found_at = delta_place(delta, field)
        models[field] = (found_at.place, found_at.revision)
    teacher, config, tokenizer = _look_at_teacher(recipe)
    for field, (model, revision) in models.items():
        if _is_nowhere(model, revision):  # whatever loads it says so
            with named_by(field):
                load_delta(deltas[field]) if field in deltas else load_config(model, revision)
    check_bilingual(recipe, tokenizer)
    lines = {field: _count_lines(text, field) for field, text in texts.items()}
    sources = [_source(field, text, lines[field], "lines") for field, text in texts.items()]
    found: dict[str, TaskData] = {}
    features: dict[tuple[str, str], Features] = {}
    for settings, task in tasks:
        datasets, labels = _read_local(settings, task)
        _check_given(settings, task, labels, config, tokenizer)
        nothing = Dataset.from_dict({})
        train, validation = (datasets.get(name, nothing) for name in ("train", "validation"))
        found[settings.name] = TaskData(settings, task, labels, train, validation)
        for name, source in settings.sources.items():
            count = len(datasets[name]) if name in datasets else None
            sources.append(_source(f"tasks.{settings.name}.{name}", source, count, "examples"))
        for name, dataset in datasets.items():
            encoder = tokenizer if "train" in datasets else None  # its labels are the head's
            features[settings.name, name] = _sampled(task, dataset, encoder, labels, settings.max_length)
    sources += [_weights(field, model, revision) for field, (model, revision) in models.items()]
    vocabulary = config.vocab_size if config is not None else 0
    return Facts(recipe, config, tokenizer, vocabulary, lines, found, features), teacher, sources


def _check_weights_here(models: Mapping[str, str]) -> None:
    """Refuse a model here without safetensors weights, by the field that names it."""
    for field, model in models.items():
        if Path(local_name(model)).is_dir():
            with named_by(field):
                check_weights(model)


def _look_at_teacher(recipe: Recipe) -> tuple[TeacherPlan, Any, Any]:
    """Size of the teacher, its configuration and its tokenizer; the last two are None where the Hub alone has them."""
    model, revision = recipe.teacher.model, recipe.teacher.revision
    place = _here(model, "config.json", revision)
    if place is None:
        # The Hub was asked for a name that reads like a folder's alone, and has it: see `_here`.
        note = taken_as_hub_id(model, True if may_be_folder(model) else None)
        return TeacherPlan(model=model, place="not in the cache", note=note), None, None
    config = load_config(place, revision if place == model else None)
    recipe.student.layer_map_for(config.num_hidden_layers)
    check_lengths(recipe, config)
    check_relation_heads(recipe, config)
    with_tokenizer = _here(model, "tokenizer.json", revision)
    tokenizer = None if with_tokenizer is None else load_tokenizer(with_tokenizer)
    if tokenizer is not None:
        check_tokenizer_classes(recipe, tokenizer, config)
    size = encoder_size(config)
    found = TeacherPlan(
        model=model,
        place="folder" if place == model else "in the cache",
        layers=size.layers,
        width=config.hidden_size,
        vocabulary=size.tokens,
        parameters=size.parameters,
    )
    return found, config, tokenizer


def _here(model: str, file: str, revision: str | None = None) -> str | None:
    """Return the folder of a model whose file is here, its own or one of the cache; None where it is on the Hub.

    A name that can only be a folder's is returned as it is: whatever loads it says what is wrong. So is one that reads
    like a folder's, unless the Hub knows it: `runs/techer` is a slip where there is a folder `runs`.
    """
    if Path(model).is_dir() or Path(model).is_absolute() or model.startswith((".", "~")):
        return model
    try:
        cached = try_to_load_from_cache(model, file, revision=revision)
    except HFValidationError:
        return model
    if isinstance(cached, str):
        return str(Path(cached).parent)
    return model if may_be_folder(model) and checkpoint_files(model, revision) is None else None


def _is_nowhere(model: str, revision: str | None) -> bool:
    """Whether weights beside the teacher's have a name that reads like a file's or folder's, and are not there."""
    return not Path(local_name(model)).exists() and _here(model, "config.json", revision) == model


def _count_lines(text: TextSource, field: str) -> int | None:
    if text.path is None:
        return None
    count = sum(1 for _ in text.lines())
    if not count:
        raise InputError(
            "there is no text", file=text.name, field=field, remedy="name a source with at least one non-empty line"
        )
    return count


def _read_local(settings: TaskRecipe, task: Task) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Read and check a task's local data; labels are those of the training data, none where these are on the Hub."""
    datasets: dict[str, Dataset] = {}
    labels: tuple[str, ...] = ()
    for name, source in settings.sources.items():  # training data first
        if source.path is None:
            continue
        datasets[name] = task.read(source)
        if name == "train":
            labels = task.labels(datasets[name])
            if len(labels) == 1:
                read_task(settings, task)  # refuses them
            check_delta_labels(settings, labels)
        elif "train" in datasets:
            task.check_labels(datasets[name], labels, source_file(source))
    return datasets, labels


def _check_given(settings: TaskRecipe, task: Task, labels: Sequence[str], config: Any, tokenizer: Any) -> None:
    """Look at a tuned model or a task SFT as far as their files are here, and at an SFT where the labels are known."""
    given, known = settings.teacher, config is not None and settings.train.path is not None
    if given.model is not None and _here(given.model, "config.json", given.revision):
        compared = tokenizer if _here(given.model, "tokenizer.json", given.revision) else None
        check_tuned_model(settings, labels, config, compared)
    elif given.delta is not None and known and Path(local_name(delta_place(given.delta).place)).exists():
        check_given_teacher(settings, task, labels, config, tokenizer)


def _sampled(task: Task, dataset: Dataset, tokenizer: Any, labels: Sequence[str], max_length: int) -> Features:
    """Tell how many model inputs a data set becomes and how long they are, from its first examples."""
    if tokenizer is None:
        return Features(len(dataset), None)
    first = dataset.select(range(min(SAMPLED_EXAMPLES, len(dataset))))
    lengths = [len(ids) for ids in task.encode(first, tokenizer, labels, max_length)["input_ids"]]
    length = sum(lengths) / len(lengths) if lengths else 0.0
    return Features(round(len(dataset) * len(lengths) / len(first)), length)


def _source(
    field: str, source: TextSource | LabelledSource, count: int | None, unit: Literal["lines", "examples"]
) -> SourcePlan:
    local = source.path is not None
    return SourcePlan(
        field=field,
        name=source.name,
        kind="file" if local else "Hub",
        megabytes=source.file.stat().st_size / 1e6 if local else None,
        count=count,
        unit=unit,
        note="" if local else "not looked up",
    )


def _weights(field: str, model: str, revision: str | None) -> SourcePlan:
    """Weights beside the teacher's: a tuned model, a language or task SFT."""
    place = Path(local_name(model))
    if place.exists():
        files = [place] if place.is_file() else [file for file in place.iterdir() if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        kind: Literal["file", "folder"] = "file" if place.is_file() else "folder"
        return SourcePlan(field=field, name=place.name, kind=kind, megabytes=size, count=None, unit="", note="")
    name = f"{model}@{revision}" if revision else model
    cached = any(_here(model, file, revision) for file in ("config.json", DELTA_FILE, LEGACY_FILE))
    note = "in the cache" if cached else "not in the cache"
    return SourcePlan(field=field, name=name, kind="Hub", megabytes=None, count=None, unit="", note=note)


def scores_of(facts: Facts) -> list[tuple[str, str]]:
    """What an evaluation scores: model and field of the test set."""
    models = ("teacher", "student", *facts.recipe.baselines)
    return [(model, test) for test in ("test_source", "test_target") for model in models]
