"""Fields of a recipe that are replaced on the command line."""

import pytest
from click.testing import CliRunner

from bistill_hub.cli import main
from bistill_hub.cli.recipe_options import changes_from, load
from bistill_hub.errors import InputError


@pytest.mark.parametrize("change", ["teacher.model=mine", "source.text=en.txt", "tasks.ner.train=train.conll"])
def test_who_replaces_teacher_or_data_learns_that_licence_and_limits_stay(change, capsys):
    assert load("en_sw", None, [change], None).license == load("en_sw", None, [], None).license
    said = capsys.readouterr().err
    assert "The card will say the license and the limits of bistill-en-sw" in said
    assert "--set license=... --set limits=..." in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["bilingual.steps=3"], False),
        (["teacher.model=mine", "license=mit"], True),
        (["teacher.model=mine", "license=mit", "limits=little text"], False),
    ],
)
def test_who_says_both_or_replaces_nothing_that_they_depend_on_is_not_told(changes, said, capsys):
    load("en_sw", None, changes, None)
    assert ("--set limits=..." in capsys.readouterr().err) == said


@pytest.mark.parametrize("change", ["source.text.path=2024", 'tasks.ner.train={"path": 2024}'])
def test_a_path_that_json_takes_for_a_number_is_refused(change):
    with pytest.raises(InputError, match=r"path = 2024: input should be a valid string"):
        load("en_sw", None, [change], None)


FIELDS = """
limits = "Costs $5 a copy, by $BISTILL_PLACE or $BISTILL_UNSET."

[teacher]
model = "$BISTILL_PLACE/teacher"
language_deltas = {sw = "${BISTILL_PLACE}/sw", en = "legacy:$BISTILL_PLACE/en"}

[target]
text = {path = "$BISTILL_PLACE/sw.txt", column = "$text"}

[[further_languages]]
code = "ha"
name = "Hausa"
text = "$BISTILL_PLACE/ha.txt"

[tasks.ner]
test_target = "$BISTILL_PLACE/sw.conll"
teacher.delta = "$BISTILL_PLACE/ner"
train.label_map = {"$" = "O"}

[contenders.from_scratch]
teacher.model = "$BISTILL_PLACE/other"
"""


def test_a_file_s_variables_are_expanded_where_it_names_places_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("BISTILL_PLACE", "/data")
    (tmp_path / "fields.toml").write_text(FIELDS, encoding="utf-8")
    assert changes_from(tmp_path / "fields.toml") == {
        "limits": "Costs $5 a copy, by $BISTILL_PLACE or $BISTILL_UNSET.",
        "teacher.model": "/data/teacher",
        "teacher.language_deltas": {"sw": "/data/sw", "en": "legacy:/data/en"},
        "target.text.path": "/data/sw.txt",
        "target.text.column": "$text",
        "further_languages": [{"code": "ha", "name": "Hausa", "text": "/data/ha.txt"}],
        "tasks.ner.test_target": "/data/sw.conll",
        "tasks.ner.teacher.delta": "/data/ner",
        "tasks.ner.train.label_map": {"$": "O"},
        "contenders.from_scratch.teacher.model": "/data/other",
    }


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('teacher.model = "$BISTILL_UNSET"', "teacher.model"),
        ('[teacher.language_deltas]\nsw = "$BISTILL_UNSET/sw"', "teacher.language_deltas.sw"),
    ],
)
def test_a_place_by_a_variable_that_is_not_set_is_refused(tmp_path, text, field):
    (tmp_path / "fields.toml").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=rf"fields.toml: {field} = '\$BISTILL_UNSET.*an environment variable is not set"
    ):
        changes_from(tmp_path / "fields.toml")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "fields.toml").write_text("seed = 3\n", encoding="utf-8-sig")
    assert changes_from(tmp_path / "fields.toml") == {"seed": 3}


@pytest.mark.parametrize(
    "words",
    [
        ["run", "en_sw", "--set", "source.text=caf\udce9.txt"],
        ["plan", "caf\udce9.py"],
        ["new-pair", "en", "yo", "--source-text", "caf\udce9.txt"],
    ],
)
def test_a_name_that_is_not_utf_8_is_refused_in_one_sentence(words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: argument = b'")
    assert "caf\\xe9" in line
    assert "this is not UTF-8. Give the file or folder a name in UTF-8" in line
