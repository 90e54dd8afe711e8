"""Puts a folder's files on the Hub: one commit with all of them, or a pull request by those who may not write there.

Documented calls of huggingface_hub alone are used, so that other servers of the same protocol do; it alone reads the
token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BistillError, InputError
from .differences import Change, Kind, Paths, compare, local_files, remote_files
from .refusals import LOGIN, MOVED, bad_name, explained, offline

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo

__all__ = [
    "Change",
    "Kind",
    "Plan",
    "Published",
    "changes_against",
    "check_destination",
    "explained",
    "plan_changes",
    "publish",
]

_REQUEST_PREFIX = "refs/pr/"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What publishing does to a repository as it is.

    Attributes:
        commit: The commit that was compared with; None where there is no such repository yet.
        changes: By path.
    """

    commit: str | None
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was published.

    Attributes:
        repo_id: The repository.
        url: Its address.
        commit: The commit that was made; None where nothing changed.
        pull_request: Address of the pull request that holds the changes; None where they are on the branch.
        tag: The tag that stands at the commit, if one was asked for and could be set.
    """

    repo_id: str
    url: str
    commit: str | None
    pull_request: str | None
    tag: str | None


def _nothing(path: str) -> bool:
    return False


def check_destination(
    repo_id: str,
    *,
    create_pr: bool = False,
    tag: str | None = None,
    endpoint: str | None = None,
    online: bool = True,
) -> None:
    """Refuse what nothing could be published to, without asking the Hub.

    Args:
        repo_id: The repository, as ORG/NAME.
        create_pr: Whether to open a pull request.
        tag: A tag to set.
        endpoint: The server's address; None for the one of HF_ENDPOINT, or the Hub itself.
        online: Whether the Hub is to be asked next, which offline mode forbids.

    Raises:
        InputError: it is no such name or address, a pull request is to be tagged, or huggingface_hub is offline.
    """
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
        valid = "/" in repo_id
    except HFValidationError:
        valid = False
    if not valid:
        raise bad_name(repo_id)
    if endpoint is not None and not re.match(r"https?://\w", endpoint):
        raise InputError(
            "not the address of a server", field="endpoint", value=endpoint, remedy="begin it with https://"
        )
    if create_pr and tag is not None:
        raise InputError(
            "a pull request is not tagged", field="tag", value=tag, remedy="tag the repository when it is merged"
        )
    if online and is_offline_mode():
        raise offline(repo_id)


def plan_changes(
    repo_id: str,
    folder: Path,
    files: Paths,
    *,
    revision: str | None = None,
    deletable: Callable[[str], bool] = _nothing,
    endpoint: str | None = None,
) -> Plan:
    """Compare files with what a repository holds; nothing is uploaded, and nothing is made.

    Args:
        repo_id: The repository, as ORG/NAME. One that is not there yet, or not visible, counts as empty.
        folder: Where the files are.
        files: Their paths in it, which are those in the repository.
        revision: Branch, or `refs/pr/N`; None for the main branch.
        deletable: Whether a file of the repository that is not among the files goes.
        endpoint: The server's address; None for the one of HF_ENDPOINT, or the Hub itself.

    Returns:
        The changes, by path.

    Raises:
        InputError: a file is not there, or the repository or the revision cannot be had.
        BistillError: the Hub did not answer as it should.
    """
    check_destination(repo_id, endpoint=endpoint)
    local = local_files(folder, files)
    with explained(repo_id):
        api = _client(endpoint)
        info = _repository(api, repo_id, revision)
        if info is None or info.sha is None:
            return Plan(commit=None, changes=compare(local, {}, deletable))
        return Plan(commit=info.sha, changes=compare(local, remote_files(api, repo_id, info.sha), deletable))


def changes_against(
    repo_id: str,
    folder: Path,
    files: Paths,
    *,
    revision: str | None = None,
    deletable: Callable[[str], bool] = _nothing,
    endpoint: str | None = None,
) -> tuple[Change, ...]:
    """Return the changes of `plan_changes`, which takes the same arguments."""
    return plan_changes(repo_id, folder, files, revision=revision, deletable=deletable, endpoint=endpoint).changes


def publish(
    repo_id: str,
    folder: Path,
    files: Paths,
    *,
    message: str,
    description: str = "",
    create_pr: bool = False,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    deletable: Callable[[str], bool] = _nothing,
    endpoint: str | None = None,
    parent_commit: str | None = None,
) -> Published:
    """Put files on the Hub in one commit, which has all changes or is not made.

    A repository that is missing is made first; if the commit then fails, it remains, empty. After a failure of any
    other kind readers find what they found before, and the same call finishes the job: where the commit was made and
    only the answer to it was lost, it finds nothing to change. Who may not write to the repository opens a pull
    request with the commit, unless an open one of theirs holds the same.

    Args:
        repo_id: The repository, as ORG/NAME.
        folder: Where the files are.
        files: Their paths in it, which are those in the repository.
        message: Title of the commit and of the pull request.
        description: What the commit and the pull request say below the title, Markdown.
        create_pr: Whether to open a pull request in any case.
        private: Whether only its owners see the repository, if it is made.
        revision: Branch, or `refs/pr/N` to add to that pull request; None for the main branch.
        tag: A tag to set at the commit; where nothing changed, at the head of the branch.
        deletable: Whether a file of the repository that is not among the files goes.
        endpoint: The server's address; None for the one of HF_ENDPOINT, or the Hub itself.
        parent_commit: The commit that the branch has to stand at, or that the pull request begins at; None for the
            branch as it is.

    Returns:
        What was published.

    Raises:
        InputError: other arguments, or another login, are needed.
        BistillError: the Hub did not answer as it should, or the branch moved meanwhile.
    """
    check_destination(repo_id, create_pr=create_pr, tag=tag, endpoint=endpoint)
    local = local_files(folder, files)
    with explained(repo_id):
        api = _client(endpoint)
        info = _repository(api, repo_id, revision)
        if info is None:
            info = _new_repository(api, repo_id, private=private, revision=revision, create_pr=create_pr)
        elif private and info.private is False:
            raise InputError(
                "the repository is there already, and it is public",
                file=repo_id,
                field="private",
                value=True,
                remedy="make it private in its settings on the Hub, or leave this out",
            )
        push = _Push(api, repo_id, local, message, description, revision, deletable)
        head = info.sha
        if parent_commit is not None and not create_pr and not (head or "").startswith(parent_commit.lower()):
            raise BistillError(f"{repo_id}: {MOVED}.")
        start = parent_commit or head
        changes = push.changes(start)
        changed = any(change.kind != "same" for change in changes)
        tagged = tag is not None and _is_tagged(api, repo_id, tag, None if changed else head)
        if not changed:
            commit, request = None, None
        else:
            commit, request = push.request(changes, start) if create_pr else push.commit(changes, start)
    if tag is not None and request is None and not tagged:
        _set_tag(api, repo_id, tag, commit or head, made=commit is not None)
    return Published(
        repo_id=repo_id,
        url=f"{api.endpoint}/{repo_id}",
        commit=commit,
        pull_request=request,
        tag=None if request is not None else tag,
    )


@dataclass(frozen=True)
class _Push:
    """The files of one publication, and what is said of them."""

    api: HfApi
    repo_id: str
    files: Mapping[str, Path]
    message: str
    description: str
    revision: str | None
    deletable: Callable[[str], bool]

    def changes(self, revision: str | None) -> tuple[Change, ...]:
        """Compare with a revision; None stands for nothing."""
        remote = remote_files(self.api, self.repo_id, revision) if revision else {}
        return compare(self.files, remote, self.deletable)

    def commit(self, changes: tuple[Change, ...], parent: str | None) -> tuple[str | None, str | None]:
        """Commit to the branch, or open a pull request where that is forbidden; return commit and address."""
        from huggingface_hub.errors import DisabledRepoError, GatedRepoError, HfHubHTTPError

        try:
            return self._send(changes, parent, create_pr=False)
        except (DisabledRepoError, GatedRepoError):
            raise
        except HfHubHTTPError as error:
            if error.response.status_code != 403 or (self.revision or "").startswith(_REQUEST_PREFIX):
                raise
        return self.request(changes, parent)

    def request(self, changes: tuple[Change, ...], parent: str | None) -> tuple[str | None, str | None]:
        """Open a pull request; return commit and address, without a commit for one that is open already."""
        if (found := self._open_request()) is not None:
            return None, found
        return self._send(changes, parent, create_pr=True)

    def _send(
        self, changes: tuple[Change, ...], parent: str | None, *, create_pr: bool
    ) -> tuple[str | None, str | None]:
        made = self.api.create_commit(
            self.repo_id,
            self._operations(changes),
            commit_message=self.message,
            commit_description=self.description,
            revision=self.revision,
            create_pr=create_pr,
            parent_commit=parent,
        )
        return made.oid, made.pr_url

    def _operations(self, changes: tuple[Change, ...]) -> list[CommitOperationAdd | CommitOperationDelete]:
        """New ones for each call, as the client writes into them."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[CommitOperationAdd | CommitOperationDelete] = []
        for change in changes:
            if change.kind == "delete":
                operations.append(CommitOperationDelete(change.path, is_folder=False))
            elif change.kind != "same":
                operations.append(CommitOperationAdd(change.path, self.files[change.path]))
        return operations

    def _open_request(self) -> str | None:
        """The address of this account's open pull request that has this title and these files."""
        author = self.api.whoami()["name"]
        open_ones = self.api.get_repo_discussions(
            self.repo_id, author=author, discussion_type="pull_request", discussion_status="open"
        )
        for one in open_ones:
            if one.title == self.message:
                changes = self.changes(f"{_REQUEST_PREFIX}{one.num}")
                if all(change.kind == "same" for change in changes):
                    return one.url
        return None


def _client(endpoint: str | None) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint and endpoint.rstrip("/"))


def _repository(api: HfApi, repo_id: str, revision: str | None) -> ModelInfo | None:
    """What the Hub says of a repository; None where there is none that this account may see."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return api.model_info(repo_id, revision=revision)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None


def _new_repository(api: HfApi, repo_id: str, *, private: bool, revision: str | None, create_pr: bool) -> ModelInfo:
    if create_pr or revision not in (None, "main"):
        raise InputError(
            "there is no such repository, or this account may not see it",
            file=repo_id,
            field="create_pr" if create_pr else "revision",
            value=create_pr or revision,
            remedy=f"leave this out to make it, or {LOGIN} of an account that may see it",
        )
    # Left open, so that an organisation's own default holds.
    api.create_repo(repo_id, private=private or None, exist_ok=True)
    return api.model_info(repo_id)


def _is_tagged(api: HfApi, repo_id: str, tag: str, commit: str | None) -> bool:
    """Whether a tag stands at a commit already; None for one that is yet to be made.

    Raises:
        InputError: it stands at another one.
    """
    found = {entry.name: entry.target_commit for entry in api.list_repo_refs(repo_id).tags}
    if tag in found and found[tag] != commit:
        raise InputError(
            f"the tag stands at another commit already, {found[tag]}",
            file=repo_id,
            field="tag",
            value=tag,
            remedy="choose another tag, or delete this one on the Hub",
        )
    return tag in found


def _set_tag(api: HfApi, repo_id: str, tag: str, commit: str | None, *, made: bool) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with explained(repo_id):
            try:
                api.create_tag(repo_id, tag=tag, revision=commit)
            except HfHubHTTPError as error:
                if error.response.status_code != 409 or not _is_tagged(api, repo_id, tag, commit):
                    raise
    except BistillError as error:
        if not made:
            raise
        done = f"The commit {commit} is made; the same command again sets the tag {tag!r} alone."
        raise BistillError(f"{error} {done}") from error
