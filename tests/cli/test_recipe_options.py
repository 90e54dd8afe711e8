"""Fields of a recipe that are replaced on the command line."""

import pytest

from bistill_hub.cli.recipe_options import load


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
