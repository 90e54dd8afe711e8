"""The published pairs: found by their tags on the Hub, with the scores, sizes and speeds that their own files state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards.front_matter import FRONT_MATTER, parse_yaml
from ..errors import BistillError, InputError, first_line
from ..model.configuration_bistill import BistillConfig
from .refusals import explained

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

    from ..evaluation.speed import Speed

_TAG = "bistill"
_CARD_FILE = "README.md"
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_PAIR_TAG = re.compile(r"pair:([a-z]{2,3})-([a-z]{2,3})")
_NAME = re.compile(r"[A-Za-z0-9][\w./@-]{0,199}", re.ASCII)
_DELTA = re.compile(r"tasks/([a-z0-9_-]+)/delta\.safetensors")
_DOWNLOADS_AT_ONCE = 8
_TOO_MUCH = 1e15


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """A student's scores on a task, as fractions.

    Attributes:
        task: Name of the task.
        metric: Name of the metric; None where the task has no score.
        source: Score in the source language; None where there is none.
        target: Score in the target language.
        synthetic: Whether text and labels were generated, so that the scores say nothing about real language.
    """

    task: str
    metric: str | None = None
    source: float | None = None
    target: float | None = None
    synthetic: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedPair:
    """A pair on the Hub. What its files do not tell is None or empty, and `notes` says why.

    Attributes:
        repo_id: Its id.
        commit: The commit of the default branch that was read.
        updated: When it was made.
        source: Code of the source language.
        target: Code of the target language.
        scores: A record for each task, test set and metric, by task; a task without score has one too.
        teacher: Hub id of the teacher.
        license: Licence identifier of the Hub.
        parameters: Of the student's encoder.
        teacher_parameters: Of the teacher's encoder.
        times_as_fast: The teacher's time divided by the student's, the median over rounds.
        measured_on: The conditions of `times_as_fast`.
        notes: What could not be read, and why.
    """

    repo_id: str
    commit: str | None = None
    updated: datetime | None = None
    source: str | None = None
    target: str | None = None
    scores: tuple[TaskScore, ...] = ()
    teacher: str | None = None
    license: str | None = None
    parameters: int | None = None
    teacher_parameters: int | None = None
    times_as_fast: float | None = None
    measured_on: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, sorted."""
        return tuple(sorted({score.task for score in self.scores}))


def list_pairs(
    *,
    source: str | None = None,
    target: str | None = None,
    task: str | None = None,
    endpoint: str | None = None,
    limit: int | None = None,
) -> tuple[PublishedPair, ...]:
    """List the pairs that the Hub has and the user may see, in the Hub's order.

    Scores are those of the student in the card's metadata, size and speed those of `size_and_speed.json`. Nothing of a
    pair is executed and no weights are loaded. A pair whose files are damaged, missing or closed to the user is listed
    with what is known of it.

    Args:
        source: Only pairs with this source language.
        target: Only pairs with this target language.
        task: Only pairs with a delta for this task.
        endpoint: The Hub's address; by default the client's.
        limit: At most so many.

    Raises:
        InputError: a language is no code, the endpoint no address, or the limit not positive.
        BistillError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    for role, code in (("source", source), ("target", target)):
        if code is not None and not _CODE.fullmatch(code):
            raise InputError("not a language code", field=role, value=code, remedy="give a code such as sw")
    if endpoint is not None and not re.match(r"https?://\w", endpoint):
        raise InputError(
            "not the address of a server", field="endpoint", value=endpoint, remedy="begin it with https://"
        )
    if limit is not None and limit < 1:
        raise InputError("too small", field="limit", value=limit, remedy="choose 1 or more")
    api = HfApi(endpoint=endpoint)
    with explained(api.endpoint):
        found = list(islice(_matching(api, source, target, task), limit))
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        return tuple(pool.map(lambda info: _read(api, info), found))


def _matching(api: HfApi, source: str | None, target: str | None, task: str | None) -> Iterator[ModelInfo]:
    """The pairs that the Hub has, without the checkpoints that were exported from them, which carry the same tags."""
    tags = [_TAG]
    if source and target:
        tags.append(f"pair:{source}-{target}")
    else:
        tags += [code.partition("-")[0] for code in (source, target) if code]  # the Hub's tags have no subtags
    expand: list[Any] = ["config", "gated", "lastModified", "sha", "siblings", "tags"]
    for info in api.list_models(filter=tags, expand=expand):
        kind = (info.config or {}).get("model_type")
        if kind not in (None, BistillConfig.model_type):
            continue
        pairs = [tag.removeprefix("pair:") for tag in info.tags or () if tag.startswith("pair:")]
        # What is left beside a language has to be one too: that of zh-Hant-en beside zh, Hant-en, is none.
        rests = [pair.removeprefix(f"{source}-") for pair in pairs if pair.startswith(f"{source}-")]
        if source and not any(map(_CODE.fullmatch, rests)):
            continue
        rests = [pair.removesuffix(f"-{target}") for pair in pairs if pair.endswith(f"-{target}")]
        if target and not any(map(_CODE.fullmatch, rests)):
            continue
        if task and info.siblings is not None and task not in _tasks(info):
            continue
        yield info


def _tasks(info: ModelInfo) -> list[str]:
    """The tasks that a repository holds a delta for, sorted."""
    names = [entry.rfilename for entry in info.siblings or ()]
    return sorted(found[1] for name in names if (found := _DELTA.fullmatch(name)))


def _read(api: HfApi, info: ModelInfo) -> PublishedPair:
    """Gather what one repository's files tell."""
    repository = _Repository(api, info)
    card = repository.card()
    source, target = _languages(card, info.tags or ())
    if source is None:
        repository.notes.append("neither its card nor its tags name its two languages")
    scores = _scores(card, {source: "source", target: "target"}, repository.notes)
    scored = {score.task for score in scores}
    scores += [TaskScore(task=name) for name in _tasks(info) if name not in scored]
    return PublishedPair(
        repo_id=info.id,
        commit=info.sha,
        updated=info.last_modified,
        source=source,
        target=target,
        scores=tuple(sorted(scores, key=lambda score: score.task)),
        teacher=_name(card.get("base_model")),
        license=_name(card.get("license")),
        **repository.size_and_speed(),
        notes=tuple(dict.fromkeys(repository.notes)),
    )


@dataclass(frozen=True)
class _Repository:
    """Reads single files of a repository at one commit; what cannot be read becomes a note."""

    api: HfApi
    info: ModelInfo
    notes: list[str] = field(default_factory=list)

    def card(self) -> Mapping[str, Any]:
        """The card's metadata; empty where there is none to read."""
        file = self._fetch(_CARD_FILE)
        if file is None:
            return {}
        try:
            block = FRONT_MATTER.match(file.read_bytes().decode("utf-8"))
            metadata = parse_yaml(block[2]) if block else None
        except (OSError, ValueError) as error:
            self.notes.append(f"its {_CARD_FILE} cannot be read ({_reason(error)})")
            return {}
        if not isinstance(metadata, dict):
            self.notes.append(f"its {_CARD_FILE} has no metadata")
            return {}
        return metadata

    def size_and_speed(self) -> dict[str, Any]:
        """The fields of a `PublishedPair` that `size_and_speed.json` tells."""
        from ..cards.tables import main_speed
        from ..evaluation.speed import SIZE_AND_SPEED_FILE, read_size_and_speed

        file = self._fetch(SIZE_AND_SPEED_FILE)
        if file is None:
            return {}
        try:
            found = read_size_and_speed(file)
            sizes = {"parameters": found.student.parameters, "teacher_parameters": found.teacher.parameters}
            told: dict[str, Any] = {name: _number(value, int) for name, value in sizes.items()}
            if (speed := main_speed(found)) is not None:
                told |= {"times_as_fast": _number(speed.ratio.median, float), "measured_on": _conditions(speed)}
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            self.notes.append(f"its {SIZE_AND_SPEED_FILE} cannot be read ({_reason(error)})")
            return {}
        return told

    def _fetch(self, name: str) -> Path | None:
        files = self.info.siblings  # None where the Hub does not tell
        if files is not None and all(entry.rfilename != name for entry in files):
            self.notes.append(f"it has no {name}")
            return None
        try:
            with explained(self.info.id):
                return Path(self.api.hf_hub_download(self.info.id, name, revision=self.info.sha))
        except (BistillError, OSError) as error:
            closed = "its files are gated, ask for access on its page"
            self.notes.append(closed if self.info.gated else f"its {name} cannot be fetched ({_reason(error)})")
            return None


def _languages(card: Mapping[str, Any], tags: Sequence[str]) -> tuple[str | None, str | None]:
    """Source and target: the card's two codes where a tag agrees, or what the tag says by itself."""
    for name in ("language_bcp47", "language"):
        codes = card.get(name)
        if isinstance(codes, list) and len(codes) == 2 and all(_CODE.fullmatch(str(code)) for code in codes):
            source, target = map(str, codes)
            if f"pair:{source}-{target}" in tags:
                return source, target
    found = [match for tag in tags if (match := _PAIR_TAG.fullmatch(tag))]
    return (found[0][1], found[0][2]) if len(found) == 1 else (None, None)


def _scores(card: Mapping[str, Any], roles: Mapping[str | None, str], notes: list[str]) -> list[TaskScore]:
    """The scores of `model-index`, those in both languages side by side."""
    from huggingface_hub.repocard_data import model_index_to_eval_results

    if "model-index" not in card:
        return []
    try:
        _, results = model_index_to_eval_results(card["model-index"])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        notes.append(f"its card's model-index is damaged ({_reason(error)})")
        return []
    scores: list[TaskScore] = []
    for result in results:
        arguments = result.dataset_args if isinstance(result.dataset_args, dict) else {}
        language = arguments.get("language")
        role = roles.get(language) if isinstance(language, str) else None
        task, metric = _name(result.task_name), _name(result.metric_type)
        try:
            score = _number(result.metric_value, float)
        except ValueError:
            score = None
        if role is None or task is None or metric is None or score is None:
            notes.append("an entry of its card's model-index names no task, language, metric or score of the pair")
            continue
        _enter(scores, TaskScore(task=task, metric=metric, synthetic=arguments.get("synthetic") is True), role, score)
    return scores


def _enter(scores: list[TaskScore], record: TaskScore, role: str, score: float) -> None:
    """Put a score beside the one in the other language; a second test set in one language begins a new record."""
    for place, other in enumerate(scores):
        if replace(other, source=None, target=None) == record and getattr(other, role) is None:
            scores[place] = _filled(other, role, score)
            return
    scores.append(_filled(record, role, score))


def _filled(record: TaskScore, role: str, score: float) -> TaskScore:
    return replace(record, source=score) if role == "source" else replace(record, target=score)


def _conditions(speed: Speed) -> str:
    place = speed.hardware.gpu or f"{speed.hardware.cpu}, {speed.threads} thread{'' if speed.threads == 1 else 's'}"
    return _printable(f"{place}, {speed.batch} x {speed.length} tokens, {speed.dtype}")


def _name(value: Any) -> str | None:
    """A name that a table or a terminal cannot take for anything else; None for what is no such name."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _number(value: Any, kind: type) -> Any:
    """Return a number that is neither negative nor beyond what such files can hold.

    Raises:
        ValueError: it is something else.
    """
    allowed = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not 0 <= value < _TOO_MUCH:
        raise ValueError("a value is no number that can stand there")
    return kind(value)


def _reason(error: Exception) -> str:
    return _printable(error.problem if isinstance(error, InputError) else first_line(error))


def _printable(text: str) -> str:
    """A text of somebody else's as one line, without what a terminal would obey."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())
