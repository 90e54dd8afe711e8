"""What ends a command in the middle of a progress bar is said on a line of its own."""

import os
import signal
import sys

import click
import pytest
from click.testing import CliRunner
from tqdm.auto import tqdm

from bistill_hub.cli import group
from bistill_hub.errors import BistillError

KEPT = "What is finished is kept: the same command goes on from there."
ENDS = {
    "Ctrl-C": (lambda: (_ for _ in ()).throw(KeyboardInterrupt), 130, f"Interrupted. {KEPT}"),
    "SIGTERM": (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, f"Ended by SIGTERM. {KEPT}"),
    "error": (lambda: (_ for _ in ()).throw(BistillError("no room is left")), 2, "Error: no room is left"),
}
BARS = []


def ended(end, bars=1):
    """Run a command that ends so with bars open, as a trainer leaves them, which does not close them."""

    @click.group(cls=group._Commands)
    def commands():
        pass

    @commands.command("work")
    def work():
        for position in range(bars):
            BARS.append(tqdm(total=9, file=sys.stderr, position=position, mininterval=0))
            BARS[-1].update(3)
        end()

    try:
        return CliRunner().invoke(commands, ["work"])
    finally:
        BARS.clear()


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("bars", [1, 2])
def test_it_does_not_go_on_in_a_bar_s_line(name, bars):
    end, code, said = ENDS[name]
    result = ended(end, bars)
    assert result.exit_code == code
    assert "3/9" in result.stderr
    assert result.stderr.endswith(f"\n{said}\n")


def test_without_a_bar_no_line_is_left_empty_in_a_file():
    end, _, said = ENDS["Ctrl-C"]
    assert ended(end, bars=0).stderr == f"{said}\n"


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [("Ctrl-C", 130, "Interrupted. Nothing was done.\n"), ("n", 1, "Aborted!\n")],
)
def test_ctrl_c_at_a_question_has_the_exit_code_of_every_other(monkeypatch, answer, code, said):
    def asked(*_args):
        if answer == "Ctrl-C":
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr("click.termui._readline_prompt", asked)
    result = ended(lambda: click.confirm("Begin?", abort=True), bars=0)
    assert (result.exit_code, result.stderr) == (code, said)


def test_on_a_terminal_the_key_that_it_shows_has_a_line_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    group._say("Interrupted.", after_key=True)
    group._say("Ended.")
    assert capsys.readouterr().err == "\nInterrupted.\nEnded.\n"
