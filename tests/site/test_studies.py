"""The commands of the studies are taken, and planned on small files in the place of their data."""

import shutil

import pytest
from doc_pages import ROOT, claimed, given
from tiny_tasks import write_tasks
from untrained import untrained

from bistill_hub.comparison import cost as costing

STUDIES = [
    *claimed(__name__, "docs/studies/demo.md"),
    *claimed(__name__, "docs/studies/en_sw_small.md"),
    *claimed(__name__, "docs/studies/en_sw_four_tasks.md"),
    *claimed(__name__, "docs/studies/en-sw.md"),
]
COMMANDS = [command for snippet in STUDIES if snippet.language == "bash" for command in snippet.commands]
PLACES = {
    "train": ("en/train.conll", "en/train.conll", "en/train.tsv", "en.train.json"),
    "validation": ("en/dev.conll", "en/dev.conll", "en/dev.tsv", "en.dev.json"),
    "test_source": ("en/test.conll", "en/test.conll", "en/test.tsv", None),
    "test_target": ("sw/test.conll", "sw/test.conll", "sw/test.tsv", "sw.test.json"),
}
"""By field where the files of ner, pos, nli and qa are in the folder of the data."""


class Untried:
    """In the place of trials, which other tests make: no time is known."""

    def __init__(self, facts, progress):
        self.tried = {}

    def estimate(self, stage, updates, done):
        return None, "not tried"


@pytest.fixture
def place(world_lines, tmp_path, monkeypatch):
    """A working folder with teacher and data, and the pages' settings where the commands look for them."""
    monkeypatch.setattr("untrained.LAYERS", 6)
    untrained("xlm-roberta", tmp_path / "TEACHER", max_position_embeddings=260)
    tasks = write_tasks(tmp_path / "made")
    for field, files in PLACES.items():
        for task, name in zip(("ner", "pos", "nli", "qa"), files, strict=True):
            if name:
                file = tmp_path / "DATA" / task / name
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(tasks[task][field], file)
    for name in ("text/en", "text/sw", "text/fr", "text/de", "text/ha", "text_nc/yo"):
        file = tmp_path / "DATA" / f"{name}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(world_lines["en" if name == "text/en" else "sw"]) + "\n", encoding="utf-8")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(costing, "Trial", Untried)
    for name in ("DATA", "TEACHER"):
        monkeypatch.setenv(f"BISTILL_{name}", name)


def test_a_study_that_is_a_run_is_planned_with_its_settings(place):
    runs = [words for words in COMMANDS if words[:2] == ["bistill", "run"]]
    assert len(runs) == 2
    for words in runs:
        tasks = () if "--tasks" in words else ("--tasks", "ner")  # as the page says
        plan = given(["bistill", "plan", *words[2:]], *tasks, "--no-trial")
        assert "ner-phase-2" in plan
        assert ("qa-phase-2" in plan) == ("ner,pos,nli,qa" in words)


def test_a_study_that_is_a_comparison_tells_what_is_to_do(place):
    comparisons = [words for words in COMMANDS if words[:2] == ["bistill", "compare"]]
    assert len(comparisons) == 2
    for words in comparisons:
        output = given([*words], "--dry-run", "--quiet")
        for name in words[words.index("--against") + 1].split(","):
            assert name in output
        assert "To do: " in output


def test_the_other_commands_are_the_demonstration_which_tests_of_its_own_give_and_variables():
    others = [words for words in COMMANDS if words[1] not in ("run", "compare")]
    assert [words[:2] for words in others] == [["bistill", "demo"], ["export", "BISTILL_DATA=DATA"]]
