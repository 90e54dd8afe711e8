"""A working folder for the commands of the studies."""

import shutil

import pytest
from doc_pages import ROOT
from tiny_tasks import write_tasks
from untrained import untrained

PLACES = {
    "train": ("en/train.conll", "en/train.conll", "en/train.tsv", "en.train.json"),
    "validation": ("en/dev.conll", "en/dev.conll", "en/dev.tsv", "en.dev.json"),
    "test_source": ("en/test.conll", "en/test.conll", "en/test.tsv", None),
    "test_target": ("sw/test.conll", "sw/test.conll", "sw/test.tsv", "sw.test.json"),
}
OTHER_TARGET = "ner/yo/test.conll"
"""By field where the files of ner, pos, nli and qa are in the folder of the data."""


@pytest.fixture
def study_place(world_lines, tmp_path, monkeypatch):
    """A working folder with teacher and data, and the pages' settings where the commands look for them."""
    monkeypatch.setattr("untrained.LAYERS", 6)
    untrained("xlm-roberta", tmp_path / "TEACHER", max_position_embeddings=260)
    tasks = write_tasks(tmp_path / "made")
    for field, files in PLACES.items():
        for task, name in zip(("ner", "pos", "nli", "qa"), files, strict=True):
            if name:
                file = tmp_path / "DATA" / task / name
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(tasks[task][field], file)
    (tmp_path / "DATA" / OTHER_TARGET).parent.mkdir()
    shutil.copyfile(tasks["ner"]["test_target"], tmp_path / "DATA" / OTHER_TARGET)
    for name in ("text/en", "text/sw", "text/fr", "text/de", "text/ha", "text_nc/yo"):
        file = tmp_path / "DATA" / f"{name}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(world_lines["en" if name == "text/en" else "sw"]) + "\n", encoding="utf-8")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("DATA", "TEACHER"):
        monkeypatch.setenv(f"BISTILL_{name}", name)
    return tmp_path
