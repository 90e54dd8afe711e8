"""A command that others read names no folder of the machine that it was given on, however a file was named there."""

from types import SimpleNamespace

import pytest

from bistill_hub.cli.recipe_options import shown_command
from bistill_hub.hub import reproduce
from bistill_hub.hub.added_task import command_of
from bistill_hub.hub.without_folders import without_folders

LONG = f"{'word ' * 80}and/or {'letters' * 50}"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a file and a folder, which a variable leads to as well."""
    (tmp_path / "private" / "teacher").mkdir(parents=True)
    (tmp_path / "private" / "sw.txt").write_text("Habari.\n", encoding="utf-8")
    for name in ("HOME", "BISTILL_PLACE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("{home}/private/sw.txt", "sw.txt"),
        ("~/private/sw.txt", "sw.txt"),
        ("$BISTILL_PLACE/private/sw.txt", "sw.txt"),
        ("{home}/private/teacher/", "teacher"),
        ("legacy:{home}/private/teacher", "legacy:teacher"),
        ("org/teacher", "org/teacher"),
        ("$BISTILL_UNSET/sw.txt", "$BISTILL_UNSET/sw.txt"),
        (LONG, LONG),
        (3, 3),
        (None, None),
    ],
)
def test_what_lies_here_keeps_its_name_alone_at_any_depth(home, value, shown):
    given = value.replace("{home}", str(home)) if isinstance(value, str) else value
    assert without_folders(given) == shown
    assert without_folders({"text": {"path": given}, "list": (given,)}) == {"text": {"path": shown}, "list": [shown]}


def test_paths_are_named_as_their_texts_are(home):
    assert without_folders(home / "private" / "sw.txt") == "sw.txt"


def test_no_command_names_a_folder_or_breaks_at_a_long_text(home):
    source = {"path": str(home / "private" / "sw.txt"), "column": "text"}
    words = ["target.text=~/private/sw.txt", f'source.text={{"path": "{source["path"]}"}}', f"limits={LONG}"]
    changes = {"target.text": "~/private/sw.txt", "source.text": source, "limits": LONG}
    settings = {"validation": source, "note": LONG}
    commands = [
        shown_command("run", "en_sw", None, words, None),
        reproduce._command(SimpleNamespace(shown="org/pair"), changes, None),
        command_of("org/pair", "ner", {"train": source}, settings, "~/private/teacher", None),
    ]
    for command in commands:
        assert "sw.txt" in command
        assert LONG in command
        assert "private" not in command
        assert str(home) not in command
    assert """--set target.text=sw.txt --set 'source.text={"path": "sw.txt"}'""" in commands[0]
