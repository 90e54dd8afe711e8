"""Answers questions with a loaded model: transformers no longer has a pipeline for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from ..student.backbones import backbone_for
from ..tasks import get_task
from .predicting import predict

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    max_length: int = 384,
    progress: bool = False,
) -> list[str]:
    """Answer each question by a piece of its context.

    A context of any length is read in windows that overlap, as in training and evaluation; see the task "qa".

    Args:
        model: A question-answering model, on any device.
        tokenizer: Its tokenizer.
        questions: The questions.
        contexts: For each question the text that holds the answer.
        max_length: Sub-words of a window, question and special tokens included; less where the model reads less.
        progress: Show a progress bar.

    Returns:
        A piece of each context, as it is written there.

    Raises:
        InputError: there are more or fewer contexts than questions, one is empty, or the tokenizer is not a fast one.
    """
    from datasets import Dataset

    if len(questions) != len(contexts):
        raise InputError(
            f"{len(questions)} questions and {len(contexts)} contexts",
            field="contexts",
            remedy="give each question its context, and repeat one that several questions are about",
        )
    for field, texts in (("questions", questions), ("contexts", contexts)):
        for place, text in enumerate(texts):
            if not text.strip():
                raise InputError("there is no text", field=f"{field}[{place}]", value=text, remedy="leave it out")
    if not questions:
        return []
    dataset = Dataset.from_dict(
        {
            "id": [str(place) for place in range(len(questions))],
            "question": list(questions),
            "context": list(contexts),
            # Nobody knows the answers; features carry some all the same.
            "answers": [{"text": [context.split()[0]], "answer_start": [0]} for context in contexts],
        }
    )
    longest = backbone_for(model.config).longest_input(model.config)
    found: list[str] = predict(
        model, tokenizer, get_task("qa"), dataset, (), max_length=min(max_length, longest), progress=progress
    )
    return found
