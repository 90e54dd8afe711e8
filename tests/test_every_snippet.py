"""Every snippet of README, CONTRIBUTING and docs/ is executed by a test, or stands in a list with the reason why not.

The test modules say by `doc_pages.claimed` which pages they execute, and conftest.py holds them to it.
"""

import ast
import re
import shlex

import doc_pages
import pytest
from doc_pages import DOCS, ROOT, Snippet, claimed, executed, given, left_out, snippets_of, written
from excused_snippets import ASSIGNED, EXCUSED, Assigned, Excuse

PAGES = sorted(
    file.relative_to(ROOT).as_posix() for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md"))
)
PROGRAMS = r"(bistill|python3?|pip|make|torchrun|accelerate|hf|uv|mkdir|cd|export|source|\.venv/bin/\w+) "


def claims():
    """By page or section the test modules that claim it."""
    found = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "claimed":
                module, *pages = node.args
                if isinstance(module, ast.Name) and module.id == "__name__":
                    for page in pages:
                        found.setdefault(ast.literal_eval(page), []).append(file.relative_to(ROOT).as_posix())
    return found


CLAIMS = claims()


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_is_executed_or_excused(page):
    for snippet in snippets_of(page):
        excused = [each for each in EXCUSED if each.fits(snippet)]
        assert len(excused) <= 1, f"{snippet.where}: excused twice"
        claiming = CLAIMS.get(page, []) + CLAIMS.get(f"{page}#{snippet.section}", [])
        claiming += [each.module for each in ASSIGNED if each.fits(snippet)]
        assert claiming or excused, f"{snippet.where}: no test claims it, and it is not in tests/excused_snippets.py"


@pytest.mark.parametrize("page", PAGES)
def test_no_snippet_hides_from_the_tests(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    marks = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    assert marks == 2 * len(snippets_of(page)), "a fence is indented, not closed, or without a language"
    outside = doc_pages.FENCE.sub("", text)
    assert not re.findall(rf"^(?: {{4}}|\t)(?:[A-Z_]+=\S+ )*{PROGRAMS}.*", outside, re.MULTILINE), "not in a fence"


def test_every_excuse_is_about_a_snippet_that_there_is_and_gives_a_reason():
    for excuse in EXCUSED:
        assert excuse.reason
        assert any(excuse.fits(snippet) for snippet in snippets_of(excuse.page)), excuse


@pytest.mark.parametrize("one", ASSIGNED, ids=lambda one: f"{one.page} {one.begins}"[:60])
def test_every_snippet_that_is_left_to_a_module_is_there_and_the_module_takes_it(one):
    assert any(one.fits(snippet) for snippet in snippets_of(one.page))
    (file,) = (ROOT / "tests").rglob(f"{one.module}.py")
    code = file.read_text(encoding="utf-8")
    assert "assigned(__name__)" in code
    assert "\npytestmark = pytest.mark.whole\n" in code
    assert not any(excuse.fits(snippet) for excuse in EXCUSED for snippet in snippets_of(one.page) if one.fits(snippet))


def test_every_claim_is_of_a_page_with_snippets():
    for page, modules in CLAIMS.items():
        assert snippets_of(page), f"{page}, claimed by {modules}, has no snippets"


def test_the_commands_that_are_not_executed_end_no_sentence_and_have_closed_quotes():
    for page in PAGES:
        for snippet in snippets_of(page):
            for command in snippet.commands if snippet.language == "bash" else ():
                assert command or command.variables, snippet.where
                assert shlex.join(command), snippet.where


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page of three snippets."""
    monkeypatch.setattr(doc_pages, "ROOT", tmp_path)
    monkeypatch.setattr(doc_pages, "_executed", set())
    code = "```python\nfound = 1 + 1\n```\n\n```bash\nbistill recipes --help\nbistill plan --help\n```\n"
    (tmp_path / "page.md").write_text(f"# A page\n\n## First part\n\n{code}\n## A file\n\n```toml\na = 1\n```\n")
    return "page.md"


def test_what_a_module_claims_and_does_not_execute_is_told(page, tmp_path):
    module = f"{__name__}: not executed"
    code, shell, file = claimed(module, page)
    assert [shell.section, file.section] == ["first-part", "a-file"]
    assert [snippet.line for snippet in (code, shell, file)] == [5, 9, 16]
    assert len(left_out(module)) == 3
    assert executed(code)["found"] == 2
    assert written(file, tmp_path / "file.toml").read_text() == "a = 1\n"
    first, second = shell.commands
    given(first)
    (wrong,) = left_out(module)
    assert wrong.startswith("page.md:9 (bash): bistill recipes --help: not executed")
    given([*second])
    assert left_out(module), "a list of the same words is not the snippet"
    given(second)
    assert left_out(module) == []


def test_an_excuse_serves_until_the_snippet_is_executed(page):
    module = f"{__name__}: excused"
    code, _, _ = claimed(module, page)
    reasons = [Excuse(page, begins, "a reason") for begins in ("found", "bistill", "a = ")]
    assert left_out(module, reasons) == []
    executed(code)
    (wrong,) = left_out(module, reasons)
    assert "needs no place" in wrong


def test_a_snippet_that_is_left_to_another_module_is_asked_of_that_one(page):
    module = f"{__name__}: assigned"
    code, _, _ = claimed(module, page)
    elsewhere = [Assigned(page, begins, "test_other") for begins in ("found", "bistill")]
    (wrong,) = left_out(module, elsewhere=elsewhere)
    assert wrong.startswith("page.md:16 (toml)")
    assert len(left_out(module, elsewhere=[Assigned(page, "found", module)])) == 3
    executed(code)
    assert len(left_out(module, elsewhere=[Assigned(page, "found", module)])) == 2


def test_a_snippet_that_fails_was_not_executed(page):
    module = f"{__name__}: failing"
    code = next(iter(claimed(module, page)))
    with pytest.raises(ZeroDivisionError):
        executed(code, instead={"1 + 1": "1 / 0"})
    with pytest.raises(AssertionError, match="no longer in the snippet"):
        executed(code, instead={"2 + 2": "1"})
    assert len(left_out(module)) == 3
    assert isinstance(code, Snippet)
