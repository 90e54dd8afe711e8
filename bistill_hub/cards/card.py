"""A pair's card: rendered from facts alone, so that equal facts give equal text, and nothing is looked up."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from .eval_results import FOLDER as EVAL_RESULTS_FOLDER
from .eval_results import eval_results_files
from .facts import FACTS_FILE, CardFacts, read_facts, write_facts
from .front_matter import write_yaml
from .metadata import card_metadata, is_hub_id
from .metadata_check import check_metadata
from .pictures import (
    coverage_text,
    draw_coverage,
    draw_losses,
    draw_retention,
    losses_text,
    retention_text,
)
from .rendering import template
from .sections import LIMITS, keep_sections, merge_sections, read_sections
from .tables import evaluation, kept_quality, main_speed, speed_rows, stage_loss, was_crowded

CARD_FILE = "README.md"
PICTURES_FOLDER = "assets"
_OF_A_PAIR = ("source", "target", "teacher")
"""Facts that stay where a pair is given another name."""


@dataclass(frozen=True)
class Picture:
    """A picture of a card.

    Attributes:
        name: File name in `assets`.
        text: What it shows, for those who do not see it.
        draw: Writes the PNG file.
    """

    name: str
    text: str
    draw: Callable[[Path], object]


def render_card(facts: CardFacts) -> str:
    """Render the card of a pair.

    Args:
        facts: What it states.

    Returns:
        Markdown with the Hub's metadata block.

    Raises:
        InputError: there is no licence, or nothing is said of limits and biases.
    """
    for name in ("license", "limits"):
        if not getattr(facts, name).strip():
            raise InputError(
                "a card cannot do without it",
                file=facts.name,
                field=name,
                value=getattr(facts, name),
                remedy="write it",
            )
    if facts.teacher is not None and not is_hub_id(facts.teacher):
        facts = replace(facts, teacher=None, teacher_revision=None)  # a folder is no name that others could use
    metadata = card_metadata(facts, license_name=facts.license_name, license_link=facts.license_link)
    body = template("pair.md.j2").render(
        facts=facts,
        metadata=write_yaml(metadata).strip(),
        pictures=dict.fromkeys(("retention", "vocabulary", "losses"))
        | {picture.name.partition(".")[0]: picture for picture in pictures_of(facts)},
        folder=PICTURES_FOLDER,
        tasks=sorted(facts.tasks),
        export_command=_export_command(facts),
        fence=_fence,
        evaluation=evaluation(facts),
        speeds=speed_rows(facts.size_and_speed),
        main=main_speed(facts.size_and_speed),
        crowded=was_crowded(facts.size_and_speed),
        stage_loss=stage_loss,
    )
    # A block that renders to nothing leaves its empty lines.
    return re.sub(r"\n{3,}", "\n\n", body).rstrip("\n") + "\n"


def pictures_of(facts: CardFacts) -> tuple[Picture, ...]:
    """Return the pictures for which there is something to show."""
    pictures = []
    kept, fastest = kept_quality(facts), main_speed(facts.size_and_speed)
    if kept and not facts.smoke:
        size = facts.student_size.parameters / facts.teacher_size.parameters
        speed = None if fastest is None else fastest.ratio.median
        pictures.append(
            Picture(
                "retention.png",
                retention_text(kept, parameters=size, speed=speed),
                lambda file: draw_retention(kept, file, parameters=size, speed=speed),
            )
        )
    if languages := facts.vocabulary.get("languages"):
        vocabulary = {**facts.vocabulary, "languages": dict(sorted(languages.items()))}
        pictures.append(
            Picture("vocabulary.png", coverage_text(vocabulary), lambda file: draw_coverage(vocabulary, file))
        )
    curves = [curve for curve in facts.curves if any(entries for _, entries in curve.stages)]
    if curves:
        pictures.append(Picture("losses.png", losses_text(curves), lambda file: draw_losses(curves, file)))
    return tuple(pictures)


def rendered_card(repository: Path) -> str:
    """Render a repository's card from the facts and scores in it, with the human-written sections of its present card.

    Args:
        repository: The pair's folder.

    Raises:
        InputError: facts or scores are missing or damaged, or the present card's sections are.
    """
    card = render_card(read_facts(repository))
    file = repository / CARD_FILE
    return keep_sections(read_card(file), card, file=file) if file.is_file() else card


def write_card(repository: Path, facts: CardFacts) -> None:
    """Write what readers see of a pair: `README.md`, its pictures, `card.json`, and entries for the Hub's benchmarks.

    What people wrote between the markers of a card that is there already is kept. Scores, size and speed are not
    written: they are in their own files, and the facts' have to be those.

    Args:
        repository: The pair's folder.
        facts: What the card states.

    Raises:
        InputError: the card lacks what it must state, or the present card's markers are wrong.
    """
    card, file = render_card(facts), repository / CARD_FILE
    if file.is_file():
        card = keep_sections(read_card(file), card, file=file)
    if problems := check_metadata(card, file=facts.name):
        raise problems[0].error()
    for folder in (PICTURES_FOLDER, EVAL_RESULTS_FOLDER):
        shutil.rmtree(repository / folder, ignore_errors=True)
    for picture in pictures_of(facts):
        (repository / PICTURES_FOLDER).mkdir(exist_ok=True)
        picture.draw(repository / PICTURES_FOLDER / picture.name)
    for name, text in eval_results_files(facts.results).items():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(text, encoding="utf-8")
    write_facts(repository, facts)
    file.write_text(card, encoding="utf-8", newline="")


def carry_written(former: Path, repository: Path) -> None:
    """Bring what people wrote in the card of an earlier package into that of the next one, if it is of the same pair.

    What the template wrote on limits is not carried, since the recipe may say something else now.

    Args:
        former: The earlier package; it need not exist.
        repository: The next one, with card and `card.json`.

    Raises:
        InputError: the earlier card's markers are wrong.
    """
    file = former / CARD_FILE
    was, now = _told(former / FACTS_FILE), _told(repository / FACTS_FILE)
    same_pair = all(name in was and was[name] == now[name] for name in _OF_A_PAIR)
    if not file.is_file() or not (same_pair or was.get("name") == now["name"]):
        return
    theirs, ours = read_card(file), read_card(repository / CARD_FILE)
    written = rendered_limits(former / FACTS_FILE)
    if written is not None and read_sections(theirs, file=file).get(LIMITS) == f"{written}\n":
        told = {LIMITS: f"{now['limits']}\n"}
        card = merge_sections(ours, theirs, written_by_us=told, written_by_them={LIMITS: f"{written}\n"}, file=file)
    else:
        card = keep_sections(theirs, ours, file=file)
    (repository / CARD_FILE).write_text(card, encoding="utf-8", newline="")


def rendered_limits(file: Path) -> str | None:
    """What the template wrote on limits, by the facts of a card; None where they cannot be read.

    Args:
        file: A `card.json`, of whatever version.
    """
    limits = _told(file).get("limits")
    return None if limits is None else str(limits)


def _told(file: Path) -> Mapping[str, Any]:
    """What stands in a `card.json`; nothing where it cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_card(file: Path) -> str:
    """Read a card with its line ends as they are."""
    with file.open(encoding="utf-8", newline="") as text:
        return text.read()


def rename_pair(repository: Path, name: str) -> None:
    """Give a pair another name on its card, such as its id on the Hub, which the snippets then load.

    Args:
        repository: The pair's folder.
        name: The name.
    """
    write_card(repository, replace(read_facts(repository), name=name))


def _export_command(facts: CardFacts) -> str:
    task = ["--task", min(facts.tasks)] if facts.tasks else []
    return shlex.join(["bistill", "export", facts.name, *task, "--to", "plain-checkpoint"])


def _fence(text: str) -> str:
    """Return a code fence that the text cannot close."""
    return "```" if "```" not in text else "`" * (len(text) + 1)
