"""The guide to recipes says what there is: its tables are written from the recipes, its example is a shipped one.

With BISTILL_UPDATE_DOCS=1 the tables are written.
"""

import os

import pytest
from doc_pages import ROOT, claimed, executed, given

from bistill_hub.recipe import load_recipe
from bistill_hub.recipe_list import list_recipes

DOCS = ROOT / "docs" / "recipes.md"
SNIPPETS = claimed(__name__, "docs/recipes.md")
TEXT = DOCS.read_text(encoding="utf-8")
WRITER = "tests/recipes/test_recipes_guide.py"
EXAMPLES = {"masakhaner": "en_yo", "xnli": "en_ar_xnli", "xquad": "en_ar_xquad", "mmbert": "en_sw_mmbert"}


def snippets(language):
    return [snippet for snippet in SNIPPETS if snippet.language == language]


def table(header, rows):
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def families():
    rows = []
    for family, name in EXAMPLES.items():
        recipe = load_recipe(name)
        for task in recipe.tasks:
            tuned = f"{task.teacher.epochs:g} epochs of {task.teacher.batch_size}, {task.teacher.learning_rate:g}"
            phase_2 = task.distillation
            rows.append(
                (
                    f"`{family}`",
                    recipe.teacher.model,
                    task.name,
                    task.train.dataset,
                    task.teacher.delta or tuned,
                    f"{phase_2.dense_epochs:g} + {phase_2.sparse_epochs:g}",
                    f"{phase_2.density:.0%}",
                    "frozen" if phase_2.freeze_layer_norms else "free",
                )
            )
    header = (
        "family",
        "teacher",
        "task",
        "English labels",
        "task teacher",
        "dense + sparse epochs",
        "density",
        "LayerNorms",
    )
    return table(header, rows)


def recipes():
    rows = [
        (
            f"`{one.name}`",
            f"{one.target_name} ({one.target})",
            one.teacher.rpartition("/")[2],
            ", ".join(f"{task}: {test}" for task, test in zip(one.tasks, one.tests, strict=True)),
            one.license,
            str(len(one.unverified)),
            "; ".join(one.needs),
        )
        for one in list_recipes()
    ]
    return table(("recipe", "target", "teacher", "tasks and their test sets", "licence", "unverified", "needs"), rows)


def test_the_tables_are_those_of_the_recipes():
    text = TEXT
    for name, written in (("families", families()), ("recipes", recipes())):
        begin, end = f"<!-- {name}: written by {WRITER} -->\n", f"<!-- end of {name} -->\n"
        before, found, rest = text.partition(begin)
        there, _, after = rest.partition(end)
        assert found
        if os.environ.get("BISTILL_UPDATE_DOCS"):
            text = f"{before}{begin}\n{written}\n{end}{after}"
        else:
            assert there == f"\n{written}\n"
    if os.environ.get("BISTILL_UPDATE_DOCS"):
        DOCS.write_text(text, encoding="utf-8")


def test_the_example_is_the_shipped_recipe_but_for_its_limits():
    (code,) = snippets("python")
    defined = executed(code)
    assert code.count("assert ") == 2
    shipped = load_recipe("en_yo")
    assert defined["RECIPE"].replace({"limits": shipped.limits}) == shipped


@pytest.mark.parametrize("command", snippets("bash")[0].commands, ids=lambda command: command[1])
def test_a_command_of_the_guide_does_what_it_says(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"recipes": "en_yo", "plan": "Unverified: "}[command[1]] in given(command)
