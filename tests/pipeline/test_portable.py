"""What is published of a recipe names models and deltas as others can have them."""

import hashlib
import json

import pytest

from bistill_hub.pipeline.portable import portable, public_name, published, published_sha256, shown_name

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
    fields = portable(recipe)
    assert fields["teacher"]["language_deltas"] == {"sw": PINNED}
    assert fields["tasks"][0]["teacher"]["delta"] == "org/task-sft@v1.0"


def test_a_published_recipe_has_a_hash_that_readers_can_make_and_no_place_of_this_machine_changes(
    small_recipes, tmp_path
):
    recipe = small_recipes["bert"]
    moved = tmp_path / "elsewhere" / recipe.source.text.file.name
    moved.parent.mkdir()
    moved.write_bytes(recipe.source.text.file.read_bytes())
    content = json.loads(json.dumps(published(recipe)))
    assert content == json.loads(json.dumps(published(recipe.replace({"source.text": str(moved)}))))
    hashed = content.pop("sha256")
    assert content.pop("versions")["bistill_hub"]
    assert hashed == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert hashed == published_sha256({**content, "sha256": "x", "versions": {"torch": "99"}})
    moved.write_text("Another text.\n")
    for other in (recipe.replace({"source.text": str(moved)}), recipe.replace({"bilingual.steps": 7})):
        assert published(other)["sha256"] != hashed
