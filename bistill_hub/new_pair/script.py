"""Writes a new pair's recipe, a script of about twenty lines, and the stub of what its contributor says on the card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import families
from ..cards.sections import TO_FILL_IN
from ..checkpoint_files import local_name
from ..errors import InputError
from ..recipe import Recipe, load_recipe

_TEACHERS = {
    teacher.model: name
    for name, teacher in (
        ("MBERT", families.MBERT),
        ("XLM_R", families.XLM_R),
        ("MDEBERTA", families.MDEBERTA),
        ("MMBERT", families.MMBERT),
    )
}
_SETTINGS = {
    "ner": ("TAGGING_TEACHER", "TAGGING", 256),
    "pos": ("TAGGING_TEACHER", "TAGGING", 256),
    "nli": ("NLI_TEACHER", "NLI", families.NLI_LENGTH),
    "qa": ("QA_TEACHER", "QA", families.QA_LENGTH),
}
_LENGTH = 256
"""What a recipe has where it says nothing of a task's length."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where text or labels come from, as the contributor said it.

    Attributes:
        path: A local file; None for the Hub.
        wikipedia: Code of a Wikipedia on the Hub.
        benchmark: Name, language and split of a known benchmark.
        dataset: Hub id and configuration of another data set of text.
        label_map: Labels to rename.
    """

    path: str | None = None
    wikipedia: str | None = None
    benchmark: tuple[str, str, str] | None = None
    dataset: tuple[str, str | None] | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NewPair:
    """What a new recipe says.

    Attributes:
        name: The pair's name.
        source: Code and English name of the source language.
        target: Code and English name of the target language.
        texts: Text of source and target.
        teacher: Hub id, or folder as it was given.
        longest: Tokens that the teacher reads at most; None where it is not here.
        not_by: Tokenizer classes that build another tokenizer of the teacher's files, as far as it is here.
        deltas: Language SFTs by language.
        tasks: By task, its four sources by field.
        license: Licence of the weights.
        license_name: Name of a licence that the Hub calls `other`.
        license_link: Address of its text.
        unverified: Facts that nobody has checked.
    """

    name: str
    source: tuple[str, str]
    target: tuple[str, str]
    texts: tuple[Place, Place]
    teacher: str
    longest: int | None = None
    not_by: Sequence[str] = ()
    deltas: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Place]] = field(default_factory=dict)
    license: str
    license_name: str | None = None
    license_link: str | None = None
    unverified: Sequence[str] = ()

    @property
    def stem(self) -> str:
        """What its files are called, without their endings."""
        return f"{self.source[0]}_{self.target[0]}".replace("-", "_").lower()


def files_of_pair(pair: NewPair, folder: Path) -> tuple[Path, Path]:
    """Name the recipe and the text for its card."""
    return folder / f"{pair.stem}.py", folder / f"{pair.stem}.card.md"


def check_free(pair: NewPair, folder: Path, *, overwrite: bool) -> None:
    """Refuse to write over files that are there.

    Raises:
        InputError: a file of the pair is there, or the folder is none.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("this is not a folder", field="--output", value=str(folder), remedy="name a folder")
    for file in files_of_pair(pair, folder):
        if file.exists() and not overwrite:
            raise InputError(
                "there is such a file already",
                file=file,
                remedy="name another folder by --output, or give --overwrite to replace the recipe",
            )


def write_pair(pair: NewPair, folder: Path, *, overwrite: bool = False) -> tuple[Path, Path, Recipe]:
    """Write a pair's recipe and the stub of its card's text, both or neither.

    A text for the card that is there already is kept, whatever `overwrite` says.

    Args:
        pair: What the recipe says.
        folder: Where the files go; made if it is missing.
        overwrite: Whether a recipe that is there may be replaced.

    Returns:
        The recipe's file, that of the card's text, and the recipe as it is loaded from there.

    Raises:
        InputError: a file is there already, the recipe would not be valid, or nothing can be written there.
    """
    check_free(pair, folder, overwrite=overwrite)
    script, card = files_of_pair(pair, folder)
    text = recipe_text(pair, folder)
    with TemporaryDirectory(prefix="bistill-new-pair-") as place:
        trial = Path(place) / script.name
        trial.write_text(text, encoding="utf-8")
        (Path(place) / card.name).write_text(card_text(pair), encoding="utf-8")
        load_recipe(trial)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not card.exists():
            card.write_text(card_text(pair), encoding="utf-8")
        script.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"nothing can be written there ({error.strerror or error})",
            field="--output",
            value=str(folder),
            remedy="choose a folder of your own on a disk with room",
        ) from error
    return script, card, load_recipe(script)


def card_text(pair: NewPair) -> str:
    """Write what the section on limits of the pair's card begins as: what nobody but its contributor can say."""
    tasks = ", ".join(pair.tasks) or "no task"
    lines = (
        f"**Not for.** {TO_FILL_IN} what this pair ({tasks}) must not be used for.",
        f"**Text.** {TO_FILL_IN} of which kind and time the {pair.source[1]} and the {pair.target[1]} text are, who "
        "wrote them, and under which licences.",
        *(
            [f"**Labels.** {TO_FILL_IN} who labelled which texts, and under which licences the labels are."]
            if pair.tasks
            else []
        ),
        f"**Gaps and biases.** {TO_FILL_IN} which domains, dialects and spellings are missing, and what else is "
        "known to go wrong.",
    )
    return "\n\n".join(lines) + "\n"


def recipe_text(pair: NewPair, folder: Path) -> str:
    """Write a pair's recipe as Python.

    Args:
        pair: What it says.
        folder: Where it will be; relative paths are written relative to it.
    """
    script, card = files_of_pair(pair, folder)
    body = [
        "RECIPE = Recipe(",
        f"    name={_quoted(pair.name)},",
        *(
            f"    {role}=Language(code={_quoted(code)}, name={_quoted(name)}, text={_text(place, folder)}),"
            for role, (code, name), place in zip(
                ("source", "target"), (pair.source, pair.target), pair.texts, strict=True
            )
        ),
        *_teacher(pair, folder),
        f"    license={_quoted(pair.license)},",
        *(
            f"    {name}={_quoted(value)},"
            for name, value in (("license_name", pair.license_name), ("license_link", pair.license_link))
            if value is not None
        ),
        f'    limits=(HERE / {_quoted(card.name)}).read_text(encoding="utf-8"),',
        "    student=families.STUDENT,",
        _bilingual(pair),
        *_tasks(pair, folder),
        "    unverified=(",
        *(f"        {_quoted(fact)}," for fact in pair.unverified),
        "    ),",
        ")",
    ]
    head = _HEAD.format(
        what=_plain(
            f"{pair.source[1]} and {pair.target[1]} out of {Path(pair.teacher).name}: `bistill run {script.name}`."
        ),
        script=script.name,
        imports="\n".join(_imports("\n".join(body))),
    )
    return head + "\n".join(body) + _TAIL


_HEAD = '''# /// script
# requires-python = ">=3.11"
# dependencies = ["bistill-hub"]
# ///
"""{what}

`uv run {script}` does the same wherever uv can fetch bistill-hub by its name.
"""

import sys
from pathlib import Path

{imports}

HERE = Path(__file__).resolve().parent

'''
_TAIL = """

if __name__ == "__main__":
    from bistill_hub.cli import main

    main(["run", __file__, *sys.argv[1:]])
"""


def _imports(body: str) -> list[str]:
    recipe = [name for name in ("Language", "Recipe", "TaskRecipe", "Teacher") if f"{name}(" in body]
    sources = [name for name in ("LabelledSource", "TextSource") if f"{name}(" in body]
    lines = ["from bistill_hub import families"]
    if "=benchmark(" in body:
        lines.append("from bistill_hub.evaluation.benchmarks import benchmark")
    lines.append(f"from bistill_hub.recipe import {', '.join(recipe)}")
    return lines + ([f"from bistill_hub.sources import {', '.join(sources)}"] if sources else [])


def _teacher(pair: NewPair, folder: Path) -> list[str]:
    known = _TEACHERS.get(pair.teacher)
    if known and not pair.deltas:
        return [f"    teacher=families.{known},"]
    local = Path(local_name(pair.teacher)).is_dir()
    model = _path(pair.teacher, folder) if local else _quoted(pair.teacher)
    model = f"str({model})" if model.startswith("HERE") else model
    not_by = _not_by(pair)
    if not pair.deltas and not not_by:
        return [f"    teacher=Teacher(model={model}),"]
    revision = [f"        revision=families.{known}.revision,"] if known else []
    return [
        "    teacher=Teacher(",
        f"        model=families.{known}.model," if known else f"        model={model},",
        *revision,
        *not_by,
        *(
            [
                "        language_deltas={",
                *(f"            {_quoted(code)}: {_quoted(name)}," for code, name in pair.deltas.items()),
                "        },",
            ]
            if pair.deltas
            else []
        ),
        "    ),",
    ]


def _not_by(pair: NewPair) -> list[str]:
    """Name the classes that would build another tokenizer, and say why they are named."""
    if not pair.not_by:
        return []
    return [
        "        # Classes that build another tokenizer of teacher's and pair's files: load it with AutoTokenizer.",
        f"        tokenizer_not_by=({' '.join(f'{_quoted(name)},' for name in pair.not_by)}),",
    ]


def _bilingual(pair: NewPair) -> str:
    own = families.BILINGUAL.block_size
    if pair.longest is None or pair.longest >= own:
        return "    bilingual=families.BILINGUAL,"
    return f'    bilingual=families.BILINGUAL.model_copy(update={{"block_size": {pair.longest}}}),'


def _tasks(pair: NewPair, folder: Path) -> list[str]:
    if not pair.tasks:
        return []
    lines = ["    tasks=("]
    for task, places in pair.tasks.items():
        teacher, distillation, length = _SETTINGS.get(task, ("", "", _LENGTH))
        length = min(length, pair.longest or length)
        lines += [
            "        TaskRecipe(",
            f"            name={_quoted(task)},",
            *(f"            {name}={_labels(place, folder)}," for name, place in places.items()),
            *([f"            max_length={length},"] if length != _LENGTH else []),
            *([f"            teacher=families.{teacher},"] if teacher else []),
            *([f"            distillation=families.{distillation},"] if distillation else []),
            "        ),",
        ]
    return [*lines, "    ),"]


def _text(place: Place, folder: Path) -> str:
    if place.path is not None:
        return _path(place.path, folder)
    if place.wikipedia is not None:
        return f"families.wikipedia({_quoted(place.wikipedia)})"
    if place.dataset is None:
        raise ValueError("a place of no text")
    dataset, config = place.dataset
    words = [f"dataset={_quoted(dataset)}", *([f"config={_quoted(config)}"] if config else []), 'split="train"']
    return f"TextSource({', '.join(words)})"


def _labels(place: Place, folder: Path) -> str:
    if place.benchmark is not None:
        return f"benchmark({', '.join(map(_quoted, place.benchmark))})"
    if place.path is None:
        raise ValueError("a place of no labels")
    path = _path(place.path, folder)
    if not place.label_map:
        return path
    renamed = ", ".join(f"{_quoted(old)}: {_quoted(new)}" for old, new in place.label_map.items())
    return f"LabelledSource(path={path}, label_map={{{renamed}}})"


def _path(path: str, folder: Path) -> str:
    """A path in Python: one that was given relative to the working folder becomes one relative to the recipe.

    Links to folders are followed on both sides, as `HERE` does, and as `..` does where a file is opened.
    """
    if os.path.isabs(path) or path.startswith(("~", "$")):
        return _quoted(path)
    file = Path(path).parent.resolve() / Path(path).name
    return f"HERE / {_quoted(Path(os.path.relpath(file, folder.resolve())).as_posix())}"


def _plain(text: str) -> str:
    """A text that a docstring can hold."""
    return "".join(letter for letter in text if letter.isprintable()).replace("\\", "/").replace('"', "'")


def _quoted(text: str) -> str:
    """A string in Python: what JSON writes is one."""
    return json.dumps(text, ensure_ascii=False)
