"""Git's objects, hashed as git hashes them: blobs, trees and commits, and the pointers that stand for large files.

The Hub names every file of a repository by such a hash (`blob_id`, `tree_id`, `commit_id` in the client's records), so
two equal contents have one name, and a commit's name covers its files, its parents, its message and its author.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha1, sha256


def object_oid(kind: str, content: bytes) -> str:
    """The 40 hexadecimal digits by which git names an object (`huggingface_hub.utils.sha.git_hash` for blobs)."""
    return sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def lfs_pointer(content: bytes) -> bytes:
    """The text that git holds in place of a large file (git-lfs, docs/spec.md, "The Pointer")."""
    digest = sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


@dataclass(frozen=True)
class File:
    """A file's content, and whether it is kept as a large file.

    Attributes:
        content: What a reader downloads.
        lfs: Whether git holds a pointer, and the large file storage the content.
    """

    content: bytes = field(repr=False)
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        """By which the large file storage names the content."""
        return sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git holds for a large file."""
        return lfs_pointer(self.content)

    @cached_property
    def oid(self) -> str:
        """The blob's name in git: for a large file, that of its pointer."""
        return object_oid("blob", self.pointer if self.lfs else self.content)

    @property
    def etag(self) -> str:
        """By which the client's cache names the content: the SHA-256 of a large file, else the blob's name."""
        return self.sha256 if self.lfs else self.oid


Tree = Mapping[str, File]
"""The files of a commit, by their path from the top of the repository."""


def tree_oids(tree: Tree) -> dict[str, str]:
    """The names of all folders by path; the top of the repository is the empty path."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, file in tree.items():
        folder, _, name = path.rpartition("/")
        children.setdefault(folder, {})[name] = ("100644", file.oid)
        while folder:
            folder = folder.rpartition("/")[0]
            children.setdefault(folder, {})
    oids: dict[str, str] = {}
    # The longest paths first, so that a folder's own name is known before its parent asks for it; the top comes last.
    for folder in sorted(children, key=lambda path: (path.count("/") + 1 if path else 0, path), reverse=True):
        entries = children[folder]
        # git orders the entries as if folders' names ended in a slash.
        ordered = sorted(entries.items(), key=lambda item: item[0] + ("/" if item[1][0] == "40000" else ""))
        lines = [f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, (mode, oid) in ordered]
        oids[folder] = object_oid("tree", b"".join(lines))
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = ("40000", oids[folder])
    return oids


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One state of a repository.

    Attributes:
        tree: Its files.
        parents: Names of the commits that it follows: none for the first.
        title: The first line of its message.
        description: The rest of its message; may be empty.
        author: Name of the user who made it.
        date: When it was made.
    """

    tree: Tree = field(repr=False)
    parents: tuple[str, ...]
    title: str
    description: str
    author: str
    date: datetime

    @cached_property
    def tree_oids(self) -> dict[str, str]:
        """Names of its folders by path."""
        return tree_oids(self.tree)

    @cached_property
    def text(self) -> bytes:
        """The commit as git writes it."""
        who = f"{self.author} <{self.author}@users.noreply.localhost> {int(self.date.timestamp())} +0000"
        lines = [f"tree {self.tree_oids['']}", *(f"parent {parent}" for parent in self.parents)]
        message = self.title + (f"\n\n{self.description}" if self.description else "")
        return "\n".join([*lines, f"author {who}", f"committer {who}", "", message, ""]).encode()

    @cached_property
    def oid(self) -> str:
        """Its name."""
        return object_oid("commit", self.text)
