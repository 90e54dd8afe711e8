"""Checks of what a pair says of itself: its scores belong to its weights, and its card says what its files say."""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import Any

from ..cards.card import CARD_FILE, read_card, render_card
from ..cards.eval_results import FOLDER as EVAL_RESULTS_FOLDER
from ..cards.eval_results import eval_results_files
from ..cards.facts import FACTS_FILE, CardFacts, read_facts
from ..cards.front_matter import FRONT_MATTER, parse_yaml
from ..cards.metadata import card_metadata, is_hub_id
from ..cards.metadata_check import check_metadata
from ..cards.sections import LIMITS, TO_FILL_IN, keep_sections, read_section
from ..evaluation.results import RESULTS_FILE, Result, read_results
from ..model.modeling_bistill import BASE_FILE
from ..version import __version__
from .check_facts import check_computed_with, check_facts
from .pair_folder import CONFIG_FILE, PairFolder, delta_file, results_file
from .released import released_code
from .report import Finding, Findings

_RESULTS = re.compile(rf"tasks/([a-z0-9_-]+)/{re.escape(RESULTS_FILE)}")
_PICTURE = re.compile(r"!\[[^\]\n]*\]\(\s*<?([^)\s>]+)|<img[^<>]*\ssrc\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_SOMEBODYS_PATH = re.compile(
    r"(?<![\w./:-])(?:/(?:home|Users|root|tmp|mnt|var|private)/|~/)[^\s\"'`)]*|\bfile:/[^\s\"'`)]*|\b[A-Za-z]:\\+Users\\[^\s\"'`)]*"
)
_RECIPE_FILE = "recipe.json"
_TOLD = (CARD_FILE, FACTS_FILE, _RECIPE_FILE)
_EVALUATE_AGAIN = "evaluate the packaged model again"
_RENDER_AGAIN = "render the card again; what people write belongs between its markers"
_ROUNDING = 1e-9

SMOKE_RUN = Finding(
    "card",
    _RECIPE_FILE,
    "this is a smoke run, of a sample of the data and few steps: its scores say nothing about the pair",
    "run the recipe without --smoke, and publish that",
)
"""What is found of every smoke run."""


def check_results(pair: PairFolder, findings: Findings) -> None:
    """See that each score is one of these weights, of a task that is there and computed with what is here, possible."""
    with findings.within(FACTS_FILE, "it does not tell what the scores were computed with", "package the run again"):
        check_computed_with(pair, findings)
    for name in pair.files:
        found = _RESULTS.fullmatch(name)
        if found is None:
            continue
        task = found[1]
        if delta_file(task) not in pair.files:
            findings.add(name, f"results of {task}, of which there is no delta", "remove them, or restore the task")
        with findings.within(name, "it cannot be read", _EVALUATE_AGAIN):
            for result in read_results(pair.folder / name):
                with findings.within(
                    name, f"the result of {result.model} on {result.language} cannot be checked", _EVALUATE_AGAIN
                ):
                    _check_result(pair, name, task, result, findings)


def _check_result(pair: PairFolder, name: str, task: str, result: Result, findings: Findings) -> None:
    where = f"{result.model} on {result.language}"
    if result.task != task:
        findings.add(name, f"{where}: task = {result.task!r}: the folder is that of {task}", _EVALUATE_AGAIN)
    roles = {pair.fields.get("source_language"): "source", pair.fields.get("target_language"): "target"}
    if roles.get(result.language) != result.role:
        findings.add(name, f"{where}: role = {result.role!r}: {CONFIG_FILE} has the languages {roles}", _EVALUATE_AGAIN)
    for problem in _impossible(result):
        findings.add(name, f"{where}: {problem}", _EVALUATE_AGAIN)
    if result.model == "student" and {delta_file(task), BASE_FILE} <= set(pair.files):
        packaged = pair.weights_sha256(task)
        if result.weights_sha256 != packaged:
            findings.add(
                name,
                f"{where}: weights_sha256 = {result.weights_sha256!r}: the weights here have the hash {packaged}",
                "restore base and delta, or evaluate the model that is here",
            )


def _impossible(result: Result) -> list[str]:
    """What cannot be of a result's numbers."""
    main: dict[str, Any] = {name: getattr(result, name) for name in ("score", "low", "high", "trivial")}
    problems = [
        f"{name} = {value}: not a fraction"
        for name, value in main.items()
        if not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1)
    ]
    problems += [
        f"scores.{name} = {value}: not a finite number"
        for name, value in result.scores.items()
        if not (isinstance(value, int | float) and math.isfinite(value))
    ]
    if not isinstance(result.n, int) or result.n < 1:
        problems.append(f"n = {result.n}: not a number of examples")
    if problems:
        return problems
    if not result.low - _ROUNDING <= result.score <= result.high + _ROUNDING:
        problems.append(f"score = {result.score}: outside its interval, {result.low} to {result.high}")
    if abs(result.scores.get(result.metric, math.inf) - result.score) > _ROUNDING:
        problems.append(f"score = {result.score}: scores.{result.metric} is {result.scores.get(result.metric)}")
    return problems


def check_card(pair: PairFolder, findings: Findings) -> None:
    """Compare the card with the files that it is rendered from, and see that it says what it must."""
    for name in (name for name in _TOLD if name in pair.files):
        with findings.within(name, "it cannot be read", "package the run again"):
            if path := _SOMEBODYS_PATH.search(read_card(pair.folder / name)):
                findings.add(name, f"it names {path[0]!r}, a path on somebody's machine", "name the file alone")
    if any(pair.read_json(name).get("smoke") for name in (_RECIPE_FILE, FACTS_FILE)):
        findings.add(SMOKE_RUN.file, SMOKE_RUN.problem, SMOKE_RUN.remedy)
    if CARD_FILE not in pair.files:
        return
    with findings.within(CARD_FILE, "it cannot be read", _RENDER_AGAIN):
        card = read_card(pair.folder / CARD_FILE)
        for problem in check_metadata(card):
            value = "" if problem.value is None else f" = {problem.value!r}"
            findings.add(CARD_FILE, f"{problem.field}{value}: {problem.problem}", problem.remedy)
        _check_limits(card, findings)
        _check_teacher(pair, card, findings)
        _check_shown(pair, card, findings)
        _check_rendered(pair, card, findings)


def _check_limits(card: str, findings: Findings) -> None:
    with findings.within(CARD_FILE, "its sections cannot be read", "mend the section's markers"):
        limits = read_section(card, LIMITS).strip()
        if not limits:
            findings.add(CARD_FILE, "nothing is said of limits and biases", "write it between the section's markers")
        if count := limits.count(TO_FILL_IN):
            findings.add(
                CARD_FILE,
                f"on limits and biases, {count} place{'s' if count > 1 else ''} marked {TO_FILL_IN!r} "
                f"{'are' if count > 1 else 'is'} still to be filled in",
                "write what is asked for there, in the recipe's limits, and give its `bistill run` command again",
            )


def _check_teacher(pair: PairFolder, card: str, findings: Findings) -> None:
    """The metadata names the teacher of which config.json says that the student was cut out."""
    teacher = pair.fields.get("teacher")
    if isinstance(teacher, str) and is_hub_id(teacher) and (stated := _metadata(card).get("base_model")) != teacher:
        findings.add(CARD_FILE, f"base_model = {stated!r}: {CONFIG_FILE} names the teacher {teacher!r}", _RENDER_AGAIN)


def _check_shown(pair: PairFolder, card: str, findings: Findings) -> None:
    """Pictures and results that the card shows are there."""
    for found in _PICTURE.finditer(card):
        name = (found[1] or found[2]).removeprefix("./")
        if not _ADDRESS.match(name) and name not in pair.files:
            findings.add(name, "the card shows this picture, which is missing", "draw it again, or take it out")
    models = _metadata(card).get("model-index")
    entries = (
        [entry for model in models if isinstance(model, dict) for entry in model.get("results") or ()]
        if isinstance(models, list)
        else []
    )
    shown = {entry.get("task", {}).get("name") for entry in entries if isinstance(entry, dict)}
    for task in sorted(str(name) for name in shown if name and results_file(str(name)) not in pair.files):
        findings.add(results_file(task), f"the card shows scores of {task}, and the file is missing", _EVALUATE_AGAIN)


def _check_rendered(pair: PairFolder, card: str, findings: Findings) -> None:
    """The card is what its facts and scores render to; that of another release at least has their scores."""
    if FACTS_FILE not in pair.files:
        return
    facts = None
    with findings.within(FACTS_FILE, "the card cannot be rendered from it", "package the run again"):
        facts = read_facts(pair.folder)
    if facts is None:
        return
    check_facts(pair, facts, findings)
    other_release = _other_release(pair, findings)
    with findings.within(CARD_FILE, "it cannot be rendered from facts and scores", _RENDER_AGAIN):
        _check_entries(pair, facts, findings)
        expected = keep_sections(card, render_card(facts), file=CARD_FILE)
        if card == expected:
            return
        if other_release is None:
            findings.add(CARD_FILE, _difference(card, expected), _RENDER_AGAIN)
            return
        scores = card_metadata(facts, license_name=facts.license_name, license_link=facts.license_link)
        if _metadata(card).get("model-index") != scores.get("model-index"):
            findings.add(CARD_FILE, "the scores of its metadata are not those of the results", _RENDER_AGAIN)
        pair.notes.append(
            f"The card is not what bistill-hub {__version__} renders, and the pair was written by {other_release}: "
            "the scores of its metadata were compared, its text was not."
        )


def _other_release(pair: PairFolder, findings: Findings) -> str | None:
    """The release that wrote the pair, if it is known and another one: only a release's cards may read differently."""
    writer = pair.fields.get("written_by")
    if isinstance(writer, str) and writer in released_code():
        return None if writer == __version__ else writer
    if pair.fields:
        problem = f"written_by = {writer!r}: no release that bistill-hub {__version__} knows"
        remedy = "restore the packaged configuration; or upgrade bistill-hub if it is a newer one"
        findings.add(CONFIG_FILE, problem, remedy)
    return None


def _check_entries(pair: PairFolder, facts: CardFacts, findings: Findings) -> None:
    """The entries for the Hub's benchmarks are those of the results."""
    expected = eval_results_files(facts.results)
    for name in sorted({*expected, *(name for name in pair.files if name.startswith(f"{EVAL_RESULTS_FOLDER}/"))}):
        there = (pair.folder / name).read_bytes() if name in pair.files else None
        if there != expected.get(name, "").encode():
            said = "not what the results give" if name in expected else "the results give no such entry"
            findings.add(name, said if there is not None else "the file is missing", _RENDER_AGAIN)


def _difference(card: str, expected: str) -> str:
    pairs = zip_longest(card.split("\n"), expected.split("\n"))
    number, (found, wanted) = next((place, lines) for place, lines in enumerate(pairs, 1) if lines[0] != lines[1])
    return f"line {number} is {_cut(found)}, and the files say {_cut(wanted)}"


def _cut(line: str | None, limit: int = 160) -> str:
    if line is None:
        return "not there"
    return repr(line if len(line) <= limit else f"{line[: limit - 3]}...")


def _metadata(card: str) -> dict[str, Any]:
    """The card's metadata; empty where there are none that can be read, which `check_metadata` says."""
    from ..errors import InputError

    block = FRONT_MATTER.match(card)
    try:
        metadata = parse_yaml(block[2], field="metadata") if block else {}
    except InputError:
        return {}
    return metadata if isinstance(metadata, dict) else {}
