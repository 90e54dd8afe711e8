"""CONTRIBUTING.md names every check and only files that there are; the forms of the code host are valid."""

import re
from pathlib import Path

import pytest
import yaml

from bistill_hub import cli
from bistill_hub.hub.check import CHECKS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
FORM = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "pair_proposal.yml").read_text(encoding="utf-8"))
INPUTS = {"input", "textarea", "dropdown", "checkboxes"}


def test_every_check_has_its_row_and_people_have_their_list():
    section = TEXT.partition("### What is checked by whom")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*CHECKS, "rerun"]
    assert len(re.findall(r"^- \[ \] \*\*", section, re.MULTILINE)) >= 6


def test_every_file_of_the_table_is_there():
    table = TEXT.partition("| step of the method | where |")[2].partition("\n\n")[0]
    names = re.findall(r"`([\w./-]+)`", table)
    assert len(names) > 20
    known = {file.name for file in (ROOT / "bistill_hub").glob("*.py")}
    for name in names:
        assert (ROOT / name).exists() or name in known or name == "bistill demo", name


def test_commands_and_options_are_those_of_the_command_line():
    for text in (TEXT, TEMPLATE, str(FORM)):
        for command, options in re.findall(r"`bistill ([a-z-]+)([^`]*)`", text):
            assert command in cli.main.commands, command
            known = {option for each in cli.main.commands[command].params for option in each.opts}
            assert set(re.findall(r"(?<!\S)--[a-z-]+", options)) <= known, options
    for target in re.findall(r"^make ([a-z-]+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def test_the_form_of_a_proposal_asks_what_is_needed_in_the_hosts_schema():
    assert {"name", "description", "body"} <= set(FORM) <= {"name", "description", "title", "labels", "body"}
    assert isinstance(FORM["labels"], list)
    names = [part.get("id") for part in FORM["body"] if part["type"] != "markdown"]
    assert len(set(names)) == len(names)
    assert {"languages", "teacher", "text", "tasks", "evaluation", "licence", "speakers"} <= set(names)
    labels = [part["attributes"]["label"] for part in FORM["body"] if part["type"] != "markdown"]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("part", FORM["body"], ids=lambda part: part.get("id", "text"))
def test_each_part_of_the_form_has_what_its_type_asks_for(part):
    assert set(part) <= {"type", "id", "attributes", "validations"}
    attributes = part["attributes"]
    if part["type"] == "markdown":
        assert set(attributes) == {"value"}
        return
    assert part["type"] in INPUTS
    assert re.fullmatch(r"[A-Za-z0-9_-]+", part["id"])
    allowed = {"label", "description", "placeholder", "value", "render", "multiple", "default", "options"}
    assert {"label"} <= set(attributes) <= allowed
    assert all(isinstance(attributes[name], str) for name in ("label", "description") if name in attributes)
    assert set(part.get("validations", {})) <= {"required"}
    if part["type"] == "dropdown":
        assert len(set(attributes["options"])) == len(attributes["options"]) > 1
        assert all(isinstance(option, str) and option.lower() != "none" for option in attributes["options"])
    elif part["type"] == "checkboxes":
        assert "validations" not in part
        for option in attributes["options"]:
            assert isinstance(option["label"], str)
            assert set(option) <= {"label", "required"}
    else:
        assert "options" not in attributes
