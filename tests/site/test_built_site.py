"""The built site: every link leads somewhere, nothing comes from another host, and the reference is the code's."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import PurePosixPath
from posixpath import join, normpath
from urllib.parse import unquote, urlsplit

import pytest
from doc_pages import DOCS, ROOT

import bistill_hub
from bistill_hub import cli
from bistill_hub.recipe import Recipe

pytestmark = pytest.mark.docs

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""What a browser fetches by itself when it shows a page."""


def build(root, folder):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


class Page(HTMLParser):
    """What a page loads, what it links to, its anchors, and its text with that of each paragraph."""

    def __init__(self, html):
        super().__init__()
        self.loaded, self.links, self.anchors, self.text, self.paragraphs = [], [], set(), "", []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag in LOADED and found.get(LOADED[tag]) and found.get("rel") != "canonical":
            self.loaded.append(found[LOADED[tag]])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "p":
            self.inside = True
            self.paragraphs.append("")

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.paragraphs[-1] += data

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "p"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site's folder, and its pages by path."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {
        file.relative_to(folder).as_posix(): Page(file.read_text(encoding="utf-8"))
        for file in folder.rglob("*.html")
        if file.name != "404.html"  # its addresses begin at the server's root
    }
    return folder, pages


def test_every_link_leads_to_a_file_and_to_an_anchor_in_it(site):
    folder, pages = site
    checked = 0
    for name, page in pages.items():
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme or link == "#":
                continue
            path = unquote(parts.path)
            target = normpath(join(PurePosixPath(name).parent.as_posix(), path)) if path else name
            assert (folder / target).is_file(), f"{name}: {link}"
            if parts.fragment and not parts.fragment.startswith("__") and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{name}: {link}"
                checked += 1
    assert checked > 100


def test_nothing_is_loaded_from_another_host(site):
    folder, pages = site
    for name, page in pages.items():
        assert not [place for place in page.loaded if urlsplit(place).netloc or urlsplit(place).scheme], name
    for style in folder.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style.name


def test_every_page_of_the_documentation_is_there_and_can_be_searched(site):
    folder, pages = site
    written = {file.relative_to(DOCS).with_suffix(".html").as_posix() for file in DOCS.rglob("*.md")}
    assert written <= set(pages)
    index = json.loads((folder / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert written <= {entry["location"].partition("#")[0] or "index.html" for entry in index["docs"]}


def test_a_notebook_is_a_page_with_all_of_its_cells_and_links_lead_there(site):
    page = site[1]["notebooks/from_two_text_files.html"]
    notebook = json.loads((DOCS / "notebooks" / "from_two_text_files.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            for line in "".join(cell["source"]).splitlines():
                assert line in page.text, line
    assert page.links.count("from_two_text_files.ipynb") == 1
    assert (site[0] / "notebooks" / "from_two_text_files.ipynb").is_file()
    assert "notebooks/from_two_text_files.html" in site[1]["index.html"].links


def test_every_command_and_option_is_explained(site):
    text = site[1]["reference/cli.html"].text
    for name, command in cli.main.commands.items():
        assert f"bistill {name}" in text
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in text, f"{name} {option}"
    assert "\b" not in text
    assert "\N{BACKSPACE}" not in text


def test_every_field_of_a_recipe_is_explained(site):
    text = site[1]["reference/recipe.html"].text
    for fields in ("bilingual", "student", "teacher", "speed"):
        for name, field in Recipe.model_fields[fields].annotation.model_fields.items():
            assert f"{fields}.{name}" in text
            assert " ".join(field.description.split()).replace("`", "") in " ".join(text.split()), name
    assert "tasks.NAME.distillation.density = 0.08" in text
    assert "bilingual.steps = 200000" in text


def test_every_name_that_the_package_exports_is_explained(site):
    anchors = site[1]["reference/api.html"].anchors
    for name, home in bistill_hub._HOMES.items():
        assert f"bistill_hub.{home}.{name}" in anchors, name


def test_lists_and_tables_are_read_as_such(site):
    for name, page in site[1].items():
        for paragraph in page.paragraphs:
            assert not re.search(r"^\s*(- \S|\d\. \S|\|.*\|\s*$)", paragraph, re.MULTILINE), (
                f"{name}: {paragraph[:200]}"
            )


def test_a_page_with_a_broken_link_is_refused(tmp_path):
    root = tmp_path / "checkout"
    shutil.copytree(DOCS, root / "docs")
    shutil.copyfile(ROOT / "mkdocs.yml", root / "mkdocs.yml")
    for name in ("bistill_hub", "recipes", "model_cards", "CONTRIBUTING.md"):
        (root / name).symlink_to(ROOT / name)
    faq = root / "docs" / "faq.md"
    wrong = "\n\n[a](gone.md) [b](concepts.md#nowhere) ![c](pictures/none.png) [d](../NOTHING.md)\n"
    faq.write_text(faq.read_text(encoding="utf-8") + wrong, encoding="utf-8")
    (root / "docs" / "lost.md").write_text("# A page that no menu leads to\n", encoding="utf-8")
    done = build(root, tmp_path / "site")
    assert done.returncode != 0
    for named in ("gone.md", "#nowhere", "pictures/none.png", "../NOTHING.md", "lost.md"):
        assert named in done.stderr, named
