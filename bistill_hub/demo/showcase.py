"""Shows that a packaged pair is what it promises: every Auto class loads it, and its tasks answer in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Loaded:
    """What an Auto class made of the pair.

    Attributes:
        auto: The Auto class.
        task: The task that was asked for; None for the encoder and the language model.
        native: The class of the model that came out.
        parameters: Its parameters, tied ones counted once.
    """

    auto: str
    task: str | None
    native: str
    parameters: int


@dataclass(frozen=True)
class Answer:
    """A test example and what the student makes of it.

    Attributes:
        task: Name of the task.
        language: Code of the example's language.
        text: What the model reads.
        predicted: Its answer.
        gold: The right one.
    """

    task: str
    language: str
    text: str
    predicted: str
    gold: str


def load_everything(repository: Path) -> tuple[list[Loaded], dict[str, PreTrainedModel]]:
    """Load a pair through all five Auto classes, and every task.

    Args:
        repository: Folder of a packaged pair.

    Returns:
        What came out, and the task models by task.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM
    from transformers.models.auto import modeling_auto

    from ..model.configuration_bistill import HEADS

    config = AutoConfig.from_pretrained(repository)
    loaded = [_described("AutoModel", None, AutoModel.from_pretrained(repository))]
    if config.language_modelling_head:
        loaded.append(_described("AutoModelForMaskedLM", None, AutoModelForMaskedLM.from_pretrained(repository)))
    models = {}
    for task, published in config.tasks.items():
        auto = HEADS[published["head"]]
        models[task] = getattr(modeling_auto, auto).from_pretrained(repository, task=task)
        loaded.append(_described(auto, task, models[task]))
    return loaded, models


def answer_examples(recipe: Recipe, repository: Path, models: Mapping[str, PreTrainedModel]) -> list[Answer]:
    """Let the packaged student answer the first test example of each task and language.

    Args:
        recipe: The recipe whose test sets are read.
        repository: Folder of the packaged pair.
        models: The pair's task models.
    """
    from transformers import AutoTokenizer

    from ..evaluation.evaluate import labels_of, predict
    from ..tasks import get_task

    tokenizer = AutoTokenizer.from_pretrained(repository)
    answers = []
    for settings in recipe.tasks:
        task = get_task(settings.name)
        for language, source in ((recipe.source, settings.test_source), (recipe.target, settings.test_target)):
            example = task.read(source).select([0])
            model = models[settings.name]
            labels = labels_of(model) if task.head != "question-answering" else ()
            (predicted,) = predict(model, tokenizer, task, example, labels, max_length=settings.max_length)
            text, shown, gold = _shown(example[0], predicted)
            answers.append(Answer(settings.name, language.code, text, shown, gold))
    return answers


def _shown(example: Mapping[str, Any], predicted: Any) -> tuple[str, str, str]:
    """Write an example of any task, its prediction and its gold answer for a reader."""
    if "tokens" in example:
        return (
            " ".join(example["tokens"]),
            _tagged(example["tokens"], predicted),
            _tagged(example["tokens"], example["tags"]),
        )
    if "premise" in example:
        return f"{example['premise']} / {example['hypothesis']}", str(predicted), example["label"]
    return f"{example['context']} / {example['question']}", str(predicted), " or ".join(example["answers"]["text"])


def _tagged(tokens: list[str], tags: list[str]) -> str:
    return " ".join(token if tag == "O" else f"{token}/{tag}" for token, tag in zip(tokens, tags, strict=True))


def _described(auto: str, task: str | None, model: PreTrainedModel) -> Loaded:
    return Loaded(auto, task, type(model).__name__, sum(parameter.numel() for parameter in model.parameters()))
