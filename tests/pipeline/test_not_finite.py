"""A run whose training comes to nothing says which setting is at fault, and goes on once it is changed."""

import json

import pytest
from click.testing import CliRunner
from smallest import smallest_recipe

from bistill_hub import cli

STAGES = {
    "bilingual": "phase-1",
    "tasks.ner.teacher": "ner-teacher",
    "tasks.ner.distillation": "ner-phase-2",
}


@pytest.fixture
def command(tmp_path):
    """The command that runs the smallest recipe with a phase 1, up to the last training."""
    bilingual = {"bilingual.steps": 4, "bilingual.batch_size": 2, "bilingual.evaluation_every": 2}
    recipe = smallest_recipe(tmp_path).replace({"baselines": [], **bilingual})
    file = tmp_path / "small.py"
    file.write_text(
        f"import json\nfrom bistill_hub import Recipe\nRECIPE = Recipe.make(json.loads({recipe.model_dump_json()!r}))\n"
    )
    return ["run", str(file), "-o", str(tmp_path / "run"), "--until", "ner-phase-2", "--quiet"]


@pytest.mark.parametrize("field", STAGES)
def test_the_stage_is_not_finished_and_one_sentence_says_why(command, field, tmp_path):
    result = CliRunner().invoke(cli.main, [*command, "--set", f"{field}.learning_rate=1e30"])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    said = result.stderr.strip().splitlines()[-1]
    assert f"{STAGES[field]}/training" in said
    assert f"{field}.learning_rate = 1e+30: training cannot go on, for " in said
    assert "not finite at update 2" in said
    assert said.endswith("Set a lower learning_rate.")
    finished = list(STAGES.values())
    finished = finished[: finished.index(STAGES[field])]
    run = tmp_path / "run"
    assert [stage for stage in STAGES.values() if (run / stage / "manifest.json").is_file()] == finished
    if field == "bilingual":
        assert CliRunner().invoke(cli.main, command).exit_code == 0, "another learning rate"
        facts = [json.loads((run / stage / "manifest.json").read_text())["facts"] for stage in STAGES.values()]
        assert all(each["settings"]["learning_rate"] < 1 for each in facts)
