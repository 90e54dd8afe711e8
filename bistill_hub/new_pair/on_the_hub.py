"""Looks at what the Hub offers for two languages: text, data sets, language SFTs, pairs that there are already.

It is first seen whether the Hub answers at all, and nothing is waited for longer than some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..checkpoint_files import local_name
from ..errors import first_line
from ..families import MBERT, WIKIPEDIA_REVISION, XLM_R
from ..languages import other_code

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SECONDS = 20.0
"""How long the answers are waited for, all together."""

FIRST_SECONDS = 5.0
"""How long the first answer is waited for, which tells whether there is a network."""

_WIKIPEDIA = "wikimedia/wikipedia"
_DUMP = "20231101."
_LISTED = 5
_DELTAS = {MBERT.model: "mbert-lang-sft", XLM_R.model: "xlmr-lang-sft"}
"""How the language SFTs of the method's authors are called, by teacher."""

_DELTA_AUTHOR = "cambridgeltl"
_LEGACY = "legacy:"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the Hub has; what could not be asked is None.

    Attributes:
        wikipedias: Codes of the languages that have a Wikipedia there.
        datasets: By language, the data sets with most downloads that are tagged with it.
        deltas: By language, a language SFT for the teacher, as a recipe names it.
        pairs: Published pairs of the two languages.
        teacher: Whether there is a model of the teacher's name, where no folder here has it.
        problems: Why something could not be asked.
    """

    wikipedias: frozenset[str] | None = None
    datasets: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    deltas: Mapping[str, str] | None = None
    pairs: tuple[str, ...] | None = None
    teacher: bool | None = None
    problems: tuple[str, ...] = ()


def look_on_the_hub(
    source: str, target: str, teacher: str, *, endpoint: str | None = None, seconds: float = SECONDS
) -> Offer:
    """Ask the Hub what it has for a pair. Nothing is downloaded, and nothing is raised.

    Args:
        source: Code of the source language.
        target: Code of the target language.
        teacher: The teacher's Hub id, or its folder, for which it is not asked; for others than those of the method's
            paper no language SFTs are known.
        endpoint: The Hub's address; None for the client's.
        seconds: How long to wait.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint)
    questions: dict[str, Callable[[], Any]] = {
        "wikipedias": lambda: _wikipedias(api),
        "pairs": lambda: _models(api, filter=["bistill", f"pair:{source}-{target}"]),
        "source": lambda: _datasets(api, source),
        "target": lambda: _datasets(api, target),
    }
    if not Path(local_name(teacher)).is_dir():
        questions["teacher"] = lambda: _has_model(api, teacher)
    if teacher in _DELTAS:
        questions["deltas"] = lambda: _deltas(api, _DELTAS[teacher], (source, target))
    answers = _asked(api, questions, seconds)
    problems = [answer for answer in answers.values() if isinstance(answer, Exception)]
    known = {name: None if isinstance(answer, Exception) else answer for name, answer in answers.items()}
    return Offer(
        wikipedias=known.get("wikipedias"),
        datasets={source: known.get("source"), target: known.get("target")},
        deltas=known.get("deltas") if teacher in _DELTAS else {},
        pairs=known.get("pairs"),
        teacher=known.get("teacher"),
        problems=tuple(dict.fromkeys(map(_reason, problems))),
    )


def _asked(api: HfApi, questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Ask one after the other; the answers by name, of which some are exceptions, or the one that ended the asking."""
    answers: dict[str, Any] = {}

    def ask() -> None:
        with _quiet():
            try:
                _greet(api)
            except Exception as error:  # what the client raises without a network is anything
                answers["greeting"] = error
                return
            for name, question in questions.items():
                try:
                    answers[name] = question()
                except Exception as error:
                    answers[name] = error

    # In a thread of its own, which the program does not wait for at its end: the client has no time limit.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        answers["end"] = TimeoutError(f"no answer within {seconds:g} seconds")
    return dict(answers)


def _greet(api: HfApi) -> None:
    """Ask something small once; the client asks everything else up to six times."""
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    hf_raise_for_status(get_session().get(f"{api.endpoint}/api/models", params={"limit": 1}, timeout=FIRST_SECONDS))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client from telling that it tries again."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    from ..first_contact import NoConnectionError

    if isinstance(error, OfflineModeIsEnabled) and not isinstance(error, NoConnectionError):
        return "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
    return first_line(error).rstrip(".")


def _wikipedias(api: HfApi) -> frozenset[str]:
    entries = api.list_repo_tree(_WIKIPEDIA, repo_type="dataset", revision=WIKIPEDIA_REVISION)
    return frozenset(entry.path.removeprefix(_DUMP) for entry in entries if entry.path.startswith(_DUMP))


def _datasets(api: HfApi, code: str) -> tuple[str, ...]:
    found = api.list_datasets(filter=[f"language:{code.partition('-')[0]}"], sort="downloads", limit=_LISTED)
    return tuple(info.id for info in islice(found, _LISTED))


def _models(api: HfApi, **wanted: Any) -> tuple[str, ...]:
    return tuple(info.id for info in api.list_models(**wanted))


def _has_model(api: HfApi, name: str) -> bool:
    """Whether the Hub shows a model of a name, which may be none that a model can have."""
    from huggingface_hub.errors import HFValidationError

    try:
        return api.repo_exists(name)
    except HFValidationError:
        return False


def _deltas(api: HfApi, called: str, codes: Sequence[str]) -> dict[str, str]:
    there = set(_models(api, author=_DELTA_AUTHOR, search=called))
    found = {}
    for code in codes:
        names = [f"{_DELTA_AUTHOR}/{called}-{each}-small" for each in (code, other_code(code)) if each]
        if name := next((name for name in names if name in there), None):
            found[code] = f"{_LEGACY}{name}"
    return found
