"""The Python of docs/training.md trains a student with a teacher that is cut and loaded again with a device map."""

import shutil

import pytest
from doc_pages import claimed, executed
from miniature import write_lines

(CODE,) = claimed(__name__, "docs/training.md#a-large-teacher")


@pytest.fixture
def place(tiny_teacher_dirs, world_lines, tmp_path, monkeypatch):
    shutil.copytree(tiny_teacher_dirs["bert"], tmp_path / "org" / "large-teacher")
    for code, lines in world_lines.items():
        write_lines(tmp_path / f"{code}.txt", lines[:60])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_snippet_for_a_large_teacher_trains_with_its_cut_teacher_in_bf16(place):
    small = {
        "student.tokenizer) for": "student.tokenizer, 48) for",  # the tiny teacher reads no more
        '"spread", ': '"spread", max_steps=2, use_cpu=True, save_strategy="no", disable_tqdm=True, ',
    }
    names = executed(CODE, instead=small)
    assert str(names["teacher"].dtype) == "torch.bfloat16"
    assert names["teacher"].config.num_hidden_layers == 2 * names["student"].model.config.num_hidden_layers
    assert names["trainer"].state.global_step == 2
