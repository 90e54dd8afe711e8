"""The commands of the studies, given word by word, make what their pages say, on small files in place of the data."""

import json

import pytest
from doc_pages import as_script, assigned, changed, exported, given

from bistill_hub.comparison.contenders import CONTENDERS

pytestmark = pytest.mark.whole

BEGIN, END = "<!-- tables: written by docs/studies/pool.py -->", "<!-- end of tables -->"

SMALL, FOUR_TASKS, *COMPARISONS = assigned(__name__)


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


def small(command):
    """Words that make a comparison's trainings small, of the tasks that it names."""
    settings = {"bilingual__steps": 2, "bilingual__block_size": 48}
    for task in command[command.index("--tasks") + 1].split(","):
        settings[f"tasks__{task}__teacher__epochs"] = 1
        settings[f"tasks__{task}__distillation__dense_epochs"] = 1
        settings[f"tasks__{task}__distillation__sparse_epochs"] = 1
    return changed(**settings)


@pytest.mark.parametrize("page", ["en-sw", "en-sw-sparse-teacher", "en-sw-ablations", "en-yo"])
def test_a_study_that_is_a_comparison_fills_its_table(page, study_place, monkeypatch):
    pool = {
        f"docs/studies/{page}/pool": "pool"
    }  # what the commands would write in the checkout, and where they do here
    written = {f"docs/studies/{page}": "out", f"docs/studies/{page}.md": "page.md"}
    (study_place / "page.md").write_text(f"Before.\n{BEGIN}\n{END}\nAfter.\n", encoding="utf-8")
    filled = {}
    snippets = [snippet for snippet in COMPARISONS if snippet.page == f"docs/studies/{page}.md"]
    for command in (command for snippet in snippets for command in snippet.commands):
        variables = exported(command) if command[0] == "export" else command.variables
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if command[0] == "export":
            continue
        if command[0] == "python":
            instead = {**pool, **(written if "table" in command else {})}
            as_script(command, *small(command), place=study_place, instead=instead)
            continue
        given(command, *small(command), "--quiet")
        output = study_place / command[command.index("--output") + 1]
        table = (output / "comparison.md").read_text(encoding="utf-8")
        named = [name for name in command[command.index("--against") + 1].split(",") if name in CONTENDERS]
        for name in ("teacher", "student", *named):
            assert f"| {CONTENDERS[name].label} | " in table
        assert "failed" not in table.lower()
        for task in command[command.index("--tasks") + 1].split(","):
            filled.setdefault(task, set()).update(named)
    assert filled
    text = (study_place / "page.md").read_text(encoding="utf-8")
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    for task, contenders in filled.items():
        assert f"![{task}](out/figures/{task}.png)" in text
        for name in ("teacher", "student", *contenders):
            assert text.count(f"| {CONTENDERS[name].label} | ") >= 2
    assert "| phase 1 | " in text
