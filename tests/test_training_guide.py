"""The Python and the commands of docs/training.md: a teacher with a device map, and rates that are chosen."""

import json
import shutil

import pytest
from compared import small_pair
from doc_pages import claimed, executed, given
from miniature import write_lines

from bistill_hub.evaluation.results import RESULTS_FILE

(CODE,) = claimed(__name__, "docs/training.md#a-large-teacher")
(CHOOSING,) = claimed(__name__, "docs/training.md#choosing-rates-and-passes")


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


def test_settings_are_tried_without_a_score_on_a_test_set(tmp_path, monkeypatch):
    fields = json.dumps(small_pair(tmp_path).model_dump(mode="json"))
    script = f"import json\nfrom bistill_hub import Recipe\nRECIPE = Recipe.make(json.loads({fields!r}))\n"
    (tmp_path / "en_sw_mine.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    teacher, student = CHOOSING.commands
    assert "ner teacher: best f1 on development data" in given(teacher)
    told = given(student)
    assert "phase 1: least loss on held-out text" in told
    assert "ner phase 2: best f1 on development data" in told
    assert not list((tmp_path / "runs").rglob(RESULTS_FILE))
    (manifest,) = (tmp_path / "runs").glob("*/ner-phase-2/manifest.json")
    assert json.loads(manifest.read_text())["inputs"]["settings"]["learning_rate"] == 1e-4
