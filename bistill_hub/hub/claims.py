"""What a pair says that no check can verify, gathered for the person who has to read it: licences, limits, origins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..cards.card import CARD_FILE, read_card
from ..cards.facts import FACTS_FILE
from ..cards.front_matter import FRONT_MATTER, parse_yaml
from ..cards.sections import LIMITS, read_section
from ..errors import InputError
from ..evaluation.benchmarks import BENCHMARKS
from ..teacher import LEGACY_PREFIX
from .pair_folder import CONFIG_FILE, RECIPE_FILE, PairFolder

_NOT_RECORDED = "not recorded in the pair, nor known to this package; see its page on the Hub"


@dataclass(frozen=True)
class Claim:
    """Something that a pair says of itself, and of which no program can tell whether it is true.

    Attributes:
        file: The file that says it.
        what: What it is about: `license`, `limits`, `unverified`, a field of the recipe, or whose licence it is.
        value: What is said.
    """

    file: str
    what: str
    value: str


def claims_of(pair: PairFolder) -> tuple[Claim, ...]:
    """Gather what a person has to read; what is missing or cannot be read is left out, as findings tell of it."""
    recipe = pair.read_json(RECIPE_FILE)
    return tuple(
        dict.fromkeys(
            (
                *_license(pair),
                *_models(recipe, pair.fields.get("teacher")),
                *_data(recipe, RECIPE_FILE, ""),
                *_added_data(pair),
                *_unverified(recipe),
                *_limits(pair),
            )
        )
    )


def _license(pair: PairFolder) -> Iterator[Claim]:
    block = FRONT_MATTER.match(_card(pair))
    try:
        metadata = parse_yaml(block[2]) if block else None
    except InputError:
        return
    if isinstance(metadata, dict):
        for field in ("license", "license_name", "license_link"):
            if isinstance(value := metadata.get(field), str):
                yield Claim(CARD_FILE, field, value)


def _models(recipe: Mapping[str, Any], stated: Any) -> Iterator[Claim]:
    """Whose licences the teacher and what was added to it have; a teacher of which config.json knows no id is local."""
    for field, name in _named_models(recipe):
        public = name == stated if field == "teacher.model" else "/" in name
        model = name.removeprefix(LEGACY_PREFIX)
        if not public:
            yield Claim(RECIPE_FILE, field, f"{model}, a folder or file on the publisher's machine")
        elif field == "teacher.model":
            yield Claim(CONFIG_FILE, f"licence of the teacher {model}", _NOT_RECORDED)
        else:
            yield Claim(RECIPE_FILE, f"licence of {model}", _NOT_RECORDED)


def _named_models(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    teacher = _mapping(recipe.get("teacher"))
    named = {"teacher.model": teacher.get("model")}
    deltas = _mapping(teacher.get("language_deltas"))
    named |= {f"teacher.language_deltas.{code}": name for code, name in deltas.items()}
    for task in map(_mapping, _list(recipe.get("tasks"))):
        of_task = _mapping(task.get("teacher"))
        named |= {f"tasks.{task.get('name')}.teacher.{part}": of_task.get(part) for part in ("model", "delta")}
    yield from ((field, name) for field, name in named.items() if isinstance(name, str))


def _data(fields: Any, file: str, place: str) -> Iterator[Claim]:
    """Of each source in a recipe's fields: the file, if it was one, or else the data set's licence as far as known."""
    if isinstance(fields, list):
        for number, entry in enumerate(fields):
            name = entry.get("name", number) if isinstance(entry, dict) else number
            yield from _data(entry, file, f"{place}.{name}")
    elif isinstance(fields, dict) and {"path", "dataset"} <= set(fields):
        if isinstance(path := fields["path"], str):
            hashed = f", SHA-256 {sha256[:12]}" if isinstance(sha256 := fields.get("sha256"), str) else ""
            yield Claim(file, place, f"{path}, a file on the publisher's machine{hashed}")
        elif isinstance(dataset := fields["dataset"], str):
            yield Claim(file, f"licence of {dataset}", _known_licence(dataset))
    elif isinstance(fields, dict):
        for name, entry in fields.items():
            yield from _data(entry, file, f"{place}.{name}" if place else name)


def _known_licence(dataset: str) -> str:
    known = next((each for each in BENCHMARKS.values() if each.dataset == dataset), None)
    if known is None:
        return _NOT_RECORDED
    return f"{known.licence}, as this package knows it{', unverified' if 'licence' in known.unverified else ''}"


def _added_data(pair: PairFolder) -> Iterator[Claim]:
    """The same of tasks that were added later: card.json holds their recipes."""
    for name, task in _mapping(pair.read_json(FACTS_FILE).get("tasks")).items():
        recipe = _mapping(_mapping(_mapping(task).get("added")).get("recipe"))
        yield from _data(dict(recipe), FACTS_FILE, f"tasks.{name}")


def _unverified(recipe: Mapping[str, Any]) -> Iterator[Claim]:
    yield from (Claim(RECIPE_FILE, "unverified", str(fact)) for fact in _list(recipe.get("unverified")))


def _limits(pair: PairFolder) -> Iterator[Claim]:
    try:
        limits = read_section(_card(pair), LIMITS).strip()
    except InputError:
        return
    if limits:
        yield Claim(CARD_FILE, LIMITS, limits)


def _card(pair: PairFolder) -> str:
    try:
        return read_card(pair.folder / CARD_FILE)
    except (OSError, UnicodeDecodeError):
        return ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
