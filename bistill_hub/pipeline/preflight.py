"""Looks at everything that a run will need, before anything expensive starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..cards.metadata_check import check_identity
from ..checkpoint_files import check_weights, local_name
from ..distillation.sharding import refuse_sharded_launch
from ..errors import InputError
from ..folders import check_writable
from ..fp32_products import is_chosen
from ..recipe import Precision, Recipe, TaskRecipe
from ..sentence_encoders import check_modules
from ..sources import TextSource
from ..student.backbones import backbone_for
from ..student.must_keep import must_keep_ids
from ..tasks import get_task
from ..tasks.task import Task, source_file
from ..teacher import delta_place, load_config, load_delta, load_language_model, load_tokenizer, named_by
from .given_teacher import check_delta_labels, check_given_teacher, check_tuned_weights
from .held_out import check_held_out
from .tokenizer_classes import check_tokenizer_classes


@dataclass(frozen=True)
class TaskData:
    """A task's labelled data, read and checked.

    Attributes:
        recipe: What the recipe says of the task.
        task: The task.
        labels: The head's label names.
        train: Source-language training data.
        validation: Source-language development data.
    """

    recipe: TaskRecipe
    task: Task
    labels: tuple[str, ...]
    train: Dataset
    validation: Dataset


def preflight(recipe: Recipe, output_dir: Path) -> list[TaskData]:
    """Check a recipe against the world.

    Args:
        recipe: The recipe.
        output_dir: Where the run will write.

    Returns:
        The tasks' data.

    Raises:
        InputError: training would be sharded; a variable names a library that there is not; the output cannot be
            written; the Hub knows no such language or licence; the teacher cannot be loaded, is of an unsupported
            architecture, or does not have the layers that are asked for; a class that the recipe does not name would
            rebuild its tokenizer; the machine cannot train in a precision that is asked for; an SFT cannot be had or is
            another teacher's; phase 1 is to learn nothing, or by a head, mask token or number of heads that there is
            not; a task's tuned teacher has no head for it, one of other labels, or is not one of this teacher; a corpus
            is missing or empty; labelled data are missing, malformed or hold labels that training lacks, or are the
            training file again; there is no such task.
    """
    refuse_sharded_launch()
    is_chosen()  # which refuses a variable that says what there is not
    check_writable(output_dir)
    codes = (recipe.source.code, recipe.target.code)
    check_identity(recipe.name, codes, recipe.license, recipe.license_name, recipe.license_link)
    texts = text_fields(recipe)
    for field, text in texts.items():
        text.check(field)
    tasks = [(settings, get_task(settings.name)) for settings in recipe.tasks]
    for settings, _ in tasks:
        for name, source in settings.sources.items():
            source.check(f"tasks.{settings.name}.{name}")
        check_held_out(settings.sources, {name: f"tasks.{settings.name}.{name}" for name in settings.sources})
        if settings.teacher.model is not None:
            with named_by(f"tasks.{settings.name}.teacher.model"):
                check_weights(settings.teacher.model, settings.teacher.revision)
    deltas = delta_fields(recipe)
    for field, delta in deltas.items():
        check_model_file(delta, field)
    config = load_config(recipe.teacher.model, recipe.teacher.revision)
    check_weights(recipe.teacher.model, recipe.teacher.revision)
    check_modules(recipe.teacher.model, recipe.teacher.revision)
    for field, delta in deltas.items():
        check_delta(delta, field, config)
    recipe.student.layer_map_for(config.num_hidden_layers)
    check_lengths(recipe, config)
    check_relation_heads(recipe, config)
    check_precisions(recipe)
    tokenizer = load_tokenizer(recipe.teacher.model, recipe.teacher.revision)
    check_tokenizer_classes(recipe, tokenizer, config)
    check_vocabulary(recipe, tokenizer)
    check_bilingual(recipe, tokenizer)
    for settings, task in tasks:
        if settings.teacher.model is not None:
            check_tuned_weights(settings, task)
    if asking_for_head(recipe):
        check_head(recipe, load_language_model(recipe.teacher.model, recipe.teacher.revision) is not None)
    for field, text in texts.items():
        if next(text.lines(), None) is None:
            raise InputError(
                "there is no text",
                file=text.name,
                field=field,
                remedy="name a source with at least one non-empty line",
            )
    return [_read_for(settings, task, config, tokenizer) for settings, task in tasks]


def _read_for(settings: TaskRecipe, task: Task, config: Any, tokenizer: Any) -> TaskData:
    """Read a task's data, and refuse a teacher from elsewhere that is of other labels, or another teacher's."""
    data = read_task(settings, task)
    check_given_teacher(settings, task, data.labels, config, tokenizer)
    return data


def delta_fields(recipe: Recipe) -> dict[str, str]:
    """Names of the language and task SFTs that a recipe begins with, by field."""
    deltas = {f"teacher.language_deltas.{code}": name for code, name in recipe.teacher.language_deltas.items()}
    of_tasks = {f"tasks.{task.name}.teacher.delta": task.teacher.delta for task in recipe.tasks}
    return deltas | {field: name for field, name in of_tasks.items() if name is not None}


def check_model_file(name: str | None, field: str) -> None:
    """Refuse a local file or folder that is not there, and an `@` without a revision; Hub ids are left to the Hub."""
    if name is None:
        return
    place = delta_place(name, field).place
    file = Path(local_name(place))
    local = place.startswith(("/", ".", "~")) or file.suffix in (".safetensors", ".bin")
    if local and not file.exists():
        raise InputError("there is no such file", field=field, value=name, remedy="correct the path")


def check_delta(name: str, field: str, config: PreTrainedConfig) -> None:
    """Refuse a language or task SFT that was made for another teacher.

    Args:
        name: Where it is, as `load_delta` takes it.
        field: Its place in the recipe, named in the error.
        config: The teacher's configuration.

    Raises:
        InputError: there is no such delta, it changes none of the teacher's parameters, or one of another shape.
    """
    import torch
    from transformers import AutoModel

    delta = load_delta(name)
    backbone = backbone_for(config)
    with torch.device("meta"):
        encoder = AutoModel.from_config(config)
    shapes = {parameter: tuple(tensor.shape) for parameter, tensor in encoder.named_parameters()}
    changed = {parameter: update.shape for parameter, update in delta.sparse.items()}
    changed |= {parameter: tuple(tensor.shape) for parameter, tensor in delta.dense.items()}
    known = {parameter: shape for parameter, shape in changed.items() if backbone.base_name(parameter) in shapes}
    if not known:
        problem = "it changes none of the teacher's parameters"
    elif other := [each for each, shape in known.items() if shapes[backbone.base_name(each)] != shape]:
        theirs = shapes[backbone.base_name(other[0])]
        problem = f"its {other[0]} has the shape {known[other[0]]}, the teacher's {theirs}"
    else:
        return
    raise InputError(problem, field=field, value=name, remedy="name a delta that was made for this teacher")


def check_lengths(recipe: Recipe, config: PreTrainedConfig) -> None:
    """Refuse inputs that are longer than the teacher's positions."""
    room = backbone_for(config).longest_input(config)
    lengths = {f"tasks.{task.name}.max_length": task.max_length for task in recipe.tasks}
    if recipe.bilingual.steps:
        lengths = {"bilingual.block_size": recipe.bilingual.block_size} | lengths
    for field, length in lengths.items():
        if length > room:
            raise InputError(
                f"the teacher reads at most {room} tokens",
                field=field,
                value=length,
                remedy=f"set it to {room} or less",
            )


def check_relation_heads(recipe: Recipe, config: PreTrainedConfig) -> None:
    """Refuse heads of phase 1's relations that do not divide the hidden size, where relations are compared."""
    settings, width = recipe.bilingual, config.hidden_size
    if settings.steps and settings.relations_weight and width % (settings.relation_heads or 1):
        raise InputError(
            f"the teacher's hidden size, {width}, is not a multiple of it",
            field="bilingual.relation_heads",
            value=settings.relation_heads,
            remedy="choose a divisor, or leave it out for the attention's heads",
        )


def check_vocabulary(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a vocabulary that the teacher's does not hold, and tokens to keep that the teacher does not know."""
    size, room = recipe.student.vocabulary_size, len(tokenizer)
    if size is not None and size > room:
        raise InputError(
            f"the teacher has {room:,} tokens",
            field="student.vocabulary_size",
            value=size,
            remedy=f"choose {room} or less, or leave it out",
        )
    try:
        must_keep_ids(tokenizer, recipe.student.must_keep)
    except InputError as error:
        raise InputError(error.problem, field="student.must_keep", value=error.value, remedy=error.remedy) from error


def text_fields(recipe: Recipe) -> dict[str, TextSource]:
    """Return the text of each language that phases 0 and 1 read, by its place in the recipe."""
    further = {f"further_languages.{language.name}.text": language.text for language in recipe.further_languages}
    return {"source.text": recipe.source.text, "target.text": recipe.target.text, **further}


def check_bilingual(recipe: Recipe, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Refuse an objective of phase 1 that is none, or that needs what the student will not have.

    Args:
        recipe: The recipe.
        tokenizer: The teacher's; None where it is not here.

    Raises:
        InputError: every term's weight is 0, tokens are to be hidden without a mask token, or the language-modelling
            head that is asked for is not kept.
    """
    from ..distillation.bilingual import check_objective

    settings = recipe.bilingual
    if not settings.steps:
        return
    try:
        check_objective(settings)
    except InputError as error:
        field = f"bilingual.{error.field}"
        raise InputError(error.problem, field=field, value=error.value, remedy=error.remedy) from error
    if settings.masked_share and tokenizer is not None and tokenizer.mask_token_id is None:
        raise InputError(
            "the teacher's tokenizer has no mask token to hide tokens by",
            field="bilingual.masked_share",
            value=settings.masked_share,
            remedy="leave it at 0, or choose a masked language model as the teacher",
        )
    check_head(recipe)


def asking_for_head(recipe: Recipe) -> str | None:
    """Name the first weight of phase 1 that asks for the language-modelling head that the teacher's checkpoint has.

    A student of random weights has a head whether or not the teacher has one.
    """
    settings = recipe.bilingual
    if not settings.steps:
        return None
    if settings.logits_weight:
        return "logits_weight"
    return "masked_lm_weight" if settings.masked_lm_weight and recipe.student.initialisation == "teacher" else None


def check_head(recipe: Recipe, found: bool = True) -> None:
    """Refuse to teach a language-modelling head that the student is not going to have.

    Args:
        recipe: The recipe.
        found: Whether the teacher's checkpoint has one, as far as that is known.

    Raises:
        InputError: the head is asked for, and is not there or not kept.
    """
    by_head = recipe.bilingual.logits_weight or recipe.bilingual.masked_lm_weight
    if recipe.bilingual.steps and by_head and not recipe.student.keep_language_modelling_head:
        raise no_head(recipe, "the student's language-modelling head is not kept")
    if asking_for_head(recipe) and not found:
        raise no_head(recipe, "the teacher has no language-modelling head")


def no_head(recipe: Recipe, problem: str) -> InputError:
    """Make the error of a language-modelling head that phase 1 asks for and that is not there."""
    settings = recipe.bilingual
    name = "logits_weight" if settings.logits_weight else "masked_lm_weight"
    return InputError(
        problem,
        field=f"bilingual.{name}",
        value=getattr(settings, name),
        remedy="leave it at 0, or choose a teacher with a head and student.keep_language_modelling_head = true",
    )


def check_precisions(recipe: Recipe) -> None:
    """Refuse precisions that training on this machine does not have.

    Raises:
        InputError: the recipe asks for such a one.
    """
    check_precision("bilingual.precision", recipe.bilingual.precision)
    for task in recipe.tasks:
        check_precision(f"tasks.{task.name}.teacher.precision", task.teacher.precision)
        check_precision(f"tasks.{task.name}.distillation.precision", task.distillation.precision)


def check_precision(field: str, precision: Precision) -> None:
    """Refuse to train in a precision that this machine does not have: fp16 needs a GPU, bf16 a CPU or a newer GPU.

    Args:
        field: Where it was asked for, named in the error.
        precision: What was asked for.

    Raises:
        InputError: this machine does not have it.
    """
    import torch
    from transformers.utils import is_torch_bf16_gpu_available

    accelerated = torch.accelerator.is_available()
    if precision == "fp16" and not accelerated:
        problem, remedy = "this machine has no GPU, and training in fp16 needs one", "set it to bf16 or fp32"
    elif precision == "bf16" and accelerated and not is_torch_bf16_gpu_available():
        problem, remedy = "this machine's GPU does not compute in bf16", "set it to fp16 or fp32"
    else:
        return
    raise InputError(problem, field=field, value=precision, remedy=remedy)


def read_task(settings: TaskRecipe, task: Task) -> TaskData:
    """Read a task's labelled data.

    Raises:
        InputError: data are missing or malformed, training has one label, others have labels that training lacks, or a
            task SFT's head is of other labels.
    """
    train = task.read(settings.train)
    labels = task.labels(train)
    if len(labels) == 1:
        raise InputError(
            f"every example has the label {labels[0]!r}, so there is nothing to learn",
            file=source_file(settings.train),
            field=f"tasks.{settings.name}.train",
            remedy="name data with labels of several kinds",
        )
    check_delta_labels(settings, labels)
    validation = task.read(settings.validation)
    for name, dataset in (
        ("validation", validation),
        ("test_source", task.read(settings.test_source)),
        ("test_target", task.read(settings.test_target)),
    ):
        task.check_labels(dataset, labels, source_file(settings.sources[name]))
    return TaskData(settings, task, labels, train, validation)
