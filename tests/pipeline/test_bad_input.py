"""What a user gets wrong is said before anything expensive starts: file, field, value, remedy, exit code 2."""

import json
import re

import pytest
import torch
import transformers
from click.testing import CliRunner

from bistill_hub import InputError, cli
from bistill_hub.model.sparse_delta import SparseDelta, SparseUpdate
from bistill_hub.pipeline import executor
from bistill_hub.pipeline.preflight import preflight
from bistill_hub.recipe import load_recipe


@pytest.fixture
def attempt(tiny_teacher_dirs, tiny_teachers_not_by, text_files, ner_files, tmp_path, monkeypatch):
    """Run the command with everything right but what is passed; fails the test if any stage is begun."""

    def begun(*_args, **_kwargs):
        raise AssertionError("a stage was begun")

    monkeypatch.setattr(executor, "complete", begun)

    def call(*changes, output=None, teacher="xlm-roberta"):
        right = {
            "teacher.model": tiny_teacher_dirs[teacher],
            "teacher.tokenizer_not_by": json.dumps(tiny_teachers_not_by[teacher]),
            "source.text": text_files["en"],
            "target.text": text_files["sw"],
            "tasks.ner.train": ner_files["en"]["train"],
            "tasks.ner.validation": ner_files["en"]["dev"],
            "tasks.ner.test_source": ner_files["en"]["test"],
            "tasks.ner.test_target": ner_files["sw"]["test"],
            "tasks.ner.max_length": 64,
            "bilingual.block_size": 48,
        }
        words = [word for key, value in right.items() for word in ("--set", f"{key}={value}")]
        words += [word for change in changes for word in ("--set", change)]
        command = ["run", "en_sw", "--tasks", "ner", "-o", str(output or tmp_path / "out")]
        return CliRunner().invoke(cli.main, [*command, *words])

    return call


def refused(result, *parts):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    # Reading a table shows a progress bar; the error is the last line.
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    for part in parts:
        assert str(part) in error, error


def test_everything_right_begins(attempt):
    result = attempt()
    assert isinstance(result.exception, AssertionError)


def test_a_missing_text(attempt):
    refused(
        attempt("source.text=/nowhere/en.txt"), "source.text", "/nowhere/en.txt", "no such file", "Correct the path"
    )


@pytest.mark.parametrize("field", ["bilingual", "tasks.ner.teacher", "tasks.ner.distillation"])
def test_a_precision_that_the_machine_does_not_have(attempt, monkeypatch, field):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    refused(attempt(f"{field}.precision=fp16"), f"{field}.precision", "'fp16'", "no GPU", "Set it to bf16 or fp32")
    assert isinstance(attempt(f"{field}.precision=bf16").exception, AssertionError)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(transformers.utils, "is_torch_bf16_gpu_available", lambda: False)
    refused(attempt(f"{field}.precision=bf16"), f"{field}.precision", "'bf16'", "Set it to fp16 or fp32")


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_a_launch_for_sharded_training_whatever_is_trained(attempt, monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, "true")
    refused(attempt(), f"{variable} = 'true'", "as a whole", "DDP", "torchrun")
    with pytest.raises(InputError, match=f"{variable} = 'true'"):
        preflight(load_recipe("en_sw").only([]), tmp_path)


def test_missing_labels(attempt):
    refused(attempt("tasks.ner.test_target=/nowhere/sw.conll"), "tasks.ner.test_target", "/nowhere/sw.conll")


def test_an_empty_text(attempt, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    refused(attempt(f"target.text={tmp_path / 'empty.txt'}"), "target.text", "empty.txt", "the file is empty")


def test_a_text_of_blank_lines(attempt, tmp_path):
    (tmp_path / "blank.txt").write_text("\n  \n\n")
    refused(attempt(f"target.text={tmp_path / 'blank.txt'}"), "blank.txt", "target.text", "no text", "non-empty line")


def test_a_text_that_is_not_utf8(attempt, tmp_path):
    (tmp_path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    refused(attempt(f"target.text={tmp_path / 'latin.txt'}"), "latin.txt", "not UTF-8", "Convert the file")


def test_a_wrong_column(attempt, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"words": ["Juma"], "tags": ["B-PER"]}\n')
    refused(attempt(f"tasks.ner.train={tmp_path / 'rows.jsonl'}"), "rows.jsonl", "columns.t", "tokens", "words")


def test_a_column_of_text_that_there_is_not(attempt, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"sentence": "Habari"}\n')
    refused(attempt(f"target.text={tmp_path / 'rows.jsonl'}"), "rows.jsonl", "column", "'text'", "sentence")


def test_a_label_that_training_lacks(attempt, tmp_path):
    (tmp_path / "test.conll").write_text("Juma\tB-PER\nleo\tB-DATE\n\n")
    refused(attempt(f"tasks.ner.test_target={tmp_path / 'test.conll'}"), "test.conll", "DATE", "label_map")


def test_a_malformed_tag(attempt, tmp_path):
    (tmp_path / "train.conll").write_text("Juma\tB-PER\nleo\tO-O\n\n")
    refused(attempt(f"tasks.ner.train={tmp_path / 'train.conll'}"), "train.conll", "O-O")


def test_training_data_without_an_entity(attempt, tmp_path):
    (tmp_path / "train.conll").write_text("habari\tO\n\n")
    refused(
        attempt(f"tasks.ner.train={tmp_path / 'train.conll'}"), "train.conll", "tasks.ner.train", "nothing to learn"
    )


def test_a_factor_that_does_not_divide_the_layers(attempt):
    refused(attempt("student.layer_reduction_factor=4"), "layer_reduction_factor", "4", "6")


def test_more_layers_than_the_teacher_has(attempt):
    refused(attempt("student.layers=7"), "layers", "7", "6")


def test_a_choice_of_layers_that_there_is_not(attempt):
    refused(attempt("student.layer_choice=middle"), "student.layer_choice", "'middle'", "'spread', 'bottom' or 'top'")


def test_more_tokens_than_the_teacher_has(attempt):
    refused(attempt("student.vocabulary_size=401"), "student.vocabulary_size", "401", "the teacher has")


def test_a_token_to_keep_that_the_teacher_does_not_know(attempt):
    refused(attempt('student.must_keep=["Nairobi", "☃"]'), "student.must_keep", "☃", "unknown token")


def test_a_layer_that_the_teacher_does_not_have(attempt):
    refused(attempt("student.layer_map=[1, 6]"), "layer_map", "6")


def test_blocks_longer_than_the_teachers_positions(attempt):
    refused(attempt("bilingual.block_size=4096"), "bilingual.block_size", "4096", "at most")


def test_inputs_longer_than_the_teachers_positions(attempt):
    refused(attempt("tasks.ner.max_length=4096", teacher="bert"), "tasks.ner.max_length", "4096", "at most")


def test_a_teacher_that_there_is_not(attempt, tmp_path):
    refused(attempt(f"teacher.model={tmp_path}"), "teacher.model", tmp_path, "config.json")


def test_a_teacher_of_an_unsupported_architecture(attempt, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    refused(attempt(f"teacher.model={tmp_path}"), "model_type", "gpt2", "bert")


def test_a_task_that_there_is_not(attempt):
    refused(
        attempt('tasks=[{"name": "haiku", "train": "a", "validation": "a", "test_source": "a", "test_target": "a"}]'),
        "haiku",
        "ner",
    )


def test_an_output_that_is_a_file(attempt, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(attempt(output=tmp_path / "file"), "output", tmp_path / "file", "Choose a folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_below_a_file(attempt, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(attempt(output=tmp_path / "file" / "out"), "output", "nothing can be written there")


def test_a_language_delta_that_there_is_not(attempt):
    refused(attempt("teacher.language_deltas.sw=/nowhere/delta.safetensors"), "language_deltas.sw", "/nowhere")


@pytest.mark.parametrize(
    ("name", "shape", "problem"),
    [
        ("roberta.embeddings.word_embeddings.weight", (7, 3), r"has the shape \(7, 3\), the teacher's"),
        ("encoder.layer.99.output.dense.weight", (7, 3), "changes none of the teacher's parameters"),
    ],
)
def test_a_language_delta_of_another_teacher(attempt, tmp_path, name, shape, problem):
    update = SparseUpdate(shape, torch.tensor([1, 4]), torch.tensor([0.5, -0.5]))
    SparseDelta({name: update}).save(tmp_path / "delta.safetensors")
    result = attempt(f"teacher.language_deltas.sw={tmp_path}")
    refused(result, "teacher.language_deltas.sw", tmp_path, "made for this teacher")
    assert re.search(problem, result.output)


def test_an_unknown_field(attempt):
    refused(attempt("bilingual.step=3"), "--set", "bilingual.step", "'step'", "steps")


def test_a_value_out_of_range(attempt):
    refused(attempt("tasks.ner.distillation.density=1.5"), "density", "1.5", "less than or equal to 1")


def test_a_word_that_is_no_assignment(attempt):
    refused(attempt("bilingual.steps"), "--set", "bilingual.steps", "key=value")


def test_a_recipe_that_there_is_not():
    refused(CliRunner().invoke(cli.main, ["run", "en_xx"]), "RECIPE", "en_xx", "en_sw")


def test_a_recipe_file_without_a_recipe(tmp_path):
    (tmp_path / "mine.py").write_text("A = 1\n")
    refused(CliRunner().invoke(cli.main, ["run", str(tmp_path / "mine.py")]), "mine.py", "RECIPE", "Define")


def test_a_field_file_that_is_not_toml(tmp_path):
    (tmp_path / "fields.toml").write_text("a = = 1\n")
    result = CliRunner().invoke(cli.main, ["run", "en_sw", "--set-file", str(tmp_path / "fields.toml")])
    refused(result, "fields.toml", "not TOML")


def test_a_table_that_is_broken(attempt, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"tokens": ["Juma"], "ner_tags": ["B-PER"]}\n{"tokens": [\n')
    refused(attempt(f"tasks.ner.train={tmp_path / 'rows.jsonl'}"), "rows.jsonl", "cannot be loaded", "Correct the file")


def test_a_data_set_of_the_hub_that_cannot_be_reached(attempt):
    source = '{"dataset": "org/no-such-data", "split": "train", "revision": "v1"}'
    refused(attempt(f"tasks.ner.train={source}"), "org/no-such-data/train@v1", "cannot be loaded", "network")


def test_a_text_in_a_table_that_is_broken(attempt, tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": "Habari"\n[\n')
    refused(attempt(f"target.text={tmp_path / 'text.jsonl'}"), "text.jsonl", "reading it failed", "Correct the file")


def test_a_tuned_teacher_without_a_head_for_the_task(attempt, tiny_teacher_dirs):
    untuned = tiny_teacher_dirs["xlm-roberta"]
    refused(
        attempt(f"tasks.ner.teacher.model={untuned}"), "teacher.model", untuned, "classifier", "token-classification"
    )
