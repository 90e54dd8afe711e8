"""What transformers, datasets and the Hub's client print beside a command: no reports, and with --quiet no bars."""

import os

import pytest
from fresh import run_fresh

HIDING = ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")
"""Variables by which these tests, or who runs them, would hide what is looked for."""


def environment(**further):
    return {name: value for name, value in os.environ.items() if name not in HIDING} | further


@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "with bars"])
def test_a_command_reports_on_no_model_and_draws_no_bar_when_it_is_to_be_quiet(
    quiet, tiny_teacher_dirs, text_files, tmp_path
):
    words = ["trim", str(tiny_teacher_dirs["bert"]), "--source", "en", "--target", "sw", "--license", "mit"]
    words += [f"--corpus={code}={text_files[code]}" for code in ("en", "sw")]
    words += ["-o", str(tmp_path / "out"), "--min-token-probability", "0.003", "--speed-seconds", "0"]
    words += ["--quiet"] if quiet else []
    done = run_fresh(f"from bistill_hub.cli import main; main({words})", env=environment())
    assert done.returncode == 0, done.stderr
    assert "The pair is in" in done.stdout
    for noise in ("Loading weights", "LOAD REPORT", "UNEXPECTED", "MISSING"):
        assert noise not in done.stderr
    if quiet:
        assert "%|" not in done.stderr
        assert "rounds/s" not in done.stderr
    else:
        assert "rounds/s" in done.stderr, "the command's own bars are there"


BARS = """
import sys
{before}
from bistill_hub.cli.library_output import hold_back
assert not {{"transformers", "datasets", "huggingface_hub"}} & set(sys.modules) or {already}
hold_back(quiet={quiet})
import transformers
from datasets import Dataset
from huggingface_hub.utils import tqdm
from transformers.utils import logging
Dataset.from_dict({{"a": [1, 2]}}).map(lambda row: row, desc="of datasets")
for _ in tqdm([1, 2], desc="of the Hub"): pass
for _ in logging.tqdm([1, 2], desc="of transformers"): pass
logging.get_logger("transformers.any").warning("a warning")
logging.get_logger("transformers.any").error("an error")
"""


@pytest.mark.parametrize("already", [False, True], ids=["imported later", "imported before"])
@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "with bars"])
def test_downloads_and_data_have_bars_unless_the_command_is_to_be_quiet(quiet, already):
    before = "import transformers, datasets" if already else ""
    done = run_fresh(BARS.format(before=before, already=already, quiet=quiet), env=environment())
    assert done.returncode == 0, done.stderr
    assert ("of datasets" in done.stderr, "of the Hub" in done.stderr) == (not quiet, not quiet)
    assert "of transformers" not in done.stderr
    assert "a warning" not in done.stderr
    assert "an error" in done.stderr


def test_who_asks_transformers_to_speak_is_told():
    code = BARS.format(before="", already=False, quiet=True)
    done = run_fresh(code, env=environment(TRANSFORMERS_VERBOSITY="info"))
    assert "a warning" in done.stderr
    assert "of datasets" not in done.stderr


def test_a_variable_that_asks_for_bars_causes_no_warning():
    code = BARS.format(before="", already=False, quiet=True)
    done = run_fresh(code, env=environment(HF_HUB_DISABLE_PROGRESS_BARS="0", HF_DATASETS_DISABLE_PROGRESS_BARS="0"))
    assert done.returncode == 0, done.stderr
    assert "Cannot disable" not in done.stderr
