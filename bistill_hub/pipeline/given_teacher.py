"""What a task's teacher that was tuned elsewhere, a model or a task SFT, has to be, and the order of its head's labels.

A head has a row for each label. A tuned model says which is which in its `config.json`; of a task SFT its own
description does, or else the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..distillation.finite import not_finite
from ..errors import InputError
from ..model.sparse_delta import SparseDelta
from ..recipe import TaskRecipe, TaskTeacher
from ..student.backbones import backbone_for
from ..tasks.task import Task
from ..teacher import load_config, load_delta, load_task_model, load_tokenizer, named_by

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads")
"""What a student has of its teacher, and is compared with a tuned one in."""

_TUNED_HERE = "or leave it out, and the teacher is fine-tuned here"


def check_given_teacher(
    settings: TaskRecipe,
    task: Task,
    labels: Sequence[str],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Refuse a tuned model or a task SFT that could not teach the student; nothing is looked at where there is none.

    Args:
        settings: What the recipe says of the task.
        task: The task.
        labels: Its labels in order; none for a task whose head has no labels.
        config: The configuration of the teacher that the student is cut out of.
        tokenizer: That teacher's tokenizer.

    Raises:
        InputError: a tuned model has other labels, or is to teach and has another shape or vocabulary; a task SFT has
            other labels, no head, or parameters that the teacher lacks.
    """
    if settings.teacher.model is not None:
        check_tuned_model(settings, labels, config, tokenizer)
    elif settings.teacher.delta is not None:
        delta = load_delta(settings.teacher.delta)
        check_delta_labels(settings, labels, delta)
        with torch.device("meta"):  # of this shape, and no memory
            model = _with_head(task, config, labels)
        apply_task_delta(model, delta, settings, labels)


def check_tuned_model(
    settings: TaskRecipe,
    labels: Sequence[str],
    config: PreTrainedConfig | None,
    tokenizer: PreTrainedTokenizerBase | None,
) -> None:
    """Refuse a tuned model of other labels, and one that is to teach and has another shape or vocabulary.

    Its weights are not read. Arguments are those of `check_given_teacher`; what is not known is not compared.

    Raises:
        InputError: it is such a one.
    """
    model, revision, field = settings.teacher.model, settings.teacher.revision, f"tasks.{settings.name}.teacher.model"
    if model is None:
        return
    with named_by(field):
        tuned = load_config(model, revision)
    if labels:
        tuned_rows(settings, tuned, labels)
    if settings.distillation.learns_from != "teacher":
        return
    if config is not None:
        for name in (*_SHAPE, *backbone_for(config).layer_fields):
            own, expected = getattr(tuned, name, None), getattr(config, name)
            if own != expected:
                raise InputError(
                    f"its {name} is {own}, that of the teacher whose layers the student has is {expected}",
                    file="config.json",
                    field=field,
                    value=model,
                    remedy=f"name one that was tuned from this teacher, {_TUNED_HERE}",
                )
    if tokenizer is not None:
        with named_by(field):
            own_ids = load_tokenizer(model, revision).get_vocab()
        for token, number in tokenizer.get_vocab().items():
            if own_ids.get(token) != number:
                is_there = f"there as {own_ids[token]}" if token in own_ids else "not in it"
                raise InputError(
                    "its vocabulary is not that of the teacher whose tokens the student has: "
                    f"{token!r}, {number} with that one, is {is_there}",
                    file="tokenizer.json",
                    field=field,
                    value=model,
                    remedy=f"name one that was tuned from this teacher, {_TUNED_HERE}",
                )


def check_tuned_weights(settings: TaskRecipe, task: Task) -> None:
    """Refuse a tuned model that has no head for the task, or that nothing can be learnt from.

    Args:
        settings: What the recipe says of the task, which names a model.
        task: The task.

    Raises:
        InputError: it cannot be loaded, lacks the head, or holds values that are not finite.
    """
    place, field = str(settings.teacher.model), f"tasks.{settings.name}.teacher.model"
    model = load_task_model(task.head, place, settings.teacher.revision, tuned_by=field)
    if name := not_finite(model):
        raise InputError(
            f"its {name} holds values that are not finite",
            field=field,
            value=place,
            remedy=f"name a model whose training went well, {_TUNED_HERE}",
        )


def check_delta_labels(settings: TaskRecipe, labels: Sequence[str], delta: SparseDelta | None = None) -> None:
    """Refuse a task SFT whose head is of other labels than the training data have, as far as anybody says of which.

    Args:
        settings: What the recipe says of the task.
        labels: The task's labels in order.
        delta: The task SFT, which may say it itself; the recipe says it with more right.

    Raises:
        InputError: the two sets of labels differ, or one is named twice.
    """
    of_head = _order_of(settings.teacher, delta)
    if not of_head or sorted(of_head) == sorted(labels):
        return
    by_recipe = bool(settings.teacher.delta_labels)
    in_order = f"name the training data's labels ({', '.join(labels) or 'none'}) in the head's order"
    raise InputError(
        f"the task SFT's head {_differences(of_head, labels)}",
        field=f"tasks.{settings.name}.teacher.{'delta_labels' if by_recipe else 'delta'}",
        value=list(of_head) if by_recipe else settings.teacher.delta,
        remedy=f"{in_order if by_recipe else 'name another'}, or leave the task SFT out, and the teacher is fine-tuned "
        "here",
    )


def apply_task_delta(
    model: PreTrainedModel, delta: SparseDelta, settings: TaskRecipe, labels: Sequence[str]
) -> PreTrainedModel:
    """Put a task SFT on the teacher, the rows of its head in the order of the task's labels.

    Args:
        model: The teacher, with a head for these labels.
        delta: The task SFT.
        settings: What the recipe says of the task.
        labels: The task's labels in order.

    Raises:
        InputError: it does not fit the model, or has no head.
    """
    field = f"tasks.{settings.name}.teacher.delta"
    try:
        delta.apply(model)
    except ValueError as error:
        raise InputError(
            f"the task SFT does not fit the teacher with a head for {len(labels)} labels ({error})",
            field=field,
            value=settings.teacher.delta,
            remedy="name one that was made for this teacher and these labels, or leave it out",
        ) from error
    name, _ = _last_layer(model)
    if f"{name}.weight" not in delta.dense:
        raise InputError(
            f"the task SFT has no head: it lacks {name}.weight",
            field=field,
            value=settings.teacher.delta,
            remedy=f"name one that has, {_TUNED_HERE}",
        )
    order = _order_of(settings.teacher, delta)
    if order and labels:
        put_in_order(model, [order.index(label) for label in labels], labels)
    return model


def tuned_rows(settings: TaskRecipe, config: PreTrainedConfig, labels: Sequence[str]) -> list[int]:
    """Tell which row of a tuned model's head is that of each label. Case is disregarded, unless it tells labels apart.

    Args:
        settings: What the recipe says of the task.
        config: The tuned model's configuration.
        labels: The task's labels in order.

    Raises:
        InputError: the model's labels are others, or it has the numbered ones that say nothing.
    """
    of_head = [str(config.id2label[index]) for index in sorted(config.id2label)]
    for spelt in (str, str.casefold):
        rows = {spelt(name): row for row, name in enumerate(of_head)}
        wanted = [spelt(label) for label in labels]
        if len(rows) == len(of_head) == len(wanted) and set(rows) == set(wanted):
            return [rows[label] for label in wanted]
    numbered = of_head == [f"LABEL_{row}" for row in range(len(of_head))]
    problem = "does not say which labels its head's rows are of" if numbered else _differences(of_head, labels)
    raise InputError(
        f"the tuned model {problem}",
        file="config.json",
        field=f"tasks.{settings.name}.teacher.model",
        value=settings.teacher.model,
        remedy=f"name one whose `id2label` has the training data's labels ({', '.join(labels)}), in any order"
        + (", or write them into the config.json of a copy" if numbered else "")
        + f", {_TUNED_HERE}",
    )


def put_in_order(model: PreTrainedModel, rows: Sequence[int], labels: Sequence[str]) -> None:
    """Have a model's head predict the labels in this order, and say so in its configuration.

    Args:
        model: A model with a head.
        rows: For each label the row of the head that is its own.
        labels: The labels.
    """
    _, last = _last_layer(model)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.copy_(parameter[torch.tensor(rows, device=parameter.device)])
    for name, value in label_fields(labels).items():
        setattr(model.config, name, value)


def label_fields(labels: Sequence[str]) -> dict[str, Any]:
    """The labels as fields of a model's configuration."""
    if not labels:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def _with_head(task: Task, config: PreTrainedConfig, labels: Sequence[str]) -> PreTrainedModel:
    from transformers.models.auto import modeling_auto

    from ..model.configuration_bistill import HEADS

    fields = config.to_dict() | label_fields(labels)
    return getattr(modeling_auto, HEADS[task.head]).from_config(type(config).from_dict(fields))  # type: ignore[no-any-return]


def _last_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """The last linear layer of a model's head, with its name: it has a row for each label, whatever lies below it."""
    linear = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    return [each for each in linear if not each[0].startswith(f"{model.base_model_prefix}.")][-1]


def _order_of(settings: TaskTeacher, delta: SparseDelta | None) -> tuple[str, ...]:
    """The labels in the order of a task SFT's head: as the recipe says, or as the SFT does; none where neither does."""
    return settings.delta_labels or tuple((delta.metadata.get("labels") if delta else None) or ())


def _differences(of_head: Sequence[str], labels: Sequence[str]) -> str:
    """What a head's labels lack and have beside those of the data; none of both if a label is there twice."""
    lacking, further = (sorted(set(one) - set(other)) for one, other in ((labels, of_head), (of_head, labels)))
    differences = [
        *([f"lacks {', '.join(lacking)}"] if lacking else []),
        *([f"has {', '.join(further)}, which the training data do not have"] if further else []),
    ] or ["has a label twice"]
    return " and ".join(differences)
