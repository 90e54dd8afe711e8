"""Notebooks become pages: their cells in order, without outputs. The notebook itself lies beside the page."""

from __future__ import annotations

import json
import re
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, `name.md` for `name.ipynb`; the menu names the page."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        uri = f"{notebook.src_uri.removesuffix('.ipynb')}.md"
        files.append(File.generated(config, uri, content=_page(notebook)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links to a notebook at its page, but for the page's own, which leads to the notebook."""
    if f"{page.file.src_uri.removesuffix('.md')}.ipynb" in files.src_uris:
        return markdown
    return re.sub(r"(?<=\]\()([^)\s:]+)\.ipynb(?=[)#])", r"\1.md", markdown)


def _page(notebook: File) -> str:
    title, *cells = json.loads(notebook.content_string)["cells"]
    parts = ["".join(title["source"]), f"This page is a notebook: [{notebook.name}.ipynb]({notebook.name}.ipynb)."]
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"
