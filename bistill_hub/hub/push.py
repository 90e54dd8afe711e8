"""Publishes a packaged pair on the Hub: checked first, then all of it in one commit."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.filesize import decimal

from ..cards.card import CARD_FILE, read_card, rendered_card, rendered_limits, write_card
from ..cards.facts import FACTS_FILE, CardFacts, read_facts, write_facts
from ..cards.rendering import percent
from ..cards.sections import LIMITS, merge_sections
from ..errors import BistillError, InputError, first_line
from .check import check_pair
from .check_card import SMOKE_RUN
from .destination import (
    CONFIG_FILE,
    MODEL_FILES,
    Destination,
    facts_with_unlisted,
    refuse_another_model,
    refuse_lost_tasks,
    task_of,
    unlisted_tasks,
)
from .refusals import NoAnswerError, OfflineError
from .remote import Change, Kind, Plan, Published, check_destination, plan_changes, publish
from .repository import files_of, is_allowed

_LARGE = ".safetensors"
_DONE: dict[Kind, str] = {"add": "added", "change": "changed", "delete": "deleted"}


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A pair that may be published.

    Attributes:
        folder: A copy of it, in which the card calls it by its name on the Hub.
        files: Its files, relative to the folder.
        facts: What the card states.
        plan: What publishing does.
    """

    folder: Path
    files: list[Path]
    facts: CardFacts
    plan: Plan


def plan_push(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    revision: str | None = None,
    replace: bool = False,
    smoke: bool = False,
    endpoint: str | None = None,
    when_fit: Callable[[Sequence[Path]], object] = lambda files: None,
) -> tuple[Change, ...]:
    """Tell what `push_pair_to_hub` would do to each file of the repository; nothing is uploaded, and nothing is made.

    The pair is checked first, for which no network is needed unless it has tasks that `card.json` does not list: what
    the Hub's says of them is fetched first.

    Args:
        folder: The packaged pair.
        repo_id: The repository, as ORG/NAME.
        revision: Branch, or `refs/pr/N`; None for the main branch.
        replace: Whether to overwrite what is otherwise refused: another model or pair, tasks that others may have
            contributed, a section of the card that was edited there and here.
        smoke: Whether a smoke run may be published.
        endpoint: The server's address; None for the one of HF_ENDPOINT, or the Hub itself.
        when_fit: Called with the pair's files when the check has found nothing, before the Hub is asked.

    Returns:
        The changes, by path.

    Raises:
        InputError: the pair may not be published, or not there, or what is on the Hub would be lost.
        BistillError: the Hub could not be asked, or did not answer as it should.
    """
    options: dict[str, Any] = {"revision": revision, "replace": replace, "smoke": smoke, "endpoint": endpoint}
    check_destination(repo_id, endpoint=endpoint, online=False)
    try:
        with _checked(folder, repo_id, when_fit=when_fit, **options) as pair:
            return pair.plan.changes
    except OfflineError as error:
        raise _not_asked(repo_id, "offline mode", error.remedy) from error
    except NoAnswerError as error:
        raise _not_asked(repo_id, error.reason, "see to the network, and give the same command again") from error


def _not_asked(repo_id: str, reason: str, remedy: str) -> BistillError:
    return BistillError(
        f"{repo_id}: the Hub could not be asked ({reason}), so it is not known whether there is such a repository, nor "
        f"what a push would add, change or delete in it. {remedy[:1].upper()}{remedy[1:]}."
    )


def push_pair_to_hub(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    create_pr: bool = False,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    replace: bool = False,
    smoke: bool = False,
    endpoint: str | None = None,
) -> Published:
    """Publish a packaged pair: check it, put it on the Hub in one commit, and set a tag if one is asked for.

    The card that is published calls the pair by its name on the Hub; the folder stays as it is. What people wrote in
    the sections of the card on the Hub is kept, unless the folder's card says something of its own there. A task that
    was fetched from the Hub into the folder, and that its `card.json` does not list, is described as on the Hub. Files
    of a pair that the repository has and the folder lacks are deleted in the same commit, other files of it are left.
    Where nothing differs, no commit is made. Without the right to write, and on request, a pull request is opened. A
    failure leaves the repository as it was, and the same call again finishes (see `bistill_hub.hub.remote.publish`).

    Args:
        folder: The packaged pair.
        repo_id: The repository, as ORG/NAME; made if it is missing.
        create_pr: Whether to open a pull request in any case.
        private: Whether only its owners see the repository, if it is made.
        revision: Branch, or `refs/pr/N` to add to that pull request; None for the main branch.
        tag: A tag to set at the commit.
        replace: Whether to overwrite what is otherwise refused: another model or pair, tasks that others may have
            contributed, a section of the card that was edited there and here.
        smoke: Whether a smoke run may be published.
        endpoint: The server's address; None for the one of HF_ENDPOINT, or the Hub itself.

    Returns:
        What was published.

    Raises:
        InputError: the pair may not be published, or not there, what is on the Hub would be lost, or another login is
            needed.
        BistillError: the Hub did not answer as it should, or the branch moved meanwhile.
    """
    check_destination(repo_id, create_pr=create_pr, tag=tag, endpoint=endpoint)
    options: dict[str, Any] = {"revision": revision, "replace": replace, "smoke": smoke, "endpoint": endpoint}
    with _checked(folder, repo_id, **options) as pair:
        new = pair.plan.commit is None
        return publish(
            repo_id,
            pair.folder,
            pair.files,
            message=_title(pair.facts, pair.plan.changes),
            description=_description(pair.facts, pair.plan.changes),
            create_pr=create_pr,
            private=private,
            revision=revision,
            tag=tag,
            # A repository that somebody makes meanwhile has not been looked at.
            deletable=(lambda path: False) if new else is_allowed,
            endpoint=endpoint,
            parent_commit=pair.plan.commit,
        )


@contextmanager
def _checked(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    revision: str | None,
    replace: bool,
    smoke: bool,
    endpoint: str | None,
    when_fit: Callable[[Sequence[Path]], object] = lambda files: None,
) -> Iterator[_Checked]:
    source = Path(folder)
    if not source.is_dir():
        raise InputError(
            "there is no such folder", field="folder", value=str(source), remedy="name a pair that a run packaged"
        )
    files = _allowed_files(source)
    unlisted = unlisted_tasks(source, files)
    _refuse_unfit(source, source, smoke, but_for=unlisted)  # of which the Hub has to say something first
    if not unlisted:
        when_fit(files)
    with TemporaryDirectory(prefix="bistill-push-") as place:
        stage, fetched = Path(place) / "pair", Path(place) / "fetched"
        facts = _staged(source, files, stage, repo_id)
        options: dict[str, Any] = {"deletable": is_allowed, "endpoint": endpoint}
        plan = plan_changes(repo_id, stage, files, revision=revision, **options)
        there = Destination(
            repo_id=repo_id,
            folder=source,
            stage=stage,
            place=fetched,
            plan=plan,
            revision=revision,
            endpoint=endpoint,
        )
        if not replace:
            refuse_another_model(there)
            refuse_lost_tasks(there)
        if unlisted:
            facts = _completed(there, facts, unlisted)
            _refuse_unfit(stage, source, smoke)
            when_fit(files)
            files = _allowed_files(stage)
        edited = not replace and _take_edits(there, facts)
        if unlisted or edited:  # compared with the commit that was looked at, even if the branch has moved
            plan = plan_changes(repo_id, stage, files, revision=plan.commit, **options)
        yield _Checked(folder=stage, files=files, facts=facts, plan=plan)


def _staged(source: Path, files: Iterable[Path], stage: Path, repo_id: str) -> CardFacts:
    """Make a copy in which the card calls the pair by its name on the Hub; return what the card states."""
    for file in files:
        (stage / file).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(source / file, stage / file)
    facts = dataclasses.replace(read_facts(stage), name=repo_id)
    write_facts(stage, facts)
    card = rendered_card(stage)
    (stage / CARD_FILE).write_text(card, encoding="utf-8", newline="")
    return facts


def _completed(there: Destination, facts: CardFacts, unlisted: Sequence[str]) -> CardFacts:
    """Write what the card states with tasks that it did not list, and the card; return it, with their scores.

    Raises:
        InputError: a task is another one than the repository's, or what its card states cannot be used.
    """
    told = facts_with_unlisted(there, facts, unlisted)
    try:
        write_facts(there.stage, told)
        facts = read_facts(there.stage)
        write_card(there.stage, facts)
    except BistillError:
        raise
    except Exception as error:  # what somebody else's card states is anything; without it ours was rendered
        raise InputError(
            f"what it states of {', '.join(unlisted)} gives no card ({first_line(error)})",
            file=f"{there.repo_id}/{FACTS_FILE}",
            remedy="have it added to the pair again (`bistill add-task --replace`)",
        ) from error
    return facts


def _allowed_files(folder: Path) -> list[Path]:
    return [file for file in files_of(folder) if is_allowed(file.as_posix())]


def _take_edits(there: Destination, facts: CardFacts) -> bool:
    """Bring into our card what people wrote on the Hub since it was rendered there; tell whether there was something.

    Raises:
        InputError: a section was edited on the Hub, and is another text here; or the card there has wrong markers.
    """
    change = there.change(CARD_FILE)
    if change is None or change.kind != "change" or (edited := there.fetch(CARD_FILE)) is None:
        return False
    theirs, told = read_card(edited), there.fetch(FACTS_FILE)
    written = None if told is None else rendered_limits(told)
    file = there.stage / CARD_FILE
    ours = read_card(file)
    card = merge_sections(
        ours,
        theirs,
        written_by_us={LIMITS: f"{facts.limits}\n"},
        written_by_them={} if written is None else {LIMITS: f"{written}\n"},
        file=f"{there.repo_id}/{CARD_FILE}",
    )
    file.write_text(card, encoding="utf-8", newline="")
    return card != ours


def _link_or_copy(source: Path, target: Path) -> None:
    """Put a file in the copy: large ones, which nothing writes to, as links where the system has them."""
    if source.suffix == _LARGE:
        try:
            target.symlink_to(source.absolute())
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target)


def _refuse_unfit(folder: Path, named: Path, smoke: bool, *, but_for: Collection[str] = ()) -> None:
    """Check a pair, and refuse one with findings but for those in some tasks' folders.

    `named` is the folder that the user knows.
    """
    found = [each for each in check_pair(folder).findings if not (smoke and each == SMOKE_RUN)]
    if findings := [each for each in found if task_of(each.file or "") not in but_for]:
        lines = [
            f"{finding.file + ': ' if finding.file else ''}{finding.problem}; {finding.remedy}" for finding in findings
        ]
        raise InputError(
            f"the pair is not fit to be published, {len(lines)} finding{'s' if len(lines) > 1 else ''}",
            file=named,
            remedy="\n  ".join(["mend them:", *lines]),
        )


def _title(facts: CardFacts, changes: Iterable[Change]) -> str:
    """Title of the commit: that the pair is new, or what of it is."""
    pair = f"{facts.source[0]}-{facts.target[0]}"
    kinds = {change.path: change.kind for change in changes}
    if kinds.get(CONFIG_FILE) == "add":
        return f"Add the pair {pair}"
    changed = [change for change in changes if change.kind != "same"]
    parts = ["model"] if any(kinds.get(name, "same") != "same" for name in MODEL_FILES) else []
    parts += sorted({task for change in changed if (task := task_of(change.path)) is not None})
    return f"Update the pair {pair}: {', '.join(parts or ['card and code'])}"


def _description(facts: CardFacts, changes: Iterable[Change]) -> str:
    """What the commit says below its title: scores, what is done to which file, versions."""
    changed = [change for change in changes if change.kind != "same"]
    counts = Counter(change.kind for change in changed)
    counted = ", ".join(f"{counts[kind]} {word}" for kind, word in _DONE.items() if counts[kind])
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items()))
    parts = [_scores(facts)] if any(result.model == "student" for result in facts.results) else []
    parts += [f"Files: {counted}.", "\n".join(map(_line, changed)), f"Made with {versions}."]
    return "\n\n".join(parts)


def _scores(facts: CardFacts) -> str:
    teachers = {(result.task, result.language): result for result in facts.results if result.model == "teacher"}
    of = "Scores of a synthetic demonstration" if facts.synthetic else "Scores"
    of = "Scores of a smoke run, which say nothing about the pair," if facts.smoke else of
    lines = [f"{of} in %:", "", "| task | language | metric | teacher | student |", "|---|---|---|---:|---:|"]
    for result in facts.results:
        if result.model == "student":
            teacher = teachers.get((result.task, result.language))
            shown = "" if teacher is None else percent(teacher.score)
            cells = (result.task, f"{result.language} ({result.role})", result.metric, shown, percent(result.score))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _line(change: Change) -> str:
    size = decimal(change.size if change.size is not None else change.remote_size or 0)
    return f"- {_DONE[change.kind]} `{change.path}` ({size})"
