"""The store: repositories with their commits, references, large files and discussions, all in memory."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from hashlib import sha256
from typing import Any, Literal

from .discussions import Discussion
from .objects import Commit, File, Tree
from .wire import Refusal

MAIN = "refs/heads/main"

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.h5", "*.onnx", "*.pt", "*.parquet", "*.zip", "*tfevents*")
"""What a new repository's `.gitattributes` declares to be large; the first ones of the Hub's longer list."""

LFS_THRESHOLD = 10 * 1024 * 1024
"""Bytes above which a file is large whatever it is called (Hub documentation, "Uploading models")."""


class Clock:
    """Dates of commits and comments: a second apart, and the same in every run."""

    def __init__(self) -> None:
        self._last = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._last += timedelta(seconds=1)
        return self._last


def check_path(path: str) -> str:
    """Return a path inside a repository, or refuse it.

    Raises:
        Refusal: 400 for a path that is absolute, not normalised, or leads into `.git`.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" or "\0" in part or "\\" in part for part in parts):
        raise Refusal(400, f'"{path}" is not a path that a repository may have')
    return path


@dataclass(frozen=True)
class Put:
    """A file is added, or takes the place of another."""

    path: str
    file: File


@dataclass(frozen=True)
class Delete:
    """A file, or a folder with all that is in it, is removed."""

    path: str
    folder: bool = False


Change = Put | Delete


def changed(tree: Tree, changes: Sequence[Change]) -> dict[str, File]:
    """The files after the changes, applied in order.

    Raises:
        Refusal: 404 for the removal of what is not there; 400 for a file put twice, or where a folder is.
    """
    files = dict(tree)
    put: set[str] = set()
    for change in changes:
        if isinstance(change, Put):
            if change.path in put:
                raise Refusal(400, f'"{change.path}" is written twice in one commit')
            put.add(change.path)
            files[change.path] = change.file
            continue
        kind = "folder" if change.folder else "file"
        gone = [path for path in files if path.startswith(change.path + "/")] if change.folder else [change.path]
        if not gone or any(path not in files for path in gone):
            # The client looks for the words "A file with this name doesn't exist" (HfApi.create_commit).
            message = f"A {kind} with this name doesn't exist: {change.path}"
            raise Refusal(404, message, code="EntryNotFound")
        for path in gone:
            del files[path]
    for path in files:
        parts = path.split("/")
        if any("/".join(parts[:end]) in files for end in range(1, len(parts))):
            raise Refusal(400, f'"{path}" is inside what is a file')
    return files


@dataclass(kw_only=True)
class LargeFiles:
    """The large file storage of a repository.

    An object is announced (LFS batch), uploaded to the address that was given for it, and verified; only then may a
    commit name it.

    Attributes:
        objects: Verified contents by SHA-256.
        announced: By the key of an upload's address, the SHA-256 and the size that were announced.
        uploaded: Contents that came, by SHA-256, not yet verified.
    """

    objects: dict[str, bytes] = field(default_factory=dict, repr=False)
    announced: dict[str, tuple[str, int]] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict, repr=False)

    def announce(self, oid: str, size: int) -> str | None:
        """Return the key to upload an object with; None if the object is there already."""
        if oid in self.objects:
            return None
        key = secrets.token_hex(16)
        self.announced[key] = (oid, size)
        return key

    def upload(self, key: str, content: bytes) -> None:
        """Take in an object.

        Raises:
            Refusal: 403 for an unknown key; 400 for another size or hash than announced.
        """
        if key not in self.announced:
            raise Refusal(403, "no upload was announced under this address")
        oid, size = self.announced[key]
        if len(content) != size:
            raise Refusal(400, f"{len(content)} bytes came where {size} were announced")
        if sha256(content).hexdigest() != oid:
            raise Refusal(400, f"what came has not the announced SHA-256 {oid}")
        self.uploaded[oid] = content

    def verify(self, oid: str, size: int) -> None:
        """Make an uploaded object usable.

        Raises:
            Refusal: 404 if it was not uploaded; 400 if its size is another.
        """
        content = self.uploaded.get(oid, self.objects.get(oid))
        if content is None:
            raise Refusal(404, f"the object {oid} was not uploaded", code="EntryNotFound")
        if len(content) != size:
            raise Refusal(400, f"the object {oid} has {len(content)} bytes, not {size}")
        self.objects[oid] = content

    def file(self, oid: str, size: int | None) -> File:
        """The file that a commit names by its SHA-256; a copy within the repository gives no size.

        Raises:
            Refusal: 400 if the object is not there or its size is another.
        """
        if oid not in self.objects:
            raise Refusal(400, f"the large file {oid} was not uploaded and verified")
        if size is not None and len(self.objects[oid]) != size:
            raise Refusal(400, f"the large file {oid} has {len(self.objects[oid])} bytes, not {size}")
        return File(self.objects[oid], lfs=True)


@dataclass(kw_only=True)
class Repository:
    """A model repository.

    Attributes:
        id: `namespace/name`.
        clock: Tells the dates.
        created: When it was made.
        private: Whether only its namespace's people see it.
        gated: Whether others need to be granted access to its files: `auto`, `manual`, or False.
        granted: Users who were.
        lfs_threshold: Bytes above which a file is large whatever it is called.
        refs: Branches, tags and pull requests by full name, each with the commit it stands at.
        commits: All commits by name.
        large: Its large files.
        discussions: By number.
    """

    id: str
    clock: Callable[[], datetime]
    created: datetime
    private: bool = False
    gated: Literal["auto", "manual", False] = False
    granted: set[str] = field(default_factory=set)
    lfs_threshold: int = LFS_THRESHOLD
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict, repr=False)
    large: LargeFiles = field(default_factory=LargeFiles)
    discussions: dict[int, Discussion] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The user or organisation that it belongs to."""
        return self.id.partition("/")[0]

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, a tag, `refs/pr/N` or a commit's name (or at least 5 digits of it) stands for.

        Raises:
            Refusal: 404 with the code RevisionNotFound.
        """
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        found = [oid for oid in self.commits if len(revision) >= 5 and oid.startswith(revision.lower())]
        if len(found) != 1:
            raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return self.commits[found[0]]

    def writable(self, revision: str) -> str:
        """The full name of the branch or pull request that commits to `revision` go to.

        Raises:
            Refusal: 404 with the code RevisionNotFound if there is none of this name.
        """
        ref = revision if revision.startswith("refs/pr/") else f"refs/heads/{revision}"
        if ref not in self.refs:
            raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return ref

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and those before it, the newest first."""
        while True:
            yield commit
            if not commit.parents:
                return
            commit = self.commits[commit.parents[0]]

    def last_change(self, path: str, commit: Commit) -> Commit:
        """The last commit up to this one that changed a file or folder."""

        def state(at: Commit) -> str | None:
            return at.tree[path].oid if path in at.tree else at.tree_oids.get(path)

        found = commit
        for earlier in self.history(commit):
            if state(earlier) != state(commit):
                break
            found = earlier
        return found

    def add_commit(
        self,
        ref: str,
        changes: Sequence[Change],
        *,
        title: str,
        description: str = "",
        author: str,
        start: Commit | None = None,
    ) -> Commit:
        """Make one commit and move the reference to it: all of the changes, or, on a refusal, none.

        Args:
            ref: Full name of the reference, which is made if it is not there.
            changes: What the commit does.
            title: First line of its message.
            description: The rest of its message.
            author: Name of the user.
            start: What the commit follows; what the reference stands at if left out.
        """
        if start is None and ref in self.refs:
            start = self.commits[self.refs[ref]]
        commit = Commit(
            tree=changed(start.tree if start else {}, changes),
            parents=(start.oid,) if start else (),
            title=title,
            description=description,
            author=author,
            date=self.clock(),
        )
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def upload_mode(self, path: str, size: int, tree: Tree) -> Literal["lfs", "regular"]:
        """How a file is to be uploaded: by size, or as the `.gitattributes` of the tree says.

        An empty file is always regular: the client uploads it so whatever it is told (`_fetch_upload_modes`).
        """
        attributes = tree[".gitattributes"].content.decode() if ".gitattributes" in tree else ""
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line.split()[1:]]
        name = path.rpartition("/")[2]
        large = size > self.lfs_threshold or any(fnmatch(name, pattern) for pattern in patterns)
        return "lfs" if size and large else "regular"

    def open_discussion(
        self, title: str, description: str, author: str, *, target: str | None = None, start: Commit | None = None
    ) -> Discussion:
        """Open a discussion, or, with the full name of a branch as target, a draft of a pull request.

        Args:
            title: Its title.
            description: Its first comment.
            author: Who opens it.
            target: The branch that a pull request is for.
            start: The commit that the pull request starts at; what the branch stands at if left out.
        """
        num = len(self.discussions) + 1
        discussion = Discussion(num=num, title=title, author=author, created=self.clock(), target=target)
        discussion.comment(description, author, discussion.created)
        self.discussions[num] = discussion
        if target is not None:
            discussion.status = "draft"
            self.refs[discussion.ref] = start.oid if start else self.refs[target]
        return discussion

    def merge_base(self, request: Discussion) -> Commit:
        """Where a pull request's commits left its branch."""
        assert request.target is not None
        on_target = {commit.oid for commit in self.history(self.resolve(request.target))}
        return next(commit for commit in self.history(self.resolve(request.ref)) if commit.oid in on_target)

    def request_changes(self, request: Discussion) -> list[Change]:
        """What a pull request would do to its branch."""
        before, after = self.merge_base(request).tree, self.resolve(request.ref).tree
        changes: list[Change] = [Delete(path) for path in sorted(before) if path not in after]
        return changes + [Put(path, file) for path, file in sorted(after.items()) if before.get(path) != file]

    def conflicts(self, request: Discussion) -> list[str]:
        """Files that the pull request and its branch have both changed, differently."""
        assert request.target is not None
        before = self.merge_base(request).tree
        ours, theirs = self.resolve(request.target).tree, self.resolve(request.ref).tree
        return sorted(
            path
            for path in {*before, *ours, *theirs}
            if ours.get(path) != before.get(path) != theirs.get(path) and ours.get(path) != theirs.get(path)
        )

    def merge(self, request: Discussion, author: str) -> Commit:
        """Put all that a pull request does into one commit on its branch.

        Raises:
            Refusal: 409 if it has conflicts; 400 if it has no changes.
        """
        assert request.target is not None
        if conflicting := self.conflicts(request):
            raise Refusal(409, f"the pull request conflicts in {', '.join(conflicting)}")
        changes = self.request_changes(request)
        if not changes:
            raise Refusal(400, "the pull request changes nothing")
        after = self.resolve(request.target).tree
        left = [change for change in changes if isinstance(change, Put) or change.path in after]
        commit = self.add_commit(request.target, left, title=f"{request.title} (#{request.num})", author=author)
        request.merge_commit = commit.oid
        request.change_status("merged", author, commit.date)
        return commit

    def state(self) -> dict[str, Any]:
        """All that a visitor could see of it, in a form that can be compared."""
        return {
            "private": self.private,
            "gated": self.gated,
            "refs": dict(self.refs),
            "discussions": {
                num: (entry.title, entry.status, [(event["type"], event["data"]) for event in entry.events])
                for num, entry in self.discussions.items()
            },
        }


def gitattributes(patterns: Sequence[str]) -> bytes:
    """The `.gitattributes` that declares files large."""
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns).encode()


def as_changes(repository: Repository, files: Mapping[str, bytes | None], tree: Tree) -> list[Change]:
    """Contents by path as changes, None meaning removal; files that ought to be are large."""
    changes: list[Change] = []
    for path, content in files.items():
        if content is None:
            changes.append(Delete(path))
            continue
        file = File(content, lfs=repository.upload_mode(check_path(path), len(content), tree) == "lfs")
        if file.lfs:
            repository.large.objects[file.sha256] = content
        changes.append(Put(path, file))
    return changes
