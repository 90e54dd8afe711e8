"""A folder is a stage's if a stage was begun there; whatever else holds something is refused before it is touched."""

import pytest

from bistill_hub import InputError
from bistill_hub.pipeline.manifest import finished
from bistill_hub.pipeline.stage_folder import (
    MANIFEST_FILE,
    STARTED_FILE,
    empty,
    is_of_a_stage,
    refuse_others_content,
    write_json,
)


def filled(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"manifest_json": '{"fingerprint": "a"}', "a_txt": "made"},
        {"manifest_json": "", "a_txt": "made"},
        {"manifest_json": '{"half', "a_txt": "made"},
        {"started_json": '{"fingerprint": "a", "seconds": 1}', "a_txt": "made"},
        {"started_json": '"a"'},
        {"started_json": ""},
    ],
)
def test_a_stage_that_was_begun_is_known_even_if_its_files_are_not_whole(tmp_path, files):
    folder = filled(tmp_path / "student", **files)
    assert is_of_a_stage(folder)
    refuse_others_content(tmp_path / "absent", folder)


@pytest.mark.parametrize("files", [{}, {"_DS_Store": "x"}, {"started_unfinished": '{"fi'}])
def test_a_folder_in_which_nothing_was_begun_may_be_used(tmp_path, files):
    folder = filled(tmp_path / "student", **files)
    assert not is_of_a_stage(folder)
    refuse_others_content(folder)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"thesis_txt": "five years"}, "thesis.txt"),
        ({"_env": "secret"}, ".env"),
        # Other programs have manifests too.
        ({"manifest_json": '{"name": "an extension", "version": "1"}'}, "manifest.json"),
    ],
)
def test_a_folder_of_somebody_is_refused(tmp_path, files, named):
    folder = filled(tmp_path / "student", **files)
    with pytest.raises(
        InputError, match=f"output = .*student': .* holds what no run has left: {named}. Choose another"
    ):
        refuse_others_content(folder)


def test_a_file_of_a_stages_name_is_refused(tmp_path):
    (tmp_path / "student").write_text("mine")
    with pytest.raises(InputError, match="this is no folder"):
        refuse_others_content(tmp_path / "student")


def test_an_emptied_folder_may_be_used_again_and_so_may_one_that_is_not_there(tmp_path):
    folder = filled(tmp_path / "student", started_json='"a"', a_txt="made")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "b.txt").write_text("made")
    empty(folder)
    assert list(folder.iterdir()) == []
    empty(folder)
    empty(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_card_stays_and_its_folder_is_known_for_a_stages(tmp_path):
    folder = filled(tmp_path / "package", manifest_json='{"fingerprint": "a"}')
    repository = filled(folder / "repository", README_md="by hand", card_json="{}", config_json="{}")
    (repository / "tasks").mkdir()
    (repository / "tasks" / "README.md").write_text("no card")
    for _ in range(2):
        empty(folder)
        left = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        assert left == ["repository/README.md", "repository/card.json", STARTED_FILE]
        assert is_of_a_stage(folder)
        assert finished("package", folder) is None


def test_a_linked_repository_is_left_where_it_is(tmp_path):
    elsewhere = filled(tmp_path / "elsewhere", README_md="by hand")
    folder = filled(tmp_path / "package", manifest_json='{"fingerprint": "a"}')
    (folder / "repository").symlink_to(elsewhere)
    empty(folder)
    assert not (folder / "repository").exists()
    assert (elsewhere / "README.md").read_text() == "by hand"


@pytest.mark.parametrize("name", [MANIFEST_FILE, STARTED_FILE])
def test_a_file_that_is_written_anew_holds_the_new_content_alone(tmp_path, name):
    for content in ({"long": "x" * 100}, {"ä": 1}):
        write_json(tmp_path / name, content)
    assert (tmp_path / name).read_text(encoding="utf-8") == '{\n  "ä": 1\n}\n'
    assert [file.name for file in tmp_path.iterdir()] == [name]
