"""Refuses a teacher whose tokenizer one of its backbone's own classes would rebuild, unless the recipe names the class.

A teacher whose tokenizer is saved under the generic class may have a pipeline that its backbone's class does not know.
That class builds another tokenizer of the teacher's files, and of the student's: it is no way of loading either. One
that is wrong for the teacher alone can load the student, whose files say more, and is not refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ..errors import InputError
from ..recipe import Recipe
from ..student.backbones import backbone_for
from ..student.tokenizer_loading import classes_that_rebuild, other_classes
from ..student.vocabulary import trim_tokenizer

_found: dict[tuple[str, ...], dict[str, str]] = {}
"""What `rebuilding_classes` has found in this process: seconds for a large vocabulary, and asked for each contender."""


def check_tokenizer_classes(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Refuse a teacher whose tokenizer its backbone's own classes rebuild, but for those that the recipe names.

    Args:
        recipe: The recipe.
        tokenizer: The teacher's tokenizer.
        config: The teacher's configuration.

    Raises:
        InputError: there is such a class; names it and what it does otherwise.
    """
    named = recipe.teacher.tokenizer_not_by
    found = rebuilding_classes(tokenizer, config, named)
    if found:
        wanted = json.dumps([*named, *found])
        raise InputError(
            "; ".join(found.values()),
            field="teacher.tokenizer_not_by",
            value=list(named),
            remedy=f"set teacher.tokenizer_not_by to {wanted} (--set 'teacher.tokenizer_not_by={wanted}'), and those "
            "who use the pair load its tokenizer with AutoTokenizer, as the card will say; or take a teacher whose "
            "tokenizer is saved under its own class",
        )


def rebuilding_classes(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, without: Collection[str] = ()
) -> dict[str, str]:
    """Find the classes that build another tokenizer of a teacher's files, and would of its students'.

    Nothing is built where the teacher's tokenizer is of the only class there is, or all others are left out.

    Args:
        tokenizer: The teacher's.
        config: Its configuration.
        without: Names of classes that are not looked at.

    Returns:
        By each such class's name what it does otherwise.
    """

    def student() -> PreTrainedTokenizerBase:
        whole = torch.tensor(sorted(tokenizer.get_vocab().values()))
        trimmed: PreTrainedTokenizerBase = trim_tokenizer(
            tokenizer, whole, model_input_names=student_inputs(tokenizer, config)
        )
        return trimmed

    tried = other_classes(tokenizer, config.model_type, without=without)
    if not tried:
        return {}
    content = hashlib.sha256(f"{tokenizer.backend_tokenizer.to_str()}{tokenizer.init_kwargs}".encode()).hexdigest()
    key = (content, type(tokenizer).__name__, config.model_type, *(each.__name__ for each in tried))
    if key not in _found:
        _found[key] = _in_both(tokenizer, student, config.model_type, without=without)
    return _found[key]


def named_and_rebuilding(
    recipe: Recipe,
    teacher: PreTrainedTokenizerBase,
    student: PreTrainedTokenizerBase,
    model_type: str,
    texts: Sequence[str],
) -> tuple[str, ...]:
    """Name the classes that the recipe says build another tokenizer, as far as they do, of both tokenizers' files.

    Args:
        recipe: The recipe.
        teacher: The teacher's tokenizer.
        student: The student's.
        model_type: The backbone.
        texts: What to compare on, beside what `classes_that_rebuild` compares on anyway.
    """
    named = recipe.teacher.tokenizer_not_by
    if not named:
        return ()
    found = _in_both(teacher, lambda: student, model_type, texts)
    return tuple(sorted(found.keys() & set(named)))


def student_inputs(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> list[str]:
    """Name what a student's tokenizer gives: of the teacher's inputs those that the model reads."""
    accepted = backbone_for(config).model_inputs(config)
    return [name for name in tokenizer.model_input_names if name in accepted]


def _in_both(
    teacher: PreTrainedTokenizerBase,
    student: Callable[[], PreTrainedTokenizerBase],
    model_type: str,
    texts: Sequence[str] = (),
    *,
    without: Collection[str] = (),
) -> dict[str, str]:
    """What classes do otherwise with the teacher's files, of those that are wrong for the student's too."""
    of_teacher = classes_that_rebuild(teacher, model_type, texts, without=without)
    if not of_teacher:
        return {}
    of_student = classes_that_rebuild(student(), model_type, texts, without=without)
    return {name: problem for name, problem in of_teacher.items() if name in of_student}
