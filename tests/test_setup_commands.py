"""The set-up commands of the first pages, given word by word in a fresh copy of the checkout, with packages of PyPI.

They share one environment, as the words have it: `.venv` in the checkout. Where a command gives tests, it gives those
of one file here. What needs such a checkout is done in it too: the demonstration, and tests that write documentation.
"""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from doc_pages import ROOT, assigned, in_bash

pytestmark = pytest.mark.whole

SNIPPETS = assigned(__name__)
FEW = "tests/test_languages.py"
OUTSIDE = dict.fromkeys(
    ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT",
     "PYTEST_XDIST_TESTRUNUID", "VIRTUAL_ENV", "PYTHONPATH"),
    "",
)  # fmt: skip
"""Variables that are of the tests which give these commands, and not of whoever follows the pages."""


def of(page, begins):
    (found,) = (each for each in SNIPPETS if each.page == page and each.startswith(begins))
    return found


def git(place, *words):
    return subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A repository of its own with the files of this checkout, as they are."""
    place = tmp_path_factory.mktemp("fresh") / "bistill-hub"
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    git(place, "init", "--quiet")
    git(place, "add", "--all")
    git(place, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "All of it")
    return place


@pytest.fixture
def give(checkout):
    """Give snippets in the checkout, with the environment's programs found first once it is there."""

    def given(*snippets, tests=FEW):
        path = f"{checkout / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        outside = {**OUTSIDE, "PYTEST_ADDOPTS": tests, "GIT_CONFIG_GLOBAL": os.devnull, "PATH": path}
        return in_bash(*snippets, place=checkout, **outside)

    return given


def test_the_readme_s_first_command_goes_from_nothing_to_the_demonstration_s_pair(give, checkout):
    setup, _ = (each for each in SNIPPETS if each.page == "README.md")
    printed = give(setup)
    assert "The pair is in runs/demo/package/repository" in printed
    assert (checkout / "runs" / "demo" / "package" / "repository" / "model.safetensors").is_file()


def where_installed(checkout):
    found = [str(checkout / ".venv" / "bin" / "python"), "-c", "import bistill_hub; print(bistill_hub.__file__)"]
    return subprocess.run(found, cwd=checkout.parent, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("page", ["docs/index.md", "docs/quick_start.md", "docs/tutorials/new_pair.md"])
def test_a_page_s_setup_leaves_the_package_in_the_environment(give, checkout, page):
    setup = of(page, "python3 -m venv")
    further = [of(page, "bistill demo")] if page == "docs/quick_start.md" else []
    printed = give(setup, *further)
    assert ("finished before" in printed) == bool(further)
    editable = " -e " in setup
    assert where_installed(checkout).startswith(str(checkout / ("bistill_hub" if editable else ".venv")))


@pytest.fixture
def cpu_build(tmp_path):
    """A folder with a wheel that is called as PyTorch's build for CPUs, in the pinned version, and holds nothing."""
    (pin,) = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    name = f"torch-{pin.removeprefix('torch==')}+cpu"
    facts = {
        "METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {name.removeprefix('torch-')}\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        for file, content in facts.items():
            wheel.writestr(f"{name}.dist-info/{file}", content)
    return folder


def test_the_build_for_cpus_is_put_where_the_setup_finds_the_pinned_pytorch(cpu_build, tmp_path):
    place = tmp_path / "checkout"
    place.mkdir()
    shutil.copyfile(ROOT / "constraints.txt", place / "constraints.txt")
    subprocess.run(
        [sys.executable, "-m", "venv", "--upgrade-deps", ".venv"], cwd=place, check=True, capture_output=True
    )
    offline = {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(cpu_build)}
    in_bash(of("docs/quick_start.md", ".venv/bin/pip install uv"), place=place, **OUTSIDE, **offline)
    setup = [".venv/bin/pip", "install", "--dry-run", "--no-index", "-c", "constraints.txt", "torch"]
    found = subprocess.run(setup, cwd=place, check=True, capture_output=True, text=True).stdout
    assert "already satisfied: torch" in found
    assert "+cpu" in found


@pytest.mark.parametrize("page", ["docs/tutorials/laptop.md", "docs/studies/demo.md"])
def test_the_demonstration_again_finds_its_stages_finished(give, page):
    assert "finished before" in give(of(page, "bistill demo"))


def test_the_readme_s_second_command_gives_the_tests(give):
    _, setup = (each for each in SNIPPETS if each.page == "README.md")
    assert " passed" in give(setup)


def test_the_contributors_commands_end_well_and_build_the_site(give, checkout):
    printed = give(of("CONTRIBUTING.md", "make setup"))
    assert printed.count(" passed") >= 3  # of make check, docs and whole, which builds the site again
    assert (checkout / "build" / "site" / "index.html").is_file()
    assert (checkout / ".git" / "hooks" / "pre-commit").is_file()


def test_the_tests_that_write_the_tables_of_backbones_write_what_is_there(give, checkout):
    assert " passed" in give(of("docs/backbones.md", "BISTILL_UPDATE_DOCS=1"), tests="")
    assert git(checkout, "diff") == ""
