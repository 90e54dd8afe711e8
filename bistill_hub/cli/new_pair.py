"""`bistill new-pair`: from two languages to a recipe of their own."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..new_pair.on_the_hub import Offer
    from ..new_pair.script import NewPair, Place

_T = TypeVar("_T")

_EXAMPLE = """\b
Example, with files of your own:
  bistill new-pair en yo --source-text en.txt --target-text yo.txt \\
    --train ner=train.en.conll --validation ner=dev.en.conll \\
    --test-source ner=test.en.conll --test-target ner=test.yo.conll \\
    --license cc-by-nc-4.0
"""
_LABELS = {
    "train": "training data in the source language",
    "validation": "development data in the source language",
    "test_source": "test data in the source language",
    "test_target": "test data in the target language",
}


def _labels_option(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        _option(name),
        multiple=True,
        metavar="TASK=FILE",
        help=f"{_LABELS[name].capitalize()}: a file, or a benchmark that `bistill eval` knows. May be repeated.",
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@click.command("new-pair", short_help="Write a recipe for a new pair of languages.", epilog=_EXAMPLE)
@click.argument("source")
@click.argument("target")
@click.option("--teacher", help="Hub id or folder of the teacher.  [default: google-bert/bert-base-multilingual-cased]")
@click.option("--source-name", help="English name of SOURCE, where it is not known.")
@click.option("--target-name", help="English name of TARGET, where it is not known.")
@click.option(
    "--source-text",
    metavar="TEXT",
    help="Text in the source language: a file, wikipedia, or a Hub id with its configuration as ORG/NAME:CONFIG.",
)
@click.option("--target-text", metavar="TEXT", help="Text in the target language, in the same way.")
@click.option("--tasks", metavar="NAMES", help="Tasks, such as ner,nli; none: the encoder without tasks.")
@_labels_option("train")
@_labels_option("validation")
@_labels_option("test_source")
@_labels_option("test_target")
@click.option("--license", help="Licence of the weights, by the Hub's name, such as apache-2.0.")
@click.option("--license-name", help="Name of the licence, where --license is other.")
@click.option("--license-link", help="Address of its text, where --license is other.")
@click.option(
    "--name",
    help="The pair's name.  [default: bistill-SOURCE-TARGET, and -mine behind it where a shipped recipe is called so]",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=Path(), help="Folder for it.  [default: this folder]"
)
@click.option("--overwrite", is_flag=True, help="Replace a recipe that is there; the text for the card is kept.")
@click.option("--offline", is_flag=True, help="Do not ask the Hub what it has.")
@click.option("--yes", is_flag=True, help="Do not ask before writing.")
def new_pair_command(
    source: str,
    target: str,
    teacher: str | None,
    source_name: str | None,
    target_name: str | None,
    source_text: str | None,
    target_text: str | None,
    tasks: str | None,
    license: str | None,
    license_name: str | None,
    license_link: str | None,
    name: str | None,
    output: Path,
    overwrite: bool,
    offline: bool,
    yes: bool,
    **labelled: tuple[str, ...],
) -> None:
    """Write a recipe for the pair SOURCE and TARGET, and a text for its card that you fill in.

    SOURCE and TARGET are ISO 639 codes, such as en and yo; SOURCE is the language that has labels. On a terminal, what
    no option says is asked for. Otherwise it is looked for on the Hub and among the benchmarks that this package knows,
    and what is missing then is named, all of it at once.

    Your files are read as a run reads them before anything is written. No file is overwritten without --overwrite, and
    nothing is downloaded.
    """
    from ..languages import language_name
    from ..new_pair.script import NewPair, check_free, files_of_pair, write_pair

    codes = (source, target)
    ask = _Asked(_on_terminal())
    _check_codes(codes)
    name = _checked_name(name) if name else _default_name(codes)
    named = tuple(
        (code, ask.word(option, given or language_name(code), f"English name of {code}"))
        for code, option, given in zip(
            codes, ("--source-name", "--target-name"), (source_name, target_name), strict=True
        )
    )
    teacher = ask.word("--teacher", teacher, "Teacher, a Hub id or a folder", default=_default_teacher())
    longest = _longest_input(teacher)
    offer = _look(codes, teacher, offline)
    texts = tuple(
        _text(ask, offer, language, option, given)
        for language, option, given in zip(
            named, ("--source-text", "--target-text"), (source_text, target_text), strict=True
        )
    )
    given = {key: _by_task(_option(key), words) for key, words in labelled.items()}
    wanted = ask.get("--tasks", tasks or _named_tasks(given), "Tasks, with commas; none for none", _tasks)
    if wanted is not None:
        _refuse_labels_of_others(given, wanted)
    chosen = {task: _sources(ask, task, given, codes) for task in wanted or ()}
    question = "Licence of the weights, such as apache-2.0 or cc-by-nc-4.0"
    license = ask.get("--license", license, question, _license) or ""
    if license == "other":
        license_name = ask.word("--license-name", license_name, "Name of the licence")
        license_link = ask.word("--license-link", license_link, "Address of its text")
    ask.refuse_missing()
    pair = NewPair(
        name=name,
        source=(source, named[0][1]),
        target=(target, named[1][1]),
        texts=(texts[0], texts[1]),
        teacher=teacher,
        longest=longest,
        deltas=offer.deltas or {},
        tasks=chosen,
        license=license,
        license_name=license_name,
        license_link=license_link,
    )
    check_free(pair, output, overwrite=overwrite)
    _check_license(pair)
    pair = _looked_at(pair)
    pair = replace(pair, unverified=_unverified(pair, offer, files_of_pair(pair, output)[1].name))
    if ask.terminal and not yes:
        click.confirm(f"Write {files_of_pair(pair, output)[0]}?", default=True, abort=True)
    script, card, _ = write_pair(pair, output, overwrite=overwrite)
    _print_next(pair, script, card)


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@dataclass
class _Asked:
    """Gets what no option says: by asking on a terminal, or else by noting what is missing."""

    terminal: bool
    missing: list[str] = field(default_factory=list)

    def word(self, option: str, given: str | None, question: str, *, default: str | None = None) -> str:
        """Return a word; an empty one where it is missing."""
        return self.get(option, given, question, lambda word: word, default=default) or ""

    def get(
        self, option: str, given: str | None, question: str, read: Callable[[str], _T], *, default: str | None = None
    ) -> _T | None:
        """Return what `read` makes of a word; on a terminal, ask again where it refuses it."""
        if given is not None:
            return read(given)
        if self.terminal:
            answer: _T = click.prompt(question, default=default, value_proc=_asking_again(read))
            return answer
        if default is not None:
            return read(default)
        self.missing.append(option)
        return None

    def refuse_missing(self) -> None:
        """Name everything that is missing.

        Raises:
            InputError: something is.
        """
        if self.missing:
            raise InputError(
                "these options are needed where nobody can be asked",
                field=", ".join(self.missing),
                remedy="give them, or give the command on a terminal; `bistill new-pair --help` explains them",
            )


def _asking_again(read: Callable[[str], _T]) -> Callable[[str], _T]:
    def reader(word: str) -> _T:
        try:
            return read(word)
        except InputError as error:
            raise click.UsageError(str(error)) from error

    return reader


def _default_teacher() -> str:
    from ..families import MBERT

    return MBERT.model


def _check_codes(codes: Sequence[str]) -> None:
    from ..cards.metadata_check import check_identity

    for place, code in zip(("SOURCE", "TARGET"), codes, strict=True):
        if not re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", code):
            raise InputError("not a language code", field=place, value=code, remedy="give an ISO 639 code, such as yo")
    if codes[0] == codes[1]:
        raise InputError("this is the source language", field="TARGET", value=codes[1], remedy="name another language")
    check_identity("new pair", (codes[0], codes[1]), "apache-2.0", None, None)


def _checked_name(name: str) -> str:
    """Return the pair's name, or refuse one that no pair can have."""
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(
            "not the name of a pair", field="--name", value=name, remedy="write it of letters, digits, '-', '_' and '.'"
        )
    return name


def _default_name(codes: tuple[str, str]) -> str:
    """Name a pair by its languages, and otherwise than a shipped recipe: two of one name run into one folder."""
    from ..recipe_list import names_of_pairs

    name = f"bistill-{'-'.join(codes)}"
    if name not in names_of_pairs():
        return name
    click.echo(f"A recipe that ships with the package is called {name}: this pair is called {name}-mine")
    return f"{name}-mine"


def _license(word: str) -> str:
    """Return the licence, or refuse one that the Hub does not know; `other` is looked at when its name is known."""
    from ..cards.metadata_check import check_identity

    if word != "other":
        check_identity("new pair", ("en", "sw"), word, None, None)
    return word


def _check_license(pair: NewPair) -> None:
    from ..cards.metadata_check import check_identity

    check_identity(pair.name, (pair.source[0], pair.target[0]), pair.license, pair.license_name, pair.license_link)


def _longest_input(teacher: str) -> int | None:
    """What a teacher in a folder reads at most; None for one on the Hub, which is not fetched."""
    from ..checkpoint_files import local_name
    from ..student.backbones import backbone_for
    from ..teacher import load_config

    place = Path(local_name(teacher))
    if place.is_dir():
        config = load_config(str(place))
        return backbone_for(config).longest_input(config)
    if teacher.startswith(("/", ".", "~")) or teacher.count("/") > 1:
        raise InputError("there is no such folder", field="--teacher", value=teacher, remedy="correct the path")
    return None


def _rebuilt_by(teacher: str) -> tuple[str, ...]:
    """Name the classes that build another tokenizer of a teacher in a folder, and print what they do.

    A teacher on the Hub is not fetched: `bistill plan` and `bistill run` tell it where it is here.
    """
    from ..checkpoint_files import local_name
    from ..pipeline.tokenizer_classes import rebuilding_classes
    from ..teacher import load_config, load_tokenizer

    place = Path(local_name(teacher))
    if not place.is_dir():
        return ()
    found = rebuilding_classes(load_tokenizer(str(place)), load_config(str(place)))
    for problem in found.values():
        click.echo(f"teacher.tokenizer_not_by: {problem}; the recipe names it")
    return tuple(found)


def _look(codes: tuple[str, str], teacher: str, offline: bool) -> Offer:
    """Ask the Hub, and print what it and this package have."""
    from ..new_pair.on_the_hub import Offer, look_on_the_hub
    from ..recipe_list import list_recipes

    for recipe in list_recipes(language=codes[1]):
        if recipe.source == codes[0]:
            click.echo(f"A recipe of this pair ships with the package: {recipe.name} ({recipe.teacher})")
    if offline:
        click.echo("The Hub is not asked.")
        _print_teacher(teacher, None)
        return Offer()
    offer = look_on_the_hub(*codes, teacher)
    for problem in offer.problems:
        click.echo(f"The Hub could not be asked ({problem}): going on without it.")
    _print_teacher(teacher, offer.teacher)
    for code in codes:
        if offer.wikipedias is not None:
            there = "has a" if code in offer.wikipedias else "has no"
            click.echo(f"{code}: wikimedia/wikipedia {there} Wikipedia in this language")
        if (found := offer.datasets.get(code)) is not None:
            click.echo(f"{code}: data sets on the Hub: {', '.join(found) or 'none is tagged with this language'}")
        if offer.deltas is not None and not offer.problems:
            click.echo(f"{code}: language SFT for this teacher: {offer.deltas.get(code, 'none')}")
    for name in offer.pairs or ():
        click.echo(f"A pair of these languages is published: {name}")
    return offer


def _print_teacher(teacher: str, found: bool | None) -> None:
    """Say what the name of a teacher that is not here is taken as: a slip is as good a Hub id as any."""
    from ..checkpoint_files import local_name, taken_as_hub_id

    if not Path(local_name(teacher)).is_dir():
        click.echo(f"Teacher: {teacher}: {taken_as_hub_id(teacher, found)}")


def _text(ask: _Asked, offer: Offer, language: tuple[str, str], option: str, given: str | None) -> Place:
    from ..new_pair.choices import text_place
    from ..new_pair.script import Place

    code, name = language
    default = "wikipedia" if offer.wikipedias and code in offer.wikipedias else None
    question = f"Text in {name or code}: a file, wikipedia, or a Hub id as ORG/NAME:CONFIG"

    def read(word: str) -> Place:
        place = text_place(word, code, option)
        if place.wikipedia is not None and offer.wikipedias is not None and code not in offer.wikipedias:
            raise InputError(
                f"wikimedia/wikipedia has no Wikipedia in {code}",
                field=option,
                value=word,
                remedy="name a file, or another data set as ORG/NAME:CONFIG",
            )
        return place

    return ask.get(option, given, question, read, default=default) or Place()


def _by_task(option: str, words: Iterable[str]) -> dict[str, str]:
    """Split `TASK=FILE` words."""
    found: dict[str, str] = {}
    for word in words:
        task, equals, value = word.partition("=")
        if not (task and equals and value):
            raise InputError("not of the form TASK=FILE", field=option, value=word, remedy="write it as ner=FILE")
        if task in found:
            raise InputError("given twice", field=option, value=task, remedy="name one file for each task")
        found[task] = value
    return found


def _named_tasks(given: Mapping[str, Mapping[str, str]]) -> str | None:
    return ",".join(dict.fromkeys(task for words in given.values() for task in words)) or None


def _tasks(wanted: str) -> list[str]:
    from ..tasks import get_task

    names = [] if wanted in ("", "none") else [name.strip() for name in wanted.split(",")]
    for name in names:
        get_task(name)
    return list(dict.fromkeys(names))


def _refuse_labels_of_others(given: Mapping[str, Mapping[str, str]], wanted: Sequence[str]) -> None:
    """Refuse labels of a task that the pair is not to have, which nobody would read.

    Raises:
        InputError: there are such.
    """
    for key, words in given.items():
        for task in words:
            if task not in wanted:
                raise InputError(
                    "these are labels of a task that --tasks does not name",
                    field=_option(key),
                    value=task,
                    remedy="name it there too, or leave this out",
                )


def _sources(
    ask: _Asked, task: str, given: Mapping[str, Mapping[str, str]], codes: tuple[str, str]
) -> dict[str, Place]:
    """Get a task's four sources."""
    from ..new_pair.choices import FIELDS, default_for, labels_place, tests_for

    tests = tests_for(task, codes[1])
    click.echo(f"{task}: known test sets in {codes[1]}: {', '.join(tests) or 'none'}")
    places = {}
    for key in FIELDS:
        option = f"{_option(key)} {task}=FILE"

        def read(word: str, key: str = key, option: str = option) -> Place:
            return labels_place(word, key, codes, option)

        default = default_for(task, key, codes)
        question = f"{task}: {_LABELS[key]}, a file or a benchmark"
        place = ask.get(option, given.get(key, {}).get(task), question, read, default=default)
        if place is not None:
            places[key] = place
    return places


def _looked_at(pair: NewPair) -> NewPair:
    """Look at a local teacher's tokenizer and at local files, print what is to be known of them, and take it in.

    Classes that build another tokenizer are named, and types of names that training lacks are renamed.
    """
    from ..new_pair.choices import FIELDS, in_short, source_of
    from ..new_pair.local_files import look_at_task, look_at_text
    from ..sources import TextSource

    not_by = _rebuilt_by(pair.teacher)
    for role, place in zip(("source", "target"), pair.texts, strict=True):
        told = in_short(place)
        if place.path is not None:
            told = str(look_at_text(TextSource(path=place.path), f"--{role}-text"))
        click.echo(f"{role}.text: {told}")
    tasks = {}
    for task, places in pair.tasks.items():
        fields = {key: f"{_option(key)} {task}" for key in FIELDS}
        seen = look_at_task(task, {key: source_of(place) for key, place in places.items()}, fields)
        for key, place in places.items():
            told = _in_text(pair, task, key) if key in seen else ""
            click.echo(f"tasks.{task}.{key}: {seen.get(key, in_short(place))}{told}")
        tasks[task] = {
            key: replace(place, label_map=seen[key].renamed) if key in seen else place for key, place in places.items()
        }
    return replace(pair, not_by=not_by, tasks=tasks)


def _in_text(pair: NewPair, task: str, key: str) -> str:
    """Say whether the sentences of a test set are in the text of their language; nothing where that cannot be seen."""
    from ..new_pair.choices import source_of
    from ..new_pair.local_files import count_in_text
    from ..sources import TextSource

    texts = {"test_source": pair.texts[0], "test_target": pair.texts[1]}
    if key not in texts or texts[key].path is None:
        return ""
    text = TextSource(path=texts[key].path)
    count = count_in_text(task, source_of(pair.tasks[task][key]), text)
    if count is None:
        return ""
    return f"; {text.name} holds {f'{count:,} of them: remove them there' if count else 'none of them'}"


def _unverified(pair: NewPair, offer: Offer, card: str) -> tuple[str, ...]:
    from ..new_pair.choices import unverified_facts

    return unverified_facts(pair, offer, card)


def _print_next(pair: NewPair, script: Path, card: Path) -> None:
    from ..new_pair.choices import commands

    click.echo(f"Recipe: {script}")
    click.echo(f"Text for the card, to be filled in: {card}")
    click.echo("Next:")
    steps = commands(script, pair.name)
    width = max(map(len, steps.values()))
    for purpose, command in steps.items():
        click.echo(f"  {command:<{width}}  # {purpose}")
