"""`--help` answers at once, and is enough to use a command."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bistill_hub import cli

HEAVY = ("torch", "transformers", "datasets", "numpy", "pydantic", "huggingface_hub", "rich", "matplotlib", "pandas")


@pytest.mark.parametrize("command", [None, *sorted(cli.main.commands)])
def test_nothing_heavy_is_imported_for_help(command):
    code = (
        "import json, sys\n"
        "from bistill_hub.cli import main\n"
        f"main({[*([command] if command else []), '--help']!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in done.stdout
    assert not set(HEAVY) & set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", sorted(cli.main.commands))
def test_every_argument_and_option_is_explained(command):
    text = CliRunner().invoke(cli.main, [command, "--help"]).output
    for parameter in cli.main.commands[command].params:
        if parameter.param_type_name == "argument":
            # Once in the usage line, and then said what it is.
            assert text.count(parameter.make_metavar(None).strip("[].")) > 1, parameter.name
        else:
            assert parameter.help, parameter.name


def test_the_list_of_commands_says_what_each_does():
    text = CliRunner().invoke(cli.main, ["--help"]).output
    for name in cli.main.commands:
        assert f"\n  {name} " in text, name
