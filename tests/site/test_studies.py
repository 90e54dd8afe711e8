"""The commands of the studies are taken, and planned on small files in the place of their data."""

import pytest
from doc_pages import as_script, claimed, given

from bistill_hub.comparison import cost as costing

STUDIES = [
    *claimed(__name__, "docs/studies/demo.md"),
    *claimed(__name__, "docs/studies/en_sw_small.md"),
    *claimed(__name__, "docs/studies/en_sw_four_tasks.md"),
    *claimed(__name__, "docs/studies/en-sw.md"),
    *claimed(__name__, "docs/studies/en-sw-sparse-teacher.md"),
    *claimed(__name__, "docs/studies/en-sw-ablations.md"),
    *claimed(__name__, "docs/studies/en-yo.md"),
]
COMMANDS = [command for snippet in STUDIES if snippet.language == "bash" for command in snippet.commands]


OVERLAP = "docs/studies/overlap.py"


class Untried:
    """In the place of trials, which other tests make: no time is known."""

    def __init__(self, facts, progress):
        self.tried = {}

    def estimate(self, stage, updates, done):
        return None, "not tried"


@pytest.fixture
def place(study_place, monkeypatch):
    """A working folder with teacher and data, in which nothing is tried for its time."""
    monkeypatch.setattr(costing, "Trial", Untried)
    return study_place


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
    assert len(comparisons) == 9
    for words in comparisons:
        output = given([*words], "--dry-run", "--quiet")
        for name in words[words.index("--against") + 1].split(","):
            assert name in output
        assert "To do: " in output


def test_a_study_says_what_of_its_test_sets_the_student_reads(place):
    counted = [words for words in COMMANDS if words[1] == OVERLAP]
    assert len(counted) == 2
    for words in counted:
        table = as_script(words, place=place).splitlines()
        tasks = words[words.index("--tasks") + 1].split(",")
        columns = {task: 2 if task in ("nli", "qa") else 1 for task in tasks}
        assert [line.split(" | ")[0] for line in table[2:]] == [
            f"| {task}" for task in tasks for _ in range(columns[task])
        ]


def test_the_other_commands_are_the_demonstration_and_the_pool_which_other_tests_give_and_variables():
    others = [words for words in COMMANDS if words[1] not in ("run", "compare", OVERLAP)]
    assert [words[:2] for words in others] == [
        ["bistill", "demo"],
        *4 * [["export", "BISTILL_DATA=DATA"], *2 * [["python", "docs/studies/pool.py"]]],
    ]
