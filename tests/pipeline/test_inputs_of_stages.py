"""What a stage is made of is told by content: two that would come out otherwise never pass for one another."""

import json
import os

import miniature
import pytest
from compared import small_pair

from bistill_hub.pipeline.order import stages_of
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.sources import LabelledSource
from bistill_hub.tasks import get_task


@pytest.fixture
def pair(tmp_path):
    return small_pair(tmp_path / "pair")


def inputs_of(recipe, folder):
    stages = stages_of(recipe, preflight(recipe, folder), command="", progress=False)
    return {stage.name: json.dumps(stage.settings, sort_keys=True) for stage in stages}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


def test_a_texts_ending_decides_how_it_is_read_and_is_an_input(pair, tmp_path):
    lines = ["text", *(miniature.text(sentence).replace(",", "") for sentence in miniature.sentences("sw", 40))]
    made = {ending: str(miniature.write_lines(tmp_path / f"same.{ending}", lines)) for ending in ("txt", "csv", "tsv")}
    plain = inputs_of(pair.replace({"target.text": made["txt"]}), tmp_path / "run")
    table = inputs_of(pair.replace({"target.text": {"path": made["csv"], "column": "text"}}), tmp_path / "run")
    other = inputs_of(pair.replace({"target.text": {"path": made["tsv"], "column": "text"}}), tmp_path / "run")
    assert {"student", "phase 1"} <= changed(plain, table)
    assert {"student", "phase 1"} <= changed(table, other)


def test_a_note_beside_the_teacher_is_no_input_and_its_vocabulary_is(pair, tmp_path):
    teacher = tmp_path / "pair" / "teacher"
    before = inputs_of(pair, tmp_path / "run")
    (teacher / "notes.txt").write_text("ours")
    (teacher / ".config.json").write_text("{}")
    assert changed(before, inputs_of(pair, tmp_path / "run")) == set()
    (teacher / "vocab.txt").write_text("[PAD]\n")
    assert {"student", "ner teacher"} <= changed(before, inputs_of(pair, tmp_path / "run"))


def test_the_modules_of_a_sentence_encoder_are_inputs(pair, tmp_path):
    teacher = tmp_path / "pair" / "teacher"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (teacher / "modules.json").write_text(json.dumps(modules))
    (teacher / "1_Pooling").mkdir()
    config = teacher / "1_Pooling" / "config.json"
    config.write_text('{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}')
    before = inputs_of(pair, tmp_path / "run")
    config.write_text('{"word_embedding_dimension": 32, "pooling_mode_cls_token": true}')
    assert "student" in changed(before, inputs_of(pair, tmp_path / "run"))


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_a_table_that_was_replaced_is_read_anew_whatever_time_its_file_has(tmp_path, ending):
    from datasets import Dataset

    file = tmp_path / f"table.{ending}"

    def write(label):
        rows = {"premise": ["a"], "hypothesis": ["b"], "label": [label]}
        table = Dataset.from_dict(rows)
        table.to_parquet(file) if ending == "parquet" else table.to_json(file)
        os.utime(file, (1_700_000_000, 1_700_000_000))

    for label in ("neutral", "entailment", "neutral"):
        write(label)
        assert get_task("nli").read(LabelledSource(path=str(file)))["label"][:] == [label]
