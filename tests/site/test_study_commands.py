"""The commands of the studies, given word by word, make what their pages say, on small files in place of the data."""

import json

import pytest
from doc_pages import as_script, assigned, changed, exported, given

from bistill_hub.comparison.contenders import CONTENDERS

pytestmark = pytest.mark.whole

POOL = {"docs/studies/en-sw/pool": "pool"}
PAGE = {"docs/studies/en-sw": "out", "docs/studies/en-sw.md": "page.md"}
"""What the commands would write in the checkout, and where they write it here."""

BEGIN, END = "<!-- tables: written by docs/studies/pool.py -->", "<!-- end of tables -->"

SMALL, FOUR_TASKS, *COMPARISON = assigned(__name__)


@pytest.mark.parametrize(
    ("study", "tasks"), [(SMALL, ["ner"]), (FOUR_TASKS, ["ner", "pos", "nli", "qa"])], ids=["small", "four tasks"]
)
def test_a_study_that_is_a_run_goes_to_its_package(study, tasks, study_place, monkeypatch):
    (command,) = study.commands
    for name, value in command.variables.items():
        monkeypatch.setenv(name, value)
    chosen = () if "--tasks" in command else ("--tasks", "ner")  # as the page says
    given(command, *chosen, "--smoke", "--quiet")
    repository = study_place / command[command.index("--output") + 1] / "package" / "repository"
    assert sorted(file.name for file in (repository / "tasks").iterdir()) == sorted(tasks)
    settings = json.loads((repository / "recipe.json").read_text(encoding="utf-8"))
    assert settings["name"].endswith("-smoke")


def test_the_study_that_is_a_comparison_fills_its_table(study_place, monkeypatch):
    small = changed(
        bilingual__steps=2,
        bilingual__block_size=48,
        tasks__ner__teacher__epochs=1,
        tasks__ner__distillation__dense_epochs=1,
        tasks__ner__distillation__sparse_epochs=1,
    )
    (study_place / "page.md").write_text(f"Before.\n{BEGIN}\n{END}\nAfter.\n", encoding="utf-8")
    filled = []
    for command in (command for snippet in COMPARISON for command in snippet.commands):
        variables = exported(command) if command[0] == "export" else command.variables
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if command[0] == "export":
            continue
        if command[0] == "python":
            as_script(command, *small, place=study_place, instead={**POOL, **(PAGE if "table" in command else {})})
            continue
        given(command, *small, "--quiet")
        filled.append(study_place / command[command.index("--output") + 1])
        table = (filled[-1] / "comparison.md").read_text(encoding="utf-8")
        named = [name for name in command[command.index("--against") + 1].split(",") if name in CONTENDERS]
        for name in ("teacher", "student", *named):
            assert f"| {CONTENDERS[name].label} | " in table
        assert "failed" not in table.lower()
    assert filled
    page = (study_place / "page.md").read_text(encoding="utf-8")
    assert page.startswith("Before.\n")
    assert page.endswith("After.\n")
    for name in ("teacher", "student", "lrf_3"):
        assert page.count(f"| {CONTENDERS[name].label} | ") >= 2
    assert "![ner](out/figures/ner.png)" in page
    assert "| phase 1 | " in page
