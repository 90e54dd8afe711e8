"""Links of the pages that lead to files outside docs/, or to a folder: both become part of the site.

A page links as in the checkout, `../CONTRIBUTING.md` or `studies/demo/`. A Markdown file outside docs/ becomes a page below
`repository/`, and so does source code; any other file is copied; a folder becomes a page that lists it. A target that
does not exist is left as it is, and MkDocs reports it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

OUTSIDE = "repository/"
"""Where files lie in the site that are outside docs/ in the checkout."""

_FENCED = re.compile(r"(^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
_ELSEWHERE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|#|/")
_CODE = {".py": "python", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link to and the site would not have, and what these files link to in turn."""
    root = Path(config.config_file_path).parent
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for target in _targets(page.content_string):
            place, _ = _place(page.src_uri, target)
            if not _is_in(root, place) or (uri := _uri(root, place)) in files.src_uris:
                continue
            added = _made(root / place, uri, config)
            files.append(added)
            if added.is_documentation_page():
                waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at the places that `on_files` gave their targets."""
    root = Path(config.config_file_path).parent
    uri = page.file.src_uri

    def pointed(match: re.Match[str]) -> str:
        if _ELSEWHERE.match(match[0]):
            return match[0]
        place, anchor = _place(uri, match[0])
        return (
            posixpath.relpath(_uri(root, place), posixpath.dirname(uri)) + anchor if _is_in(root, place) else match[0]
        )

    return _outside_fences(markdown, lambda text: _LINK.sub(pointed, text))


def _targets(markdown: str) -> Iterator[str]:
    found: list[str] = []
    _outside_fences(markdown, lambda text: found.extend(_LINK.findall(text)) or text)
    return (target for target in found if not _ELSEWHERE.match(target))


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in _FENCED.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def _place(page: str, target: str) -> tuple[str, str]:
    """Return the target's path in the checkout, and its anchor."""
    path, hash_, anchor = target.partition("#")
    own = page.removeprefix(OUTSIDE) if page.startswith(OUTSIDE) else f"docs/{page}"
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), path)), hash_ + anchor


def _is_in(root: Path, place: str) -> bool:
    return place != ".." and not place.startswith("../") and (root / place).exists()


def _uri(root: Path, place: str) -> str:
    """Return where the file or folder of the checkout lies in the site's sources."""
    uri = place.removeprefix("docs/") if place.startswith("docs/") else OUTSIDE + place
    if (root / place).is_dir():
        return f"{uri}/{'README.md' if (root / place / 'README.md').is_file() else 'index.md'}"
    return f"{uri}.md" if Path(place).suffix in _CODE else uri


def _made(source: Path, uri: str, config: Any) -> File:
    content = None
    if source.is_dir():
        if uri.endswith("/README.md"):
            source /= "README.md"
        else:
            names = sorted(f"{file.name}/" if file.is_dir() else file.name for file in source.iterdir())
            content = "\n".join([f"# {source.name}", "", *(f"- [{name}]({name})" for name in names)])
    elif source.suffix in _CODE:
        code = source.read_text(encoding="utf-8")
        content = f"# {source.name}\n\n`````{_CODE[source.suffix]}\n{code}`````\n"
    if content is not None:
        return File.generated(config, uri, content=content, inclusion=InclusionLevel.NOT_IN_NAV)
    return File.generated(config, uri, abs_src_path=str(source), inclusion=InclusionLevel.NOT_IN_NAV)
