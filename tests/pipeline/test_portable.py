"""What is published of a recipe names models and deltas as others can have them."""

import pytest

from bistill_hub.pipeline.portable import portable, public_name, shown_name

PINNED = f"legacy:org/sft@{'0123456789' * 4}"


@pytest.mark.parametrize("name", ["org/sft", "org/sft@v1.0", PINNED])
def test_a_name_of_the_hub_keeps_its_revision(name):
    assert (public_name(name), shown_name(name)) == (name, name)


def test_a_folder_with_an_at_sign_is_shown_by_its_name_alone(tmp_path, monkeypatch):
    (tmp_path / "org" / "sft@v1.0").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert (public_name("org/sft@v1.0"), shown_name("legacy:org/sft@v1.0")) == (None, "sft@v1.0")


def test_the_recipe_of_a_pair_says_the_revisions_of_its_deltas(small_recipes):
    recipe = small_recipes["bert"].replace(
        {"teacher.language_deltas": {"sw": PINNED}, "tasks.ner.teacher.delta": "org/task-sft@v1.0"}
    )
    published = portable(recipe)
    assert published["teacher"]["language_deltas"] == {"sw": PINNED}
    assert published["tasks"][0]["teacher"]["delta"] == "org/task-sft@v1.0"
