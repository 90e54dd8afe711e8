"""The commands ask for large pages where there are some, before torch has made a tensor."""

import os
import subprocess
import sys

import pytest

from bistill_hub.cli.large_pages import SWITCH, ask_for_large_pages


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setenv(SWITCH, "")  # so that it is put back afterwards
    del os.environ[SWITCH]


@pytest.mark.parametrize(
    ("told", "asked"),
    [("always [madvise] never\n", True), ("[always] madvise never\n", True), ("always madvise [never]\n", False)],
)
def test_they_are_asked_for_where_the_kernel_has_some(tmp_path, told, asked):
    (tmp_path / "enabled").write_text(told)
    ask_for_large_pages(tmp_path / "enabled")
    assert os.environ.get(SWITCH) == ("1" if asked else None)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_nothing_is_done_where_the_kernel_says_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "enabled").write_bytes(content)
    ask_for_large_pages(tmp_path / "enabled")
    assert SWITCH not in os.environ


def test_what_the_user_says_holds(tmp_path, monkeypatch):
    (tmp_path / "enabled").write_text("[always] madvise never\n")
    monkeypatch.setenv(SWITCH, "0")
    ask_for_large_pages(tmp_path / "enabled")
    assert os.environ[SWITCH] == "0"


def test_torch_is_not_there_yet_when_a_command_asks():
    code = """
import sys
from bistill_hub.cli import large_pages, group
group.ask_for_large_pages = lambda: print("torch" in sys.modules)
group.main(["recipes"])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[0] == "False"
