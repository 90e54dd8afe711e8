"""What a new pair may be made of: words of the command line as sources, and what is known for a language and task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..checkpoint_files import local_name
from ..errors import InputError
from ..evaluation.benchmarks import BENCHMARKS, Benchmark, benchmark
from ..languages import other_code
from ..sources import LabelledSource, TextSource
from .on_the_hub import Offer
from .script import NewPair, Place

FIELDS = ("train", "validation", "test_source", "test_target")
"""A task's sources, in the order of a recipe."""

_SPLITS = {"train": "train", "validation": "dev", "test_source": "test", "test_target": "test"}
_TRAINING = {"ner": "universal_ner", "nli": "multinli", "qa": "squad"}
"""Open training data in English, by task."""

_OUTSIDE = "O"
"""The tag of tokens that belong to no name."""

_WIKIPEDIA = ("wikipedia", "wikimedia/wikipedia")
_TEXT_ENDINGS = (".txt", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_DATASET = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")


def text_place(word: str, code: str, option: str) -> Place:
    """Read a word that names text.

    Args:
        word: A file, `wikipedia`, or a Hub id, with a configuration behind a colon.
        code: The language's code.
        option: The option that the word was given to, for errors.

    Raises:
        InputError: there is no such file, and it is no Hub id.
    """
    if word in _WIKIPEDIA:
        return Place(wikipedia=code)
    like_a_file = word.startswith(("/", ".", "~", "$")) or word.lower().endswith(_TEXT_ENDINGS)
    local = like_a_file or Path(local_name(word)).exists()
    if not local and (match := _DATASET.fullmatch(word)):
        return Place(dataset=(match[1], match[2]))
    TextSource(path=word).check(option)
    return Place(path=word)


def labels_place(word: str, field: str, codes: tuple[str, str], option: str) -> Place:
    """Read a word that names labelled data.

    Args:
        word: A file, or the name of a benchmark.
        field: The source's field in a recipe.
        codes: Of source and target language.
        option: The option that the word was given to, for errors.

    Raises:
        InputError: there is no such file or benchmark, or the benchmark has no such language or split.
    """
    if word not in BENCHMARKS:
        if not Path(word).suffix and not Path(local_name(word)).exists():
            raise InputError(
                "neither a file nor a benchmark",
                field=option,
                value=word,
                remedy=f"correct the path, or choose one of {', '.join(BENCHMARKS)}",
            )
        LabelledSource(path=word).check(option)
        return Place(path=word)
    code = _own_code(BENCHMARKS[word], codes[field == "test_target"])
    benchmark(word, code, _SPLITS[field])
    return Place(benchmark=(word, code, _SPLITS[field]))


def source_of(place: Place) -> LabelledSource:
    """Return the source that a recipe will have."""
    if place.benchmark is not None:
        return benchmark(*place.benchmark)
    return LabelledSource(path=place.path, label_map=dict(place.label_map))


def tests_for(task: str, code: str) -> tuple[str, ...]:
    """Name the benchmarks that have a test set of a task in a language."""
    return tuple(each.name for each in _with(task, code) if "test" in each.splits)


def default_for(task: str, field: str, codes: tuple[str, str]) -> str | None:
    """Name the benchmark that a source is best taken from, None where there is none."""
    if field == "test_target":
        return next(iter(tests_for(task, codes[1])), None)
    if codes[0] not in ("en", "eng"):
        return None
    if field != "test_source":
        return _TRAINING.get(task)
    # Beside the target's own test set, where that has English; or else of the data that are trained on.
    wanted = [default_for(task, "test_target", codes), _TRAINING.get(task)]
    known = tests_for(task, codes[0])
    return next((name for name in wanted if name in known), next(iter(known), None))


def unverified_facts(pair: NewPair, offer: Offer, card: str) -> tuple[str, ...]:
    """List what nobody has checked of a new pair.

    Args:
        pair: The pair.
        offer: What the Hub told.
        card: Name of the file with the text for its card.
    """
    return tuple(_facts(pair, offer, card))


def _facts(pair: NewPair, offer: Offer, card: str) -> Iterator[str]:
    if not Path(local_name(pair.teacher)).is_dir():
        yield "teacher.model: it was not loaded, and its licence was not looked up"
    if pair.deltas:
        yield "teacher.language_deltas: listed on the Hub; not downloaded, and no licence is known of them"
    for role, (code, _), place in zip(("source", "target"), (pair.source, pair.target), pair.texts, strict=True):
        if place.wikipedia is not None and not (offer.wikipedias and code in offer.wikipedias):
            yield f"{role}.text: whether there is such a Wikipedia on the Hub was not looked up"
        if place.dataset is not None:
            yield f"{role}.text: the split, columns and licence of {place.dataset[0]} were not looked at"
    for task, places in pair.tasks.items():
        by_name: dict[str, list[str]] = {}
        for field, place in places.items():
            if place.benchmark is not None:
                by_name.setdefault(place.benchmark[0], []).append(f"tasks.{task}.{field}")
        for field, place in places.items():
            if lost := [old for old, new in place.label_map.items() if new == _OUTSIDE]:
                yield f"tasks.{task}.{field}: {', '.join(lost)} is read as {_OUTSIDE}, for training has no such label"
        for name, fields in by_name.items():
            known = BENCHMARKS[name]
            unsure = f", nor its {' and '.join(known.unverified)} confirmed" if known.unverified else ""
            yield f"{', '.join(fields)}: {known.dataset} was not looked at{unsure}; licence: {known.licence}"
    yield "license: whether those of text, labels and teacher allow it"
    yield "student, bilingual, tasks: not tried on this pair; the paper's settings where nothing changes them"
    yield f"limits: {card} is a stub, with places to fill in"


def _with(task: str, code: str) -> list[Benchmark]:
    codes = {code, other_code(code)}
    return [each for each in BENCHMARKS.values() if each.task == task and codes & set(each.languages)]


def _own_code(known: Benchmark, code: str) -> str:
    """The language's code as the benchmark writes it."""
    other = other_code(code)
    return other if other is not None and code not in known.languages and other in known.languages else code


def in_short(place: Place) -> str:
    """Name a source in a few words."""
    if place.benchmark is not None:
        return " ".join(place.benchmark)
    if place.wikipedia is not None:
        return f"wikimedia/wikipedia, {place.wikipedia}"
    if place.dataset is not None:
        return " ".join(part for part in place.dataset if part)
    return str(place.path)


def commands(script: Path, name: str) -> Mapping[str, str]:
    """Say what comes next, by what it is for."""
    from shlex import join

    file, run = str(script), Path("runs") / name
    return {
        "what a run will do": join(["bistill", "plan", file]),
        "minutes, on a sample": join(["bistill", "run", file, "--smoke"]),
        "the pair": join(["bistill", "run", file]),
        "whether it can be published": join(["bistill", "check", str(run / "package" / "repository")]),
        "for review": f"{join(['bistill', 'push', str(run / 'package' / 'repository')])} ORG/{name} --create-pr",
    }
