"""The commands and snippets of docs/comparing.md do what it says; its table is of the contenders that there are."""

import json
import re

import miniature
import pytest
from compared import small_pair
from doc_pages import ROOT, claimed, executed, given, written

from bistill_hub.cli.recipe_options import load_compared
from bistill_hub.comparison import cost as costing
from bistill_hub.comparison.contenders import ALWAYS, CONTENDERS, WORDS
from bistill_hub.comparison.findings import EXPECTED
from bistill_hub.comparison.table import RESAMPLES

GUIDE = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
SNIPPETS = claimed(__name__, "docs/comparing.md")


def snippets(language):
    return [snippet for snippet in SNIPPETS if snippet.language == language]


def costs(output):
    """By contender the cells behind its name."""
    rows = [line.strip("│ ").split("│") for line in output.splitlines() if line.startswith("│")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in rows}


def files_in(folder):
    """Names of all files in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class Untried:
    """In the place of trials, which other tests make: no time is known."""

    def __init__(self, facts, progress):
        self.tried = {}

    def estimate(self, stage, updates, done):
        return None, "not tried"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with the recipe of the guide, and text of its further languages."""
    task = {"tasks.ner.teacher.epochs": 1, "tasks.ner.distillation.sparse_epochs": 1}
    fields = json.dumps(small_pair(tmp_path).replace(task).model_dump(mode="json"))
    script = f"import json\nfrom bistill_hub import Recipe\nRECIPE = Recipe.make(json.loads({fields!r}))\n"
    (tmp_path / "en_sw_mine.py").write_text(script, encoding="utf-8")
    for seed, code in enumerate(("ha", "yo"), 2):
        lines = [miniature.text(sentence) for sentence in miniature.sentences("sw", 60, seed=seed)]
        miniature.write_lines(tmp_path / f"{code}.txt", lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(costing, "Trial", Untried)
    return tmp_path


def test_the_guides_commands_and_snippets_in_their_order(place, capsys):
    dry, first, baselines, own, more, alone = (command for snippet in snippets("bash") for command in snippet.commands)
    cost = costs(given(dry, "--quiet"))
    assert not (place / "runs").exists()
    assert list(cost)[-4:] == ["teacher", "trimmed_teacher", "student", "no_phase_1"]
    given(first, "--quiet")
    folder = place / "runs" / "compared"
    told = files_in(folder)
    named = re.findall(r"^\| `([\w./-]+)` \| ", GUIDE.partition("## What is written")[2], re.MULTILINE)
    assert len(named) == 8
    for name in named:
        assert name.replace("TASK", "ner") in told or (folder / name).is_dir(), name
    assert len(list((folder / "stages").glob("ner-scores-*"))) == 4

    written(snippets("toml")[0], place / "further.toml")
    cost = costs(given(baselines, "--quiet"))
    assert {"distilbert_style", "minilmv2_style_fine_tuned", "from_scratch"} <= set(cost)
    assert (cost["teacher"][3], cost["trimmed_teacher"][3]) == ("0", "0"), "finished"
    assert int(cost["distilbert_style"][3]) > 0

    written(snippets("toml")[1], place / "own.toml")
    with (place / "further.toml").open("a", encoding="utf-8") as file:
        file.write((place / "own.toml").read_text(encoding="utf-8"))
    _, settings = load_compared("en_sw_mine.py", "ner", [], place / "further.toml")
    assert settings == {"from_scratch": {"bilingual.learning_rate": 5e-4}}
    before = files_in(folder)
    tried = given(own, "--quiet")
    assert "No test set was scored" in tried
    assert {tuple(cells[:2]) for name, cells in costs(tried).items() if name == "from_scratch"} == {
        ("0", "ner phase 2")
    }
    assert {name.split("/")[0] for name in files_in(folder) - before} <= {"stages", ".locks"}
    assert not {name for name in files_in(folder) - before if name.startswith("stages/ner-scores")}

    given(more, "--quiet")
    given(alone, "--quiet")
    table = (folder / "comparison.md").read_text(encoding="utf-8")
    for name in ("teacher", "trimmed_teacher", "student", "no_phase_1", "student_fine_tuned", "no_attention_loss"):
        assert f"| {CONTENDERS[name].label} | " in table
    assert table.count("not run, unverified") == 4

    before = (folder / "comparison.json").read_bytes()
    read, again = snippets("python")
    executed(read)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        name
        for name in CONTENDERS
        if name in {*ALWAYS, "trimmed_teacher", "student_fine_tuned", "no_phase_1", "no_attention_loss"}
    ]
    executed(again)
    assert capsys.readouterr().out.count("\n") == 5, "all but the student itself"
    assert (folder / "comparison.json").read_bytes() == before


def test_the_table_names_every_contender_and_its_source_and_the_words_are_what_it_says():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", GUIDE.partition("## Seeds")[0], re.MULTILINE)
    assert [(name, source) for name, source, _ in rows] == [(each.name, each.source) for each in CONTENDERS.values()]
    names = list(CONTENDERS)
    of = {word: [each.name for each in CONTENDERS.values() if each.group in WORDS[word]] for word in WORDS}
    until = names[: names.index("from_scratch_fine_tuned") + 1]
    own = ["student_fine_tuned", "student_sft", "student_relations"]
    assert of["baselines"] == [name for name in until if name not in ("student", *own)]
    ablations = names[names.index("no_phase_1") : names.index("lrf_3") + 1]
    assert of["ablations"] == [*own, *ablations]
    assert of["extensions"] == [name for name in names if name.endswith("target_text")]
    assert len(of["extensions"]) == len(re.findall(r"`extensions` are the (four) on", GUIDE)) * 4
    assert set(of["all"]) == {*of["baselines"], *of["ablations"], *of["extensions"]}
    assert [each.name for each in CONTENDERS.values() if each.unverified] == names[-2:]
    for name, _, text in rows:
        assert ("all languages" in text) == (CONTENDERS[name].multilingual and "fine_tuned" not in name)
    assert f"{RESAMPLES:,} resamples" in GUIDE
    expected = re.search(r"\((\d+) % of it are expected of every second layer, (\d+) % of every third", GUIDE)
    assert {factor: f"{share:.2f}" for factor, share in EXPECTED.items()} == {
        2: f"0.{expected[1]}",
        3: f"0.{expected[2]}",
    }
