"""What a run needs to train one more task on a published pair: its recipe again, and the student as phase 1 left it."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tokenizers import Tokenizer

from ..cards.facts import CardFacts
from ..errors import InputError
from ..model.configuration_bistill import BistillConfig
from ..model.modeling_bistill import BASE_FILE
from ..recipe import Language, Recipe, TaskRecipe, Teacher
from ..sources import TextSource, file_sha256
from ..teacher import load_config, load_tokenizer
from .order import STUDENT, Stage
from .portable import BESIDE_THE_RECIPE
from .preflight import TaskData
from .stage_files import STUDENT_FILE, TOKEN_MAP_FILE

RECIPE_FILE = "recipe.json"
_TOKENIZER_FILE = "tokenizer.json"
_STUDENT_FILES = (BASE_FILE, _TOKENIZER_FILE, "tokenizer_config.json")
_UNPUBLISHED_BASELINE = "no_phase_1"
"""It starts from the student before phase 1, which no pair holds."""

_ANOTHER_TEACHER = "name the multilingual model that the student was cut out of (teacher=, --teacher, teacher.model)"
_SOURCES = ("train", "validation", "test_source", "test_target")
_COMPARED = ("hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")
_EXAMPLES = 1000
_COVERED = 0.75
"""Of the share of a language's text that the vocabulary covered when it was chosen, how much has to be left."""


@dataclass(frozen=True)
class PublishedFields:
    """What `recipe.json` holds.

    Attributes:
        fields: The recipe's fields, JSON values; a file's path is its name alone.
        hashes: SHA-256 of each file by the field that names it, such as `tasks.ner.train`.
        versions: Version by library.
    """

    fields: dict[str, Any]
    hashes: dict[str, str]
    versions: dict[str, str]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> PublishedFields:
        """Take apart what `portable` made of a recipe, or what `recipe.json` holds."""
        fields = {name: copy.deepcopy(value) for name, value in content.items() if name not in BESIDE_THE_RECIPE}
        hashes = {field: source.pop("sha256", None) for field, source in sources_of(fields)}
        return cls(
            fields, {field: found for field, found in hashes.items() if found}, dict(content.get("versions") or {})
        )


def sources_of(fields: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through the sources of a recipe's fields; each is called as a change of the recipe calls it."""
    for side in ("source", "target"):
        yield f"{side}.text", fields[side]["text"]
    for language in fields.get("further_languages", ()):
        yield f"further_languages.{language['name']}.text", language["text"]
    for task in fields.get("tasks", ()):
        for name in _SOURCES:
            yield f"tasks.{task['name']}.{name}", task[name]


def read_published(file: Path) -> PublishedFields:
    """Read a pair's `recipe.json`.

    Raises:
        InputError: it is none.
    """
    try:
        return PublishedFields.of(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            "this is no recipe of a pair", file=file, remedy="restore the one that was packaged"
        ) from error


def published_recipe(
    pair: Path, task: Mapping[str, Any], *, teacher: str | None = None, target_text: str | None = None
) -> Recipe:
    """Return the recipe of a published pair with one task, a new one, in place of its own.

    Baselines are those of the pair, but for the student without phase 1, which is not published.

    Args:
        pair: The pair's folder.
        task: Fields of a `TaskRecipe`.
        teacher: Hub id or folder of the multilingual teacher; None for the one that the pair names.
        target_text: A file with text of the target language; None for the one that the pair names.

    Raises:
        InputError: a field of the task is wrong, `recipe.json` is none of this pair, or the teacher has to be named.
    """
    try:
        settings = TaskRecipe.model_validate(dict(task))
    except ValidationError as error:
        raise InputError.from_validation(error, within=f"tasks.{task['name']}", fields=task) from error
    file = pair / RECIPE_FILE
    fields = {**read_published(file).fields, "tasks": ()}
    recipe = Recipe.make(fields, file=file)
    config = BistillConfig.from_pretrained(pair)
    codes = (recipe.source.code, recipe.target.code)
    if codes != (config.source_language, config.target_language):
        raise InputError(
            f"the languages of config.json are {config.source_language} and {config.target_language}",
            file=file,
            field="source.code, target.code",
            value=codes,
            remedy="restore the recipe that was packaged",
        )
    text = recipe.target.text if target_text is None else TextSource(path=target_text)
    changed = recipe.model_copy(
        update={
            "tasks": (settings,),
            "target": recipe.target.model_copy(update={"text": text}),
            "teacher": _teacher(recipe, config, teacher),
            "baselines": tuple(name for name in recipe.baselines if name != _UNPUBLISHED_BASELINE),
        }
    )
    return Recipe.make(changed.model_dump())  # which checks what is of task and pair together


def _teacher(recipe: Recipe, config: BistillConfig, name: str | None) -> Teacher:
    if name is None:
        if config.teacher is None:
            raise InputError(
                "the pair's teacher has no public name",
                field="teacher",
                value=recipe.teacher.model,
                remedy=_ANOTHER_TEACHER,
            )
        place = {"model": config.teacher, "revision": config.teacher_revision}
    else:
        place = {"model": name, "revision": config.teacher_revision if name == config.teacher else None}
    return recipe.teacher.model_copy(update=place)


def check_teacher(pair: Path, recipe: Recipe, facts: CardFacts) -> torch.Tensor:
    """Refuse a teacher that is not the pair's, and find the pair's tokens in it.

    Args:
        pair: The pair's folder.
        recipe: What `published_recipe` returned.
        facts: What the pair's card states.

    Returns:
        int64 [V_student], the teacher's id of each token of the pair.

    Raises:
        InputError: there is no such teacher; it has another architecture, size or number of layers; or its vocabulary
            does not hold the pair's tokens in the same order.
    """
    model, revision = recipe.teacher.model, recipe.teacher.revision
    student = BistillConfig.from_pretrained(pair).backbone_config()
    teacher = load_config(model, revision)
    expected = {
        "model_type": student.model_type,
        "num_hidden_layers": facts.teacher_size.layers,
        "vocab_size": facts.teacher_size.vocabulary,
        **{name: getattr(student, name) for name in _COMPARED},
    }
    for name, wanted in expected.items():
        if (found := getattr(teacher, name)) != wanted:
            raise InputError(
                f"this is not the pair's teacher, which has {wanted}",
                file=model,
                field=name,
                value=found,
                remedy=_ANOTHER_TEACHER,
            )
    there = load_tokenizer(model, revision).get_vocab()
    tokens = Tokenizer.from_file(str(pair / _TOKENIZER_FILE)).get_vocab(with_added_tokens=True)
    ordered = sorted(tokens, key=tokens.__getitem__)
    missing = [token for token in ordered if token not in there]
    if missing:
        raise InputError(
            f"this is not the pair's teacher: it lacks {len(missing)} of the pair's {len(ordered)} tokens",
            file=model,
            field="tokenizer",
            value=missing[0],
            remedy=_ANOTHER_TEACHER,
        )
    token_map = torch.tensor([there[token] for token in ordered])
    if bool((token_map.diff() <= 0).any()):
        raise InputError(
            "this is not the pair's teacher: it has the pair's tokens in another order",
            file=model,
            field="tokenizer",
            remedy=_ANOTHER_TEACHER,
        )
    return token_map


def check_delta_of_language(recipe: Recipe) -> None:
    """Refuse to make a teacher that has to carry language SFTs which nobody published.

    Raises:
        InputError: the task's teacher is to be such a one.
    """
    task = recipe.tasks[0]
    for code, name in recipe.teacher.language_deltas.items():
        if task.teacher.model is None and "/" not in name:
            raise InputError(
                f"the task's teacher is to carry this delta of {code}, which has no public name",
                field=f"teacher.language_deltas.{code}",
                value=name,
                remedy="name a model that is tuned for the task as teacher.model",
            )


def check_languages(recipe: Recipe, data: TaskData, token_map: torch.Tensor, facts: CardFacts) -> None:
    """Refuse data whose text is of another language, as the pair's vocabulary tells it.

    Of each source the first examples are looked at. A language whose text is made of much the same pieces is not told.

    Args:
        recipe: What `published_recipe` returned.
        data: The task's data; where phase 2 reads text of the target language, that is looked at, too.
        token_map: What `check_teacher` returned.
        facts: What the pair's card states.

    Raises:
        InputError: the vocabulary covers much less of the text than of the text that it was chosen on.
    """
    tokenizer = load_tokenizer(recipe.teacher.model, recipe.teacher.revision)
    special = frozenset(tokenizer.all_special_ids)
    languages = {name: recipe.source for name in ("train", "validation", "test_source")} | {
        "test_target": recipe.target
    }
    for name, source in data.recipe.sources.items():
        read = {"train": data.train, "validation": data.validation}.get(name)
        dataset = data.task.read(source) if read is None else read
        first = dataset.select(range(min(_EXAMPLES, len(dataset))))
        features = data.task.encode(first, tokenizer, data.labels, data.recipe.max_length)
        pieces = [piece for row in features["input_ids"] for piece in row if piece not in special]
        field = f"tasks.{data.recipe.name}.{name}"
        _check_covered(pieces, token_map, languages[name], facts, file=source.name, field=field)
    if data.recipe.distillation.target_share:
        text = recipe.target.text
        lines = list(islice(text, _EXAMPLES))
        rows = tokenizer(lines, add_special_tokens=False)["input_ids"]
        pieces = [piece for row in rows for piece in row if piece not in special]
        _check_covered(pieces, token_map, recipe.target, facts, file=text.name, field="target.text")


def _check_covered(
    pieces: Sequence[int], token_map: torch.Tensor, language: Language, facts: CardFacts, *, file: str, field: str
) -> None:
    """Refuse text of which the vocabulary has much less than of the text of this language that it was chosen on."""
    kept = frozenset(token_map.tolist())
    share = sum(piece in kept for piece in pieces) / max(1, len(pieces))
    usual = facts.vocabulary.get("languages", {}).get(language.code, {}).get("corpus_tokens_kept", 1.0)
    if share < _COVERED * usual:
        raise InputError(
            f"the pair's vocabulary covers {100 * share:.1f} % of it, and {100 * usual:.1f} % of the text in "
            f"{language.name} that it was chosen on",
            file=file,
            field=field,
            remedy=f"name data in {language.name}",
        )


def student_stage(pair: Path, token_map: torch.Tensor) -> Stage:
    """Return the stage that leaves what phase 0 and phase 1 leave, out of a published pair.

    Args:
        pair: The pair's folder.
        token_map: What `check_teacher` returned.
    """
    config = BistillConfig.from_pretrained(pair)
    vocabulary = config.vocabulary or {}
    facts = {
        "layer_map": list(config.layer_map),
        "vocabulary": {"tokens_before": vocabulary.get("teacher_size"), "tokens_after": vocabulary.get("size")},
    }
    native = config.backbone_config()
    native.name_or_path = ""  # where the pair lies is nothing that training depends on
    files = {name: file_sha256(pair / name) for name in _STUDENT_FILES}

    def work(place: Path, done: Any) -> dict[str, Any]:
        _copy(pair, place, _STUDENT_FILES)
        native.save_pretrained(place)
        save_file({"token_map": token_map}, place / TOKEN_MAP_FILE)
        (place / STUDENT_FILE).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return {}

    hashed = hashlib.sha256(token_map.numpy().tobytes()).hexdigest()
    inputs = {**facts, "files": files, "config": json.loads(native.to_json_string()), "token_map": hashed}
    return Stage(STUDENT, (), inputs, work)


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        shutil.copyfile(source / name, target / name)
